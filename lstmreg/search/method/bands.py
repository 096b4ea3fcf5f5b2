"""Bands that hold for all doses together, and p-values that hold for all arms, by flipping the signs of blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy.special import stdtr

from .cells import Array
from .intervals import quantile

#: All flips of so many blocks are gone through (of their signs one may stay: the other half are mirror images).
_BLOCKS_IN_FULL = 12

#: Of more blocks so many flips are drawn.
_DRAWN = 4096


@cache
def _flips(blocks: int) -> Array:
    """Return signs ``(F, G)``: all that differ by more than a mirror, or a fixed sample of them."""
    if blocks <= _BLOCKS_IN_FULL:
        numbers = np.arange(2 ** (blocks - 1))
        bits = (numbers[:, None] >> np.arange(blocks)[None, :]) & 1
    else:
        bits = np.random.default_rng(0).integers(0, 2, size=(_DRAWN, blocks))
    return np.asarray(1.0 - 2.0 * bits, dtype=np.float64)


def statistics(of_blocks: Array) -> Array:
    """Return Student's t of effects ``(K, G)`` over blocks; 0 where all are 0."""
    count = of_blocks.shape[1]
    means, spread = of_blocks.mean(axis=1), of_blocks.std(axis=1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((spread == 0) & (means == 0), 0.0, means * math.sqrt(count) / spread)


def flipped_statistics(of_blocks: Array) -> Array:
    """Return ``|t|`` as chance would have it, ``(F, K)``: of the deviations from each mean, block signs flipped.

    All candidates are flipped together, so that what hangs together in the data does so here.
    """
    count = of_blocks.shape[1]
    deviations = of_blocks - of_blocks.mean(axis=1, keepdims=True)
    means = _flips(count) @ deviations.T / count
    variances = ((deviations**2).mean(axis=1) - means**2).clip(0) / (count - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(means == 0, 0.0, np.abs(means) / np.sqrt(variances))


def critical_value(of_blocks: Array, confidence: float) -> float:
    """Return the ``|t|`` that the largest of all candidates stays below, with probability ``confidence``.

    The quantile of the largest flipped statistic, never below Student's own nor above Bonferroni's. With few blocks
    there are too few flips for that quantile (of three blocks four, whose largest statistic is 4 at most), and
    Bonferroni's serves.

    Args:
        of_blocks: Effects ``(K, G)``.
        confidence: Such as 0.95.
    """
    count, blocks = of_blocks.shape
    alone = quantile(blocks - 1, confidence)
    bonferroni = quantile(blocks - 1, 1 - (1 - confidence) / count)
    largest = flipped_statistics(of_blocks).max(axis=1)
    if len(largest) * (1 - confidence) < 1:
        return bonferroni
    return float(np.clip(np.quantile(largest, confidence, method="higher"), alone, bonferroni))


def adjusted_p_values(of_blocks: Array, groups: Sequence[int]) -> dict[int, float]:
    """Return for each group the p-value that some member of it lowers the loss, adjusted for all groups.

    Closed testing by steps: the strongest group is held against the largest of all, the next against the largest of
    those that are left (Westfall & Young 1993), and p-values never fall on the way. Neither is ever above
    Bonferroni's over the members (Holm's steps), nor below Student's own. A share of flips is never taken for less
    than one of them: where none is so strong, they do not say how rare it is.

    Args:
        of_blocks: Effects ``(K, G)``, log ratios.
        groups: The group of each of the K.
    """
    of_group = np.asarray(groups)
    degrees = of_blocks.shape[1] - 1
    strength = -statistics(of_blocks)
    flipped = flipped_statistics(of_blocks)
    left = sorted(set(groups), key=lambda g: (-strength[of_group == g].max(), g))
    found: dict[int, float] = {}
    least = 0.0
    while left:
        rows = np.isin(of_group, left)
        best = float(strength[of_group == left[0]].max())
        alone = 2 * float(stdtr(degrees, -best))
        share = max(float((flipped[:, rows].max(axis=1) >= best - 1e-12).mean()), 1 / len(flipped))
        p = max(min(share, rows.sum() * alone), alone) if best > 0 else 1.0
        least = max(least, min(1.0, p))
        found[left.pop(0)] = least
    return found
