"""A small question for every task, which a small network answers better than any floor."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lstmreg.config import Config, DataConfig, ModelConfig, SearchConfig, TrainingConfig
from lstmreg.data.sequences import Sequences, from_arrays
from lstmreg.data.table import Series
from lstmreg.tasks import Classify, Forecast, Label, Regress, Task

COUNT = 72
EVERY_LENGTH = np.random.default_rng(7).integers(6, 13, COUNT)

DOCS = Path(__file__).parents[2] / "docs"


def amount() -> type[Task]:
    """Return the task of one's own that the page on contributing shows."""
    page = (DOCS / "contributing.md").read_text().split("## A task of your own")[1]
    names: dict[str, Any] = {"__name__": "own"}
    exec(re.findall(r"^```python\n(.*?)^```", page, flags=re.S | re.M)[0], names)
    return names["Amount"]


Amount = amount()


def waves(lengths: np.ndarray = EVERY_LENGTH, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Waves of any phase, slow and fast ones: which it is shows in the order of the values, and in none alone."""
    generator = np.random.default_rng(seed)
    speeds = np.where(np.arange(len(lengths)) % 2, 2.0, 0.5) + 0.2 * generator.random(len(lengths))
    phases = generator.uniform(0, 6, len(lengths))
    beside = [generator.normal(size=length) for length in lengths]
    return [
        np.stack([np.sin(p + s * np.arange(length)), noise], axis=1)
        for length, s, p, noise in zip(lengths, speeds, phases, beside, strict=True)
    ], speeds


def _data(**settings: Any) -> DataConfig:
    return DataConfig("the arrays", "y", **settings)


def classify(**settings: Any) -> Classify:
    x, speeds = waves()
    groups = [f"subject {n % 9}" for n in range(COUNT)] if settings.get("split_by") == "group" else None
    y = ["slow" if speed < 1.5 else "fast" for speed in speeds]
    sequences = from_arrays(x, y, groups, kind="classify", features=["wave", "noise"])
    return Classify(_data(**settings), dataclasses.replace(sequences, times=_times()))


def _times() -> tuple[str, ...]:
    return tuple(map(str, np.random.default_rng(3).permutation(COUNT) * 5))


def classify_tokens() -> Classify:
    """Whether an "a" comes before the "b"; there are other letters, of which some are rare."""
    generator = np.random.default_rng(1)
    letters = np.array(list("abcdefghij"))
    x, y = [], []
    for n, length in enumerate(EVERY_LENGTH):
        word = generator.integers(2, 8 + 2 * (n % 12 == 0), length)
        first, second = np.sort(generator.choice(length, 2, replace=False))
        word[first], word[second] = (0, 1) if n % 2 else (1, 0)
        x.append(np.stack([word, generator.normal(size=length)], axis=1))
        y.append("rising" if n % 2 else "falling")
    sequences = from_arrays(x, y, kind="classify", features=["letter", "noise"], tokens=["letter"])
    tokens = tuple(letters[[int(token) for token in sequences.tokens["letter"]]])
    return Classify(_data(), dataclasses.replace(sequences, tokens={"letter": tokens}))


def regress(kind: type[Regress] = Regress, **settings: Any) -> Regress:
    x, speeds = waves()
    groups = [f"subject {n % 9}" for n in range(COUNT)] if settings.get("split_by") == "group" else None
    sequences = from_arrays(
        x, np.stack([100 * speeds, -speeds], axis=1), groups, kind="regress", features=["wave", "noise"]
    )
    if kind is Amount:
        sequences = dataclasses.replace(sequences, targets=np.abs(sequences.targets))
    return kind(_data(**settings), sequences)


def label(are_numbers: bool) -> Label:
    """At every step: what the wave was one step before, or whether it has risen; nothing is known of the first."""
    x, _ = waves()
    before = [np.r_[np.nan, each[:-1, 0]] for each in x]
    if are_numbers:
        y: list[np.ndarray] = [40 + 10 * each for each in before]
    else:
        words = [np.where(each[:, 0] > last, "up", "down") for each, last in zip(x, before, strict=True)]
        y = [np.where(np.arange(len(each)) == 0, "", each) for each in words]
    sequences = from_arrays(x, y, kind="label", features=["wave", "noise"], are_numbers=are_numbers)
    return Label(_data(), sequences)


def forecast() -> Forecast:
    """How many there are follows from how many there were, and not along a line: no ridge finds it."""
    there = [0.3]
    for _ in range(159):
        there.append(3.7 * there[-1] * (1 - there[-1]))
    fish = np.array(there)
    values = np.stack([fish, np.random.default_rng(0).normal(size=160)], axis=1)
    data = DataConfig("the table", "fish", window=6, horizon=2)
    labels = tuple(map(str, range(160)))
    return Forecast(data, Series("the table", "", ("fish", "noise"), ("fish",), values, fish[:, None], labels, ()))


def forecast_tokens() -> Forecast:
    """The same fish, beside it what weather it is and will be, in words, and hands in of them so many more."""
    plain, generator = forecast(), np.random.default_rng(4)
    kinds = generator.integers(0, 3, 160) + (np.arange(160) % 32 == 31)  # what is rare is in few rows
    fish = plain.series.target + np.array([0.0, 0.3, 0.1, 0.2])[kinds]
    data = dataclasses.replace(plain.data, tokens=["weather"], known_future=["weather"])
    return Forecast(
        data,
        dataclasses.replace(
            plain.series,
            features=("fish", "weather"),
            inputs=np.stack([fish, kinds], axis=1),
            targets=fish[:, None],
            tokens={"weather": ("fog", "rain", "snow", "sun")},
            ahead_names=("weather",),
            ahead=kinds[:, None].astype(np.float64),
        ),
    )


#: Every task, with each way to split.
KINDS: dict[str, Callable[[], Task]] = {
    "forecast": forecast,
    "forecast tokens": forecast_tokens,
    "classify": classify,
    "classify by group": lambda: classify(split_by="group"),
    "classify by time": lambda: classify(split_by="time"),
    "classify tokens": classify_tokens,
    "regress": regress,
    "regress by group": lambda: regress(split_by="group"),
    "label classes": lambda: label(are_numbers=False),
    "label numbers": lambda: label(are_numbers=True),
    "a task of one's own": lambda: regress(Amount),
}

SEARCH = SearchConfig(
    learning_rates=[0.02],
    weight_decay=[],
    blocks=4,
    race=0,
    judge_seeds=2,
    test_seeds=2,
    space={"model.kernel_l2": [1e-3]},
)


def config_of(task: Task, folder: Path | str = "runs", **training: Any) -> Config:
    training = {"learning_rate": 0.03, "max_epochs": 2, "batch_size": 16} | training
    return Config(
        data=task.data,
        model=ModelConfig(hidden_size=8),
        training=TrainingConfig(**training),
        search=SEARCH,
        task=task.name,
        name="it",
        runs=str(folder),
    )


def sequences_of(task: Task) -> Sequences:
    return task.sequences  # type: ignore[attr-defined]
