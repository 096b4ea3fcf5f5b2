"""Elastic nets on the weights of a pass and on its output: their sums and gradients, formed where the pass has them.

What a small layer costs is not arithmetic but nodes of autograd, and memory that is gone through once more.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

#: ``(l1, l2)`` of one elastic net: on absolute values and on squares.
Strength: TypeAlias = tuple[float, float]


class Strengths(NamedTuple):
    """The elastic nets of a pass; ``None`` where there is none."""

    kernel: Strength | None = None
    recurrent: Strength | None = None
    bias: Strength | None = None
    activity: Strength | None = None


class Costs(NamedTuple):
    """What the elastic nets of a pass come to."""

    total: Tensor
    """Their sum, a scalar."""

    parts: Tensor
    """Each of them ``(4)``, in the order of :class:`Strengths`; 0 where there is none."""

    @property
    def is_spent(self) -> bool:
        """Whether a backward pass has gone through; then most of the graph is gone."""
        return bool(getattr(self.total.grad_fn, "is_spent", False))


def costs(strengths: Strengths, penalised: tuple[Tensor | None, ...]) -> Costs:
    """Return what elastic nets cost on tensors, in the order of their strengths."""
    parts, dtype = [], torch.float32
    for strength, w in zip(strengths, penalised, strict=True):
        part = 0.0
        if strength is not None and w is not None:
            (l1, l2), flat = strength, w.reshape(-1)
            if flat.dtype is torch.float64:
                dtype = torch.float64
            elif flat.dtype is not torch.float32:
                flat = flat.float()  # in half precision it is the sum that would lose digits
            if l2:
                part = l2 * torch.dot(flat, flat).item()
            if l1:
                part += l1 * flat.abs().sum().item()
        parts.append(part)
    return Costs(torch.full((), sum(parts), dtype=dtype), torch.tensor(parts, dtype=dtype))


def slopes(
    strengths: Strengths, d_total: Tensor | None, d_parts: Tensor | None, numbers: bool
) -> list[tuple[Tensor | float, Tensor | float] | None]:
    """Return by what ``sign(w)`` and ``w`` enter the gradient of each net; ``None`` where they do not.

    Args:
        strengths: Those of the nets.
        d_total: The gradient of the total.
        d_parts: Those of the parts.
        numbers: Whether they are wanted as numbers, through which autograd does not see.
    """
    if d_total is None and d_parts is None:
        return [None] * len(strengths)
    total: Tensor | float = 0.0 if d_total is None else d_total.item() if numbers else d_total
    parts = _NO_PARTS if d_parts is None else d_parts.tolist() if numbers else d_parts.unbind(-1)
    found: list[tuple[Tensor | float, Tensor | float] | None] = []
    for strength, part in zip(strengths, parts, strict=True):
        scale = total + part
        is_there = strength is not None and not (numbers and scale == 0)
        found.append((strength[0] * scale, 2 * strength[1] * scale) if is_there else None)
    return found


_NO_PARTS = (0.0,) * len(Strengths._fields)


def added(
    gradient: Tensor | None, w: Tensor, slope: tuple[Tensor | float, Tensor | float], *, own: bool = False
) -> Tensor:
    """Add the gradient of a net on ``w`` to another, if there is one; in place if it is our ``own``."""
    of_sign, of_value = slope
    if isinstance(of_value, Tensor) or isinstance(of_sign, Tensor):
        found = of_value * w + of_sign * w.sign()
        return found if gradient is None else gradient + found
    if gradient is None:
        found = w * of_value
    elif own:
        found = gradient.add_(w, alpha=of_value)
    else:
        found = torch.add(gradient, w, alpha=of_value)
    return found.add_(w.sign(), alpha=of_sign) if of_sign else found
