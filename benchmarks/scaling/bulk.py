"""Writes trials as Optuna does, many in one transaction: to have a large study soon, and not to measure how."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

#: So many trials are written at once.
_AT_ONCE = 2000

_TRIAL = sqlalchemy.text(
    "INSERT INTO trials (trial_id, number, study_id, state, datetime_start, datetime_complete) "
    "VALUES (:id, :number, :study, :state, :now, :now)"
)
_VALUE = sqlalchemy.text(
    "INSERT INTO trial_values (trial_id, objective, value, value_type) VALUES (:id, 0, :value, 'FINITE')"
)
_ATTRIBUTE = sqlalchemy.text("INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (:id, :name, :text)")


@contextmanager
def in_bulk() -> Iterator[None]:
    """Have whatever is told to a storage meanwhile written in bulk, and all of it in the end."""
    writer = _Writer()
    usual = RDBStorage.create_new_trial, RDBStorage.get_trial_number_from_id
    RDBStorage.create_new_trial, RDBStorage.get_trial_number_from_id = (  # type: ignore[method-assign]
        lambda storage, study_id, template_trial=None: writer.create(storage, study_id, template_trial),
        lambda storage, trial_id: writer.numbers[trial_id],
    )
    try:
        yield
    finally:
        writer.flush()
        RDBStorage.create_new_trial, RDBStorage.get_trial_number_from_id = usual  # type: ignore[method-assign]


class _Writer:
    """Collects trials of one new storage.

    Attributes:
        numbers: Of each trial its number in its study.
    """

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}
        self._count: dict[int, int] = {}
        self._storage: RDBStorage | None = None
        self._trials: list[dict[str, Any]] = []
        self._values: list[dict[str, Any]] = []
        self._attributes: list[dict[str, Any]] = []

    def create(self, storage: RDBStorage, study_id: int, trial: FrozenTrial) -> int:
        """Take a trial, and return its id."""
        self._storage = storage
        trial_id, number = len(self.numbers) + 1, self._count.get(study_id, 0)
        self.numbers[trial_id], self._count[study_id] = number, number + 1
        now = datetime.now(UTC).replace(tzinfo=None)
        row = {"id": trial_id, "number": number, "study": study_id, "state": trial.state.name, "now": now}
        self._trials.append(row)
        if trial.state is TrialState.COMPLETE:
            self._values.append({"id": trial_id, "value": trial.value})
        for name, value in trial.user_attrs.items():
            self._attributes.append({"id": trial_id, "name": name, "text": json.dumps(value)})
        if len(self._trials) >= _AT_ONCE:
            self.flush()
        return trial_id

    def flush(self) -> None:
        """Write what is there."""
        if self._storage is None or not self._trials:
            return
        with self._storage.engine.begin() as connection:
            for statement, rows in ((_TRIAL, self._trials), (_VALUE, self._values), (_ATTRIBUTE, self._attributes)):
                if rows:
                    connection.execute(statement, rows)
                    rows.clear()
