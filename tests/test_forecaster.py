"""A saved model forecasts a table in the table's own units, as the one that was trained did."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import lstmreg
from lstmreg import DataConfig, Ensemble, Forecaster, ModelConfig, Network, TrainingConfig, interop, models
from lstmreg.data.blocks import Block
from lstmreg.data.table import Series, read_series
from lstmreg.data.windows import Scaler, Windower
from lstmreg.errors import CorruptFileError, DataError
from lstmreg.tasks import Forecast
from lstmreg.training.single import Lesson, Trained

ROWS, WINDOW = 40, 5

#: Which columns go in, how many steps are forecast, and how many rows back the target is differenced.
CASES = [
    (["price", "sales"], 1, 0),
    (["price", "sales"], 3, 1),
    (["price"], 2, 4),
    (["price"], 3, 0),
    (["sales"], 1, 1),
]


def columns() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {"price": generator.normal(30, 4, ROWS), "sales": 100 + np.arange(ROWS) + generator.normal(size=ROWS)}


def trained(features: list[str], horizon: int, lag: int, members: int = 1, **reading: Any) -> Trained:
    """Return a network as it begins, with data that fixed its scales."""
    table, config = columns(), ModelConfig(hidden_size=4)
    inputs = np.stack([table[name] for name in features], axis=1)
    labels = tuple(map(str, range(ROWS)))
    series = Series("t.csv", "", tuple(features), ("sales",), inputs, table["sales"][:, None], labels, (), reading)
    difference = {0: None, 1: 1}.get(lag, "season")
    question = DataConfig("t.csv", "sales", window=WINDOW, horizon=horizon, difference=difference, season=lag or None)
    task = Forecast(question, series)
    lesson = Lesson.of(task, task.split(Block(25, ROWS)))
    networks = [Network(config, len(features), horizon).eval() for _ in range(members)]
    return Trained(networks[0] if members == 1 else Ensemble(networks), lesson, (), 0.5, 0.25, TrainingConfig())


def as_array(forecaster: Forecaster) -> np.ndarray:
    return np.stack([columns()[name] for name in forecaster.columns], axis=1)


def reloaded(forecaster: Forecaster, directory: Path) -> Forecaster:
    forecaster.save(directory)
    found = lstmreg.load(directory)
    assert isinstance(found, Forecaster)
    return found


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize(("features", "horizon", "lag"), CASES)
def test_what_is_loaded_forecasts_bit_for_bit_as_what_was_trained(features, horizon, lag, members, tmp_path):
    made = trained(features, horizon, lag, members)
    forecaster = reloaded(made.predictor(), tmp_path)
    expected = made.predict(made.lesson.split.validation)
    rows, forecasts = forecaster.historical_forecasts(as_array(forecaster), 25, ROWS - horizon + 1)
    assert list(rows) == list(range(25, ROWS - horizon + 1))
    np.testing.assert_array_equal(forecasts, expected)
    assert forecaster.about() == made.predictor().about()
    assert (forecaster.val_loss, forecaster.network.training) == (0.25, False)


@pytest.mark.parametrize(("features", "horizon", "lag"), CASES)
def test_a_forecast_knows_the_rows_before_it_and_no_others(features, horizon, lag):
    forecaster = trained(features, horizon, lag).predictor()
    table = as_array(forecaster)
    rows, forecasts = forecaster.historical_forecasts(table)
    assert list(rows) == list(range(WINDOW + lag, ROWS + 1))
    for row, forecast in zip(rows[::9], forecasts[::9], strict=True):
        alone = forecaster.predict(table[row - WINDOW - lag : row])
        assert alone.shape == (horizon,)
        np.testing.assert_allclose(alone, forecast, rtol=1e-6)


@pytest.mark.parametrize("lag", [0, 1, 4])
def test_scales_and_differences_are_undone_as_by_hand(lag):
    forecaster = trained(["price", "sales"], 6, lag).predictor()
    head = forecaster.network.head
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.constant_(head.bias, 0.5)  # of what it learns, half a standard deviation above the mean
    y, target = columns()["sales"], forecaster.windower.target
    known = {0: [0.0] * 6, 1: [y[-1]] * 6, 4: [*y[-4:], *y[-4:-2]]}[lag]
    np.testing.assert_allclose(forecaster.predict(columns()), known + target.mean + 0.5 * target.scale, rtol=1e-6)


def test_a_table_may_be_columns_by_name_a_data_frame_an_array_or_a_file(tmp_path):
    reading = {"time": "day", "sort": True, "delimiter": ";", "decimal": ",", "thousands": None, "missing": "drop"}
    forecaster = reloaded(trained(["price"], 2, 1, **reading).predictor(), tmp_path)
    assert forecaster.columns == ("price", "sales")  # the changes that it learned are to be added to something
    expected = forecaster.predict(as_array(forecaster))
    table = {"more": ["x"] * ROWS, **columns()}
    path = tmp_path / "new.csv"
    lines = ["day;sales;price", "99;;"]
    for day in reversed(range(ROWS)):
        lines.append(f"{day};{float(table['sales'][day])};{float(table['price'][day])}")
    path.write_text("\n".join(lines).replace(".", ","))
    frames = [pd.DataFrame(table), pl.DataFrame(table)]
    for given in (table, *frames, torch.from_numpy(as_array(forecaster)), path, str(path)):
        np.testing.assert_array_equal(forecaster.predict(given), expected)


def test_the_series_of_a_file_keeps_how_it_was_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("day;y\n2;1,5\n1;2,5\n")
    series = read_series(DataConfig(str(path), "y", time="day", sort=True, delimiter=";", decimal=","))
    expected = {"time": "day", "sort": True, "delimiter": ";", "decimal": ",", "thousands": None, "missing": "error"}
    assert series.reading == expected


def test_a_file_needs_no_target_where_the_model_does_not(tmp_path):
    forecaster = trained(["price"], 2, 0).predictor()
    path = tmp_path / "new.csv"
    path.write_text("price\n" + "\n".join(str(float(value)) for value in columns()["price"]))
    np.testing.assert_array_equal(forecaster.predict(path), forecaster.predict(columns()["price"]))


BAD_TABLES: dict[str, tuple[Any, str]] = {
    "another column": ({"prices": [1.0], "sales": [1.0]}, r"no column 'price'.*columns: prices, sales\. Did you mean"),
    "too few columns": (np.ones((9, 1)), r"shape \(N, 2\), the columns price, sales, got \(9, 1\)"),
    "one row": (np.ones(2), r"got \(2,\)"),
    "uneven columns": ({"price": [1.0, 2.0], "sales": [1.0]}, r"equally long, got price \(2,\), sales \(1,\)"),
    "too few rows": (np.ones((6, 2)), r"6 rows are too few; the model needs 7 .*a window of 5 and 2 rows before it"),
    "a hole": (np.where(np.arange(18).reshape(9, 2) == 5, np.nan, 1.0), r"got nan in row 2, column 'sales'"),
    "beyond float32": (np.full((9, 2), 1e39), "finite in float32"),
    "text": ([["a", "b"]] * 9, "must hold numbers"),
    "nothing": (None, "shape"),
}


@pytest.mark.parametrize(("table", "message"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_table_that_does_not_fit_is_refused_with_the_reason(table, message):
    forecaster = trained(["price", "sales"], 1, 2).predictor()
    with pytest.raises(DataError, match=message):
        forecaster.predict(table)
    with pytest.raises(DataError, match=message):
        forecaster.historical_forecasts(table)


def test_a_file_without_a_column_is_refused_by_its_name(tmp_path):
    (tmp_path / "new.csv").write_text("price\n" + "1\n" * ROWS)
    with pytest.raises(DataError, match=r"unknown column 'sales' in .*new\.csv"):
        trained(["price", "sales"], 1, 0).predictor().predict(tmp_path / "new.csv")


def test_a_forecast_leaves_the_networks_mode_and_drops_nothing():
    made = trained(["price", "sales"], 1, 0)
    dropping = Network(ModelConfig(hidden_size=4, dropout=0.5), 2, 1).train()
    forecaster = Forecaster(dropping, ("price", "sales"), "sales", made.lesson.encoder)
    np.testing.assert_array_equal(forecaster.predict(columns()), forecaster.predict(columns()))
    assert dropping.training
    assert not made.network.training
    made.predictor().predict(columns())
    assert not made.network.training


def test_a_network_of_double_precision_forecasts_too():
    forecaster = trained(["price", "sales"], 1, 1).predictor()
    single = forecaster.predict(columns())
    forecaster.network.double()
    np.testing.assert_allclose(forecaster.predict(columns()), single, rtol=1e-6)


def test_from_rows_without_a_window_nothing_is_forecast():
    forecaster = trained(["price", "sales"], 3, 0).predictor()
    rows, forecasts = forecaster.historical_forecasts(columns(), stop=2)
    assert (rows.shape, forecasts.shape) == ((0,), (0, 3))


def test_a_network_that_does_not_fit_its_columns_is_refused():
    windower = Windower(5, 1, Scaler(np.zeros(2), np.ones(2)), Scaler(np.array(0.0), np.array(1.0)))
    with pytest.raises(ValueError, match=r"input_size must be 2, .*got 3"):
        Forecaster(Network(ModelConfig(4), 3, 1), ("a", "b"), "a", windower)
    with pytest.raises(ValueError, match=r"output_size must be 1, .*got 2"):
        Forecaster(Network(ModelConfig(4), 2, 2), ("a", "b"), "a", windower)
    with pytest.raises(ValueError, match="must not be stateful"):
        Forecaster(Network(ModelConfig(4, stateful=True), 2, 1), ("a", "b"), "a", windower)


# ---------------------------------------------------------------------- one door to what was saved


def test_a_model_that_was_saved_before_its_reading_was_forecasts(tmp_path):
    made = trained(["price", "sales"], 2, 1)
    about = {name: value for name, value in made.predictor().about().items() if name != "reading"}
    models.save(tmp_path, made.network, about)
    forecaster = lstmreg.load(tmp_path)
    np.testing.assert_array_equal(forecaster.predict(columns()), made.predictor().predict(columns()))


def test_a_converted_model_and_a_network_by_itself_come_back_by_the_same_door(tmp_path):
    network = Network(ModelConfig(4), 2, 1).eval()
    x = torch.randn(2, 5, 2)
    interop.save_model(network, tmp_path / "converted")
    models.save(tmp_path / "alone", network, {"by": "hand"})
    converted, alone = lstmreg.load(str(tmp_path / "converted")), lstmreg.load(tmp_path / "alone")
    assert isinstance(converted, interop.KerasModel)
    assert isinstance(alone, Network)
    torch.testing.assert_close(converted(x), network(x))
    assert torch.equal(alone(x), network(x))
    with pytest.raises(CorruptFileError, match=r"format 'keras-layers-1'; expected 1\. lstmreg\.load reads every kind"):
        models.load(tmp_path / "converted")


def test_a_model_of_half_precision_comes_back_whichever_kind_it_is(tmp_path):
    interop.save_model(interop.load_model(saved_network(tmp_path / "alone")).half(), tmp_path / "converted")
    models.save(tmp_path / "half", Network(ModelConfig(4), 2, 1).half(), {})
    for name in ("converted", "half"):
        assert {w.dtype for w in lstmreg.load(tmp_path / name).state_dict().values()} == {torch.float16}


def saved_network(directory: Path) -> Path:
    models.save(directory, Network(ModelConfig(4), 2, 1), {})
    return directory


def test_where_nothing_is_saved_the_error_says_what_is_there(tmp_path):
    with pytest.raises(CorruptFileError, match=r"no saved model \(no such folder\)\. A fit saves into runs/NAME/fit"):
        lstmreg.load(tmp_path / "x")
    with pytest.raises(CorruptFileError, match=r"no model\.json in this folder"):
        lstmreg.load(tmp_path)
    with pytest.raises(CorruptFileError, match=r"a saved model is a folder\)\. Name the folder"):
        lstmreg.load(saved_network(tmp_path) / "model.json")


DAMAGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a window in words": lambda about: about | {"window": "5"},
    "no window": lambda about: about | {"window": 0},
    "a horizon of others": lambda about: about | {"horizon": 2},
    "too many columns": lambda about: about | {"features": ["a", "b", "c"]},
    "columns that are numbers": lambda about: about | {"features": [1, 2]},
    "a target that is none": lambda about: about | {"target": None},
    "too few scales": lambda about: about | {"inputs": {"mean": [0.0], "scale": [1.0]}},
    "a scale of zero": lambda about: about | {"outputs": {"mean": 0.0, "scale": 0.0}},
    "a mean that is NaN": lambda about: about | {"outputs": {"mean": float("nan"), "scale": 1.0}},
    "no scale": lambda about: about | {"outputs": {"mean": 0.0}},
    "a negative lag": lambda about: about | {"difference": {"lag": -1}},
    "a difference in words": lambda about: about | {"difference": "1"},
    "a reading that there is not": lambda about: about | {"reading": {"missing": "guess"}},
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_facts_that_do_not_fit_are_refused_when_they_are_read(damage, tmp_path):
    trained(["price", "sales"], 1, 1).predictor().save(tmp_path)
    path = tmp_path / "model.json"
    description = json.loads(path.read_text())
    path.write_text(json.dumps(description | {"about": damage(description["about"])}))
    with pytest.raises(CorruptFileError) as caught:
        lstmreg.load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    models.load(tmp_path)  # whose caller reads them alone
