"""Effects and intervals against arithmetic by hand and scipy's own t interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lstmreg.search.evidence import Effect, Resolution
from lstmreg.search.records import Replicate


def test_an_interval_is_students_over_split_means() -> None:
    ratios = {Replicate(split, seed): 0.1 * split - 0.03 * seed for split in range(4) for seed in range(3)}
    effect = Effect.of(ratios, 0.9)
    means = np.array([np.mean([ratios[Replicate(split, seed)] for seed in range(3)]) for split in range(4)])
    low, high = stats.t.interval(0.9, 3, loc=means.mean(), scale=stats.sem(means))
    assert effect.splits == 4
    np.testing.assert_allclose([effect.mean, effect.low, effect.high], np.expm1([means.mean(), low, high]), rtol=1e-12)


def test_more_seeds_on_the_same_splits_do_not_narrow_what_splits_disagree_on() -> None:
    disagreeing = [-0.2, 0.3, 0.1]
    few = {Replicate(split, 0): ratio for split, ratio in enumerate(disagreeing)}
    many = {Replicate(split, seed): ratio for split, ratio in enumerate(disagreeing) for seed in range(50)}
    assert Effect.of(few, 0.95).low == pytest.approx(Effect.of(many, 0.95).low, rel=1e-12)


def test_one_split_alone_bounds_nothing() -> None:
    effect = Effect.of({Replicate(0, seed): -0.5 for seed in range(10)}, 0.95)
    assert effect.mean == pytest.approx(math.expm1(-0.5))
    assert (effect.low, effect.high) == (-1.0, math.inf)


def test_an_interval_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    truth, covered, repeats = 0.05, 0, 2000
    for _ in range(repeats):
        per_split = truth + 0.2 * generator.normal(size=5)
        ratios = {
            Replicate(split, seed): center + 0.1 * generator.normal()
            for split, center in enumerate(per_split)
            for seed in range(2)
        }
        effect = Effect.of(ratios, 0.95)
        covered += effect.low <= math.expm1(truth) <= effect.high
    # A binomial with p = 0.95 leaves these bounds once in ten thousand runs.
    assert 0.93 < covered / repeats < 0.97


def test_the_resolution_of_data_parts_seeds_from_splits() -> None:
    generator = np.random.default_rng(0)
    splits, seeds = 400, 4
    ratios = {
        Replicate(split, seed): center + 0.3 * generator.normal()
        for split, center in enumerate(0.2 * generator.normal(size=splits))
        for seed in range(seeds)
    }
    found = Resolution.of(ratios, 0.95)
    assert found is not None
    t = stats.t.ppf(0.975, splits - 1) / math.sqrt(splits)
    assert math.log1p(found.half_width) == pytest.approx(t * math.sqrt(0.2**2 + 0.3**2 / seeds), rel=0.1)
    assert math.log1p(found.with_unlimited_seeds) == pytest.approx(t * 0.2, rel=0.1)
    assert (found.splits, found.seeds) == (splits, seeds)
    effect = Effect.of(ratios, 0.95)
    assert (1 + effect.high) / (1 + effect.mean) == pytest.approx(1 + found.half_width)
    assert Resolution.of({Replicate(0, seed): 0.1 * seed for seed in range(3)}, 0.95) is None
