"""What is added to a study is what Optuna adds, row by row: in SQLite and in PostgreSQL."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from lstmreg.search.study.adding import added
from tests.servers import PASSWORD, postgresql

_TABLES = ("trials", "trial_values", "trial_params", "trial_user_attributes", "trial_system_attributes")


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RDBStorage]:
    if request.param == "SQLite":
        yield RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")
        return
    with postgresql() as server:
        monkeypatch.setenv("PGPASSWORD", PASSWORD)
        opened = RDBStorage(server.url)
        yield opened
        opened.engine.dispose()


def some_trials() -> list[FrozenTrial]:
    known = {"rate": FloatDistribution(1e-4, 1, log=True), "kind": CategoricalDistribution(["a", "b", 3])}
    attributes = {"setting": {"rate": 0.1}, "text": "ä\n\u2028'", "nothing": None, "losses": [1, math.nan, 1e-300]}
    ended = [
        create_trial(value=value, params={"rate": 0.1, "kind": "b"}, distributions=known, user_attrs=attributes)
        for value in (0.5, -1e-300, 0.0, math.inf, -math.inf)
    ]
    failed = create_trial(state=TrialState.FAIL, user_attrs={"failure": "diverged"})
    return [*ended, failed, create_trial(state=TrialState.FAIL)]


def rows(storage: RDBStorage, study: optuna.Study) -> list[list[dict[str, Any]]]:
    """Return what the tables hold of each trial of a study, without the numbers that count rows."""
    known = sqlalchemy.MetaData()
    known.reflect(storage.engine)
    found = []
    with storage.engine.connect() as connection:
        for trial in study.get_trials():
            of_trial = []
            for name in _TABLES:
                table = known.tables[name]
                numbers = {column.name for column in table.primary_key} | {"trial_id", "study_id"}
                there = connection.execute(table.select().where(table.c.trial_id == trial._trial_id)).mappings()
                of_trial += [{"table": name} | {k: v for k, v in row.items() if k not in numbers} for row in there]
            found.append(sorted(of_trial, key=repr))
    return found


def test_it_is_what_optuna_adds(storage: RDBStorage) -> None:
    ours, theirs = (optuna.create_study(storage=storage, study_name=name) for name in ("ours", "theirs"))
    trials = some_trials()
    for number, trial in enumerate(trials):
        assert added(storage, ours, trial) == number
        theirs.add_trial(trial)
    assert len(rows(storage, ours)) == len(trials)
    assert repr(rows(storage, ours)) == repr(rows(storage, theirs))  # NaN equals nothing
    ours.ask()  # another way to the next number
    assert added(storage, ours, trials[0]) == len(trials) + 1


def test_a_trial_is_kept_with_all_its_parts_or_not_at_all(storage: RDBStorage) -> None:
    study = optuna.create_study(storage=storage)
    (trial, *_) = some_trials()
    with storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text("DROP TABLE trial_user_attributes"))  # which is written last
    with pytest.raises(sqlalchemy.exc.SQLAlchemyError):
        added(storage, study, trial)
    with storage.engine.connect() as connection:
        for name in ("trials", "trial_values", "trial_params"):
            assert connection.execute(sqlalchemy.text(f"SELECT count(*) FROM {name}")).scalar() == 0
