"""Damaged descriptions of saved models, of every kind: refused in one line, or what is loaded predicts finitely."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lstmreg
from lstmreg import Config, DataConfig, ModelConfig, TrainingConfig
from lstmreg.errors import LstmregError
from lstmreg.tasks import read_task
from lstmreg.training.single import fit_held_out
from tests.mutations import fault, limits, mutated_bytes

ORDINARY, MANY = 200, 5_000  #: of each model in the ordinary run, and behind the marker
SECONDS = 20  #: for each file

HOSTILE = [
    None,
    True,
    -1,
    0,
    1,
    3,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "../../x",
    "=cmd()",
    "\0",
    "é" * 999,
    [],
    {},
    [[]],
]


def shops() -> pd.DataFrame:
    generator, rows = np.random.default_rng(0), 240
    table = {"day": np.arange(rows) // 2, "shop": ["a", "b"] * (rows // 2), "sales": generator.normal(9, 2, rows)}
    return pd.DataFrame(table | {"promo": generator.choice(["none", "half", "gift"], rows)})


def waves() -> pd.DataFrame:
    return pd.DataFrame({"day": np.arange(120), "wave": np.sin(np.arange(120) / 5), "other": np.arange(120) % 7.0})


def words() -> pd.DataFrame:
    generator, rows = np.random.default_rng(0), 240
    table = {"id": np.arange(rows) // 4, "x": generator.normal(size=rows), "word": generator.choice(["so", "no"], rows)}
    return pd.DataFrame(table | {"kind": np.array(["u", "v", "w"])[np.arange(rows) // 4 % 3]})


SHOPS = DataConfig(
    "shops",
    "sales",
    time="day",
    group="shop",
    scale="by_group",
    tokens=["promo"],
    features=["sales", "promo"],
    window=4,
    horizon=2,
    difference=1,
)

MODELS: dict[str, tuple[str, Callable[[], pd.DataFrame], DataConfig]] = {
    "forecast": ("forecast", shops, SHOPS),
    "plain": ("forecast", waves, DataConfig("waves", "wave", time="day", window=6, horizon=2)),
    "classify": ("classify", words, DataConfig("words", "kind", sequence="id", tokens=["word"])),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    for name, (task, table, data) in MODELS.items():
        training = TrainingConfig(max_epochs=1)
        config = Config(data, ModelConfig(hidden_size=3, dropout=0.1), training, task=task)
        fit_held_out(config, task=read_task(config, table())).trained.predictor().save(folder / name)
    return folder


def changed(content: bytes, rng: random.Random) -> bytes:
    """Return a description with a value that does not belong there, or with other bytes."""
    if rng.random() < 0.3:
        return mutated_bytes(content, rng)
    whole = json.loads(content)
    inner: Any = whole["about"] if rng.random() < 0.9 else whole
    *path, last = rng.choice(_places(inner))
    for key in path:
        inner = inner[key]
    if rng.random() < 0.15:
        del inner[last]
    else:
        inner[last] = rng.choice(HOSTILE)
    return json.dumps(whole).encode()


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = (
        list(value.items())
        if isinstance(value, dict)
        else list(enumerate(value[:3]))
        if isinstance(value, list)
        else []
    )
    return [(*path, key) for key, _ in inner] + [place for key, each in inner for place in _places(each, (*path, key))]


def ask(folder: Path, table: pd.DataFrame) -> str | None:
    """Load a model and ask it; return what is wrong with what it predicts."""
    try:
        model = lstmreg.load(folder)
    except LstmregError as error:
        return None if error.exit_code == 4 else f"refuses the model with exit code {error.exit_code}"
    if isinstance(model, (lstmreg.Forecaster, lstmreg.SequencePredictor)):
        found = model.predictions(table)
        numbers = [np.asarray(c, float) for c in found.columns.values() if c.dtype.kind == "f"]
        if not len(found) or any(np.isnan(each).all() for each in numbers):
            return "predicts nothing"
    return None


def faults(saved: Path, folder: Path, name: str, count: int) -> dict[int, str]:
    content, rng, found = (saved / name / "model.json").read_bytes(), random.Random(name), {}
    shutil.copy(saved / name / "model.safetensors", folder)
    table = MODELS[name][1]()
    (folder / "model.json").write_bytes(content)
    assert ask(folder, table) is None
    with limits(), np.errstate(all="ignore"):
        for index in range(count):
            (folder / "model.json").write_bytes(changed(content, rng))
            if wrong := fault(lambda: ask(folder, table), SECONDS):
                found[index] = wrong
    return found


@pytest.mark.parametrize("name", MODELS)
def test_a_damaged_description_is_refused_or_predicts(name: str, saved: Path, tmp_path: Path) -> None:
    assert faults(saved, tmp_path, name, ORDINARY) == {}


@pytest.mark.storm
@pytest.mark.parametrize("name", MODELS)
def test_many_damaged_descriptions_are_refused_or_predict(name: str, saved: Path, tmp_path: Path) -> None:
    assert faults(saved, tmp_path, name, MANY) == {}
