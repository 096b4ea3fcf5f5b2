"""How often does the experiment err, and how often does it find what is there? Emulated, so that the truth is known.

    python benchmarks/method.py --runs 15     a minute of one core
    python benchmarks/method.py               a few minutes; writes results/method.jsonl
    python benchmarks/method.py --table       what was measured last, as a table

A world draws the log loss of each training from variance components that were measured on real networks. Three methods
answer in it with about as many trainings: this package's experiment, its first version (choose on some splits, sample
combinations, confirm on others), and the best trial of a search.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from harness import HERE, Results, say

from lstmreg.search.method import BASELINE, Arm, Candidate, Cell, Interval, LogLosses, Plan, judgement, steps, table
from lstmreg.search.method.candidates import arms_of, together

SMALLEST = 0.02


# ---------------------------------------------------------------------- worlds


class Noise(NamedTuple):
    """Variance components of log losses.

    Attributes:
        seed: Standard deviation between seeds, of the baseline and of every candidate.
        block: Standard deviation of an effect between blocks, of the strongest dose.
    """

    seed: float
    block: float


#: As measured on the sunspots (14 blocks of 10 rows), and data of which each block says more.
NOISES = {"demo": Noise(seed=0.29, block=0.13), "noisy": Noise(seed=0.20, block=0.08)}


class Truth(NamedTuple):
    """What the arms do.

    Attributes:
        best: Log ratios at the best dose, by arm.
        position: Where that lies on the ladder; 1 is its second value.
        falls: Which share of it is lost with each step away from there.
        others: What the first dose of every other arm does; stronger ones do more.
    """

    best: tuple[float, ...] = ()
    position: float = 1.0
    falls: float = 0.5
    others: float = 0.0


TRUTHS = {
    "nothing helps": Truth(),
    "every knob harms": Truth(others=0.05),
    "one knob -5 %": Truth((math.log(0.95),)),
    "one knob -10 %": Truth((math.log(0.90),)),
    "one knob -20 %": Truth((math.log(0.80),)),
    "two knobs -10 % each": Truth((math.log(0.90), math.log(0.90))),
    "one knob -20 %, best two steps beyond its ladder": Truth((math.log(0.80),), position=4.0, falls=0.25),
}


def strengths(names: Sequence[str], ladder: tuple[float, ...]) -> list[Arm]:
    return [Arm(f"model.{name}", ladder, place=name.rpartition("_")[0]) for name in names]


#: What is tried: the first search's five knobs; ten with weight decay among them.
SPACES = {
    "5 knobs, 15 values": (470, tuple(strengths(["a_l2", "b_l2", "c_l2", "d_l2", "e_l2"], (1e-3, 3e-3, 1e-2)))),
    "10 knobs, 28 values": (
        640,
        (
            *strengths(["a_l1", "a_l2", "b_l2", "c_l2", "d_l2", "e_l2"], (1e-3, 3e-3, 1e-2)),
            *strengths(["f_l1", "g_l1"], (1e-3, 3e-3)),
            *strengths(["h_l2"], (1e-3, 3e-3)),
            Arm(
                "training.weight_decay",
                (0.01, 0.03, 0.1, 0.3),
                beside=(("training.optimizer", "adamw"),),
                is_rival=True,
            ),
        ),
    ),
}


class World:
    """Draws log losses.

    A dose of strength ``a`` shares ``1 - a`` of a seed's luck with the baseline, and its effect varies between blocks
    by ``sqrt(a)`` of the strongest dose's; doses of one arm vary alike in part.
    """

    def __init__(self, noise: Noise, truth: Truth, arms: tuple[Arm, ...], seed: int) -> None:
        self.noise, self.truth, self.arms = noise, truth, arms
        self._random = np.random.default_rng(seed)
        self._levels = self._random.normal(size=64)
        self._luck = self._random.normal(size=(64, 64))
        self._arm_blocks = self._random.normal(size=(len(arms), 64))
        self._dose_blocks: dict[tuple[int, float], np.ndarray] = {}
        self._made: dict[Candidate, tuple[float, float, np.ndarray]] = {}

    def effect(self, candidate: Candidate) -> float:
        """Return the true effect, a log ratio."""
        return self._of(candidate)[0]

    def log_loss(self, cell: Cell) -> float:
        effect, strength, blocks = self._of(cell.candidate)
        shared = 1 - strength
        luck = shared * self._luck[cell.block, cell.seed] + math.sqrt(1 - shared**2) * self._random.normal()
        return float(self._levels[cell.block] + self.noise.seed * luck + effect + self.noise.block * blocks[cell.block])

    def _of(self, candidate: Candidate) -> tuple[float, float, np.ndarray]:
        """Return true effect, strength, and the deviations of the blocks."""
        if candidate not in self._made:
            effect, weak, blocks = 0.0, 1.0, np.zeros(64)
            for arm in arms_of(candidate, self.arms):
                number = self.arms.index(arm)
                position = math.log(float(candidate.setting[arm.path]) / arm.ladder[0]) / math.log(3.0)
                strength = min(1.0, max(0.1, 0.2 + 0.2 * position))
                key = number, round(position, 1)
                if key not in self._dose_blocks:
                    self._dose_blocks[key] = self._random.normal(size=64)
                deviations = math.sqrt(0.7) * self._arm_blocks[number] + math.sqrt(0.3) * self._dose_blocks[key]
                blocks = blocks + math.sqrt(strength) * deviations
                effect += self._dose(number, position)
                weak *= 1 - strength
            self._made[candidate] = effect, 1 - weak, blocks
        return self._made[candidate]

    def _dose(self, arm: int, position: float) -> float:
        if arm < len(self.truth.best):
            return self.truth.best[arm] * max(0.0, 1 - self.truth.falls * abs(position - self.truth.position))
        return self.truth.others * (1 + max(0.0, position))


# ---------------------------------------------------------------------- methods


class Answer(NamedTuple):
    """What a method said in one world, and what was true of it.

    Attributes:
        recommends: Whether it recommends something.
        effect: The true effect of what was judged, as a log ratio.
        claimed: The effect that it claims, with its interval.
        trainings: How many it ran.
        false_rows: Whether its table says of an arm that it helps which does not.
        bands_hold: Whether all bands of the table hold.
        value_agreed: Whether most blocks agree on the value.
    """

    recommends: bool
    effect: float
    claimed: Interval
    trainings: int
    false_rows: bool | None = None
    bands_hold: bool | None = None
    value_agreed: bool | None = None


def experiment(world: World, plan: Plan) -> Answer:
    """The experiment of this package."""
    log_losses = LogLosses(plan.blocks)
    for step in steps(plan, log_losses):
        for cell in step.cells:
            log_losses.add(cell, world.log_loss(cell))
    judged = judgement(plan, log_losses)
    if judged is None:
        return Answer(False, 0.0, Interval(0.0, 0.0, 0.0, plan.blocks), len(log_losses))
    rows = table(plan, log_losses, judged)
    truths = {row.arm: [world.effect(row.arm.at(dose.value)) for dose in row.doses] for row in rows}
    return Answer(
        recommends=judged.is_recommended,
        effect=float(np.mean([world.effect(pick) for pick in judged.picks.of_blocks])),
        claimed=judged.effect,
        trainings=len(log_losses),
        false_rows=any(row.verdict == "helps alone, not needed" and min(truths[row.arm]) >= 0 for row in rows),
        bands_hold=all(
            dose.band.low <= true <= dose.band.high
            for row in rows
            for dose, true in zip(row.doses, truths[row.arm], strict=True)
        ),
        value_agreed=judged.agreed == "value",
    )


def first_version(world: World, plan: Plan) -> Answer:
    """The first version: five blocks choose with three seeds, four others confirm with four, at 95 %.

    Its sampler is reduced to chance, which it hardly beats: a sampled setting is measured once.
    """
    choosing = [(block, seed) for block in range(5) for seed in range(3)]
    confirming = [(block, seed) for block in range(5, 9) for seed in range(4)]
    sampled = {470: 90, 640: 120}[plan.budget]
    known: dict[Cell, float] = {}

    def loss(candidate: Candidate, block: int, seed: int) -> float:
        cell = Cell(candidate, block, seed)
        if cell not in known:
            known[cell] = world.log_loss(cell)
        return known[cell]

    def ratio(candidate: Candidate, block: int, seed: int) -> float:
        return loss(candidate, block, seed) - loss(BASELINE, block, seed)

    def score(candidate: Candidate) -> float:
        return float(np.mean([ratio(candidate, *at) for at in choosing])) if candidate != BASELINE else 0.0

    draw = np.random.default_rng(int(abs(world._levels[0]) * 1e9))
    singles = [arm.at(value) for arm in plan.arms for value in arm.ladder]
    best = [min((arm.at(value) for value in arm.ladder), key=score) for arm in plan.arms]
    proposals = [together([single for single in best if score(single) < 0])]
    for _ in range(sampled - 1):
        proposals.append(together([arm.at(draw.choice(arm.ladder)) for arm in plan.arms if draw.random() < 0.8]))
    ranked = [(ratio(c, *choosing[draw.integers(len(choosing))]), c.key, c) for c in proposals if c != BASELINE]
    shortlist = [candidate for _, _, candidate in sorted(ranked)[:3]]
    winner = min([BASELINE, *singles, *shortlist], key=score)
    while winner != BASELINE:
        turned = [arm.at(float(winner.setting[arm.path])) for arm in arms_of(winner, plan.arms)]
        without = [together([other for other in turned if other != single]) for single in turned]
        cheapest = min(without, key=score)
        if score(cheapest) - score(winner) >= -math.log1p(-SMALLEST):
            break
        winner = cheapest
    blocks = [[ratio(winner, *at) for at in confirming if at[0] == block] for block in range(5, 9)]
    claimed = Interval.over([float(np.mean(of_block)) for of_block in blocks], 0.95)
    recommends = winner != BASELINE and claimed.high < 0 and claimed.mean <= math.log1p(-SMALLEST)
    return Answer(recommends, world.effect(winner), claimed, len(known))


def best_trial(world: World, plan: Plan) -> Answer:
    """The best trial of a search: each setting once, on the one validation block, with the one seed."""
    draw = np.random.default_rng(int(abs(world._levels[0]) * 1e9))
    baseline = world.log_loss(Cell(BASELINE, 0, 0))
    trials = []
    for _ in range(plan.budget - 1):
        trial = together([arm.at(draw.choice(arm.ladder)) for arm in plan.arms if draw.random() < 0.8])
        trials.append((world.log_loss(Cell(trial, 0, 0)) - baseline, trial.key, trial))
    claimed, _, best = min(trials)
    return Answer(claimed < 0, world.effect(best), Interval(claimed, -math.inf, math.inf, 1), plan.budget)


METHODS: dict[str, Callable[[World, Plan], Answer]] = {
    "experiment": experiment,
    "first version": first_version,
    "best trial": best_trial,
}


# ---------------------------------------------------------------------- measuring


def measure(method: str, noise: str, space: str, truth: str, runs: int) -> dict[str, float | int | str | None]:
    """Let a method answer in so many worlds, and count."""
    budget, arms = SPACES[space]
    plan = Plan(arms, budget=budget)
    began = time.process_time()
    answers = [METHODS[method](World(NOISES[noise], TRUTHS[truth], arms, seed), plan) for seed in range(runs)]
    judged = [a for a in answers if math.isfinite(a.claimed.half_width) and a.claimed.half_width > 0]
    covered = [a.claimed.low <= a.effect <= a.claimed.high for a in judged]
    right = [a.recommends and a.effect <= math.log1p(-SMALLEST) for a in answers]
    return {
        "method": method,
        "noise": noise,
        "space": space,
        "truth": truth,
        "runs": runs,
        "recommends": _mean([a.recommends for a in answers]),
        "recommends_what_helps": _mean(right),
        "recommends_what_does_not": _mean([a.recommends and a.effect >= 0 for a in answers]),
        "half_width": _mean([a.claimed.half_width for a in judged]),
        "coverage": _mean(covered),
        "claimed": _mean([a.claimed.mean for a in answers]),
        "true": _mean([a.effect for a in answers]),
        "trainings": _mean([a.trainings for a in answers]),
        "false_rows": _mean([a.false_rows for a in answers if a.false_rows is not None]),
        "bands_hold": _mean([a.bands_hold for a in answers if a.bands_hold is not None]),
        "value_agreed": _mean([a.value_agreed for a in answers if a.recommends and a.value_agreed is not None]),
        "milliseconds": round(1000 * (time.process_time() - began) / runs, 1),
    }


def _mean(values: Sequence[float | bool]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None


def drawn(lines: list[dict[str, Any]]) -> str:
    """Return a table in Markdown for each space: a row for each truth and noise."""
    found = {(line["space"], line["noise"], line["truth"], line["method"]): line for line in lines}
    text = []
    for space, (budget, _) in SPACES.items():
        head = (
            "| truth, noise | recommends | first version | best trial | half-width | first | covers | first | effect |"
        )
        text += [f"{space}, {budget} trainings:", "", head, "|---|--:|--:|--:|--:|--:|--:|--:|--:|"]
        for truth, noise in itertools.product(TRUTHS, NOISES):
            ours, first, best = (found.get((space, noise, truth, method)) for method in METHODS)
            if ours and first and best:
                text.append(
                    f"| {truth}, {noise} | {ours['recommends']:.1%} | {first['recommends']:.1%} | "
                    f"{best['recommends']:.0%} | {ours['half_width']:.2f} | {first['half_width']:.2f} | "
                    f"{ours['coverage']:.0%} | {first['coverage']:.0%} | {math.expm1(ours['true']):+.0%} |"
                )
        text.append("")
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--runs",
        type=int,
        default=90,
        help="worlds for each line, four times as many where nothing helps (default: %(default)s)",
    )
    parser.add_argument("--table", action="store_true", help="measure nothing, print what was measured last")
    parser.add_argument("--truth", action="append", choices=TRUTHS, help="only these truths")
    parser.add_argument("--space", action="append", choices=SPACES, help="only these spaces")
    parser.add_argument("--noise", action="append", choices=NOISES, help="only these noises")
    parser.add_argument("--method", action="append", choices=METHODS, help="only these methods")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the measurements")
    options = parser.parse_args()
    if options.table:
        print(drawn([json.loads(line) for line in (options.results / "method.jsonl").read_text().splitlines()]))
        return
    results = Results(options.results / "method.jsonl")
    lines = itertools.product(
        options.space or SPACES, options.noise or NOISES, options.truth or TRUTHS, options.method or METHODS
    )
    for space, noise, truth, method in lines:
        runs = options.runs * (4 if TRUTHS[truth] == Truth() else 1)
        found = measure(method, noise, space, truth, runs)
        results.add(**found)
        width = "" if found["half_width"] is None else f"±{found['half_width']:.2f}, covers {found['coverage']:.0%}"
        say(
            f"{space:<20} {noise:<6} {truth:<44} {method:<14} recommends {found['recommends']:6.1%}, in vain "
            f"{found['recommends_what_does_not']:6.1%}  {width:<20} claims {found['claimed']:+.3f}, "
            f"true {found['true']:+.3f}  {found['trainings']:.0f} trainings"
        )


if __name__ == "__main__":
    main()
