"""How many trainings a population finishes in a second, against the same trainings one by one."""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from harness import Results, arguments, busy_share, say
from torch.utils.data import DataLoader, TensorDataset

from lstmreg import Config, DataConfig, ModelConfig, Network, Population, TrainingConfig, fit, fit_population
from lstmreg.config import with_settings
from lstmreg.tasks import read_task
from lstmreg.training.single import prepare

SUNSPOTS = Path(__file__).parent.parent / "lstmreg" / "data" / "sunspots.csv"

ALL_SIX = {
    "model.kernel_l2": 1e-3,
    "model.recurrent_l2": 1e-3,
    "model.bias_l2": 1e-3,
    "model.activity_l2": 1e-3,
    "model.dropout": 0.1,
    "model.recurrent_dropout": 0.3,
}


class Windows:
    """Trials as the search runs them: the demo's data, window 24, batch 32, splits and seeds, early stopping."""

    def __init__(self, hidden_size: int, knobs: str) -> None:
        data = DataConfig(str(SUNSPOTS), "sunspots", time="year", window=24)
        training = TrainingConfig(learning_rate=0.03, max_epochs=100, patience=12)
        self.config = Config(data, ModelConfig(hidden_size=hidden_size), training)
        self.task = read_task(self.config)
        self.splits = self.task.splits(self.config.search).blocks
        alone = [{path: value} for path, value in ALL_SIX.items() if path != "model.dropout"]
        self.settings = [ALL_SIX] if knobs == "all six" else alone

    def prepare(self, trial: int, known: dict[object, Any]) -> Any:
        setting = self.settings[trial % len(self.settings)]
        config = with_settings(self.config, setting | {"training.seed": trial % 7})
        return prepare(config, self.task, self.splits[trial % len(self.splits)], known)

    def one(self, trial: int) -> None:
        task = self.prepare(trial, {})
        fit(task.network, task.data, task.training)

    def together(self, count: int) -> None:
        known: dict[object, Any] = {}
        tasks = [self.prepare(trial, known) for trial in range(count)]
        population = Population(task.network for task in tasks)
        fit_population(population, [task.data for task in tasks], [task.training for task in tasks])


class Steps:
    """Three units, one step at a time, four sequences, the state carried from batch to batch, 100 epochs."""

    def __init__(self, hidden_size: int, knobs: str) -> None:
        knob = {path.split(".")[1]: value for path, value in ALL_SIX.items()} if knobs == "all six" else {}
        self.config = ModelConfig(hidden_size=hidden_size, stateful=True, **knob)
        self.training = TrainingConfig(learning_rate=0.01, max_epochs=100, patience=100)
        x = torch.sin(torch.arange(24.0)).view(24, 1, 1)
        self.data = TensorDataset(x, x[:, 0].roll(-4, 0))

    def loaders(self) -> tuple[DataLoader[Any], DataLoader[Any]]:
        return DataLoader(self.data, 4), DataLoader(self.data, 4)

    def one(self, trial: int) -> None:
        torch.manual_seed(trial)
        fit(Network(self.config, 1, 1), self.loaders(), dataclasses.replace(self.training, seed=trial))

    def together(self, count: int) -> None:
        population = Population.of([self.config] * count, 1, 1, seeds=range(count))
        trainings = [dataclasses.replace(self.training, seed=trial) for trial in range(count)]
        fit_population(population, self.loaders(), trainings)


Kind = Callable[[int, str], Any]

#: What is trained, hidden size, knobs, members of the population.
GRID: list[tuple[Kind, int, str, int]] = [
    *((Windows, h, knobs, k) for h, k in ((8, 1024), (16, 1024), (32, 512), (64, 128)) for knobs in ("one", "all six")),
    (Steps, 3, "none", 600),
]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.set_defaults(rounds=3)
    options = parser.parse_args()
    results = Results(options.results / "population.jsonl")
    for kind, hidden_size, knobs, count in GRID:
        say(f"{kind.__name__}, H = {hidden_size}, {knobs} of the knobs, {count} trials at once")
        measure(kind, hidden_size, knobs, count, options, results)


def measure(kind: Kind, hidden_size: int, knobs: str, count: int, options: Any, results: Results) -> None:
    """Time the three ways in turn, each trial a different one, and record trials in a second."""
    cores = multiprocessing.cpu_count()
    trials = kind(hidden_size, knobs)
    fresh = itertools.count(0, 7)  # a stride that meets all settings and splits
    torch.set_num_threads(cores)
    trials.one(0)
    trials.together(16)
    busy = busy_share()
    rates: dict[str, list[float]] = {"population": [], "processes": [], "threads": []}
    with Processes(kind, hidden_size, knobs, cores) as processes:
        for _ in range(options.rounds):
            rates["processes"].append(processes.rate([next(fresh) for _ in range(5 * cores)]))
            rates["threads"].append(5 / timed(lambda: [trials.one(next(fresh)) for _ in range(5)]))
            rates["population"].append(count / timed(lambda: trials.together(count)))
    singly = max(statistics.median(rates["processes"]), statistics.median(rates["threads"]))
    for way, found in rates.items():
        rate = statistics.median(found)
        measured = {"way": way, "rate": rate, "spread": [min(found), max(found)], "ratio": rate / singly}
        results.add(trials=kind.__name__, H=hidden_size, knobs=knobs, K=count, threads=cores, busy=busy, **measured)
        say(f"  {way:<11} {rate:8.2f} trials/s   {rate / singly:6.2f}×")


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


class Processes:
    """As many processes as cores, with a thread each, that wait for trials."""

    def __init__(self, kind: Kind, hidden_size: int, knobs: str, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipes = []
        self.children = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            self.pipes.append(ours)
            self.children.append(context.Process(target=_serve, args=(theirs, kind, hidden_size, knobs)))

    def __enter__(self) -> Processes:
        for child in self.children:
            child.start()
        for pipe in self.pipes:
            pipe.recv()  # it has warmed up
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self.pipes:
            pipe.send(None)
        for child in self.children:
            child.join()

    def rate(self, trials: list[int]) -> float:
        """Return trials in a second; each process takes an equal part of them."""
        start = time.perf_counter()
        for i, pipe in enumerate(self.pipes):
            pipe.send(trials[i :: len(self.pipes)])
        for pipe in self.pipes:
            pipe.recv()
        return len(trials) / (time.perf_counter() - start)


def _serve(pipe: Any, kind: Kind, hidden_size: int, knobs: str) -> None:
    torch.set_num_threads(1)
    trials = kind(hidden_size, knobs)
    trials.one(0)
    pipe.send("ready")
    while (numbers := pipe.recv()) is not None:
        for number in numbers:
            trials.one(number)
        pipe.send("done")


if __name__ == "__main__":
    main()
