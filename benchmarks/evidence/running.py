"""Trains what the study needs: portion by portion, each a condition with one seed on every block."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lstmreg.config import Config, ModelConfig, SearchConfig
from lstmreg.executors import Failure, Material, opened
from lstmreg.search.card import log_loss
from lstmreg.search.records import Result
from lstmreg.search.space import baseline_config, trained_config
from lstmreg.search.valuing import judged
from lstmreg.tasks import Split, Task
from lstmreg.training.population.together import Assignment
from lstmreg.training.single import Lesson, floor_losses

from . import results, sets, settings
from .choosing import Alone, is_pair, pairs, together
from .conditions import Condition, Extent
from .results import Line
from .settings import Setting

sys.path.insert(0, str(Path(__file__).parents[1]))
from harness import machine

BLOCKS = 8

#: Seeds of the study begin here.
_SEEDS = 100_000

RATE = "training.learning_rate"


#: One knob at a time, and pairs; or all knobs at once and tied masks, once the first is there.
Part = Literal["alone", "together"]

#: How much of the first part's work the second is, about.
_SHARE = 0.15


@dataclass(frozen=True)
class Portion:
    """A condition with one seed: what is trained, kept and gone on with as a whole."""

    condition: Condition
    seed: int
    part: Part = "alone"

    @property
    def key(self) -> tuple[Any, ...]:
        """By which the results know it."""
        return *self.condition.key, self.seed, self.part

    def cost(self, extent: Extent) -> float:
        """Return about how long it takes, in units of no meaning."""
        return extent.cost(self.condition) * (_SHARE if self.part == "together" else 1)


def key(line: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the key of the portion that a line is of."""
    return *_condition(line), line["seed"], line.get("part", "alone")


def _condition(line: Mapping[str, Any]) -> tuple[Any, ...]:
    return line["set"], line["cases"], line["hidden"], line["layers"]


def extent(name: str) -> Extent:
    """Measure a set."""
    _, task = sets.read(name)
    splits = _splits(task, None)
    steps = Lesson.of(task, splits[0]).cases.inputs.shape[1]
    return Extent(min(len(split.train) for split in splits), steps, len(task.features))


def _splits(task: Task, cases: int | None) -> tuple[Split, ...]:
    splits = task.splits(SearchConfig(blocks=BLOCKS))
    return (splits if cases is None else splits.thinned(cases)).blocks


def portion(wanted: Portion, known: Sequence[Line], workers: int = 0) -> list[Line]:
    """Train a portion, and return its lines: the first says what it is, each other one what a setting gave.

    The first seed of a condition chooses the learning rate and the pairs; the others take what it chose. What is best
    together is chosen by all seeds that are there when its first portion begins.

    Args:
        wanted: Which.
        known: All lines so far.
        workers: So many processes train; 0: this one.
    """
    own = [line for line in known if _condition(line) == wanted.condition.key]
    with _Portion(wanted, workers) as trains:
        return trains.alone(own) if wanted.part == "alone" else trains.together(own)


def _alone(lines: Sequence[Line], rate: float) -> list[Alone]:
    """Return what each seed of a condition gave with one knob at a time."""
    of_seeds: dict[int, list[Line]] = {}
    for line in lines:
        if "setting" in line and line.get("part", "alone") == "alone":
            of_seeds.setdefault(line["seed"], []).append(line)
    return [
        Alone(
            next(line for line in own if line["setting"].get(RATE) == rate),
            [line for line in own if len(settings.turned(line["setting"])) == 1],
        )
        for own in of_seeds.values()
    ]


class _Portion:
    def __init__(self, wanted: Portion, workers: int) -> None:
        condition = wanted.condition
        config, self.task = sets.read(condition.subject)
        model = ModelConfig(hidden_size=condition.hidden, num_layers=condition.layers)
        self.config = dataclasses.replace(config, model=model)
        self.wanted, self.trainings, self.began = wanted, 0, time.perf_counter()
        self.splits = _splits(self.task, condition.cases)
        material = Material(self.task, {split.key: split for split in self.splits})
        self.executor = opened(SearchConfig(workers=workers), material)

    def __enter__(self) -> _Portion:
        return self

    def __exit__(self, *raised: Any) -> None:
        self.executor.close()

    def alone(self, known: Sequence[Line]) -> list[Line]:
        first = [line for line in known if key(line)[-2:] == (0, "alone")]
        everywhere = tuple(range(len(self.splits)))
        tried = settings.LEARNING_RATES if not first else [first[0]["rate"]]
        of_rates = self._train([({RATE: rate}, everywhere) for rate in tried], tried[0])
        rate = min(of_rates, key=_stopping_loss)["setting"][RATE]
        baseline = next(line for line in of_rates if line["setting"][RATE] == rate)
        singles = self._train([(setting, everywhere) for setting in settings.singles()], rate)
        if first:
            chosen = [(line["setting"], tuple(line["blocks"])) for line in first if is_pair(line)]
        else:
            chosen = pairs(Alone(baseline, singles))
        lines = [*of_rates, *singles, *self._train(chosen, rate)]
        return [self._of() | {"rate": rate} | self._described() | self._spent(), *lines]

    def together(self, known: Sequence[Line]) -> list[Line]:
        rate = known[0]["rate"]
        begun = [line for line in known if "together" in line]
        if begun:
            chosen = [(setting, tuple(blocks)) for setting, blocks in begun[0]["together"]]
        else:
            chosen = together(_alone(known, rate))
        everywhere = tuple(range(len(self.splits)))
        several = [(setting, blocks) for setting, blocks in chosen if len(settings.turned(setting)) > 1]
        lines = self._train([*((setting, everywhere) for setting in settings.untried()), *several], rate)
        return [self._of() | {"rate": rate, "together": chosen} | self._spent(), *lines]

    def _train(self, jobs: Sequence[tuple[Setting, tuple[int, ...]]], rate: float) -> list[Line]:
        base = baseline_config(self.config, rate, len(self.task.features))
        cells = [(number, block) for number, (_, blocks) in enumerate(jobs) for block in blocks]
        found: dict[tuple[int, int], Result] = {}

        def ended(number: int, outcome: Any, place: object) -> None:
            if not isinstance(outcome, (Failure, Exception)):
                found[cells[number]] = outcome

        assignments = [self._assignment(base, jobs[number][0], block) for number, block in cells]
        if assignments:
            self.executor.train(assignments, judged, ended, lambda workers, notes: None)
        self.trainings += len(cells)
        return [
            self._line(setting, blocks, [found.get((number, block)) for block in blocks])
            for number, (setting, blocks) in enumerate(jobs)
        ]

    def _assignment(self, base: Config, setting: Setting, block: int) -> Assignment:
        # Other seeds on every block, or one lucky network would make all of them look alike.
        seed = _SEEDS + 1000 * self.wanted.seed + block
        return Assignment(trained_config(base, setting | {"training.seed": seed}), self.splits[block])

    def _line(self, setting: Setting, blocks: Sequence[int], given: Sequence[Result | None]) -> Line:
        return self._of() | {
            "setting": setting,
            "blocks": list(blocks),
            "loss": [None if r is None else round(r.log_loss, 4) for r in given],
            "stopping": [None if r is None else round(log_loss(r.val_loss), 4) for r in given],
            "epochs": [None if r is None else r.best_epoch for r in given],
            "failures": sum(r is None for r in given),
        }

    def _of(self) -> Line:
        condition = self.wanted.condition
        return {
            "set": condition.subject,
            "cases": condition.cases,
            "hidden": condition.hidden,
            "layers": condition.layers,
            "seed": self.wanted.seed,
            **({} if self.wanted.part == "alone" else {"part": self.wanted.part}),
        }

    def _described(self) -> Line:
        per_block = [
            floor_losses(self.config.training, Lesson.of(self.task, split), split.judged) for split in self.splits
        ]
        return {
            "task": self.task.name,
            "columns": len(self.task.features),
            "trained_on": [len(split.train) for split in self.splits],
            "judged_on": [len(split.judged) for split in self.splits],
            "floors": {name: [round(log_loss(f[name]), 4) for f in per_block] for name in per_block[0]},
            "simple_models": sorted(self.task.simple_models),
        }

    def _spent(self) -> Line:
        return {
            "trainings": self.trainings,
            "seconds": round(time.perf_counter() - self.began, 1),
            **machine(),
        }


def _stopping_loss(line: Line) -> float:
    """Return the mean log loss on the blocks that ended the trainings; of one that failed, infinity."""
    return float(np.mean([math.inf if loss is None else loss for loss in line["stopping"]]))


@dataclass
class Sitting:
    """Goes through portions until they or the minutes are over.

    Attributes:
        path: The file of the results.
        minutes: How long; none: until all is done.
        workers: So many processes train; 0: this one.
    """

    path: Path
    minutes: float | None
    workers: int

    def run(self, portions: Sequence[Portion], extents: Mapping[str, Extent]) -> None:
        """Run what is not there yet; what would not end in time is passed over for what would."""
        machine()  # as it is now: who writes on meanwhile does not change what runs
        known = results.read(self.path)
        done = {key(line) for line in known}
        left = [each for each in portions if each.key not in done]
        began, seconds, cost = time.monotonic(), 0.0, 0.0
        say(f"{len(portions) - len(left)} of {len(portions)} portions are there.")
        for number, each in enumerate(left):
            own = each.cost(extents[each.condition.subject])
            expected = 1.2 * own * seconds / cost if cost else 0.0
            gone = time.monotonic() - began
            if self.minutes is not None and gone + expected > 60 * self.minutes:
                continue
            if each.part == "together" and all(_condition(line) != each.condition.key for line in known):
                continue  # there was no time for what it is chosen by
            start = time.monotonic()
            lines = portion(each, known, self.workers)
            seconds, cost = seconds + time.monotonic() - start, cost + own
            results.add(lines, self.path)
            known += lines
            head = lines[0]
            say(f"{number + 1} of {len(left)}: {each.key}, {head['trainings']} trainings in {head['seconds']:.0f} s")


def say(text: str) -> None:
    """Report progress, beside what is printed."""
    print(text, file=sys.stderr, flush=True)
