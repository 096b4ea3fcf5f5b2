"""Processes on this machine: each trains one piece after the other, and none outlives the search."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from lstmreg.errors import ConfigError

from .dispatch import Crew
from .events import Done, Event, Failure, Lost
from .orders import Order, carry_out_here
from .parcels import Parcel, keep_material, pack, unpack

#: What reaches the whole group of a terminal's processes; what becomes of the workers then, the search decides.
_OF_THE_TERMINAL = ("SIGINT", "SIGHUP")


class Processes(Crew):
    """So many processes, started when there is something to do, each with its share of the cores.

    They are no copies of this process, whose threads may hold locks that nobody would let go; on Linux they are copies
    of one that has loaded what they need and done nothing else, so that many cost little more than one.

    Args:
        count: How many, at most.
        material: The data, which go to each of them once.
    """

    def __init__(self, count: int, material: Parcel) -> None:
        super().__init__()
        self._count, self._material = count, material
        self._threads = max(1, _cores() // count)
        self._workers: list[_Process] = []
        self._waiting: deque[Order] = deque()
        self._is_proven = False

    @property
    def width(self) -> int:
        """How many they are."""
        return self._count

    def take(self, order: Order) -> None:
        """Give an order to whoever is idle, or to the next that will be."""
        self._waiting.append(order)
        self._hand_out()

    def hear(self, seconds: float) -> list[tuple[int, Event]]:
        """Return what they say, and who is gone."""
        ready = wait([worker.connection for worker in self._workers], timeout=seconds) if self._workers else []
        news = [event for worker in self._workers if worker.connection in ready for event in self._heard(worker)]
        self._workers = [worker for worker in self._workers if not worker.is_gone]
        self._hand_out()
        return news

    def give_up(self, number: int, reason: str) -> None:
        """Kill the worker that is at an order."""
        for worker in self._workers:
            if worker.order == number:
                worker.blame = reason
                worker.process.kill()

    def close(self) -> None:
        """Kill all of them: what they told is kept, and the rest would not be asked for."""
        self._waiting.clear()
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()
        self._workers = []

    def _hand_out(self) -> None:
        while self._waiting:
            idle = next((worker for worker in self._workers if worker.order is None), None)
            if idle is None and len(self._workers) < self._count:
                idle = self._begun(self._waiting[0].value.__module__)
            if idle is None:
                return
            order = self._waiting.popleft()
            idle.order = order.number
            with suppress(OSError):  # it is gone, which is heard next
                idle.connection.send_bytes(pack(order))

    def _begun(self, module: str) -> _Process:
        """Start a process.

        Args:
            module: What it needs beside this file.
        """
        context: Any = multiprocessing.get_context(_METHOD)
        if _METHOD == "forkserver":  # of several, the first search says what is loaded
            context.set_forkserver_preload([__name__, module])
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._threads), name="lstmreg worker", daemon=True)
        with _not_of_the_terminal():
            process.start()
        theirs.close()
        worker = _Process(process, ours)
        with suppress(OSError):
            ours.send_bytes(self._material.content)
            ours.send_bytes(self._material.digest.encode())
        self._workers.append(worker)
        return worker

    def _heard(self, worker: _Process) -> Iterator[tuple[int, Event]]:
        """Yield what a worker says."""
        while not worker.is_gone and worker.connection.poll():
            try:
                event = unpack(worker.connection.recv_bytes())
            except (EOFError, OSError):
                worker.is_gone = True
                yield from self._lost(worker)
                return
            if isinstance(event, Failure):  # no training failed, but who told of it
                raise RuntimeError(f"in a worker: {event.traceback or event.reason}")
            self._is_proven = True
            if worker.order is None or event is None:
                continue
            yield worker.order, event
            if isinstance(event, Done):
                worker.order = None

    def _lost(self, worker: _Process) -> Iterator[tuple[int, Event]]:
        worker.process.join()
        worker.connection.close()
        code = worker.process.exitcode or 0
        if not self._is_proven and code > 0:
            raise ConfigError(
                "search.workers: a process could not start; what it said stands above. A script that calls lstmreg "
                "must do so below 'if __name__ == \"__main__\":', since each process reads the script again."
            )
        if worker.order is not None:
            yield worker.order, Lost(worker.blame or _how_it_ended(code))


@dataclass
class _Process:
    """A worker, as the search sees it.

    Attributes:
        process: The process.
        connection: To it.
        order: The number of what it is at.
        is_gone: Whether it has ended.
        blame: Why it was killed, if it was.
    """

    process: BaseProcess
    connection: Connection[Any, Any]
    order: int | None = None
    is_gone: bool = False
    blame: str = ""


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"it ended with exit code {code}"
    killed = ", by somebody or for want of memory" if code == -signal.SIGKILL else ""
    return f"it was ended by {signal.Signals(-code).name}{killed}"


#: How processes are started: as copies of one that has done nothing yet, where that is safe.
_METHOD = "forkserver" if sys.platform == "linux" else "spawn"


def _cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _not_of_the_terminal() -> Iterator[None]:
    """Have processes that are started meanwhile not be reached by what the terminal sends to all."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    numbers = {getattr(signal, name) for name in _OF_THE_TERMINAL}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# ---------------------------------------------------------------------- in the worker


def _serve(connection: Connection[Any, Any], threads: int) -> None:
    """Carry out orders until there are no more."""
    threading.Thread(target=_end_with_the_search, daemon=True).start()
    for name in _OF_THE_TERMINAL:
        if (number := getattr(signal, name, None)) is not None:
            signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(threads)
    with suppress(EOFError, OSError):  # nobody asks any more
        content, digest = connection.recv_bytes(), connection.recv_bytes().decode()
        keep_material(Parcel(content, digest))
        connection.send_bytes(pack(None))
        while True:
            packed = connection.recv_bytes()
            try:
                carry_out_here(packed, lambda event: _tell(connection, event))
            except Exception as error:
                _tell(connection, Failure("", Failure.of(error).traceback))
                raise
            _tell(connection, Done())


def _tell(connection: Connection[Any, Any], event: Any) -> None:
    try:
        connection.send_bytes(pack(event))
    except OSError:  # nobody listens any more
        os._exit(1)


def _end_with_the_search() -> None:
    search = multiprocessing.parent_process()
    if search is not None:
        search.join()
        os._exit(1)
