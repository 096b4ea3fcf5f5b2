"""Bands and adjusted p-values against every flip, one at a time, and against their promises."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from lstmreg.search.method import adjusted_p_values, critical_value
from lstmreg.search.method.bands import flipped_statistics, statistics


def drawn(count: int, blocks: int, seed: int = 0, together: float = 0.5) -> np.ndarray:
    random = np.random.default_rng(seed)
    return math.sqrt(together) * random.normal(size=blocks) + math.sqrt(1 - together) * random.normal(
        size=(count, blocks)
    )


def largest_of_every_flip(of_blocks: np.ndarray) -> list[float]:
    count = of_blocks.shape[1]
    deviations = of_blocks - of_blocks.mean(axis=1, keepdims=True)
    flips = itertools.product([1, -1], repeat=count)
    return [float(np.nanmax(np.abs(stats.ttest_1samp(deviations * flip, 0, axis=1).statistic))) for flip in flips]


def test_statistics_are_students() -> None:
    values = drawn(4, 7)
    assert statistics(values) == pytest.approx(stats.ttest_1samp(values, 0, axis=1).statistic)
    assert list(statistics(np.zeros((2, 5)))) == [0, 0]


def test_the_critical_value_is_that_of_every_flip() -> None:
    values = drawn(6, 9, together=0.8)
    by_hand = np.quantile(largest_of_every_flip(values), 0.9, method="higher")
    found = critical_value(values, 0.9)
    bonferroni = stats.t.ppf(1 - 0.05 / 6, 8)
    assert stats.t.ppf(0.95, 8) <= found <= bonferroni
    assert found == pytest.approx(min(bonferroni, by_hand))
    assert by_hand < bonferroni


def test_one_candidate_alone_has_students_quantile() -> None:
    assert critical_value(drawn(1, 9), 0.95) == pytest.approx(stats.t.ppf(0.975, 8))


def test_doses_that_are_the_same_count_once() -> None:
    one = drawn(1, 10)
    twenty, two = np.repeat(one, 20, axis=0), np.repeat(one, 2, axis=0)
    assert critical_value(twenty, 0.95) == pytest.approx(critical_value(two, 0.95))


def test_the_order_of_blocks_and_of_candidates_does_not_matter() -> None:
    values, random = drawn(6, 9), np.random.default_rng(2)
    groups = [0, 0, 1, 1, 2, 2]
    rows = random.permutation(6)
    shuffled = values[rows][:, random.permutation(9)]
    assert critical_value(shuffled, 0.95) == pytest.approx(critical_value(values, 0.95))
    p_values = adjusted_p_values(shuffled, [groups[k] for k in rows])
    assert p_values == pytest.approx(adjusted_p_values(values, groups))


def test_many_blocks_are_flipped_by_a_fixed_draw() -> None:
    values = drawn(10, 15, together=0.3)
    assert critical_value(values, 0.95) == critical_value(values.copy(), 0.95)
    assert 2.14 < critical_value(values, 0.95) < 3.33  # one alone, and Bonferroni's


def test_p_values_are_those_of_every_flip_and_step_down() -> None:
    values = drawn(6, 8, together=0.2) - np.array([1.6, 1.6, 1.0, 1.0, 0.0, -1.0])[:, None]
    groups = [0, 0, 1, 1, 2, 2]
    found = adjusted_p_values(values, groups)
    strength = -stats.ttest_1samp(values, 0, axis=1).statistic
    degrees, least, left = 7, 0.0, [0, 1, 2]
    for group in sorted(left, key=lambda g: -max(strength[2 * g : 2 * g + 2])):
        rows = [k for k, g in enumerate(groups) if g in left]
        best = max(strength[2 * group : 2 * group + 2])
        share = max(np.mean(np.array(largest_of_every_flip(values[rows])) >= best), 1 / 2**7)
        alone = 2 * stats.t.sf(best, degrees)
        p = max(min(share, len(rows) * alone), alone) if best > 0 else 1.0
        least = max(least, min(1.0, p))
        assert found[group] == pytest.approx(least)
        left.remove(group)
    assert found[0] < 0.05 < found[2]


def test_whoever_harms_does_not_help() -> None:
    assert adjusted_p_values(drawn(2, 8) * 0.1 + 1.0, [0, 1]) == {0: 1.0, 1: 1.0}


@pytest.mark.parametrize(("blocks", "most"), [(3, 1.0), (4, 1.0), (5, 1.0), (6, 0.98), (8, 0.98)])
def test_bands_hold_together_as_often_as_they_say(blocks: int, most: float) -> None:
    hold = []
    for seed in range(400):
        values = drawn(12, blocks, seed)
        hold.append(np.abs(statistics(values)).max() <= critical_value(values, 0.95))
    assert 0.92 <= np.mean(hold) <= most


@pytest.mark.parametrize("blocks", [3, 4, 5])
def test_few_blocks_have_too_few_flips_to_know_a_tail(blocks: int) -> None:
    """Of the signs of three blocks four flips differ, and the largest of four is no quantile of 95 %."""
    values = drawn(30, blocks)
    assert critical_value(values, 0.95) == pytest.approx(stats.t.ppf(1 - 0.025 / 30, blocks - 1))
    assert critical_value(values, 0.5) < stats.t.ppf(1 - 0.25 / 30, blocks - 1)


@pytest.mark.parametrize("blocks", [3, 4, 5])
def test_of_few_blocks_no_more_is_said_to_help_than_may(blocks: int) -> None:
    false = [min(adjusted_p_values(drawn(12, blocks, seed), range(12)).values()) < 0.05 for seed in range(400)]
    assert np.mean(false) <= 0.05


def test_arms_that_do_nothing_are_rarely_said_to_help() -> None:
    false = []
    for seed in range(400):
        values = drawn(9, 8, seed, together=0.3)
        values[:3] -= 3.0  # one arm that helps for certain takes nothing from the others' level
        p_values = adjusted_p_values(values, [0, 0, 0, 1, 1, 1, 2, 2, 2])
        assert p_values[0] < 0.05
        false.append(min(p_values[1], p_values[2]) < 0.05)
    assert np.mean(false) <= 0.05


def test_a_flip_of_all_signs_is_the_same_flip() -> None:
    values = drawn(3, 6)
    assert len(flipped_statistics(values)) == 2**5
    assert sorted(np.tile(flipped_statistics(values).max(axis=1), 2)) == pytest.approx(
        sorted(largest_of_every_flip(values))
    )
