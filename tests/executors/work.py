"""Trainings to carry out, and what they are worth to tests; workers find these functions by their names."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lstmreg.config import Config, with_settings
from lstmreg.executors import Executor, Failure, Material, Place, Value
from lstmreg.executors.executor import Worker
from lstmreg.tasks import read_task
from lstmreg.training.population.together import Assignment
from lstmreg.training.single import Trained
from tests.tiny import smallest_config

#: Of the training that does something that it should not.
THE_ONE = 5

#: A file in the folder of the runs, where it is kept that it was done, if it is to be done once.
MARKER = "done"


class Work:
    """Some trainings, and the data."""

    def __init__(self, folder: Path, count: int = 8, epochs: int = 3) -> None:
        config: Config = smallest_config(folder)
        self.task = read_task(config)
        self.config = self.task.completed(config)
        splits = self.task.splits(config.search)
        self.material = Material(self.task, {split.key: split for split in (*splits.blocks, splits.final)})
        Path(self.config.runs).mkdir()
        training = {"training.max_epochs": epochs, "training.patience": epochs}
        each = [training | {"model.kernel_l2": 0.01 * k, "training.seed": k} for k in range(count)]
        self.assignments = [
            Assignment(with_settings(self.config, settings), splits.blocks[k % len(splits.blocks)])
            for k, settings in enumerate(each)
        ]

    def begin_anew(self) -> None:
        """Let what is to be done once be done once more."""
        (Path(self.config.runs) / MARKER).unlink(missing_ok=True)

    def numbered(self, count: int) -> list[Assignment]:
        """Return so many of one architecture, each with its number as its seed."""
        first = self.assignments[0]
        seeded = [with_settings(first.config, {"training.seed": k}) for k in range(count)]
        return [dataclasses.replace(first, config=config) for config in seeded]


class Told:
    """What an executor tells."""

    def __init__(self) -> None:
        self.outcomes: dict[int, Any | Failure] = {}
        self.places: dict[int, Place] = {}
        self.workers: list[tuple[Worker, ...]] = []
        self.notes: list[str] = []

    def ended(self, number: int, outcome: Any | Failure, place: Place) -> None:
        assert number not in self.outcomes, "told twice"
        self.outcomes[number], self.places[number] = outcome, place

    def news(self, workers: tuple[Worker, ...], notes: tuple[str, ...]) -> None:
        self.workers.append(workers)
        self.notes += notes


def trained(executor: Executor, assignments: Sequence[Assignment], value: Value) -> Told:
    told = Told()
    executor.train(assignments, value, told.ended, told.news)
    assert sorted(told.outcomes) == list(range(len(assignments)))
    return told


# ---------------------------------------------------------------------- what a training is worth


def curve(assignment: Assignment, trained: Trained) -> list[float]:
    """Return every digit of how it went."""
    return [epoch.val_loss for epoch in trained.result.history] + trained.judged_losses().tolist()


def process(assignment: Assignment, trained: Trained) -> int:
    return os.getpid()


def _is_the_one(assignment: Assignment) -> bool:
    return assignment.config.training.seed == THE_ONE


def _for_the_first_time(assignment: Assignment) -> bool:
    try:
        (Path(assignment.config.runs) / MARKER).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def kills_once(assignment: Assignment, trained: Trained) -> list[float]:
    if _is_the_one(assignment) and _for_the_first_time(assignment):
        os.kill(os.getpid(), signal.SIGKILL)
    return curve(assignment, trained)


def kills_always(assignment: Assignment, trained: Trained) -> list[float]:
    if _is_the_one(assignment):
        os.kill(os.getpid(), signal.SIGKILL)
    return curve(assignment, trained)


def hangs_once(assignment: Assignment, trained: Trained) -> list[float]:
    if _is_the_one(assignment) and _for_the_first_time(assignment):
        time.sleep(3600)
    return curve(assignment, trained)


def refuses(assignment: Assignment, trained: Trained) -> list[float] | Exception:
    return ValueError("not this one") if _is_the_one(assignment) else curve(assignment, trained)


def breaks(assignment: Assignment, trained: Trained) -> list[float]:
    raise KeyError("a fault of the program")
