"""Joins backends that bring their own backward pass, ``eager`` and ``fused_cpu``, to autograd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from lstmreg.tracing import in_forward_mode, is_transformed

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
    """Compute a call, so that autograd can go back through it once."""
    wanted = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in call[:6])
    if not wanted and not in_forward_mode():  # which torch refuses by itself, where it is not provided for
        return passes.forward(call, keep=False)[0]
    tensors = (*call[:6], call.input_mask, call.recurrent_mask, call.valid)
    recurrence: Any = _Transformable if is_transformed() else _Recurrence
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
    with torch.no_grad():
        found = ctx.passes.backward(_call(ctx.reverse, tensors), output, kept, grads[:3], needed)
    if torch.is_grad_enabled():  # create_graph=True
        found = _Once.apply(found, *tensors, *grads[:3])  # type: ignore[no-untyped-call]
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


class _Once(torch.autograd.Function):
    """Hands gradients on, as functions of what they depend on, and refuses to be differentiated itself."""

    @staticmethod
    def forward(grads: Gradients, *inputs: Tensor | None) -> Gradients:
        return grads

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise RuntimeError(
            "this LSTM's backward pass cannot be differentiated again (nor can cuDNN's). "
            "Use backend='reference' for second derivatives."
        )
