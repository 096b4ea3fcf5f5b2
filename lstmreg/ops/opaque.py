"""The recurrence as one operation that ``torch.compile`` and ``torch.export`` do not look into.

Traced, the loop over time would be unrolled: compiling would take minutes, and the number of steps would be fixed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import dispatch, eager, fused_cpu, fused_triton
from .call import Call, Differentiable, Result
from .recurrence import Cotangents, Inputs, Kept, TwoPasses, take, wants_gradients

#: Those of the backends that bring their own backward pass; for the others ``eager`` goes back, and once more forward.
PASSES: dict[str, TwoPasses] = {
    "fused_cpu": fused_cpu.PASSES,
    "fused_cpu in bfloat16": fused_cpu.SHORT_PASSES,
    "fused_triton": fused_triton.PASSES_OF_COMPILER,
    "eager": eager.PASSES,
}


def why_not(call: Call) -> str | None:
    """Return why a call is traced instead, or ``None``."""
    return eager.why_not(call)


def lstm(call: Call, backend: str) -> Result:
    """Compute what :func:`lstmreg.ops.lstm` defines, for a call that ``why_not`` admits."""
    # Chosen here, while the code is read, because what is kept for the backward pass depends on it.
    chosen = dispatch.choose(call, backend)
    if chosen == "fused_cpu":
        passes = "fused_cpu in bfloat16" if fused_cpu.multiplies_shorts(call) else chosen
        return fused_cpu.in_real(call, lambda real: _computed(real, passes))
    if call.short is None:
        return _computed(call, chosen)
    with torch.autocast(call.x.device.type, enabled=False):
        return _computed(call.shortened(), chosen)


def _computed(call: Call, backend: str) -> Result:
    output, h_n, c_n, *_ = _forward(*Inputs.of(call), call.reverse, backend, wants_gradients(call))
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
    call = Inputs(x, h_0, c_0, w_ih, w_hh, bias, input_mask, recurrent_mask, valid).call(reverse)
    kept = None
    if backend in PASSES:
        (output, h_n, c_n), kept = PASSES[backend].forward(call, training)
    else:
        (output, h_n, c_n), _ = dispatch.run(call, backend)
    gates, cells = kept or Kept(x.new_empty(0), x.new_empty(0))
    return output.contiguous(), h_n.clone(), c_n.clone(), gates, cells  # results may not share memory


@_forward.register_fake
def _(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    inputs, (reverse, backend, training) = take(Inputs, arguments)
    call, x, h_0, c_0 = inputs.call(reverse), inputs.x, inputs.h_0, inputs.c_0
    shapes = PASSES[backend].kept_shapes(call) if training and backend in PASSES else Kept((0,), (0,))
    dtype = PASSES[backend].result_type(call) if backend in PASSES else x.dtype
    output = x.new_empty(*h_0.shape[:-2], call.steps, *h_0.shape[-2:], dtype=dtype)
    gates, cells = (x.new_empty(shape) for shape in shapes)
    return output, h_0.new_empty(h_0.shape, dtype=dtype), c_0.new_empty(c_0.shape, dtype=dtype), gates, cells


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
    call = Inputs(x, h_0, c_0, w_ih, w_hh, bias, input_mask, recurrent_mask, valid).call(reverse)
    passes = PASSES.get(backend, eager.PASSES)
    kept = Kept(gates, cells) if backend in PASSES else passes.forward(call, True)[1]
    assert kept is not None
    every = Differentiable(x=True, h_0=True, c_0=True, w_ih=True, w_hh=True, bias=True)
    found = passes.backward(call, output, kept, Cotangents(d_output, d_h, d_c), every)
    return [g.contiguous() for g in found if g is not None]


@_backward.register_fake
def _(d_output: Tensor, d_h: Tensor, d_c: Tensor, *tensors: Any) -> list[Tensor]:
    differentiable, _ = take(Differentiable, tensors)
    return [t.new_empty(t.shape) for t in differentiable if t is not None]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    tensors, (ctx.reverse, ctx.backend, _) = take(Inputs, inputs)
    result, _, _, gates, cells = output
    ctx.save_for_backward(*tensors, result, gates, cells)


def _differentiate(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    inputs, (output, _, _) = take(Inputs, saved)
    cotangents, _ = take(Cotangents, grads)
    shapes = output.shape, inputs.h_0.shape, inputs.c_0.shape
    full = [
        inputs.x.new_zeros(shape, dtype=output.dtype) if g is None else g
        for g, shape in zip(cotangents, shapes, strict=True)
    ]
    found = iter(_backward(*full, *saved, ctx.reverse, ctx.backend))
    differentiable, masks = take(Differentiable, inputs)
    of_tensors = [None if t is None else next(found) for t in differentiable]
    return (*of_tensors, *[None] * len(masks), None, None, None)  # reverse, backend, training


_forward.register_autograd(_differentiate, setup_context=_keep)
