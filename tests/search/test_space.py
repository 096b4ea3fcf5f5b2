"""The search space: ladders, drawing with Optuna, and the way back into its queue."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from lstmreg.config import Dimension, Range, with_settings
from lstmreg.search.space import (
    Setting,
    as_parameters,
    baseline_config,
    configured,
    describe,
    ladder,
    searched_dimensions,
    suggest,
)
from tests.tiny import tiny_config

DIMENSIONS: dict[str, Dimension] = {
    "model.kernel_l2": [1e-4, 1e-2],
    "model.dropout": Range(0.0, 0.5),
    "model.recurrent_l1": Range(1e-6, 1e-2, log=True),
    "model.hidden_size": Range(4, 12, step=4),
    "training.optimizer": ["adam", "sgd"],
}


@pytest.mark.parametrize(
    ("dimension", "values"),
    [
        ([0.0, 0.1, 0.3], [0.1, 0.3]),
        (Range(0.0, 0.5), [0.25, 0.5]),
        (Range(1e-6, 1e-2, log=True), [1e-6, 1e-4, 1e-2]),
        (Range(0.15, 0.99, step=0.01), [0.15, 0.57, 0.99]),
        (Range(40, 800, step=20), [40, 420, 800]),
    ],
)
def test_a_ladder_spans_its_dimension_without_off(dimension: Dimension, values: list[float]) -> None:
    assert ladder(dimension) == pytest.approx(values)


def test_every_drawn_setting_can_be_configured_and_queued_again(tmp_path: Path) -> None:
    base = baseline_config(tiny_config(tmp_path), DIMENSIONS, 0.01)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(50):
        setting = suggest(study.ask(), DIMENSIONS, base)
        assert set(setting) <= set(DIMENSIONS)
        configurable = with_settings(base, setting)
        assert all(configured(configurable, path) == value for path, value in setting.items())
        study.enqueue_trial(as_parameters(setting, DIMENSIONS, base))
        assert suggest(study.ask(), DIMENSIONS, base) == setting


def test_the_baseline_is_the_empty_setting(tmp_path: Path) -> None:
    base = baseline_config(tiny_config(tmp_path), DIMENSIONS, 0.01)
    listed = {p: d for p, d in DIMENSIONS.items() if p != "model.recurrent_l1"}  # its interval has no off
    study = optuna.create_study()
    study.enqueue_trial(as_parameters({}, listed, base))
    assert suggest(study.ask(), listed, base) == {}
    assert describe({}) == "baseline"


def test_the_baseline_turns_every_searched_knob_off_and_keeps_the_rest(tmp_path: Path) -> None:
    config = with_settings(tiny_config(tmp_path), {"model.dropout": 0.4, "model.bias_l2": 0.1})
    base = baseline_config(config, {"model.dropout": [0.2]}, 0.07)
    assert (base.model.dropout, base.model.bias_l2, base.training.learning_rate) == (0.0, 0.1, 0.07)


@pytest.mark.parametrize("columns", [1, 2])
def test_input_dropout_is_searched_only_where_there_are_several_columns(tmp_path: Path, columns: int) -> None:
    searched = searched_dimensions(tiny_config(tmp_path), columns)
    assert ("model.dropout" in searched) == (columns > 1)


def test_a_setting_reads_well() -> None:
    setting: Setting = {"model.kernel_l2": 1e-4, "model.hidden_size": 8}
    assert describe(setting) == "kernel_l2=0.0001, hidden_size=8"
