"""What an order costs who decides and who carries it out, and what telling a trial costs."""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from harness import busy_share

from lstmreg.config import Config, SearchConfig, with_settings
from lstmreg.executors import Executor, Here, Material, Place, dispatch, opened
from lstmreg.search import valuing
from lstmreg.search.card import make_card
from lstmreg.search.config_file import settle, write_config
from lstmreg.search.planning import most_blocks
from lstmreg.search.records import Replicate
from lstmreg.search.study.ledger import Job, Ledger, Outcome, Tell
from lstmreg.search.study.place import storage_of
from lstmreg.tasks import read_task
from lstmreg.training.population.together import Assignment

from .made_up import appliances, result, sunspots
from .workers import cluster

#: Orders of one training each.
_ORDERS = 40


def measure(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Measure both."""
    return [*_orders(options.rounds, folder), *_tells(options.tells, folder)]


def _orders(rounds: int, folder: Path) -> list[dict[str, Any]]:
    """Time orders of one training of one epoch with one worker, beside the same trainings here, one by one."""
    config = sunspots(folder, "orders", 4, blocks=6)
    task = read_task(config)
    config = task.completed(config)
    splits = task.splits(config.search)
    material = Material(task, {split.key: split for split in (*splits.blocks, splits.final)})
    tiny = {"training.max_epochs": 1, "training.patience": 1}
    wanted = [
        Assignment(with_settings(config, tiny | {"training.seed": number}), splits.blocks[0])
        for number in range(_ORDERS)
    ]
    most, dispatch._MOST = dispatch._MOST, 1
    times: dict[str, list[float]] = {"here": [], "processes": [], "Dask": []}
    own: dict[str, list[float]] = {"here": [], "processes": [], "Dask": []}
    try:
        with ExitStack() as stack:
            address = stack.enter_context(cluster(folder, 1))
            searches = {"processes": SearchConfig(workers=1), "Dask": SearchConfig(cluster=address)}
            executors: dict[str, Executor] = {"here": Here(task)}
            executors |= {name: stack.enter_context(opened(search, material)) for name, search in searches.items()}
            for number in range(rounds + 1):
                for name, executor in executors.items():
                    begun, spent = time.perf_counter(), time.process_time()
                    for some in [[one] for one in wanted] if name == "here" else [wanted]:
                        executor.train(some, valuing.judged, lambda *ended: None, lambda *news: None)
                    if number:  # the first warms up
                        times[name].append((time.perf_counter() - begun) / _ORDERS)
                        own[name].append((time.process_time() - spent) / _ORDERS)
    finally:
        dispatch._MOST = most
    training = statistics.median(times["here"])
    return [
        {
            "what": f"an order, {name}",
            "seconds": statistics.median(times[name]) - training,
            "decider": statistics.median(own[name]),
            "training": training,
            "orders": _ORDERS,
            "rounds": rounds,
        }
        for name in searches
    ]


def _tells(count: int, folder: Path) -> list[dict[str, Any]]:
    """Time telling trials with the results of trainings of 40 epochs."""
    found = [_told("SQLite", appliances(folder, "told", blocks=6), count)]
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from tests.servers import PASSWORD, postgresql

    with postgresql() as server:
        os.environ["PGPASSWORD"] = PASSWORD
        config = appliances(folder, "told-there", blocks=6)
        config = dataclasses.replace(config, search=dataclasses.replace(config.search, storage=server.url))
        found.append(_told("PostgreSQL", config, count))
    return found


def _told(name: str, config: Config, count: int) -> dict[str, Any]:
    with prepared(config, count) as (ledger, jobs, outcomes):
        busy, times = busy_share(), tell(ledger, jobs, outcomes)
    return {"what": f"a trial told, {name}", **summary(times), "trials": count, "busy": busy}


def summary(times: list[tuple[float, float]]) -> dict[str, Any]:
    """Return medians of wall and processor time."""
    return {
        "seconds": statistics.median(wall for wall, _ in times),
        "decider": statistics.median(processor for _, processor in times),
    }


@contextmanager
def prepared(config: Config, count: int, first: int = 0) -> Iterator[tuple[Ledger, list[Job], list[Outcome]]]:
    """Open a ledger for as long as it takes, and make up trainings for it to be told of."""
    task = read_task(config)
    config = settle(task.completed(config), task)
    config = dataclasses.replace(config, search=config.search.planned(config.search.amount))
    config.directory.mkdir(parents=True, exist_ok=True)
    write_config(config)
    splits = task.splits(config.search)
    card = make_card(config, task, splits, most_blocks(config, task))
    storage = storage_of(config)
    with storage.held():
        ledger = Ledger(config, card, storage)
        ledger.keep_beginning(card, task.fingerprint())
        ledger.learning_rate = 0.01
        blocks = len(splits.blocks)
        jobs = [
            Job({"model.kernel_l2": 0.01}, Replicate(n % blocks, first + n // blocks), "race") for n in range(count)
        ]
        made = [result(config, splits.blocks[job.replicate.block].key, len(task.features)) for job in jobs]
        yield ledger, jobs, [Outcome(each.loss, each) for each in made]


def tell(ledger: Ledger, jobs: list[Job], outcomes: list[Outcome]) -> list[tuple[float, float]]:
    """Tell of each, and return the seconds and the processor seconds that it took."""
    times = []

    def run(jobs: list[Job], told: Tell) -> None:
        for number, outcome in enumerate(outcomes):
            begun, spent = time.perf_counter(), time.process_time()
            told(number, outcome, Place("host/1", "made up"))
            times.append((time.perf_counter() - begun, time.process_time() - spent))

    ledger.run_jobs("choose", jobs, run)
    return times
