"""Trainings that nobody trains: what they might have given, at once and always the same, in place of real ones."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import numpy as np

from lstmreg.config import Config, DataConfig, ModelConfig, SearchConfig, TrainingConfig
from lstmreg.executors import Place
from lstmreg.executors.events import Ended
from lstmreg.executors.orders import Order
from lstmreg.executors.parcels import pack, unpack
from lstmreg.knobs import KNOBS
from lstmreg.search import valuing
from lstmreg.search.records import Result
from lstmreg.setting_path import whole
from lstmreg.tasks import Task

DATA = Path(__file__).parents[2] / "lstmreg" / "data"

#: Epochs of each training.
EPOCHS = 40

#: A training scatters so much by its seed, a seed by what all settings share of it, and an effect differs so much
#: between blocks (standard deviations of log losses).
_NOISE, _SHARED, _BETWEEN = 0.03, 0.04, 0.01

_PLACE = Place("host/1", "made up")


def appliances(folder: Path, name: str, **search: Any) -> Config:
    """Return the demo of 28 columns with an amount of one's own."""
    data = DataConfig(str(DATA / "appliances.csv.gz"), "Appliances", time="date", window=24, season=24)
    training = TrainingConfig(max_epochs=60, patience=8)
    amount = SearchConfig(learning_rates=[0.003, 0.01], **search)
    return Config(data, ModelConfig(hidden_size=16), training, amount, name=name, runs=str(folder))


def sunspots(folder: Path, name: str, hidden_size: int, **search: Any) -> Config:
    """Return the demo of one column, likewise."""
    data = DataConfig(str(DATA / "sunspots.csv"), "sunspots", time="year", window=24, season=11)
    training = TrainingConfig(max_epochs=40, patience=8)
    amount = SearchConfig(learning_rates=[0.01, 0.03], **search)
    return Config(data, ModelConfig(hidden_size=hidden_size), training, amount, name=name, runs=str(folder))


class MadeUp(futures.Executor):
    """An executor of ``concurrent.futures`` that looks at orders, and returns made up results.

    Args:
        task: The data.
    """

    def __init__(self, task: Task) -> None:
        self._task = task

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **more: Any) -> futures.Future[Any]:
        """Return how an order's trainings ended."""
        order: Order = unpack(arguments[0])
        future: futures.Future[Any] = futures.Future()
        ended = [
            Ended(member, self._outcome(config, key, order.value), _PLACE)
            for member, (config, key, _) in enumerate(order.trainings)
        ]
        future.set_result(pack(ended))
        return future

    def _outcome(self, config: Config, key: tuple[int, ...], value: Any) -> Any:
        made = result(config, key, len(self._task.features))
        if value is not valuing.tested:
            return made
        truth = self._task.truth(self._task.splits(config.search).final.judged)
        scatter = _generator(config.training.seed).normal(size=truth.shape)
        return valuing.Tested(made, truth + truth.std() * math.sqrt(made.loss) * scatter)


def result(config: Config, key: tuple[int, ...], columns: int) -> Result:
    """Return what a training of a configuration on a split gives: as long as real ones' results, and as noisy."""
    setting = {knob.path: float(getattr(config.model, knob.name)) for knob in KNOBS.values()}
    setting["training.weight_decay"] = config.training.weight_decay
    turned = {path: value for path, value in setting.items() if value}
    effect = sum(_effect(path, value) for path, value in turned.items())
    shared, own = _generator(config.training.seed, key), _generator(config.training.seed, key, turned)
    level = _generator(key).normal(0.0, 0.2) + shared.normal(0.0, _SHARED)
    between = _generator(key, turned).normal(0.0, _BETWEEN)
    loss = math.exp(level + effect + between + own.normal(0.0, _NOISE))
    epochs = np.arange(EPOCHS)
    val = loss * (1 + np.exp(-epochs / 4) + 0.002 * np.maximum(0, epochs - EPOCHS + 9) + 0.001 * own.random(EPOCHS))
    train = loss * (0.6 + np.exp(-epochs / 5))
    best = int(val.argmin())
    return Result(
        val_loss=float(val[best]),
        train_loss=float(train[best]),
        best_epoch=best,
        stopped="patience",
        train=[float(f"{each:.5g}") for each in train],
        val=[float(f"{each:.5g}") for each in val],
        seconds=round(0.5 + 0.1 * float(own.random()), 4),
        loss=loss,
        columns=[float(f"{each:.4g}") for each in own.random(columns)],
    )


def _effect(path: str, value: float) -> float:
    """Return what a setting does to the log loss: a little, a parabola of the logarithm of its value."""
    best = -1.0 - 2.0 * _generator(whole(path)).random()
    return -0.04 + 0.01 * (math.log10(value) - best) ** 2


def _generator(*what: Any) -> np.random.Generator:
    digest = hashlib.blake2b(repr(what).encode(), digest_size=8).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def with_workers(config: Config, **where: Any) -> Config:
    """Return a configuration whose trainings run elsewhere."""
    return dataclasses.replace(config, search=dataclasses.replace(config.search, **where))
