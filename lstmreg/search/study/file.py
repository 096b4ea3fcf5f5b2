"""The file of a run's studies: who owns it, whether it is sound, and what is said if it is not."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Literal

import filelock
import optuna
from optuna.trial import FrozenTrial

from lstmreg.errors import ConfigError, CorruptFileError, LstmregError

from .adding import added
from .storage import FAILURES, UNREADABLE, Storage, first_line


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Hold a run's folder for this process alone; the operating system lets go when the process ends.

    A folder that was made for it and in which nothing was kept is taken away again.

    Raises:
        ConfigError: If another process holds it.
    """
    is_new = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    owner = directory / "owner.pid"
    lock = filelock.FileLock(directory / ".lock")
    try:
        lock.acquire(timeout=_ASKED)
    except filelock.Timeout:
        pid = owner.read_text().strip() if owner.exists() else "unknown"
        raise ConfigError(
            f"{directory}: process {pid} is working on this run. Wait for it, or choose another name."
        ) from None
    try:
        owner.write_text(f"{os.getpid()}\n")
        yield
    finally:
        with suppress(OSError):  # the folder may be gone
            owner.unlink()
            if is_new and [path.name for path in directory.iterdir()] == [".lock"]:
                (directory / ".lock").unlink()
                directory.rmdir()
        lock.release()


#: In seconds: who asks whether a folder is owned holds it for an instant, which is no reason to refuse a search.
_ASKED = 0.5


def is_owned(directory: Path) -> bool:
    """Tell whether a process of this machine holds a run's folder.

    To ask takes the lock for an instant if nobody has it.
    """
    path = directory / ".lock"
    if not path.exists():
        return False
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    except OSError:  # whoever may not write there cannot ask
        return False
    lock.release()
    return False


class StudyFile(Storage):
    """The SQLite file in a run's folder; who holds the folder holds it.

    Args:
        directory: The run's folder.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "study.db"
        self.where = str(self.path)
        self._has_been_there = False

    def exists(self) -> bool:
        """Tell whether there is a file."""
        return self.path.exists()

    def check(self) -> None:
        """Look whether the file is sound.

        Raises:
            CorruptFileError: If it is not.
        """
        check_file(self.path)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Say of an error in writing which trainings were lost with it.

        Raises:
            OSError: If there was one.
        """
        self._has_been_there = self.path.exists()
        try:
            with self.usable(kept=_KEPT):
                yield
        except OSError as error:
            if self._has_been_there and not self.path.is_file():
                raise OSError(errno.EIO, _GONE, str(self.path.parent)) from error
            raise

    @contextmanager
    def usable(self, kept: str = "") -> Iterator[None]:
        """Say it as an ``OSError`` if the file, sound as it was when it was opened, cannot be read or written."""
        try:
            yield
        except FAILURES as error:
            reason = f"the study cannot be read or written ({first_line(error)})"
            raise OSError(errno.EIO, f"{reason}{kept}", self.where) from error

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Say that the study is damaged if what is in it cannot be read; SQLite looks at its own structure alone.

        Raises:
            CorruptFileError: If it cannot.
        """
        try:
            yield
        except LstmregError:
            raise
        except FAILURES as error:
            if _is_of_the_machine(error):
                raise
            raise self.damaged(first_line(error)) from None
        except UNREADABLE as error:  # the file is the only thing that is read here
            raise self.damaged(first_line(error)) from None

    def opened(self) -> optuna.storages.RDBStorage:
        """Return it as Optuna knows it; it is made if it is not there."""
        if not self.path.exists():
            self._make()
        self._has_been_there = True
        return _opened(self.path)

    def _make(self) -> None:
        """Make it under another name: a reader would make the rest of a part of it, and a kill would leave that."""
        unfinished = self.path.with_name(f"{self.path.name}.unfinished")
        for left in (unfinished, unfinished.with_name(f"{unfinished.name}-journal")):
            left.unlink(missing_ok=True)
        made = _opened(unfinished)
        made.remove_session()
        made.engine.dispose()
        os.replace(unfinished, self.path)

    def write(self, storage: optuna.storages.RDBStorage, study: optuna.Study, trial: FrozenTrial) -> int:
        """Keep a trial that has ended, and return its number."""
        return added(storage, study, trial)

    def damaged(self, reason: str) -> CorruptFileError:
        """Say that the study is damaged, and what to do."""
        return damaged(self.path, reason)


def _opened(path: Path) -> optuna.storages.RDBStorage:
    arguments = {"connect_args": {"timeout": _PATIENCE}}
    return optuna.storages.RDBStorage(f"sqlite:///{path.absolute()}", engine_kwargs=arguments)


#: In seconds: so long a write waits for whoever reads the file elsewhere.
_PATIENCE = 30

_GONE = (
    "the folder, or the study in it, was taken away while the search ran. The trainings that were told of were in it: "
    "none is kept. Put it back, or run the search again from the beginning"
)
_KEPT = (
    ". The trainings that were told of are kept, those of this step are lost. See that the folder can be written and "
    "has room, and run the search again"
)


#: What SQLite cannot do although the file may be sound: it may not, it is locked, there is no room.
_OF_THE_MACHINE = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}


def _is_of_the_machine(error: BaseException | None) -> bool:
    """Tell whether SQLite failed for a reason that is none of the file's content."""
    while error is not None:
        if isinstance(error, sqlite3.Error):
            return getattr(error, "sqlite_errorcode", 0) & 0xFF in _OF_THE_MACHINE
        error = getattr(error, "orig", None) or error.__cause__
    return False


def check_file(path: Path) -> None:
    """Look whether a study that exists is sound, before anything writes to it.

    Raises:
        CorruptFileError: If it is not.
    """
    if not path.exists():
        return
    if path.stat().st_size == 0:  # to SQLite that is a database in which there is nothing yet
        raise damaged(path, "it is empty")
    verdict = _checked(path, "rw")
    if verdict != "ok":  # perhaps because the file cannot be written
        verdict = _checked(path, "ro")
    if verdict != "ok":
        raise damaged(path, verdict)


def _checked(path: Path, mode: Literal["rw", "ro"]) -> str:
    """Return what SQLite says of a file; ``ok`` if it is sound.

    Where it may write, it first takes back what a process that was killed had half written: without that it cannot read
    such a file.
    """
    try:
        with closing(sqlite3.connect(f"file:{path.absolute()}?mode={mode}", uri=True)) as connection:
            return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    except sqlite3.DatabaseError as error:
        return str(error)
    except UnicodeDecodeError:  # what SQLite says quotes names of the file, which may be damaged too
        return "its names are no text"


def damaged(path: Path, reason: str) -> CorruptFileError:
    """Say that a study is damaged, and what to do."""
    return CorruptFileError(f"{path}: the study is damaged ({reason}). Move the file aside and run the search again.")
