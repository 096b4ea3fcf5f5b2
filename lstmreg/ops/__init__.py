"""The recurrence: one layer, one direction, tensors in and tensors out.

:func:`lstm` is the only door. Rates, seeds, regularizers and ``training`` are settled above it; here a mask
is a tensor. Each file beside this one offers the same function, and ``why_not``, which names the reason
when it cannot serve the arguments.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from . import native, reference

Activation = Callable[[Tensor], Tensor]

#: In order of preference; the last one serves everything.
BACKENDS = {"native": native, "reference": reference}


def lstm(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor | None,
    *,
    input_mask: Tensor | None = None,
    recurrent_mask: Tensor | None = None,
    valid: Tensor | None = None,
    reverse: bool = False,
    activations: tuple[Activation, Activation] = (torch.tanh, torch.sigmoid),
    backend: str = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
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
        input_mask: ``m_x``, ``(G, B, D)`` with ``G = 1`` (tied over the gates) or ``4``, or ``None``.
        recurrent_mask: ``m_h``, ``(G, B, H)``, or ``None``. Masks hold over time.
        valid: ``(T, B)`` bool. Where it is false the states and the output are held; an output before
            the first valid step is zero. ``None``: every step is valid.
        reverse: Go from the last step to the first; outputs keep their places in time.
        activations: ``(activation, recurrent_activation)`` in place of tanh and sigmoid.
        backend: ``"auto"``, or a key of :data:`BACKENDS`; one that is named never falls back.

    Returns:
        ``output (T, B, H)``, ``h_n (B, H)``, ``c_n (B, H)``.

    Raises:
        ValueError: If ``backend`` is unknown, or cannot serve these arguments (with the reason).
    """
    arguments = {
        "input_mask": input_mask,
        "recurrent_mask": recurrent_mask,
        "valid": valid,
        "reverse": reverse,
        "activations": activations,
    }
    if backend == "auto":
        chosen = next(b for b in BACKENDS.values() if b.why_not(x, **arguments) is None)
    elif backend not in BACKENDS:
        raise ValueError(f"backend must be 'auto' or one of {sorted(BACKENDS)}, got {backend!r}.")
    else:
        chosen = BACKENDS[backend]
        reason = chosen.why_not(x, **arguments)
        if reason is not None:
            raise ValueError(f"backend {backend!r} cannot serve this call: {reason}. Use backend='auto'.")
    result: tuple[Tensor, Tensor, Tensor] = chosen.lstm(x, h_0, c_0, w_ih, w_hh, bias, **arguments)
    return result
