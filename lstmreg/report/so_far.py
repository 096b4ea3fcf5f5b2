"""What is known of a search that has not come to its end: means of what has ended, and what the judge has said."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lstmreg.config import from_dict
from lstmreg.errors import NoUsableTrialError
from lstmreg.search import Shown, Standing, decisions, standing_of
from lstmreg.search.arms import LEARNING_RATE, arms
from lstmreg.search.decisions import Conclusion
from lstmreg.search.evidence import Effect, Evidence
from lstmreg.search.method import BASELINE, Arm, LogLosses, Plan, arms_of
from lstmreg.search.method.candidates import parts
from lstmreg.search.records import STAGES, Record
from lstmreg.search.shown import alone, compared, failures_by_reason, on_blocks
from lstmreg.search.space import Setting
from lstmreg.tasks import task_named
from lstmreg.yaml_file import read_yaml

from .answers import Answer, Dose, Knob, SoFar, Unfinished
from .numbers import answer, as_typed, course, judged, knobs_of, paths_of_rows, seconds, untold, versions


def what_is_known(evidence: Evidence, *, is_running: bool = False) -> Answer | SoFar:
    """Draw what is known of a search, whether it has come to its end or not.

    Args:
        evidence: Of the search, read from its folder.
        is_running: Whether a process is at it.

    Returns:
        The answer as soon as the test was met, which stands whatever is trained to explain it; else what is known.

    Raises:
        NoUsableTrialError: If not one training has a result, or the baseline failed too often.
    """
    stands = standing_of(evidence)
    if stands is None:
        return answer(evidence)
    unfinished = Unfinished(stands.role, stands.done, stands.planned, how_to_go_on(evidence), is_running)
    return answer(evidence, unfinished) if stands.is_answered else _so_far(evidence, stands, unfinished)


def _so_far(evidence: Evidence, stands: Standing, unfinished: Unfinished) -> SoFar:
    records = [record for stage in STAGES for record in evidence.records[stage]]
    failures = failures_by_reason(records)
    if all(record.result is None for record in records):
        failed = "".join(f" {count} failed: {reason}" for reason, count in failures.items())
        raise NoUsableTrialError(
            f"run {evidence.config.run_name!r} has no training with a result yet, of at most {stands.planned}.{failed} "
            f"Go on with: {unfinished.go_on}"
        )
    config = evidence.config
    rates: list[Setting] = [{LEARNING_RATE: float(rate)} for rate in config.search.learning_rates]
    has_rate = stands.role != "learning rate"
    plan, known = (decisions.plan(evidence), decisions.log_losses(evidence)) if has_rate else (None, None)
    found = Conclusion.of(evidence) if stands.is_judged else None
    return SoFar(
        run=config.run_name,
        task=config.task,
        directory=as_typed(config.directory),
        unfinished=unfinished,
        recommended={} if found is None else found.recommended,
        candidate={} if found is None else found.candidate,
        is_confirmed=found is not None and found.is_confirmed,
        judged=None if found is None else judged(evidence, found),
        learning_rate=decisions.chosen_learning_rate(evidence) if has_rate else None,
        learning_rates=list(alone(evidence, rates, "rates")),
        knobs=_not_judged(evidence, plan, known) if found is None else knobs_of(evidence, found),
        tried=_tried(plan, known, records),
        judging=_judging(plan, known, records),
        failures=failures,
        course=course(evidence),
        data=evidence.card,
        confidence=config.search.confidence,
        smallest_effect=config.search.smallest_effect,
        seconds=seconds(evidence),
        versions=versions(),
    )


# ---------------------------------------------------------------------- what was tried


def _tried(plan: Plan | None, known: LogLosses | None, records: Sequence[Record]) -> list[Shown]:
    """Return what was tried with the seeds that choose, the best first."""
    if plan is None or known is None:
        return []
    return _beside_nothing(known, range(plan.most_seeds), records)


def _judging(plan: Plan | None, known: LogLosses | None, records: Sequence[Record]) -> list[Shown]:
    """Return what the fresh seeds have shown of what they judge."""
    if plan is None or known is None or not any(record.role == "judge" for record in records):
        return []
    return _beside_nothing(known, range(plan.most_seeds, 1 + max(cell.seed for cell in known)), records)


def _beside_nothing(known: LogLosses, seeds: range, records: Sequence[Record]) -> list[Shown]:
    failures = {decisions.cell(record).candidate: record.failure for record in records if record.failure is not None}
    tried = dict.fromkeys(cell.candidate for cell in known if cell.seed in seeds and cell.candidate != BASELINE)
    shown = compared(known, list(tried), seeds, failures.get)
    return sorted(shown, key=lambda each: math.inf if each.ratio is None else each.ratio)


# ---------------------------------------------------------------------- the table before the judge


def _not_judged(evidence: Evidence, plan: Plan | None, known: LogLosses | None) -> list[Knob]:
    """Return the table with what is known before the judge: means alone, since bands hold of all that is tried."""
    tried = {arm.path: arm for arm in arms(evidence.config)}
    return [_row(path, tried.get(path), plan, known) for path in paths_of_rows(list(tried))]


def _row(path: str, arm: Arm | None, plan: Plan | None, known: LogLosses | None) -> Knob:
    row = untold(path, arm)
    if arm is None:
        return row
    row = dataclasses.replace(row, verdict="not judged yet")
    doses = [] if plan is None or known is None else _doses(arm, plan, known)
    if not doses:
        return row
    best = min(doses, key=lambda dose: dose.effect.mean)
    return dataclasses.replace(row, value=best.value, alone=best.effect, doses=doses)


def _doses(arm: Arm, plan: Plan, known: LogLosses) -> list[Dose]:
    """Return what each value of an arm by itself has shown; one of which nothing compares is none."""
    doses = []
    for candidate in known.candidates:
        if parts(candidate, plan.arms) != 1 or arms_of(candidate, plan.arms) != [arm]:
            continue
        effects = on_blocks(known, candidate, range(plan.most_seeds))
        if effects:
            value, by_block = candidate.setting[arm.path], list(effects.values())
            failed = known.failures(candidate, plan.most_seeds)
            effect = Effect(math.expm1(float(np.mean(by_block))), -math.inf, math.inf, len(by_block), failed)
            table = known.table(candidate, plan.most_seeds)
            seeds = int((~np.isnan(table)).sum(axis=1).max())
            ratios = [math.expm1(log_ratio) for log_ratio in by_block]
            doses.append(Dose(value, effect, ratios, seeds, is_grown=value not in arm.ladder))
    if arm.kind == "choice":
        return sorted(doses, key=lambda dose: arm.ladder.index(dose.value))
    return sorted(doses, key=lambda dose: float(dose.value))


# ---------------------------------------------------------------------- going on


def how_to_go_on(evidence: Evidence) -> str:
    """Write the line that goes on with a search from where this process works; of data from Python what to do there."""
    config, card = evidence.config, evidence.card
    if card.is_in_memory or task_named(config.task).has_own_networks:
        return "the same call of lstmreg.search.run, in Python"
    path = Path(as_typed(config.directory)) / "config.yaml"
    line = f"lstmreg search -c {shlex.quote(str(path))}"
    if from_dict(read_yaml(path)).directory.resolve() != config.directory.resolve():  # it was moved
        line += f" --runs={shlex.quote(as_typed(config.directory.parent))}"
    if not Path(config.data.path).exists():
        line += f" (from where {config.data.path} lies)"
    return line
