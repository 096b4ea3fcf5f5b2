"""How much a search does, and how long it will take: measured before it starts."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Sequence

import torch

from lstmreg.config import AMOUNTS, Amount, Config, SearchConfig, with_settings
from lstmreg.errors import DataError
from lstmreg.knobs import knob_at
from lstmreg.population import Population
from lstmreg.setting_path import whole
from lstmreg.tasks import Splits, Task
from lstmreg.training.fitting import Epoch
from lstmreg.training.population import fit_population
from lstmreg.training.population.together import members_at_once
from lstmreg.training.single import Lesson

from . import arms, explaining
from .records import Record
from .space import Setting, baseline_config

#: A search takes the largest amount that should take no longer, in seconds.
_LIMITS = {"quick": 60.0, "default": 300.0, "thorough": math.inf}

#: Where not even the least amount ends in time, so many cases train at least: of fewer a network learns something else.
_FEWEST = 300

#: With so many blocks, if that leaves enough cases; with the least number only a large effect can be shown.
_WHERE_CASES_ARE_CUT = 1

#: Fewer cases are a poor measure of a loss, so an amount with shorter blocks is not chosen.
_CASES = 12

#: Blocks of one amount of data get shorter the more there are; Student's quantile falls little where there are more.
_ENOUGH_BLOCKS = 12

#: Members, batches and epochs of the trial training; its first epoch is not timed, since it loads and compiles.
_MEMBERS, _BATCHES, _EPOCHS = 32, 2, 3

#: Cases in its batches, at most.
_ROWS = 4096

#: A training usually ends after so many times the patience.
_PATIENCES = 4.0

#: What evaluating a case costs, of what training on it does.
_EVALUATION = 0.3


def trainings(config: Config, columns: int) -> dict[str, int]:
    """Return how many trainings each part of a search takes, at most, by what they are for.

    Args:
        config: The run.
        columns: How many input columns there are that can be left out.
    """
    explain = explaining.extent(config, columns).trainings * config.search.amount.blocks
    return arms.trainings(config) | {"explain": explain}


#: What makes a network larger or smaller.
_SIZES = {"model.hidden_size", "model.num_layers", "model.bidirectional"}


class Planner:
    """Says what a search should do on this machine, and how long that will take.

    Args:
        config: The run; what it leaves open is planned.
        task: The question and the data.
    """

    def __init__(self, config: Config, task: Task) -> None:
        self._config, self._task = config, task
        self._possible = possible_amounts(config, task)
        self._seconds_a_step = math.nan
        try:
            if not task.has_own_networks:
                self._seconds_a_step = seconds_a_step(config, task)
        except RuntimeError:
            pass  # the trainings will meet it as well, and the study keeps its traceback

    def choose(self) -> SearchConfig:
        """Return the search with what is to be done.

        What is open is that of the largest amount that the effort and the data allow. Where the least is too much, each
        network trains on fewer cases.
        """
        search = self._config.search
        fitting = [amount for amount in self._possible if self.seconds(amount) <= self._limit]
        may_cut = search.is_open and search.cases is None and not self._task.has_own_networks
        if fitting or not may_cut or math.isnan(self._seconds_a_step):
            return search.planned([self._possible[0], *fitting][-1])
        larger = self._possible[min(_WHERE_CASES_ARE_CUT, len(self._possible) - 1)]
        amount = larger if self._cases_in_time(larger) >= _FEWEST else self._possible[0]
        cases = max(_FEWEST, self._cases_in_time(amount))
        most = max(len(split.train) for split in _splits(self._config, self._task, amount).blocks)
        return dataclasses.replace(search.planned(amount), cases=cases if cases < most else None)

    @property
    def _limit(self) -> float:
        return _LIMITS[self._config.search.effort]

    def _cases_in_time(self, amount: Amount) -> int:
        """Return on how many cases each network may train for an amount to end in time."""
        none, one = (self._seconds_a_training(amount, cases) * self._trainings(amount) for cases in (0, 1))
        return math.floor((self._limit - none) / (one - none))

    def seconds_a_training(self, search: SearchConfig) -> float:
        """Estimate what a training takes of the machine's time, in the company of others."""
        return self._seconds_a_training(search.amount, search.cases)

    def _seconds_a_training(self, amount: Amount, most: int | None) -> float:
        training = self._config.training
        patience = math.inf if training.patience is None else training.patience
        epochs = min(training.max_epochs, _PATIENCES * patience)
        blocks = _splits(self._config, self._task, amount).blocks
        trained = [len(split.train) if most is None else min(most, len(split.train)) for split in blocks]
        evaluated = [_EVALUATION * (len(split.validation) + len(split.judged)) for split in blocks]
        cases = [train + others for train, others in zip(trained, evaluated, strict=True)]
        return epochs * self._seconds_a_step * sum(cases) / len(cases) / training.batch_size

    def seconds(self, amount: Amount) -> float:
        """Estimate what a search takes; all cases train, unless ``search.cases`` is set."""
        return self._seconds_a_training(amount, self._config.search.cases) * self._trainings(amount)

    def describe(self, search: SearchConfig) -> str:
        """Say what a search will do, how long that takes, and what else could be asked for."""
        amount = search.amount
        tried = arms.arms(self._config)
        values = f"{len(tried)} settings with {sum(len(arm.ladder) for arm in tried)} values"
        if not self._config.search.screen:
            values = f"{self._config.search.trials} settings of {len(tried)} things at once, which Optuna proposes,"
        how_long = self._duration(amount, search.cases)
        said = (
            f"The plan: up to {self._trainings(amount)} trainings{how_long}. {values} are tried on "
            f"{amount.blocks} blocks: training ends by one, and the loss is taken on the next. The best one is judged "
            f"with {amount.judge_seeds} seeds or more that nobody has seen."
        )
        if _SIZES & {whole(arm.path) for arm in tried}:
            said += " Networks that are larger than the configured one take longer than that."
        if search.cases is not None and self._config.search.cases is None:
            said += f" Each network of a block trains on {search.cases} cases, or it would not end in time."
        most = self._possible[-1]
        if self._config.search.effort != "thorough" and (most != amount or search.cases is not None):
            thorough = self._thorough()
            count, how_long = thorough._trainings(most), thorough._duration(most, self._config.search.cases)
            said += f" With --search.effort=thorough up to {count}{how_long}."
        return said

    def _thorough(self) -> Planner:
        """Return what plans the same search where nothing is spared."""
        other = copy.copy(self)
        search = dataclasses.replace(self._config.search, effort="thorough")
        other._config = dataclasses.replace(self._config, search=search)
        return other

    def _duration(self, amount: Amount, cases: int | None) -> str:
        seconds = self._seconds_a_training(amount, cases) * self._trainings(amount)
        return f", {duration(seconds)}" if math.isfinite(seconds) else ""

    def _trainings(self, amount: Amount) -> int:
        return sum(trainings(_with_amount(self._config, amount), explaining.columns(self._task)).values())


def possible_amounts(config: Config, task: Task) -> list[Amount]:
    """Return the amounts that the data allow, from the least on, with what is given in place of what they say.

    Where the blocks of a larger amount would be too short, it has as many as are long enough.
    """
    most, found = most_blocks(config, task), []
    for amount in AMOUNTS:
        wanted = config.search.planned(amount).amount
        if config.search.blocks is None:
            wanted = dataclasses.replace(wanted, blocks=max(AMOUNTS[0].blocks, min(wanted.blocks, most)))
        if wanted not in found:
            found.append(wanted)
    return found


def most_blocks(config: Config, task: Task) -> int:
    """Return how many blocks would not be very short; more than a dozen hardly narrow an interval.

    0 if even the least that a search may have would be.
    """
    for count in range(_ENOUGH_BLOCKS, AMOUNTS[0].blocks - 1, -1):
        if has_long_blocks(config, task, count):
            return count
    return 0


def has_long_blocks(config: Config, task: Task, count: int) -> bool:
    """Tell whether so many blocks have enough cases to measure a loss."""
    try:
        splits = task.splits(dataclasses.replace(config.search, blocks=count))
    except DataError:
        return False
    return min(min(len(split.validation), len(split.judged)) for split in splits.blocks) >= _CASES


def _with_amount(config: Config, amount: Amount) -> Config:
    return dataclasses.replace(config, search=dataclasses.replace(config.search, **dataclasses.asdict(amount)))


def _splits(config: Config, task: Task, amount: Amount) -> Splits:
    return task.splits(_with_amount(config, amount).search)


def seconds_a_step(config: Config, task: Task) -> float:
    """Measure a step of a population of networks such as the search trains, for each of its members.

    They learn a batch or two again and again, so that it takes a moment whatever the size of the data; inputs of
    nothing but zeros let none diverge. What others do on the machine meanwhile is no reason to do less: of the time
    that passes and the time that the processors spend on it, the shorter counts.
    """
    tried = [arm for arm in arms.arms(config) if knob_at(arm.path) is not None and not arm.beside]
    knobs: list[Setting] = [{}, *({arm.path: arm.ladder[0]} for arm in tried)]
    most = min(_MEMBERS, members_at_once(config))
    base = baseline_config(config, config.search.learning_rates[0], len(task.features))
    alone = dataclasses.replace(base, model=dataclasses.replace(base.model, members=1))  # as a search compares them
    models = [with_settings(alone, knobs[k % len(knobs)]).model for k in range(most)]
    lesson = Lesson.of(task, task.splits(config.search).blocks[0])
    x, y = next(iter(lesson.module(min(config.training.batch_size, _ROWS), seed=0).train_dataloader()))
    batch = (torch.zeros_like(x[0]), x[1]) if isinstance(x, tuple) else torch.zeros_like(x), y
    rows = len(y)
    training = dataclasses.replace(config.training, max_epochs=_EPOCHS, patience=_EPOCHS)
    ended: list[tuple[float, float]] = []

    def watch(member: int, epochs: Sequence[Epoch]) -> bool:
        if len(epochs) > len(ended):
            ended.append((time.perf_counter(), time.process_time()))
        return False

    population = Population(task.network(model) for model in models)
    criterion = lesson.criterion(training)
    fit_population(population, ([batch] * _BATCHES, [batch]), training, criterion=criterion, watch=watch)
    steps = (len(ended) - 1) * (_BATCHES + _EVALUATION) * most * rows / config.training.batch_size
    return min(last - first for first, last in zip(ended[0], ended[-1], strict=True)) / steps


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

    def seconds_left(self, trainings: int, width: int = 1) -> float | None:
        """Estimate how long so many further trainings will take, of which some go on side by side."""
        each = sum(self._seconds) / len(self._seconds) if self._seconds else self._expected
        if each is None or not math.isfinite(each):
            return None
        return max(0.0, each * trainings / width - (time.monotonic() - self._latest))


def duration(seconds: float) -> str:
    """Say how long, as one says it."""
    if seconds < 90:
        return f"about {max(10, 10 * round(seconds / 10))} seconds"
    if seconds < 5400:
        return f"about {round(seconds / 60)} minutes"
    return f"about {seconds / 3600:.1f} hours"
