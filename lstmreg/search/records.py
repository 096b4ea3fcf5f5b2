"""What is known of one training: why it ran, on what, and what it gave."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

from .card import log_loss
from .space import Setting, key
from .study.kept import fields_of

#: A stage of the experiment: one Optuna study.
Stage = Literal["rates", "choose", "judge", "test", "explain"]

#: In their order.
STAGES: tuple[Stage, ...] = get_args(Stage)

#: Why a training ran.
Role = Literal["learning rate", "screen", "grow", "propose", "race", "combine", "judge", "test", "explain"]

#: In the order in which they begin.
ROLES: tuple[Role, ...] = get_args(Role)

#: In whose study the trainings of each role are.
STAGE_OF: dict[Role, Stage] = {
    "learning rate": "rates",
    "screen": "choose",
    "grow": "choose",
    "propose": "choose",
    "race": "choose",
    "combine": "choose",
    "judge": "judge",
    "test": "test",
    "explain": "explain",
}


@dataclass(frozen=True, order=True)
class Replicate:
    """One repetition of a setting: on which block, and with which seed, both counted from 0."""

    block: int
    seed: int


@dataclass(frozen=True)
class Result:
    """What a training gave.

    Attributes:
        val_loss: The loss of the best epoch on the block that ended the training.
        train_loss: The training loss there.
        best_epoch: Which it is, counted from 0.
        stopped: What ended the training, such as ``patience``.
        train: Training loss after each epoch.
        val: Validation loss after each epoch.
        seconds: How long it took.
        loss: The loss on the cases that are judged, which had no part in the training; of a test, on those of the test.
        columns: How large the largest input weight of each column is, where there are not very many.
        test_error: Of a test: the most important error, in the user's units.
        predictions: Of a test: what it predicted there, a row for each case.
    """

    val_loss: float
    train_loss: float
    best_epoch: int
    stopped: str
    train: list[float]
    val: list[float]
    seconds: float
    loss: float
    columns: list[float] | None = None
    test_error: float | None = None
    predictions: list[list[Any]] | None = None

    @property
    def log_loss(self) -> float:
        """The logarithm of the judged loss: differences of it are relative effects."""
        return log_loss(self.loss)

    def to_attribute(self) -> dict[str, Any]:
        """Return it as the study keeps it, its names in order; what such a training does not have is left out."""
        names = sorted(field.name for field in dataclasses.fields(self))
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @classmethod
    def from_attribute(cls, kept: Any) -> Result:
        """Rebuild it from what :meth:`to_attribute` returned; what a later version kept beside it is left out.

        Raises:
            ValueError: If something is missing, or is not what it must be.
        """
        result = fields_of(cls, kept, "result")
        if not len(result["train"]) == len(result["val"]) > result["best_epoch"] >= 0:
            raise ValueError("of its result the curves and the best epoch contradict each other")
        return cls(**result)


@dataclass(frozen=True)
class Record:
    """One training that has ended.

    Attributes:
        number: Its trial's number in its study.
        role: Why it was run.
        setting: What differs from the baseline.
        replicate: On what.
        result: What it gave; ``None`` if it failed.
        failure: Why it has no result, or ``None``.
        traceback: Of an error that is no divergence.
        split: The key of its split, by which it is known whatever other splits there are.
        learning_rate: That of the baseline from which the setting differs; ``None`` in the stage that chooses it.
        place: Host and process where it ran; ``None`` where an earlier version did not keep it.
        machine: Kind of processor and version of torch there.
    """

    number: int
    role: Role
    setting: Setting
    replicate: Replicate
    result: Result | None
    failure: str | None = None
    traceback: str | None = None
    split: tuple[int, ...] = ()
    learning_rate: float | None = None
    place: str | None = None
    machine: str | None = None

    @property
    def stage(self) -> Stage:
        """In whose study it is."""
        return STAGE_OF[self.role]

    @cached_property
    def key(self) -> str:
        """A text that is equal for equal settings."""
        return key(self.setting)

    @property
    def identity(self) -> tuple[str, Replicate]:
        """What it was of; two trainings with the same identity repeat each other."""
        return self.key, self.replicate
