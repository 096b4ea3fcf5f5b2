"""Intervals of several series: by each group's own errors where it has enough, else by those of all."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lstmreg
from lstmreg import Config, DataConfig, Forecaster, ModelConfig, TrainingConfig
from lstmreg.errors import CorruptFileError
from lstmreg.intervals import ENOUGH, Calibration, GroupScores, Scores, scores_by_group
from lstmreg.tasks import Forecast
from lstmreg.training.single import HeldOut, fit_held_out

#: Rows of each shop; the last one begins so late that few of its windows validate.
SPANS = {"quiet": (0, 400), "loud": (0, 400), "new": (325, 400)}


def frame() -> pd.DataFrame:
    generator, rows = np.random.default_rng(0), []
    for shop, (first, last) in SPANS.items():
        noise = {"quiet": 1.0, "loud": 20.0, "new": 5.0}[shop]
        for day in range(first, last):
            rows.append((day, shop, 100 + 3 * np.sin(day) + noise * generator.normal()))
    return pd.DataFrame(rows, columns=["day", "shop", "sales"])


def fitted(scale: str, horizon: int = 2) -> tuple[Forecast, HeldOut]:
    data = DataConfig("shops", "sales", time="day", group="shop", scale=scale, window=4, horizon=horizon)
    task = Forecast.read(data, frame())
    return task, fit_held_out(Config(data, ModelConfig(hidden_size=4), TrainingConfig(max_epochs=2)), task=task)


@pytest.fixture(scope="module", params=["together", "by_group"])
def made(request: pytest.FixtureRequest) -> tuple[str, Forecast, HeldOut]:
    return request.param, *fitted(request.param)


def errors_of(task: Forecast, held: HeldOut, cases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far the forecasts of some windows are off, and the shop of each."""
    shops = np.array([label.split(", ")[0] for label in task.labels(cases)])
    return np.abs(held.trained.predict(cases) - task.truth(cases)), shops


def test_a_group_with_enough_cases_has_intervals_by_its_own_errors_and_any_other_by_those_of_all(
    made: tuple[str, Forecast, HeldOut], tmp_path: Path
) -> None:
    scale, task, held = made
    held.trained.predictor().save(tmp_path)
    model = lstmreg.load(tmp_path)
    assert isinstance(model, Forecaster)
    found = model.predictions(frame(), confidence=0.9)
    split = held.trained.lesson.split
    errors, shops = errors_of(task, held, split.validation)
    windower = held.trained.lesson.encoder
    units = {shop: float(windower.scales_of(shop).target.scale) if scale == "by_group" else 1.0 for shop in SPANS}
    counts = {shop: int((shops == shop).sum()) for shop in SPANS}
    assert counts["quiet"] >= ENOUGH > counts["new"]
    relative = errors / np.array([units[shop] for shop in shops])[:, None]
    for shop in SPANS:
        own = relative[shops == shop] if counts[shop] >= ENOUGH else relative
        rank = int(np.ceil((len(own) + 1) * 0.9 - 1e-9))
        expected = np.sort(own, axis=0)[rank - 1] * units[shop]
        rows = found.columns["shop"] == shop
        radius = (found.columns["sales_high"] - found.columns["sales"])[rows]
        np.testing.assert_allclose(radius, expected, rtol=1e-6)
    assert "2 of 3 groups have intervals by their own errors, the others by those of all." in found.notes
    narrow = model.predictions(frame(), confidence=0.99)  # for which a group alone has too few cases
    none = "No group has validation cases enough for intervals by its own errors: all go by those of all."
    assert none in narrow.notes
    assert model.calibration is not None
    known = {shop: scores for shop, scores in model.calibration.groups.items() if shop != "new"}
    each = dataclasses.replace(model, calibration=dataclasses.replace(model.calibration, groups=known))
    assert "Each group has intervals by its own errors." in each.predictions(frame(), confidence=0.9).notes


def test_coverage_is_that_of_each_groups_own_intervals(made: tuple[str, Forecast, HeldOut]) -> None:
    _, task, held = made
    model = held.trained.predictor()
    assert isinstance(model, Forecaster)
    calibration, split = model.calibration, held.trained.lesson.split
    assert calibration is not None
    errors, shops = errors_of(task, held, split.judged)
    units = model.windower.units_of(task.series, split.judged + task.data.past)
    relative = errors if units is None else errors / units
    within = relative <= calibration.radii(0.9, list(shops))
    for shop, coverage in calibration.coverage_by_group(0.9).items():
        assert coverage.cases == (shops == shop).sum()
        assert coverage.share == pytest.approx(within[shops == shop].mean())
    whole = calibration.coverage(0.9)
    assert (whole.cases, whole.share) == (len(shops), pytest.approx(within.mean()))


def test_what_the_test_rows_say_changes_no_interval() -> None:
    table = frame()
    task, held = fitted("by_group")
    table.loc[table["day"] >= 340, "sales"] *= 3
    data = task.data
    other = fit_held_out(
        Config(data, ModelConfig(hidden_size=4), TrainingConfig(max_epochs=2)), task=Forecast.read(data, table)
    )
    ours, theirs = (one.trained.predictor().about()["calibration"] for one in (held, other))
    assert ours["scores"] == theirs["scores"]
    for shop in SPANS:
        assert ours["groups"][shop].get("scores") == theirs["groups"][shop].get("scores")
        assert ours["groups"][shop]["judged"] != theirs["groups"][shop]["judged"]


def test_the_coverage_of_a_group_is_said_where_chance_does_not_explain_it() -> None:
    scores = Scores.of(np.linspace(0, 1, 99)[:, None])
    judged = {"fair": np.linspace(0, 1, 50), "bad": np.linspace(0, 2, 50), "few": np.array([3.0])}
    groups = {name: GroupScores(None, Scores.of(values[:, None])) for name, values in judged.items()}
    calibration = Calibration(scores, Scores.of(np.concatenate(list(judged.values()))[:, None]), None, groups)
    found = calibration.unusual_groups(0.9)
    assert list(found) == ["bad"]  # of one case nothing can be said
    assert str(found["bad"]) == "covered 46 % of 50 test cases (90 % was asked for)"


def test_intervals_of_groups_hold_on_average() -> None:
    generator, levels = np.random.default_rng(0), {"a": 1.0, "b": 30.0}
    held: dict[str, list[bool]] = {name: [] for name in levels}
    for _ in range(300):
        names = [name for name in levels for _ in range(60)]
        errors = np.array([levels[name] * abs(generator.normal()) for name in names])[:, None]
        groups = scores_by_group(errors, names, errors[:0], [])
        calibration = Calibration(Scores.of(errors), None, None, groups)
        for name, level in levels.items():
            held[name].append(level * abs(generator.normal()) <= calibration.radii(0.8, [name])[0, 0])
    for shares in held.values():
        assert np.mean(shares) == pytest.approx(0.8, abs=0.07)


def test_hostile_scores_of_groups_are_refused(made: tuple[str, Forecast, HeldOut], tmp_path: Path) -> None:
    made[2].trained.predictor().save(tmp_path)
    text = json.loads((tmp_path / "model.json").read_text())
    good = text["about"]["calibration"]["groups"]["quiet"]
    for wrong in (
        3,
        [],
        {"quiet": 3},
        {"quiet": {"scores": {}}},
        {"quiet": good | {"judged": {"cases": 1}}},
        {"x": [1]},
    ):
        text["about"]["calibration"]["groups"] = wrong
        (tmp_path / "model.json").write_text(json.dumps(text))
        with pytest.raises(CorruptFileError):
            lstmreg.load(tmp_path)
