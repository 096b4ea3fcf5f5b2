"""Each task on real data that come with a package of the tests: from the file to errors and a saved model."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstmreg import load
from lstmreg.config import Config, DataConfig, ModelConfig, TrainingConfig
from lstmreg.training.single import HeldOut, fit_held_out

SUNSPOTS = Path(__file__).parents[2] / "lstmreg" / "data" / "sunspots.csv"

#: Enough to tell that it learns.
IMAGES = 400


@pytest.fixture(scope="module")
def images() -> Any:
    from sklearn.datasets import load_digits

    return load_digits()


def write(path: Path, header: list[str], rows: Iterable[list[Any]]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def fitted(task: str, data: DataConfig, **training: Any) -> HeldOut:
    """Train a network for a few seconds, on one split."""
    model, settings = ModelConfig(hidden_size=16), {"learning_rate": 0.02, "max_epochs": 25, "patience": 5} | training
    return fit_held_out(Config(data, model, TrainingConfig(**settings), task=task))


def test_forecast_next_years_sunspots() -> None:
    held_out = fitted("forecast", DataConfig(str(SUNSPOTS), "sunspots", time="year", window=24, season=11))
    assert held_out.test_error < min(held_out.test_floors.values())


def test_classify_digits_row_by_row(images: Any, tmp_path: Path) -> None:
    rows = ([n, *images.images[n, row].astype(int), images.target[n]] for n in range(IMAGES) for row in range(8))
    path = write(tmp_path / "digits.csv", ["image", *(f"x{k}" for k in range(8)), "digit"], rows)
    config = DataConfig(path, "digit", sequence="image")
    held_out = fitted("classify", config)
    assert held_out.errors["accuracy"] > 0.7 > 3 * held_out.floors["majority"]["accuracy"]
    held_out.trained.predictor().save(tmp_path)
    judged = held_out.trained.lesson.split.judged
    most_likely = held_out.trained.predict(judged).argmax(axis=1).astype(str)
    np.testing.assert_array_equal(load(tmp_path).predict(path)[judged], most_likely)


def test_regress_the_ink_on_the_right_from_the_left_half(images: Any, tmp_path: Path) -> None:
    ink = images.images[:, :, 4:].mean(axis=(1, 2))
    rows = ([n, *images.images[n, row, :4].astype(int), f"{ink[n]:.4f}"] for n in range(IMAGES) for row in range(8))
    path = write(tmp_path / "halves.csv", ["image", *(f"x{k}" for k in range(4)), "ink"], rows)
    held_out = fitted("regress", DataConfig(path, "ink", sequence="image"))
    assert held_out.test_error < 0.85 * held_out.test_floors["mean"]


def test_label_each_row_with_the_digit_that_is_being_read(images: Any, tmp_path: Path) -> None:
    """What a row shows by itself is little; what came before it helps."""
    rows = ([n, *images.images[n, row].astype(int), images.target[n]] for n in range(IMAGES) for row in range(8))
    path = write(tmp_path / "rows.csv", ["image", *(f"x{k}" for k in range(8)), "digit"], rows)
    held_out = fitted("label", DataConfig(path, "digit", sequence="image"))
    assert held_out.errors["accuracy"] > held_out.floors["logistic"]["accuracy"] + 0.1
