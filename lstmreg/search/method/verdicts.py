"""The table: what is known of each arm by itself, in bands that hold for all of its rows together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from scipy.special import stdtr

from lstmreg.config import Scalar

from .bands import adjusted_p_values, critical_value
from .candidates import Arm, Candidate, arms_of, parts
from .cells import LogLosses
from .effects import Effects, Tables, effects
from .intervals import Components, Interval, Resolution, wanted_half_width
from .judge import Judgement
from .picking import Seen
from .plan import Plan

#: What to do with an arm, from what is known of it.
Verdict = Literal["use", "helps alone, not needed", "harms", "off for certain", "cannot tell"]


@dataclass(frozen=True)
class Dose:
    """An arm at one value, by itself.

    Attributes:
        value: The value.
        band: Its effect on the loss, a log ratio; the bands of all doses of all arms hold together.
        by_block: The effect on each block.
        seeds: How many seeds on each block stand behind it.
        failures: How many trainings failed.
        is_grown: Whether the ladder grew to it.
    """

    value: Scalar
    band: Interval
    by_block: tuple[float, ...]
    seeds: int
    failures: int
    is_grown: bool


@dataclass(frozen=True)
class Row:
    """An arm in the table.

    Attributes:
        arm: The arm.
        doses: In the order of their values.
        best: The dose with the lowest mean; where some dose helps, the one whose band says so most clearly.
        p_value: That some dose lowers the loss, adjusted for all arms and doses (closed testing).
        verdict: What to do with it.
        resolution: Where nothing can be told: what would decide about its best dose.
    """

    arm: Arm
    doses: tuple[Dose, ...]
    best: Dose
    p_value: float
    verdict: Verdict
    resolution: Resolution | None


def table(plan: Plan, log_losses: LogLosses, judged: Judgement | None = None) -> list[Row]:
    """Say of each arm what is known, in the order of the plan.

    Args:
        plan: The experiment's numbers.
        log_losses: What is known; the seeds that choose count, and those that judge do not.
        judged: What the judge said; only a recommended pick is to be used.
    """
    seen = Seen.of(log_losses, plan.most_seeds)
    singles = {c: n for c, n in seen.seeds.items() if parts(c, plan.arms) == 1}
    if not singles:
        return []
    found = effects(Tables.of(log_losses, singles, seen.baseline))
    critical = critical_value(found.widened, plan.table_confidence)
    numbers = [plan.arms.index(arms_of(candidate, plan.arms)[0]) for candidate in found.candidates]
    p_values = adjusted_p_values(found.widened, numbers)
    recommended = judged.picks.overall if judged is not None and judged.is_recommended else Candidate()
    used = arms_of(recommended, plan.arms)
    rows = []
    for number, arm in enumerate(plan.arms):
        of_arm = [k for k, n in enumerate(numbers) if n == number]
        if of_arm:
            doses = [_dose(log_losses, plan, arm, found, k, critical) for k in of_arm]
            best_row = min(of_arm, key=lambda k: float(found.means[k]))
            verdict = _verdict(doses, p_values[number], plan, arm in used)
            rows.append(
                Row(
                    arm=arm,
                    doses=tuple(sorted(doses, key=_place_of(arm))),
                    best=_best(doses, verdict),
                    p_value=p_values[number],
                    verdict=verdict,
                    resolution=_resolution(found, best_row, plan, critical) if verdict == "cannot tell" else None,
                )
            )
    return rows


def _dose(log_losses: LogLosses, plan: Plan, arm: Arm, found: Effects, row: int, critical: float) -> Dose:
    candidate = found.candidates[row]
    value = candidate.setting[arm.path]
    of_blocks = found.widened[row]
    half = critical * float(of_blocks.std(ddof=1)) / math.sqrt(len(of_blocks))
    mean = float(of_blocks.mean())
    return Dose(
        value=value,
        band=Interval(mean, mean - half, mean + half, len(of_blocks)),
        by_block=tuple(found.blocks[row].tolist()),
        seeds=int(found.seeds[row]),
        failures=log_losses.failures(candidate, plan.most_seeds),
        is_grown=value not in arm.ladder,
    )


def _best(doses: list[Dose], verdict: Verdict) -> Dose:
    helps = verdict in ("use", "helps alone, not needed")
    return min(doses, key=lambda dose: dose.band.high if helps else dose.band.mean)


def _place_of(arm: Arm) -> Callable[[Dose], float]:
    """Return by what the doses of an arm are put in order: their values, or where a choice was named."""
    if arm.kind == "choice":
        return lambda dose: float(arm.ladder.index(dose.value))
    return lambda dose: float(dose.value)


def _verdict(doses: list[Dose], p_value: float, plan: Plan, is_used: bool) -> Verdict:
    worth = math.log1p(-plan.smallest_effect)
    helps = p_value < 1 - plan.table_confidence and min(dose.band.mean for dose in doses) <= worth
    if is_used:
        return "use"
    if helps:
        return "helps alone, not needed"
    if all(dose.band.low > 0 for dose in doses):
        return "harms"
    return "off for certain" if all(dose.band.low > worth for dose in doses) else "cannot tell"


def _resolution(found: Effects, row: int, plan: Plan, critical: float) -> Resolution:
    """Say what would decide about a dose, by the width of a band that holds together with the others."""
    blocks = found.blocks.shape[1]
    own = float(found.widened[row].var(ddof=1))
    of_seeds = min(float(found.seed_variance[row]), own * float(found.seeds[row]))
    components = Components(max(0.0, own - of_seeds / found.seeds[row]), of_seeds, blocks, float(found.seeds[row]))
    mean = float(found.means[row])
    alone = 2 * float(stdtr(blocks - 1, -critical))
    return Resolution.of(components, wanted_half_width(mean, plan.smallest_effect), 1 - alone)
