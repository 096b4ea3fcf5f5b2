"""What a training gave goes into a study and comes back, or is refused."""

from __future__ import annotations

import json
import math
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import pytest

from lstmreg.search.records import ROLES, STAGE_OF, STAGES, Record, Replicate, Result, Role
from lstmreg.search.study.file import check_file
from tests.search.made_up import gave

TESTED = gave(0.5, loss=0.7, test_error=2.0, predictions=[[1.0, 2.0], [3.0, float("nan")]])


@pytest.mark.parametrize("result", [gave(0.5), gave(float("inf"), stopped="callback"), TESTED])
def test_a_result_comes_back_from_the_study_as_it_was(result: Result) -> None:
    kept = json.dumps(result.to_attribute())
    assert repr(Result.from_attribute(json.loads(kept))) == repr(result)  # NaN equals nothing


def test_what_a_trial_does_not_have_is_not_kept_and_the_rest_in_order() -> None:
    usual = ["best_epoch", "loss", "seconds", "stopped", "train", "train_loss", "val", "val_loss"]
    assert list(gave(0.5).to_attribute()) == usual
    assert list(TESTED.to_attribute()) == sorted([*usual, "test_error", "predictions"])


def test_what_another_version_kept_beside_it_is_no_damage() -> None:
    assert Result.from_attribute(gave(0.5).to_attribute() | {"memory": 3}) == gave(0.5)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"val_loss": None}, "its result has val_loss=None"),
        ({"loss": None}, "its result has loss=None"),
        ({"train_loss": "0.5"}, "its result has train_loss='0.5'"),
        ({"best_epoch": 1.5}, "its result has best_epoch=1.5"),
        ({"best_epoch": True}, "its result has best_epoch=True"),
        ({"val": [1.0, "2"]}, r"its result has val=\[1.0, '2'\]"),
        ({"stopped": 1}, "its result has stopped=1"),
        ({"predictions": [1.0]}, r"its result has predictions=\[1.0\]"),
        ({"best_epoch": 2}, "contradict"),
        ({"best_epoch": -1}, "contradict"),
        ({"train": [1.0]}, "contradict"),
    ],
)
def test_a_damaged_result_is_refused(damage: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Result.from_attribute(gave(0.5).to_attribute() | damage)


@pytest.mark.parametrize("name", list(gave(0.5).to_attribute()))
def test_a_result_without_one_of_its_parts_is_refused(name: str) -> None:
    kept = gave(0.5).to_attribute()
    del kept[name]
    with pytest.raises(ValueError, match=f"its result has no {name}"):
        Result.from_attribute(kept)


def test_the_log_loss_is_that_of_the_judged_cases_and_not_of_the_validation() -> None:
    assert gave(0.5, loss=0.7).log_loss == pytest.approx(math.log(0.7))
    assert math.isfinite(gave(0.5, loss=0.0).log_loss)  # of a loss that is exactly zero, that of rounding


def test_two_trainings_repeat_each_other_by_setting_block_and_seed() -> None:
    def record(setting: dict[str, float], seed: int, role: Role = "race") -> Record:
        return Record(0, role, setting, Replicate(1, seed), gave(0.5))

    one = record({"a": 1.0, "b": 2.0}, 0)
    assert one.identity == record({"b": 2.0, "a": 1.0}, 0, "combine").identity
    assert one.identity != record({"a": 1.0, "b": 2.0}, 1).identity
    assert one.identity != record({"a": 1.0}, 0).identity


def test_every_role_has_its_stage() -> None:
    assert set(STAGE_OF) == set(ROLES) == set(get_args(Role))
    assert tuple(dict.fromkeys(STAGE_OF[role] for role in ROLES)) == STAGES


#: Begins to write more than its memory holds, so that a journal lies beside the file, and is killed there.
HALF_WRITTEN = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size=2")
database.execute("BEGIN")
for number in range(2000):
    database.execute("UPDATE losses SET loss = loss + 1, said = ? WHERE number = ?", ("x" * 500, number))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_had_half_written_is_taken_back_and_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE losses (number INTEGER PRIMARY KEY, loss REAL, said TEXT)")
        database.executemany("INSERT INTO losses VALUES (?, 0.0, '')", [(number,) for number in range(2000)])
    killed = subprocess.run([sys.executable, "-c", HALF_WRITTEN, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "study.db-journal").stat().st_size > 0
    check_file(path)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT COUNT(*), SUM(loss) FROM losses").fetchone() == (2000, 0.0)


def test_a_study_that_cannot_be_written_is_sound_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE losses (number INTEGER)")
    path.chmod(0o444)
    check_file(path)
