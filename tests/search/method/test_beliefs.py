"""Shrinkage against integration by brute force, and the rules of a pick."""

from __future__ import annotations

import numpy as np
import pytest

from lstmreg.search.method import Arm, Candidate
from lstmreg.search.method.beliefs import LEAST_SPREAD, PRICE, Beliefs, beliefs, best_of_each_arm
from lstmreg.search.method.effects import Effects

ARMS = (Arm("model.a", (1.0, 2.0)), Arm("model.b", (1.0,)), Arm("model.c", (1.0,)))
A1, A2, B, C = ARMS[0].at(1.0), ARMS[0].at(2.0), ARMS[1].at(1.0), ARMS[2].at(1.0)
AB = Candidate.of({"model.a": 1.0, "model.b": 1.0})


def found(means: list[float], deviation: float = 0.1, candidates: tuple[Candidate, ...] = (A1, A2, B, C)) -> Effects:
    """Effects with given means over eight blocks, the components of which say the same as their scatter."""
    scatter = np.random.default_rng(0).normal(size=8)
    scatter = (scatter - scatter.mean()) / scatter.std(ddof=1) * deviation
    K = len(means)
    zeros, ones = np.zeros(K), np.ones(K)
    return Effects(candidates, ones, np.array(means)[:, None] + scatter, ones, ones > 0, zeros, 0.0, 0.0, deviation**2)


def test_a_posterior_is_what_integration_gives() -> None:
    effects = found([-0.4, 0.0, -0.1, 0.1])
    believed = beliefs(effects, ARMS)
    own = 0.1**2 / 8
    spread = max(LEAST_SPREAD**2, np.var(effects.means, ddof=1) - own)
    grid = np.linspace(-2, 2, 40_001)
    for k, mean in enumerate(effects.means):
        density = np.exp(-((grid - mean) ** 2) / 2 / own - (grid - effects.means.mean()) ** 2 / 2 / spread)
        density /= density.sum()
        assert believed.means[k] == pytest.approx((density * grid).sum(), abs=1e-6)
        assert believed.deviations[k] ** 2 == pytest.approx((density * grid**2).sum() - (density * grid).sum() ** 2)


def test_what_differs_by_chance_alone_is_pulled_together() -> None:
    believed = beliefs(found([-0.05, 0.05, 0.0, 0.01], deviation=0.5), ARMS)
    assert np.ptp(believed.means) < 0.1 * 0.1


def test_what_harms_much_does_not_make_the_others_spread() -> None:
    means = [-0.05, 0.05, 0.0]
    three = beliefs(found(means, 0.4, (A1, A2, B)), ARMS)
    four = beliefs(found([*means, 5.0], 0.4), ARMS)
    assert four.deviations[:3] == pytest.approx(three.deviations, rel=0.35)


def test_each_further_knob_has_its_price() -> None:
    believed = beliefs(found([-0.1, -0.1], candidates=(A1, AB)), ARMS)
    assert believed.mean(AB) - believed.mean(A1) == pytest.approx(PRICE)


def test_a_combination_needs_the_seeds_of_the_best_single() -> None:
    singles = np.array([True, True, False])

    def pick(means: list[float], seeds: list[int]) -> Candidate:
        return Beliefs((A1, B, AB), np.array(means), np.ones(3), np.array(seeds, dtype=float), singles).pick()

    assert pick([-0.2, -0.1, -0.3], [4, 1, 3]) == A1
    assert pick([-0.2, -0.1, -0.3], [4, 1, 4]) == AB
    assert pick([-0.1, -0.2, -0.3], [4, 1, 3]) == AB
    assert pick([-0.2, -0.1, -0.15], [1, 1, 8]) == A1


def test_a_pick_can_be_among_some_alone() -> None:
    believed = beliefs(found([-0.3, -0.2, -0.1, 0.0]), ARMS)
    assert believed.pick() == A1
    assert believed.pick([B, C]) == B
    assert best_of_each_arm(believed, ARMS) == {ARMS[0]: A1, ARMS[1]: B, ARMS[2]: C}
