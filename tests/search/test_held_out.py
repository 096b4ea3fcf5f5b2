"""The test's interval against simulation and arithmetic by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from lstmreg.config import with_settings
from lstmreg.search import held_out
from lstmreg.search.evidence import Evidence
from tests.search.made_up import KNOB, made_up, ran


def evidence_of(
    errors: NDArray[np.float64], plain: NDArray[np.float64], scale: float = 1.0, loss: str = "mse"
) -> Evidence:
    """Return evidence whose networks err by so much, ``(seeds, windows)``, on a series of zeros."""
    evidence = made_up(confidence=0.95)
    card = dataclasses.replace(evidence.card, test_truth=[[0.0]] * errors.shape[1], scales={"target": scale})
    evidence = dataclasses.replace(evidence, card=card, config=with_settings(evidence.config, {"training.loss": loss}))
    for setting, found in (({}, plain), ({KNOB: 0.01}, errors)):
        for seed, values in enumerate(found):
            ran(evidence, "test", setting, 0, seed, 1.0, test_error=1.0, predictions=values[:, None].tolist())
    return evidence


def test_the_tests_effect_is_one_of_the_loss_averaged_over_seeds() -> None:
    """In the unit of the effect on the blocks: errors that are 10 % smaller are a squared loss that is 19 % smaller."""
    errors = np.random.default_rng(0).normal(size=(5, 300))
    for scale in (1.0, 7.0):
        effect = held_out.effect(evidence_of(0.9 * errors, errors, scale), {KNOB: 0.01}, {})
        assert effect is not None
        assert effect.mean == pytest.approx(0.9**2 - 1)
        assert (effect.low, effect.high) == pytest.approx((effect.mean, effect.mean))
    absolute = held_out.effect(evidence_of(0.9 * errors, errors, loss="mae"), {KNOB: 0.01}, {})
    assert absolute is not None
    assert absolute.mean == pytest.approx(-0.1)
    uneven = np.array([[1.0, 1.0, 1.0], [3.0, 3.0, 3.0]])
    effect = held_out.effect(evidence_of(uneven, np.ones((2, 3))), {KNOB: 0.01}, {})
    assert effect is not None
    assert effect.mean == pytest.approx((1 + 9) / 2 - 1)  # and not the mean of two logarithms


def test_the_tests_interval_knows_of_seeds_and_of_time() -> None:
    generator = np.random.default_rng(0)
    shared = generator.normal(size=400)
    alike = np.stack([shared] * 5)
    of_seeds = np.array([0.8, 0.9, 1.0, 1.1, 1.2])[:, None] * alike
    by_seeds = held_out.effect(evidence_of(of_seeds, alike), {KNOB: 0.01}, {})
    assert by_seeds is not None
    # Each network errs in the same way, so its windows add nothing: what is left is the spread of five seeds.
    ratios = 2 * np.log([0.8, 0.9, 1.0, 1.1, 1.2])
    half = np.log1p(by_seeds.high) - np.log1p(by_seeds.mean)
    assert half == pytest.approx(2.776 * ratios.std(ddof=1) / math.sqrt(5), rel=1e-3)
    other = np.stack([generator.normal(size=400)] * 5)
    by_time = held_out.effect(evidence_of(other, alike), {KNOB: 0.01}, {})
    assert by_time is not None
    # Two independent series of squared normals: each mean has a relative variance of 2 / 400.
    half = np.log1p(by_time.high) - np.log1p(by_time.mean)
    assert half == pytest.approx(1.97 * math.sqrt(4 / 400), rel=0.25)


def test_the_tests_interval_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered, repeats, truth = 0, 300, math.expm1(2 * math.log(0.9) + 0.05**2 * 2)
    for _ in range(repeats):
        noise = np.zeros((2, 600))
        for t in range(1, 600):
            noise[:, t] = 0.5 * noise[:, t - 1] + generator.normal(size=2)
        sizes = np.exp(0.05 * generator.normal(size=(6, 1)))
        evidence = evidence_of(0.9 * sizes * noise[0], np.ones((6, 1)) * noise[1])
        effect = held_out.effect(evidence, {KNOB: 0.01}, {})
        assert effect is not None
        covered += effect.low <= truth <= effect.high
    # A binomial with p = 0.95 leaves these bounds once in a thousand runs.
    assert 0.905 < covered / repeats < 0.99


def test_a_long_run_variance_is_that_of_an_autoregression() -> None:
    generator = np.random.default_rng(0)
    values = np.zeros(40_000)
    for t in range(1, len(values)):
        values[t] = 0.5 * values[t - 1] + generator.normal()
    assert held_out.long_run_variance(values, 1) == pytest.approx(4.0, rel=0.15)
    independent = generator.normal(size=40_000)
    assert held_out.long_run_variance(independent, 1) == pytest.approx(1.0, rel=0.1)
    assert held_out.long_run_variance(np.ones(5), 1) == 0.0


def test_averaging_compares_one_error_of_the_mean_with_the_mean_of_errors() -> None:
    errors = np.array([[1.0, -1.0], [-1.0, -1.0]])
    found = held_out.averaging(evidence_of(errors, np.ones((2, 2))), {KNOB: 0.01})
    assert found is not None
    assert (found.members, found.single) == (2, 1.0)
    assert found.averaged == pytest.approx(math.sqrt(0.5))
    assert found.change == pytest.approx(-0.5)
    assert held_out.averaging(evidence_of(errors[:1], np.ones((1, 2))), {KNOB: 0.01}) is None
