"""Orders: trainings that are carried out together, in this process or by who was sent them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from lstmreg.config import Config
from lstmreg.errors import ConfigError
from lstmreg.tasks import Task
from lstmreg.training.fitting import Epoch
from lstmreg.training.memory import Outgrown
from lstmreg.training.population.together import Assignment, train_together
from lstmreg.training.single import Trained

from .events import Begun, Ended, Failure, this_place
from .parcels import Material, material_of, unpack

#: What a training is worth to who ordered it; an exception if it failed for that. It travels by its name.
Value = Callable[[Assignment, Trained], Any]


def carry_out(
    assignments: Sequence[Assignment],
    task: Task,
    value: Value,
    tell: Callable[[Begun | Ended], None],
    outgrown: Outgrown,
) -> None:
    """Train some in this process, and tell how they go."""
    place, alive, epoch = this_place(os.getpid()), len(assignments), 0

    def ended(member: int, outcome: Trained | Exception) -> None:
        nonlocal alive
        alive -= 1
        worth = outcome if isinstance(outcome, Exception) else value(assignments[member], outcome)
        tell(Ended(member, Failure.of(worth) if isinstance(worth, Exception) else worth, place))

    def epoch_ended(member: int, epochs: Sequence[Epoch]) -> bool:
        nonlocal epoch
        if len(epochs) > epoch:
            epoch = len(epochs)
            tell(Begun(place, alive, epoch))
        return False

    tell(Begun(place, alive, epoch))
    train_together(assignments, task, ended, epoch_ended, outgrown)


@dataclass(frozen=True)
class Order:
    """Trainings to be carried out as one population.

    Attributes:
        number: Another one for each order.
        trainings: Configuration, key of the split, and the column that is left out.
        value: What comes back of each.
        digest: Of the material.
        versions: Of what computes; with others the digits would not be the same.
    """

    number: int
    trainings: tuple[tuple[Config, tuple[int, ...], int | None], ...]
    value: Value
    digest: str
    versions: str = field(default_factory=lambda: _versions())

    @classmethod
    def of(cls, number: int, assignments: Sequence[Assignment], value: Value, digest: str) -> Order:
        """Write an order."""
        return cls(number, tuple((a.config, a.split.key, a.without) for a in assignments), value, digest)

    def assignments(self, material: Material) -> list[Assignment]:
        """Return what is to be trained, with the data."""
        return [Assignment(config, material.splits[key], without) for config, key, without in self.trainings]


def _versions() -> str:
    from lstmreg import __version__

    return f"lstmreg {__version__}, torch {torch.__version__}"


#: One order at a time: what seeds torch's generator, and how many threads it uses, holds for the whole process.
_alone = threading.Lock()


def carry_out_here(packed: bytes, tell: Callable[[Begun | Ended], None]) -> None:
    """Carry out an order in this process, which must have its material.

    Raises:
        MissingMaterialError: If it has not.
        ConfigError: If this process would compute other digits.
    """
    order: Order = unpack(packed)
    if order.versions != _versions():
        raise ConfigError(
            f"the worker {this_place(os.getpid()).name} has {_versions()}, and the search {order.versions}. Install "
            f"the same versions, or their numbers would not be the same."
        )
    material, outgrown = material_of(order.digest)
    with _alone:
        carry_out(order.assignments(material), material.task, order.value, tell, outgrown)
