"""Joins backends that bring their own backward pass, ``eager`` and ``fused_cpu``, to autograd."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from .call import Call, Result

#: Gradients of ``output``, ``h_n`` and ``c_n``; ``None`` where nothing asked for one.
Cotangents = tuple[Tensor | None, Tensor | None, Tensor | None]

#: Gradients of ``x, h_0, c_0, w_ih, w_hh, bias``.
Gradients = tuple[Tensor | None, ...]


class TwoPasses(Protocol):
    """A backend with a forward and a backward pass."""

    def forward(self, call: Call, keep: bool) -> tuple[Result, tuple[Tensor, ...]]:
        """Return the result and, if ``keep``, what ``backward`` needs."""
        ...

    def backward(
        self, call: Call, output: Tensor, kept: tuple[Tensor, ...], grads: Cotangents, needed: tuple[bool, ...]
    ) -> Gradients:
        """Return the gradients of a call's first six tensors, at least where they are ``needed``."""
        ...


def run(call: Call, passes: TwoPasses) -> Result:
    """Compute a call, so that autograd can go back through it once."""
    if not (torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in call[:6])):
        return passes.forward(call, keep=False)[0]
    tensors = (*call[:6], call.input_mask, call.recurrent_mask, call.valid)
    output, h_n, c_n, *_ = _Recurrence.apply(passes, call.reverse, *tensors)
    return output, h_n, c_n


def _call(reverse: bool, tensors: tuple[Any, ...]) -> Call:
    return Call(*tensors[:6], None, *tensors[6:], reverse=reverse)


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(passes: TwoPasses, reverse: bool, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        result, kept = passes.forward(_call(reverse, tensors), keep=True)
        return *result, *kept

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.passes, ctx.reverse, *tensors = inputs
        ctx.save_for_backward(*tensors, output[0], *output[3:])
        ctx.mark_non_differentiable(*output[3:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        tensors, output, kept = ctx.saved_tensors[:9], ctx.saved_tensors[9], ctx.saved_tensors[10:]
        needed = ctx.needs_input_grad[2:8]
        with torch.no_grad():
            found = ctx.passes.backward(_call(ctx.reverse, tensors), output, kept, grads[:3], needed)
        if torch.is_grad_enabled():  # create_graph=True
            found = _Once.apply(*found)
        return (None, None, *found, None, None, None)


class _Once(torch.autograd.Function):
    """Hands gradients on, and refuses to be differentiated itself."""

    @staticmethod
    def forward(*grads: Tensor | None) -> tuple[Tensor | None, ...]:
        return tuple(None if g is None else g.view_as(g) for g in grads)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise RuntimeError(
            "this LSTM's backward pass cannot be differentiated again (nor can cuDNN's). "
            "Use backend='reference' for second derivatives."
        )
