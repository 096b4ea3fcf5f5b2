"""Which candidate the race picks: by all blocks, and for each block by the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .beliefs import Beliefs, beliefs
from .candidates import BASELINE, Arm, Candidate, arms_of
from .cells import LogLosses
from .effects import Tables, effects
from .plan import Plan


@dataclass(frozen=True)
class Seen:
    """With how many seeds, from 0 on and on all blocks, candidates have run.

    Attributes:
        seeds: Of each candidate.
        baseline: Of the baseline; no candidate counts with more.
    """

    seeds: Mapping[Candidate, int]
    baseline: int

    @classmethod
    def of(cls, log_losses: LogLosses, most_seeds: int) -> Seen:
        """Count what is complete among the seeds that choose."""
        count: dict[Candidate, int] = {}
        for candidate in log_losses.candidates:
            known = ~np.isnan(log_losses.table(candidate, most_seeds)).any(axis=0)
            count[candidate] = int(np.argmin(np.append(known, False)))
        baseline = count.pop(BASELINE, 0)
        seeds = {candidate: min(number, baseline) for candidate, number in count.items()}
        ordered = sorted(seeds, key=lambda candidate: candidate.key)
        return cls({candidate: seeds[candidate] for candidate in ordered if seeds[candidate]}, baseline)


@dataclass(frozen=True)
class Stability:
    """In which share of the blocks the pick that the other blocks make is the overall one.

    Attributes:
        value: In every value.
        knobs: In which knobs are turned, whatever the values.
        places: In what they act on (the input weights, the state), whatever the norm.
    """

    value: float
    knobs: float
    places: float

    @classmethod
    def of(cls, overall: Candidate, of_blocks: Sequence[Candidate], arms: Sequence[Arm]) -> Stability:
        """Compare picks."""

        def share(what: Callable[[Candidate], object]) -> float:
            return sum(what(pick) == what(overall) for pick in of_blocks) / len(of_blocks)

        return cls(
            share(lambda pick: pick),
            share(lambda pick: {arm.path for arm in arms_of(pick, arms)}),
            share(lambda pick: {(arm.kind, arm.place or arm.path) for arm in arms_of(pick, arms)}),
        )


@dataclass(frozen=True)
class Picks:
    """What is to be judged.

    Attributes:
        overall: The candidate that all blocks together would choose.
        of_blocks: For each block the one that the other blocks would choose.
        stability: How far they agree.
    """

    overall: Candidate
    of_blocks: tuple[Candidate, ...]
    stability: Stability


def picks(log_losses: LogLosses, plan: Plan, seen: Seen | None = None) -> tuple[Picks, Picks | None] | None:
    """Return the picks among all candidates, and those among the rivals alone.

    Args:
        log_losses: What is known.
        plan: The experiment's numbers.
        seen: What counts; everything complete if ``None``.

    Returns:
        The picks, and those of the rivals (``None`` if there are none); ``None`` if there is nothing to pick from.
    """
    seen = Seen.of(log_losses, plan.most_seeds) if seen is None else seen
    if not seen.seeds:
        return None
    tables = Tables.of(log_losses, seen.seeds, seen.baseline)
    overall = beliefs(effects(tables), plan.arms)
    of_blocks = [beliefs(effects(tables.without(block)), plan.arms) for block in range(log_losses.blocks)]
    paths = {arm.path for arm in plan.rivals}
    turned = {c: {arm.path for arm in arms_of(c, plan.arms)} for c in seen.seeds}
    rivals = [c for c, own in turned.items() if own and own <= paths]
    chosen = _picks(overall, of_blocks, list(seen.seeds), plan.arms)
    return chosen, _picks(overall, of_blocks, rivals, plan.arms) if rivals and len(rivals) < len(seen.seeds) else None


def _picks(overall: Beliefs, of_blocks: list[Beliefs], among: list[Candidate], arms: Sequence[Arm]) -> Picks:
    pick, others = overall.pick(among), tuple(believed.pick(among) for believed in of_blocks)
    return Picks(pick, others, Stability.of(pick, others, arms))
