"""Elastic nets on the weights of a pass and on its output: their sums and gradients, formed where the pass has them.

What a small layer costs is not arithmetic but nodes of autograd, and memory that is gone through once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

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


#: Two numbers for each net, in the order of :class:`Strengths`, one by one: for a forward pass by what the sums of
#: ``|w|`` and of ``w * w`` enter its cost, for a backward pass by what ``sign(w)`` and ``w`` enter its gradient.
Nets: TypeAlias = Sequence[float]
NO_NETS = (0.0,) * (2 * len(Strengths._fields))


def flat(strengths: Strengths) -> Nets:
    """Return strengths one by one."""
    return [number for strength in strengths for number in strength or (0.0, 0.0)]


def slopes(strengths: Strengths, d_total: Tensor | None, d_parts: Tensor | None) -> Nets:
    """Return the slopes of nets from the gradients of their costs."""
    if d_total is None and d_parts is None:
        return NO_NETS
    total = 0.0 if d_total is None else d_total.item()
    found: list[float] = []
    for i, strength in enumerate(strengths):
        if strength is None:
            found += 0.0, 0.0
        else:
            scale = total if d_parts is None else total + d_parts[i].item()
            found += strength[0] * scale, 2 * strength[1] * scale
    return found


def gradients(
    strengths: Strengths, d_total: Tensor | None, d_parts: Tensor | None, penalised: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Return the gradients of nets, in operations that can be batched and differentiated again."""
    parts: Sequence[Tensor | None] = [None] * len(strengths) if d_parts is None else d_parts.unbind(-1)
    found: list[Tensor | None] = []
    for strength, part, w in zip(strengths, parts, penalised, strict=True):
        scale = added(d_total, part)
        if strength is None or w is None or scale is None:
            found.append(None)
        else:
            found.append((2 * strength[1] * scale) * w + (strength[0] * scale) * w.sign())
    return found


def added(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """Return the sum of two gradients, of which there may be none."""
    if one is None or other is None:
        return other if one is None else one
    return one + other
