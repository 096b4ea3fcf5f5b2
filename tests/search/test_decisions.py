"""What the experiment makes of losses that are known beforehand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from lstmreg.search import decisions
from lstmreg.search.pruning import Medians
from lstmreg.search.records import Replicate
from tests.search.made_up import KNOB, gave, made_up, ran, whole


def losses(value: float, splits: int = 6, seeds: int = 5, noise: float = 0.01) -> np.ndarray:
    """A loss for each split and seed."""
    return value * np.exp(noise * np.random.default_rng(0).normal(size=(splits, seeds)))


def test_a_sure_and_large_effect_is_confirmed() -> None:
    evidence = whole(losses(0.5), losses(1.0))
    effect = decisions.confirmed_effect(evidence)
    assert effect is not None
    assert effect.mean == pytest.approx(-0.5)
    assert decisions.is_confirmed(evidence)
    assert decisions.recommended(evidence) == {KNOB: 0.01}


def test_a_setting_that_diverges_more_often_than_none_is_never_confirmed() -> None:
    """Those that survive look far better, and they are all that a mean over results would see."""
    survivors = losses(0.05)
    survivors.flat[np.random.default_rng(1).permutation(30)[:18]] = np.nan
    evidence = whole(survivors, losses(1.0))
    effect = decisions.confirmed_effect(evidence)
    assert effect is not None
    assert effect.failed == 18
    assert not decisions.is_confirmed(evidence)
    one = losses(0.05)
    one[0, 0] = np.nan
    assert not decisions.is_confirmed(whole(one, losses(1.0)))
    as_often = losses(1.0)
    as_often[0, 0] = np.nan
    assert decisions.is_confirmed(whole(one, as_often))


def test_a_failure_counts_as_twice_the_loss_at_least_and_as_the_worst_of_its_setting() -> None:
    plain, ours = np.ones((2, 2)), np.array([[0.9, np.nan], [0.9, 0.9]])
    evidence = whole(ours, plain)
    found = evidence.log_ratios({KNOB: 0.01}, {}, ["confirm"])
    assert found[Replicate(0, 1)] == pytest.approx(math.log(2))
    ours[1, 1] = 8.0
    found = whole(ours, plain).log_ratios({KNOB: 0.01}, {}, ["confirm"])
    assert found[Replicate(0, 1)] == pytest.approx(math.log(8))
    # Where the other side failed too, nothing compares.
    plain[0, 1] = np.nan
    assert Replicate(0, 1) not in whole(ours, plain).log_ratios({KNOB: 0.01}, {}, ["confirm"])


def test_a_value_that_failed_anywhere_is_not_chosen() -> None:
    evidence = made_up()
    for split in range(2):
        ran(evidence, "baseline", {"training.learning_rate": 0.01}, split, 0, 1.0)
    ran(evidence, "alone", {KNOB: 0.01}, 0, 0, 0.1)
    ran(evidence, "alone", {KNOB: 0.01}, 1, 0, None)
    assert decisions.score(evidence, {KNOB: 0.01}) == math.inf
    assert decisions.best_value(evidence, KNOB, [0.01]) is None
    assert decisions.winner(evidence) == {}
    assert decisions.ratios(evidence, {KNOB: 0.01}) == pytest.approx(
        {Replicate(0, 0): math.log(0.1), Replicate(1, 0): math.log(2)}
    )


def test_a_floor_that_is_exact_on_a_split_is_not_beaten_and_breaks_nothing() -> None:
    evidence = whole(losses(0.5), losses(1.0), floors=[0.0, 0.4, 0.4, 0.4, 0.4, 0.4])
    assert evidence.card.best_floor == "persistence"
    effect = decisions.against_floor(evidence, {KNOB: 0.01})
    assert effect is not None
    assert math.isfinite(effect.mean)
    assert effect.mean > 0
    assert not decisions.is_confirmed(evidence)


def test_leaving_a_knob_out_is_judged_on_the_fresh_splits_with_an_interval() -> None:
    evidence = whole(losses(0.5), losses(1.0, noise=0.02))
    effect = decisions.left_out_effect(evidence, KNOB)
    assert effect is not None
    assert effect.mean == pytest.approx(1.0, rel=0.02)
    assert effect.low < effect.mean < effect.high
    assert effect.splits == 6
    assert decisions.left_out_effect(evidence, "model.dropout") is None


def test_trainings_are_cut_by_others_on_the_same_split_alone() -> None:
    """On the hard split every loss is larger than on the easy one."""
    evidence = made_up()
    for split, loss in ((0, 0.1), (1, 10.0)):
        for k in range(11):
            ran(evidence, "alone", {KNOB: float(k)}, split, 0, loss * (1 + k), val=[loss * (1 + k)] * 30)
    limits = Medians(evidence, before=0)
    patience = evidence.config.training.patience
    assert limits.at(Replicate(0, 0), patience - 1) == math.inf  # regularized models learn more slowly
    assert limits.at(Replicate(0, 0), patience) == pytest.approx(0.6)
    assert limits.at(Replicate(1, 0), patience) == pytest.approx(60.0)
    assert limits.are_exceeded(Replicate(0, 0), patience, 1.0)
    assert not limits.are_exceeded(Replicate(1, 0), patience, 1.0)
    assert limits.at(Replicate(2, 0), patience) == math.inf


def test_a_training_that_was_cut_is_no_result_of_its_setting() -> None:
    evidence = whole(losses(0.5), losses(1.0))
    cut = evidence.records["alone"][0]
    evidence.records["alone"][0] = dataclasses.replace(cut, result=gave(0.5, stopped="callback"))
    assert decisions.score(evidence, {KNOB: 0.01}) == 0.5 * math.log(0.5) * 2  # from the trial of the stage together
    evidence.records["together"].clear()
    assert decisions.score(evidence, {KNOB: 0.01}) == math.inf
