"""The two passes of a call, of one model or of K."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor

from lstmreg.ops.call import Call, Differentiable, Result
from lstmreg.ops.penalties import Costs, Strengths
from lstmreg.ops.recurrence import Cotangents, Gradients, Inputs, Kept, take

from . import costs, products, whole
from .graphs import Tensors, replayed
from .problem import Problem
from .slopes import Slopes
from .stepwise import Stepwise
from .whole import Whole

_WHOLE, _STEPWISE = Whole(), Stepwise()

#: Passes of fewer launches are not worth a recording, which costs copies.
_WORTH_RECORDING = 8


class _Pass(Protocol):
    """Launches a pass of a call."""

    def __call__(self, call: Call, problem: Problem, way: Whole | Stepwise, rest: Tensors) -> Tensors:
        """Return what it finds; ``rest`` are the tensors that it needs beside those of the call."""
        ...


def forward(call: Call, keep: bool, records: bool) -> tuple[Result, Kept[Tensor] | None]:
    """Return the result of a call and, if ``keep``, what ``backward`` needs.

    Args:
        call: The call.
        keep: Whether somebody may go back.
        records: Whether a pass of many launches may be recorded.
    """

    def launch(call: Call, problem: Problem, way: Whole | Stepwise, rest: Tensors) -> Tensors:
        found = way.forward(problem, products.gates_of_input(problem), keep)
        own: Sequence[Tensor] = found if call.models is not None else [t[0] for t in found]
        return own if keep else own[:3]

    output, h_n, c_n, *kept = _run(call, ("forward", keep), launch, (), records)
    assert output is not None
    assert h_n is not None
    assert c_n is not None
    return (output, h_n, c_n), Kept(*kept) if keep else None  # type: ignore[arg-type]


def penalised(call: Call, strengths: Strengths) -> tuple[Result, Kept[Tensor], Costs]:
    """Return what ``forward`` does, keeping what it can, and what the nets cost."""
    result, kept = forward(call, True, True)
    assert kept is not None
    with _on(call.x.device):
        return result, kept, costs.costs_of(_weights(call), result[0].contiguous(), strengths)


def backward(
    call: Call,
    output: Tensor,
    kept: Kept[Tensor],
    grads: Cotangents,
    needed: Differentiable[bool],
    slopes: Slopes,
    records: bool,
) -> Gradients:
    """Return the gradients of a call, at least where they are ``needed``, those of the nets included."""

    def launch(call: Call, problem: Problem, way: Whole | Stepwise, rest: Tensors) -> Tensors:
        (output, *kept), grads = rest[:3], Cotangents(*rest[3:6])
        of_costs = slopes._replace(d_total=rest[6], d_parts=rest[7])
        assert output is not None
        found = _gradients(call, problem, way, output, Kept(*kept), grads, needed.x, of_costs)  # type: ignore[arg-type]
        if of_costs.are_any:
            costs.add_to_gradients(found, _weights(call), of_costs)
        return found

    # Autograd keeps some zeros nowhere; what is absent is taken for zero.
    given = [None if g is None or g._is_zerotensor() else g for g in grads]
    rest = output, *kept, *given, slopes.d_total, slopes.d_parts
    return Differentiable(*_run(call, ("backward", needed.x, slopes.strengths), launch, rest, records))


def _weights(call: Call) -> tuple[Tensor, Tensor, Tensor | None]:
    w_ih, w_hh = (w.resolve_neg().contiguous() for w in (call.w_ih, call.w_hh))
    return w_ih, w_hh, None if call.bias is None else call.bias.resolve_neg().contiguous()


def _gradients(
    call: Call,
    problem: Problem,
    way: Whole | Stepwise,
    output: Tensor,
    kept: Kept[Tensor],
    grads: Cotangents,
    is_x_needed: bool,
    slopes: Slopes,
) -> Gradients:
    lead = (1,) if call.models is None else ()
    gates, cells, output = (t.view(*lead, *t.shape) for t in (*kept, output))
    own = Cotangents(*(None if g is None else g.resolve_neg().reshape(*lead, *g.shape).contiguous() for g in grads))
    d_gates, d_h_0, d_c_0 = way.backward(problem, output, Kept(gates, cells), own, slopes)
    before = problem.states_before(output)
    d_x = products.gradient_of_input(problem, d_gates) if is_x_needed else None
    if d_x is not None and len(problem.x) < len(d_x):
        d_x = d_x.sum(0)  # of data that the models share
    found = [
        d_x,
        d_h_0,
        d_c_0,
        products.gradient_of_weights(problem, d_gates, problem.x, problem.input_mask),
        products.gradient_of_weights(problem, d_gates, before, problem.recurrent_mask),
        None if call.bias is None else d_gates.sum((1, 2))[..., : problem.hidden].contiguous(),
    ]
    shapes = [None if t is None else t.shape for t in call.differentiable]
    return Differentiable._make(
        None if g is None or s is None else g.reshape(s) for g, s in zip(found, shapes, strict=True)
    )


def _run(call: Call, kind: tuple[object, ...], launch: _Pass, rest: Tensors, records: bool) -> Tensors:
    """Run a pass, which may be a recording of it."""
    with _on(call.x.device):
        problem = Problem.of(call)
        if whole.serves(problem):
            return launch(call, problem, _WHOLE, rest)
        if not records or problem.steps < _WORTH_RECORDING:
            return launch(call, problem, _STEPWISE, rest)

        def again(given: Tensors) -> Tensors:
            inputs, others = take(Inputs, given)
            own = inputs.call(call.reverse)
            return launch(own, Problem.of(own), _STEPWISE, others)

        return replayed((*kind, call.reverse, problem.precision), again, (*Inputs.of(call), *rest))


def _on(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which Triton launches there, and not on the device that happens to be torch's."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
