"""Processes of this machine that train, die, hang, and never outlive who started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import pytest

from lstmreg.errors import ConfigError
from lstmreg.executors import Dispatch, Failure, Here, Material
from lstmreg.executors.dispatch import Crew
from lstmreg.executors.futures import Futures
from lstmreg.executors.parcels import Parcel
from lstmreg.executors.processes import Processes

from . import work
from .work import THE_ONE, Told, Work, trained


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Work:
    return Work(tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def undisturbed(some: Work) -> dict[int, object]:
    return trained(Here(some.task), some.assignments, work.curve).outcomes


@contextmanager
def processes(material: Material, count: int = 2, **options: float) -> Iterator[Dispatch]:
    """Let processes train in pieces of their own, so that several have something to do."""
    parcel = Parcel.of(material)
    with Dispatch(Processes(count, parcel), parcel.digest, len(material.task.features), **options) as executor:
        yield executor


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lstmreg.executors.dispatch._MOST", 4)


@pytest.mark.usefixtures("small_pieces")
def test_two_processes_give_the_digits_of_one_and_of_none(some: Work, undisturbed: dict[int, object]) -> None:
    with processes(some.material) as executor:
        told = trained(executor, some.assignments, work.curve)
        assert told.outcomes == undisturbed
        assert told.notes == []
        again = trained(executor, some.assignments, work.process)
    where = {number: int(place.name.partition("/")[2]) for number, place in again.places.items()}
    assert again.outcomes == where
    assert len(set(where.values())) == 2
    assert os.getpid() not in where.values()
    assert max(worker.trainings for workers in told.workers for worker in workers) == 4


@pytest.mark.usefixtures("small_pieces")
def test_what_a_killed_worker_had_not_finished_is_trained_by_others(some: Work, undisturbed: dict[int, object]) -> None:
    some.begin_anew()
    with processes(some.material) as executor:
        told = trained(executor, some.assignments, work.kills_once)
    assert told.outcomes == undisturbed
    (note,) = told.notes
    assert "was lost: it was ended by SIGKILL, by somebody or for want of memory. Trainings that run again:" in note


@pytest.mark.usefixtures("small_pieces")
def test_a_training_that_kills_its_worker_is_set_aside_and_no_other(some: Work, undisturbed: dict[int, object]) -> None:
    with processes(some.material, count=1) as executor:
        told = trained(executor, some.assignments, work.kills_always)
    assert isinstance(failure := told.outcomes.pop(THE_ONE), Failure)
    assert failure.reason.startswith("set aside: its worker was lost 2 times while it trained nothing else (it was")
    assert told.outcomes == {n: outcome for n, outcome in undisturbed.items() if n != THE_ONE}


@pytest.mark.usefixtures("small_pieces")
def test_a_worker_that_hangs_is_ended_when_its_fellows_have_shown_their_pace(
    some: Work, undisturbed: dict[int, object]
) -> None:
    some.begin_anew()
    with processes(some.material, silence=1.0) as executor:
        told = trained(executor, some.assignments, work.hangs_once)
    assert told.outcomes == undisturbed
    assert any("which its fellows never did" in note for note in told.notes)


def test_a_fault_of_the_program_ends_it_with_the_workers_traceback(some: Work) -> None:
    with processes(some.material, count=1) as executor, pytest.raises(RuntimeError, match="a fault of the program"):
        trained(executor, some.assignments, work.breaks)


def test_what_cannot_travel_is_refused(some: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(ConfigError, match="cannot be sent to another process"):
        Parcel.of(lambda: 1)


SEARCH = """
import sys
from pathlib import Path
from lstmreg import search
from tests.tiny import tiny_config

if __name__ == "__main__":
    config = tiny_config(Path(sys.argv[1]), workers=2, race=40, blocks=6, judge_seeds=20)
    search.run(config, lambda progress: print(progress.workers, flush=True))
"""


@contextmanager
def searching(folder: Path, program: str = SEARCH) -> Iterator[subprocess.Popen[str]]:
    script = folder / "program.py"
    script.write_text(program)
    command = [sys.executable, str(script), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    search = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        yield search
    finally:
        search.kill()
        search.wait()


def is_there(process: int) -> bool:
    with suppress(ProcessLookupError, FileNotFoundError):
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    return False


def wait_until_gone(processes: set[int]) -> None:
    deadline = time.monotonic() + 60
    while any(map(is_there, processes)):
        assert time.monotonic() < deadline, "they outlived the search"
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs Linux' list of processes")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_search(tmp_path: Path, sent: signal.Signals) -> None:
    with searching(tmp_path) as search:
        assert search.stdout is not None
        children: set[int] = set()
        for line in search.stdout:
            children |= {int(part.partition("'")[0]) for part in line.split("/")[1:] if "Worker(name=" in line}
            if len(children) == 2:
                break
        assert all(map(is_there, children))
        search.send_signal(sent)
        search.communicate()
        wait_until_gone(children)


def test_a_script_that_forgets_its_guard_is_told(tmp_path: Path) -> None:
    program = SEARCH.replace('if __name__ == "__main__":', "if True:")
    with searching(tmp_path, program) as search:
        _, said = search.communicate(timeout=300)
    assert search.returncode == 1
    assert "search.workers: a process could not start" in said
    assert "if __name__ == " in said


# ---------------------------------------------------------------------- anybody's executor


def copies() -> BaseContext:
    """Return a context whose processes have loaded torch at once, where there are such."""
    if sys.platform != "linux":
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([Processes.__module__, work.__name__])
    return context


def by(crew: Crew, some: Work, parcel: Parcel) -> Dispatch:
    return Dispatch(crew, parcel.digest, len(some.task.features))


@pytest.mark.usefixtures("small_pieces")
def test_any_executor_gives_the_same_digits_and_gets_the_data_when_they_are_missing(
    some: Work, undisturbed: dict[int, object]
) -> None:
    parcel = Parcel.of(some.material)
    with ProcessPoolExecutor(2, mp_context=copies()) as pool:
        crew = Futures(pool, parcel)
        assert crew.width == 2
        told = trained(by(crew, some, parcel), some.assignments, work.curve)
        assert pool.submit(os.getpid).result() != os.getpid()  # it stays open
    assert told.outcomes == undisturbed
    with ThreadPoolExecutor(2) as threads:  # which share torch's generator
        told = trained(by(Futures(threads, parcel), some, parcel), some.assignments, work.curve)
    assert told.outcomes == undisturbed


def test_searches_that_share_workers_send_their_data_once_each(tmp_path: Path) -> None:
    sent: list[str] = []

    class Counting(ThreadPoolExecutor):
        def submit(self, work: Any, order: bytes, material: Parcel | None) -> Any:
            sent.extend([] if material is None else [material.digest])
            return super().submit(work, order, material)

    (tmp_path / "other").mkdir()
    searches = [Work(tmp_path, count=2), Work(tmp_path / "other", count=3)]
    parcels = [Parcel.of(search.material) for search in searches]
    with Counting(1) as threads:
        for search, parcel in zip(searches * 2, parcels * 2, strict=True):
            trained(by(Futures(threads, parcel), search, parcel), search.assignments, work.curve)
    assert sent == [parcel.digest for parcel in parcels]


def test_an_executor_that_breaks_is_named(some: Work) -> None:
    parcel = Parcel.of(some.material)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with pytest.raises(BrokenProcessPool):
            pool.submit(os._exit, 1).result()
        with pytest.raises(ConfigError, match="the executor is broken"):
            trained(by(Futures(pool, parcel), some, parcel), some.assignments, work.curve)


def test_a_pool_that_forks_is_refused_with_the_remedy(some: Work) -> None:
    parcel = Parcel.of(some.material)
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool, pytest.raises(ConfigError) as caught:
        Futures(pool, parcel)
    assert "mp_context=multiprocessing.get_context('spawn'), or set search.workers instead" in str(caught.value)


def test_workers_of_another_version_are_refused(some: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    parcel = Parcel.of(some.material)
    with ThreadPoolExecutor(1) as threads:
        executor = by(Futures(threads, parcel), some, parcel)
        written = iter(["lstmreg 0.1, torch 2.0"])
        monkeypatch.setattr("lstmreg.executors.orders._versions", lambda: next(written, "lstmreg 9, torch 9"))
        with pytest.raises(ConfigError, match=r"has lstmreg 9, torch 9, and the search lstmreg 0.1, torch 2.0"):
            executor.train(some.assignments, work.curve, Told().ended, Told().news)
