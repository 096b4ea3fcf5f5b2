"""Studies in a PostgreSQL database, where a team can watch them: reached, held by one process, written once each."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import optuna
import psycopg
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool, QueuePool

from lstmreg.errors import ConfigError, CorruptFileError, LstmregError

from .adding import added
from .storage import FAILURES, UNREADABLE, Storage, first_line

#: Seconds between the attempts to write a trial when the connection is lost: a minute in all.
PAUSES = (0.5, 1, 2, 4, 8, 15, 30)

#: Of libpq, unless the address says otherwise: a server that does not answer is noticed within half a minute.
_IMPATIENT = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "4",
    "tcp_user_timeout": "30000",
}

#: The name of a connection has room for 63 characters.
_HOST = socket.gethostname()[:30]

_log = logging.getLogger("lstmreg")


class _LostError(Exception):
    """A connection was lost in the middle of a write."""


_FAILURES = (*FAILURES, psycopg.Error, _LostError)


class StudyServer(Storage):
    """The studies of a run in a PostgreSQL database.

    One connection reads and writes, and holds a lock by the run's name for as long as it lives: who has lost the lock
    has lost the connection, and cannot write before both are there again.

    Args:
        address: As ``search.storage`` has it; libpq reads the password from PGPASSWORD or ``~/.pgpass`` by itself.
        run_name: Of the run.
    """

    def __init__(self, address: str, run_name: str) -> None:
        self._address = address
        self._run_name = run_name
        url = make_url(address)
        self.where = _where(url)
        # A name of this process for those whom it keeps out; the last part tells it from its like in another container.
        self._own_name = f"{_HOST}/{os.getpid()}/{secrets.token_hex(3)}"
        given = url.get_dialect()().create_connect_args(url)[1]
        self._arguments: dict[str, Any] = {**_IMPATIENT, **given, "application_name": f"lstmreg {self._own_name}"}
        self._lock = int.from_bytes(
            hashlib.blake2b(f"lstmreg/{run_name}".encode(), digest_size=8).digest(), signed=True
        )
        self._held: RDBStorage | None = None
        self._connections = 0
        self._may_connect = True
        self._has_given_up = False
        # When other processes were last kept out without a gap: the connection, and how many trials there were.
        self._known_connection, self._known_trials = 0, 0

    # ------------------------------------------------------------------ as every storage

    def exists(self) -> bool:
        """Tell that there may be a study: whoever cannot be reached is no study that is missing."""
        return True

    def check(self) -> None:
        """See that the database can be reached; what is in it is looked at as it is read.

        Raises:
            OSError: If it cannot.
        """
        with self.usable(), contextlib.closing(self._connect()) as connection:
            connection.execute("SELECT 1")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run's studies for this process alone.

        Raises:
            ConfigError: If another process holds them.
            OSError: If they cannot be reached or written.
        """
        with self.usable():
            self._made()
            self._held = self._taken()
        try:
            with self.usable(kept=_KEPT):
                self._known_trials, self._known_connection = self._count(), self._connections
                yield
        finally:
            self._held.engine.dispose()
            self._held = None

    @contextmanager
    def usable(self, kept: str = "") -> Iterator[None]:
        """Say it as an ``OSError`` if the database cannot be reached, read or written."""
        try:
            yield
        except _FAILURES as error:
            reason = f"the database cannot be reached, read or written ({_reason(error)})"
            raise OSError(errno.EIO, f"{reason}{_REMEDY}{kept}", self.where) from error

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Say that the studies are damaged if what is in them cannot be read.

        Raises:
            CorruptFileError: If it cannot.
        """
        try:
            yield
        except (LstmregError, *_FAILURES):
            raise  # a database that answers has kept what it was given
        except UNREADABLE as error:
            raise self.damaged(first_line(error)) from None

    def opened(self) -> RDBStorage:
        """Return it as Optuna knows it; unless it is held, to be read alone."""
        return self._held or self._made()

    def damaged(self, reason: str) -> CorruptFileError:
        """Say that the studies are damaged, and what to do."""
        return CorruptFileError(
            f"{self.where}: the study {self._run_name!r} is damaged ({reason}). Run the search again under another "
            f"name (--name=...), or bring back what the database held."
        )

    # ------------------------------------------------------------------ writing

    def write(self, storage: RDBStorage, study: optuna.Study, trial: FrozenTrial) -> int:
        """Keep a trial that has ended, and return its number; while the server is away, wait for a minute.

        Raises:
            ConfigError: If another process holds the run since the connection was lost.
        """
        is_in_doubt = False
        # What trains together is told one by one, also when the first could not be kept: a minute for all of them.
        for number, pause in enumerate((None,) if self._has_given_up else (*PAUSES, None)):
            try:
                there = self._see_connection(study, trial if is_in_doubt else None)
                if there is None:
                    is_in_doubt = True  # from here until its number is known
                    there = self._added(storage, study, trial)
            except _FAILURES as error:
                if pause is None or not _is_lost(error):
                    self._has_given_up = True
                    raise
                if number == 0:
                    _log.warning("%s: lost (%s); trying again for a minute.", self.where, _reason(error))
                time.sleep(pause)
            else:
                self._known_trials += 1
                return there
        raise AssertionError("the last attempt returns or raises")

    def _added(self, storage: RDBStorage, study: optuna.Study, trial: FrozenTrial) -> int:
        """Add a trial over the connection that is there: a new one would have to be looked at first."""
        self._may_connect = False
        try:
            return added(storage, study, trial)
        finally:
            self._may_connect = True

    def _see_connection(self, study: optuna.Study, in_doubt: FrozenTrial | None) -> int | None:
        """See that the connection is there and that nobody has written without it.

        Args:
            study: That is to be written.
            in_doubt: A trial that may be there already.

        Returns:
            The number of that trial, if it is.

        Raises:
            OSError: If another process has worked on the run since the connection was lost.
        """
        assert self._held is not None  # who does not hold it does not write
        with self._held.engine.connect():  # which asks whether it is alive, and makes another if it is not
            pass
        if in_doubt is None and self._connections == self._known_connection:
            return None
        count = self._count()
        there = None if in_doubt is None else self._number_of(study, in_doubt)
        if count != self._known_trials + (there is not None):
            raise OSError(errno.EIO, _MEANWHILE, self.where)
        self._known_connection = self._connections
        return there

    def _number_of(self, study: optuna.Study, trial: FrozenTrial) -> int | None:
        """Return the number of a trial by its seal; ``None`` if it is not there."""
        found = self._asked(
            "SELECT number FROM trials JOIN trial_user_attributes USING (trial_id) "
            "WHERE study_id = :study AND key = 'seal' AND value_json = :seal",
            study=study._study_id,
            seal=json.dumps(trial.user_attrs["seal"]),
        )
        return None if found is None else int(found)

    def _count(self) -> int:
        """Count the trials of the run."""
        names = "SELECT count(*) FROM trials JOIN studies USING (study_id) WHERE starts_with(study_name, :name)"
        return int(self._asked(names, name=f"{self._run_name}/") or 0)

    def _asked(self, query: str, **values: object) -> Any:
        """Return the first value of the first row; ``None`` if there is none."""
        assert self._held is not None
        with self._held.engine.connect() as connection:
            return connection.execute(text(query), values).scalar()

    # ------------------------------------------------------------------ connections

    def _made(self) -> RDBStorage:
        """Open it as Optuna knows it; its tables are made by one process after another, and looked at.

        Raises:
            ConfigError: If they are those of another version of Optuna.
        """
        with contextlib.closing(self._connect()) as gate:
            gate.execute("SELECT pg_advisory_lock(hashtextextended('lstmreg tables', 0))")  # until it is closed
            try:
                return RDBStorage(self._address, engine_kwargs={"creator": self._connect, "poolclass": NullPool})
            except RuntimeError as error:
                raise ConfigError(f"{self.where}: {error}") from None

    def _taken(self) -> RDBStorage:
        """Open what is made over one connection, which holds the lock of the run from here until it is closed.

        Of a process that was just killed the server knows in a moment.
        """
        pool = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0, "pool_pre_ping": True}
        for pause in (0.1, 0.3, 1, 3, None):
            try:
                return RDBStorage(
                    self._address,
                    engine_kwargs={"creator": self._locked, **pool},
                    skip_table_creation=True,
                    skip_compatibility_check=True,  # Optuna would take a second connection for it
                )
            except _LostError:
                if pause is None:
                    raise
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _connect(self) -> psycopg.Connection[Any]:
        if not self._may_connect:
            raise _LostError("the connection was lost")
        return psycopg.connect(**self._arguments)

    def _locked(self) -> psycopg.Connection[Any]:
        """Return a new connection that holds the run's lock.

        Raises:
            ConfigError: If another process holds it.
        """
        connection = self._connect()
        try:
            if not _value(connection, "SELECT pg_try_advisory_lock(%s)", self._lock):
                self._refuse(connection)
            connection.commit()  # the lock is the session's
        except BaseException:
            connection.close()
            raise
        self._connections += 1
        return connection

    def _refuse(self, connection: psycopg.Connection[Any]) -> None:
        """Say who holds the lock; if that is this process, over a connection that it has lost, end that.

        Raises:
            ConfigError: If another process holds it.
            _LostError: If it will be free.
        """
        lock = self._lock % 2**64
        number, name = connection.execute(_WHO, (lock >> 32, lock % 2**32)).fetchone() or (None, "")
        if name == f"lstmreg {self._own_name}":
            _value(connection, "SELECT pg_terminate_backend(%s)", number)
        host, _, process = name.removeprefix("lstmreg ").partition("/")
        process = process.partition("/")[0]
        if number is None or name == f"lstmreg {self._own_name}" or _has_ended(host, process):
            raise _LostError("the server still holds a connection that was lost")
        who = f"process {process} on {host}" if process else "another process"
        raise ConfigError(
            f"{self.where}: {who} is working on the run {self._run_name!r}. Wait for it, or choose another name."
        )


def _has_ended(host: str, process: str) -> bool:
    """Tell whether a process of this machine is there no more."""
    return host == _HOST and process.isdigit() and not Path(f"/proc/{process}").exists() and Path("/proc/self").exists()


_WHO = """
SELECT pid, application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND classid = %s AND objid = %s AND objsubid = 1
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

_REMEDY = ". See that the server runs and lets you in: the password is read from PGPASSWORD or ~/.pgpass"
_KEPT = (
    ". The trainings that were told of are kept, those of this step are lost: when it is there again, run the search "
    "again"
)
_MEANWHILE = (
    "another process has worked on this run while the connection was lost. All trainings that were told of are kept: "
    "run the search again, and it goes on from what is there"
)


def _where(url: URL) -> str:
    """Name a database by its host and its own name."""
    host = url.host or str(url.query.get("host", "this machine"))
    return f"{host}{'' if url.port is None else f':{url.port}'}/{url.database}"


def _value(connection: psycopg.Connection[Any], query: LiteralString, value: object) -> Any:
    row = connection.execute(query, (value,)).fetchone()
    return row and row[0]


def _of_psycopg(error: BaseException | None) -> psycopg.Error | None:
    """Return the error of psycopg from which Optuna's or SQLAlchemy's comes."""
    while error is not None and not isinstance(error, psycopg.Error):
        error = getattr(error, "orig", None) or error.__cause__
    return error


def _is_lost(error: Exception) -> bool:
    """Tell whether an error says that the server went away, and nothing of what was asked."""
    found = _of_psycopg(error)
    if not isinstance(found, (psycopg.OperationalError, psycopg.InterfaceError)):
        return isinstance(error, _LostError)
    # Without a state the connection itself failed; 08 and 57 are the server's that goes or comes, 53300 has no room.
    return found.sqlstate is None or found.sqlstate[:2] in ("08", "57") or found.sqlstate == "53300"


def _reason(error: Exception) -> str:
    return first_line(_of_psycopg(error) or error)
