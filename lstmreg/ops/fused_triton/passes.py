"""The two passes of a call, of one model or of K."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from lstmreg.ops.call import Call, Differentiable, Result
from lstmreg.ops.recurrence import Cotangents, Gradients, Kept

from . import products, whole
from .problem import Problem
from .stepwise import Stepwise
from .whole import Whole

_WHOLE, _STEPWISE = Whole(), Stepwise()


def forward(call: Call, keep: bool) -> tuple[Result, Kept[Tensor] | None]:
    """Return the result of a call and, if ``keep``, what ``backward`` needs."""
    with _on(call.x.device):
        problem = Problem.of(call)
        found = _way(problem).forward(problem, products.gates_of_input(problem), keep)
        result = _as_asked(call, found[:3])
        return (result[0], result[1], result[2]), Kept(*_as_asked(call, found[3:])) if keep else None


def backward(
    call: Call, output: Tensor, kept: Kept[Tensor], grads: Cotangents, needed: Differentiable[bool]
) -> Gradients:
    """Return the gradients of a call, at least where they are ``needed``."""
    with _on(call.x.device):
        problem = Problem.of(call)
        one = call.models is None
        lead = (1,) if one else ()
        gates, cells, output = (t.view(*lead, *t.shape) for t in (*kept, output))
        own = Cotangents(*(None if g is None else _laid_out(g, lead) for g in grads))
        d_gates, d_h_0, d_c_0 = _way(problem).backward(problem, gates, cells, own)
        before = problem.states_before(output)
        d_x = products.gradient_of_input(problem, d_gates) if needed.x else None
        if d_x is not None and call.models is not None and call.x.dim() == 3:
            d_x = d_x.sum(0, keepdim=True)  # of data that the models share
        found = [
            d_x,
            d_h_0,
            d_c_0,
            products.gradient_of_weights(problem, d_gates, problem.x, problem.input_mask),
            products.gradient_of_weights(problem, d_gates, before, problem.recurrent_mask),
            None if call.bias is None else d_gates.sum((1, 2))[..., : problem.hidden],
        ]
        shapes = [None if t is None else t.shape for t in call.differentiable]
        return Differentiable._make(
            None if g is None or s is None else g.reshape(s) for g, s in zip(found, shapes, strict=True)
        )


def _way(problem: Problem) -> Whole | Stepwise:
    return _WHOLE if whole.serves(problem) else _STEPWISE


def _on(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which Triton launches there, and not on the device that happens to be torch's."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _as_asked(call: Call, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tensors if call.models is not None else tuple(t[0] for t in tensors)


def _laid_out(grad: Tensor, lead: tuple[int, ...]) -> Tensor:
    return grad.reshape(*lead, *grad.shape).contiguous()
