"""What is given from Python is read as the file with the same cells is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from torch.utils.data import TensorDataset

from lstmreg import Config, DataConfig, ModelConfig, search
from lstmreg.errors import ConfigError, DataError
from lstmreg.tasks import Classify, Forecast, Label, Regress, Split
from tests.tiny import smallest_config

ROWS = 40


def columns() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {"y": generator.normal(size=ROWS), "x": generator.normal(size=ROWS)}


@pytest.mark.parametrize("make", [dict, pd.DataFrame, pl.DataFrame])
def test_a_series_in_memory_is_that_of_its_file(make, tmp_path: Path) -> None:
    data = DataConfig(str(tmp_path / "t.csv"), "y", window=4)
    pd.DataFrame(columns()).to_csv(data.path, index=False)
    file, given = Forecast.read(data), Forecast.read(data, make(columns()))
    assert given.features == file.features
    np.testing.assert_array_equal(given.series.inputs, file.series.inputs)
    np.testing.assert_array_equal(given.series.target, file.series.target)


def test_an_array_is_a_series_of_numbered_columns() -> None:
    values = np.stack(list(columns().values()), axis=1)
    task = Forecast.read(DataConfig("the array", "1", window=4), values)
    assert task.features == ("0", "1")
    np.testing.assert_array_equal(task.series.target, values[:, 1])
    single = Forecast.read(DataConfig("the array", "0", window=4), values[:, 0])
    np.testing.assert_array_equal(single.series.inputs, values[:, :1])


def test_sequences_are_arrays_lists_tensors_datasets_and_frames_alike() -> None:
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(6, 5, 2)), ["a", "b"] * 3
    data = DataConfig("the arrays", "kind")
    expected = Classify.read(data, (x, y)).sequences
    for given in [(torch.tensor(x), y), (list(x), np.array(y))]:
        found = Classify.read(data, given).sequences
        np.testing.assert_array_equal(found.inputs, expected.inputs)
        assert found.targets.tolist() == expected.targets.tolist() == y
    numbers = torch.tensor([0, 1] * 3)
    of_dataset = Classify.read(data, TensorDataset(torch.tensor(x), numbers)).sequences
    np.testing.assert_array_equal(of_dataset.inputs, expected.inputs)
    assert of_dataset.targets.tolist() == ["0", "1"] * 3
    frame = pd.DataFrame(x.reshape(30, 2), columns=["0", "1"])
    frame["id"], frame["kind"] = np.repeat(np.arange(6), 5), np.repeat(y, 5)
    of_frame = Classify.read(DataConfig("the frame", "kind", sequence="id"), frame).sequences
    np.testing.assert_array_equal(of_frame.inputs, expected.inputs)
    assert of_frame.targets.tolist() == y
    groups = Classify.read(data, (x, y, list("ppqqrr"))).sequences.groups
    assert groups == tuple("ppqqrr")


def test_a_step_of_whole_numbers_without_a_label_has_none() -> None:
    labels = np.array([[0, 1, -100], [1, -100, -100]])
    sequences = Label.read(DataConfig("a", "y"), (np.zeros((2, 3, 1)), labels)).sequences
    assert sequences.targets.tolist() == ["0", "1", "", "1", "", ""]


def test_a_frame_is_forecast_in_the_order_of_its_times_and_with_its_gaps_filled(tmp_path: Path) -> None:
    times = pd.date_range("2024-01-01", periods=ROWS, freq="h").astype(str)
    frame = pd.DataFrame({"time": times, "y": columns()["y"]})
    frame.loc[5, "y"] = np.nan
    data = DataConfig("frame", "y", time="time", sort=True, missing="ffill", window=4)
    task = Forecast.read(data, frame)
    encoder = task.encoder(task.hold_out())
    forecaster = task.predictor(task.network(ModelConfig(2)).eval(), encoder)
    frame.to_csv(tmp_path / "t.csv", index=False)
    expected = forecaster.predict(tmp_path / "t.csv")
    for given in (frame, frame.iloc[::-1], pl.from_pandas(frame), frame.to_dict("list")):
        np.testing.assert_array_equal(forecaster.predict(given), expected)
    assert forecaster.predictions(frame).names == ("2024-01-02 16:00:00",)


def test_tokens_that_training_has_not_seen_are_told_and_a_column_of_nothing_else_is_refused() -> None:
    frame = pd.DataFrame({"id": np.repeat(range(8), 2), "k": ["a", "b"] * 8, "y": np.repeat(["u", "v"] * 4, 2)})
    data = DataConfig("frame", "y", sequence="id", tokens=["k"], test_fraction=0.25)
    task = Classify.read(data, frame)
    split = Split((0,), ("", ""), np.arange(6), np.arange(6, 8))
    predictor = task.predictor(task.network(ModelConfig(2)).eval(), task.encoder(split))
    assert predictor.predictions(frame).notes == ()
    (note,) = predictor.predictions(frame.assign(k=["a", "new"] * 8)).notes
    assert "'new' of column 'k'" in note
    with pytest.raises(DataError, match="column 'k' has no token that training has seen, got 1, 2; seen were a, b"):
        predictor.predict(frame.assign(k=["1", "2"] * 8))


@pytest.mark.parametrize(
    ("written", "otherwise"),
    [
        (("1", "2"), ("1.0", "2.0")),
        (("1.0", "2.0"), ("1", "2")),
        (("True", "False"), ("true", "false")),
        (("True", "False"), (True, False)),
        ((True, False), ("TRUE", "FALSE")),
        (("-3", "07"), ("-3.", "07")),
    ],
)
def test_a_token_is_known_however_another_program_writes_its_number(
    written: tuple[object, ...], otherwise: tuple[object, ...], tmp_path: Path
) -> None:
    frame = pd.DataFrame({"id": np.repeat(range(8), 2), "k": [*written] * 8, "y": np.repeat(["u", "v"] * 4, 2)})
    task = Classify.read(DataConfig("frame", "y", sequence="id", tokens=["k"], test_fraction=0.25), frame)
    split = Split((0,), ("", ""), np.arange(6), np.arange(6, 8))
    predictor = task.predictor(task.network(ModelConfig(2)).eval(), task.encoder(split))
    other = frame.assign(k=[*otherwise] * 8)
    assert predictor.predictions(other).notes == ()
    np.testing.assert_array_equal(predictor.predict_proba(other), predictor.predict_proba(frame))
    other.to_csv(tmp_path / "other.csv", index=False)
    np.testing.assert_array_equal(predictor.predict_proba(tmp_path / "other.csv"), predictor.predict_proba(frame))


@pytest.mark.parametrize(("written", "other"), [(("7", "07"), "7.0"), (("1", "True"), "true"), (("07", "a"), "7")])
def test_a_token_that_might_be_two_or_none_is_unknown(written: tuple[str, str], other: str) -> None:
    frame = pd.DataFrame({"id": np.repeat(range(8), 2), "k": [*written] * 8, "y": np.repeat(["u", "v"] * 4, 2)})
    task = Classify.read(DataConfig("frame", "y", sequence="id", tokens=["k"], test_fraction=0.25), frame)
    encoder = task.encoder(Split((0,), ("", ""), np.arange(6), np.arange(6, 8)))
    found = encoder.unknown(Classify.read(task.data, frame.assign(k=[written[0], other] * 8)).sequences)
    assert found == ({} if other == "7.0" else {"k": (other,)})


def test_sequences_of_unequal_lengths_are_regressed_and_labelled() -> None:
    x = [np.ones((3, 2)), np.zeros((5, 2))]
    assert Regress.read(DataConfig("a", "y"), (x, [0.5, 1.5])).sequences.lengths.tolist() == [3, 5]
    labelled = Label.read(DataConfig("a", "y"), (x, [["u"] * 3, ["v"] * 5])).sequences
    assert labelled.targets.tolist() == ["u"] * 3 + ["v"] * 5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"y": [1.0, 2.0], "x": [1.0]}, r"equally long, got y 2, x 1"),
        ((np.zeros(3), np.zeros(3)), "a series is one table, got a tuple of 2"),
        (np.zeros((2, 3, 4)), r"must have shape \(N, columns\), got \(2, 3, 4\)"),
        ([object()], "is no table"),
    ],
)
def test_what_is_no_series_is_refused(given, message) -> None:
    with pytest.raises(DataError, match=message):
        Forecast.read(DataConfig("given", "y", window=1), given)


def test_a_search_takes_a_frame_and_asks_for_no_file(tmp_path: Path) -> None:
    config: Config = smallest_config(tmp_path)
    frame = pd.read_csv(config.data.path)
    Path(config.data.path).unlink()
    evidence = search.run(config, data=frame)
    assert (evidence.card.size, evidence.card.is_in_memory) == (120, True)
    assert (evidence.config.directory / "model.safetensors").exists()


def test_what_is_not_calibrated_has_no_intervals_and_groups_with_scales_of_their_own_are_no_graph() -> None:
    frame = pd.DataFrame({"y": np.tile(columns()["y"], 2), "shop": np.repeat(["a", "b"], ROWS)})
    task = Forecast.read(DataConfig("frame", "y", group="shop", scale="by_group", window=4), frame)
    forecaster = task.predictor(task.network(ModelConfig(2)).eval(), task.encoder(task.hold_out()))
    assert list(forecaster.predictions(frame).columns) == ["shop", "y"]
    with pytest.raises(ConfigError, match="this model has none"):
        forecaster.predictions(frame, confidence=0.9)
    with pytest.raises(ConfigError, match="scales for each group"):
        forecaster.raw()


def test_the_forecasts_of_a_panel_name_the_shop_and_the_step_of_each() -> None:
    frame = pd.DataFrame({"y": np.arange(2.0 * ROWS), "shop": np.repeat(["a", "b"], ROWS)})
    frame["day"] = np.tile(np.arange(ROWS), 2)
    task = Forecast.read(DataConfig("frame", "y", group="shop", time="day", window=4, horizon=2), frame)
    forecaster = task.predictor(task.network(ModelConfig(2)).eval(), task.encoder(task.hold_out()))
    found = forecaster.predictions(frame)
    assert found.names == ("40", "41", "40", "41")
    assert found.columns["shop"].tolist() == ["a", "a", "b", "b"]
    assert found.columns["step"].tolist() == [1, 2, 1, 2]
    by_group = forecaster.predict_by_group(frame)
    np.testing.assert_array_equal(found.columns["y"], np.concatenate([by_group["a"], by_group["b"]]))
    past = forecaster.predictions(frame, history=True)
    is_known = ~np.isnan(past.columns["y_true"])
    # Of each shop the steps 4 to 39 are forecast from the row itself, those from 5 on from the row before too.
    assert is_known.sum() == 2 * (36 + 35)
    truth = {(shop, str(day)): y for shop, day, y in zip(frame["shop"], frame["day"], frame["y"], strict=True)}
    keys = zip(past.columns["shop"].tolist(), past.names, strict=True)
    expected = np.array([truth.get(key, np.nan) for key in keys])
    np.testing.assert_array_equal(past.columns["y_true"], expected)
