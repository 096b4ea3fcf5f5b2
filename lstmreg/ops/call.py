"""One call of the recurrence: the tensors that every file here computes with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from lstmreg.activations import Activation
from lstmreg.errors import InputError

V = TypeVar("V")


class Differentiable(NamedTuple, Generic[V]):
    """One thing for each tensor of a call that has a gradient: the tensor itself, its gradient, its shape."""

    x: V
    h_0: V
    c_0: V
    w_ih: V
    w_hh: V
    bias: V


class Call(NamedTuple):
    """The arguments of :func:`lstmreg.ops.lstm`, which describes them."""

    x: Tensor
    h_0: Tensor
    c_0: Tensor
    w_ih: Tensor
    w_hh: Tensor
    bias: Tensor | None
    w_hr: Tensor | None = None
    input_mask: Tensor | None = None
    recurrent_mask: Tensor | None = None
    valid: Tensor | None = None
    reverse: bool = False
    activations: tuple[Activation, Activation] = (torch.tanh, torch.sigmoid)
    short: torch.dtype | None = None
    """The type that autocast asks for; ``None`` where results have the tensors' own."""

    def check(self) -> None:
        """Raise an ``InputError`` if the tensors do not fit each other; compiled code would read beyond them."""
        if not self._fits():
            self._say_what_does_not()

    def _fits(self) -> bool:
        """Tell whether this is a call of one model without a projection, as nearly all are, and its tensors fit."""
        x, h_0, c_0, w_ih, w_hh, bias, w_hr, input_mask, recurrent_mask, valid, *_ = self
        if x.dim() != 3 or w_hh.dim() != 2 or w_hr is not None or valid is not None:
            return False
        (_, batch, features), (gates, hidden) = x.shape, w_hh.shape
        states = batch, hidden
        return (
            gates == 4 * hidden
            and h_0.shape == states
            and c_0.shape == states
            and w_ih.shape == (gates, features)
            and (bias is None or bias.shape == (gates,))
            and (input_mask is None or _is_mask(input_mask, batch, features))
            and (recurrent_mask is None or _is_mask(recurrent_mask, batch, hidden))
        )

    def _say_what_does_not(self) -> None:
        *lead, gates, width = self.w_hh.shape
        steps, batch, features = self.x.shape[-3:]
        models, hidden = tuple(lead), gates // 4
        states = (batch, width) if self.w_hr is not None else (batch, hidden)
        expected = [
            ("h_0", self.h_0, (*models, *states)),
            ("c_0", self.c_0, (*models, batch, hidden)),
            ("w_ih", self.w_ih, (*models, 4 * hidden, features)),
            ("w_hh", self.w_hh, (*models, 4 * hidden, states[1])),
            ("bias", self.bias, (*models, 4 * hidden)),
        ]
        for name, mask, size in (
            ("input_mask", self.input_mask, features),
            ("recurrent_mask", self.recurrent_mask, states[1]),
        ):
            if mask is not None:
                groups = 4 if mask.dim() > 2 and mask.shape[-3] == 4 else 1
                expected.append((name, mask, (*models, groups, batch, size)))
        if self.x.dim() > 3:
            expected.append(("x", self.x, (*models, steps, batch, features)))
        if self.valid is not None:
            lead_of_valid = models if self.valid.dim() > 2 else ()
            expected.append(("valid", self.valid, (*lead_of_valid, steps, batch)))
            if self.valid.dtype != torch.bool:
                raise ValueError(f"valid must be a bool tensor, got {self.valid.dtype}.")
        for name, tensor, shape in expected:
            if tensor is not None and tensor.shape != shape:
                raise InputError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}.")

    @property
    def differentiable(self) -> tuple[Tensor | None, ...]:
        """The tensors that have gradients in every backend, in the order of :class:`Differentiable`."""
        return self.x, self.h_0, self.c_0, self.w_ih, self.w_hh, self.bias

    def with_differentiable(self, tensors: Iterable[Tensor | None]) -> Call:
        """Return a call with other tensors in their places."""
        return self._replace(**Differentiable._make(tensors)._asdict())

    @property
    def has_trained_mask(self) -> bool:
        """Whether a mask asks for a gradient."""
        x_mask, h_mask = self.input_mask, self.recurrent_mask
        return (x_mask is not None and x_mask.requires_grad) or (h_mask is not None and h_mask.requires_grad)

    def why_not_by_hand(self) -> str | None:
        """Return why no backward pass that is written by hand serves it, or ``None``."""
        if self.w_hr is not None:
            return "it has no projection"
        if not self.is_standard:
            return "its activations are tanh and sigmoid"
        if 0 in self.x.shape[-3:-1]:
            return "it needs at least one step and one sequence"
        return "it has no gradients of masks" if self.has_trained_mask else None

    @property
    def result_type(self) -> torch.dtype:
        """The type of the results."""
        return self.short or self.x.dtype

    def shortened(self) -> Call:
        """Return a call whose tensors have the type of the results, as ``nn.LSTM`` casts them under autocast."""
        return self if self.short is None else self.cast(self.short)

    def cast(self, dtype: torch.dtype) -> Call:
        """Return a call with all its tensors in one type."""
        tensors = {name: t for name, t in self._asdict().items() if isinstance(t, Tensor) and name != "valid"}
        changed: dict[str, Any] = {name: t.to(dtype) for name, t in tensors.items() if t.dtype is not dtype}
        return self._replace(**changed, short=None)

    @property
    def models(self) -> int | None:
        """The number of models, ``K``, or ``None`` without that axis."""
        return self.w_hh.shape[0] if self.w_hh.dim() == 3 else None

    @property
    def steps(self) -> int:
        """The number of steps, ``T``."""
        return self.x.shape[-3]

    @property
    def order(self) -> list[int]:
        """The steps in the order of the pass."""
        steps = range(self.steps)
        return list(reversed(steps) if self.reverse else steps)

    @property
    def is_standard(self) -> bool:
        """Whether the activations are tanh and sigmoid."""
        return self.activations == (torch.tanh, torch.sigmoid)


def _is_mask(mask: Tensor, batch: int, width: int) -> bool:
    return mask.shape in ((4, batch, width), (1, batch, width))


#: ``output (T, B, H)``, ``h_n (B, H)``, ``c_n (B, H)``; a leading ``K`` where the weights have it.
Result = tuple[Tensor, Tensor, Tensor]
