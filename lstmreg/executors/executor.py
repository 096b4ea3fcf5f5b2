"""What an executor is, and the one that needs nobody else: this process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from lstmreg.tasks import Task
from lstmreg.training.memory import Outgrown
from lstmreg.training.population.together import Assignment, populations

from .events import Begun, Ended, Failure, Place
from .orders import Value, carry_out


@dataclass(frozen=True)
class Worker:
    """Who trains at this moment.

    Attributes:
        name: Host and process.
        trainings: How many go on there.
        epoch: How many of their epochs have ended.
    """

    name: str
    trainings: int
    epoch: int


#: Told of each training that has ended: its number, what it is worth or why it failed, and where it ran.
Listener = Callable[[int, Any | Failure, Place], None]

#: Told now and then who works, and what to know besides, a sentence each.
News = Callable[[tuple[Worker, ...], tuple[str, ...]], None]


class Executor(ABC):
    """Carries out trainings; what they give does not depend on where, on one kind of processor."""

    @property
    @abstractmethod
    def width(self) -> int:
        """How many work side by side, as far as is known."""

    @abstractmethod
    def at_once(self, assignments: Sequence[Assignment]) -> int:
        """Return how many of these will be trained at the same time, at most."""

    @abstractmethod
    def train(self, assignments: Sequence[Assignment], value: Value, listener: Listener, news: News) -> None:
        """Train all.

        Args:
            assignments: What to train.
            value: What a training is worth; a function that a worker can find by its name.
            listener: Called once for each, in any order.
            news: Called now and then.
        """

    def close(self) -> None:
        """End what belongs to it."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()


class Here(Executor):
    """Trains in this process, as large populations as can be.

    Args:
        task: The question and the data.
    """

    width = 1

    def __init__(self, task: Task) -> None:
        self._task, self._outgrown = task, Outgrown()

    def at_once(self, assignments: Sequence[Assignment]) -> int:
        """Return the size of the largest population."""
        return max(len(numbers) for numbers in populations(assignments))

    def train(self, assignments: Sequence[Assignment], value: Value, listener: Listener, news: News) -> None:
        """Train population after population."""
        for numbers in populations(assignments):

            def tell(event: Begun | Ended, numbers: list[int] = numbers) -> None:
                if isinstance(event, Ended):
                    listener(numbers[event.member], event.outcome, event.place)
                else:
                    news((Worker(event.place.name, event.alive, event.epoch),), ())

            carry_out([assignments[number] for number in numbers], self._task, value, tell, self._outgrown)
