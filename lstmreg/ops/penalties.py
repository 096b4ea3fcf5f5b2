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
    parts = [
        0.0 if strength is None or w is None else _cost(strength, w)
        for strength, w in zip(strengths, penalised, strict=True)
    ]
    dtype = torch.float64 if any(w is not None and w.dtype is torch.float64 for w in penalised) else torch.float32
    return Costs(torch.tensor(sum(parts), dtype=dtype), torch.tensor(parts, dtype=dtype))


def _cost(strength: Strength, w: Tensor) -> float:
    (l1, l2), flat = strength, w.reshape(-1)
    if flat.dtype not in (torch.float32, torch.float64):
        flat = flat.float()  # in half precision it is the sum that would lose digits
    cost = l2 * torch.dot(flat, flat).item() if l2 else 0.0
    return cost + l1 * flat.abs().sum().item() if l1 else cost


def slopes(
    strengths: Strengths, d_total: Tensor | None, d_parts: Tensor | None, numbers: bool
) -> tuple[tuple[Tensor | float, Tensor | float] | None, ...]:
    """Return by what ``sign(w)`` and ``w`` enter the gradient of each net; ``None`` where they do not.

    Args:
        strengths: Those of the nets.
        d_total: The gradient of the total.
        d_parts: Those of the parts.
        numbers: Whether they are wanted as numbers, through which autograd does not see.
    """
    if d_total is None and d_parts is None:
        return (None,) * len(strengths)
    total: Tensor | float = 0.0 if d_total is None else d_total.item() if numbers else d_total
    parts = [0.0] * len(strengths) if d_parts is None else d_parts.tolist() if numbers else list(d_parts.unbind(-1))
    scales = [total + part for part in parts]
    return tuple(
        None if strength is None or (numbers and not scale) else (strength[0] * scale, 2 * strength[1] * scale)
        for strength, scale in zip(strengths, scales, strict=True)
    )


def added(
    gradient: Tensor | None, w: Tensor, slope: tuple[Tensor | float, Tensor | float], *, own: bool = False
) -> Tensor:
    """Add the gradient of a net on ``w`` to another, if there is one; in place if it is our ``own``."""
    of_sign, of_value = slope
    if isinstance(of_value, Tensor):
        found = of_value * w + of_sign * w.sign()
        return found if gradient is None else gradient + found
    for factor, direction in ((of_value, w), (of_sign, w.sign() if of_sign else None)):
        if direction is None:
            continue
        if gradient is None:
            gradient = direction * factor
        else:
            gradient = torch.add(gradient, direction, alpha=factor, out=gradient if own else None)
        own = True
    assert gradient is not None
    return gradient
