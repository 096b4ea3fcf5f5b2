"""Columns of categories in a forecast: a vector for each, known from the training rows, saved, and converted."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import lstmreg
from lstmreg import Config, DataConfig, Forecaster, ModelConfig, TrainingConfig, interop
from lstmreg.cli import main
from lstmreg.data.blocks import Block
from lstmreg.errors import CorruptFileError, DataError
from lstmreg.tasks import Forecast
from lstmreg.tasks.floors import ridge_on_windows
from lstmreg.training.single import Lesson, fit_held_out

ROWS, WORDS = 120, ["rain", "sun", "wind"]

DATA = DataConfig("shop.csv", "sales", window=5, horizon=2, tokens=["weather", "promo"], known_future=["promo"])


def frame(rows: int = ROWS) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "weather": generator.choice(WORDS, rows),
            "sales": generator.normal(100, 9, rows),
            "promo": generator.choice(["none", "half", "gift"], rows),
        }
    )
    table.loc[rows - 3 :, "weather"] = "hail"  # only where nothing trains
    return table


def known(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table that goes on, of which the last two rows are to be forecast."""
    table = table.copy()
    table.loc[len(table) - 2 :, "sales"] = np.nan
    return table


def trained(members: int = 1, **settings: object) -> tuple[Forecast, Lesson, Forecaster]:
    data = dataclasses.replace(DATA, **settings)
    config = Config(data, ModelConfig(hidden_size=4, members=members), TrainingConfig(max_epochs=2))
    task = Forecast.read(data, frame())
    fitted = fit_held_out(config, task=task).trained
    return task, fitted.lesson, fitted.predictor()


def test_each_token_goes_in_as_its_number_and_one_that_training_has_not_seen_as_zero() -> None:
    task = Forecast.read(DATA, frame())
    lesson = Lesson.of(task, task.hold_out())
    table = frame()
    numbers = {"weather": ["hail", *WORDS], "promo": ["gift", "half", "none"]}  # all that there are, in order
    for case in (0, 7, ROWS - 7):
        window = lesson.cases.inputs[case]
        for step in range(5):
            word, promo = table.weather[case + step], table.promo[case + step]
            later = table.promo[case + step + 2]
            assert window[step, 0] == (0 if word == "hail" else numbers["weather"].index(word) + 1)
            assert window[step, 2:].tolist() == [numbers["promo"].index(each) + 1 for each in (promo, later)]
    assert task.network(ModelConfig()).vocabularies == {0: 4, 2: 3, 3: 3}
    assert task.features == ("weather", "sales", "promo", "promo, 2 ahead")


def test_the_ridge_knows_of_a_token_which_one_it_is() -> None:
    task = Forecast.read(DATA, frame())
    split = task.hold_out()
    lesson = Lesson.of(task, split)
    x = lesson.cases.inputs
    dummies = [(x[..., k, None] == np.arange(1, count + 1)).astype(np.float32) for k, count in ((0, 4), (2, 3), (3, 3))]
    by_hand = np.concatenate([dummies[0], x[..., 1:2], *dummies[1:]], axis=-1)
    expected = ridge_on_windows(by_hand, lesson.cases.targets, split.train, split.validation, split.judged)
    assert expected is not None
    np.testing.assert_allclose(
        task.floors(split, split.judged)["ridge"], task.predictions(lesson.encoder, expected, split.judged)
    )


@pytest.mark.parametrize("scale", ["together", "by_group"])
def test_tokens_of_the_future_teach_nothing(scale: str) -> None:
    table = frame()
    table["shop"] = np.repeat(["a", "b"], ROWS // 2)
    data = dataclasses.replace(DATA, group="shop", scale=scale)
    # The same words are in both, so that the question is the same; who has them in training is another matter.
    other = table.copy()
    other.loc[np.arange(ROWS) % 60 >= 40, ["weather", "promo"]] = ["hail", "gift"]
    encoders = []
    for each in (table, other):
        task = Forecast.read(data, each)
        encoders.append(task.encoder(task.split(Block(40, 60))))
    ours, theirs = ({name: one.seen.tolist() for name, one in encoder.tokens.items()} for encoder in encoders)
    assert ours == theirs
    assert ours["weather"] == [False, True, True, True]
    for name in ("mean", "scale"):
        assert np.array_equal(getattr(encoders[0].inputs, name), getattr(encoders[1].inputs, name))


@pytest.mark.parametrize("members", [1, 2])
def test_what_is_saved_forecasts_a_file_a_frame_and_columns_alike(members: int, tmp_path: Path) -> None:
    task, lesson, made = trained(members)
    made.save(tmp_path / "it")
    loaded = lstmreg.load(tmp_path / "it")
    assert isinstance(loaded, Forecaster)
    frame().to_csv(tmp_path / "new.csv", index=False)
    rows, forecasts = loaded.historical_forecasts(tmp_path / "new.csv")
    judged = lesson.split.judged
    outputs = task.outputs(made.network, lesson.cases, judged)
    expected = task.predictions(lesson.encoder, outputs, judged)
    np.testing.assert_allclose(forecasts[np.isin(rows, judged + DATA.past)], expected, rtol=1e-6)
    table = known(frame())
    table.to_csv(tmp_path / "ahead.csv", index=False)
    forecast = loaded.predict(tmp_path / "ahead.csv")
    for other in (table, {name: table[name].to_numpy() for name in table}):
        np.testing.assert_array_equal(loaded.predict(other), forecast)
    # What counts is the word: a table that begins later numbers its tokens in another way.
    np.testing.assert_allclose(loaded.predict(table[-8:].reset_index(drop=True)), forecast, rtol=1e-6)
    other_word = table.copy()
    other_word.loc[ROWS - 1, "promo"] = "gift" if table.promo[ROWS - 1] != "gift" else "half"
    assert not np.allclose(loaded.predict(other_word), forecast)


def test_a_token_that_is_new_counts_as_unknown_and_is_told_and_a_column_of_new_ones_is_refused() -> None:
    _, _, made = trained()
    table = known(frame())
    found = made.predictions(table)
    assert any("has not seen 'hail' of column 'weather'" in note for note in found.notes)
    other = table.copy()
    other.loc[other.weather == "hail", "weather"] = "frogs"
    np.testing.assert_array_equal(made.predict(other), made.predict(table))
    other["weather"] = "frogs"
    with pytest.raises(DataError, match="column 'weather' has no token that training has seen, got frogs; seen were"):
        made.predict(other)


def test_a_damaged_vocabulary_is_refused(tmp_path: Path) -> None:
    _, _, made = trained()
    made.save(tmp_path)
    text = json.loads((tmp_path / "model.json").read_text())
    for change in ({"tokens": {"weather": ["rain"]}}, {"seen": {}}, {"tokens": {"weather": 3}}, {"tokens": {}}):
        (tmp_path / "model.json").write_text(json.dumps(text | {"about": text["about"] | change}))
        with pytest.raises(CorruptFileError):
            lstmreg.load(tmp_path)


@pytest.mark.parametrize("difference", [None, 1])
def test_a_graph_takes_the_numbers_of_tokens(difference: int | None, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    _, _, made = trained(difference=difference)
    raw = made.raw()
    assert raw.about["tokens"]["promo, 2 ahead"] == {"gift": 1, "half": 2, "none": 3}
    interop.save_onnx(raw, tmp_path / "model.onnx")
    table = known(frame())
    past = made.windower.past
    rows = np.arange(ROWS - 2 - past, ROWS - 2)
    number = {name: raw.about["tokens"][name] for name in raw.about["tokens"]}
    window = np.stack(
        [
            [number["weather"].get(word, 0) for word in table.weather[rows]],
            table.sales[rows],
            [number["promo"].get(word, 0) for word in table.promo[rows]],
            [number["promo, 2 ahead"].get(word, 0) for word in table.promo[rows + 2]],
        ],
        axis=1,
    )[None]
    expected = made.predict(table)
    np.testing.assert_allclose(raw(torch.from_numpy(window)).detach()[0], expected, rtol=1e-6)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    np.testing.assert_allclose(session.run(None, {session.get_inputs()[0].name: window})[0][0], expected, rtol=1e-5)


def test_layers_of_keras_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _, _, made = trained()
    made.save(tmp_path / "run")
    assert main(["convert", str(tmp_path / "run"), "-o", str(tmp_path / "out"), "--to", "keras"]) == 2
    assert "columns of tokens cannot become Keras' layers" in capfd.readouterr().err
