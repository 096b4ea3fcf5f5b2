"""How trainings go elsewhere, in words that can travel: where they run, how far they are, how each ended."""

from __future__ import annotations

import functools
import platform
import socket
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lstmreg.training import DivergedError
from lstmreg.training.memory import OutOfMemoryError


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
