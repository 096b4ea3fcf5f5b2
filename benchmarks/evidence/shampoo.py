"""A much-copied experiment on 36 months of shampoo sales: is its effect one of seeds, or would other months show it?

As the tutorials of machinelearningmastery.com have it (Brownlee 2017, "Weight Regularization with LSTM Networks for
Time Series Forecasting" and "Dropout with LSTM Networks for Time Series Forecasting"): differences, scaled to -1 to 1;
one month in, one out; batches of four with the state carried on; 1,000 epochs of Adam without early stopping; the last
twelve months judged; 30 repeats. Other than there, three units for all knobs alike, the head drawn as torch draws it,
and the judged months read one after the other from the beginning of the series.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lstmreg import ModelConfig, Network, Population, TrainingConfig, fit_population

from .statistics import Array, Estimate, student
from .words import change, markdown

#: Of the file beside the results.
NAME = "evidence-shampoo.jsonl"

#: Makridakis, Wheelwright and Hyndman (1998), Forecasting: Methods and Applications; sales over three years.
SALES = np.array(
    [266.0, 145.9, 183.1, 119.3, 180.3, 168.5, 231.8, 224.5, 192.8, 122.9, 336.5, 185.9,
     194.3, 149.5, 210.1, 273.3, 191.4, 287.0, 226.0, 303.6, 289.9, 421.6, 264.5, 342.3,
     339.7, 440.4, 315.9, 439.3, 401.3, 437.4, 575.5, 407.6, 682.0, 475.3, 581.3, 646.9]
)  # fmt: skip

JUDGED, REPEATS, EPOCHS, UNITS, BATCH = 12, 30, 1000, 3, 4

#: What the tutorials try.
SETTINGS: list[dict[str, float]] = [
    {},
    *({f"{part}_{norm}": 0.01} for part in ("kernel", "recurrent", "bias") for norm in ("l1", "l2")),
    *({knob: rate} for knob in ("dropout", "recurrent_dropout") for rate in (0.2, 0.4, 0.6)),
]


class Months:
    """Pairs of a month's difference and the next one's, scaled by those that train."""

    def __init__(self, sales: Array) -> None:
        differences = np.diff(sales)
        pairs = np.stack([differences[:-1], differences[1:]], axis=1)
        train = pairs[: len(pairs) - JUDGED]
        train = train[len(train) % BATCH :]
        self.low, self.high = train.min(axis=0), train.max(axis=0)
        self.judged = pairs[-JUDGED:, 1]
        scaled = 2 * (pairs - self.low) / (self.high - self.low) - 1
        self.inputs = torch.tensor(scaled[-JUDGED - len(train) :, :1], dtype=torch.float32)
        self.targets = torch.tensor(scaled[-JUDGED - len(train) : -JUDGED, 1:], dtype=torch.float32)

    def batches(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return those that train, in order of time: ``(4, 1, 1)`` and ``(4, 1)`` each."""
        x = self.inputs[: len(self.targets)].split(BATCH)
        return [(inputs[:, None], targets) for inputs, targets in zip(x, self.targets.split(BATCH), strict=True)]

    def squared_errors(self, network: Network) -> Array:
        """Return the squared error of each judged month, in sales, ``(12,)``."""
        reader = Network(ModelConfig(hidden_size=UNITS), 1, 1, steps="all")
        reader.load_state_dict(network.state_dict())
        with torch.no_grad():
            scaled = reader.eval()(self.inputs[None])[0, -JUDGED:, 0].double().numpy()
        predicted = (scaled + 1) / 2 * (self.high[1] - self.low[1]) + self.low[1]
        return np.asarray((predicted - self.judged) ** 2)


def run(path: Path, repeats: int = REPEATS, epochs: int = EPOCHS) -> None:
    """Train all settings with all seeds as one population, and keep the squared errors."""
    months = Months(SALES)
    members = [(setting, seed) for setting in SETTINGS for seed in range(repeats)]
    configs = [ModelConfig(hidden_size=UNITS, stateful=True, **setting) for setting, _ in members]  # type: ignore[arg-type]
    population = Population.of(configs, 1, 1, seeds=[seed for _, seed in members])
    training = [
        TrainingConfig(learning_rate=0.001, max_epochs=epochs, patience=None, keep="last", seed=seed)
        for _, seed in members
    ]
    batches = months.batches()
    fit_population(population, (batches, batches[-1:]), training)
    errors = np.stack([months.squared_errors(population[number]) for number in range(len(members))])
    of_settings = errors.reshape(len(SETTINGS), repeats, JUDGED)
    lines = [
        {"setting": setting, "of_seeds": _digits(own.mean(axis=1)), "of_months": _digits(own.mean(axis=0))}
        for setting, own in zip(SETTINGS, of_settings, strict=True)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _digits(values: Array) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def over_seeds(of_seeds: Sequence[float], baseline: Sequence[float]) -> Estimate:
    """Return the change of the squared error with an interval over seeds, a log ratio; the months stay the same."""
    return Estimate.over(np.log(of_seeds) - np.log(baseline))


def over_time(of_months: Sequence[float], baseline: Sequence[float]) -> Estimate:
    """Return the same with an interval over the months: the ratio of two means, linearized."""
    own, others = np.asarray(of_months), np.asarray(baseline)
    ratio = float(own.mean() / others.mean())
    residuals = (own - ratio * others) / own.mean()
    variance = float(residuals.var(ddof=1)) / len(own)
    half = student(len(own) - 1) * math.sqrt(variance)
    mean = math.log(ratio)
    return Estimate(mean, variance, mean - half, mean + half)


def table(lines: Iterable[dict[str, Any]]) -> str:
    """Return a row for each setting."""
    baseline, *others = lines
    persistence = (np.diff(SALES)[-JUDGED:] ** 2).tolist()

    def row(words: str, line: dict[str, Any]) -> list[str]:
        seeds = over_seeds(line["of_seeds"], baseline["of_seeds"])
        months = over_time(line["of_months"], baseline["of_months"])
        return [words, _rmse(line["of_months"]), change(seeds), change(months), beyond(line)]

    def beyond(line: dict[str, Any]) -> str:
        return change(over_time(line["of_months"], persistence))

    rows = [["persistence", _rmse(persistence), "", "", ""]]
    rows.append(["no knob", _rmse(baseline["of_months"]), "", "", beyond(baseline)])
    rows += [row(", ".join(f"{k} {v:g}" for k, v in line["setting"].items()), line) for line in others]
    header = ["setting", "RMSE", "squared error against no knob, 95 % over seeds", "95 % over months",
              "against persistence, 95 % over months"]  # fmt: skip
    return markdown(header, rows, numbers=(1, 2, 3, 4))


def _rmse(squares: Sequence[float]) -> str:
    return f"{math.sqrt(float(np.mean(squares))):.1f}"


def read(path: Path) -> list[dict[str, Any]]:
    """Return what was measured."""
    return [json.loads(line) for line in path.read_text().splitlines()]
