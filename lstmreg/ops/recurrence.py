"""Joins backends that bring their own backward pass, ``eager`` and ``fused_cpu``, to autograd.

Their backward pass gives first derivatives, one set at a time. What goes beyond that, second derivatives and batches
of cotangents, is rare, and is computed by the definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from lstmreg.tracing import in_transform, is_batch

from . import reference
from .call import Call, Result

#: Gradients of ``output``, ``h_n`` and ``c_n``; ``None`` where nothing asked for one.
Cotangents = tuple[Tensor | None, Tensor | None, Tensor | None]

#: Gradients of ``x, h_0, c_0, w_ih, w_hh, bias``.
Gradients = tuple[Tensor | None, ...]


class TwoPasses(Protocol):
    """A backend with a forward and a backward pass."""

    def kept_shapes(self, call: Call) -> tuple[tuple[int, ...], ...]:
        """Return the shapes of what ``forward`` keeps."""
        ...

    def forward(self, call: Call, keep: bool) -> tuple[Result, tuple[Tensor, ...]]:
        """Return the result and, if ``keep``, what ``backward`` needs."""
        ...

    def backward(
        self, call: Call, output: Tensor, kept: tuple[Tensor, ...], grads: Cotangents, needed: tuple[bool, ...]
    ) -> Gradients:
        """Return the gradients of a call's first six tensors, at least where they are ``needed``."""
        ...


def run(call: Call, passes: TwoPasses) -> Result:
    """Compute a call, so that autograd can go back through it."""
    wanted = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in call[:6])
    if not wanted:
        return passes.forward(call, keep=False)[0]
    tensors = (*call[:6], call.input_mask, call.recurrent_mask, call.valid)
    recurrence: Any = _Transformable if in_transform() else _Recurrence
    output, h_n, c_n, *_ = recurrence.apply(passes, call.reverse, *tensors)
    return output, h_n, c_n


def _call(reverse: bool, tensors: Sequence[Any]) -> Call:
    x, h_0, c_0, w_ih, w_hh, bias, input_mask, recurrent_mask, valid = tensors
    return Call(x, h_0, c_0, w_ih, w_hh, bias, None, input_mask, recurrent_mask, valid, reverse)


def _forward(passes: TwoPasses, reverse: bool, *tensors: Tensor | None) -> tuple[Tensor, ...]:
    result, kept = passes.forward(_call(reverse, tensors), keep=True)
    return *result, *kept


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.passes, ctx.reverse, *tensors = inputs
    ctx.save_for_backward(*tensors, output[0], *output[3:])
    ctx.mark_non_differentiable(*output[3:])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    saved = ctx.saved_tensors
    tensors, output, kept = saved[:9], saved[9], saved[10:]
    needed = ctx.needs_input_grad[2:8]
    call, cotangents = _call(ctx.reverse, tensors), grads[:3]
    if in_transform() or any(map(is_batch, cotangents)):
        found = _by_definition(call, cotangents)
    else:
        with torch.no_grad():
            found = ctx.passes.backward(call, output, kept, cotangents, needed)
        if torch.is_grad_enabled():  # create_graph=True
            found = _Again.apply(ctx.reverse, len(found), *found, *tensors, *cotangents)  # type: ignore[no-untyped-call]
    return (None, None, *found, None, None, None)


class _Transformable(torch.autograd.Function):
    """As ``torch.func`` wants it, which looks at the forward function's signature in every call."""

    forward = staticmethod(_forward)
    setup_context = staticmethod(_setup_context)
    backward = staticmethod(_backward)


class _Recurrence(torch.autograd.Function):
    """The same for plain PyTorch, without that cost."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        output = _forward(*inputs)
        _setup_context(ctx, inputs, output)
        return output

    backward = staticmethod(_backward)


class _Again(torch.autograd.Function):
    """Hands gradients on, as functions of what they depend on; their own derivatives are those of the definition."""

    @staticmethod
    def forward(ctx: Any, reverse: bool, count: int, *inputs: Any) -> Gradients:
        ctx.reverse, ctx.count = reverse, count
        ctx.save_for_backward(*inputs[count:])
        ctx.set_materialize_grads(False)
        return tuple(inputs[:count])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        saved = ctx.saved_tensors
        call, cotangents = _call(ctx.reverse, saved[:9]), saved[9:]
        if all(g is None for g in grads):
            return tuple([None] * (2 + ctx.count + len(saved)))

        def gradients(*leaves: Tensor) -> tuple[Tensor, ...]:
            given = iter(leaves)
            tensors = [None if t is None else next(given) for t in call[:6]]
            found = _by_definition(_with(call, tensors), [None if g is None else next(given) for g in cotangents])
            return tuple(f for f, g in zip(found, grads, strict=True) if f is not None and g is not None)

        differentiable = [*call[:6], *cotangents]
        leaves = [t for t in differentiable if t is not None]
        _, pull = torch.func.vjp(gradients, *leaves)  # type: ignore[misc]
        found = iter(pull(tuple(g for g in grads if g is not None)))
        of_tensors, of_grads = (
            [None if t is None else next(found) for t in part] for part in (differentiable[:6], cotangents)
        )
        return (None, None, *[None] * ctx.count, *of_tensors, None, None, None, *of_grads)


def _by_definition(call: Call, grads: Sequence[Tensor | None]) -> Gradients:
    """Return the gradients of a call's first six tensors in operations that can be batched and differentiated again."""

    def outputs(*leaves: Tensor) -> tuple[Tensor, ...]:
        given = iter(leaves)
        result = reference.lstm(_with(call, [None if t is None else next(given) for t in call[:6]]))
        return tuple(y for y, g in zip(result, grads, strict=True) if g is not None)

    _, pull = torch.func.vjp(outputs, *(t for t in call[:6] if t is not None))  # type: ignore[misc]
    found = iter(pull(tuple(g for g in grads if g is not None)))
    return tuple(None if t is None else next(found) for t in call[:6])


def _with(call: Call, tensors: Sequence[Tensor | None]) -> Call:
    """Return a call with other tensors in its first six places."""
    return Call._make((*tensors, *call[6:]))
