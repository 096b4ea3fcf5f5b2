"""The experiment's choices, each a function of the evidence alone.

The search calls them to know what to run next, and a report calls them again on the finished study: so the
two cannot disagree, and a resumed search goes on where it was.
"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np

from lstmreg.config import KNOBS, Dimension, Scalar
from lstmreg.errors import NoUsableTrialError

from .evidence import Effect, Evidence, Record, Replicate
from .space import Setting, key, knobs_of, ladder, without_knobs

LEARNING_RATE = "training.learning_rate"


def choosing_replicates(evidence: Evidence) -> list[Replicate]:
    """List the replicates on which settings are chosen."""
    search = evidence.config.search
    return [Replicate(split, seed) for seed in range(search.seeds) for split in range(search.splits)]


def chosen_learning_rate(evidence: Evidence) -> float:
    """Return the rate at which the unregularized model does best over all choosing replicates.

    Raises:
        NoUsableTrialError: If it diverged with each of them.
    """
    losses: dict[float, list[float]] = defaultdict(list)
    for record in evidence.records["baseline"]:
        rate = float(record.setting[LEARNING_RATE])
        losses[rate].append(record.log_loss if record.failure is None else math.inf)
    best = min(losses, key=lambda rate: float(np.mean(losses[rate])))
    if not math.isfinite(np.mean(losses[best])):
        reasons = [r.failure for r in evidence.records["baseline"] if r.failure is not None]
        raise NoUsableTrialError(
            f"the unregularized model failed at every one of search.learning_rates; last: {reasons[-1]}"
        )
    return best


def baseline_records(evidence: Evidence) -> dict[Replicate, Record]:
    """Return the unregularized model's trials at its chosen learning rate."""
    return evidence.results({LEARNING_RATE: chosen_learning_rate(evidence)}, ["baseline"])


def ratios(evidence: Evidence, setting: Setting) -> dict[Replicate, float]:
    """Return the log ratios of a setting's losses to the baseline's, on the choosing replicates."""
    baseline = baseline_records(evidence)
    if not setting:
        return dict.fromkeys(baseline, 0.0)
    ours = evidence.results(setting, ["alone", "together"])
    return {r: ours[r].log_loss - baseline[r].log_loss for r in ours}


def score(evidence: Evidence, setting: Setting) -> float:
    """Return the mean log ratio to the baseline; infinite unless every choosing replicate is there."""
    found = ratios(evidence, setting)
    complete = len(found) == len(choosing_replicates(evidence))
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
    candidates = {v: ratios(evidence, {path: v}) for v in ladder(dimension)}
    everywhere = set(choosing_replicates(evidence))
    candidates = {v: found for v, found in candidates.items() if set(found) == everywhere}
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


def starting_points(evidence: Evidence) -> list[Setting]:
    """Return where the search of all knobs together starts: the baseline, the singles, and their sum.

    The sum holds those singles that help by themselves.
    """
    singles = best_singles(evidence)
    helpful = [s for s in singles if score(evidence, s) < 0]
    combined = {path: value for single in helpful for path, value in single.items()}
    points = [{}, *singles, combined]
    return list({key(point): point for point in points}.values())


def shortlist(evidence: Evidence) -> list[Setting]:
    """Return the sampled settings that deserve every replicate: the best by what they showed so far."""
    seen: dict[str, list[float]] = defaultdict(list)
    settings: dict[str, Setting] = {}
    baseline = baseline_records(evidence)
    for record in evidence.records["together"]:
        if record.role == "sampled" and record.failure is None and record.setting:
            settings[key(record.setting)] = record.setting
            seen[key(record.setting)].append(record.log_loss - baseline[record.replicate].log_loss)
    ranked = sorted(settings, key=lambda k: float(np.mean(seen[k])))
    return [settings[k] for k in ranked[: evidence.config.search.shortlist]]


def favourite(evidence: Evidence) -> Setting:
    """Return the setting with the best score of all that ran on every choosing replicate."""
    tried: dict[str, Setting] = {key({}): {}}
    for stage in ("alone", "together"):
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

    ``None`` if the winner has no knobs, or a side did not finish.
    """
    best = winner(evidence)
    if not knobs_of(best):
        return None
    found = evidence.log_ratios(best, without_knobs(best), ["confirm"])
    return Effect.of(found, evidence.config.search.confidence) if found else None


def against_floor(evidence: Evidence, setting: Setting) -> Effect | None:
    """Return a setting's loss relative to the best prediction without a model, on the confirming splits."""
    floors = evidence.card.floors[evidence.card.best_floor]
    found = {
        replicate: record.log_loss - math.log(floors[replicate.split])
        for replicate, record in evidence.results(setting, ["confirm"]).items()
    }
    return Effect.of(found, evidence.config.search.confidence) if found else None


def is_confirmed(evidence: Evidence) -> bool:
    """Tell whether the winner's knobs help for certain, by enough, and in a model worth having.

    The interval on fresh splits must exclude no effect, the effect must be worth having, and the model
    must beat the best prediction without one: where nothing can be learnt, nothing helps.
    """
    effect = confirmed_effect(evidence)
    floor = against_floor(evidence, winner(evidence))
    if effect is None or floor is None:
        return False
    return effect.high < 0 and effect.mean <= -evidence.config.search.smallest_effect and floor.high < 0


def recommended(evidence: Evidence) -> Setting:
    """Return the setting to use: the winner, if confirmed; else the better of the unregularized ones."""
    best = winner(evidence)
    if is_confirmed(evidence):
        return best
    plain = without_knobs(best)
    found = evidence.log_ratios(plain, {}, ["confirm"])
    return plain if found and Effect.of(found, evidence.config.search.confidence).mean < 0 else {}
