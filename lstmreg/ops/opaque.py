"""The recurrence as one operation that ``torch.compile`` and ``torch.export`` do not look into.

Traced, the loop over time would be unrolled: compiling would take minutes, and the number of steps would be fixed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import dispatch, eager, fused_cpu
from .call import Call, Result
from .recurrence import TwoPasses

#: Those of the backends that bring their own backward pass; for the others ``eager`` goes back, and once more forward.
PASSES: dict[str, TwoPasses] = {"fused_cpu": fused_cpu.PASSES, "eager": eager.PASSES}


def why_not(call: Call) -> str | None:
    """Return why a call is traced instead, or ``None``."""
    return eager.why_not(call)


def lstm(call: Call, backend: str) -> Result:
    """Compute what :func:`lstmreg.ops.lstm` defines, for a call that ``why_not`` admits."""
    masks = call.input_mask, call.recurrent_mask, call.valid
    # Chosen here, while the code is read, because what is kept for the backward pass depends on it.
    chosen = dispatch.choose(call, backend)
    training = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in call[:6])
    output, h_n, c_n, *_ = _forward(*call[:6], *masks, call.reverse, chosen, training)
    return output, h_n, c_n


# torch reads an operation's schema off the annotations, so the tensors stand here one by one.


@torch.library.custom_op("lstmreg::lstm", mutates_args=())
def _forward(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor | None,
    input_mask: Tensor | None,
    recurrent_mask: Tensor | None,
    valid: Tensor | None,
    reverse: bool,
    backend: str,
    training: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    call = Call(x, h_0, c_0, w_ih, w_hh, bias, None, input_mask, recurrent_mask, valid, reverse)
    if backend in PASSES:
        (output, h_n, c_n), kept = PASSES[backend].forward(call, training)
    else:
        (output, h_n, c_n), kept = dispatch.run(call, backend), ()
    gates, cells = kept or (x.new_empty(0), x.new_empty(0))
    return output.contiguous(), h_n.clone(), c_n.clone(), gates, cells  # results may not share memory


@_forward.register_fake
def _(x: Tensor, h_0: Tensor, c_0: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    call = Call(x, h_0, c_0, *rest[:3])
    backend, training = rest[-2:]
    shapes = PASSES[backend].kept_shapes(call) if training and backend in PASSES else ((0,), (0,))
    output = x.new_empty(*h_0.shape[:-2], call.steps, *h_0.shape[-2:])
    gates, cells = (x.new_empty(shape) for shape in shapes)
    return output, h_0.new_empty(h_0.shape), c_0.new_empty(c_0.shape), gates, cells


@torch.library.custom_op("lstmreg::lstm_backward", mutates_args=())
def _backward(
    d_output: Tensor,
    d_h: Tensor,
    d_c: Tensor,
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor | None,
    input_mask: Tensor | None,
    recurrent_mask: Tensor | None,
    valid: Tensor | None,
    output: Tensor,
    gates: Tensor,
    cells: Tensor,
    reverse: bool,
    backend: str,
) -> list[Tensor]:
    call = Call(x, h_0, c_0, w_ih, w_hh, bias, None, input_mask, recurrent_mask, valid, reverse)
    passes = PASSES.get(backend, eager.PASSES)
    kept = (gates, cells) if backend in PASSES else passes.forward(call, True)[1]
    found = passes.backward(call, output, kept, (d_output, d_h, d_c), (True,) * 6)
    return [g.contiguous() for g in found if g is not None]


@_backward.register_fake
def _(d_output: Tensor, d_h: Tensor, d_c: Tensor, *tensors: Any) -> list[Tensor]:
    return [t.new_empty(t.shape) for t in tensors[:6] if t is not None]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, ctx.reverse, ctx.backend, _ = inputs
    result, _, _, gates, cells = output
    ctx.save_for_backward(*tensors, result, gates, cells)


def _differentiate(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    shapes = saved[-3].shape, saved[1].shape, saved[2].shape
    full = [saved[0].new_zeros(shape) if g is None else g for g, shape in zip(grads[:3], shapes, strict=True)]
    found = iter(_backward(*full, *saved, ctx.reverse, ctx.backend))
    return (*(None if t is None else next(found) for t in saved[:6]), *[None] * 6)


_forward.register_autograd(_differentiate, setup_context=_keep)
