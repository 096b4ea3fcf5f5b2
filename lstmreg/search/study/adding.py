"""Adds a trial to a study: a statement for each table, where Optuna asks and writes for each attribute."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping
from typing import Any

import sqlalchemy
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import DateTime, Enum, Float, Integer, Text, column, table

# Optuna's tables, as far as a trial that has ended fills them. That Optuna's version fits them is looked at when the
# storage is opened.
_TRIALS = table(
    "trials",
    column("trial_id", Integer),
    column("number", Integer),
    column("study_id", Integer),
    column("state", Enum(TrialState, name="trialstate")),
    column("datetime_start", DateTime),
    column("datetime_complete", DateTime),
)
_VALUES = table(
    "trial_values",
    column("trial_id", Integer),
    column("objective", Integer),
    column("value", Float),
    column("value_type", Enum("FINITE", "INF_POS", "INF_NEG", name="trialvaluetype")),
)
_PARAMETERS = table(
    "trial_params",
    column("trial_id", Integer),
    column("param_name", Text),
    column("param_value", Float),
    column("distribution_json", Text),
)
_ATTRIBUTES = table(
    "trial_user_attributes", column("trial_id", Integer), column("key", Text), column("value_json", Text)
)

_STUDY: sqlalchemy.BindParameter[int] = sqlalchemy.bindparam("study_id")
#: One more than that of the study's last; trials are added by one process alone.
_NEXT = sqlalchemy.func.coalesce(
    sqlalchemy.select(_TRIALS.c.number + 1)
    .where(_TRIALS.c.study_id == _STUDY)
    .order_by(_TRIALS.c.trial_id.desc())
    .limit(1)
    .scalar_subquery(),
    0,
)
_ADD = (
    sqlalchemy.insert(_TRIALS)
    .values(
        number=_NEXT,
        study_id=_STUDY,
        state=sqlalchemy.bindparam("state"),
        datetime_start=sqlalchemy.bindparam("start"),
        datetime_complete=sqlalchemy.bindparam("complete"),
    )
    .returning(_TRIALS.c.trial_id, _TRIALS.c.number)
)


def added(storage: RDBStorage, study: Study, trial: FrozenTrial) -> int:
    """Add a trial that has ended, all of it or nothing, and return its number.

    Args:
        storage: Where this process alone writes.
        study: Of it.
        trial: With its value, parameters and attributes; nothing else of it is kept.
    """
    with storage.engine.begin() as connection:
        row = {"study_id": study._study_id, "state": trial.state, **_times(trial)}
        trial_id, number = connection.execute(_ADD, row).one()
        for into, rows in (
            (_VALUES, _values(trial)),
            (_PARAMETERS, _parameters(trial)),
            (_ATTRIBUTES, _attributes(trial)),
        ):
            if rows:
                connection.execute(sqlalchemy.insert(into), [{"trial_id": trial_id, **row} for row in rows])
    return int(number)


def _times(trial: FrozenTrial) -> Mapping[str, datetime.datetime | None]:
    """Return when it began and ended, as Optuna keeps it: in UTC, without a zone."""
    times = {"start": trial.datetime_start, "complete": trial.datetime_complete}
    return {name: t and t.astimezone(datetime.UTC).replace(tzinfo=None) for name, t in times.items()}


def _values(trial: FrozenTrial) -> list[dict[str, Any]]:
    if trial.value is None:
        return []
    kinds = {math.inf: "INF_POS", -math.inf: "INF_NEG"}
    value = None if trial.value in kinds else trial.value
    return [{"objective": 0, "value": value, "value_type": kinds.get(trial.value, "FINITE")}]


def _parameters(trial: FrozenTrial) -> list[dict[str, Any]]:
    found = []
    for name, value in trial.params.items():
        known = trial.distributions[name]
        found.append(
            {
                "param_name": name,
                "param_value": known.to_internal_repr(value),
                "distribution_json": distribution_to_json(known),
            }
        )
    return found


def _attributes(trial: FrozenTrial) -> list[dict[str, Any]]:
    return [{"key": name, "value_json": json.dumps(value)} for name, value in trial.user_attrs.items()]
