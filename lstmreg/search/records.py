"""What is known of one trial: why it ran, on what, and what the training gave."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from .card import log_loss
from .space import Setting, key

#: A stage of the experiment: one Optuna study.
Stage = Literal["baseline", "alone", "together", "confirm", "test"]

#: In their order.
STAGES: tuple[Stage, ...] = get_args(Stage)

#: Why a trial ran.
Role = Literal["baseline", "alone", "sampled", "shortlist", "leave one out", "confirm", "test"]

#: In whose study the trials of each role are, in the order in which they run.
STAGE_OF: dict[Role, Stage] = {
    "baseline": "baseline",
    "alone": "alone",
    "sampled": "together",
    "shortlist": "together",
    "leave one out": "together",
    "confirm": "confirm",
    "test": "test",
}


@dataclass(frozen=True, order=True)
class Replicate:
    """One repetition of a setting: which split, and which of its seeds, both counted from 0."""

    split: int
    seed: int


@dataclass(frozen=True)
class Result:
    """What a training gave.

    Attributes:
        val_loss: The validation loss of the best epoch.
        train_loss: The training loss there.
        best_epoch: Which it is, counted from 0.
        stopped: What ended the training, such as ``patience``; ``callback`` if the search did.
        train: Training loss after each epoch.
        val: Validation loss after each epoch.
        seconds: How long it took.
        relative: The validation loss relative to the baseline's on the same replicate; ``None`` where none compares.
        test_error: Of a test trial: the most important error on the test, in the user's units.
        predictions: Of a test trial: what it predicted there, a row for each case.
    """

    val_loss: float
    train_loss: float
    best_epoch: int
    stopped: str
    train: list[float]
    val: list[float]
    seconds: float
    relative: float | None = None
    test_error: float | None = None
    predictions: list[list[Any]] | None = None

    @property
    def is_cut(self) -> bool:
        """Whether the search ended the training early: its loss is then what it had reached, and no more."""
        return self.stopped == "callback"

    @property
    def log_loss(self) -> float:
        """The logarithm of the best epoch's validation loss: differences of it are relative effects."""
        return log_loss(self.val_loss)

    def to_attribute(self) -> dict[str, Any]:
        """Return it as the study keeps it: what such a trial does not have is left out."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

    @classmethod
    def from_attribute(cls, kept: Any) -> Result:
        """Rebuild it from what :meth:`to_attribute` returned; what a later version kept beside it is left out.

        Raises:
            ValueError: If something is missing, or is not what it must be.
        """
        if not isinstance(kept, dict):
            raise ValueError(f"its result is no mapping: {kept!r}")
        declared = get_type_hints(cls)
        result: dict[str, Any] = {name: kept.get(name) for name in declared}
        for name, value in result.items():
            if not _fits(value, declared[name]):
                raise ValueError(f"its result has {name}={value!r}" if name in kept else f"its result has no {name}")
        if not len(result["train"]) == len(result["val"]) > result["best_epoch"] >= 0:
            raise ValueError("of its result the curves and the best epoch contradict each other")
        return cls(**result)


def _fits(value: Any, declared: Any) -> bool:
    """Tell whether a value that went through JSON is of a declared type."""
    if declared is Any:  # numbers of any number of axes, with nothing where there is none
        return value is None or _fits(value, float) or _fits(value, list[Any])
    if get_origin(declared) is list:
        return isinstance(value, list) and all(_fits(each, get_args(declared)[0]) for each in value)
    if get_origin(declared) is UnionType:
        return any(_fits(value, kind) for kind in get_args(declared))
    return isinstance(value, (int, float) if declared is float else declared) and not isinstance(value, bool)


@dataclass(frozen=True)
class Record:
    """One trial.

    Attributes:
        number: The trial's number in its study.
        role: Why it was run.
        setting: What differs from the baseline.
        replicate: On what.
        result: What the training gave; ``None`` if it failed.
        failure: Why it has no result, or ``None``.
        position: Of a sampled trial: which of the proposals.
        traceback: Of an error that is no divergence.
        split: The key of its split, by which it is known whatever other splits there are.
        learning_rate: That of the baseline from which the setting differs; ``None`` in the stage that chooses it.
    """

    number: int
    role: Role
    setting: Setting
    replicate: Replicate
    result: Result | None
    failure: str | None = None
    position: int | None = None
    traceback: str | None = None
    split: tuple[int, ...] = ()
    learning_rate: float | None = None

    @property
    def stage(self) -> Stage:
        """In whose study it is."""
        return STAGE_OF[self.role]

    @property
    def is_cut(self) -> bool:
        """Whether the search ended it early."""
        return self.result is not None and self.result.is_cut

    @property
    def identity(self) -> tuple[str, Replicate]:
        """What the trial was of; two trials with the same identity repeat each other."""
        return key(self.setting), self.replicate
