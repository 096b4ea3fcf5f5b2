"""What travels to whoever trains, and what comes back: data once, orders, and how each training ended."""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import platform
import socket
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from lstmreg.config import Config
from lstmreg.errors import ConfigError
from lstmreg.tasks import Split, Task
from lstmreg.training import DivergedError
from lstmreg.training.fitting import Epoch
from lstmreg.training.memory import Outgrown, OutOfMemoryError
from lstmreg.training.population.together import Assignment, train_together
from lstmreg.training.single import Trained


@dataclass(frozen=True)
class Place:
    """Where a training ran.

    Attributes:
        name: Host and process.
        machine: Kind of processor and version of torch: where they are the same, so is each digit.
    """

    name: str
    machine: str


@dataclass(frozen=True)
class Failure:
    """Why a training failed, in words that can travel.

    Attributes:
        reason: In a sentence.
        traceback: Of what is no fault of the setting; those that fail alike have the same one.
    """

    reason: str
    traceback: str | None = None

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Return what is known of an exception."""
        if isinstance(error, (DivergedError, OutOfMemoryError)):  # a fault of the setting, and of no other one
            return cls(str(error))
        details = "".join(traceback.format_exception(error, chain=False))
        return cls(f"{type(error).__name__}: {error}", details)


#: What a training is worth to who ordered it; an exception if it failed for that. It travels by its name.
Value = Callable[[Assignment, Trained], Any]


@dataclass(frozen=True)
class Begun:
    """An order, or its next epoch, has begun.

    Attributes:
        place: Where.
        alive: How many of its trainings go on.
        epoch: How many epochs have ended.
    """

    place: Place
    alive: int
    epoch: int


@dataclass(frozen=True)
class Ended:
    """A training of an order has ended.

    Attributes:
        member: Which one.
        outcome: What it is worth, or why it failed.
        place: Where it ran.
    """

    member: int
    outcome: Any | Failure
    place: Place


@dataclass(frozen=True)
class Done:
    """All of an order has ended."""


@dataclass(frozen=True)
class Lost:
    """Whoever carried out an order is gone.

    Attributes:
        reason: What is known of it.
    """

    reason: str


Event = Begun | Ended | Done | Lost


@functools.cache
def this_place(process: int) -> Place:
    """Return where this process runs, whose number is given because a copy of a process is another place."""
    return Place(f"{socket.gethostname()}/{process}", f"{_processor()}, torch {torch.__version__}")


def _processor() -> str:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()


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


# ---------------------------------------------------------------------- what travels


@dataclass(frozen=True)
class Material:
    """The data of a search, which travel once to each worker.

    Attributes:
        task: The question and the data.
        splits: By their keys.
    """

    task: Task
    splits: Mapping[tuple[int, ...], Split]


@dataclass(frozen=True)
class Parcel:
    """Something packed, and its digest."""

    content: bytes
    digest: str

    @classmethod
    def of(cls, thing: Any) -> Parcel:
        """Pack something.

        Raises:
            ConfigError: If it cannot travel.
        """
        content = pack(thing)
        return cls(content, hashlib.blake2b(content, digest_size=16).hexdigest())


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


#: What this process has been sent, by its digest, with what turned out to be too large there.
_materials: dict[str, tuple[Material, Outgrown]] = {}

#: One order at a time: what seeds torch's generator, and how many threads it uses, holds for the whole process.
_alone = threading.Lock()


class MissingMaterialError(LookupError):
    """The data of an order have not been sent to this process."""


def keep_material(parcel: Parcel) -> None:
    """Keep the data of a search in this process, in place of those of any other."""
    if parcel.digest not in _materials:
        _materials.clear()
        _materials[parcel.digest] = unpack(parcel.content), Outgrown()


def forget_material(parcel: Parcel) -> None:
    """Keep the data of a search no longer."""
    _materials.pop(parcel.digest, None)


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
    if order.digest not in _materials:
        raise MissingMaterialError(order.digest)
    material, outgrown = _materials[order.digest]
    with _alone:
        carry_out(order.assignments(material), material.task, order.value, tell, outgrown)


def pack(thing: Any) -> bytes:
    """Pack something that goes to, or comes from, a process of this search; nothing else is ever unpacked.

    Raises:
        ConfigError: If it cannot travel.
    """
    try:
        return _pickler().dumps(thing, protocol=pickle.HIGHEST_PROTOCOL)  # type: ignore[no-any-return]
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise ConfigError(
            f"the data or the network cannot be sent to another process ({error}). Define what they consist of in a "
            f"module, or install cloudpickle, which sends what a script or a notebook defines."
        ) from None


def unpack(content: bytes) -> Any:
    """Return what :func:`pack` packed in a process of this search."""
    return pickle.loads(content)


def _pickler() -> ModuleType:
    """Return cloudpickle where it is installed, which also takes what a script or a notebook defines."""
    with suppress(ImportError):
        import cloudpickle

        return cloudpickle  # type: ignore[no-any-return]
    return pickle
