"""Times rivals in turn, so that the machine's moods meet all of them alike, and keeps the measurements."""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import lstmreg

HERE = Path(__file__).parent

#: The rival that every ratio is relative to.
BASELINE = "nn.LSTM"

_MOST_ROUNDS = 1000


class Size(NamedTuple):
    """How many sequences, steps, features and hidden units."""

    B: int
    T: int
    D: int
    H: int


STANDARD = [
    Size(32, 30, 8, 16),
    Size(32, 50, 32, 64),
    Size(64, 100, 64, 128),
    Size(64, 100, 128, 256),
    Size(128, 50, 256, 512),
]


# ---------------------------------------------------------------------- measuring


def interleave(
    rivals: Mapping[str, Callable[[], Any]], rounds: int, clock: Callable[[Callable[[], Any]], float] | None = None
) -> dict[str, list[float]]:
    """Time every rival once in each round, after a call of each to warm up.

    Args:
        rivals: What to time, by name.
        rounds: How often.
        clock: Calls a rival and returns the seconds it took; a stopwatch around the call if ``None``.

    Returns:
        Seconds by name, one value for each round.
    """
    clock = clock or _stopwatch
    for rival in rivals.values():
        rival()
    times: dict[str, list[float]] = {name: [] for name in rivals}
    order, generator = list(rivals), random.Random(0)
    for _ in range(rounds):
        generator.shuffle(order)  # so that nobody always finds the caches as the same neighbour left them
        for name in order:
            times[name].append(clock(rivals[name]))
    return times


def _stopwatch(rival: Callable[[], Any]) -> float:
    start = time.perf_counter()
    rival()
    return time.perf_counter() - start


def compare(
    rivals: Mapping[str, Callable[[], Any]],
    options: argparse.Namespace,
    results: Results,
    clock: Callable[[Callable[[], Any]], float] | None = None,
    **labels: Any,
) -> None:
    """Time rivals for as long as ``options`` say, and record each median and its ratio to the baseline's."""
    busy = busy_share()
    if busy > 0.1:
        say(f"  WARNING: other programs use {busy:.0%} of this machine, so these numbers mean little.")
    once = sum(seconds[0] for seconds in interleave(rivals, 1, clock).values())
    rounds = max(options.rounds, min(int(options.seconds / once), _MOST_ROUNDS))
    times = interleave(rivals, rounds, clock)
    for name, seconds in times.items():
        low, median, high = np.percentile(seconds, [25, 50, 75])
        ratio = median / np.median(times[BASELINE])
        measured = {"rival": name, "median": median, "quartiles": [low, high], "ratio": ratio, "rounds": rounds}
        results.add(**labels, **measured, threads=torch.get_num_threads(), busy=busy)
        say(f"  {name:<18} {median * 1e3:9.3f} ms   quartiles {low * 1e3:9.3f} {high * 1e3:9.3f}   {ratio:6.2f}×")


def busy_share() -> float:
    """Return which share of the machine others keep busy while this process sleeps; 0 where nobody knows.

    A team of threads waits for its last one, so a neighbour on one core can make a step ten times as long.
    """

    def ticks() -> np.ndarray:
        path = Path("/proc/stat")
        return np.array(path.read_text().split()[1:9] if path.exists() else [0] * 8, dtype=float)

    before = ticks()
    time.sleep(0.25)
    spent = ticks() - before
    idle = spent[3] + spent[4]
    return round(1 - idle / spent.sum(), 2) if spent.sum() else 0.0


# ---------------------------------------------------------------------- keeping


class Results:
    """A file of measurements, one line of JSON each; a new run replaces the last one's."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        self.path = path

    def add(self, **measurement: Any) -> None:
        """Write one measurement, and what it was taken on."""
        with self.path.open("a") as file:
            file.write(json.dumps(measurement | machine()) + "\n")


@functools.cache
def machine() -> dict[str, Any]:
    """Describe what the measurements are taken on."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lstmreg": lstmreg.__version__,
        "commit": _commit(),
    }


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str:
    def git(*command: str) -> str:
        return subprocess.run(["git", *command], cwd=HERE, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # Results that a run has just written do not make the code another one.
        changed = git("status", "--porcelain", "--", ":/", ":(exclude,top)benchmarks/results")
        return git("rev-parse", "--short=9", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


# ---------------------------------------------------------------------- running


def arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser of the options that all measuring scripts share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="rounds of each size, at least")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long a small size goes on beyond that")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of every rival")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the measurements")
    return parser


def say(text: str) -> None:
    """Report progress, beside the results and not among them."""
    print(text, file=sys.stderr, flush=True)
