"""The judge: what the picks do with seeds that chose nothing, and whether that is enough to recommend them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .candidates import BASELINE, Candidate
from .cells import Array, Cell, LogLosses, baseline_table, block_means, settled
from .intervals import Components, Interval, Resolution, wanted_half_width
from .picking import Picks, picks
from .plan import Plan

#: How much of a pick the blocks agree on.
Agreed = Literal["value", "knobs", "places", "nothing"]

#: Why a pick is not recommended.
Reason = Literal["interval", "smallest effect", "unstable", "floor", "simple model", "failures"]


@dataclass(frozen=True)
class Judgement:
    """What fresh seeds say.

    Attributes:
        picks: What was judged.
        effect: Of the picks against the baseline, a log ratio with its interval over blocks.
        rivals: The best rival by itself, likewise picked; ``None`` if none was tried.
        rival_effect: Of the rivals against the baseline.
        beyond_rival: Of the picks against the rivals.
        against_floor: Of the picks against the best prediction without a model; ``None`` if none was given.
        baseline_against_floor: Of the baseline against it.
        against_simple_model: Of the picks against the best simple model; ``None`` if none was given.
        baseline_against_simple_model: Of the baseline against it.
        failures: How many of the picks' trainings failed.
        baseline_failures: How many of the baseline's.
        components: Where the effect's scatter comes from.
        seeds: How many fresh seeds each block has.
        agreed: How much of the pick the blocks agree on.
        against: Why the pick is not recommended; none if it is.
        resolution: What would decide, if it is not decided.
    """

    picks: Picks
    effect: Interval
    rivals: Picks | None
    rival_effect: Interval | None
    beyond_rival: Interval | None
    against_floor: Interval | None
    baseline_against_floor: Interval | None
    against_simple_model: Interval | None
    baseline_against_simple_model: Interval | None
    failures: int
    baseline_failures: int
    components: Components
    seeds: int
    agreed: Agreed
    against: tuple[Reason, ...]
    resolution: Resolution

    @property
    def is_recommended(self) -> bool:
        """Whether to use the pick."""
        return not self.against


def judged_table(log_losses: LogLosses, of_blocks: Sequence[Candidate], seeds: range) -> Array:
    """Return log losses ``(G, R)`` with fresh seeds, on each block of its own candidate; NaN where unknown."""
    tables = {candidate: log_losses.table(candidate, seeds.stop, seeds.start) for candidate in set(of_blocks)}
    rows = np.stack([tables[candidate][block] for block, candidate in enumerate(of_blocks)])
    return settled(rows, baseline_table(log_losses, seeds.stop, seeds.start))


def judged_ratios(
    log_losses: LogLosses,
    of_blocks: Sequence[Candidate],
    seeds: range,
    against: Sequence[Candidate] | None = None,
) -> Array:
    """Return log ratios ``(G', R)`` of pairs with the same seed; a block on which no pair is left is left out.

    Args:
        log_losses: What is known.
        of_blocks: The candidate of each block.
        seeds: The seeds.
        against: The other side of each block; the baseline if ``None``.
    """
    theirs = (
        baseline_table(log_losses, seeds.stop, seeds.start)
        if against is None
        else judged_table(log_losses, against, seeds)
    )
    ratios = judged_table(log_losses, of_blocks, seeds) - theirs
    return np.asarray(ratios[np.isfinite(ratios).any(axis=1)])


def fresh_seeds(log_losses: LogLosses, plan: Plan, sides: Sequence[Sequence[Candidate]]) -> range:
    """Return the seeds with which all sides have judged on every block, each block with its own candidate of a side."""
    end = plan.most_seeds
    while all(Cell(candidate, block, end) in log_losses for side in sides for block, candidate in enumerate(side)):
        end += 1
    return range(plan.most_seeds, end)


def judgement(
    plan: Plan,
    log_losses: LogLosses,
    floor: Sequence[float] | None = None,
    simple_model: Sequence[float] | None = None,
) -> Judgement | None:
    """Judge the picks.

    A pick is recommended if the interval of its effect leaves zero out, the effect is worth having, the blocks agree on
    it enough (on the value, or at least on the knobs, or on what they act on), it fails no more often than the
    baseline, the network beats what has learnt nothing for certain, and no simple model beats it for certain.

    Args:
        plan: The experiment's numbers.
        log_losses: What is known.
        floor: Of each block the log loss of the best prediction without a model; ``None`` if there is none.
        simple_model: Likewise of the best simple model.

    Returns:
        The judgement; ``None`` before the judge has run.

    Raises:
        ValueError: If one of them has not a log loss for each block.
    """
    for name, given in (("floor", floor), ("simple_model", simple_model)):
        if given is not None and len(given) != plan.blocks:
            raise ValueError(f"{name} must have a log loss for each of {plan.blocks} blocks, got {len(given)}.")
    picked = picks(log_losses, plan)
    if picked is None:
        return None
    chosen, rivals = picked
    nothing = (BASELINE,) * plan.blocks
    seeds = fresh_seeds(log_losses, plan, [nothing, chosen.of_blocks, *([rivals.of_blocks] if rivals else [])])
    if len(seeds) < plan.judge_seeds:
        return None
    ratios = judged_ratios(log_losses, chosen.of_blocks, seeds)
    if len(ratios) < 2:
        return None
    effect = _interval(ratios, plan)
    failures = _failures(log_losses, chosen.of_blocks, seeds)
    baseline_failures = _failures(log_losses, nothing, seeds)

    def against(given: Sequence[float] | None, of_blocks: Sequence[Candidate]) -> Interval | None:
        return None if given is None else _over_floor(log_losses, of_blocks, seeds, given, plan)

    against_floor, against_simple = against(floor, chosen.of_blocks), against(simple_model, chosen.of_blocks)
    agreed = _agreed(chosen, plan)
    found: dict[Reason, bool] = {
        "interval": not effect.high < 0,
        "smallest effect": effect.mean > math.log1p(-plan.smallest_effect),
        "unstable": agreed == "nothing",
        "floor": against_floor is not None and not against_floor.high < 0,
        "simple model": against_simple is not None and against_simple.low > 0,
        "failures": failures > baseline_failures,
    }
    components = Components.of(ratios)
    return Judgement(
        picks=chosen,
        effect=effect,
        rivals=rivals,
        rival_effect=None if rivals is None else _interval(judged_ratios(log_losses, rivals.of_blocks, seeds), plan),
        beyond_rival=None
        if rivals is None
        else _interval(judged_ratios(log_losses, chosen.of_blocks, seeds, rivals.of_blocks), plan),
        against_floor=against_floor,
        baseline_against_floor=against(floor, nothing),
        against_simple_model=against_simple,
        baseline_against_simple_model=against(simple_model, nothing),
        failures=failures,
        baseline_failures=baseline_failures,
        components=components,
        seeds=len(seeds),
        agreed=agreed,
        against=tuple(reason for reason, holds in found.items() if holds),
        resolution=Resolution.of(components, wanted_half_width(effect.mean, plan.smallest_effect), plan.confidence),
    )


def _interval(ratios: Array, plan: Plan) -> Interval:
    return Interval.over(block_means(ratios), plan.confidence)


def _failures(log_losses: LogLosses, of_blocks: Sequence[Candidate], seeds: range) -> int:
    return sum(
        int(np.isinf(log_losses.table(c, seeds.stop, seeds.start)[block]).sum()) for block, c in enumerate(of_blocks)
    )


def _over_floor(
    log_losses: LogLosses, of_blocks: Sequence[Candidate], seeds: range, floor: Sequence[float], plan: Plan
) -> Interval:
    """Compare with the floor, whose log losses no seed changes."""
    table = judged_table(log_losses, of_blocks, seeds)
    known = np.isfinite(table).any(axis=1)
    return Interval.over(block_means(table[known]) - np.asarray(floor)[known], plan.confidence)


def _agreed(chosen: Picks, plan: Plan) -> Agreed:
    if chosen.stability.value >= plan.stable:
        return "value"
    if chosen.stability.knobs >= plan.stable:
        return "knobs"
    return "places" if chosen.stability.places >= plan.stable else "nothing"
