"""Hands trainings to workers who may die: pieces of a fixed size, and what becomes of those that were lost."""

from __future__ import annotations

import itertools
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from lstmreg.training.memory import weights_of
from lstmreg.training.population.together import Assignment, populations

from .events import Begun, Done, Ended, Event, Failure, Lost, Place
from .executor import Executor, Listener, News, Worker
from .orders import Order, Value

#: A piece has at most so many trainings, and no more than so many weights: more would hardly be trained faster, and
#: others would have nothing to do. The rule looks at the trainings alone, and not at who there is to do them.
_MOST, _WEIGHTS = 32, 2**18

#: In seconds: how long to wait for news before looking who has been silent.
_TICK = 1.0

#: Who says nothing for so many seconds, and so many times as long as any of its fellows did for as much work, hangs.
_SILENCE, _TIMES = 60.0, 20.0

#: A training that was alone with a worker when it was lost is tried once more, and then set aside.
_LONE_DEATHS = 2


class Crew(ABC):
    """Those who carry out orders for a search.

    Attributes:
        tells: Whether they tell what they do before all of an order has ended.
        notes: What to know of them, a sentence each, until it is told.
    """

    tells = True

    def __init__(self) -> None:
        self.notes: list[str] = []

    @property
    @abstractmethod
    def width(self) -> int:
        """How many they are, as far as is known."""

    @abstractmethod
    def take(self, order: Order) -> None:
        """Have an order carried out as soon as somebody has time."""

    @abstractmethod
    def hear(self, seconds: float) -> list[tuple[int, Event]]:
        """Wait at most so long for news; return them, each with the number of its order."""

    @abstractmethod
    def give_up(self, number: int, reason: str) -> None:
        """End whoever is at an order, which is then told as lost."""

    @abstractmethod
    def close(self) -> None:
        """Let all of them go, whatever they do."""


class Dispatch(Executor):
    """Has a crew carry out trainings.

    Members of a population do not depend on their company. So a piece whose worker is gone is given again in halves, as
    far as it has not ended, which finds what is too large as well as what kills: a training that was alone when its
    worker was lost is set aside when that happens again.

    Args:
        crew: Who they are.
        digest: Of the data that they have been sent.
        columns: How many input columns these have; ``None`` where the networks are the user's own, which are no members
            of a population.
        silence: In seconds: for so long anybody may say nothing.
    """

    def __init__(self, crew: Crew, digest: str, columns: int | None, silence: float = _SILENCE) -> None:
        self._crew, self._digest, self._columns, self._silence = crew, digest, columns, silence
        self._numbers = itertools.count()
        self._slowest = 0.0

    @property
    def width(self) -> int:
        """How many work side by side."""
        return max(1, self._crew.width)

    def at_once(self, assignments: Sequence[Assignment]) -> int:
        """Return how many trainings the workers have at the same time."""
        largest = max(len(numbers) for numbers in pieces(assignments, self._columns))
        return min(len(assignments), largest * self.width)

    def train(self, assignments: Sequence[Assignment], value: Value, listener: Listener, news: News) -> None:
        """Have all trained."""
        step = _Step(assignments, value, listener)
        for numbers in pieces(assignments, self._columns):
            self._order(step, numbers)
        while step.open:
            for number, event in self._crew.hear(_TICK):
                if number in step.open:
                    self._hear(step, number, event)
            self._end_the_silent(step)
            notes, self._crew.notes = tuple(self._crew.notes), []
            news(step.workers(), notes)

    def close(self) -> None:
        """Let the crew go."""
        self._crew.close()

    def _order(self, step: _Step, numbers: Sequence[int], lone_deaths: int = 0) -> None:
        chosen = [step.assignments[number] for number in numbers]
        work = sum(_work(one, self._columns) for one in chosen)
        order = Order.of(next(self._numbers), chosen, step.value, self._digest)
        step.open[order.number] = _Piece(list(numbers), work, lone_deaths)
        self._crew.take(order)

    def _hear(self, step: _Step, number: int, event: Event) -> None:
        piece = step.open[number]
        if isinstance(event, Ended):
            piece.heard()
            if event.member not in piece.told:
                piece.told.add(event.member)
                step.listener(piece.numbers[event.member], event.outcome, event.place)
        elif isinstance(event, Begun):
            piece.begun(event)
        elif isinstance(event, Done):
            del step.open[number]
            self._slowest = max(self._slowest, piece.longest / piece.work)
            if piece.left:
                self._again(step, piece, Lost("it ended without a word of them"))
        else:
            del step.open[number]
            self._again(step, piece, event)

    def _again(self, step: _Step, piece: _Piece, lost: Lost) -> None:
        """Give what was lost to others, unless it is to blame."""
        left = piece.left
        where = "A worker" if piece.place is None else piece.place.name
        self._crew.notes.append(f"{where} was lost: {lost.reason}. Trainings that run again: {len(left)}.")
        if len(left) == 1:
            deaths = piece.lone_deaths + (len(piece.numbers) == 1)
            if deaths >= _LONE_DEATHS:
                reason = f"set aside: its worker was lost {deaths} times while it trained nothing else ({lost.reason})"
                step.listener(left[0], Failure(reason), piece.place or _NOWHERE)
            else:
                self._order(step, left, deaths)
            return
        middle = (len(left) + 1) // 2
        for half in (left[:middle], left[middle:]):
            if half:
                self._order(step, half)

    def _end_the_silent(self, step: _Step) -> None:
        """End who says nothing for longer than their fellows' pace explains."""
        if not self._crew.tells or not self._slowest:
            return
        for number, piece in list(step.open.items()):
            limit = max(self._silence, _TIMES * self._slowest * piece.work)
            if piece.place is not None and piece.silent() > limit:
                self._crew.give_up(number, f"it said nothing for {limit:.0f} s, which its fellows never did")
                piece.heard()


_NOWHERE = Place("unknown", "unknown")


class _Piece:
    """Some trainings that are carried out together, and what is known of them.

    Attributes:
        numbers: Theirs, among all of a step.
        work: How much there is to do in an epoch.
        lone_deaths: How often the only training of it was lost with its worker.
        told: Which of its members have ended.
        place: Where it is; ``None`` as long as it has not begun.
        alive: How many of its trainings go on.
        epoch: How many epochs have ended.
        longest: For how many seconds nothing was heard of it at most.
    """

    def __init__(self, numbers: list[int], work: float, lone_deaths: int) -> None:
        self.numbers, self.work, self.lone_deaths = numbers, work, lone_deaths
        self.told: set[int] = set()
        self.place: Place | None = None
        self.alive = self.epoch = 0
        self.longest = 0.0
        self._latest = time.monotonic()

    @property
    def left(self) -> list[int]:
        """Numbers of those that have not ended."""
        return [number for member, number in enumerate(self.numbers) if member not in self.told]

    def begun(self, event: Begun) -> None:
        """Take note of where it is."""
        if self.place != event.place:  # it has only now been begun, or is begun anew elsewhere
            self._latest = time.monotonic()
        self.place, self.alive, self.epoch = event.place, event.alive, event.epoch
        self.heard()

    def heard(self) -> None:
        """Take note that there were news."""
        self.longest = max(self.longest, self.silent())
        self._latest = time.monotonic()

    def silent(self) -> float:
        """Return for how many seconds there were none."""
        return time.monotonic() - self._latest


@dataclass
class _Step:
    """Trainings that are under way."""

    assignments: Sequence[Assignment]
    value: Value
    listener: Listener

    def __post_init__(self) -> None:
        self.open: dict[int, _Piece] = {}

    def workers(self) -> tuple[Worker, ...]:
        """Return who works now."""
        begun = [piece for piece in self.open.values() if piece.place is not None]
        return tuple(Worker(p.place.name, p.alive, p.epoch) for p in begun if p.place is not None)


def pieces(assignments: Sequence[Assignment], columns: int | None) -> list[list[int]]:
    """Return the numbers of those that are trained together elsewhere; those of one split and order are neighbours.

    Args:
        assignments: What is to be trained.
        columns: Input columns; ``None`` where networks are trained one by one.
    """
    if columns is None:
        return [[number] for number in range(len(assignments))]
    found = []
    for alike in populations(assignments):
        most = max(1, min(_MOST, _WEIGHTS // weights_of(assignments[alike[0]].config.model, columns)))
        ordered = sorted(alike, key=lambda n: (assignments[n].split.key, assignments[n].config.training.seed))
        count = math.ceil(len(ordered) / most)
        cuts = [len(ordered) * i // count for i in range(count + 1)]
        found += [ordered[first:last] for first, last in itertools.pairwise(cuts)]
    return found


def _work(assignment: Assignment, columns: int | None) -> float:
    """Return how much an epoch of a training is, in weights times cases."""
    weights = 1 if columns is None else weights_of(assignment.config.model, columns)
    return float(weights * len(assignment.split.train))
