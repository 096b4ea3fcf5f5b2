"""Up to 1000 workers in simulated time: the real dispatch, and a crew whose trainings take as long as measured ones."""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import json
import math
import time
from collections import deque
from concurrent import futures
from pathlib import Path
from typing import Any

from lstmreg import search
from lstmreg.config import AMOUNTS, Amount, Config, with_settings
from lstmreg.executors import Dispatch, Place
from lstmreg.executors.dispatch import Crew
from lstmreg.executors.events import Begun, Done, Ended, Event
from lstmreg.executors.orders import Order
from lstmreg.search import Progress, valuing
from lstmreg.tasks import read_task
from lstmreg.training.population.together import Assignment

from .made_up import MadeUp, sunspots

WORKERS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

#: So many pieces for each worker.
_PIECES = 4

#: Trainings of a piece.
_PIECE = 32

_PLACE = Place("worker", "simulated")


class Simulated(Crew):
    """Workers whose time passes as fast as can be, while who decides takes the time that they do.

    Args:
        workers: How many.
        piece: Seconds that a piece takes.
        order: Seconds of who decides that an order takes beyond what the dispatch itself does.
    """

    def __init__(self, workers: int, piece: float, order: float) -> None:
        super().__init__()
        self._idle, self._piece, self._order = workers, piece, order
        self._workers = workers
        self._waiting: deque[Order] = deque()
        self._ends: list[tuple[float, int, int]] = []
        self.now = self.busy = 0.0
        self._left = time.process_time()

    @property
    def width(self) -> int:
        """How many they are."""
        return self._workers

    def spend(self, seconds: float) -> None:
        """Let who decides do something."""
        self.now, self.busy = self.now + seconds, self.busy + seconds

    def _entered(self) -> None:
        self.spend(time.process_time() - self._left)

    def take(self, order: Order) -> None:
        """Start an order, or have it wait."""
        self._entered()
        self._waiting.append(order)
        self._hand_out()
        self._left = time.process_time()

    def _hand_out(self) -> None:
        while self._idle and self._waiting:
            order = self._waiting.popleft()
            self.spend(self._order)
            self._idle -= 1
            heapq.heappush(self._ends, (self.now + self._piece, order.number, len(order.trainings)))

    def hear(self, seconds: float) -> list[tuple[int, Event]]:
        """Return what has ended by now, or else what ends next."""
        self._entered()
        self.now = max(self.now, self._ends[0][0])
        events: list[tuple[int, Event]] = []
        while self._ends and self._ends[0][0] <= self.now:
            _, number, count = heapq.heappop(self._ends)
            self._idle += 1
            events.append((number, Begun(_PLACE, count, 0)))
            events += [(number, Ended(member, None, _PLACE)) for member in range(count)]
            events.append((number, Done()))
        self._hand_out()
        self._left = time.process_time()
        return events

    def give_up(self, number: int, reason: str) -> None:
        """Do nothing: nobody hangs."""

    def close(self) -> None:
        """Do nothing."""


def measure(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Simulate with the times that were measured."""
    path = options.results / "scale.jsonl"
    measured = [json.loads(line) for line in path.read_text().splitlines()]
    tell = next(line["seconds"] for line in measured if line.get("what") == "a trial told, SQLite")
    order = next(line["decider"] for line in measured if line.get("what") == "an order, Dask")
    lines = [line for line in measured if line["part"] == "trainings" and line["way"] == "1 process"]
    found = []
    for line in lines:
        piece = _PIECE * line["wall"] / line["trainings"]
        for workers in WORKERS:
            found.append({"H": line["H"], "piece": piece, "tell": tell} | _with(workers, piece, order, tell, folder))
    return [*found, *_steps(folder)]


def _with(workers: int, piece: float, order: float, tell: float, folder: Path) -> dict[str, Any]:
    """Let so many workers do four pieces each, and say how many trainings end in a second."""
    config = sunspots(folder, "simulated", 8, blocks=6)
    task = read_task(config)
    split = task.splits(config.search).blocks[0]
    first = Assignment(with_settings(task.completed(config), {"training.seed": 0}), split)
    wanted = [first] * (_PIECE * _PIECES * workers)
    crew = Simulated(workers, piece, order)

    def ended(number: int, outcome: Any, place: Place) -> None:
        crew.spend(tell)

    with Dispatch(crew, "", 1) as executor:
        crew._left = time.process_time()
        executor.train(wanted, valuing.judged, ended, lambda who, notes: None)
    rate = len(wanted) / crew.now
    return {"workers": workers, "rate": rate, "ideal": workers * _PIECE / piece, "busy_decider": crew.busy / crew.now}


# ---------------------------------------------------------------------- how many trainings a step has


def _steps(folder: Path) -> list[dict[str, Any]]:
    """Go through whole searches with made up results, and say how many pieces their steps have."""
    kinds: dict[str, tuple[Amount, dict[str, Any]]] = {
        "quick": (AMOUNTS[0], {}),
        "default, as of a small network": (AMOUNTS[3], {}),
        "thorough": (AMOUNTS[-1], {}),
        "staged": (AMOUNTS[3], {"search": search.recipe("staged")["search"]}),
    }
    return [_of_search(name, amount, more, folder) for name, (amount, more) in kinds.items()]


def _of_search(name: str, amount: Amount, more: dict[str, Any], folder: Path) -> dict[str, Any]:
    config: Config = sunspots(folder, name.split(",")[0], 16, **dataclasses.asdict(amount), explain=False)
    if more:
        fields = {"space": more["search"].space, "weight_decay": more["search"].weight_decay}
        config = dataclasses.replace(config, search=dataclasses.replace(config.search, **fields))
    executor = _Counting(read_task(config))
    steps: list[tuple[str, int, int]] = []

    def listen(progress: Progress) -> None:
        if progress.step and progress.ended == progress.step and progress.record is not None:
            steps.append((progress.role, progress.step, executor.taken()))

    search.run(config, listen, executor=executor)
    sizes = [count for _, _, count in steps]
    total = sum(sizes)
    times = {workers: sum(math.ceil(count / workers) for count in sizes) for workers in range(1, max(sizes) + 1)}
    useful = next(workers for workers, rounds in times.items() if rounds <= 1.1 * len(sizes))
    return {
        "search": name,
        "trainings": sum(count for _, count, _ in steps),
        "steps": len(steps),
        "pieces": total,
        "most_pieces": max(sizes),
        "screen": max((count for role, _, count in steps if role == "screen"), default=0),
        "race": max((count for role, _, count in steps if role == "race"), default=0),
        "useful": useful,
        "speedup": total / len(sizes),
    }


class _Counting(MadeUp):
    """Counts the orders that it gets."""

    _orders = 0

    def submit(self, *arguments: Any, **more: Any) -> futures.Future[Any]:  # type: ignore[override]
        """Count an order."""
        self._orders += 1
        return super().submit(*arguments, **more)

    def taken(self) -> int:
        """Return how many there have been since this was last asked."""
        count, self._orders = self._orders, 0
        return count
