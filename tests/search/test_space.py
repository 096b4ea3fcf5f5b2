"""The search space: ladders, drawing with Optuna, and the way back into its queue."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import optuna
import pytest

from lstmreg.config import Dimension, Range, Values, configured, with_settings
from lstmreg.search.space import (
    WEIGHT_DECAY,
    Setting,
    about_configured_knobs,
    as_parameters,
    baseline_config,
    describe,
    dimensions,
    kept_on,
    ladder,
    place_of,
    regularizers,
    suggest,
    turned_off,
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
    base = baseline_config(tiny_config(tmp_path, space=DIMENSIONS), 0.01, 2)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(50):
        setting = suggest(study.ask(), DIMENSIONS, base, {})
        assert set(setting) <= set(DIMENSIONS)
        configurable = with_settings(base, setting)
        assert all(configured(configurable, path) == value for path, value in setting.items())
        study.enqueue_trial(as_parameters(setting, DIMENSIONS, base, {}))
        assert suggest(study.ask(), DIMENSIONS, base, {}) == setting


def test_the_baseline_is_the_empty_setting(tmp_path: Path) -> None:
    base = baseline_config(tiny_config(tmp_path, space=DIMENSIONS), 0.01, 2)
    listed = {p: d for p, d in DIMENSIONS.items() if p != "model.recurrent_l1"}  # its interval has no off
    study = optuna.create_study()
    study.enqueue_trial(as_parameters({}, listed, base, {}))
    assert suggest(study.ask(), listed, base, {}) == {}
    assert describe({}) == "baseline"


def test_the_baseline_turns_every_searched_knob_off_and_keeps_the_rest(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, space={"model.dropout": [0.2]})
    config = with_settings(config, {"model.dropout": 0.4, "model.bias_l2": 0.1})
    base = baseline_config(config, 0.07, 2)
    assert (base.model.dropout, base.model.bias_l2, base.training.learning_rate) == (0.0, 0.1, 0.07)


@pytest.mark.parametrize(
    ("columns", "configured_masks", "masks"), [(1, None, True), (2, None, None), (1, False, False), (2, True, True)]
)
def test_a_single_column_is_dropped_gate_by_gate(
    tmp_path: Path, columns: int, configured_masks: bool | None, masks: bool | None
) -> None:
    config = tiny_config(tmp_path)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, per_gate_input_masks=configured_masks))
    assert baseline_config(config, 0.01, columns).model.per_gate_input_masks is masks
    elsewhere = dataclasses.replace(config, search=dataclasses.replace(config.search, space={"model.bias_l2": [0.1]}))
    assert baseline_config(elsewhere, 0.01, columns).model.per_gate_input_masks is configured_masks


def test_configured_knobs_are_turned_off_where_they_are_searched_and_kept_elsewhere(tmp_path: Path) -> None:
    config = with_settings(tiny_config(tmp_path), {"model.dropout": 0.4, "model.bias_l2": 0.1})
    assert turned_off(config) == {"model.dropout": 0.4}
    assert kept_on(config) == {"model.bias_l2": 0.1}
    off, on = about_configured_knobs(config)
    assert "turns off dropout=0.4" in off
    assert off.endswith("It tries dropout=0.4 with the others.")
    assert "bias_l2=0.1 of the configuration stays on" in on
    by_layer = dataclasses.replace(
        config, model=dataclasses.replace(config.model, num_layers=2, dropout=[0.0, 0.0], bias_l2=[0.0, 0.1])
    )
    assert turned_off(by_layer) == {}
    assert kept_on(by_layer) == {"model.bias_l2": [0.0, 0.1]}
    assert about_configured_knobs(tiny_config(tmp_path)) == []
    differing = dataclasses.replace(by_layer, model=dataclasses.replace(by_layer.model, dropout=[0.0, 0.4]))
    assert about_configured_knobs(differing)[0].endswith("It does not try dropout=[0.0, 0.4] itself.")


def test_a_knob_of_one_layer_is_off_there_and_stays_on_in_the_others(tmp_path: Path) -> None:
    space = {"model.recurrent_dropout[1]": [0.2], "model.dropout[0]": [0.1], "model.dropout[1]": [0.1]}
    config = tiny_config(tmp_path, weight_decay=[])
    model = dataclasses.replace(config.model, num_layers=2, dropout=0.4, recurrent_dropout=[0.1, 0.3], bias_l2=0.1)
    config = dataclasses.replace(config, model=model, search=dataclasses.replace(config.search, space=space))
    base = baseline_config(config, 0.01, 2).model
    assert (base.dropout, base.recurrent_dropout, base.bias_l2) == (0.0, [0.1, 0.0], 0.1)
    assert turned_off(config) == {"model.dropout[0]": 0.4, "model.dropout[1]": 0.4, "model.recurrent_dropout[1]": 0.3}
    assert kept_on(config) == {"model.bias_l2": 0.1, "model.recurrent_dropout[0]": 0.1}
    assert describe(turned_off(config)) == "dropout[0]=0.4, dropout[1]=0.4, recurrent_dropout[1]=0.3"
    assert place_of("model.recurrent_dropout[1]") == "the state of the second layer"


def test_what_regularizes_stands_in_the_tables_order_and_by_layer() -> None:
    paths = [WEIGHT_DECAY, "model.dropout[1]", "model.hidden_size", "model.dropout[0]", "model.kernel_l2"]
    assert regularizers(paths) == ["model.kernel_l2", "model.dropout[0]", "model.dropout[1]", WEIGHT_DECAY]


def test_a_layer_that_the_baseline_has_not_needs_nothing_to_be_off(tmp_path: Path) -> None:
    space = {"model.num_layers": [1, 2], "model.dropout[1]": Values([0.1], when={"model.num_layers": 2})}
    config = tiny_config(tmp_path, space=space)
    assert baseline_config(config, 0.01, 2).model == config.model
    assert (turned_off(config), kept_on(config)) == ({}, {})


def test_weight_decay_is_off_in_the_baseline_where_it_is_tried_and_stays_where_it_is_not(tmp_path: Path) -> None:
    tried, left = (
        with_settings(tiny_config(tmp_path, weight_decay=values), {WEIGHT_DECAY: 0.2, "training.optimizer": "adamw"})
        for values in ([0.1], [])
    )
    assert list(dimensions(tried)) == [*(tried.search.space or {}), WEIGHT_DECAY]
    assert baseline_config(tried, 0.01, 2).training.weight_decay == 0
    assert (turned_off(tried), kept_on(tried)) == ({WEIGHT_DECAY: 0.2}, {})
    assert WEIGHT_DECAY not in dimensions(left)
    assert baseline_config(left, 0.01, 2).training.weight_decay == 0.2
    assert (turned_off(left), kept_on(left)) == ({}, {WEIGHT_DECAY: 0.2})


def test_what_the_space_says_of_weight_decay_holds(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, space={WEIGHT_DECAY: [0.5]}, weight_decay=[0.1])
    assert dimensions(config) == {WEIGHT_DECAY: [0.5]}


def test_a_setting_reads_well() -> None:
    setting: Setting = {"model.kernel_l2": 1e-4, "model.hidden_size": 8}
    assert describe(setting) == "kernel_l2=0.0001, hidden_size=8"
