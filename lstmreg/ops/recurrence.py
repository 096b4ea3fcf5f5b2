"""Joins backends that bring their own backward pass to autograd.

Their backward pass gives first derivatives, one set at a time. What goes beyond that, second derivatives and batches
of cotangents, is rare, and is computed by the definition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from lstmreg.tracing import has_batch, in_forward_mode, in_transform, is_compiling

from . import penalties, reference
from .call import Call, Differentiable, Result
from .penalties import Costs, Strengths

V = TypeVar("V")
Named = TypeVar("Named", bound=tuple[Any, ...])

Gradients = Differentiable[Tensor | None]


class Cotangents(NamedTuple):
    """Gradients of a result; ``None`` where nothing asked for one."""

    output: Tensor | None = None
    h_n: Tensor | None = None
    c_n: Tensor | None = None


class Kept(NamedTuple, Generic[V]):
    """What a forward pass keeps for the backward pass (the tensors, or their shapes); each backend in its layout."""

    gates: V
    cells: V


class Inputs(NamedTuple):
    """The tensors of a call of a backend with two passes, which autograd takes one by one."""

    x: Tensor
    h_0: Tensor
    c_0: Tensor
    w_ih: Tensor
    w_hh: Tensor
    bias: Tensor | None
    input_mask: Tensor | None
    recurrent_mask: Tensor | None
    valid: Tensor | None

    @classmethod
    def of(cls, call: Call) -> Inputs:
        """Return those of a call."""
        masks = call.input_mask, call.recurrent_mask, call.valid
        return cls(call.x, call.h_0, call.c_0, call.w_ih, call.w_hh, call.bias, *masks)

    def call(self, reverse: bool) -> Call:
        """Return the call that they are the tensors of."""
        return _call(self, reverse)


def take(kind: type[Named], flat: Sequence[Any]) -> tuple[Named, Sequence[Any]]:
    """Take a named tuple off the beginning of what autograd has as one flat sequence; return it, and the rest."""
    count = len(kind._fields)  # type: ignore[attr-defined]
    return kind(*flat[:count]), flat[count:]


class TwoPasses(Protocol):
    """A backend with a forward and a backward pass."""

    def result_type(self, call: Call) -> torch.dtype:
        """Return the type of the results."""
        ...

    def kept_shapes(self, call: Call) -> Kept[tuple[int, ...]]:
        """Return the shapes of what ``forward`` keeps."""
        ...

    def forward(self, call: Call, keep: bool) -> tuple[Result, Kept[Tensor] | None]:
        """Return the result and, if ``keep``, what ``backward`` needs."""
        ...

    def backward(
        self, call: Call, output: Tensor, kept: Kept[Tensor], grads: Cotangents, needed: Differentiable[bool]
    ) -> Gradients:
        """Return the gradients, at least where they are ``needed``."""
        ...


class PenalisedPasses(TwoPasses, Protocol):
    """One that forms elastic nets along with them."""

    def penalised(self, call: Call, strengths: Strengths) -> tuple[Result, Kept[Tensor], Costs]:
        """Return what ``forward`` does, keeping what it can, and what the nets cost on the weights and the output."""
        ...

    def slopes(self, strengths: Strengths, d_total: Tensor | None, d_parts: Tensor | None) -> Any:
        """Return what ``backward`` needs of the nets and of the gradients of what they cost."""
        ...

    def concerns_output(self, slopes: Any) -> bool:
        """Tell whether a gradient comes from the output by them."""
        ...

    def backward(
        self,
        call: Call,
        output: Tensor,
        kept: Kept[Tensor],
        grads: Cotangents,
        needed: Differentiable[bool],
        slopes: Any = ...,
    ) -> Gradients:
        """Return the gradients, those of the nets included."""
        ...


def why_not_from_memory() -> str | None:
    """Return why no code that reads tensors' memory can serve what is at work, or ``None``."""
    if not is_compiling() and in_transform():
        return "the tensors of torch.func have no memory that it could read"
    return "it has no forward derivatives" if in_forward_mode() else None


def run(
    call: Call, passes: PenalisedPasses | TwoPasses, strengths: Strengths | None = None
) -> tuple[Result, Costs | None]:
    """Compute a call, so that autograd can go back through it, and what it costs, if ``strengths`` say.

    The costs have gradients, and are computed only where somebody may go back and no function transform is at work.
    """
    if not wants_gradients(call):
        return passes.forward(call, keep=False)[0], None
    if in_transform():
        output, h_n, c_n, *_ = _Transformable.apply(passes, call.reverse, *Inputs.of(call))  # type: ignore[no-untyped-call]
        return (output, h_n, c_n), None
    recurrence: Any = _Recurrence
    output, h_n, c_n, *costs = recurrence.apply(passes, call.reverse, strengths, *call[:6], *call[7:10])  # as Inputs
    return (output, h_n, c_n), Costs(*costs) if costs else None


def wants_gradients(call: Call) -> bool:
    """Tell whether a call may be followed by a backward pass."""
    if not torch.is_grad_enabled():
        return False
    x, h_0, c_0, w_ih, w_hh, bias, *_ = call
    if w_hh.requires_grad or w_ih.requires_grad or x.requires_grad or h_0.requires_grad or c_0.requires_grad:
        return True
    return bias is not None and bias.requires_grad


class _Transformable(torch.autograd.Function):
    """As ``torch.func`` wants it, which looks at the forward function's signature in every call."""

    @staticmethod
    def forward(passes: TwoPasses, reverse: bool, *tensors: Any) -> tuple[Tensor, ...]:
        result, kept = passes.forward(_call(tensors, reverse), keep=True)
        assert kept is not None
        return *result, *kept

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.passes, ctx.reverse, *tensors = inputs
        outputs, _, _, *kept = output
        ctx.save_for_backward(*tensors, outputs, *kept)
        ctx.mark_non_differentiable(*kept)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        cotangents, _ = take(Cotangents, grads)
        return (None, None, *_gradients(ctx, ctx.saved_tensors, cotangents, ctx.needs_input_grad[2:]), *_OF_MASKS)


class _Recurrence(torch.autograd.Function):
    """The same for plain PyTorch, without that cost; and with what the elastic nets cost."""

    @staticmethod
    def forward(ctx: Any, passes: Any, reverse: bool, strengths: Strengths | None, *tensors: Any) -> Any:
        call = _call(tensors, reverse)
        costs: Sequence[Tensor] = ()
        if strengths is None:
            result, kept = passes.forward(call, keep=True)
        else:
            result, kept, costs = passes.penalised(call, strengths)
            # Beside what is saved, since they outlive it: the costs of weights can be gone back through once more.
            ctx.weights = call.w_ih, call.w_hh, call.bias
            ctx.versions = _versions(ctx.weights)
        ctx.passes, ctx.reverse, ctx.strengths = passes, reverse, strengths
        ctx.save_for_backward(*tensors, result[0], *kept)
        ctx.set_materialize_grads(False)
        return *result, *costs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        needed = ctx.needs_input_grad[3:]
        if ctx.strengths is None:
            return (None, None, None, *_gradients(ctx, ctx.saved_tensors, Cotangents(*grads), needed), *_OF_MASKS)
        ctx.is_spent = True
        return (None, None, None, *_penalised_gradients(ctx, grads, needed), *_OF_MASKS)


def _call(inputs: Sequence[Any], reverse: bool) -> Call:
    """Return the call of some inputs, in their order."""
    x, h_0, c_0, w_ih, w_hh, bias, input_mask, recurrent_mask, valid = inputs
    return Call(x, h_0, c_0, w_ih, w_hh, bias, None, input_mask, recurrent_mask, valid, reverse)


#: The gradients of the masks and of what is valid.
_OF_MASKS = (None,) * (len(Inputs._fields) - len(Differentiable._fields))


def _gradients(ctx: Any, saved: Sequence[Any], cotangents: Cotangents, needed_of_inputs: Sequence[bool]) -> Gradients:
    """Return the gradients of a call's tensors from those of its results."""
    *inputs, output, gates, cells = saved
    call, needed = _call(inputs, ctx.reverse), Differentiable(*needed_of_inputs[: -len(_OF_MASKS)])
    if in_transform() or has_batch(cotangents):
        return _by_definition(call, cotangents)
    if not torch.is_grad_enabled():
        found: Gradients = ctx.passes.backward(call, output, Kept(gates, cells), cotangents, needed)
        return found
    with torch.no_grad():  # create_graph=True
        found = ctx.passes.backward(call, output, Kept(gates, cells), cotangents, needed)
    return Differentiable(*_Again.apply(ctx.reverse, *found, *inputs, *cotangents))  # type: ignore[no-untyped-call]


def _penalised_gradients(ctx: Any, grads: Sequence[Tensor | None], needed_of_inputs: Sequence[bool]) -> Gradients:
    """Return the same with the gradients of the elastic nets."""
    d_output, d_h, d_c, d_total, d_parts = grads
    if torch.is_grad_enabled() or has_batch(grads):
        return _penalised_in_operations(ctx, grads, needed_of_inputs)
    slopes = ctx.passes.slopes(ctx.strengths, d_total, d_parts)
    if d_output is None and d_h is None and d_c is None and not ctx.passes.concerns_output(slopes):
        return _of_weights_alone(ctx, d_total, d_parts)
    *inputs, output, gates, cells = ctx.saved_tensors
    call, needed = _call(inputs, ctx.reverse), Differentiable(*needed_of_inputs[: -len(_OF_MASKS)])
    cotangents, kept = Cotangents(d_output, d_h, d_c), Kept(gates, cells)
    found: Gradients = ctx.passes.backward(call, output, kept, cotangents, needed, slopes)
    return found


def _penalised_in_operations(ctx: Any, grads: Sequence[Tensor | None], needed_of_inputs: Sequence[bool]) -> Gradients:
    d_output, d_h, d_c, d_total, d_parts = grads
    saved = ctx.saved_tensors
    penalised = *ctx.weights, saved[len(Inputs._fields)]
    *of_weights, of_output = penalties.gradients(ctx.strengths, d_total, d_parts, penalised)
    cotangents = Cotangents(penalties.added(d_output, of_output), d_h, d_c)
    x, h_0, c_0, *found = _gradients(ctx, saved, cotangents, needed_of_inputs)
    return Differentiable(x, h_0, c_0, *map(penalties.added, found, of_weights))


def _of_weights_alone(ctx: Any, d_total: Tensor | None, d_parts: Tensor | None) -> Gradients:
    """Return the gradients of the costs of weights, which can be had after all that was saved is gone."""
    if _versions(ctx.weights) != ctx.versions:
        raise RuntimeError("a penalised weight was changed in place between the forward and the backward pass.")
    *of_weights, _ = penalties.gradients(ctx.strengths, d_total, d_parts, (*ctx.weights, None))
    return Differentiable(None, None, None, *of_weights)


def _versions(tensors: Sequence[Tensor | None]) -> list[int | None]:
    return [None if t is None else t._version for t in tensors]


class _Again(torch.autograd.Function):
    """Hands gradients on, as functions of what they depend on; their own derivatives are those of the definition."""

    @staticmethod
    def forward(ctx: Any, reverse: bool, *tensors: Any) -> tuple[Tensor | None, ...]:
        found, sources = take(Differentiable, tensors)
        ctx.reverse = reverse
        ctx.save_for_backward(*sources)
        ctx.set_materialize_grads(False)
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        saved = ctx.saved_tensors
        inputs, of_results = take(Inputs, saved)
        call, cotangents = inputs.call(ctx.reverse), Cotangents(*of_results)
        if all(g is None for g in grads):
            return (None, *[None] * len(grads), *[None] * len(saved))

        def gradients(*leaves: Tensor) -> tuple[Tensor, ...]:
            given = iter(leaves)
            replaced = call.with_differentiable(_in_places(call.differentiable, given))
            found = _by_definition(replaced, Cotangents(*_in_places(cotangents, given)))
            return tuple(f for f, g in zip(found, grads, strict=True) if f is not None and g is not None)

        leaves = [t for t in (*call.differentiable, *cotangents) if t is not None]
        _, pull = torch.func.vjp(gradients, *leaves)  # type: ignore[misc]
        slopes = iter(pull(tuple(g for g in grads if g is not None)))
        of_tensors, of_cotangents = _in_places(call.differentiable, slopes), _in_places(cotangents, slopes)
        of_masks = [None] * (len(inputs) - len(of_tensors))
        return (None, *[None] * len(grads), *of_tensors, *of_masks, *of_cotangents)


def _by_definition(call: Call, grads: Cotangents) -> Gradients:
    """Return a call's gradients in operations that can be batched and differentiated again."""

    def outputs(*leaves: Tensor) -> tuple[Tensor, ...]:
        replaced = call.with_differentiable(_in_places(call.differentiable, iter(leaves)))
        return tuple(y for y, g in zip(reference.lstm(replaced), grads, strict=True) if g is not None)

    _, pull = torch.func.vjp(outputs, *(t for t in call.differentiable if t is not None))  # type: ignore[misc]
    found = iter(pull(tuple(g.to(call.x.dtype) for g in grads if g is not None)))  # results may be shorter
    return Differentiable(*_in_places(call.differentiable, found))


def _in_places(places: Sequence[Tensor | None], given: Iterator[Tensor]) -> list[Tensor | None]:
    """Take a tensor for each place that has one."""
    return [None if place is None else next(given) for place in places]
