"""Trainings per second of a real screen, by who trains."""

from __future__ import annotations

import argparse
import random
import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from harness import busy_share

from lstmreg.config import Config, SearchConfig, with_settings
from lstmreg.executors import Executor, Material, opened
from lstmreg.executors.dispatch import pieces
from lstmreg.search import arms, valuing
from lstmreg.search.space import baseline_config, trained_config
from lstmreg.tasks import Task, read_task
from lstmreg.training.population.together import Assignment

from .made_up import sunspots
from .workers import cluster, processor_seconds

SIZES = (8, 32)


def screen(config: Config, task: Task) -> list[Assignment]:
    """Return the trainings of a screen: every value of every knob on every block."""
    base = baseline_config(config, 0.01, len(task.features))
    blocks = task.splits(config.search).blocks
    settings = [arm.at(value).setting for arm in arms.arms(config) for value in arm.ladder]
    return [Assignment(trained_config(base, setting), block) for setting in settings for block in blocks]


def measure(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Time the same screen with each, in an order that changes from round to round."""
    return [line for size in SIZES for line in _of_size(size, options, folder)]


def _of_size(size: int, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    config = sunspots(folder, "screen", size, blocks=options.blocks)
    task = read_task(config)
    config = task.completed(config)
    splits = task.splits(config.search)
    material = Material(task, {split.key: split for split in (*splits.blocks, splits.final)})
    wanted = screen(config, task)[:: options.every]
    short = [
        Assignment(with_settings(a.config, {"training.max_epochs": 1, "training.patience": 1}), a.split)
        for a in wanted[:: max(1, len(wanted) // 64)]
    ]
    walls: dict[str, list[float]] = {}
    processor: dict[str, list[float]] = {}
    starts: dict[str, float] = {}
    with ExitStack() as stack:
        begun = time.perf_counter()
        address = stack.enter_context(cluster(folder, 2))
        of_cluster = time.perf_counter() - begun
        ways = {
            "this process": SearchConfig(),
            "1 process": SearchConfig(workers=1),
            "2 processes": SearchConfig(workers=2),
            "Dask, 2 workers": SearchConfig(cluster=address),
        }
        executors: dict[str, Executor] = {}
        for name, search in ways.items():
            begun = time.perf_counter()
            executors[name] = stack.enter_context(opened(search, material))
            _train(executors[name], short)  # until everybody has had something to do
            starts[name] = time.perf_counter() - begun + (of_cluster if search.cluster else 0.0)
            walls[name], processor[name] = [], []
        order, generator, busy = list(ways), random.Random(0), busy_share()
        for _ in range(options.rounds):
            generator.shuffle(order)
            for name in order:
                before, begun = processor_seconds(), time.perf_counter()
                _train(executors[name], wanted)
                walls[name].append(time.perf_counter() - begun)
                processor[name].append(processor_seconds() - before)
    shared = {
        "H": size,
        "trainings": len(wanted),
        "pieces": len(pieces(wanted, len(task.features))),
        "rounds": options.rounds,
        "busy": busy,
    }
    return [
        shared
        | {
            "way": name,
            "wall": statistics.median(walls[name]),
            "walls": [min(walls[name]), max(walls[name])],
            "processor": statistics.median(processor[name]),
            "start": starts[name],
        }
        for name in ways
    ]


def _train(executor: Executor, wanted: list[Assignment]) -> None:
    executor.train(wanted, valuing.judged, lambda number, outcome, place: None, lambda workers, notes: None)
