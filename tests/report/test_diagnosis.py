"""The diagnosis: curves made up for each word, and curves that are nearly so."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from lstmreg import report
from lstmreg.report import words
from lstmreg.report.answers import Answer
from lstmreg.report.diagnosis import Diagnosis, diagnose
from lstmreg.search.evidence import Evidence
from lstmreg.search.records import Replicate, Result
from tests.report import answers
from tests.report.answers import ANSWERS, DIAGNOSIS, made
from tests.search.made_up import KNOB, gave, whole

EPOCHS = 60

Curve = Callable[[np.ndarray], np.ndarray]


def result(train: Sequence[float], val: Sequence[float], **more: Any) -> Result:
    """Return what a training gave, by its curves; the loss judged is that of the best epoch."""
    best = int(np.argmin(val))
    usual = {"train_loss": train[best], "best_epoch": best, "loss": val[best], "train": list(train), "val": list(val)}
    return gave(val[best], **usual | more)


def found(
    train: Curve,
    val: Curve,
    floor: float | None = 1.0,
    simple: float | None = None,
    scatter: float = 0.0,
    separates: float = 0.02,
    patience: bool = True,
    **more: Any,
) -> Diagnosis:
    """Diagnose trainings on four blocks, of different loss, with three seeds each."""
    epochs, luck = np.arange(EPOCHS), np.random.default_rng(0)
    results = {}
    for block in range(4):
        for seed in range(3):
            noise = np.exp(scatter * luck.normal(size=EPOCHS))
            results[Replicate(block, seed)] = result(
                (train(epochs) * 2**block).tolist(), (val(epochs) * noise * 2**block).tolist(), **more
            )
    floors, simples = (None if x is None else [x * 2.0**block for block in range(4)] for x in (floor, simple))
    return diagnose(results, floors, simples, has_patience=patience, separates=separates)


def falls(to: float, start: float = 1.2) -> Curve:
    return lambda epochs: to + (start - to) * np.exp(-epochs / 6)


def turns(low: float, by: float, at: int = 20) -> Curve:
    return lambda epochs: falls(low)(np.minimum(epochs, at)) * (1 + by * np.maximum(epochs - at, 0) / (EPOCHS - 1 - at))


def test_training_that_falls_on_while_validation_turns_up_overfits() -> None:
    seen = found(falls(0.2), turns(0.6, by=0.5))
    assert seen.word == "overfits"
    assert seen.turn == pytest.approx(1.5)
    assert seen.trainings == 12
    assert (
        found(falls(0.2), turns(0.6, by=0.05, at=40)).word == "overfits"
    )  # it hardly turns, and is three times as high


def test_validation_that_turns_while_training_does_not_fall_is_no_overfitting() -> None:
    assert found(lambda epochs: falls(0.5)(np.minimum(epochs, 20)), turns(0.6, by=0.5)).word == "fits"


def test_curves_that_stay_close_fit() -> None:
    seen = found(falls(0.5), falls(0.6))
    assert (seen.word, seen.scatter) == ("fits", pytest.approx(0, abs=0.01))


def test_a_training_loss_like_that_of_a_prediction_without_a_model_underfits() -> None:
    seen = found(falls(0.95), falls(0.97))
    assert (seen.word, seen.learned) == ("underfits", pytest.approx(0.95, abs=1e-3))
    assert found(falls(0.95), falls(0.97), floor=1.5).word == "fits"
    # Where there is no such prediction, the first epoch stands for it.
    assert found(falls(0.95, start=1.0), falls(0.97, start=1.0), floor=None).word == "underfits"
    assert found(falls(0.5), falls(0.6), floor=None).word == "fits"
    # Noise that is learned by heart is overfitting, however early validation turns.
    assert found(falls(0.3), turns(0.97, by=0.4, at=1)).word == "overfits"


def test_validation_that_jumps_by_more_than_what_separates_settings_is_noisy() -> None:
    seen = found(falls(0.5), falls(0.6), scatter=0.1)
    assert (seen.word, seen.scatter) == ("noisy", pytest.approx(math.expm1(0.1), rel=0.15))
    assert found(falls(0.5), falls(0.6), scatter=0.1, separates=0.2).word == "fits"
    # A last epoch that is above the lowest of noisy ones has not turned up.
    assert seen.turn > 1.1
    assert found(lambda epochs: 0.6 - 0.004 * epochs, falls(0.6), scatter=0.1).word == "noisy"
    assert found(falls(0.4), turns(0.6, by=0.6), scatter=0.1).word == "overfits"


def test_trainings_that_max_epochs_ended_have_not_converged() -> None:
    overfitting: tuple[Curve, Curve] = falls(0.2), turns(0.6, by=0.5)
    assert found(*overfitting, stopped="max_epochs").word == "not converged"
    # Without patience nothing else ends a training: it is the best epoch that tells.
    seen = found(*overfitting, stopped="max_epochs", patience=False)
    assert (seen.word, seen.unfinished) == ("overfits", 0.0)
    assert found(falls(0.5), falls(0.6), stopped="max_epochs", patience=False).word == "not converged"


def test_a_loss_that_is_too_good_to_be_true_is_suspected_of_a_leak() -> None:
    tight: tuple[Curve, Curve] = falls(0.02), falls(0.021)
    assert found(*tight, simple=0.9).word == "leak suspected"
    assert found(*tight).word == "leak suspected"
    assert found(*tight, simple=0.1).word == "fits"  # a simple model is nearly as good
    assert found(falls(0.005), falls(0.021)).word == "overfits"  # a leak would lower both
    assert found(lambda e: 5e-6 * falls(1)(e), lambda e: 2e-5 * falls(1)(e), floor=None).word == "leak suspected"
    assert found(*tight, stopped="max_epochs").word == "leak suspected"  # which falls and falls


def evidence(train: Curve, val: Curve) -> Evidence:
    """Return evidence of a whole experiment whose baseline has these curves on every block."""
    luck = np.random.default_rng(5)
    seen = whole(np.exp(0.01 * luck.normal(size=(6, 4))) * 0.5, np.exp(0.01 * luck.normal(size=(6, 4))))
    epochs = np.arange(EPOCHS)
    curves = result(train(epochs).tolist(), val(epochs).tolist())
    seen.records["judge"] = [
        dataclasses.replace(r, result=dataclasses.replace(curves, loss=r.result.loss))
        if r.result is not None and KNOB not in r.setting
        else r
        for r in seen.records["judge"]
    ]
    return seen


def test_the_diagnosis_of_an_answer_is_that_of_its_baselines_curves() -> None:
    answer = report.answer(evidence(falls(0.2), turns(0.6, by=0.5)))
    assert (answer.diagnosis.word, answer.diagnosis.trainings) == ("overfits", 24)
    # The candidate's curves end at their best.
    assert (answer.diagnosis.turn, answer.candidate_turn) == (pytest.approx(1.5), 1.0)
    assert answer.diagnosis.against_floor == pytest.approx(1 / 5, rel=0.01)  # persistence's loss is 5, the baseline's 1
    assert answer.diagnosis.separates == pytest.approx(
        0.98, abs=0.05
    )  # the only dose halves the loss: log 2 either way
    assert report.answer(evidence(falls(0.5), falls(0.6))).diagnosis.word == "fits"


@pytest.mark.parametrize("kind", ANSWERS)
def test_every_answer_begins_its_details_with_a_diagnosis(kind: str) -> None:
    answer = ANSWERS[kind]()
    (said,) = [s for s in words.sentences(answer) if s.startswith("Diagnosis: ")]
    assert said.startswith(f"Diagnosis: {answer.diagnosis.word}: ")
    assert said in (words.summary(answer)[1], words.details(answer)[0])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"word": "overfits"}, "3.1 times the training loss at the best epoch, and 1.4 times its best"),
        ({"word": "fits", "gap": 1.2, "turn": 1.0}, "1.2 times the training loss at the best epoch, and 1.0 times its"),
        ({"word": "underfits", "learned": 0.96}, "comes down to 0.96 times the loss of persistence"),
        (
            {"word": "noisy", "scatter": 0.12},
            "jumps by 12 %, and half of all that was tried changes the loss by less th",
        ),
        ({"word": "not converged"}, "reached training.max_epochs = 200"),
        (
            {"word": "leak suspected", "against_floor": 0.02},
            "is 1.2, 0.02 times that of persistence and 1.2 times that",
        ),
        (
            {"word": "leak suspected", "against_floor": None, "against_simple_model": None},
            "nothing is 1.2, and validation is 3.1 times",
        ),
    ],
)
def test_a_diagnosis_is_said_with_its_numbers(changes: dict[str, Any], said: str) -> None:
    shown = made(diagnosis=dataclasses.replace(DIAGNOSIS, **changes))
    assert said in words.details(shown)[0]


def test_what_the_last_epoch_would_cost_is_said_as_far_as_it_is_known() -> None:
    """Where trainings without early stopping do not say it."""

    def untold(kind: str) -> Answer:
        return dataclasses.replace(ANSWERS[kind](), unstopped=None)

    (said,) = [s for s in words.details(made(unstopped=None)) if s.startswith("Without early stopping")]
    assert said == (
        "Without early stopping the last epoch would have cost +40 % without a knob and +5.0 % with kernel_l1 = 0.03, "
        "in validation loss against the best epoch, as far as training went."
    )
    (alone,) = [s for s in words.details(untold("ruled out")) if s.startswith("Without early stopping")]
    assert "would have cost +40 % without a knob, in validation" in alone
    without_patience = made(unstopped=None, settings=answers.SETTINGS | {"training.patience": None})
    assert any(s.startswith("Without going back to the best epoch the last") for s in words.details(without_patience))
    (decay,) = [s for s in words.details(untold("weight decay")) if s.startswith("Without early stopping")]
    assert "without regularization and +5.0 % with weight_decay = 0.3" in decay
    assert not any(s.startswith("Without early stopping") for s in words.sentences(ANSWERS["cut short"]()))
