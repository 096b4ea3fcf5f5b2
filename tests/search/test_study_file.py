"""The file of a run's studies is there as a whole or not at all."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from lstmreg.search.study.file import StudyFile


def is_whole(path: Path) -> bool:
    """Tell whether the table is filled that Optuna fills last."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        named = database.execute("SELECT name FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
        return bool(named and database.execute("SELECT version_num FROM alembic_version").fetchone())


def test_at_no_statement_of_its_making_can_a_part_of_it_be_found(tmp_path: Path) -> None:
    """A report that found one would make the rest, in the way of the search; and a kill would leave it."""
    study, seen = StudyFile(tmp_path), []

    def look(*_: Any) -> None:
        seen.append(not study.path.exists() or is_whole(study.path))

    event.listen(Engine, "before_cursor_execute", look)
    event.listen(Engine, "commit", look)
    try:
        with study.held():
            study.opened()
    finally:
        event.remove(Engine, "before_cursor_execute", look)
        event.remove(Engine, "commit", look)
    assert len(seen) > 20
    assert all(seen)
    assert is_whole(study.path)
    assert [path.name for path in tmp_path.iterdir()] == ["study.db"]


@pytest.mark.parametrize("left", [b"", b"no database"], ids=["nothing", "something"])
def test_what_a_killed_maker_has_left_is_in_nobodys_way(tmp_path: Path, left: bytes) -> None:
    for name in ("study.db.unfinished", "study.db.unfinished-journal"):
        (tmp_path / name).write_bytes(left)
    study = StudyFile(tmp_path)
    with study.held():
        assert optuna.get_all_study_names(study.opened()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["study.db"]
