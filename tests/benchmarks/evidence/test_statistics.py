"""Choices that flatter nobody, and intervals over sets that cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.evidence.statistics import Estimate, choose, pooled

from .made_up import BLOCKS


def chosen_by_all_others(effects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the effect on each block of what all other blocks choose, and that."""
    others = effects.sum(axis=1, keepdims=True) - effects
    picks = others.argmin(axis=0)
    return effects[picks, np.arange(effects.shape[1])], picks


def test_a_choice_is_judged_without_a_bias_and_its_interval_covers() -> None:
    generator = np.random.default_rng(0)
    truth = np.array([0.0, -0.02, -0.05, -0.1, -0.05, 0.1, 0.4])
    misses, covered, flattered, covered_by_others = [], [], [], []
    for _ in range(2000):
        effects = truth[:, None] + generator.normal(0, 0.15, (7, BLOCKS)) + generator.normal(0, 0.15, BLOCKS)
        effects[0] = 0.0  # to leave the knob off
        chosen = choose(effects)
        true, estimate = truth[chosen.picks].mean(), Estimate.over(chosen.of_blocks)
        misses.append(estimate.mean - true)
        flattered.append(effects[chosen.overall].mean() - truth[chosen.overall])
        covered.append(estimate.low <= true <= estimate.high)
        of_blocks, picks = chosen_by_all_others(effects)
        other = Estimate.over(of_blocks)
        covered_by_others.append(other.low <= truth[picks].mean() <= other.high)
    assert abs(np.mean(misses)) < 0.005
    assert np.mean(flattered) < -0.02  # which is what the best mean of all blocks would claim
    assert 0.90 < np.mean(covered) < 0.97
    assert np.mean(covered_by_others) < np.mean(covered) - 0.02  # for which reason they do not judge


@pytest.mark.parametrize("between", [0.0, 0.1])
def test_intervals_over_sets_cover_the_mean_and_the_next_set(between: float) -> None:
    generator = np.random.default_rng(1)
    mean, count, held, next_held, spreads = -0.1, 11, [], [], []
    for _ in range(2000):
        variances = generator.uniform(0.0005, 0.01, count)
        true = generator.normal(mean, between, count)
        found = pooled(generator.normal(true, np.sqrt(variances)), variances)
        held.append(found.low <= mean <= found.high)
        next_held.append(found.predicted[0] <= generator.normal(mean, between) <= found.predicted[1])
        spreads.append(found.between**2)
    assert 0.93 < np.mean(held) < 0.97
    assert np.mean(next_held) > 0.90
    assert np.mean(spreads) == pytest.approx(between**2, abs=0.001)


def test_the_interval_over_sets_is_students() -> None:
    effects = [-0.31, -0.12, 0.02, -0.22, -0.05, 0.08]
    found = pooled(effects, [0.01] * 6)
    expected = stats.ttest_1samp(effects, 0.0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.between == pytest.approx(np.sqrt(np.var(effects, ddof=1) - 0.01))


def test_a_set_that_leaves_a_knob_off_does_not_outweigh_the_others() -> None:
    assert pooled([0.0, -0.2, -0.2, -0.2], [0.0, 0.01, 0.01, 0.01]).mean == pytest.approx(-0.15)
