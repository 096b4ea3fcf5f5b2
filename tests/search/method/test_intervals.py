"""Intervals, components and what would decide, against scipy and by trying."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lstmreg.search.method import Components, Interval, Resolution
from lstmreg.search.method.intervals import wanted_half_width


def test_an_interval_is_students() -> None:
    values = np.random.default_rng(0).normal(size=8)
    found = Interval.over(values, 0.97)
    low, high = stats.t.interval(0.97, 7, loc=values.mean(), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.half_width == pytest.approx((high - low) / 2)
    assert found.relative == pytest.approx(tuple(np.expm1([values.mean(), low, high])))


def test_one_block_bounds_nothing() -> None:
    found = Interval.over([0.1], 0.95)
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_components_are_those_of_a_balanced_analysis_of_variance() -> None:
    ratios = np.random.default_rng(1).normal(size=(6, 4)) + np.arange(6)[:, None]
    found = Components.of(ratios)
    within = np.mean([row.var(ddof=1) for row in ratios])
    assert found.between_seeds == pytest.approx(within)
    assert found.between_blocks == pytest.approx(ratios.mean(axis=1).var(ddof=1) - within / 4)
    assert (found.blocks, found.seeds) == (6, pytest.approx(4))


def test_a_missing_seed_is_left_out_of_components() -> None:
    ratios = np.array([[1.0, 2.0, np.nan], [3.0, 4.0, 5.0]])
    found = Components.of(ratios)
    assert found.between_seeds == pytest.approx((0.5 + 2.0) / 3)
    assert found.seeds == pytest.approx(2 / (1 / 2 + 1 / 3))


def test_more_seeds_help_only_while_they_are_what_scatters() -> None:
    assert Components(0.04, 0.09, 8, 8).more_seeds_help
    assert not Components(0.05, 0.09, 8, 8).more_seeds_help


@pytest.mark.parametrize("wanted", [0.3, 0.1, 0.03])
def test_so_many_blocks_suffice_and_one_fewer_does_not(wanted: float) -> None:
    found = Components(0.02, 0.08, 6, 4)
    resolution = Resolution.of(found, wanted, 0.95)

    def half(blocks: int) -> float:
        return float(stats.t.ppf(0.975, blocks - 1) * math.sqrt((0.02 + 0.08 / 4) / blocks))

    assert resolution.half_width == pytest.approx(half(6))
    assert resolution.more_blocks is not None
    assert half(6 + resolution.more_blocks) <= wanted
    assert resolution.more_blocks == 0 or half(6 + resolution.more_blocks - 1) > wanted
    assert resolution.noise == pytest.approx(min(1.0, wanted / half(6)))
    assert resolution.with_unlimited_seeds == pytest.approx(stats.t.ppf(0.975, 5) * math.sqrt(0.02 / 6))
    assert resolution.seeds_suffice == (resolution.with_unlimited_seeds <= wanted)


def test_what_nobody_has_is_not_asked_for() -> None:
    assert Resolution.of(Components(1.0, 0.0, 6, 1), 1e-4, 0.95).more_blocks is None


def test_what_decides_is_zero_or_the_smallest_effect_whichever_is_farther() -> None:
    assert wanted_half_width(-0.1, 0.02) == pytest.approx(0.1)
    assert wanted_half_width(0.05, 0.02) == pytest.approx(0.05 - math.log(0.98))
    assert wanted_half_width(-0.01, 0.02) == pytest.approx(-math.log(0.98) - 0.01, abs=1e-3)
