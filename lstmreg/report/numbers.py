"""The answer as numbers: plain dataclasses, drawn from the evidence by the experiment's own decisions."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import Scalar
from lstmreg.errors import NoUsableTrialError
from lstmreg.knobs import KNOBS
from lstmreg.search import decisions, held_out
from lstmreg.search.card import DataCard, kept
from lstmreg.search.evidence import Effect, Evidence, Resolution, relative
from lstmreg.search.held_out import Averaging
from lstmreg.search.records import STAGES, Result, Stage
from lstmreg.search.space import (
    Setting,
    baseline_config,
    configured,
    kept_on,
    knobs_of,
    ladder,
    turned_off,
    without_knobs,
)
from lstmreg.tasks import task_named

#: Where more trainings than this share were cut short, nothing is said of knobs.
MOSTLY = 0.5

Verdict = Literal[
    "use",
    "helps alone, not needed",
    "helps alone, not confirmed",
    "off for certain",
    "harms",
    "cannot tell",
    "not searched",
]

#: How many of the last test windows a picture shows.
_SHOWN = 400

#: By this the readers of ``answer.json`` know what stands in it.
SCHEMA = 2


@dataclass(frozen=True)
class Dose:
    """What one value of an arm did by itself on the blocks, with the seeds that choose.

    Attributes:
        value: The value.
        effect: Its effect on the loss; the intervals of all doses of all arms hold together.
        by_block: The effect on each block.
        seeds: How many seeds on each block stand behind it.
        is_grown: Whether the ladder grew to it.
    """

    value: Scalar
    effect: Effect
    by_block: list[float]
    seeds: int
    is_grown: bool


@dataclass(frozen=True)
class Knob:
    """One row of the table: a knob, weight decay, or another setting that was tried.

    Attributes:
        path: The setting, such as ``model.kernel_l2``.
        name: Its last part.
        keras: Keras' argument, or of weight decay the optimizer's; empty of other settings.
        role: ``knob``; ``rival``, what one would do without the knobs; ``setting``, anything else.
        verdict: ``use``; else what follows from the bands of its doses.
        value: The one in use, else the one that did best alone.
        alone: The effect of the best dose.
        p_value: That some dose lowers the loss, adjusted for all doses of all arms.
        doses: In the order of their values.
        resolution: Where nothing can be told: what would decide.
    """

    path: str
    name: str
    keras: str
    role: Literal["knob", "rival", "setting"]
    verdict: Verdict
    value: Scalar | None
    alone: Effect | None
    p_value: float | None
    doses: list[Dose]
    resolution: Resolution | None


@dataclass(frozen=True)
class Judged:
    """What fresh seeds said of the pick.

    Attributes:
        effect: Of the pick on the loss, against no regularization.
        agreed: Of what the blocks agree on: the value, or only the knobs, or only the places they act on, or nothing.
        stable: In which share of the blocks the others pick the same value.
        picks: What the blocks' picks are, each with how many blocks it has, the most first.
        seeds: How many fresh seeds on each block.
        against: Why the pick is not recommended (``interval``, ``smallest effect``, ``unstable``, ``floor``,
            ``failures``); empty if it is.
        resolution: What would decide.
        rival: The best weight decay; ``None`` if none was tried.
        rival_effect: Its effect against no regularization.
        beyond_rival: The pick's effect against it.
        losses: Mean loss over the fresh seeds on each block, in units of the validation loss: of ``no regularization``,
            ``pick``, ``weight decay`` and ``floor``, as far as there are such.
        against_floor: The pick's loss against the best prediction without a model.
        baseline_against_floor: Likewise of no regularization.
    """

    effect: Effect
    agreed: Literal["value", "knobs", "places", "nothing"]
    stable: float
    picks: list[tuple[Setting, int]]
    seeds: int
    against: list[str]
    resolution: Resolution
    rival: Setting | None
    rival_effect: Effect | None
    beyond_rival: Effect | None
    losses: dict[str, list[float]]
    against_floor: Effect | None
    baseline_against_floor: Effect | None


@dataclass(frozen=True)
class Curve:
    """Learning curves of one training, and where it was best. ``gap`` is validation over training loss there."""

    train: list[float]
    val: list[float]
    best_epoch: int
    gap: float


@dataclass(frozen=True)
class Test:
    """Errors on the test, in the target's units, as means over seeds.

    Attributes:
        metric: Name of the error.
        baseline: Of no regularization.
        candidate: Of the candidate.
        rival: Of the best weight decay; ``None`` if none was tried, or it is the candidate.
        floors: Of each prediction without a model.
        change: Of the loss, from the baseline to the candidate; its ``blocks`` are the test's cases.
        beyond_rival: Of the loss, from the rival to the candidate.
        seeds: How many.
        averaging: What averaging the seeds' predictions is worth, by what predicted.
        predictions: Of one seed, a row for each case, for the picture, by what predicted.
        error_by_step: For each column of the predictions, such as each step ahead, by name; where a task has such.
        errors: All errors, by name of what predicted (``no regularization``, ``candidate``, ``weight decay``, floors)
            and of the error.
    """

    metric: str
    baseline: float
    candidate: float | None
    rival: float | None
    floors: dict[str, float]
    change: Effect | None
    beyond_rival: Effect | None
    seeds: int
    averaging: dict[str, Averaging]
    predictions: dict[str, list[Any]]
    error_by_step: dict[str, list[float]]
    errors: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Answer:
    """Which knobs to turn, and the evidence.

    Attributes:
        run: Name of the run.
        task: Name of the task.
        directory: Its folder.
        recommended: The setting to use, by path; empty: no regularization.
        candidate: What was judged; empty if the screen ruled everything out, so that nothing was.
        is_confirmed: Whether the candidate is recommended.
        learning_rate: That of the baseline, chosen by experiment.
        judged: What the judge said; ``None`` if nothing was judged.
        best_floor: The prediction without a model that is hardest to beat, if there is any.
        floor_effect: Loss of the recommended model relative to it.
        knobs: The table: knobs, then weight decay, then other settings.
        baseline_curve: Learning curves of the baseline on the last block.
        candidate_curve: Likewise of the candidate.
        gap: Mean ratio of validation to training loss of the baseline at its best epochs.
        turn: Mean ratio of its last to its best validation loss: how far it turns up.
        cut_short: Share of its trainings that ``max_epochs`` ended before the patience did; 0 without one.
        most_blocks: So many blocks the data allow without getting very short.
        turned_off: Settings that the configuration turns and the search turned off in the baseline.
        kept_on: Knobs that the configuration turns and that were on in every training.
        test: The test.
        data: The data card.
        course: How many trainings each part of the experiment took (``learning rate``, ``screen``, ``grow``, ``race``,
            ``combine``, ``propose``, ``judge``, ``test``), in this order, and how many of them failed.
        settings: The run's configuration at the baseline: sizes, training, and the search's rules.
        confidence: Of the judge's intervals, and of the test's.
        table_confidence: Of the bands in the table, all together.
        smallest_effect: The least relative improvement of the loss that is worth a knob.
        seconds: Training time in all.
        versions: Of what computed it.
    """

    run: str
    task: str
    directory: str
    recommended: Setting
    candidate: Setting
    is_confirmed: bool
    learning_rate: float
    judged: Judged | None
    best_floor: str | None
    floor_effect: Effect | None
    knobs: list[Knob]
    baseline_curve: Curve
    candidate_curve: Curve | None
    gap: float
    turn: float
    cut_short: float
    most_blocks: int
    turned_off: Setting
    kept_on: Setting
    test: Test
    data: DataCard
    course: dict[str, list[int]]
    settings: dict[str, Scalar | list[Scalar] | None]
    confidence: float
    table_confidence: float
    smallest_effect: float
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
    baseline_results = list(evidence.results({}, ["confirm"]).values())
    return Answer(
        run=evidence.config.run_name,
        task=evidence.config.task,
        directory=_as_typed(evidence.config.directory),
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
        gap=float(np.mean([_gap(result) for result in baseline_results])),
        turn=float(np.mean([result.val[-1] / result.val_loss for result in baseline_results])),
        cut_short=_cut_short(evidence),
        sizes_effect=_sizes_effect(evidence, candidate),
        resolution=_resolution(evidence, candidate),
        most_splits=evidence.card.most_splits,
        turned_off=turned_off(evidence.config, evidence.dimensions),
        kept_on=kept_on(evidence.config, evidence.dimensions),
        looks=evidence.looks,
        history=[relative(score) + 1 for _, score in decisions.sampled_scores(evidence)],
        test=_test(evidence, candidate),
        data=evidence.card,
        trials={
            stage: [len(records), sum(r.failure is not None for r in records)]
            for stage, records in evidence.records.items()
        },
        settings=_settings(evidence),
        confidence=evidence.config.search.confidence,
        smallest_effect=evidence.config.search.smallest_effect,
        seconds=sum(r.result.seconds for s in STAGES for r in evidence.records[s] if r.result is not None),
        versions={
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("lstmreg", "torch", "lightning", "optuna")},
        },
    )


def _as_typed(directory: Path) -> str:
    """Write a folder as somebody who works where this process does would type it."""
    here = Path.cwd()
    return str(directory.resolve().relative_to(here)) if directory.resolve().is_relative_to(here) else str(directory)


def _require_finished(evidence: Evidence) -> None:
    has_knobs = any(path in KNOBS for path in evidence.dimensions)
    for stage in STAGES:
        if not evidence.records[stage] and (stage != "alone" or has_knobs):
            raise NoUsableTrialError(
                f"run {evidence.config.run_name!r} has no finished trial in its stage {stage!r} yet. "
                f"Run the search again: it goes on where it was."
            )
    judging: tuple[Stage, ...] = ("confirm", "test")
    for stage in judging:
        if not evidence.results({}, [stage]):
            raise NoUsableTrialError(f"the unregularized model failed in the stage {stage!r}; nothing compares.")


def _knobs(evidence: Evidence, candidate: Setting, recommended: Setting) -> list[Knob]:
    searched = [p for p in KNOBS if p in evidence.dimensions]
    # Intervals that hold together for all knobs: each is wider by Bonferroni's rule.
    confidence = 1 - (1 - evidence.config.search.confidence) / max(len(searched), 1)
    shown = [p for p in KNOBS if p in searched or KNOBS[p].by_default]
    return [_knob(evidence, path, candidate, recommended, confidence) for path in shown]


def _knob(evidence: Evidence, path: str, candidate: Setting, recommended: Setting, confidence: float) -> Knob:
    name, keras = path.split(".")[1], KNOBS[path].spoken
    if path not in evidence.dimensions:
        return Knob(name, keras, "not searched", None, None, [], None)
    dimension = evidence.dimensions[path]
    alone = decisions.effect_alone(evidence, path, dimension, confidence)
    return Knob(
        name=name,
        keras=keras,
        verdict="use"
        if path in recommended
        else _verdict(
            evidence,
            alone,
            is_confirmed=bool(knobs_of(recommended)),
            is_cut_short=_cut_short(evidence) > MOSTLY,
        ),
        value=recommended.get(path, decisions.best_value(evidence, path, dimension)),
        alone=alone,
        doses=[_dose(evidence, path, v) for v in ladder(dimension) if decisions.ratios(evidence, {path: v})],
        left_out=decisions.left_out_effect(evidence, path),
    )


def _cut_short(evidence: Evidence) -> float:
    """Return which share of the baseline's trainings ended before the patience did; none where there is no patience."""
    stopped = [result.stopped for result in evidence.results({}, ["confirm"]).values()]
    return float(np.mean([how == "max_epochs" for how in stopped])) if evidence.config.training.patience else 0.0


def _verdict(evidence: Evidence, alone: Effect | None, *, is_confirmed: bool, is_cut_short: bool) -> Verdict:
    """Return what the interval of a knob's effect alone says, and no more; of half a training, nothing."""
    if alone is None or is_cut_short:
        return "cannot tell"
    if alone.low > 0:
        return "harms"
    if alone.low > -evidence.config.search.smallest_effect:
        return "off for certain"
    if alone.high < 0:
        return "helps alone, not needed" if is_confirmed else "helps alone, not confirmed"
    return "cannot tell"


def _dose(evidence: Evidence, path: str, value: Scalar) -> Dose:
    found = decisions.ratios(evidence, {path: value})
    per_split = [
        relative(float(np.mean([x for r, x in found.items() if r.split == split])))
        for split in sorted({r.split for r in found})
    ]
    return Dose(
        value, relative(float(np.mean(list(found.values())))), per_split, evidence.failures({path: value}, ["alone"])
    )


def _last_confirming(evidence: Evidence, setting: Setting) -> Result:
    found = evidence.results(setting, ["confirm"])
    split = max((r.split for r in found), default=None)
    if split is None:
        raise NoUsableTrialError(f"the setting {setting} failed on every confirming split.")
    return found[min(r for r in found if r.split == split)]


def _curve(result: Result) -> Curve:
    return Curve(result.train, result.val, result.best_epoch, _gap(result))


def _gap(result: Result) -> float:
    return result.val_loss / max(result.train_loss, 1e-12)


def _sizes_effect(evidence: Evidence, candidate: Setting) -> Effect | None:
    sizes = without_knobs(candidate)
    return evidence.effect(sizes, {}, ["confirm"]) if sizes else None


def _resolution(evidence: Evidence, candidate: Setting) -> Resolution | None:
    """Return what the confirming splits resolve; where there was nothing to confirm, that of a typical knob alone."""
    confidence = evidence.config.search.confidence
    if knobs_of(candidate):
        return Resolution.of(evidence.log_ratios(candidate, without_knobs(candidate), ["confirm"]), confidence)
    found = []
    for path, dimension in evidence.dimensions.items():
        value = decisions.best_value(evidence, path, dimension) if path in KNOBS else None
        if value is not None:
            found.append(Resolution.of(decisions.ratios(evidence, {path: value}), confidence))
    typical = sorted((r for r in found if r is not None), key=lambda r: r.half_width)
    return typical[len(typical) // 2] if typical else None


def _test(evidence: Evidence, candidate: Setting) -> Test:
    # The candidate differs from what it is compared with by its knobs, or if it has none by its sizes.
    compared = without_knobs(candidate) if knobs_of(candidate) else {}

    def error(setting: Setting) -> float | None:
        errors = [result.test_error for result in evidence.results(setting, ["test"]).values()]
        return float(np.mean([error for error in errors if error is not None])) if errors else None

    shown = {"no regularization": compared} | ({"candidate": candidate} if candidate != compared else {})
    predicted = {name: held_out.predictions(evidence, setting) for name, setting in shown.items()}
    predicted = {name: by_seed for name, by_seed in predicted.items() if by_seed}
    averages = {name: held_out.averaging(evidence, setting) for name, setting in shown.items()}
    baseline, plain = error({}), error(compared)
    assert baseline is not None  # or there is no answer
    return Test(
        metric=held_out.metric(evidence),
        baseline=baseline,
        plain=baseline if plain is None else plain,
        candidate=error(candidate) if candidate else None,
        floors=evidence.card.test_floors,
        change=held_out.effect(evidence, candidate, compared) if candidate else None,
        seeds=len(evidence.results({}, ["test"])),
        settings=evidence.tested,
        averaging={name: averaged for name, averaged in averages.items() if averaged is not None},
        predictions={name: kept(by_seed[min(by_seed)][-_SHOWN:]) for name, by_seed in predicted.items()},
        error_by_step={
            name: np.mean([held_out.errors_by_step(evidence, p) for p in by_seed.values()], axis=0).tolist()
            for name, by_seed in predicted.items()
        },
        errors={
            **{name: _mean_errors(evidence, list(by_seed.values())) for name, by_seed in predicted.items()},
            **evidence.card.test_floor_errors,
        },
    )


def _mean_errors(evidence: Evidence, predicted: list[NDArray[np.float64]]) -> dict[str, float]:
    found = [held_out.errors(evidence, each) for each in predicted]
    return {name: float(np.mean([errors[name] for errors in found])) for name in found[0]}


def _settings(evidence: Evidence) -> dict[str, Scalar | list[Scalar] | None]:
    base = baseline_config(evidence.config, decisions.chosen_learning_rate(evidence), len(evidence.card.features))
    search = evidence.config.search
    rules = dataclasses.asdict(search.plan) | {name: getattr(search, name) for name in _RULES}
    shown = [f"model.{name}" for name in ("hidden_size", "num_layers", "bidirectional", "per_gate_input_masks")]
    shown += [f"training.{n}" for n in ("optimizer", "learning_rate", "loss", "batch_size", "max_epochs", "patience")]
    return {
        **{path: configured(base, path) for path in shown},
        **{f"data.{n}": getattr(evidence.config.data, n) for n in task_named(evidence.config.task).settings_shown},
        **{f"search.{name}": value for name, value in rules.items()},
    }
