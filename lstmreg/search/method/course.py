"""The experiment's course: the screen, the race and the judge, step by step, each a function of what is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from .bands import critical_value
from .beliefs import Beliefs, beliefs, best_of_each_arm
from .candidates import BASELINE, Arm, Candidate, combinations_of
from .cells import Cell, LogLosses
from .effects import Effects, Tables, effects
from .intervals import Components
from .judge import judged_ratios
from .picking import Picks, Seen, picks
from .plan import Plan

Stage = Literal["screen", "grow", "propose", "race", "combine", "judge"]

#: Proposes so many further candidates, from those that are known with their effects (log ratios, shrunk), and from the
#: position of the first one among all that are proposed.
Proposer = Callable[[Sequence[tuple[Candidate, float]], int, int], Sequence[Candidate]]

#: Who is worse than the best by more than so many standard deviations gets no more seeds.
_HOPELESS = 2.0

#: So many arms at a time may ask for more values: the best, of which combinations are made too.
_MAY_GROW = 3

#: Further fresh seeds in one step of the judge.
_FURTHER_SEEDS = 4


@dataclass(frozen=True)
class Step:
    """Trainings that are decided together, and can run at once.

    Attributes:
        stage: What they are for.
        cells: The trainings.
    """

    stage: Stage
    cells: tuple[Cell, ...]


def steps(plan: Plan, log_losses: LogLosses, proposer: Proposer | None = None) -> Iterator[Step]:
    """Go through the experiment, from its beginning.

    Each step looks at cells of the steps before it alone, whatever else is known. So before the next step is asked
    for, the cells of the last one must be in ``log_losses``.

    Args:
        plan: The experiment's numbers.
        log_losses: What is known, to which what the steps ask for is added.
        proposer: Of ``plan.trials`` further candidates; it must give the same ones for the same arguments.
    """
    return _Course(plan, log_losses, proposer).steps()


class _Course:
    """One passage through the experiment."""

    def __init__(self, plan: Plan, log_losses: LogLosses, proposer: Proposer | None) -> None:
        self.plan = plan
        self.proposer = proposer
        self.log_losses = log_losses
        self.seeds: dict[Candidate, int] = {}
        self.baseline = 0
        self.spent = 0
        self.known: tuple[Effects, Beliefs] | None = None
        self.ladders = {arm: sorted(float(v) for v in arm.ladder) for arm in plan.arms if arm.grows}

    def steps(self) -> Iterator[Step]:
        values = [arm.at(value) for arm in self.plan.arms for value in arm.ladder if self.plan.tries_alone]
        yield self._run("screen", values, baseline_seeds=self.plan.baseline_seeds)
        if self.seeds:
            yield from self._grow()
        yield from self._proposed()
        if self.seeds and not _nothing_is_worth_having(self._known()[0], self.plan):
            yield from self._race()
            yield from self._judge()

    # ------------------------------------------------------------------ what is known so far

    @property
    def seen(self) -> Seen:
        return Seen(dict(self.seeds), self.baseline)

    def _known(self) -> tuple[Effects, Beliefs]:
        """Return effects and beliefs as of the last step."""
        if self.known is None:
            found = effects(Tables.of(self.log_losses, self.seeds, self.baseline))
            self.known = found, beliefs(found, self.plan.arms)
        return self.known

    @property
    def left(self) -> int:
        """Trainings that are left before the judge."""
        return self.plan.budget - self.plan.reserve - self.spent

    def _cost(self, candidates: Iterable[Candidate]) -> int:
        """Count the trainings of another seed for candidates; the baseline keeps pace."""
        counts = [self.seeds.get(candidate, 0) + 1 for candidate in candidates]
        return self.plan.blocks * (len(counts) + max([0, *(n - self.baseline for n in counts)]))

    def _run(self, stage: Stage, candidates: Iterable[Candidate], baseline_seeds: int = 0) -> Step:
        """Give each candidate another seed on all blocks."""
        runs = []
        for candidate in candidates:
            runs.append((candidate, self.seeds.get(candidate, 0)))
            self.seeds[candidate] = self.seeds.get(candidate, 0) + 1
        wanted = max([baseline_seeds, self.baseline, *(seed + 1 for _, seed in runs)])
        runs = [(BASELINE, seed) for seed in range(self.baseline, wanted)] + runs
        self.baseline = wanted
        cells = tuple(Cell(candidate, block, seed) for candidate, seed in runs for block in range(self.plan.blocks))
        self.spent += len(cells)
        self.known = None
        return Step(stage, cells)

    # ------------------------------------------------------------------ ladders that grow

    def _grow(self) -> Iterator[Step]:
        """Let ladders grow until no best value lies at an edge, or the budget ends it."""
        while self.spent and (asked := self._asked()):
            affordable = asked[: self.left // self.plan.blocks]
            if not affordable:
                return
            for arm, value in affordable:
                self.ladders[arm] = sorted([*self.ladders[arm], value])
            yield self._run("grow", [arm.at(value) for arm, value in affordable])

    def _asked(self) -> list[tuple[Arm, float]]:
        """List the values beyond an edge at which an arm is best and seems worth having, the best arm first.

        It must have been measured to be worth having, too: where the others help much, a value that looks worse than
        off is believed to help.
        """
        known, found = self._known()
        measured = dict(zip(known.candidates, known.means.tolist(), strict=True))
        worth = math.log1p(-self.plan.smallest_effect)
        best = best_of_each_arm(found, self.plan.arms)
        asked = []
        ranked = sorted(best.items(), key=lambda item: (found.mean(item[1]), item[0].path))
        for arm, candidate in ranked[:_MAY_GROW]:
            if arm.grows and max(found.mean(candidate), measured[candidate]) < worth:
                asked += [(arm, further) for further in self._beyond(arm, float(candidate.setting[arm.path]))]
        return asked

    def _beyond(self, arm: Arm, value: float) -> list[float]:
        """List the next step at each edge of an arm's ladder at which a value lies, as far as the ladder may grow."""
        ladder = self.ladders[arm]
        given = [float(v) for v in arm.ladder]
        above, below = sum(v > max(given) for v in ladder), sum(v < min(given) for v in ladder)
        up = [arm.higher(value)] if value == ladder[-1] and above < self.plan.grow else []
        lower = arm.lower(value) if value == ladder[0] and below < self.plan.grow else None
        return up if lower is None else [*up, lower]

    # ------------------------------------------------------------------ proposals

    def _proposed(self) -> Iterator[Step]:
        """Let somebody propose candidates, some at a time, as far as the budget allows."""
        if self.proposer is None:
            return
        for first in range(0, self.plan.trials, self.plan.batch):
            found = self._known()[1] if self.seeds else None
            known = [] if found is None else [(candidate, found.mean(candidate)) for candidate in found.candidates]
            count = min(self.plan.batch, self.plan.trials - first, self.left // self.plan.blocks)
            fresh = [c for c in self.proposer(known, first, count) if c not in self.seeds] if count > 0 else []
            if fresh:
                yield self._run("propose", dict.fromkeys(fresh))

    # ------------------------------------------------------------------ the race

    def _race(self) -> Iterator[Step]:
        """Give seeds to those whom they may decide about, and let combinations join on the way."""
        begun, whole, turn, combined = self.spent, self.left, 0, False
        while True:
            yield from self._grow()
            runners = self._runners(turn)
            if not combined and (not runners or self.spent - begun >= self.plan.combine_at * whole):
                combined = True
                if joining := self._joining():
                    yield self._run("combine", joining)
                    continue
            while runners and self._cost(runners) > self.left:
                runners = runners[:-1]  # the first of them matter most
            if not runners:
                return
            yield self._run("race", runners)
            turn += 1

    def _runners(self, turn: int) -> list[Candidate]:
        """Choose who gets the next seed: in turn the best by its mean, and the best by its mean less its deviation."""
        found, belief = self._known()
        best = belief.mean(belief.pick())
        open_rows = [
            k
            for k, candidate in enumerate(belief.candidates)
            if self.seeds[candidate] < self.plan.most_seeds
            and belief.means[k] - _HOPELESS * belief.deviations[k] < best
            and found.common_seed_variance / self.seeds[candidate] > found.block_variance / 4
        ]
        if not open_rows:
            return []
        hopeful = belief.means - belief.deviations
        lists = [
            sorted(open_rows, key=lambda k: (float(values[k]), belief.candidates[k].key))
            for values in (belief.means, hopeful)
        ]
        # One list after the other names its best who is not named yet; alone, one list each time.
        if self.plan.at_once == 1:
            return [belief.candidates[lists[turn % 2][0]]]
        named = dict.fromkeys(k for pair in zip(*lists, strict=True) for k in pair)
        return [belief.candidates[k] for k in list(named)[: self.plan.at_once]]

    def _joining(self) -> list[Candidate]:
        """Return the combinations that join, the first of them, as far as a quarter of what is left allows."""
        _, belief = self._known()
        singles = [
            (arm, candidate.setting[arm.path], belief.mean(candidate))
            for arm, candidate in best_of_each_arm(belief, self.plan.arms).items()
        ]
        joining = [c for c in combinations_of(singles, self.plan.learning_rate) if c not in self.seeds]
        return joining[: max(0, self.left // 4 // self.plan.blocks)]

    # ------------------------------------------------------------------ the judge

    def _judge(self) -> Iterator[Step]:
        """Run the picks, the baseline and the best rival with seeds that nobody has seen."""
        picked = picks(self.log_losses, self.plan, self.seen)
        assert picked is not None
        chosen, rival = picked
        first, count = self.plan.most_seeds, self.plan.judge_seeds
        while True:
            cells = judging_cells(chosen, rival, range(first, first + count))
            if self.spent + len(cells) > self.plan.budget:
                return
            self.spent += len(cells)
            yield Step("judge", cells)
            first, count = first + count, _FURTHER_SEEDS
            ratios = judged_ratios(self.log_losses, chosen.of_blocks, range(self.plan.most_seeds, first))
            if not Components.of(ratios).more_seeds_help:
                return


def judging_cells(chosen: Picks, rival: Picks | None, seeds: Iterable[int]) -> tuple[Cell, ...]:
    """Return the cells that judge: on each block the baseline, its pick, and its rival, each once."""
    found = []
    for seed in seeds:
        for block, pick in enumerate(chosen.of_blocks):
            sides = [BASELINE, pick] if rival is None else [BASELINE, pick, rival.of_blocks[block]]
            found += [Cell(side, block, seed) for side in dict.fromkeys(sides)]
    return tuple(found)


def _nothing_is_worth_having(found: Effects, plan: Plan) -> bool:
    """Tell whether all bands together rule out every effect worth having."""
    spread = found.widened.std(axis=1, ddof=1) / math.sqrt(found.blocks.shape[1])
    low = found.means - critical_value(found.widened, plan.table_confidence) * spread
    return bool((low > math.log1p(-plan.smallest_effect)).all())
