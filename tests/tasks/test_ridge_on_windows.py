"""The ridge regression on the window is scikit-learn's, and knows no more than the network does."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from lstmreg.config import DataConfig
from lstmreg.data.blocks import Block
from lstmreg.data.sources.memory import TableInMemory
from lstmreg.data.table import read_series
from lstmreg.tasks import Forecast, floors
from lstmreg.tasks.floors import ridge_on_windows

PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)

SHOPS = ("Bern", "Chur")


def columns(shops: tuple[str, ...] = SHOPS, rows: int = 60, seed: int = 0) -> dict[str, list[Any]]:
    """Return sales that the price of the day before moves, of shops below each other."""
    generator = np.random.default_rng(seed)
    found: dict[str, list[Any]] = {name: [] for name in ("day", "shop", "sales", "visits", "price")}
    for k, shop in enumerate(shops):
        price = generator.normal(size=rows)
        sales = 10.0 ** (k + 1) * (3 + np.r_[0, price[:-1]] + 0.3 * generator.normal(size=rows)) + np.arange(rows)
        found["day"] += [f"{np.datetime64('2024-01-01') + n}" for n in range(rows)]
        found["shop"] += [shop] * rows
        found["sales"] += sales.tolist()
        found["visits"] += (sales * 2 + generator.normal(size=rows)).tolist()
        found["price"] += price.tolist()
    return found


def make(given: dict[str, list[Any]], **other: Any) -> Forecast:
    def column(name: str) -> Any:
        cells = given[name]
        return cells if isinstance(cells[0], str) else np.array(cells, dtype=np.float64)

    settings = {"target": "sales", "time": "day", "group": "shop", "window": 4, "horizon": 2} | other
    data = DataConfig("shops.csv", **settings)
    return Forecast(data, read_series(data, TableInMemory("shops.csv", "", list(given), len(given["day"]), column)))


def by_scikit_learn(x: Any, y: Any, train: Any, validation: Any, new: Any) -> tuple[np.ndarray, float]:
    """Return the outputs for new cases of the best ridge on the validation cases, and its penalty for each row."""
    tried = {}
    for penalty in PENALTIES:
        model = Ridge(alpha=penalty * len(train)).fit(x[train], y[train])
        error = np.square(model.predict(x[validation]).reshape(len(validation), -1) - y[validation]).mean()
        tried[error] = penalty, model.predict(x[new]).reshape(len(new), -1)
    penalty, outputs = tried[min(tried)]
    return outputs, penalty


# ---------------------------------------------------------------------- as scikit-learn does it


@pytest.mark.parametrize(("count", "steps"), [(200, 3), (40, 15)], ids=["more cases", "more columns"])
@pytest.mark.parametrize("noise", [0.1, 3.0, 300.0])
def test_it_is_the_ridge_of_scikit_learn_with_the_best_penalty_on_the_validation_cases(
    count: int, steps: int, noise: float
) -> None:
    generator = np.random.default_rng(1)
    inputs = generator.normal(size=(count + 100, steps, 4)) + 2
    x = inputs.reshape(len(inputs), -1)
    targets = x @ generator.normal(size=(4 * steps, 2)) + noise * generator.normal(size=(len(x), 2)) + 7
    train, validation, new = np.arange(count), np.arange(count, count + 50), np.arange(count + 50, count + 100)
    found = ridge_on_windows(inputs.astype(np.float32), targets.astype(np.float32), train, validation, new)
    expected, _ = by_scikit_learn(x, targets, train, validation, new)
    assert found is not None
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_penalty_that_is_chosen_follows_the_noise() -> None:
    """Or the test above would have compared one penalty with itself."""
    generator = np.random.default_rng(1)
    x, chosen = generator.normal(size=(250, 12)), []
    for noise in (0.1, 300.0):
        y = x @ generator.normal(size=(12, 2)) + noise * generator.normal(size=(250, 2))
        chosen.append(by_scikit_learn(x, y, np.arange(200), np.arange(200, 250), np.arange(2))[1])
    assert chosen[0] < chosen[1]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"horizon": 1},
        {"target": ["sales", "visits"]},
        {"difference": 1},
        {"difference": "season", "season": 3, "target": ["sales", "visits"]},
        {"scale": "by_group", "difference": 1},
        {"known_future": ["price"], "calendar": ["weekday"]},
        {"features": ["price"]},
    ],
    ids=str,
)
def test_a_forecast_is_in_the_units_of_the_targets(settings: dict[str, Any]) -> None:
    task = make(columns(), **settings)
    split = task.hold_out()
    encoder = task.encoder(split)
    cases = task.encoded(encoder)
    x = np.array([cases.inputs[n].astype(np.float64).ravel() for n in range(len(cases))])
    outputs, _ = by_scikit_learn(x, cases.targets, split.train, split.validation, split.judged)
    found = task.floors(split, split.judged)["ridge"]
    assert found.shape == task.truth(split.judged).shape
    np.testing.assert_allclose(found, task.predictions(encoder, outputs.astype(np.float32), split.judged), rtol=1e-3)
    if "price" in settings.get("known_future", settings.get("features", [])):
        return
    errors = {
        name: np.abs(floor - task.truth(split.judged)).mean()
        for name, floor in task.floors(split, split.judged).items()
    }
    assert errors["ridge"] < 2 * errors["persistence"]  # in other units it would be far off


def test_it_finds_what_the_price_of_the_day_before_says() -> None:
    task = make(columns(), horizon=1, scale="by_group")
    split = task.hold_out()
    truth = task.truth(split.judged)
    errors = {name: np.abs(floor - truth).mean() for name, floor in task.floors(split, split.judged).items()}
    assert errors["ridge"] < 0.7 * min(error for name, error in errors.items() if name != "ridge")
    assert task.floor_names["ridge"] == "a ridge regression on the window"


# ---------------------------------------------------------------------- what it may know


def changed_from(given: dict[str, list[Any]], day: str, names: tuple[str, ...]) -> dict[str, list[Any]]:
    return given | {
        name: [1e4 - value if at >= day else value for value, at in zip(given[name], given["day"], strict=True)]
        for name in names
    }


NUMBERS = ("sales", "visits", "price")


@pytest.mark.parametrize("settings", [{}, {"difference": 1, "scale": "by_group"}, {"known_future": ["price"]}], ids=str)
def test_the_judged_rows_change_no_forecast_made_before_them(settings: dict[str, Any]) -> None:
    given = columns()
    task = make(given, **settings)
    split = task.hold_out()
    other = make(changed_from(given, split.span[0], NUMBERS), **settings)
    for cases in (split.train, split.validation):
        np.testing.assert_array_equal(*(each.floors(split, cases)["ridge"] for each in (task, other)))
    truths = [each.truth(split.judged) for each in (task, other)]
    assert not np.array_equal(*truths)  # or nothing was tested
    # The first forecast of each group looks at no judged row.
    first = split.judged[[0, len(split.judged) // 2]]
    if "known_future" not in settings:
        np.testing.assert_array_equal(*(each.floors(split, first)["ridge"] for each in (task, other)))


def test_of_the_validation_rows_it_takes_the_penalty_alone() -> None:
    """So it learned as the network did: those rows end its training, and no weight is fitted to them."""
    given = columns()
    tasks = make(given), make(changed_from(given, "2024-02-10", NUMBERS))
    split = tasks[0].split(Block(40, 60))
    assert split.span[0] == "2024-02-10"
    alone = dataclasses.replace(split, validation=split.train)  # which chooses the penalty
    np.testing.assert_array_equal(*(task.floors(alone, split.train)["ridge"] for task in tasks))


# ---------------------------------------------------------------------- what must not break it


def test_a_constant_column_changes_nothing() -> None:
    given = columns()
    found = []
    for value in (None, 0.1, 3e8):
        task = make(given if value is None else given | {"constant": [value] * len(given["day"])})
        split = task.hold_out()
        found.append(task.floors(split, split.judged)["ridge"])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-5)


def test_a_column_that_moves_only_after_training_changes_nothing() -> None:
    given = columns()
    task = make(given)
    split = task.hold_out()
    steps = [float(day >= split.span[0]) * 1e9 for day in given["day"]]
    late = make(given | {"late": steps})
    np.testing.assert_allclose(*(each.floors(split, split.judged)["ridge"] for each in (task, late)), rtol=1e-5)


def test_it_is_left_out_where_it_would_give_what_is_no_number() -> None:
    generator = np.random.default_rng(0)
    inputs, targets = generator.normal(size=(30, 2, 3)).astype(np.float32), np.ones((30, 1), np.float32)
    train, validation, new = np.arange(20), np.arange(20, 25), np.arange(25, 30)
    assert ridge_on_windows(inputs, targets, train, validation, new) is not None
    for place in (3, 22, 27):
        spoiled = inputs.copy()
        spoiled[place, 1, 1] = np.nan
        assert ridge_on_windows(spoiled, targets, train, validation, new) is None


# ---------------------------------------------------------------------- long tables, and wide ones


def test_a_long_table_is_learned_from_its_last_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(2)
    inputs = generator.normal(size=(100, 2, 3)).astype(np.float32)
    targets = (inputs[:, 1, :1] * np.where(np.arange(100) < 40, -5, 1)[:, None]).astype(np.float32)
    train, validation, new = np.arange(80), np.arange(80, 90), np.arange(90, 100)
    whole = ridge_on_windows(inputs, targets, train, validation, new)
    last = ridge_on_windows(inputs, targets, train[40:], validation, new)
    assert whole is not None
    assert last is not None
    assert not np.allclose(whole, last)
    for limit, most in (("_MOST_ROWS", 40), ("_MOST_NUMBERS", 40 * 6)):
        with monkeypatch.context() as patched:
            patched.setattr(floors, limit, most)
            np.testing.assert_array_equal(ridge_on_windows(inputs, targets, train, validation, new), last)


def test_what_is_forecast_in_parts_is_what_is_forecast_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    inputs, targets = (generator.normal(size=shape).astype(np.float32) for shape in ((90, 2, 3), (90, 2)))
    parts = np.arange(60), np.arange(60, 75), np.arange(75, 90)
    whole = ridge_on_windows(inputs, targets, *parts)
    monkeypatch.setattr(floors, "_NUMBERS_AT_ONCE", 13)
    in_parts = ridge_on_windows(inputs, targets, *parts)
    assert whole is not None
    assert in_parts is not None
    np.testing.assert_allclose(in_parts, whole, rtol=1e-6)


def test_a_window_of_too_many_numbers_has_no_ridge() -> None:
    rows = 70
    names = [f"x{k}" for k in range(210)]
    generator = np.random.default_rng(0)
    given = {"day": list(range(rows)), "sales": generator.normal(size=rows).tolist()}
    given |= {name: generator.normal(size=rows).tolist() for name in names}
    for window, is_there in ((47, True), (48, False)):
        task = make(given, group=None, window=window, horizon=1, test_fraction=0.1)
        split = task.hold_out()
        assert (window * len(task.features) <= 10_000) is is_there
        assert ("ridge" in task.floors(split, split.judged)) is is_there
