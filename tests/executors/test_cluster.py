"""A real cluster of Dask on this machine: a scheduler and workers, each a process, some of which die."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lstmreg.config import SearchConfig
from lstmreg.errors import ConfigError
from lstmreg.executors import Dispatch, Failure, Here, opened
from lstmreg.executors.parcels import Parcel

from . import work
from .work import THE_ONE, Work, trained

if os.environ.get("CI") != "true":  # where nothing may be skipped
    pytest.importorskip("distributed")

import dask
from distributed import Client

from lstmreg.executors.cluster import Cluster

ROOT = Path(__file__).parents[2]

#: What a worker's death costs is to be seen at once: Dask by itself tries three more workers.
SETTINGS = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}

#: Starts workers that are copies of one process which has loaded torch; to load it for each takes seconds.
COPIES = """
import multiprocessing
from distributed import utils
from distributed.cli.dask_worker import main
loaded = ["distributed", "lstmreg.training.single", "lstmreg.executors.cluster", "tests.executors.work"]
multiprocessing.get_context("forkserver").set_forkserver_preload(loaded)
utils._forkserver_preload_set = True  # or it would load all that Dask knows
if __name__ == "__main__":
    main()
"""
COPYING = {"DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD": "forkserver"}


class RealCluster:
    """A scheduler and its workers.

    Args:
        folder: For what they write.
        workers: How many.
        protocol: ``tcp``, or ``tls`` with settings for it in the environment.
        copies: Whether workers are copies of a process, where there can be copies, and not started as users do.
    """

    def __init__(self, folder: Path, workers: int = 2, protocol: str = "tcp", copies: bool = True) -> None:
        self.copies = copies and sys.platform == "linux"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.address = folder, f"{protocol}://127.0.0.1:{self.port}"
        self.started: list[subprocess.Popen[bytes]] = []
        self.scheduler = self.start_scheduler()
        self.start_workers(workers)

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        return self._start("scheduler", "--host", self.address, "--no-dashboard", "--idle-timeout", "600")

    def start_workers(self, count: int) -> subprocess.Popen[bytes]:
        options = ["--nworkers", str(count), "--nthreads", "1", "--no-dashboard", "--memory-limit", "0"]
        options += ["--death-timeout", "60"]  # whatever becomes of the test, they end
        return self._start("worker", self.address, *options, "--local-directory", str(self.folder))

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **SETTINGS, **(COPYING if self.copies else {}), "PYTHONPATH": str(ROOT)}
        makes_copies = self.copies and arguments[0] == "worker"
        program = ["-c", COPIES] if makes_copies else ["-m", f"distributed.cli.dask_{arguments[0]}"]
        with (self.folder / f"{len(self.started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *program, *arguments[1:]],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def stop(self) -> None:
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def cluster_of(folder: Path, workers: int = 2, copies: bool = True) -> Iterator[RealCluster]:
    cluster = RealCluster(folder, workers, copies=copies)
    try:
        with Client(cluster.address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    with cluster_of(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Work:
    return Work(tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def undisturbed(some: Work) -> dict[int, object]:
    return trained(Here(some.task), some.assignments, work.curve).outcomes


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lstmreg.executors.dispatch._MOST", 2)


def test_a_cluster_gives_the_same_digits_and_tells_how_it_goes(
    cluster: RealCluster, some: Work, undisturbed: dict[int, object]
) -> None:
    with opened(SearchConfig(cluster=cluster.address), some.material) as executor:
        assert executor.width == 2
        told = trained(executor, some.assignments, work.curve)
        assert told.outcomes == undisturbed
        processes = trained(executor, some.assignments, work.process)
    assert {str(process) for process in processes.outcomes.values()} == {
        place.name.partition("/")[2] for place in processes.places.values()
    }
    assert len(set(processes.outcomes.values())) == 2
    assert any(worker.trainings for workers in told.workers for worker in workers)


def test_a_killed_worker_costs_what_it_had_not_finished(
    cluster: RealCluster, some: Work, undisturbed: dict[int, object]
) -> None:
    some.begin_anew()
    with opened(SearchConfig(cluster=cluster.address), some.material) as executor:
        told = trained(executor, some.assignments, work.kills_once)
    assert told.outcomes == undisturbed
    assert len(told.notes) == 1


def test_what_kills_its_workers_is_set_aside(cluster: RealCluster, some: Work, undisturbed: dict[int, object]) -> None:
    with opened(SearchConfig(cluster=cluster.address), some.material) as executor:
        told = trained(executor, some.assignments, work.kills_always)
    assert isinstance(failure := told.outcomes.pop(THE_ONE), Failure)
    assert failure.reason.startswith("set aside: its worker was lost 2 times")
    assert told.outcomes == {n: outcome for n, outcome in undisturbed.items() if n != THE_ONE}


def test_a_worker_that_hangs_is_started_again(cluster: RealCluster, some: Work, undisturbed: dict[int, object]) -> None:
    some.begin_anew()
    parcel = Parcel.of(some.material)
    crew = Cluster(cluster.address, parcel)
    with Dispatch(crew, parcel.digest, len(some.task.features), silence=2.0) as executor:
        told = trained(executor, some.assignments, work.hangs_once)
    assert told.outcomes == undisturbed
    assert any("which its fellows never did" in note for note in told.notes)


def test_a_scheduler_that_is_stopped_and_started_is_found_again(
    some: Work, undisturbed: dict[int, object], tmp_path: Path
) -> None:
    with (
        cluster_of(tmp_path, workers=1) as cluster,
        opened(SearchConfig(cluster=cluster.address), some.material) as one,
    ):
        restarted = threading.Event()
        told = work.Told()

        def ended(number: int, *outcome: object) -> None:
            told.ended(number, *outcome)
            if not restarted.is_set():
                restarted.set()
                cluster.stop()
                cluster.start_scheduler()
                cluster.start_workers(1)

        one.train(some.assignments, work.curve, ended, told.news)
    assert told.outcomes == undisturbed
    assert told.notes[0] == f"The scheduler at {cluster.address} is gone. Waiting for it; what has ended is kept."


def test_workers_may_join_and_leave(some: Work, undisturbed: dict[int, object], tmp_path: Path) -> None:
    with (
        cluster_of(tmp_path, workers=1, copies=False) as cluster,
        opened(SearchConfig(cluster=cluster.address), some.material) as one,
    ):
        first = cluster.started[-1]
        told = work.Told()

        def ended(number: int, *outcome: object) -> None:
            told.ended(number, *outcome)
            if len(told.outcomes) == 1:
                cluster.start_workers(1)
                first.send_signal(signal.SIGTERM)  # as a queue does whose time is over

        one.train(some.assignments, work.curve, ended, told.news)
    assert told.outcomes == undisturbed
    assert len({place.name for place in told.places.values()}) == 2


def test_where_nobody_answers_it_is_said_what_to_start(some: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lstmreg.executors.cluster._TRY", 0.5)
    with pytest.raises(ConfigError, match=r"no scheduler of Dask answers at tcp://127.0.0.1:9 .* 'dask scheduler'"):
        opened(SearchConfig(cluster="tcp://127.0.0.1:9"), some.material)


# ---------------------------------------------------------------------- TLS


def certified(folder: Path, name: str) -> dict[str, str]:
    """Make a key and a certificate that vouches for itself, and return the settings that have Dask use them."""
    if shutil.which("openssl") is None:
        assert os.environ.get("CI") != "true", "openssl is missing, and nothing may be skipped here"
        pytest.skip("needs openssl")
    key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
    options = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", "req", "-x509", *options, *files], check=True, capture_output=True)
    found = {"comm.require-encryption": "true", "comm.tls.ca-file": str(certificate)}
    for role in ("scheduler", "worker", "client"):
        found |= {f"comm.tls.{role}.key": str(key), f"comm.tls.{role}.cert": str(certificate)}
    return found


def speaking_tls(settings: dict[str, str]) -> dask.config.set:
    """Let this process speak with these settings."""
    return dask.config.set({f"distributed.{name}": value for name, value in settings.items()})


def in_the_environment(name: str) -> str:
    """Return the variable from which a new process of Dask reads a setting."""
    return f"DASK_DISTRIBUTED__{name.upper().replace('.', '__').replace('-', '_')}"


def test_over_tls_who_has_no_certificate_is_turned_away(
    some: Work, undisturbed: dict[int, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, others = certified(tmp_path, "ours"), certified(tmp_path, "others")
    with monkeypatch.context() as patched:
        for name, value in ours.items():
            patched.setenv(in_the_environment(name), value)
        cluster = RealCluster(tmp_path, 1, "tls")
    there = SearchConfig(cluster=cluster.address)
    try:
        with speaking_tls(ours), opened(there, some.material) as executor:
            assert trained(executor, some.assignments, work.curve).outcomes == undisturbed
        monkeypatch.setattr("lstmreg.executors.cluster._TRY", 2.0)
        with speaking_tls(others), pytest.raises(ConfigError, match="no scheduler of Dask answers at tls://"):
            opened(there, some.material)
    finally:
        cluster.stop()
