"""How much a search does, and how long it will take: measured before it starts."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence

import torch

from lstmreg.config import PLANS, Config, Plan, with_settings
from lstmreg.errors import DataError
from lstmreg.knobs import KNOBS
from lstmreg.population import Population
from lstmreg.tasks import Splits, Task
from lstmreg.training.fitting import Epoch
from lstmreg.training.population import fit_population
from lstmreg.training.population.together import members_at_once
from lstmreg.training.single import Lesson

from .records import Record, Role
from .space import Setting, baseline_config, ladder

#: A quick search is the largest plan that should take no longer, in seconds.
_QUICK = 300.0

#: Fewer cases are a poor measure of a loss, so a plan with shorter splits is not chosen.
_CASES = 12

#: Student's quantile falls little where there are more.
_ENOUGH_SPLITS = 8

#: Members, batches and epochs of the trial training; its first epoch is not timed, since it loads and compiles.
_MEMBERS, _BATCHES, _EPOCHS = 32, 2, 3

#: Cases in its batches, at most.
_ROWS = 4096

#: A training usually ends after so many times the patience.
_PATIENCES = 2.5

#: What evaluating a case costs, of what training on it does.
_EVALUATION = 0.3


def trainings(config: Config, plan: Plan) -> dict[Role, int]:
    """Return how many trainings each part of a search will take, about: some follow from what was found before."""
    knobs = {p: d for p, d in config.search.dimensions.items() if p in KNOBS}
    replicates, confirming = plan.splits * plan.seeds, plan.confirm_splits * plan.confirm_seeds
    in_winner = min(2, len(knobs))
    return {
        "baseline": len(config.search.learning_rates) * replicates,
        "alone": sum(len(ladder(d)) for d in knobs.values()) * replicates,
        "sampled": plan.trials * plan.splits,
        "shortlist": min(config.search.shortlist, plan.trials) * (replicates - plan.splits),
        "leave one out": in_winner * replicates,
        "confirm": (2 + in_winner) * confirming,
        "test": 2 * plan.test_seeds,
    }


class Planner:
    """Says what a search should do on this machine, and how long that will take.

    Args:
        config: The run; what it leaves open is planned.
        task: The question and the data.
    """

    def __init__(self, config: Config, task: Task) -> None:
        self._config, self._task = config, task
        self._seconds_a_step = math.nan
        try:
            if not task.has_own_networks:
                self._seconds_a_step = seconds_a_step(config, task)
        except RuntimeError:
            pass  # the trainings will meet it as well, and the study keeps its traceback

    def choose(self) -> Plan:
        """Return the plan to follow: what is open is that of the largest plan that the effort allows."""
        possible = possible_plans(self._config, self._task)
        if self._config.search.effort == "thorough":
            return possible[-1]
        return [possible[0], *(plan for plan in possible if self.seconds(plan) <= _QUICK)][-1]

    def seconds_a_training(self, plan: Plan) -> float:
        """Estimate what a training takes of the machine's time, in the company of others."""
        training = self._config.training
        patience = math.inf if training.patience is None else training.patience
        epochs = min(training.max_epochs, _PATIENCES * patience)
        choose = _splits(self._config, self._task, plan).choose
        cases = [len(split.train) + _EVALUATION * len(split.validation) for split in choose]
        return epochs * self._seconds_a_step * sum(cases) / len(cases) / training.batch_size

    def seconds(self, plan: Plan) -> float:
        """Estimate what a search takes."""
        return self.seconds_a_training(plan) * self._trainings(plan)

    def describe(self, plan: Plan) -> str:
        """Say what a search will do, how long that takes, and what else could be asked for."""
        said = (
            f"The plan: about {self._trainings(plan)} trainings{self._duration(plan)}. Settings are chosen on "
            f"{plan.splits} splits with {_counted(plan.seeds, 'seed')} each, and judged on {plan.confirm_splits} "
            f"others with {_counted(plan.confirm_seeds, 'seed')}; {plan.trials} proposals try all knobs together."
        )
        more = possible_plans(self._config, self._task)[-1]
        if self._config.search.effort == "quick" and more != plan:
            said += f" With --search.effort=thorough about {self._trainings(more)}{self._duration(more)}."
        return said

    def _duration(self, plan: Plan) -> str:
        seconds = self.seconds(plan)
        return f", {duration(seconds)}" if math.isfinite(seconds) else ""

    def _trainings(self, plan: Plan) -> int:
        return sum(trainings(self._config, plan).values())


def possible_plans(config: Config, task: Task) -> list[Plan]:
    """Return the plans that the data allow, from the least on, with what is given in place of what they say."""
    plans = [config.search.planned(plan).plan for plan in PLANS]
    return [plan for plan in plans if has_long_splits(config, task, plan)] or plans[:1]


def most_splits(config: Config, task: Task) -> int:
    """Return how many splits of either kind would not be very short; more than eight hardly narrow an interval."""
    plan = config.search.plan
    for count in range(_ENOUGH_SPLITS, 0, -1):
        wider = {name: max(getattr(plan, name), count) for name in ("splits", "confirm_splits")}
        if has_long_splits(config, task, dataclasses.replace(plan, **wider)):
            return count
    return 0


def has_long_splits(config: Config, task: Task, plan: Plan) -> bool:
    """Tell whether the splits of a plan have enough cases to measure a loss."""
    try:
        splits = _splits(config, task, plan)
    except DataError:
        return False
    return min(len(split.validation) for split in (*splits.choose, *splits.confirm)) >= _CASES


def _splits(config: Config, task: Task, plan: Plan) -> Splits:
    return task.splits(dataclasses.replace(config.search, **dataclasses.asdict(plan)))


def seconds_a_step(config: Config, task: Task) -> float:
    """Measure a step of a population of networks such as the search trains, for each of its members.

    They learn a batch or two again and again, so that it takes a moment whatever the size of the data; inputs of
    nothing but zeros let none diverge.
    """
    knobs: list[Setting] = [{}]
    for path, dimension in config.search.dimensions.items():
        knobs += [{path: value} for value in ladder(dimension)[:1] if path in KNOBS]
    most = min(_MEMBERS, members_at_once(config))
    base = baseline_config(config, config.search.learning_rates[0], len(task.features))
    alone = dataclasses.replace(base, model=dataclasses.replace(base.model, members=1))  # as a search compares them
    models = [with_settings(alone, knobs[k % len(knobs)]).model for k in range(most)]
    lesson = Lesson.of(task, _splits(config, task, possible_plans(config, task)[0]).choose[0])
    x, y = next(iter(lesson.module(min(config.training.batch_size, _ROWS), seed=0).train_dataloader()))
    batch = (torch.zeros_like(x[0]), x[1]) if isinstance(x, tuple) else torch.zeros_like(x), y
    rows = len(y)
    training = dataclasses.replace(config.training, max_epochs=_EPOCHS, patience=_EPOCHS)
    ended: list[float] = []

    def watch(member: int, epochs: Sequence[Epoch]) -> bool:
        if len(epochs) > len(ended):
            ended.append(time.perf_counter())
        return False

    population = Population(task.network(model) for model in models)
    criterion = task.criterion(training, lesson.encoder)
    fit_population(population, ([batch] * _BATCHES, [batch]), training, criterion=criterion, watch=watch)
    steps = (len(ended) - 1) * (_BATCHES + _EVALUATION) * most * rows / config.training.batch_size
    return (ended[-1] - ended[0]) / steps


class Clock:
    """Says how long the rest of a search will take.

    Args:
        seconds_a_training: As was planned; as soon as trainings have ended, their own times count.
    """

    def __init__(self, seconds_a_training: float | None) -> None:
        self._expected = seconds_a_training
        self._seconds: list[float] = []
        self._latest = time.monotonic()

    def heard(self, record: Record) -> None:
        """Take a training in that has ended."""
        self._latest = time.monotonic()
        if record.result is not None:
            self._seconds.append(record.result.seconds)

    def seconds_left(self, trainings: int) -> float | None:
        """Estimate how long so many further trainings will take."""
        each = sum(self._seconds) / len(self._seconds) if self._seconds else self._expected
        if each is None or not math.isfinite(each):
            return None
        return max(0.0, each * trainings - (time.monotonic() - self._latest))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number > 1 else "")


def duration(seconds: float) -> str:
    """Say how long, as one says it."""
    if seconds < 90:
        return f"about {max(10, 10 * round(seconds / 10))} seconds"
    if seconds < 5400:
        return f"about {round(seconds / 60)} minutes"
    return f"about {seconds / 3600:.1f} hours"
