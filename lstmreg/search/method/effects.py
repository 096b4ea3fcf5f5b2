"""Effects of candidates on each block, sharpened by what is known of the seeds, and their variance components."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstmreg.errors import NoUsableTrialError

from .candidates import Candidate
from .cells import Array, LogLosses, baseline_table, block_means, settled

#: Regressions and variances of one candidate lean on those of all by the weight of so many seeds.
_LEAN = 1.0

#: The median of chi-square with few degrees of freedom, per degree, is about this (of 7: 0.907).
_MEDIAN_OF_CHI_SQUARE = 0.907


@dataclass(frozen=True)
class Effects:
    """Log ratios to the baseline: K candidates on G blocks.

    Attributes:
        candidates: The candidates, K.
        seeds: ``(K,)`` how many seeds each has on every block.
        blocks: ``(K, G)`` effect on each block.
        carried: ``(K,)`` how much of a seed's deviation from the baseline's mean each candidate shares, in [0, 1].
        sloped: ``(K,)`` whether that was made use of: not by who has as many seeds as the baseline.
        seed_variance: ``(K,)`` variance of a seed's effect on a block that is left after that.
        baseline_variance: What the baseline's own seeds, being few, add to each block's effect, before ``1 - carried``
            squared.
        common_seed_variance: The same pooled over candidates.
        block_variance: Variance of effects between blocks, pooled over candidates.
    """

    candidates: tuple[Candidate, ...]
    seeds: Array
    blocks: Array
    carried: Array
    sloped: NDArray[np.bool_]
    seed_variance: Array
    baseline_variance: float
    common_seed_variance: float
    block_variance: float

    @property
    def means(self) -> Array:
        """``(K,)`` mean over the blocks."""
        return np.asarray(self.blocks.mean(axis=1))

    @property
    def widened(self) -> Array:
        """``(K, G)`` the effects on each block for an interval, with as much more scatter as a fitted slope hid.

        The slope takes a degree of freedom, of the candidates that have fewer seeds than the baseline.
        """
        count, means = self.blocks.shape[1], self.means[:, None]
        wider = np.sqrt(np.where(self.sloped, (count - 1) / max(1, count - 2), 1.0))
        return np.asarray(means + wider[:, None] * (self.blocks - means))

    @property
    def variances(self) -> Array:
        """``(K,)`` variance of each mean.

        The variance over the blocks, of few degrees of freedom, leans half on what the components pooled over all
        candidates predict for so many seeds.
        """
        count = self.blocks.shape[1]
        own = self.blocks.var(axis=1, ddof=1)
        noise = (1 - self.carried) ** 2 * self.baseline_variance
        predicted = self.block_variance + self.seed_variance / self.seeds + noise
        return np.asarray((own + predicted) / 2 / count)

    def row(self, candidate: Candidate) -> int:
        """Return the number of a candidate."""
        return self.candidates.index(candidate)


@dataclass(frozen=True)
class Tables:
    """Log losses of K candidates and the baseline on G blocks with N seeds.

    Attributes:
        candidates: The candidates, K.
        losses: ``(K, G, N)``, NaN where a candidate has no such seed, infinite where it failed.
        baseline: ``(G, N)``, NaN where it failed.
    """

    candidates: tuple[Candidate, ...]
    losses: Array
    baseline: Array

    @classmethod
    def of(cls, log_losses: LogLosses, seeds: Mapping[Candidate, int], baseline_seeds: int) -> Tables:
        """Collect the first seeds of each candidate and of the baseline; no candidate has more seeds than that has."""
        losses = np.full((len(seeds), log_losses.blocks, baseline_seeds), np.nan)
        for k, (candidate, count) in enumerate(seeds.items()):
            losses[k, :, :count] = log_losses.table(candidate, count)
        return cls(tuple(seeds), losses, baseline_table(log_losses, baseline_seeds))

    def without(self, block: int) -> Tables:
        """Return them as if a block had never been seen."""
        rows = [b for b in range(len(self.baseline)) if b != block]
        return Tables(self.candidates, self.losses[:, rows], self.baseline[rows])


def effects(tables: Tables) -> Effects:
    r"""Return effects on each block with the baseline's seeds as a control variate.

    .. math:: e_{kb} = \bar y_{kb} - \bar x_b - \beta_k (\bar x_{b,k} - \bar x_b)

    Here :math:`\bar x_b` is the baseline's mean over all its seeds, :math:`\bar x_{b,k}` that over the seeds that the
    candidate has too, and :math:`\beta_k` the regression of the candidate's losses on the baseline's over seeds: 1 is
    a difference of pairs, 0 one of means. A block on which the baseline never finished is left out.

    Args:
        tables: What the seeds gave.

    Raises:
        NoUsableTrialError: If the baseline finished on fewer than two blocks.
    """
    usable = np.isfinite(tables.baseline).any(axis=1)
    if usable.sum() < 2:
        raise NoUsableTrialError(
            f"the unregularized model finished on {usable.sum()} of {len(tables.baseline)} blocks, and effects need "
            f"two; try a smaller learning rate."
        )
    losses, baseline = tables.losses[:, usable], tables.baseline[usable]
    if np.isinf(losses).any():
        losses = np.stack([settled(of_one, baseline) for of_one in losses])
    has = ~np.isnan(losses)
    seeds = has[:, 0, :].sum(axis=1).astype(float)
    level = block_means(baseline)
    # A seed with which the baseline failed says nothing of the seed.
    deviation = np.where(np.isnan(baseline), 0.0, baseline - level[:, None])
    ratios = np.where(has, losses - level[:, None], 0.0)
    of_blocks = _carried(ratios, deviation, has)
    carried = of_blocks.mean(axis=1)
    adjusted = np.where(has, ratios - of_blocks[:, :, None] * deviation, 0.0)
    blocks = adjusted.sum(axis=2) / seeds[:, None]
    own, pooled, of_baseline = _seed_variances(adjusted, blocks, has, carried, baseline, level)
    per_seed = of_baseline / np.maximum(1, np.isfinite(baseline).sum(axis=1)).mean()
    between = blocks.var(axis=1, ddof=1) - own / seeds - (1 - carried) ** 2 * per_seed
    # The median, since what harms much differs much between blocks.
    block_variance = max(0.0, float(np.median(between)) / _MEDIAN_OF_CHI_SQUARE) if len(between) else 0.0
    return Effects(
        tables.candidates, seeds, blocks, carried, seeds < has.shape[2], own, float(per_seed), pooled, block_variance
    )


def _carried(ratios: Array, deviation: Array, has: Array) -> Array:
    """Regress each candidate's log ratios on the baseline's deviations, for each block over the other blocks.

    A regression over the same block would take part of its scatter away, and intervals would come out too narrow. It
    leans on the regression over all candidates together.

    Returns:
        ``(K, G)`` slopes.
    """
    shared = np.where(has, deviation, 0.0)

    def elsewhere(values: Array) -> Array:
        of_blocks = values.sum(axis=2)
        return np.asarray(of_blocks.sum(axis=1, keepdims=True) - of_blocks)

    count, sums, of_ratios = elsewhere(has.astype(float)), elsewhere(shared), elsewhere(ratios)
    squares = elsewhere(shared**2) - sums**2 / count
    products = elsewhere(shared * ratios) - sums * of_ratios / count
    all_squares = squares.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        common = np.where(all_squares > 0, products.sum(axis=0) / all_squares, 0.0)
        lean = _LEAN * all_squares * (has.shape[1] - 1) / count.sum(axis=0)
        slopes = (products + lean * common) / (squares + lean)
    return np.asarray(np.clip(np.where(all_squares > 1e-24, slopes, 0.0), 0.0, 1.0))


def _seed_variances(
    adjusted: Array, blocks: Array, has: Array, carried: Array, baseline: Array, level: Array
) -> tuple[Array, float, float]:
    """Return the variance of a seed: of each candidate, of all together, and of the baseline's log losses."""
    finite = np.isfinite(baseline)
    freedom = int((finite.sum(axis=1) - 1).clip(0).sum())
    scatter = np.where(finite, baseline - level[:, None], 0.0)
    of_baseline = float((scatter**2).sum() / freedom) if freedom else 0.0
    squares = np.where(has, adjusted - blocks[:, :, None], 0.0) ** 2
    degrees = (has.sum(axis=2) - 1).sum(axis=1).astype(float)
    lean = _LEAN * blocks.shape[1]
    # One seed each says nothing: begin with the scatter of the baseline's in place of theirs.
    alike = of_baseline * float(np.mean(1 - carried**2))
    pooled = float((squares.sum() + lean * alike) / (degrees.sum() + lean))
    return (squares.sum(axis=(1, 2)) + lean * pooled) / (degrees + lean), pooled, of_baseline
