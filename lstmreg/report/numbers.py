"""The numbers of an answer, drawn from the evidence by the experiment's own decisions."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import Scalar, configured
from lstmreg.errors import NoUsableTrialError
from lstmreg.knobs import KNOBS, knob_at
from lstmreg.search import decisions, explaining, held_out, method
from lstmreg.search.arms import LEARNING_RATE
from lstmreg.search.card import kept
from lstmreg.search.decisions import Conclusion
from lstmreg.search.evidence import Effect, Evidence, Resolution, relative
from lstmreg.search.method import Arm, Interval, Judgement, Row
from lstmreg.search.records import ROLES, STAGES, Replicate, Result, Stage
from lstmreg.search.space import (
    WEIGHT_DECAY,
    Setting,
    baseline_config,
    describe,
    kept_on,
    regularizers,
    short,
    turned_off,
)
from lstmreg.setting_path import layer_of, of_layer
from lstmreg.tasks import task_named

from .answers import Answer, Columns, Curve, Dose, Judged, Knob, Test, Trials, Unfinished, Verdict
from .beside import beside
from .diagnosis import MOSTLY, diagnose, gap, turn
from .diagnosis import unfinished as unfinished_share
from .whereabouts import whereabouts

#: How many of the last test windows a picture shows.
_SHOWN = 400


def answer(evidence: Evidence, unfinished: Unfinished | None = None) -> Answer:
    """Draw the answer from a search that has met its test.

    Args:
        evidence: All that is known.
        unfinished: Where the search stands, if something is missing that explains the answer.

    Raises:
        NoUsableTrialError: If the search has not come to its end, or its baseline failed there.
    """
    _require_finished(evidence)
    found = Conclusion.of(evidence)
    candidate = found.candidate
    of_baseline = _of_baseline(evidence, found)
    of_candidate = evidence.results(candidate, "judge") if candidate else {}
    has_patience = evidence.config.training.patience is not None
    knobs = knobs_of(evidence, found)
    card = evidence.card
    diagnosis = diagnose(
        of_baseline,
        None if card.best_floor is None else card.floors[card.best_floor],
        None if card.best_simple_model is None else card.floors[card.best_simple_model],
        has_patience=has_patience,
        separates=_separates(knobs, found.plan.smallest_effect),
    )
    curves = _curves(of_baseline, of_candidate)
    return Answer(
        run=evidence.config.run_name,
        task=evidence.config.task,
        directory=as_typed(evidence.config.directory),
        recommended=found.recommended,
        candidate=candidate,
        is_confirmed=found.is_confirmed,
        learning_rate=decisions.chosen_learning_rate(evidence),
        judged=judged(evidence, found),
        best_floor=evidence.card.best_floor,
        floor_effect=_perhaps(
            found.judged.against_floor if found.judged and found.is_confirmed else found.baseline_against(found.floor)
        ),
        best_simple_model=evidence.card.best_simple_model,
        simple_model_effect=_perhaps(
            found.judged.against_simple_model
            if found.judged and found.is_confirmed
            else found.baseline_against(found.simple_model)
        ),
        knobs=knobs,
        baseline_curve=curves[0],
        candidate_curve=curves[1],
        candidate_turn=turn(list(of_candidate.values())) if of_candidate else None,
        diagnosis=diagnosis,
        columns=_columns(evidence, found),
        most_blocks=evidence.card.most_blocks,
        turned_off=turned_off(evidence.config),
        kept_on=kept_on(evidence.config),
        test=_test(evidence, found),
        where=whereabouts(evidence, found.candidate),
        data=evidence.card,
        trials=_trials(evidence),
        course=course(evidence),
        settings=_settings(evidence),
        confidence=found.plan.confidence,
        table_confidence=found.plan.table_confidence,
        smallest_effect=found.plan.smallest_effect,
        seconds=seconds(evidence),
        versions=versions(),
        machines=machines(evidence),
        left_out=explaining.about_columns(evidence, found),
        unstopped=explaining.about_unstopped(evidence, found),
        unfinished=unfinished,
        other_sets=beside(evidence, found.recommended),
    )


#: Losses below this are none.
_TINY = 1e-12


def as_typed(directory: Path) -> str:
    """Write a folder as somebody who works where this process does would type it."""
    here = Path.cwd()
    return str(directory.resolve().relative_to(here)) if directory.resolve().is_relative_to(here) else str(directory)


def _require_finished(evidence: Evidence) -> None:
    needed: tuple[Stage, ...] = ("rates", "choose", "test")
    for stage in needed:
        if not evidence.records[stage]:
            raise NoUsableTrialError(
                f"run {evidence.config.run_name!r} has no finished training in its stage {stage!r} yet. "
                f"Run the search again: it goes on where it was."
            )
    if not evidence.results({}, "test"):
        raise NoUsableTrialError("the unregularized model failed in the stage 'test'; nothing compares.")


def _effect(found: Interval, failed: int = 0) -> Effect:
    mean, low, high = found.relative
    return Effect(mean, low, high, found.blocks, failed)


def _perhaps(found: Interval | None) -> Effect | None:
    return None if found is None else _effect(found)


def _resolution(found: method.Resolution, blocks: int, seeds: float) -> Resolution:
    return Resolution(
        half_width=relative(found.half_width),
        with_unlimited_seeds=relative(found.with_unlimited_seeds),
        wanted=relative(found.wanted),
        more_blocks=found.more_blocks,
        noise=found.noise,
        seeds_suffice=found.seeds_suffice,
        blocks=blocks,
        seeds=seeds,
    )


# ---------------------------------------------------------------------- the judge


def _judging(found: Conclusion) -> Stage:
    return "choose" if found.judged is None else "judge"


def judged(evidence: Evidence, found: Conclusion) -> Judged | None:
    """Return what the judge said; ``None`` if nothing was judged."""
    return None if found.judged is None else _judged(evidence, found, found.judged)


def _judged(evidence: Evidence, found: Conclusion, judged: Judgement) -> Judged:
    picks = Counter(judged.picks.of_blocks)
    return Judged(
        effect=_effect(judged.effect, judged.failures),
        agreed=judged.agreed,
        stable=judged.picks.stability.value,
        picks=[(pick.setting, count) for pick, count in picks.most_common()],
        seeds=judged.seeds,
        against=list(judged.against),
        resolution=_resolution(judged.resolution, judged.components.blocks, judged.components.seeds),
        rival=found.rival,
        rival_effect=_perhaps(judged.rival_effect),
        beyond_rival=_perhaps(judged.beyond_rival),
        losses=_losses(evidence, found, judged),
        against_floor=_perhaps(judged.against_floor),
        baseline_against_floor=_perhaps(judged.baseline_against_floor),
        against_simple_model=_perhaps(judged.against_simple_model),
        baseline_against_simple_model=_perhaps(judged.baseline_against_simple_model),
    )


def _losses(evidence: Evidence, found: Conclusion, judged: Judgement) -> dict[str, list[float]]:
    """Return the mean loss on each block over the seeds that judge, as far as each side finished on all of them."""
    blocks, first = found.plan.blocks, found.plan.most_seeds
    sides = {"no regularization": (method.BASELINE,) * blocks, "pick": judged.picks.of_blocks}
    if judged.rivals is not None:
        sides["weight decay"] = judged.rivals.of_blocks
    losses = {}
    for name, of_blocks in sides.items():
        rows = [
            found.log_losses.table(candidate, first + judged.seeds, first)[k] for k, candidate in enumerate(of_blocks)
        ]
        if all(np.isfinite(row).any() for row in rows):
            losses[name] = [float(np.exp(row[np.isfinite(row)].mean())) for row in rows]
    card = evidence.card
    floors = {"floor": card.best_floor, "simple model": card.best_simple_model}
    return losses | {side: list(card.floors[name]) for side, name in floors.items() if name is not None}


# ---------------------------------------------------------------------- the table


def knobs_of(evidence: Evidence, found: Conclusion) -> list[Knob]:
    """Return the table."""
    baseline = list(_of_baseline(evidence, found).values())
    has_patience = evidence.config.training.patience is not None
    is_cut_short = has_patience and unfinished_share(baseline, has_patience=True) > MOSTLY
    first_loss = float(np.exp(np.mean([np.log(max(result.train[0], _TINY)) for result in baseline])))
    starts = {
        path: cost / first_loss
        for path, cost in evidence.card.initial_penalties.items()
        # An L1 that is a step of its own is no part of the loss.
        if not (evidence.config.training.proximal and (knob := knob_at(path)) and knob.proximal_ladder)
    }
    rows = {row.arm.path: row for row in found.rows}
    tried = {arm.path: arm for arm in found.plan.arms}
    return [
        _knob(found, path, tried.get(path), rows.get(path), starts.get(path), is_cut_short=is_cut_short)
        for path in paths_of_rows(list(tried))
    ]


def paths_of_rows(tried: Sequence[str]) -> list[str]:
    """Return what the table has rows of: the knobs, tried or not, then weight decay, then other settings."""
    turning = regularizers(tried)
    shown: list[str] = []
    for knob in KNOBS.values():  # in all layers, or in some
        places = [path for path in turning if knob_at(path) is knob]
        shown += places or ([knob.path] if knob.by_default else [])
    shown += [path for path in (WEIGHT_DECAY,) if path in tried]
    return [*shown, *(path for path in tried if path not in shown)]


def untold(path: str, arm: Arm | None) -> Knob:
    """Return a row of which nothing is told but what it is of."""
    name, keras = path.split(".")[1], ""
    role: Literal["knob", "rival", "setting"] = "setting"
    if knob := knob_at(path):
        layer = layer_of(path)
        role, keras = "knob", knob.spoken if layer is None else f"{knob.spoken}, {of_layer(layer).removeprefix('the ')}"
    elif path == WEIGHT_DECAY:
        role, keras = "rival", "AdamW, weight_decay"
    if arm and arm.requires and (beside := {p: value for p, value in arm.beside if p in dict(arm.requires)}):
        name = f"{name} (with {describe(beside)})"
    return Knob(path, name, keras, role, "not searched", None, None, None, [], None)


def _knob(
    found: Conclusion, path: str, arm: Arm | None, row: Row | None, start: float | None, *, is_cut_short: bool
) -> Knob:
    row_of, used = untold(path, arm), found.recommended.get(path)
    if arm is None:
        return row_of
    if row is None:
        return dataclasses.replace(row_of, verdict="not tried alone" if used is None else "use", value=used)
    best = next((dose for dose in row.doses if dose.value == used), row.best)
    return dataclasses.replace(
        row_of,
        verdict=_verdict(row.verdict, is_confirmed=found.is_confirmed, is_cut_short=is_cut_short),
        value=best.value if used is None else used,
        alone=_effect(best.band, best.failures),
        p_value=row.p_value,
        doses=[_dose(dose, start) for dose in row.doses],
        resolution=None if row.resolution is None else _resolution(row.resolution, best.band.blocks, best.seeds),
    )


def _verdict(said: method.Verdict, *, is_confirmed: bool, is_cut_short: bool) -> Verdict:
    """Return the method's verdict; of half a training nothing can be told."""
    if is_cut_short and said != "use":
        return "cannot tell"
    return "helps alone, not confirmed" if said == "helps alone, not needed" and not is_confirmed else said


def _dose(dose: method.Dose, start: float | None) -> Dose:
    """Return a dose; ``start`` is the penalty's share of the loss at strength 1."""
    by_block = [relative(effect) for effect in dose.by_block]
    starts_at = None if start is None else float(dose.value) * start
    return Dose(dose.value, _effect(dose.band, dose.failures), by_block, dose.seeds, dose.is_grown, starts_at)


def _separates(knobs: list[Knob], smallest_effect: float) -> float:
    """Return by how much settings differ from no regularization: in the middle of all, and by what is worth having."""
    sizes = [abs(math.log1p(dose.effect.mean)) for k in knobs for dose in k.doses if -1 < dose.effect.mean < math.inf]
    return max(smallest_effect, math.expm1(float(np.median(sizes)))) if sizes else smallest_effect


# ---------------------------------------------------------------------- columns


def _columns(evidence: Evidence, found: Conclusion) -> Columns | None:
    """Say which columns are heard along the values of a knob on the input weights."""
    names = evidence.card.features
    row = next((row for path in explaining.CHOOSING for row in found.rows if row.arm.path == path), None)
    if row is None or len(names) < _FEWEST_COLUMNS:
        return None
    off = _baseline_results(evidence) | evidence.results({}, "choose")
    chosen = float(found.recommended.get(row.arm.path, row.best.value))
    values = [dose.value for dose in row.doses if float(dose.value) <= chosen]  # what is too strong, nobody uses
    results = {"off": off} | {short(v): evidence.results(row.arm.at(v).setting, "choose") for v in values}
    largest = {value: _largest(list(of_value.values()), len(names)) for value, of_value in results.items()}
    weights = {value: _shares(found) for value, found in largest.items() if len(found)}
    if len(weights) < 2 or "off" not in weights:
        return None
    last = list(weights)[-1]
    order = sorted(range(len(names)), key=lambda k: (-weights[last][k], -weights["off"][k]))
    return Columns(
        [names[k] for k in order],
        row.arm.path,
        {value: [shares[k] for k in order] for value, shares in weights.items()},
        {value: (largest[value][:, order] == 0).mean(axis=0).tolist() for value in weights},
        *_off_on(results[last], order),
    )


def _off_on(results: dict[Replicate, Result], order: list[int]) -> tuple[list[int], int]:
    """Return on how many blocks each column is switched off in every network, and how many blocks there are."""
    by_block: dict[int, list[list[float]]] = {}
    for replicate, result in results.items():
        if result.columns and len(result.columns) == len(order):
            by_block.setdefault(replicate.block, []).append(result.columns)
    off = np.array([(np.array(of_block) == 0).all(axis=0) for of_block in by_block.values()])
    return off.sum(axis=0)[order].tolist(), len(by_block)


#: Of two columns there is nothing to see.
_FEWEST_COLUMNS = 3


def _largest(results: list[Result], columns: int) -> NDArray[np.float64]:
    """Return how large the largest input weight of each column is, a row for each network that tells."""
    return np.array([r.columns for r in results if r.columns and len(r.columns) == columns], dtype=np.float64)


def _shares(largest: NDArray[np.float64]) -> list[float]:
    """Return each column's weight as a share of the largest, as a mean over networks."""
    found = [row / max(*row, _TINY) for row in largest]
    return [float(share) for share in np.mean(found, axis=0)]


# ---------------------------------------------------------------------- curves


def _baseline_results(evidence: Evidence) -> dict[Replicate, Result]:
    return evidence.results({LEARNING_RATE: decisions.chosen_learning_rate(evidence)}, "rates")


def _of_baseline(evidence: Evidence, found: Conclusion) -> dict[Replicate, Result]:
    return evidence.results({}, _judging(found)) or _baseline_results(evidence)


def _curves(of_baseline: dict[Replicate, Result], of_candidate: dict[Replicate, Result]) -> tuple[Curve, Curve | None]:
    """Return a typical training of the baseline, and one of the candidate on the same block."""
    if not of_baseline:
        raise NoUsableTrialError("the unregularized model failed on every block.")
    block = _typical({r.block: _log_gap(_on(of_baseline, r.block)) for r in of_baseline})
    theirs = _on(of_candidate, block) or of_candidate
    return _curve(_on(of_baseline, block)), _curve(theirs) if theirs else None


def _on(found: dict[Replicate, Result], block: int) -> dict[Replicate, Result]:
    return {replicate: result for replicate, result in found.items() if replicate.block == block}


def _log_gap(found: dict[Replicate, Result]) -> float:
    return float(np.median([math.log(max(gap(result), _TINY)) for result in found.values()]))


_Key = TypeVar("_Key", int, Replicate)


def _typical(values: dict[_Key, float]) -> _Key:
    """Return whose value is in the middle, or next to it."""
    middle = float(np.median(list(values.values())))
    return min(values, key=lambda key: (abs(values[key] - middle), key))


def _curve(found: dict[Replicate, Result]) -> Curve:
    """Return the curves of that training whose gap is in the middle."""
    replicate = _typical({replicate: _log_gap({replicate: result}) for replicate, result in found.items()})
    result = found[replicate]
    return Curve(result.train, result.val, result.best_epoch, gap(result), replicate.block + 1)


# ---------------------------------------------------------------------- the test


def _test(evidence: Evidence, found: Conclusion) -> Test:
    candidate, rival = found.candidate, found.rival

    def error(setting: Setting) -> float | None:
        errors = [result.test_error for result in evidence.results(setting, "test").values()]
        return float(np.mean([error for error in errors if error is not None])) if errors else None

    shown: dict[str, Setting] = {"no regularization": {}} | ({"candidate": candidate} if candidate else {})
    if rival and rival != candidate:
        shown["weight decay"] = rival
    predicted = {name: held_out.predictions(evidence, setting) for name, setting in shown.items()}
    predicted = {name: by_seed for name, by_seed in predicted.items() if by_seed}
    averages = {name: held_out.averaging(evidence, setting) for name, setting in shown.items()}
    baseline = error({})
    assert baseline is not None  # or there is no answer
    return Test(
        metric=held_out.metric(evidence),
        baseline=baseline,
        candidate=error(candidate) if candidate else None,
        rival=error(shown["weight decay"]) if "weight decay" in shown else None,
        floors=evidence.card.test_floors,
        change=held_out.effect(evidence, candidate, {}) if candidate else None,
        beyond_rival=held_out.effect(evidence, candidate, shown["weight decay"]) if "weight decay" in shown else None,
        seeds=len(evidence.results({}, "test")),
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


# ---------------------------------------------------------------------- the run


def seconds(evidence: Evidence) -> float:
    """Return how long all trainings took."""
    return sum(r.result.seconds for stage in STAGES for r in evidence.records[stage] if r.result is not None)


def machines(evidence: Evidence) -> dict[str, int]:
    """Count the trainings by the kind of machine they ran on, the most frequent first."""
    ended = (record for stage in STAGES for record in evidence.records[stage] if record.result is not None)
    return dict(Counter(record.machine for record in ended if record.machine is not None).most_common())


def versions() -> dict[str, str]:
    """Name the versions of what computes."""
    ours = ("lstmreg", "torch", "lightning", "optuna")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in ours}}


def course(evidence: Evidence) -> dict[str, list[int]]:
    """Count the trainings of each part of the experiment, and those of them that failed."""
    counts = {role: [0, 0] for role in ROLES}
    for record in (record for stage in STAGES for record in evidence.records[stage]):
        count = counts[record.role]
        count[0] += 1
        count[1] += record.failure is not None
    return {role: count for role, count in counts.items() if count[0]}


def _trials(evidence: Evidence) -> Trials | None:
    asked = evidence.config.search.trials
    proposed = {record.key for record in evidence.records["choose"] if record.role == "propose"}
    return Trials(asked, len(proposed)) if asked else None


def _settings(evidence: Evidence) -> dict[str, Scalar | list[Scalar] | None]:
    base = baseline_config(evidence.config, decisions.chosen_learning_rate(evidence), len(evidence.card.features))
    search = evidence.config.search
    rules = dataclasses.asdict(search.amount) | {name: getattr(search, name) for name in _RULES}
    shown = [f"model.{name}" for name in ("hidden_size", "num_layers", "bidirectional", "per_gate_input_masks")]
    shown += [f"training.{n}" for n in ("optimizer", "learning_rate", "loss", "batch_size", "max_epochs", "patience")]
    shown += [path for path, usual in _USUAL.items() if configured(base, path) != usual]
    return {
        **{path: configured(base, path) for path in shown},
        **{f"data.{n}": getattr(evidence.config.data, n) for n in task_named(evidence.config.task).settings_shown},
        **{f"search.{name}": value for name, value in rules.items()},
    }


#: Settings that are shown where they are not as usual.
_USUAL: dict[str, Scalar | None] = {
    "model.activation": "tanh",
    "model.recurrent_activation": "sigmoid",
    "model.per_gate_masks": True,
    "model.embedding_size": None,
    "model.embedding_dropout": 0.0,
    "training.proximal": False,
}

#: What of the search's configuration the report shows, beside how much was done.
_RULES = ("effort", "learning_rates", "screen", "trials", "sampler", "smallest_effect", "confidence", "seed")
