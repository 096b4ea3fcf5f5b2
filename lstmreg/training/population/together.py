"""Many trainings as configurations describe them, in populations of those that can be trained at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

from lstmreg.config import Config
from lstmreg.knobs import KNOBS
from lstmreg.population import Population
from lstmreg.tasks import Split, Task
from lstmreg.training.fitting import Curves, Epoch, FitResult
from lstmreg.training.memory import Outgrown, out_of_memory, weights_of
from lstmreg.training.single import Known, Trained, prepare, train_single

from .fitting import SHARED, fit_population

#: More would not be faster, and everybody would wait for the first result.
_MOST_MEMBERS = 1024

#: What the weights of a population may take, with their gradients, the optimizer's moments, the best ones and what a
#: proximal step takes off.
_BYTES_OF_WEIGHTS = 512 * 2**20


@dataclass(frozen=True)
class Assignment:
    """One training to do.

    Attributes:
        config: How, and of what network.
        split: On which cases.
        without: Number of an input column of which the network is to see zeros alone; the task's own networks see all.
    """

    config: Config
    split: Split
    without: int | None = None


#: Told of each training that has ended: its number, and how; an exception if it failed.
Listener = Callable[[int, Trained | Exception], None]

#: Told after each epoch of a training: its number, and its epochs so far; ends it by returning true.
Watch = Callable[[int, Sequence[Epoch]], bool]


def train_together(
    assignments: Sequence[Assignment],
    task: Task,
    listener: Listener,
    watch: Watch = lambda number, epochs: False,
    outgrown: Outgrown | None = None,
) -> None:
    """Train each as :func:`~lstmreg.training.single.train_single` would, many at once.

    Args:
        assignments: What to train. Those of one architecture make a population, if :data:`SHARED` is the same too.
        task: The question and the data.
        listener: Called as soon as one has ended, in the order in which they end.
        watch: May end them early.
        outgrown: What there was not enough memory for: its like is told as failed, and not tried. Default: nothing yet.

    Raises:
        KeyboardInterrupt: On Ctrl-C; those that had ended were told, the others were not.
    """
    if task.has_own_networks:
        _train_one_by_one(assignments, task, _Teller(listener, watch))
        return
    together = _Together(assignments, task, listener, watch, Outgrown() if outgrown is None else outgrown)
    for numbers in populations(assignments):
        together.train(numbers)


def _train_one_by_one(assignments: Sequence[Assignment], task: Task, teller: _Teller) -> None:
    """Train networks that are no members of a population."""
    for number, one in enumerate(assignments):
        curves = Curves(lambda epochs, number=number: teller.watch(number, epochs))  # type: ignore[misc]
        outcome: Trained | Exception
        try:
            outcome = train_single(one.config, task, one.split, [curves])
        except Exception as error:
            if teller.has_failed:
                raise
            outcome = out_of_memory(error, one.config, task) or error
        teller.tell(number, outcome)


@dataclass(frozen=True)
class _Together:
    """Trains populations, and smaller ones where they fail."""

    assignments: Sequence[Assignment]
    task: Task
    listener: Listener
    watch: Watch
    outgrown: Outgrown

    def train(self, numbers: list[int]) -> None:
        """Train some as one population; if that fails, in two halves: it may be the fault of one, or of so many."""
        tried = []
        for number in numbers:
            why_not = self.outgrown.why_not(self.assignments[number].config, self.task)
            if why_not is None:
                tried.append(number)
            else:
                self.listener(number, why_not)
        if not tried:
            return
        # Not inside of an except: what failed would keep its tensors, and its halves would find no memory either.
        left = self._left(tried)
        middle = (len(left) + 1) // 2
        for half in (left[:middle], left[middle:]):
            if half:
                self.train(half)

    def _left(self, numbers: list[int]) -> list[int]:
        """Train some at once, and return those of which nobody was told."""
        teller = _Teller(self.listener, self.watch)
        try:
            _train_population(numbers, self.assignments, self.task, teller)
        except Exception as error:
            left = [number for number in numbers if number not in teller.told]
            if teller.has_failed or not left:
                raise
            if len(numbers) > 1:
                return left
            config = self.assignments[numbers[0]].config
            told = out_of_memory(error, config, self.task)
            if told is not None:
                self.outgrown.keep(config, self.task)
            self.listener(numbers[0], told or error)
        return []


class _Teller:
    """Tells how trainings go, and knows whether an exception came from who was told."""

    def __init__(self, listener: Listener, watch: Watch) -> None:
        self._listener, self._watch = listener, watch
        self.told: set[int] = set()
        self.has_failed = False

    def tell(self, number: int, outcome: Trained | Exception) -> None:
        """Tell that a training has ended."""
        self.told.add(number)
        with self._noticed():
            self._listener(number, outcome)

    def watch(self, number: int, epochs: Sequence[Epoch]) -> bool:
        """Tell of an epoch, and return whether the training ends there."""
        with self._noticed():
            return self._watch(number, epochs)

    @contextmanager
    def _noticed(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.has_failed = True
            raise


def populations(assignments: Sequence[Assignment]) -> Iterator[list[int]]:
    """Yield the numbers of those that can be trained at once."""
    numbers = sorted(range(len(assignments)), key=lambda n: _architecture(assignments[n].config))
    for _, alike in groupby(numbers, key=lambda n: _architecture(assignments[n].config)):
        members = sorted(alike)
        most = members_at_once(assignments[members[0]].config)
        for first in range(0, len(members), most):
            yield members[first : first + most]


def members_at_once(config: Config) -> int:
    """Return how many networks of an architecture are trained at once, at most."""
    weights = weights_of(config.model, 1)
    tensors = 8 if config.training.proximal else 7
    return max(1, min(_MOST_MEMBERS, _BYTES_OF_WEIGHTS // (tensors * 4 * weights)))


def _architecture(config: Config) -> str:
    """Return what a population must share, as a text."""
    model = {name: v for name, v in dataclasses.asdict(config.model).items() if f"model.{name}" not in KNOBS}
    return repr((model, [getattr(config.training, name) for name in SHARED]))


def _train_population(numbers: list[int], assignments: Sequence[Assignment], task: Task, teller: _Teller) -> None:
    """Train some as one population."""
    known: Known = {}
    chosen = [assignments[number] for number in numbers]
    prepared = [prepare(one.config, task, one.split, known, one.without) for one in chosen]
    population = Population(one.network for one in prepared)

    def ended(member: int, result: FitResult) -> None:
        trained = Trained.alone(
            population[member].cpu().eval(), prepared[member].lesson, result, chosen[member].config.training
        )
        teller.tell(numbers[member], trained if result.failure is None else result.failure)

    fit_population(
        population,
        [one.data for one in prepared],
        [one.training for one in prepared],
        criterion=[one.criterion for one in prepared],
        watch=lambda member, epochs: teller.watch(numbers[member], epochs),
        listener=ended,
    )
