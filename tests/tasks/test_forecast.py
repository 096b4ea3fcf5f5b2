"""Forecasts of several series, targets and columns known in advance: as a loop makes them, and nothing leaks."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lstmreg
from lstmreg import Config, DataConfig, Forecaster, ModelConfig, SearchConfig, TrainingConfig
from lstmreg.data.blocks import Block
from lstmreg.data.floors import floor_predictions
from lstmreg.data.sources.memory import TableInMemory
from lstmreg.data.table import read_series
from lstmreg.errors import DataError
from lstmreg.losses import CRITERIA
from lstmreg.tasks import Forecast
from lstmreg.training.single import Lesson, Trained, fit_held_out

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

Columns = dict[str, list[Any]]

#: Ragged at both ends, and one with a hole.
SPANS = {"Bern": range(40), "Basel": range(9, 40), "Chur": [*range(20), *range(23, 36)], "Davos": range(30, 33)}


def columns(spans: dict[str, Any] = SPANS, seed: int = 0) -> Columns:
    """Return a table whose rows are sorted by time, not by group."""
    rows = sorted((day, name) for name, days in spans.items() for day in days)
    generator = np.random.default_rng(seed)
    levels = {name: 10.0 ** (1 + k) for k, name in enumerate(spans)}
    found: Columns = {"day": [float(day) for day, _ in rows], "shop": [name for _, name in rows]}
    for name in ("sales", "visits", "promo", "price"):
        found[name] = [levels[shop] * (1 + generator.normal()) for _, shop in rows]
    return found


def as_table(given: Columns) -> TableInMemory:
    def column(name: str) -> Any:
        cells = given[name]
        return cells if isinstance(cells[0], str) else np.array(cells, dtype=np.float64)

    return TableInMemory("shops.csv", "", list(given), len(given["day"]), column)


def question(**other: Any) -> DataConfig:
    return DataConfig(
        "shops.csv", **{"target": "sales", "time": "day", "group": "shop", "window": 4, "horizon": 2} | other
    )


def make(data: DataConfig, given: Columns | None = None) -> Forecast:
    return Forecast(data, read_series(data, as_table(columns() if given is None else given)))


questions = st.builds(
    question,
    target=st.sampled_from(["sales", ["sales"], ["sales", "visits"]]),
    features=st.sampled_from([None, ["price", "sales"], ["price"]]),
    known_future=st.sampled_from([None, ["promo"], ["promo", "price"]]),
    window=st.integers(3, 5),
    horizon=st.integers(1, 3),
    season=st.just(3),
    difference=st.sampled_from([None, 1, "season"]),
    scale=st.sampled_from(["together", "by_group"]),
)
origins = st.integers(18, 34)


# ---------------------------------------------------------------------- as a loop makes them


def by_hand(data: DataConfig, given: Columns, origin: int) -> dict[tuple[str, float], tuple[list, list, float]]:
    """Return inputs and targets of every window, unscaled, by group and time of the first step."""
    targets = [data.target] if isinstance(data.target, str) else data.target
    features = data.features or [name for name in given if name not in ("day", "shop")]
    rows: dict[str, list[int]] = {}
    for k, shop in enumerate(given["shop"]):
        rows.setdefault(shop, []).append(k)
    found = {}
    for shop, places in rows.items():

        def value(name: str, step: int, places: list[int] = places) -> float:
            return given[name][places[step]]

        def own(name: str, step: int) -> float:
            return value(name, step) - (value(name, step - data.lag) if name in targets and data.lag else 0.0)

        for first in range(data.window + data.lag, len(places) - data.horizon + 1):
            window = [
                [own(name, t) for name in features] + [value(n, t + data.horizon) for n in data.known_future or []]
                for t in range(first - data.window, first)
            ]
            ahead = []
            for step in range(data.horizon):
                back = first + step
                while data.lag and back >= first:
                    back -= data.lag
                ahead += [value(n, first + step) - (value(n, back) if data.lag else 0.0) for n in targets]
            last = given["day"][places[first + data.horizon - 1]]
            found[shop, given["day"][places[first]]] = window, ahead, last
    return found


@given(questions, origins)
def test_windows_are_those_that_a_loop_cuts_within_each_group(data, origin):
    given = columns()
    task, windows = make(data, given), by_hand(data, given, origin)
    split = task.split(Block(origin, 40))
    lesson = Lesson.of(task, split)
    of_parts = {"train": [], "validation": []}
    for part, cases in (("train", split.train), ("validation", split.validation)):
        for case, label in zip(cases.tolist(), task.labels(cases), strict=True):
            shop, day = label.split(", ")
            inputs, ahead, _ = windows[shop, float(day)]
            scales = lesson.encoder.scales_of(shop)
            np.testing.assert_allclose(
                lesson.cases.inputs[case], (np.array(inputs) - scales.inputs.mean) / scales.inputs.scale, 1e-4, 1e-5
            )
            steps = np.array(ahead).reshape(data.horizon, -1)
            np.testing.assert_allclose(
                lesson.cases.targets[case], ((steps - scales.target.mean) / scales.target.scale).ravel(), 1e-4, 1e-5
            )
            of_parts[part].append((shop, float(day)))
    assert set(of_parts["train"]) == {key for key, (*_, last) in windows.items() if last < origin}
    assert set(of_parts["validation"]) == {key for key in windows if key[1] >= origin}
    truth = task.truth(split.validation)
    outputs = lesson.cases.targets[split.validation]
    np.testing.assert_allclose(task.predictions(lesson.encoder, outputs, split.validation), truth, 1e-3, 1e-3)


def test_blocks_begin_and_end_on_the_same_days_for_all_groups():
    data, given = question(horizon=1), columns()
    task, windows = make(data, given), by_hand(data, given, 0)
    splits = task.splits(SearchConfig(blocks=3))

    def between(start: int, stop: int) -> set[tuple[str, float]]:
        return {(shop, day) for shop, day in windows if start <= day < stop}

    def found(cases: np.ndarray) -> set[tuple[str, float]]:
        return {(shop, float(day)) for shop, day in (label.split(", ") for label in task.labels(cases))}

    days = [14, 19, 24, 29, 34, 40]  # six days test, and the first fourteen of the others only train
    for split, (origin, middle, end) in zip(
        (*splits.blocks, splits.final), zip(days, days[1:], days[2:], strict=False), strict=True
    ):
        assert split.key == (origin, middle, end)
        assert found(split.train) == between(0, origin)
        assert found(split.validation) == between(origin, middle)
        assert found(split.judged) == between(middle, end)
        assert [float(each) for each in split.span] == [middle, end - 1]
    assert {shop for shop, _ in between(24, 29)} == {"Bern", "Basel", "Chur"}


@given(questions, origins)
def test_scales_are_those_of_the_training_rows_of_all_or_of_each_group(data, origin):
    given = columns()
    task = make(dataclasses.replace(data, difference=None), given)
    encoder = task.encoder(task.split(Block(origin, 40)))
    names = [*task.series.features, *task.series.ahead_names]
    for shop in SPANS:
        alone = [k for k in range(len(given["day"])) if given["shop"][k] == shop and given["day"][k] < origin]
        every = [k for k in range(len(given["day"])) if given["day"][k] < origin]
        is_apart = data.scale == "by_group" and len(alone) >= data.window + data.horizon
        for k, name in enumerate(names):
            seen = [given[name][row] for row in (alone if is_apart else every)]
            assert encoder.scales_of(shop).inputs.mean[k] == pytest.approx(math.fsum(seen) / len(seen))
            assert encoder.scales_of(shop).inputs.scale[k] == pytest.approx(np.std(seen))


@given(questions.filter(lambda data: data.features != ["price"]), origins)
def test_one_group_by_itself_is_the_series_without_groups_to_the_bit(data, origin):
    given = columns({"Bern": range(40)})
    plain = dataclasses.replace(data, group=None, scale="together", features=data.features or [*list(given)[2:]])
    one, alone = make(data, given), make(plain, given)
    ours, theirs = (Lesson.of(task, task.split(Block(origin, 40))) for task in (one, alone))
    for part in ("train", "validation"):
        np.testing.assert_array_equal(*(getattr(lesson.split, part) for lesson in (ours, theirs)))
    for part in ("inputs", "targets"):
        np.testing.assert_array_equal(*(getattr(lesson.cases, part) for lesson in (ours, theirs)), strict=True)


def test_neighbouring_windows_of_several_groups_are_views_of_one_series():
    task = make(question(target=["sales", "visits"], known_future=["promo"], scale="by_group"))
    cases = task.encoded(task.encoder(task.split(Block(30, 40))))
    assert np.shares_memory(cases.inputs[0, 1:], cases.inputs[1, :-1])
    assert np.shares_memory(cases.targets[0, 2:], cases.targets[1, :-2])
    assert cases.inputs.strides[0] == cases.inputs.strides[1]


# ---------------------------------------------------------------------- no leaks


def assert_same_lesson(ours: Lesson, theirs: Lesson, parts: tuple[str, ...] = ("train",)) -> None:
    """All that was fitted, and all cases of some parts, are the same to the bit."""
    for part in ("inputs", "target"):
        for which in ("mean", "scale"):
            np.testing.assert_array_equal(*(getattr(getattr(s.encoder, part), which) for s in (ours, theirs)))
    for part in parts:
        cases = getattr(ours.split, part)
        np.testing.assert_array_equal(cases, getattr(theirs.split, part))
        np.testing.assert_array_equal(ours.cases.inputs[cases], theirs.cases.inputs[cases])
        np.testing.assert_array_equal(ours.cases.targets[cases], theirs.cases.targets[cases])
    assert ours.encoder.by_group.keys() == theirs.encoder.by_group.keys()
    for group, scales in ours.encoder.by_group.items():
        for one, other in zip(scales, theirs.encoder.by_group[group], strict=True):
            np.testing.assert_array_equal([one.mean, one.scale], [other.mean, other.scale])


def changed(given: Columns, where: Any, names: tuple[str, ...] = ("sales", "visits", "promo", "price")) -> Columns:
    rows = list(zip(given["day"], given["shop"], strict=True))
    return given | {
        name: [1e7 - value if where(day, shop) else value for value, (day, shop) in zip(given[name], rows, strict=True)]
        for name in names
    }


@given(questions, origins)
def test_nothing_of_the_future_of_any_group_is_seen_in_training(data, origin):
    given = columns()
    lessons = [
        Lesson.of(task, task.split(Block(origin, 40)))
        for task in (make(data, given), make(data, changed(given, lambda day, _: day >= origin)))
    ]
    assert_same_lesson(*lessons)


@given(questions)
def test_the_test_rows_change_nothing_in_training_and_validation(data):
    given = columns()
    task = make(data, given)
    end = 40 - round(40 * data.test_fraction)
    other = make(data, changed(given, lambda day, _: day >= end))
    ours, theirs = (Lesson.of(one, one.hold_out()) for one in (task, other))
    assert ours.split.span[0] == f"{end}"
    assert_same_lesson(ours, theirs, ("train", "validation"))
    for name, floor in task.floors(ours.split, ours.split.validation).items():
        np.testing.assert_array_equal(floor, other.floors(theirs.split, theirs.split.validation)[name])


@given(questions, origins, st.sampled_from(["Bern", "Basel", "Chur"]))
def test_scaled_by_group_a_group_sees_nothing_of_the_others(data, origin, shop):
    data, given = dataclasses.replace(data, scale="by_group"), columns()
    tasks = make(data, given), make(data, changed(given, lambda _, other: other != shop))
    lessons = [Lesson.of(task, task.split(Block(origin, 40))) for task in tasks]
    if len([d for d in SPANS[shop] if d < origin]) < data.past + data.horizon:
        return  # which takes the scale of all
    for one, other in zip(*(lesson.encoder.scales_of(shop) for lesson in lessons), strict=True):
        np.testing.assert_array_equal([one.mean, one.scale], [other.mean, other.scale])
    cases = np.concatenate([lessons[0].split.train, lessons[0].split.validation])
    own = cases[[label.startswith(shop) for label in tasks[0].labels(cases)]]
    assert len(own)
    for part in ("inputs", "targets"):
        np.testing.assert_array_equal(*(getattr(lesson.cases, part)[own] for lesson in lessons))


@given(questions.filter(lambda data: data.known_future == ["promo"]), st.integers(12, 30))
def test_of_the_steps_ahead_nothing_is_seen_but_what_is_known_in_advance(data, row):
    """Whatever a forecast from a row on must not see is changed, and its window stays the same to the bit."""
    given = columns()
    ahead = row + data.horizon
    other = changed(given, lambda day, _: day >= row, ("sales", "visits", "price"))
    other = changed(other, lambda day, _: day >= ahead, ("promo",))
    ours, theirs = make(data, given), make(data, other)
    encoder = ours.encoder(ours.split(Block(12, 40)))
    assert (ours.series.groups.names[0], ours.series.labels[row]) == ("Bern", f"{row}")
    rows = np.array([row])
    window = encoder.before(ours.series, rows)
    np.testing.assert_array_equal(window, encoder.before(theirs.series, rows))
    seen = make(data, changed(given, lambda day, _: row <= day < ahead, ("promo",)))
    places = np.argwhere(window[0] != encoder.before(seen.series, rows)[0])
    steps, column = data.window - data.horizon + np.arange(data.horizon), window.shape[-1] - 1
    assert places.tolist() == [[step, column] for step in steps]


# ---------------------------------------------------------------------- what is dropped, and what is refused


def test_what_is_left_out_is_said():
    task = make(question(season=50))
    assert "1 of 4 groups have fewer than 6 rows, which is no window, and are left out: Davos." in task.notes
    note = "data.season=50 is longer than the 34 rows before the test, so there is no forecast from one season ago"
    assert note in " ".join(task.notes)
    assert "seasonal" not in task.floors(task.hold_out(), task.hold_out().judged)
    assert not any("season" in note for note in make(question(season=5)).notes)


def test_without_times_the_last_rows_of_all_groups_are_those_of_one_time():
    task = make(question(time=None, features=["sales"]))
    assert any("the last rows of all groups count as those of one time" in note for note in task.notes)
    judged = task.hold_out().judged
    groups = task.series.groups
    assert {groups.names[k] for k in groups.of(judged + 4)} == {"Bern", "Basel", "Chur"}
    assert groups.moments[groups.ends - 1].tolist() == [39] * 4


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({"shop": ["", *["Bern"] * 39]}, {}, r"row 0, column 'shop': a row of no group"),
        ({"day": [0.0, *range(39)]}, {}, r"in group 'Bern' the same time twice\. Keep one"),
        ({"day": [1.0, 0.0, *range(2, 40)]}, {}, r"in group 'Bern' earlier than the row before.*data\.sort: true"),
        ({}, {"group": "day"}, "'day' is data.time, so it cannot be data.group"),
        ({}, {"features": ["shop"]}, "'shop' is data.group, so it can be neither target nor feature"),
        ({}, {"calendar": ["day"]}, r"data\.calendar needs dates in the time column, .* got '0'\. Write them so"),
        ({"promo": [1.0] * 39 + [math.nan]}, {"known_future": ["promo"]}, "row 39, column 'promo': a missing value"),
        ({"sales": [math.nan] * 40}, {"known_future": ["promo"]}, "group 'Bern': no row has a value of 'sales'"),
    ],
)
def test_a_table_of_groups_that_cannot_be_used_is_refused(change, settings, message):
    given = columns({"Bern": range(40)}) | change
    with pytest.raises(DataError, match=message):
        make(question(**settings), given)


def test_rows_of_a_group_that_are_out_of_order_are_sorted_where_that_is_asked_for():
    given, order = columns(), np.random.default_rng(0).permutation(len(columns()["day"]))
    mixed = {name: [cells[k] for k in order] for name, cells in given.items()}
    ours, theirs = (make(question(sort=True), table).series for table in (given, mixed))
    for name in SPANS:
        parts = [one.targets[slice(*one.groups.starts[one.groups.names.index(name) :][:2])] for one in (ours, theirs)]
        np.testing.assert_array_equal(*parts)


def test_a_hole_is_filled_from_its_own_group():
    given = columns({"Bern": range(3), "Basel": range(3)})
    given["sales"] = [1.0, 2.0, 3.0, math.nan, math.nan, 6.0]
    series = make(question(missing="ffill", window=1, horizon=1), given).series
    assert dict(zip(series.groups.names, series.target.reshape(2, 3).tolist(), strict=True)) == {
        "Basel": [1.0, 3.0, 3.0],
        "Bern": [2.0, 2.0, 6.0],
    }
    given["sales"][0] = math.nan
    with pytest.raises(DataError, match=r"group '\w+': column 'sales' has no value in the first"):
        make(question(missing="ffill"), given)


def test_a_split_in_which_no_group_has_a_window_is_refused():
    given = columns({"Bern": range(20), "Basel": range(30, 40)})
    with pytest.raises(DataError, match="from 30 to 32 no group has a window"):
        make(question(), given).split(Block(20, 23))


# ---------------------------------------------------------------------- what it is worth


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
@pytest.mark.parametrize("data", [question(target=["sales", "visits"]), question(scale="by_group"), question()])
def test_losses_are_those_that_train_the_network(data, loss):
    task = make(data)
    split = task.split(Block(30, 40))
    lesson = Lesson.of(task, split)
    outputs = np.random.default_rng(1).normal(size=(len(split.validation), lesson.cases.targets.shape[1]))
    outputs = outputs.astype(np.float32)
    predictions = task.predictions(lesson.encoder, outputs, split.validation)
    scales = task.scales(lesson.encoder, split, split.validation)
    ours = task.losses(TrainingConfig(loss=loss), predictions, task.truth(split.validation), scales)
    target = torch.tensor(lesson.cases.targets[split.validation])
    assert ours.mean() == pytest.approx(float(CRITERIA[loss](torch.tensor(outputs), target)), rel=1e-4)


def test_errors_of_several_targets_are_averaged_in_units_of_their_scales():
    task = make(question(target=["sales", "visits"]))
    split = task.split(Block(30, 40))
    encoder, cases = task.encoder(split), split.validation
    truth = task.truth(cases)
    predictions = truth + np.tile([3.0, -8.0], 2)  # of each step both targets
    scales = task.scales(encoder, split, cases)
    errors = task.errors(TrainingConfig(), predictions, truth, scales)
    expected = np.mean(np.array([3.0, 8.0]) / encoder.target.scale)
    assert next(iter(errors)) == "scaled root mean square error"
    assert errors["scaled root mean square error"] == pytest.approx(expected)
    assert errors["scaled mean absolute error"] == pytest.approx(expected)
    assert errors["root mean square error of sales"] == pytest.approx(3.0)
    assert errors["mean absolute error of visits"] == pytest.approx(8.0)
    assert next(iter(task.errors(TrainingConfig(loss="mae"), predictions, truth, scales))).startswith("scaled mean abs")


@pytest.mark.parametrize("scale", ["together", "by_group"])
def test_the_scaled_error_is_in_units_of_each_groups_own_naive_error(scale):
    given = columns()
    task = make(question(scale=scale), given)
    split = task.split(Block(30, 40))
    scales, truth = task.scales(task.encoder(split), split, split.validation), task.truth(split.validation)
    found = task.errors(TrainingConfig(), truth + 5.0, truth, scales)["mean absolute scaled error"]
    shops = [label.split(", ")[0] for label in task.labels(split.validation)]
    naive = {}
    for shop in set(shops):
        seen = [y for y, d, s in zip(given["sales"], given["day"], given["shop"], strict=True) if s == shop and d < 30]
        naive[shop] = math.fsum(abs(b - a) for a, b in pairwise(seen)) / (len(seen) - 1)
    assert found == pytest.approx(np.mean([5.0 / naive[shop] for shop in shops]))


def test_what_was_scaled_before_there_was_a_naive_error_is_still_judged():
    truth = np.ones((3, 2))
    errors = Forecast.errors(TrainingConfig(), truth + 2, truth, {"target": 2.0})
    assert errors == {"root mean square error": 2.0, "mean absolute error": 2.0}


def test_floors_of_groups_are_each_groups_own():
    given = columns()
    task = make(question(target=["sales", "visits"], season=25), given)
    split = task.split(Block(32, 40))
    cases = split.validation
    floors = task.floors(split, cases)
    for k, label in enumerate(task.labels(cases)):
        shop, day = label.split(", ")[0], float(label.split(", ")[1])
        rows = [r for r in range(len(given["day"])) if given["shop"][r] == shop]
        past = [r for r in rows if given["day"][r] < day]
        for p, name in enumerate(["sales", "visits"]):
            y = [given[name][r] for r in past]
            seen = [given[name][r] for r in rows if given["day"][r] < 32]
            slope = (y[-1] - y[0]) / (len(y) - 1)
            assert floors["mean"][k][p::2] == pytest.approx([math.fsum(seen) / len(seen)] * 2)
            assert floors["persistence"][k][p::2] == pytest.approx([y[-1]] * 2)
            assert floors["drift"][k][p::2] == pytest.approx([y[-1] + slope, y[-1] + 2 * slope])
            seasonal = [y[-25], y[-24]] if shop == "Bern" else None
            if seasonal:
                assert floors["seasonal"][k][p::2] == pytest.approx(seasonal)


def test_a_group_too_short_for_the_season_is_given_its_last_value():
    given = columns()
    series = make(question(), given).series
    starts = series.groups.starts
    rows = np.array([starts[0] + 30, starts[1] + 10])
    found = floor_predictions(series, 30, rows, 1, 20)
    assert found["seasonal"][:, 0].tolist() == [series.target[starts[0] + 10], series.target[starts[1] + 9]]
    assert "seasonal" not in floor_predictions(series, 30, rows[1:], 1, 20)


# ---------------------------------------------------------------------- forecasts


def untrained(data: DataConfig, given: Columns | None = None) -> Forecaster:
    """Return a network as it begins, with the scales of the rows before day 30."""
    task = make(data, given)
    lesson = Lesson.of(task, task.split(Block(30, 40)))
    torch.manual_seed(0)
    network = task.network(ModelConfig(hidden_size=4)).eval()
    found = Trained(network, lesson, (), 0.5, 0.25, TrainingConfig()).predictor()
    assert isinstance(found, Forecaster)
    return found


@pytest.mark.parametrize("difference", [None, 1, "season"])
@pytest.mark.parametrize("target", ["sales", ["sales", "visits"]])
def test_a_group_alone_is_forecast_as_in_company(target, difference, tmp_path):
    data = question(target=target, scale="by_group", season=3, difference=difference, known_future=["promo"])
    untrained(data).save(tmp_path)
    forecaster = lstmreg.load(tmp_path)
    assert isinstance(forecaster, Forecaster)
    given = columns({name: SPANS[name] for name in ("Bern", "Basel", "Chur")})
    ahead = {"Bern": 40, "Basel": 40, "Chur": 36}
    for shop, day in ahead.items():
        for k in range(2):
            row = {"day": float(day + k), "shop": shop, "promo": 7.0 + k}
            for name in given:
                given[name].append(row.get(name, math.nan))
    together = forecaster.predict_by_group(given)
    assert list(together) == list(dict.fromkeys(given["shop"]))
    np.testing.assert_array_equal(forecaster.predict(given), list(together.values()))
    for shop, forecast in together.items():
        rows = [k for k, name in enumerate(given["shop"]) if name == shop]
        alone = forecaster.predict({name: [cells[k] for k in rows] for name, cells in given.items()})
        np.testing.assert_allclose(alone, [forecast], rtol=1e-6)
        assert forecast.shape == (2 * len(data.targets),)


@pytest.mark.parametrize(
    "data",
    [
        question(target=["sales", "visits"], known_future=["promo"]),
        question(scale="by_group", difference=1),
        question(features=["price"], known_future=["promo", "price"], difference=1),
    ],
)
def test_what_is_loaded_forecasts_the_judged_windows_as_what_was_trained(data, tmp_path):
    task = make(data)
    lesson = Lesson.of(task, task.split(Block(30, 40)))
    made = Trained(task.network(ModelConfig(hidden_size=4)).eval(), lesson, (), 0.5, 0.25, TrainingConfig())
    made.predictor().save(tmp_path)
    loaded = lstmreg.load(tmp_path)
    assert isinstance(loaded, Forecaster)
    assert loaded.about() == made.predictor().about()
    cases, every = lesson.split.validation, columns()
    assert task.series.groups.names[-1] == "Davos"  # which is too short to forecast from
    given = {
        name: [c for c, shop in zip(cells, every["shop"], strict=True) if shop != "Davos"]
        for name, cells in every.items()
    }
    rows, forecasts = loaded.historical_forecasts(given)
    ours = dict(zip(rows.tolist(), forecasts.tolist(), strict=True))
    for row, forecast in zip((cases + data.past).tolist(), made.predict(cases).tolist(), strict=True):
        np.testing.assert_allclose(ours[row], forecast, rtol=1e-5)


def test_a_group_that_training_has_not_seen_needs_one_scale_for_all():
    new = columns({"Chuur": range(10)})
    with pytest.raises(DataError, match=r"group 'Chuur' was not there in training.*Did you mean 'Chur'\?.*together"):
        untrained(question(scale="by_group")).predict(new)
    assert untrained(question()).predict(new).shape == (1, 2)


def test_a_table_goes_on_with_what_is_known_in_advance():
    data = question(group=None, known_future=["promo"], features=["sales"])
    forecaster = untrained(data, columns({"Bern": range(40)}))
    given = {name: cells for name, cells in columns({"Bern": range(40)}).items() if name != "shop"}
    with pytest.raises(
        DataError, match=r"needs 'promo' of the 2 rows after the last known one, got 0\. Add these rows"
    ):
        forecaster.predict(given)
    longer = {name: [*cells, *((40.0, 41.0) if name == "day" else (5.0, 6.0))] for name, cells in given.items()}
    longer["sales"][-2:] = longer["price"][-2:] = [math.nan, math.nan]
    forecast = forecaster.predict(longer)
    longer["promo"][-1] = 600.0
    assert not np.array_equal(forecaster.predict(longer), forecast)
    array = np.array([longer["sales"], longer["promo"]]).T
    assert forecaster.columns == ("sales", "promo")
    np.testing.assert_array_equal(forecaster.predict(array), forecaster.predict(longer))


# ---------------------------------------------------------------------- the calendar


def dates(count: int, first: str = "2024-02-20") -> list[str]:
    return [str(day) for day in np.arange(first, np.datetime64(first) + count, dtype="datetime64[D]")]


def test_the_calendar_is_sine_and_cosine_of_what_has_passed():
    data = DataConfig("x", "y", time="t", calendar=["hour", "weekday", "day", "month", "yearday"], window=1)
    table = TableInMemory("x", "", ["t", "y"], 2, {"t": ["2024-02-29T06:00", "2024-03-01T18:00"], "y": np.ones(2)}.get)
    series = read_series(data, table)
    passed = [[6 / 24, 3 / 7, 28 / 29, 1 / 12, 59 / 366], [18 / 24, 4 / 7, 0, 2 / 12, 60 / 366]]
    expected = [[wave(2 * math.pi * part) for part in row for wave in (math.sin, math.cos)] for row in passed]
    np.testing.assert_allclose(series.ahead, expected, atol=1e-12)
    assert series.ahead_names[:2] == ("hour (sine)", "hour (cosine)")


@pytest.mark.parametrize("shops", [1, 2])
def test_the_calendar_goes_on_after_the_table(shops, tmp_path):
    days = dates(40)
    given: Columns = {
        "t": days * shops,
        "shop": [name for name in ["Bern", "Chur"][:shops] for _ in days],
        "y": np.random.default_rng(0).normal(size=40 * shops).tolist(),
    }
    group = {"group": "shop"} if shops > 1 else {"features": ["y"]}
    data = DataConfig("x", "y", time="t", calendar=["weekday", "month"], window=4, horizon=3, **group)
    table = TableInMemory("x", "", list(given), 40 * shops, {**given, "y": np.array(given["y"])}.get)
    task = Forecast(data, read_series(data, table))
    assert len(task.features) == 1 + 4
    lesson = Lesson.of(task, task.split(Block(30, 40)))
    Trained(task.network(ModelConfig(hidden_size=4)).eval(), lesson, (), 0.5, 0.25, TrainingConfig()).predictor().save(
        tmp_path
    )
    forecaster = lstmreg.load(tmp_path)
    assert isinstance(forecaster, Forecaster)
    by_itself = forecaster.predict(given)
    more = {"t": dates(43)[40:], "y": [math.nan] * 3}
    written = {name: list(cells) for name, cells in given.items()}
    for shop in ["Bern", "Chur"][:shops]:
        for name in written:
            written[name] += more.get(name, [shop] * 3)
    np.testing.assert_array_equal(forecaster.predict(written), by_itself)


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        (["2024-01-31", "2024-02-01"], ["2024-02-02", "2024-02-03"]),
        (["2023-11", "2023-12"], ["2024-01", "2024-02"]),
        (["2023-11-01", "2023-12-01", "2024-01-01"], ["2024-02-01", "2024-03-01"]),
        (["2024-01-01T22:00", "2024-01-01T23:00"], ["2024-01-02T00:00", "2024-01-02T01:00"]),
    ],
)
def test_the_next_times_follow_at_the_usual_step(stamps, expected):
    from lstmreg.data.calendar import following

    assert following("x", stamps, 2) == expected


# ---------------------------------------------------------------------- all of it


@pytest.mark.parametrize(("target", "scale"), [("sales", "by_group"), (["sales", "visits"], "together")])
def test_a_table_of_shops_is_fitted_compared_and_forecast(target, scale, tmp_path):
    given = columns({"Bern": range(80), "Basel": range(20, 80), "Chur": range(70)})
    path = tmp_path / "shops.csv"
    names = list(given)
    lines = [",".join(str(given[name][k]) for name in names) for k in range(len(given["day"]))]
    ends = {"Bern": 80, "Basel": 80, "Chur": 70}
    lines += [f"{end + k},{shop},,,{k},3.5" for shop, end in ends.items() for k in range(2)]
    path.write_text("\n".join([",".join(names), *lines]) + "\n")
    asked = question(target=target, scale=scale, known_future=["promo"], sort=True)
    data = dataclasses.replace(asked, path=str(path))
    config = Config(data, ModelConfig(4, members=2), TrainingConfig(max_epochs=2), SearchConfig())
    held = fit_held_out(config)
    assert set(held.floors) == {"mean", "persistence", "drift", "ridge"}
    assert all(math.isfinite(error) for errors in held.floors.values() for error in errors.values())
    assert math.isfinite(held.trained.val_loss)
    held.trained.predictor().save(tmp_path / "fit")
    forecaster = lstmreg.load(tmp_path / "fit")
    assert isinstance(forecaster, Forecaster)
    forecasts = forecaster.predict_by_group(path)
    assert forecasts.keys() == ends.keys()
    assert np.isfinite(list(forecasts.values())).all()
