"""The experiment's choices, each a function of the evidence alone.

The search calls them to know what to run next, and a report calls them again on the finished study: so the
two cannot disagree, and a resumed search goes on where it was.
"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np

from lstmreg.config import Dimension, Scalar
from lstmreg.errors import NoUsableTrialError
from lstmreg.knobs import KNOBS

from .card import log_loss
from .evidence import Effect, Evidence, against_losses
from .records import Record, Replicate, Result, Stage
from .space import Setting, key, knobs_of, ladder, without_knobs

LEARNING_RATE = "training.learning_rate"

#: The stages that run settings beside the baseline on the choosing replicates.
_CHOOSING: tuple[Stage, ...] = ("alone", "together")


def choosing_replicates(evidence: Evidence) -> list[Replicate]:
    """List the replicates on which settings are chosen."""
    plan = evidence.config.search.plan
    return [Replicate(split, seed) for seed in range(plan.seeds) for split in range(plan.splits)]


def chosen_learning_rate(evidence: Evidence) -> float:
    """Return the rate at which the unregularized model does best over all choosing replicates.

    Raises:
        NoUsableTrialError: If it diverged with each of them.
    """
    losses: dict[float, list[float]] = defaultdict(list)
    for record in evidence.records["baseline"]:
        rate = float(record.setting[LEARNING_RATE])
        losses[rate].append(math.inf if record.result is None else record.result.log_loss)
    best = min(losses, key=lambda rate: float(np.mean(losses[rate])))
    if not math.isfinite(np.mean(losses[best])):
        reasons = [r.failure for r in evidence.records["baseline"] if r.failure is not None]
        raise NoUsableTrialError(
            f"the unregularized model failed at every one of search.learning_rates; last: {reasons[-1]}"
        )
    return best


def baseline_results(evidence: Evidence) -> dict[Replicate, Result]:
    """Return what the unregularized model's trials gave at its chosen learning rate."""
    return evidence.results({LEARNING_RATE: chosen_learning_rate(evidence)}, ["baseline"])


def ratios(evidence: Evidence, setting: Setting) -> dict[Replicate, float]:
    """Return the log ratios of a setting's losses to the baseline's, on the choosing replicates.

    Where it failed, it counts as worse.
    """
    baseline = {replicate: result.log_loss for replicate, result in baseline_results(evidence).items()}
    if not setting:
        return dict.fromkeys(baseline, 0.0)
    return against_losses(evidence.trials(setting, _CHOOSING), baseline)


def score(evidence: Evidence, setting: Setting) -> float:
    """Return the mean log ratio to the baseline; infinite unless it went well on every choosing replicate."""
    found = ratios(evidence, setting)
    complete = len(found) == len(choosing_replicates(evidence)) and not evidence.failures(setting, _CHOOSING)
    return float(np.mean(list(found.values()))) if complete else math.inf


def best_value(evidence: Evidence, path: str, dimension: Dimension) -> Scalar | None:
    """Return the value at which a knob alone does best, or ``None`` if it failed at all of them."""
    values = [v for v in ladder(dimension) if math.isfinite(score(evidence, {path: v}))]
    return min(values, key=lambda v: score(evidence, {path: v})) if values else None


def effect_alone(evidence: Evidence, path: str, dimension: Dimension, confidence: float) -> Effect | None:
    """Return the effect of one knob alone, its value chosen on other splits than it is judged on.

    On each split the knob stands at the value that did best on all the others (cross-fitting), so the
    interval does not profit from having picked the luckiest of several values.
    """
    everywhere = set(choosing_replicates(evidence))
    candidates = {
        v: ratios(evidence, {path: v}) for v in ladder(dimension) if math.isfinite(score(evidence, {path: v}))
    }
    if not candidates:
        return None
    judged: dict[Replicate, float] = {}
    for split in {r.split for r in everywhere}:

        def elsewhere(value: Scalar, split: int = split) -> float:
            return float(np.mean([x for r, x in candidates[value].items() if r.split != split]))

        value = min(candidates, key=elsewhere)
        judged |= {r: x for r, x in candidates[value].items() if r.split == split}
    return Effect.of(judged, confidence)


def best_singles(evidence: Evidence) -> list[Setting]:
    """Return each searched knob alone at its best value, the most useful first."""
    singles: list[Setting] = []
    for path, dimension in evidence.dimensions.items():
        value = best_value(evidence, path, dimension) if path in KNOBS else None
        if value is not None:
            singles.append({path: value})
    return sorted(singles, key=lambda s: score(evidence, s))


def known_points(evidence: Evidence) -> list[tuple[Setting, float]]:
    """List what the sampler is told before it proposes: the baseline and the knobs alone, with their scores."""
    settings = {key(r.setting): r.setting for r in evidence.records["alone"]}
    scored = [(setting, score(evidence, setting)) for setting in ({}, *settings.values())]
    return [(setting, value) for setting, value in scored if math.isfinite(value)]


def sum_of_singles(evidence: Evidence) -> Setting:
    """Return all knobs that help by themselves, each at its best value: the first proposal."""
    helpful = [s for s in best_singles(evidence) if score(evidence, s) < 0]
    return {path: value for single in helpful for path, value in single.items()}


def sampling_replicates(evidence: Evidence) -> list[Replicate]:
    """List where every proposal runs, all on the same: each choosing split with its first seed."""
    return [Replicate(split, 0) for split in range(evidence.config.search.plan.splits)]


def sampled_scores(evidence: Evidence, before: int | None = None) -> list[tuple[Setting, float]]:
    """Return the proposals, in their order, with the mean log ratio that each had reached over the same replicates.

    Args:
        evidence: The evidence.
        before: Only of proposals at earlier positions.
    """
    baseline = {replicate: result.log_loss for replicate, result in baseline_results(evidence).items()}
    wanted = sampling_replicates(evidence)
    cells: dict[int, dict[Replicate, Record]] = defaultdict(dict)
    for record in evidence.records["together"]:
        if record.position is not None and (before is None or record.position < before):
            cells[record.position][record.replicate] = record
    scored = []
    for position in sorted(cells):
        found = against_losses(cells[position], {replicate: baseline[replicate] for replicate in wanted})
        if len(found) == len(wanted):
            scored.append((cells[position][wanted[0]].setting, float(np.mean(list(found.values())))))
    return scored


def shortlist(evidence: Evidence) -> list[Setting]:
    """Return the proposals that deserve every replicate: the best on those that all of them ran on."""
    ranked = sorted(sampled_scores(evidence), key=lambda scored: scored[1])
    best = {key(setting): setting for setting, _ in ranked if setting}
    return list(best.values())[: evidence.config.search.shortlist]


def favourite(evidence: Evidence) -> Setting:
    """Return the setting with the best score of all that ran on every choosing replicate."""
    tried: dict[str, Setting] = {key({}): {}}
    for stage in _CHOOSING:
        tried |= {key(r.setting): r.setting for r in evidence.records[stage]}
    return min(tried.values(), key=lambda s: score(evidence, s))


def without(setting: Setting, path: str) -> Setting:
    """Return a setting with one knob turned off."""
    return {p: v for p, v in setting.items() if p != path}


def expendable_knob(evidence: Evidence, setting: Setting) -> str | None:
    """Return the knob whose absence costs least, if that is less than an effect worth having.

    Every ``without(setting, knob)`` must have run on the choosing replicates; one that failed is not
    expendable.
    """
    worth = -math.log1p(-evidence.config.search.smallest_effect)
    cost = {p: score(evidence, without(setting, p)) - score(evidence, setting) for p in knobs_of(setting)}
    if not cost:
        return None
    cheapest = min(cost, key=lambda p: cost[p])
    return cheapest if cost[cheapest] < worth else None


def winner(evidence: Evidence) -> Setting:
    """Return the favourite without the knobs that are not worth having."""
    setting = favourite(evidence)
    while (path := expendable_knob(evidence, setting)) is not None:
        setting = without(setting, path)
    return setting


def confirmed_effect(evidence: Evidence) -> Effect | None:
    """Return what the winner's knobs do on the confirming splits, against the same sizes without them.

    ``None`` if the winner has no knobs, or the other side did not finish.
    """
    best = winner(evidence)
    return evidence.effect(best, without_knobs(best), ["confirm"]) if knobs_of(best) else None


def left_out_settings(evidence: Evidence) -> list[Setting]:
    """Return the winner without each of its knobs in turn, which the confirming splits judge as well."""
    best = winner(evidence)
    return [without(best, path) for path in knobs_of(best)]


def left_out_effect(evidence: Evidence, path: str) -> Effect | None:
    """Return what the confirming splits say of turning off one of the winner's knobs."""
    best = winner(evidence)
    return evidence.effect(without(best, path), best, ["confirm"]) if path in knobs_of(best) else None


def against_floor(evidence: Evidence, setting: Setting) -> Effect | None:
    """Return a setting's loss relative to the best prediction without a model, on the confirming splits."""
    best_floor = evidence.card.best_floor
    if best_floor is None:
        return None
    floors = evidence.card.floors[best_floor]
    trials = evidence.trials(setting, ["confirm"])
    found = against_losses(trials, {replicate: log_loss(floors[replicate.split]) for replicate in trials})
    failed = evidence.failures(setting, ["confirm"])
    return Effect.of(found, evidence.config.search.confidence, failed) if found else None


def is_confirmed(evidence: Evidence) -> bool:
    """Tell whether the winner's knobs help for certain, by enough, and in a model worth having.

    The interval on fresh splits must exclude no effect, the effect must be worth having, and the model
    must beat the best prediction without one: where nothing can be learnt, nothing helps. And it must not fail more
    often than without the knobs.
    """
    best = winner(evidence)
    effect, floor = confirmed_effect(evidence), against_floor(evidence, best)
    if effect is None or effect.failed > evidence.failures(without_knobs(best), ["confirm"]):
        return False
    if evidence.card.best_floor is not None and (floor is None or floor.high >= 0):
        return False
    return effect.high < 0 and effect.mean <= -evidence.config.search.smallest_effect


def recommended(evidence: Evidence) -> Setting:
    """Return the setting to use: the winner, if confirmed; else the better of the unregularized ones."""
    best = winner(evidence)
    if is_confirmed(evidence):
        return best
    plain = without_knobs(best)
    effect = evidence.effect(plain, {}, ["confirm"])
    return plain if effect is not None and effect.mean < 0 else {}
