"""The recurrence as one operation that ``torch.compile`` does not look into.

Traced, the loop over time would be unrolled, and compiling would take minutes. The backward runs the reference
once more under autograd and asks it for the gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lstmreg.activations import ACTIVATIONS

from . import dispatch


def lstm(
    *,
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor | None,
    w_hr: Tensor | None,
    input_mask: Tensor | None,
    recurrent_mask: Tensor | None,
    valid: Tensor | None,
    reverse: bool,
    activations: tuple[str, str],
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what :func:`lstmreg.ops.lstm` defines; activations go by their names."""
    tensors = [x, h_0, c_0, w_ih, w_hh, bias, w_hr, input_mask, recurrent_mask, valid]
    result: tuple[Tensor, Tensor, Tensor] = _forward(*tensors, reverse, *activations, backend)
    return result


def _call(tensors: list[Any], reverse: bool, activation: str, recurrent: str, backend: str) -> Any:
    x, h_0, c_0, w_ih, w_hh, bias, w_hr, input_mask, recurrent_mask, valid = tensors
    return dispatch.run(
        backend,
        x,
        h_0,
        c_0,
        w_ih,
        w_hh,
        bias,
        w_hr=w_hr,
        input_mask=input_mask,
        recurrent_mask=recurrent_mask,
        valid=valid,
        reverse=reverse,
        activations=(ACTIVATIONS[activation], ACTIVATIONS[recurrent]),
    )


@torch.library.custom_op("lstmreg::lstm", mutates_args=())
def _forward(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor | None,
    w_hr: Tensor | None,
    input_mask: Tensor | None,
    recurrent_mask: Tensor | None,
    valid: Tensor | None,
    reverse: bool,
    activation: str,
    recurrent_activation: str,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    tensors = [x, h_0, c_0, w_ih, w_hh, bias, w_hr, input_mask, recurrent_mask, valid]
    output, h_n, c_n = _call(tensors, reverse, activation, recurrent_activation, backend)
    return output.contiguous(), h_n.clone(), c_n.clone()  # an operation's results may not share memory


@_forward.register_fake
def _(x: Tensor, h_0: Tensor, c_0: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(*x.shape[:2], h_0.shape[-1]), h_0.new_empty(h_0.shape), c_0.new_empty(c_0.shape)


@torch.library.custom_op("lstmreg::lstm_backward", mutates_args=())
def _backward(
    grads: list[Tensor],
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor | None,
    w_hr: Tensor | None,
    input_mask: Tensor | None,
    recurrent_mask: Tensor | None,
    valid: Tensor | None,
    reverse: bool,
    activation: str,
    recurrent_activation: str,
) -> list[Tensor]:
    """Return the gradients of the first seven tensors that are there."""
    with torch.enable_grad():
        leaves = [None if t is None else t.detach().requires_grad_() for t in (x, h_0, c_0, w_ih, w_hh, bias, w_hr)]
        results = _call(
            [*leaves, input_mask, recurrent_mask, valid], reverse, activation, recurrent_activation, "reference"
        )
        return list(torch.autograd.grad(results, [t for t in leaves if t is not None], grads))


@_backward.register_fake
def _(grads: list[Tensor], *tensors: Any) -> list[Tensor]:
    return [torch.empty_like(t) for t in tensors[:7] if t is not None]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, reverse, activation, recurrent_activation, _ = inputs
    ctx.save_for_backward(*tensors)
    ctx.settings = (reverse, activation, recurrent_activation)


def _differentiate(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    tensors = ctx.saved_tensors
    x, h_0, c_0, *_ = tensors
    like = (x.new_empty(*x.shape[:2], h_0.shape[-1]), h_0, c_0)
    full = [torch.zeros_like(t) if g is None else g for g, t in zip(grads, like, strict=True)]
    found = iter(_backward(full, *tensors, *ctx.settings))
    return (*(None if t is None else next(found) for t in tensors[:7]), *[None] * 7)


_forward.register_autograd(_differentiate, setup_context=_keep)
