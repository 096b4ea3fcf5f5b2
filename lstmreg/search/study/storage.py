"""Where the studies of a run are kept: looked at before it is trusted, held by one process, written trial by trial."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager

import optuna
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError

from lstmreg.errors import CorruptFileError

#: What Optuna and SQLAlchemy raise where a study cannot be read or written.
FAILURES = (SQLAlchemyError, optuna.exceptions.StorageInternalError)

#: Whatever Optuna, JSON or text in other bytes make of studies that are damaged.
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, AssertionError, RuntimeError, ArithmeticError)


class Storage(ABC):
    """The place of one run's studies.

    Attributes:
        where: Its name, for what is said; there is no secret in it.
    """

    where: str

    @abstractmethod
    def exists(self) -> bool:
        """Tell whether there may be a study."""

    @abstractmethod
    def check(self) -> None:
        """Look whether what exists is sound, before anything writes to it.

        Raises:
            CorruptFileError: If it is damaged.
            OSError: If it cannot be reached.
        """

    @abstractmethod
    def held(self) -> AbstractContextManager[None]:
        """Hold the run's studies for this process alone; what goes wrong meanwhile is said as :meth:`usable` says it.

        Raises:
            ConfigError: If another process holds them.
            OSError: If they cannot be written; it says what is kept.
        """

    @abstractmethod
    def usable(self) -> AbstractContextManager[None]:
        """Say it as an ``OSError`` if the studies, sound as they were, cannot be read any more."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[None]:
        """Say that the studies are damaged if what is in them cannot be read.

        Raises:
            CorruptFileError: If it cannot.
        """

    @abstractmethod
    def opened(self) -> optuna.storages.RDBStorage:
        """Return it as Optuna knows it."""

    @abstractmethod
    def write(self, storage: optuna.storages.RDBStorage, study: optuna.Study, trial: FrozenTrial) -> int:
        """Keep a trial that has ended, all of it or nothing, and return its number.

        Args:
            storage: What :meth:`opened` returned.
            study: Of it.
            trial: With its attributes, and with their seal.
        """

    @abstractmethod
    def damaged(self, reason: str) -> CorruptFileError:
        """Say that the studies are damaged, and what to do."""


def first_line(error: Exception) -> str:
    """Return the first line of an error; of one that says nothing its name."""
    return (str(error.__cause__ or error).splitlines() or [type(error).__name__])[0]
