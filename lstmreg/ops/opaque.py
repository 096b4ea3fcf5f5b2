"""The recurrence as one operation that ``torch.compile`` and ``torch.export`` do not look into.

Traced, the loop over time would be unrolled: compiling would take minutes, and the number of steps would be fixed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import backward, dispatch
from .call import Call, Result


def why_not(call: Call) -> str | None:
    """Return why a call is traced instead, or ``None``."""
    if call.w_hr is not None:
        return "it has no projection"
    if not call.is_standard:
        return "its gradients are those of tanh and sigmoid"
    return None


def lstm(call: Call, backend: str) -> Result:
    """Compute what :func:`lstmreg.ops.lstm` defines, for a call that ``why_not`` admits."""
    weights = call.w_ih, call.w_hh, call.bias
    masks = call.input_mask, call.recurrent_mask, call.valid
    result: Result = _forward(call.x, call.h_0, call.c_0, *weights, *masks, call.reverse, backend)
    return result


def _call(
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
) -> Call:
    return Call(x, h_0, c_0, w_ih, w_hh, bias, None, input_mask, recurrent_mask, valid, reverse)


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
) -> tuple[Tensor, Tensor, Tensor]:
    call = _call(x, h_0, c_0, w_ih, w_hh, bias, input_mask, recurrent_mask, valid, reverse)
    output, h_n, c_n = dispatch.run(call, backend)
    return output.contiguous(), h_n.clone(), c_n.clone()  # an operation's results may not share memory


@_forward.register_fake
def _(x: Tensor, h_0: Tensor, c_0: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(*x.shape[:2], h_0.shape[-1]), h_0.new_empty(h_0.shape), c_0.new_empty(c_0.shape)


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
    reverse: bool,
) -> list[Tensor]:
    call = _call(x, h_0, c_0, w_ih, w_hh, bias, input_mask, recurrent_mask, valid, reverse)
    return [g.contiguous() for g in backward.gradients(call, (d_output, d_h, d_c))]


@_backward.register_fake
def _(d_output: Tensor, d_h: Tensor, d_c: Tensor, *tensors: Any) -> list[Tensor]:
    return [t.new_empty(t.shape) for t in tensors[:6] if t is not None]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, ctx.reverse, _ = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    x, h_0, c_0, *_ = ctx.saved_tensors
    shapes = ((*x.shape[:2], h_0.shape[-1]), h_0.shape, c_0.shape)
    full = [x.new_zeros(shape) if g is None else g for g, shape in zip(grads, shapes, strict=True)]
    found = iter(_backward(*full, *ctx.saved_tensors, ctx.reverse))
    return (*(None if t is None else next(found) for t in ctx.saved_tensors[:6]), *[None] * 5)


_forward.register_autograd(_differentiate, setup_context=_keep)
