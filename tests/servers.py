"""Real servers for tests, on free ports, none of which outlives them: PostgreSQL and optuna-dashboard."""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import pytest

#: Of the role that searches: hard to miss wherever it stood.
PASSWORD = "hidden-Swordfish-8731"
ROLE, DATABASE = "anna", "studies"

_DEATH_OF_PARENT = 1  # prctl's PR_SET_PDEATHSIG


class PostgreSQL:
    """A server that asks for passwords, with one role and its database."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        # As root it would not run; whoever else runs the tests runs it too.
        self._owner = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
        if self._owner:
            shutil.chown(folder, "nobody", "nogroup")
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self.url = f"postgresql+psycopg://{ROLE}@127.0.0.1:{self.port}/{DATABASE}"
        secret = folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        options = ["--no-sync", "--auth=scram-sha-256", "--username=keeper", "--encoding=UTF8", "--locale=C"]
        self._run("initdb", "--pgdata", str(folder / "data"), f"--pwfile={secret}", *options)
        secret.unlink()
        self.start()
        self.ask(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'", database="postgres")
        self.ask(f"CREATE DATABASE {DATABASE} OWNER {ROLE}", database="postgres")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        line = [str(self._programs / "postgres"), "-D", str(self._folder / "data"), "-k", str(self._folder)]
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "log_statement=all"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*line, "-p", str(self.port), *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                preexec_fn=lambda: ctypes.CDLL(None).prctl(_DEATH_OF_PARENT, signal.SIGQUIT),
                **self._owner,  # type: ignore[call-overload]
            )
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode != 0:
            assert self._process.poll() is None, (self._folder / "log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it at once, as if it had crashed; all connections are lost."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=30)
            self._process = None

    def ask(self, statement: str, *, database: str = DATABASE) -> str:
        """Have its keeper run a statement, and return what it prints."""
        line = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port), "-U", "keeper"]
        return self._run(*line, "-d", database, "-c", statement)

    def dump(self) -> str:
        """Return all that the database holds, as text."""
        line = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "keeper", "-d", DATABASE]
        return self._run("pg_dump", "--inserts", *line)

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            cwd=self._folder,
            env={"PGPASSWORD": PASSWORD, "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
            **self._owner,  # type: ignore[call-overload]
        )
        assert done.returncode == 0, done.stderr
        return str(done.stdout)


class Cutting:
    """What stands before a server, and once cuts the connection when a request was served and not yet answered.

    Args:
        port: The server's.
        after: A text that a client must have sent on a connection first.
        at: The text of the request whose answer is lost.
    """

    def __init__(self, port: int, after: str, at: str) -> None:
        self._server, self._after, self._at = port, after.encode(), at.encode()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._door.getsockname()[1])
        self.has_cut = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._admit, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def _admit(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        """Carry one question after another, each with what is answered to it."""
        has_begun = False
        with client, socket.create_connection(("127.0.0.1", self._server)) as server:
            while True:
                for sender in select.select([client, server], [], [])[0]:
                    data = sender.recv(65536)
                    if not data:
                        return
                    if sender is client:
                        has_begun = has_begun or self._after in data
                        server.sendall(data)
                        if has_begun and self._at in data and not self.has_cut:
                            self.has_cut = bool(server.recv(65536))  # it is served
                            return
                    else:
                        client.sendall(data)


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """Run a server; where there is none to run, skip, unless nothing may be skipped."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    found = [str(path) for path in programs] or [path for path in [shutil.which("postgres")] if path]
    if not found:
        assert os.environ.get("CI") != "true", "PostgreSQL's server is missing, and nothing may be skipped here"
        pytest.skip("PostgreSQL's server is missing")
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short, for the name of its socket
    server = None
    try:
        server = PostgreSQL(Path(found[-1]).parent, folder)
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def dashboard(storage: str) -> Iterator[str]:
    """Run optuna-dashboard on a study, and return its address."""
    if find_spec("optuna_dashboard") is None:
        assert os.environ.get("CI") != "true", "optuna-dashboard is missing, and nothing may be skipped here"
        pytest.skip("optuna-dashboard is missing")
    port = _free_port()
    program = "from optuna_dashboard._cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program, storage, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            while not _answers(port):
                assert process.poll() is None, process.stderr and process.stderr.read()
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def _answers(port: int) -> bool:
    with socket.socket() as visitor:
        return visitor.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
