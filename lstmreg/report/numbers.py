"""The answer as numbers: plain dataclasses, drawn from the evidence by the experiment's own decisions."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lstmreg.config import KNOBS, Scalar
from lstmreg.data.floors import error_name
from lstmreg.errors import NoUsableTrialError
from lstmreg.search import decisions
from lstmreg.search.card import DataCard
from lstmreg.search.evidence import STAGES, Effect, Evidence, Record, Replicate
from lstmreg.search.space import Setting, baseline_config, configured, key, knobs_of, ladder, without_knobs

Verdict = Literal["use", "off", "no evidence", "not searched"]

#: Keras' argument and what is done there, for each knob.
KERAS_NAMES = {
    "model.kernel_l1": "kernel_regularizer, L1",
    "model.kernel_l2": "kernel_regularizer, L2",
    "model.recurrent_l1": "recurrent_regularizer, L1",
    "model.recurrent_l2": "recurrent_regularizer, L2",
    "model.bias_l1": "bias_regularizer, L1",
    "model.bias_l2": "bias_regularizer, L2",
    "model.activity_l1": "activity_regularizer, L1",
    "model.activity_l2": "activity_regularizer, L2",
    "model.dropout": "dropout",
    "model.recurrent_dropout": "recurrent_dropout",
}

#: What of the search's configuration the report shows.
_RULES = (
    "trials",
    "learning_rates",
    "splits",
    "seeds",
    "confirm_splits",
    "confirm_seeds",
    "test_seeds",
    "smallest_effect",
    "confidence",
    "batch",
    "prune",
    "sampler",
    "seed",
)

_ALWAYS_SHOWN = {p for p in KNOBS if not p.endswith("_l1")}


@dataclass(frozen=True)
class Dose:
    """What one value of a knob alone did on the choosing splits: the mean effect, and that on each split."""

    value: Scalar
    effect: float
    per_split: list[float]


@dataclass(frozen=True)
class Knob:
    """One row of the table.

    Attributes:
        name: The setting, such as ``kernel_l2``.
        keras: Keras' argument.
        verdict: ``use``; ``off``: it cannot bring an effect worth having; ``no evidence`` either way; or
            ``not searched``.
        value: In the recommended setting if it is used, else the one that did best alone.
        alone: Its effect alone on the validation loss, relative to the baseline.
        doses: Its ladder.
        left_out: By how much the loss rises on the choosing splits if the winner must do without it.
        why: Why it was not searched.
    """

    name: str
    keras: str
    verdict: Verdict
    value: Scalar | None
    alone: Effect | None
    doses: list[Dose]
    left_out: float | None
    why: str


@dataclass(frozen=True)
class Curve:
    """Learning curves of one training, and where it was best. ``gap`` is validation over training loss there."""

    train: list[float]
    val: list[float]
    best_epoch: int
    gap: float


@dataclass(frozen=True)
class Test:
    """Errors on the test rows, in the target's units, as means over seeds.

    Attributes:
        metric: Name of the error.
        baseline: Of the baseline.
        plain: Of what the candidate is compared with: the same sizes without its knobs, or the baseline.
        candidate: Of the candidate.
        floors: Of each prediction without a model.
        change: Of the candidate against ``plain``, paired by seed.
        seeds: How many.
        settings: How many settings ever met the test rows; more than were needed if the search was continued.
        predictions: One step ahead, for the picture.
    """

    metric: str
    baseline: float
    plain: float
    candidate: float | None
    floors: dict[str, float]
    change: Effect | None
    seeds: int
    settings: int
    predictions: dict[str, list[float]]


@dataclass(frozen=True)
class Answer:
    """Which knobs to turn, and the evidence.

    Attributes:
        run: Name of the run.
        recommended: The setting to use, by path; empty: no regularization.
        candidate: The best setting that the search found, confirmed or not.
        is_confirmed: Whether the candidate's knobs are recommended.
        learning_rate: That of the baseline, chosen by experiment.
        effect: Of the candidate's knobs on the confirming splits; ``None`` if it turns none.
        best_floor: The prediction without a model that is hardest to beat.
        floor_effect: Loss of the recommended model relative to it, on the confirming splits.
        candidate_floor_effect: Likewise of the candidate.
        knobs: The table.
        baseline_curve: Learning curves of the baseline on the last confirming split.
        candidate_curve: Likewise of the candidate.
        gap: Mean ratio of validation to training loss of the baseline at its best epochs.
        turn: Mean ratio of its last to its best validation loss: how far it turns up.
        cut_short: Share of its trainings that ``max_epochs`` ended before the patience did; 0 without one.
        sizes_effect: Of the candidate's sizes and learning rate, without knobs, against the baseline's.
        history: Value of each sampled setting relative to the baseline on its replicate; ``None``: failed.
        test: The test.
        data: The data card.
        trials: How many trials each stage took, and how many of them failed.
        settings: The run's configuration at the baseline: sizes, training, and the search's rules.
        seconds: Training time in all.
        versions: Of what computed it.
    """

    run: str
    recommended: Setting
    candidate: Setting
    is_confirmed: bool
    learning_rate: float
    effect: Effect | None
    best_floor: str
    floor_effect: Effect | None
    candidate_floor_effect: Effect | None
    knobs: list[Knob]
    baseline_curve: Curve
    candidate_curve: Curve | None
    gap: float
    turn: float
    cut_short: float
    sizes_effect: Effect | None
    history: list[float | None]
    test: Test
    data: DataCard
    trials: dict[str, list[int]]
    settings: dict[str, Scalar | list[Scalar] | None]
    seconds: float
    versions: dict[str, str]


def answer(evidence: Evidence) -> Answer:
    """Draw the answer from a finished search.

    Raises:
        NoUsableTrialError: If the search has not come to its end, or its baseline failed there.
    """
    _require_finished(evidence)
    candidate = decisions.winner(evidence)
    recommended = decisions.recommended(evidence)
    baseline_runs = list(evidence.results({}, ["confirm"]).values())
    return Answer(
        run=evidence.config.run_name,
        recommended=recommended,
        candidate=candidate,
        is_confirmed=decisions.is_confirmed(evidence),
        learning_rate=decisions.chosen_learning_rate(evidence),
        effect=decisions.confirmed_effect(evidence),
        best_floor=evidence.card.best_floor,
        floor_effect=decisions.against_floor(evidence, recommended),
        candidate_floor_effect=decisions.against_floor(evidence, candidate),
        knobs=_knobs(evidence, candidate, recommended),
        baseline_curve=_curve(_last_confirming(evidence, {})),
        candidate_curve=_curve(_last_confirming(evidence, candidate)) if candidate else None,
        gap=float(np.mean([_gap(r) for r in baseline_runs])),
        turn=float(np.mean([r.result["val"][-1] / r.result["val_loss"] for r in baseline_runs])),
        cut_short=float(np.mean([r.result["stopped"] == "max_epochs" for r in baseline_runs]))
        if evidence.config.training.patience is not None
        else 0.0,
        sizes_effect=_sizes_effect(evidence, candidate),
        history=_history(evidence),
        test=_test(evidence, candidate),
        data=evidence.card,
        trials={
            stage: [len(records), sum(r.failure is not None for r in records)]
            for stage, records in evidence.records.items()
        },
        settings=_settings(evidence),
        seconds=sum(r.result.get("seconds", 0.0) for s in STAGES for r in evidence.records[s]),
        versions={
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("lstmreg", "torch", "lightning", "optuna")},
        },
    )


def _require_finished(evidence: Evidence) -> None:
    for stage in STAGES:
        if not evidence.records[stage]:
            raise NoUsableTrialError(
                f"run {evidence.config.run_name!r} has no finished trial in its stage {stage!r} yet. "
                f"Run the search again: it goes on where it was."
            )
    for stage in ("confirm", "test"):
        if not evidence.results({}, [stage]):
            raise NoUsableTrialError(f"the unregularized model failed in the stage {stage!r}; nothing compares.")


def _knobs(evidence: Evidence, candidate: Setting, recommended: Setting) -> list[Knob]:
    searched = [p for p in KNOBS if p in evidence.dimensions]
    # Intervals that hold together for all knobs: each is wider by Bonferroni's rule.
    confidence = 1 - (1 - evidence.config.search.confidence) / max(len(searched), 1)
    shown = [p for p in KNOBS if p in searched or p in _ALWAYS_SHOWN]
    return [_knob(evidence, path, candidate, recommended, confidence) for path in shown]


def _knob(evidence: Evidence, path: str, candidate: Setting, recommended: Setting, confidence: float) -> Knob:
    name, keras = path.split(".")[1], KERAS_NAMES[path]
    if path not in evidence.dimensions:
        return Knob(name, keras, "not searched", None, None, [], None, _why_not_searched(evidence, path))
    dimension = evidence.dimensions[path]
    alone = decisions.effect_alone(evidence, path, dimension, confidence)
    worth = -evidence.config.search.smallest_effect
    verdict: Verdict = "no evidence"
    if path in recommended:
        verdict = "use"
    elif alone is not None and alone.low > worth:
        verdict = "off"
    left_out = None
    if path in candidate:
        rise = decisions.score(evidence, decisions.without(candidate, path)) - decisions.score(evidence, candidate)
        left_out = float(np.expm1(rise)) if np.isfinite(rise) else None
    return Knob(
        name=name,
        keras=keras,
        verdict=verdict,
        value=recommended.get(path, decisions.best_value(evidence, path, dimension)),
        alone=alone,
        doses=[_dose(evidence, path, v) for v in ladder(dimension) if decisions.ratios(evidence, {path: v})],
        left_out=left_out,
        why="",
    )


def _why_not_searched(evidence: Evidence, path: str) -> str:
    if path == "model.dropout" and len(evidence.card.features) == 1:
        return (
            "there is a single input column, and an input mask would blank the whole series of a sample; "
            "so this is no sensible knob here"
        )
    return "it is not in search.space"


def _dose(evidence: Evidence, path: str, value: Scalar) -> Dose:
    found = decisions.ratios(evidence, {path: value})
    per_split = [
        float(np.expm1(np.mean([x for r, x in found.items() if r.split == split])))
        for split in sorted({r.split for r in found})
    ]
    return Dose(value, float(np.expm1(np.mean(list(found.values())))), per_split)


def _last_confirming(evidence: Evidence, setting: Setting) -> Record:
    found = evidence.results(setting, ["confirm"])
    split = max((r.split for r in found), default=None)
    if split is None:
        raise NoUsableTrialError(f"the setting {setting} failed on every confirming split.")
    return found[min(r for r in found if r.split == split)]


def _curve(record: Record) -> Curve:
    return Curve(record.result["train"], record.result["val"], record.result["best_epoch"], _gap(record))


def _gap(record: Record) -> float:
    return float(record.result["val_loss"] / max(record.result["train_loss"], 1e-12))


def _history(evidence: Evidence) -> list[float | None]:
    baseline = decisions.baseline_records(evidence)
    return [
        None if r.failure is not None else float(r.result["val_loss"] / baseline[r.replicate].result["val_loss"])
        for r in evidence.records["together"]
        if r.role == "sampled"
    ]


def _sizes_effect(evidence: Evidence, candidate: Setting) -> Effect | None:
    sizes = without_knobs(candidate)
    found = evidence.log_ratios(sizes, {}, ["confirm"]) if sizes else {}
    return Effect.of(found, evidence.config.search.confidence) if found else None


def _test(evidence: Evidence, candidate: Setting) -> Test:
    baseline = evidence.results({}, ["test"])
    # The candidate differs from what it is compared with by its knobs, or if it has none by its sizes.
    plain = evidence.results(without_knobs(candidate) if knobs_of(candidate) else {}, ["test"])
    ours = evidence.results(candidate, ["test"]) if candidate else {}
    # One stretch of time, so the seeds are what repeats.
    by_seed = {
        Replicate(r.seed, 0): float(np.log(ours[r].result["test_error"] / plain[r].result["test_error"]))
        for r in ours
        if r in plain
    }

    def mean(results: dict[Replicate, Record]) -> float:
        return float(np.mean([r.result["test_error"] for r in results.values()]))

    predictions = {"no regularization": baseline[min(baseline)].result["predictions"]}
    if ours:
        predictions["candidate"] = ours[min(ours)].result["predictions"]
    return Test(
        metric=error_name(evidence.config.training.loss),
        baseline=mean(baseline),
        plain=mean(plain),
        candidate=mean(ours) if ours else None,
        floors=evidence.card.test_floors,
        change=Effect.of(by_seed, evidence.config.search.confidence) if by_seed else None,
        seeds=len(baseline),
        settings=len({key(r.setting) for r in evidence.records["test"]}),
        predictions=predictions,
    )


def _settings(evidence: Evidence) -> dict[str, Scalar | list[Scalar] | None]:
    base = baseline_config(evidence.config, evidence.dimensions, decisions.chosen_learning_rate(evidence))
    search = evidence.config.search
    shown = ["model.hidden_size", "model.num_layers", "model.bidirectional"]
    shown += [f"training.{n}" for n in ("optimizer", "learning_rate", "loss", "batch_size", "max_epochs", "patience")]
    return {
        **{path: configured(base, path) for path in shown},
        **{f"data.{n}": getattr(evidence.config.data, n) for n in ("window", "horizon", "season")},
        **{f"search.{n}": getattr(search, n) for n in _RULES},
    }
