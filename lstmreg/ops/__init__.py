"""The recurrence: one layer, one direction, tensors in and tensors out.

:func:`lstm` is the door; :func:`stack` is a short way for whole layers with nothing on, which are torch's own. Rates,
seeds, regularizers and ``training`` are settled above; here a mask is a tensor. ``native``, ``fused_cpu``,
``fused_triton``, ``eager`` and ``reference`` each offer the same function of one :class:`~lstmreg.ops.call.Call`, and
``why_not``, which names the reason when they cannot serve it. Those between the first and the last bring their own
backward pass, which ``recurrence`` joins to autograd and ``opaque`` to ``torch.compile``; ``onnx`` is what torch's
exporter to ONNX writes in its place.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lstmreg.activations import Activation
from lstmreg.tracing import is_compiling

from . import dispatch, onnx, opaque
from .call import Call as Call
from .call import Result as Result
from .dispatch import BACKENDS as BACKENDS
from .native import stack as stack
from .penalties import Costs as Costs
from .penalties import Strength as Strength
from .penalties import Strengths as Strengths


def lstm(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor | None,
    *,
    w_hr: Tensor | None = None,
    input_mask: Tensor | None = None,
    recurrent_mask: Tensor | None = None,
    valid: Tensor | None = None,
    reverse: bool = False,
    activations: tuple[Activation, Activation] = (torch.tanh, torch.sigmoid),
    backend: str = "auto",
) -> Result:
    r"""Run one LSTM layer in one direction.

    .. math::

        z^k_t = W^k (m^k_x \odot x_t) + R^k (m^k_h \odot h_{t-1}) + b^k, \quad k \in \{i, f, g, o\}

        c_t = \sigma(z^f_t) \odot c_{t-1} + \sigma(z^i_t) \odot \tanh(z^g_t), \qquad
        h_t = \sigma(z^o_t) \odot \tanh(c_t)

    Args:
        x: Input ``(T, B, D)``.
        h_0: Initial output ``(B, H)``; the recurrent mask applies to it as to every ``h``.
        c_0: Initial cell state ``(B, H)``; never masked.
        w_ih: Input weights ``(4H, D)``, gates in the order i, f, g, o.
        w_hh: Recurrent weights ``(4H, H)``.
        bias: ``(4H)`` or ``None``.
        w_hr: Projection ``(P, H)``, which makes ``h`` ``P`` wide (then ``w_hh`` is ``(4H, P)``), or ``None``.
        input_mask: ``m_x``, ``(G, B, D)`` with ``G = 1`` (tied over the gates) or ``4``, or ``None``.
        recurrent_mask: ``m_h``, ``(G, B, H)``, or ``None``. Masks hold over time.
        valid: ``(T, B)`` bool. Where it is false the states and the output are held; an output before
            the first valid step is zero. ``None``: every step is valid.
        reverse: Go from the last step to the first; outputs keep their places in time.
        activations: ``(activation, recurrent_activation)`` in place of tanh and sigmoid.
        backend: ``"auto"``, or a key of :data:`BACKENDS`; one that is named never falls back.

    With ``K`` models at once every tensor has a leading axis ``K``; ``x`` and ``valid`` may lack it, if the models
    share data.

    Returns:
        ``output (T, B, H)``, ``h_n (B, H)``, ``c_n (B, H)``.

    Raises:
        ValueError: If shapes do not fit each other, or ``backend`` is unknown or cannot serve these arguments (with
            the reason).
    """
    masks = input_mask, recurrent_mask, valid
    return penalised(Call(x, h_0, c_0, w_ih, w_hh, bias, w_hr, *masks, reverse, activations), None, backend)[0]


def penalised(call: Call, strengths: Strengths | None, backend: str) -> tuple[Result, Costs | None]:
    """Run a call of :func:`lstm`, and form what elastic nets cost on its weights and its output along with it.

    Args:
        call: The arguments of :func:`lstm`.
        strengths: Those of the nets, or ``None``.
        backend: As there.

    Returns:
        The results, and the costs: ``None`` if the backend does not form them, or nobody can go back through them.
    """
    if (short := _autocast_type(call.x)) is not None:
        call = call._replace(short=short)
    call.check()
    if is_compiling() and opaque.why_not(call) is None:  # torch.export too
        return onnx.lstm(call.shortened()) if onnx.is_exporting() else opaque.lstm(call, backend), None
    return dispatch.run(call, backend, strengths)


def _autocast_type(x: Tensor) -> torch.dtype | None:
    """Return the type that autocast asks for, if it is on and the type of ``x`` is one that it changes."""
    kind = x.device.type
    is_known = kind == "cpu" or torch.amp.is_autocast_available(kind)  # to ask takes time
    if not is_known or not torch.is_autocast_enabled(kind):
        return None
    return torch.get_autocast_dtype(kind) if x.dtype != torch.float64 else None
