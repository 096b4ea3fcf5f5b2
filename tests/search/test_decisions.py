"""What the experiment makes of losses that are known beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lstmreg.errors import NoUsableTrialError
from lstmreg.search import decisions
from lstmreg.search.arms import LEARNING_RATE
from lstmreg.search.decisions import Conclusion
from lstmreg.search.method import BASELINE, Candidate, Cell
from tests.search.made_up import FRESH, KNOB, RATE, made_up, ran, whole


def losses(value: float, blocks: int = 6, seeds: int = 5, noise: float = 0.01) -> np.ndarray:
    """A loss for each block and seed."""
    return value * np.exp(noise * np.random.default_rng(0).normal(size=(blocks, seeds)))


def test_a_sure_and_large_effect_is_recommended() -> None:
    found = Conclusion.of(whole(losses(0.5), losses(1.0)))
    assert found.judged is not None
    assert math.expm1(found.judged.effect.mean) == pytest.approx(-0.5)
    assert found.is_confirmed
    assert found.recommended == found.candidate == {KNOB: 0.01}
    assert found.tested == [{}, {KNOB: 0.01}]
    assert [row.verdict for row in found.rows] == ["use"]


def test_an_effect_that_fresh_seeds_do_not_show_is_not_recommended_however_it_was_chosen() -> None:
    found = Conclusion.of(whole(losses(1.0, noise=0.05), losses(1.0, noise=0.02), chosen=0.2))
    assert found.candidate == {KNOB: 0.01}
    assert not found.is_confirmed
    assert found.recommended == {}


def test_a_setting_that_diverges_more_often_than_none_is_never_recommended() -> None:
    """Those that survive look far better, and they are all that a mean over results would see."""
    one = losses(0.05)
    one[0, 0] = np.nan
    found = Conclusion.of(whole(one, losses(1.0)))
    assert found.judged is not None
    assert found.judged.failures == 1
    assert found.judged.effect.high < 0
    assert not found.is_confirmed
    as_often = losses(1.0)
    as_often[0, 0] = np.nan
    assert Conclusion.of(whole(one, as_often)).is_confirmed


def test_a_floor_that_is_exact_on_a_block_is_not_beaten_and_breaks_nothing() -> None:
    evidence = whole(losses(0.5), losses(1.0), floors=[0.0, 0.4, 0.4, 0.4, 0.4, 0.4])
    assert evidence.card.best_floor == "persistence"
    found = Conclusion.of(evidence)
    assert found.judged is not None
    assert found.judged.against_floor is not None
    assert math.isfinite(found.judged.against_floor.mean)
    assert not found.is_confirmed


def test_a_simple_model_hinders_an_answer_only_if_it_beats_the_network_for_certain() -> None:
    """What learns nothing must be beaten for certain; what learns is another model, which may be as good."""

    def with_ridge(ridge: float) -> Conclusion:
        evidence = whole(losses(0.5), losses(1.0), floors=[2.0] * 6)
        evidence.card.floors["ridge"] = [ridge * (1 + 0.1 * (-1) ** block) for block in range(6)]
        evidence.card.simple_models.append("ridge")
        assert (evidence.card.best_floor, evidence.card.best_simple_model) == ("persistence", "ridge")
        return Conclusion.of(evidence)

    alike, better = with_ridge(0.5), with_ridge(0.3)
    assert alike.judged is not None
    assert alike.judged.against_simple_model is not None
    assert alike.judged.against_simple_model.low < 0 < alike.judged.against_simple_model.high
    assert alike.is_confirmed
    assert better.judged is not None
    assert better.judged.against == ("simple model",)
    assert not better.is_confirmed


def test_the_baseline_is_held_against_the_floor_as_it_was_judged_or_else_by_all_its_seeds() -> None:
    found = Conclusion.of(whole(losses(0.5), losses(2.0), floors=[4.0] * 6))
    judged = found.baseline_against(found.floor)
    assert judged is not None
    assert math.exp(judged.mean) == pytest.approx(0.5, rel=0.02)
    evidence = made_up(floors=[4.0] * 6)
    for block in range(6):
        for seed in range(3):
            ran(evidence, "learning rate", {LEARNING_RATE: RATE}, block, seed, 1.0)
        ran(evidence, "screen", {KNOB: 0.01}, block, 0, 3.0)
    unjudged = Conclusion.of(evidence)
    assert (unjudged.judged, unjudged.candidate, unjudged.tested) == (None, {}, [{}])
    alone = unjudged.baseline_against(unjudged.floor)
    assert alone is not None
    assert math.exp(alone.mean) == pytest.approx(0.25)


def test_the_learning_rate_is_the_one_with_the_least_mean_log_loss_and_no_failure() -> None:
    evidence = made_up(blocks=3, learning_rates=[0.1, 0.01, 0.001])
    of_rate = {0.1: [1e-6, 1e-6, None], 0.01: [1.0, 1.0, 100.0], 0.001: [9.0, 9.0, 9.0]}
    for rate, found in of_rate.items():
        for block, loss in enumerate(found):
            ran(evidence, "learning rate", {LEARNING_RATE: rate}, block, 0, loss)
    assert decisions.chosen_learning_rate(evidence) == 0.01  # whose mean is larger: 34 against 9


def test_a_baseline_that_fails_at_every_rate_ends_the_search() -> None:
    evidence = made_up(blocks=3, learning_rates=[0.1, 0.01])
    for rate in (0.1, 0.01):
        for block in range(3):
            ran(evidence, "learning rate", {LEARNING_RATE: rate}, block, 0, None if block == 1 else 1.0)
    with pytest.raises(NoUsableTrialError, match=r"every one of search\.learning_rates; last: diverged"):
        decisions.chosen_learning_rate(evidence)


def test_what_is_known_is_the_baseline_at_its_rate_and_all_of_choosing_and_judging() -> None:
    evidence = made_up(blocks=3, learning_rates=[0.1, 0.01])
    for rate, loss in ((0.1, 2.0), (0.01, 1.0)):
        for block in range(3):
            ran(evidence, "learning rate", {LEARNING_RATE: rate}, block, 0, loss)
    ran(evidence, "race", {}, 0, 3, 0.5)
    ran(evidence, "combine", {KNOB: 0.01, "model.dropout": 0.2}, 1, 0, None)
    ran(evidence, "judge", {KNOB: 0.01}, 2, FRESH, 0.25)
    ran(evidence, "test", {KNOB: 0.01}, 0, 0, 0.125)
    both = Candidate.of({"model.dropout": 0.2, KNOB: 0.01})
    knob = Candidate.of({KNOB: 0.01})
    assert dict(decisions.log_losses(evidence)) == pytest.approx(
        {
            **{Cell(BASELINE, block, 0): 0.0 for block in range(3)},
            Cell(BASELINE, 0, 3): math.log(0.5),
            Cell(both, 1, 0): math.inf,
            Cell(knob, 2, FRESH): math.log(0.25),
        }
    )


def test_the_rival_meets_the_test_beside_the_candidate_and_once_if_it_is_the_same() -> None:
    decay = {"training.weight_decay": 0.1, "training.optimizer": "adamw"}

    def concluded(knobs_loss: float, decays_loss: float) -> Conclusion:
        evidence = whole(losses(knobs_loss), losses(1.0), chosen=knobs_loss, weight_decay=[0.1])
        luck = np.random.default_rng(1)
        for block in range(6):
            ran(evidence, "screen", decay, block, 0, decays_loss * float(np.exp(0.01 * luck.normal())))
            for seed in range(5):
                ran(evidence, "judge", decay, block, FRESH + seed, decays_loss * float(np.exp(0.01 * luck.normal())))
        return Conclusion.of(evidence)

    found = concluded(0.5, 0.7)
    assert found.rival == dict(sorted(decay.items()))
    assert [set(setting) for setting in found.tested] == [set(), {KNOB}, set(decay)]
    assert found.judged is not None
    assert found.judged.beyond_rival is not None
    assert math.exp(found.judged.beyond_rival.mean) == pytest.approx(0.5 / 0.7, rel=0.02)
    same = concluded(0.9, 0.5)
    assert same.candidate == same.rival
    assert [set(setting) for setting in same.tested] == [set(), set(decay)]
