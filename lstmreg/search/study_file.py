"""The file of a run's studies: who owns it, whether it is sound, and what is said if it is not."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

import filelock
import optuna
from sqlalchemy.exc import SQLAlchemyError

from lstmreg.errors import ConfigError, CorruptFileError


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Hold a run's folder for this process alone; the operating system lets go when the process ends.

    Raises:
        ConfigError: If another process holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    owner = directory / "owner.pid"
    lock = filelock.FileLock(directory / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        pid = owner.read_text().strip() if owner.exists() else "unknown"
        raise ConfigError(
            f"{directory}: process {pid} is working on this run. Wait for it, or choose another name."
        ) from None
    try:
        owner.write_text(f"{os.getpid()}\n")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


@contextmanager
def usable_study(directory: Path) -> Iterator[None]:
    """Say it as an ``OSError`` if the study, sound as it was when it was opened, cannot be read or written."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise OSError(
            errno.EIO, f"the study cannot be read or written ({reason})", str(directory / "study.db")
        ) from error


def check_file(path: Path) -> None:
    """Look whether a study that exists is sound, before anything writes to it.

    Raises:
        CorruptFileError: If it is not.
    """
    if not path.exists():
        return
    verdict = _checked(path, "rw")
    if verdict != "ok":  # perhaps because the file cannot be written
        verdict = _checked(path, "ro")
    if verdict != "ok" or path.stat().st_size == 0:
        raise damaged(path, verdict)


def _checked(path: Path, mode: Literal["rw", "ro"]) -> str:
    """Return what SQLite says of a file; ``ok`` if it is sound.

    Where it may write, it first takes back what a process that was killed had half written: without that it cannot read
    such a file.
    """
    try:
        with closing(sqlite3.connect(f"file:{path.absolute()}?mode={mode}", uri=True)) as connection:
            return str(connection.execute("PRAGMA quick_check").fetchone()[0])
    except sqlite3.DatabaseError as error:
        return str(error)


def damaged(path: Path, reason: str) -> CorruptFileError:
    """Say that a study is damaged, and what to do."""
    return CorruptFileError(f"{path}: the study is damaged ({reason}). Move the file aside and run the search again.")
