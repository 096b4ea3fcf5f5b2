"""Reads the trials of a study: many at once, where Optuna would make an object of every row."""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import optuna
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState

from .kept import spliced

#: Attributes are fetched of so many trials at a time, or the rows of a large study would fill the memory.
_AT_ONCE = 5000

_TRIALS = sqlalchemy.text(
    "SELECT t.trial_id, t.number, t.state, v.value, v.value_type FROM trials t "
    "LEFT JOIN trial_values v ON v.trial_id = t.trial_id WHERE t.study_id = :study ORDER BY t.trial_id"
)
_ATTRIBUTES = sqlalchemy.text(
    "SELECT a.trial_id, a.key, a.value_json FROM trial_user_attributes a JOIN trials t ON t.trial_id = a.trial_id "
    "WHERE t.study_id = :study AND a.trial_id BETWEEN :first AND :last"
)


@dataclass(frozen=True)
class KeptTrial:
    """A trial as a study keeps it.

    Attributes:
        number: Its number in its study.
        state: Whether it has ended, and how.
        value: What it reached; ``None`` if nothing.
        texts: Its attributes, as JSON.
    """

    number: int
    state: TrialState
    value: float | None
    texts: dict[str, str]

    @classmethod
    def of(cls, number: int, trial: FrozenTrial) -> Self:
        """Return a trial of Optuna as it is kept."""
        texts = {name: json.dumps(value) for name, value in trial.user_attrs.items()}
        return cls(number, trial.state, trial.value, texts)

    def attributes(self) -> dict[str, Any]:
        """Return its attributes."""
        found: dict[str, Any] = json.loads(f"{{{spliced(self.texts)}}}")
        return found


def kept_trials(storage: optuna.storages.RDBStorage, study: optuna.Study) -> Iterator[KeptTrial]:
    """Yield the trials of a study.

    Raises:
        ValueError: If a state is none.
    """
    with storage.engine.connect() as connection:
        trials = connection.execute(_TRIALS, {"study": study._study_id}).all()
        for first in range(0, len(trials), _AT_ONCE):
            some = trials[first : first + _AT_ONCE]
            texts: dict[int, dict[str, str]] = {trial.trial_id: {} for trial in some}
            bounds = {"study": study._study_id, "first": some[0].trial_id, "last": some[-1].trial_id}
            for trial_id, name, text in connection.execute(_ATTRIBUTES, bounds).all():
                texts[trial_id][name] = text
            for trial in some:
                value = _value(trial.value, trial.value_type)
                yield KeptTrial(trial.number, TrialState[trial.state], value, texts[trial.trial_id])


def _value(value: float | None, kind: str | None) -> float | None:
    """Return a value, of which Optuna keeps beside it whether it is infinite."""
    return {None: None, "FINITE": value, "INF_POS": math.inf, "INF_NEG": -math.inf}[kind]


@contextmanager
def uncollected() -> Iterator[None]:
    """Have Python not look for garbage: where all that is made is kept, it would look at all of it again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
