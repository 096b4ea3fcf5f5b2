"""What many sets say together, and choices that flatter nobody: what chose a value has no part in what it is worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Array = NDArray[np.float64]


@cache
def student(degrees: int, confidence: float = 0.95) -> float:
    """Return Student's two-sided quantile; infinite without a degree of freedom."""
    return float(stdtrit(degrees, 0.5 + confidence / 2)) if degrees > 0 else math.inf


@dataclass(frozen=True)
class Estimate:
    """An effect on one set: a mean over blocks, a log ratio.

    Attributes:
        mean: The mean.
        variance: Of the mean.
        low: Lower end of its 95 % interval, Student's over the blocks.
        high: Upper end.
    """

    mean: float
    variance: float
    low: float
    high: float

    @classmethod
    def over(cls, of_blocks: Sequence[float] | Array, confidence: float = 0.95) -> Estimate:
        """Take the mean over the blocks."""
        values = np.asarray(of_blocks, dtype=float)
        count = len(values)
        mean = float(values.mean())
        variance = float(values.var(ddof=1)) / count if count > 1 else math.inf
        half = student(count - 1, confidence) * math.sqrt(variance)
        return cls(mean, variance, mean - half, mean + half)


@dataclass(frozen=True)
class Pooled:
    """An effect over many sets, of which each has its own.

    Attributes:
        mean: The mean of the sets' true effects, as estimated.
        low: Lower end of its 95 % interval.
        high: Upper end.
        between: Standard deviation of the true effects between sets.
        predicted: Where the true effect of another set lies, with 95 %; unbounded with fewer than three sets.
        count: How many sets there are.
    """

    mean: float
    low: float
    high: float
    between: float
    predicted: tuple[float, float]
    count: int


def pooled(effects: Sequence[float] | Array, variances: Sequence[float] | Array, confidence: float = 0.95) -> Pooled:
    r"""Return the random-effects summary of effects on many sets, in which each set counts alike.

    .. math::
        y_i \sim N(\theta_i, v_i), \quad \theta_i \sim N(\mu, \tau^2), \quad
        \hat\mu = \bar y, \quad \hat\tau^2 = \max(0, s_y^2 - \bar v)

    Weights by :math:`1 / v_i` would not do here: a set on which the choice is to leave a knob off has an effect of
    exactly zero, known without an error, and would outweigh all others. The interval is Student's over the sets, so
    that it holds whatever the variances are; the estimator of :math:`\tau^2` is that of Hedges and Olkin (1985), the
    prediction interval that of Higgins, Thompson and Spiegelhalter (2009).

    Args:
        effects: One for each set, ``(N,)``.
        variances: Of each, what is known of it, ``(N,)``.
        confidence: Of both intervals.
    """
    y = np.asarray(effects, dtype=float)
    count, mean = len(y), float(y.mean())
    if count < 2:
        return Pooled(mean, -math.inf, math.inf, math.nan, (-math.inf, math.inf), count)
    scatter = float(y.var(ddof=1))
    between = max(0.0, scatter - float(np.mean(variances)))
    half = student(count - 1, confidence) * math.sqrt(scatter / count)
    wide = student(count - 2, confidence) * math.sqrt(between + scatter / count)
    return Pooled(mean, mean - half, mean + half, math.sqrt(between), (mean - wide, mean + wide), count)


@dataclass(frozen=True)
class Chosen:
    """What a choice is worth on blocks that had no say in it.

    Attributes:
        of_blocks: The effect on each block ``(G,)`` of what the other half of the blocks chose.
        picks: What that was, for each block.
        overall: What all blocks together choose.
    """

    of_blocks: Array
    picks: NDArray[np.int64]
    overall: int


def halves(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return every second block, and the others."""
    return np.arange(0, count, 2), np.arange(1, count, 2)


def choose(effects: Array) -> Chosen:
    """Choose the lowest mean on one half of the blocks and take its effect on the other, both ways.

    With all other blocks choosing for each one the estimate would be as fair, but its interval too narrow.

    Args:
        effects: ``(K, G)`` of what there is to choose from.
    """
    count = effects.shape[1]
    of_blocks, picks = np.empty(count), np.empty(count, dtype=np.int64)
    one, other = halves(count)
    for choosing, judging in ((one, other), (other, one)):
        pick = int(effects[:, choosing].mean(axis=1).argmin())
        of_blocks[judging], picks[judging] = effects[pick, judging], pick
    return Chosen(of_blocks, picks, int(effects.mean(axis=1).argmin()))
