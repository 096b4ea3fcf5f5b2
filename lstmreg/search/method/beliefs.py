"""What is believed of each candidate: effects shrunk towards each other, and which one would be picked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .candidates import Arm, Candidate, arms_of, parts
from .cells import Array
from .effects import Effects

#: Candidates are taken to differ by this at least (a standard deviation of log ratios).
LEAST_SPREAD = 0.03

#: What each further knob must bring (a log ratio).
PRICE = 0.01

#: Means that are worse than the median by more than so many robust standard deviations count as if they were not.
_OUTLYING = 2.0


@dataclass(frozen=True)
class Beliefs:
    """Posterior means and standard deviations of effects, the price of further knobs included.

    Attributes:
        candidates: The candidates, K.
        means: ``(K,)`` log ratios to the baseline; below 0 helps.
        deviations: ``(K,)`` their standard deviations.
        seeds: ``(K,)`` how many seeds stand behind each.
        singles: ``(K,)`` whether a candidate is an arm alone, at the baseline's learning rate.
    """

    candidates: tuple[Candidate, ...]
    means: Array
    deviations: Array
    seeds: Array
    singles: Array

    def mean(self, candidate: Candidate) -> float:
        """Return the posterior mean of a candidate."""
        return float(self.means[self.candidates.index(candidate)])

    def pick(self, among: Sequence[Candidate] | None = None) -> Candidate:
        """Return the candidate with the best mean.

        A combination needs as many seeds as the best single has before it may replace it: of two that look alike, the
        one that was measured less looks better by luck.

        Args:
            among: Only these; all if ``None``.
        """
        wanted = set(self.candidates if among is None else among)
        rows = [k for k, c in enumerate(self.candidates) if c in wanted]
        singles = [k for k in rows if self.singles[k]]
        needed = self.seeds[min(singles, key=self._rank)] if singles else 0
        return self.candidates[min((k for k in rows if self.singles[k] or self.seeds[k] >= needed), key=self._rank)]

    def _rank(self, row: int) -> tuple[float, str]:
        return float(self.means[row]), self.candidates[row].key


def beliefs(found: Effects, arms: Sequence[Arm]) -> Beliefs:
    r"""Shrink effects towards their common mean.

    .. math::
        \theta_k \sim N\!\left(\frac{m_k / v_k + \mu / \tau^2}{1 / v_k + 1 / \tau^2},
        \frac{1}{1 / v_k + 1 / \tau^2}\right)

    The spread :math:`\tau^2` is the variance of the means beyond their own variances :math:`v_k`, by moments, and at
    least 0.03 squared; a candidate that harms much does not make it wider.

    Args:
        found: Effects of the candidates.
        arms: All arms, by which the parts of a candidate are counted.
    """
    means, variances = found.means, found.variances
    middle = float(np.median(means))
    robust = 1.4826 * float(np.median(np.abs(means - middle)))
    near = np.minimum(means, middle + _OUTLYING * max(robust, LEAST_SPREAD))
    spread = LEAST_SPREAD**2
    if len(means) > 1:
        spread = max(spread, float(near.var(ddof=1) - variances.mean()))
    weights = 1 / (variances + spread)
    common = float((weights * near).sum() / weights.sum())
    variances = np.maximum(variances, 1e-12)
    precision = 1 / variances + 1 / spread
    count = np.array([parts(candidate, arms) for candidate in found.candidates])
    shrunk = (means / variances + common / spread) / precision + PRICE * (count - 1)
    return Beliefs(found.candidates, shrunk, np.sqrt(1 / precision), found.seeds, count == 1)


def best_of_each_arm(believed: Beliefs, arms: Sequence[Arm]) -> dict[Arm, Candidate]:
    """Return the single that looks best of each arm that has any."""
    order = sorted(
        np.flatnonzero(believed.singles), key=lambda k: (float(believed.means[k]), believed.candidates[k].key)
    )
    best: dict[str, Candidate] = {}
    for k in order:
        best.setdefault(arms_of(believed.candidates[k], arms)[0].path, believed.candidates[k])
    return {arm: best[arm.path] for arm in arms if arm.path in best}
