"""Intervals over blocks, and what would make them narrower: more seeds, or more blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from .cells import Array, block_means

#: More blocks than this nobody has.
_MOST_BLOCKS = 100_000


def quantile(degrees: int, confidence: float) -> float:
    """Return Student's two-sided quantile; infinite without a degree of freedom."""
    return float(stdtrit(degrees, 0.5 + confidence / 2)) if degrees > 0 else math.inf


@dataclass(frozen=True)
class Interval:
    """A mean log ratio with its interval.

    Attributes:
        mean: The mean; ``expm1`` of it is the relative change of the loss.
        low: Lower end.
        high: Upper end.
        blocks: How many blocks it stands on.
    """

    mean: float
    low: float
    high: float
    blocks: int

    @classmethod
    def over(cls, of_blocks: Sequence[float] | Array, confidence: float) -> Interval:
        """Return Student's interval over the blocks; unbounded with fewer than two."""
        values = np.asarray(of_blocks, dtype=float)
        center, count = float(values.mean()), len(values)
        if count < 2:
            return cls(center, -math.inf, math.inf, count)
        half = quantile(count - 1, confidence) * float(values.std(ddof=1)) / math.sqrt(count)
        return cls(center, center - half, center + half, count)

    @property
    def half_width(self) -> float:
        """Half of its width."""
        return (self.high - self.low) / 2

    @property
    def relative(self) -> tuple[float, float, float]:
        """Mean, lower and upper end as relative changes of a loss: -0.12 is 12 % lower."""
        return tuple(math.expm1(x) if x < 700 else math.inf for x in (self.mean, self.low, self.high))  # type: ignore[return-value]


@dataclass(frozen=True)
class Components:
    """Where an effect's scatter comes from.

    Attributes:
        between_blocks: Variance of the effect between blocks.
        between_seeds: Variance of one seed's effect on a block.
        blocks: How many blocks, ``G``.
        seeds: How many seeds on each, ``R``.
    """

    between_blocks: float
    between_seeds: float
    blocks: int
    seeds: float

    @classmethod
    def of(cls, ratios: Array) -> Components:
        """Take the variance of log ratios ``(G, R)`` apart; NaN where there is none."""
        counts = np.isfinite(ratios).sum(axis=1)
        ratios, counts = ratios[counts > 0], counts[counts > 0]
        means = block_means(ratios)
        degrees = int((counts - 1).sum())
        seeds = float(np.nansum((ratios - means[:, None]) ** 2) / degrees) if degrees else 0.0
        whole = float(means.var(ddof=1)) if len(means) > 1 else 0.0
        many = float(len(counts) / (1 / counts).sum()) if len(counts) else 0.0
        return cls(max(0.0, whole - seeds / many), seeds, len(means), many)

    @property
    def more_seeds_help(self) -> bool:
        """Whether another seed narrows an interval noticeably: ``s2_seed / R > s2_block / 4``."""
        return self.between_seeds / self.seeds > self.between_blocks / 4


@dataclass(frozen=True)
class Resolution:
    """How small an effect can be seen, and what it would take to see a smaller one; log ratios.

    Attributes:
        half_width: Of an interval as things are.
        with_unlimited_seeds: What is left of it however many seeds: only more or longer blocks narrow that.
        wanted: The half-width that would decide.
        more_blocks: How many further blocks like these would decide, with as many seeds on each; ``None`` if no
            number that anybody has.
        noise: To which share of itself the scatter would have to shrink instead; 1 if it need not.
        seeds_suffice: Whether more seeds alone would decide.
    """

    half_width: float
    with_unlimited_seeds: float
    wanted: float
    more_blocks: int | None
    noise: float
    seeds_suffice: bool

    @classmethod
    def of(cls, found: Components, wanted: float, confidence: float) -> Resolution:
        """Say what an interval of half-width ``wanted`` needs."""
        variance = found.between_blocks + found.between_seeds / found.seeds

        def half(blocks: int, variance: float) -> float:
            return quantile(blocks - 1, confidence) * math.sqrt(variance / blocks) if variance > 0 else 0.0

        now, unlimited = half(found.blocks, variance), half(found.blocks, found.between_blocks)
        return cls(
            half_width=now,
            with_unlimited_seeds=unlimited,
            wanted=wanted,
            more_blocks=_blocks_for(lambda blocks: half(blocks, variance) <= wanted, found.blocks),
            noise=min(1.0, wanted / now) if now > 0 else 1.0,
            seeds_suffice=unlimited <= wanted,
        )


def _blocks_for(suffices: Callable[[int], bool], at_least: int) -> int | None:
    """Return how many more than ``at_least`` blocks suffice, by bisection: more are never worse."""
    if suffices(at_least):
        return 0
    low, high = at_least, at_least * 2
    while not suffices(high):
        low, high = high, high * 2
        if low > _MOST_BLOCKS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high - at_least


def wanted_half_width(mean: float, smallest_effect: float) -> float:
    """Return which half-width would decide, if the estimate holds.

    Either the interval must leave zero out (the estimate lies farther from it), or the smallest effect.

    Args:
        mean: The estimate, a log ratio.
        smallest_effect: As a share: 0.02 is a loss 2 % lower.
    """
    return max(-mean, mean - math.log1p(-smallest_effect))
