"""A large study: the size of its file, and how long it takes to open it, to go on with it, and to report it."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import busy_share, say

from lstmreg import search
from lstmreg.search.config_file import read_config
from lstmreg.search.study.ledger import Ledger, read_card
from lstmreg.search.study.place import storage_of
from lstmreg.tasks import read_task

from .dispatching import prepared, summary, tell
from .made_up import MadeUp, appliances

_NAME = "large"


def measure(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Have a whole search write a study with results that nobody trained for, and time what is done with it."""
    runs = options.folder or folder
    amount = {"race": 400, "judge_seeds": 16, "test_seeds": 16}
    config = appliances(
        runs, _NAME, blocks=12, trials=options.trials, batch=1000, sampler="random", explain=False, **amount
    )
    made_up, directory = MadeUp(read_task(config)), config.directory
    if not (directory / "study.db").exists():
        search.run(config, executor=made_up)
        say("  it is written")
    count = sum(len(records) for records in search.read(directory).records.values())
    parts = {
        "open": lambda: _open(directory),
        "go on": lambda: search.run(config, executor=made_up),
        "report": lambda: subprocess.run(
            [sys.executable, "-m", "lstmreg", "report", str(directory)], check=True, capture_output=True
        ),
    }
    size = (directory / "study.db").stat().st_size
    shared = {"trainings": count, "bytes": size, "busy": busy_share()}
    lines = [shared | {"what": name, **_timed(action)} for name, action in parts.items()]
    shutil.copytree(directory, folder / "copy" / _NAME)
    copy = appliances(
        folder / "copy", _NAME, blocks=12, trials=options.trials, batch=1000, sampler="random", explain=False, **amount
    )
    with prepared(copy, min(100, options.tells), first=1_000_000) as large:
        told = tell(*large)
    return [*lines, shared | {"what": "tell", **summary(told)}]


def _open(directory: Path) -> None:
    config = read_config(directory)
    storage = storage_of(config)
    Ledger(config, read_card(config, storage), storage)


def _timed(action: Callable[[], object]) -> dict[str, float]:
    times = time.perf_counter(), sum(_spent())
    action()
    return {"seconds": time.perf_counter() - times[0], "processor": sum(_spent()) - times[1]}


def _spent() -> tuple[float, float]:
    spent = os.times()
    return spent.user + spent.system, spent.children_user + spent.children_system
