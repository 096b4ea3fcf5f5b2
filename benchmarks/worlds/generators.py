"""Worlds from which any amount of data can be drawn, so that what the experiment says can be held against the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lstmreg.config import Config, DataConfig, ModelConfig, SearchConfig, TrainingConfig

Array = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """A source of data, and the question asked of them.

    Attributes:
        name: The word to type.
        about: What it is meant to show; whether it does is measured.
        draw: Draws data by a seed.
        task: The question.
        data: Settings that say so.
        hidden_size: Of the network.
        search: Settings of the search; empty for the default space.
    """

    name: str
    about: str
    draw: Callable[[int], Any]
    task: Literal["forecast", "classify"]
    data: Mapping[str, Any]
    hidden_size: int = 8
    search: Mapping[str, Any] = field(default_factory=dict)

    def config(self, runs: Path, number: int) -> Config:
        """Return the run that answers on the data drawn with this number, at the amount that eight blocks allow."""
        return Config(
            data=DataConfig(path=f"{self.name}-{number}", **self.data),
            model=ModelConfig(hidden_size=self.hidden_size),
            training=TrainingConfig(max_epochs=60, patience=6),
            search=SearchConfig(
                blocks=8, race=12, judge_seeds=8, test_seeds=2, seed=number, explain=False, **self.search
            ),
            task=self.task,
            name=f"{self.name}-{number}",
            runs=str(runs),
        )


# ---------------------------------------------------------------------- forecasts


def _wandering(draws: np.random.Generator, rows: int, columns: int, inertia: float) -> Array:
    """Return columns that wander around 0 with a standard deviation of about 1."""
    steps = draws.normal(size=(rows + 50, columns)) * np.sqrt(1 - inertia**2)
    for row in range(1, len(steps)):
        steps[row] += inertia * steps[row - 1]
    return steps[50:]


def _driven(rows: int, relevant: int, idle: int, noise: float) -> Callable[[int], pd.DataFrame]:
    """Return what draws a target that some columns drive in the row before it, among others that do nothing."""

    def draw(seed: int) -> pd.DataFrame:
        draws = np.random.default_rng((seed, rows, idle))
        columns = _wandering(draws, rows, relevant + idle, 0.5)
        signal = np.tanh(columns[:, :relevant]).sum(1) / np.sqrt(relevant)
        target = np.zeros(rows)
        for row in range(1, rows):
            target[row] = 0.5 * target[row - 1] + signal[row - 1] + noise * draws.normal()
        return pd.DataFrame({"y": target} | {f"x{i}": columns[:, i] for i in range(relevant + idle)})

    return draw


def _long_wave(seed: int) -> pd.DataFrame:
    """Draw a cycle whose height and length vary, as sunspots do."""
    draws = np.random.default_rng((seed, 3))
    value, phase, rows, level = 0.0, draws.uniform(0, 2 * np.pi), 300, 1.0
    series = []
    for _ in range(rows):
        phase += 2 * np.pi / 11 * (1 + 0.15 * draws.normal())
        level += 0.1 * (1 - level) + 0.12 * draws.normal()
        value = 0.5 * value + level * (1 + np.sin(phase)) + 0.25 * draws.normal()
        series.append(value)
    return pd.DataFrame({"y": series})


def _noise(seed: int) -> pd.DataFrame:
    """Draw rows of which none says anything about another."""
    draws = np.random.default_rng((seed, 5))
    return pd.DataFrame(draws.normal(size=(400, 4)), columns=["y", "x0", "x1", "x2"])


# ---------------------------------------------------------------------- classes


def _shapes(
    count: int, idle: int, classes: int = 6, steps: int = 8, columns: int = 8, noise: float = 1.0
) -> Callable[[int], tuple[Array, list[str]]]:
    """Return what draws blurred copies of a few shapes, moved by a step, beside columns of noise."""
    shapes = np.random.default_rng(1).normal(size=(classes, steps + 2, columns))
    shapes = (shapes[:, :-1] + shapes[:, 1:]) / np.sqrt(2)

    def draw(seed: int) -> tuple[Array, list[str]]:
        draws = np.random.default_rng((seed, count, idle))
        kinds = np.arange(count) % classes
        moved = draws.integers(0, 2, count)
        x = np.stack([shapes[kind, move : move + steps] for kind, move in zip(kinds, moved, strict=True)])
        x = x * draws.uniform(0.5, 1.5, (count, 1, 1)) + noise * draws.normal(size=x.shape)
        return np.concatenate([x, draws.normal(size=(count, steps, idle))], axis=2), [f"kind {k}" for k in kinds]

    return draw


def _subjects(seed: int) -> tuple[Array, list[str], list[str]]:
    """Draw movements of three kinds by twenty people, each of whom moves in a way of their own."""
    draws = np.random.default_rng((seed, 8))
    people, repeats, steps, columns = 20, 9, 12, 6
    kinds = np.random.default_rng(2).normal(size=(3, columns, 2))
    time = 2 * np.pi * np.arange(steps) / steps
    x, labels, groups = [], [], []
    for person in range(people):
        manner, posture = draws.normal(scale=0.8, size=(columns, 2)), draws.normal(scale=0.8, size=columns)
        for repeat in range(repeats):
            kind = repeat % 3
            waves = kinds[kind] + manner
            moves = np.outer(np.sin(time), waves[:, 0]) + np.outer(np.cos(time), waves[:, 1])
            x.append(moves + posture + 1.5 * draws.normal(size=(steps, columns)))
            labels.append(f"exercise {kind}")
            groups.append(f"person {person}")
    return np.stack(x), labels, groups


_FORECAST = {"target": "y", "window": 8}
_CLASSIFY = {"target": "kind"}

WORLDS = (
    World("a-dropout", "few blurred pictures: dropout of the inputs", _shapes(240, idle=0), "classify", _CLASSIFY),
    World("b-kernel", "3 of 15 columns matter: a kernel penalty", _driven(400, 3, 12, 0.5), "forecast", _FORECAST),
    World(
        "c-recurrent",
        "one irregular cycle: recurrent dropout, if anything",
        _long_wave,
        "forecast",
        {"target": "y", "window": 24},
    ),
    World(
        "d-plenty", "1,500 rows, a small network: next to nothing", _driven(1500, 3, 0, 0.5), "forecast", _FORECAST, 4
    ),
    World("e-noise", "noise: nothing", _noise, "forecast", _FORECAST),
    World("f-two", "few pictures among idle columns: two knobs", _shapes(300, idle=16), "classify", _CLASSIFY),
    World(
        "g-rate",
        "input dropout alone is tried, which needs another learning rate",
        _driven(400, 3, 12, 0.5),
        "forecast",
        _FORECAST,
        search={"space": {"model.dropout": [0.1, 0.2, 0.3]}, "weight_decay": []},
    ),
    World(
        "h-subjects",
        "movements of 20 people, judged on others",
        _subjects,
        "classify",
        {"target": "kind", "split_by": "group", "test_fraction": 0.1},
    ),
)
