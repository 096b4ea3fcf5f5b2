"""What a space may say: one layer's value, a condition, a grid; and what it may not."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import FloatDistribution

from lstmreg.cli import parse
from lstmreg.config import (
    Config,
    DataConfig,
    ModelConfig,
    Range,
    SearchConfig,
    Values,
    configured,
    from_dict,
    searchable,
    with_settings,
)
from lstmreg.errors import ConfigError
from lstmreg.yaml_file import read_yaml, write_yaml

DATA = DataConfig("table.csv", "y")
TWO = Config(DATA, ModelConfig(num_layers=2))


def searching(space: dict[str, Any], model: ModelConfig | None = None, **search: Any) -> Config:
    return Config(DATA, model or ModelConfig(), search=SearchConfig(space=space, **search))


def refused(space: dict[str, Any], model: ModelConfig | None = None, **search: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        searching(space, model, **search)
    return str(caught.value)


# ---------------------------------------------------------------------- one layer


def test_a_path_with_a_number_is_the_value_of_one_layer() -> None:
    changed = with_settings(TWO, {"model.dropout[1]": 0.3, "model.hidden_size[0]": 8.0})
    assert (changed.model.dropout, changed.model.hidden_size) == ([0.0, 0.3], [8, 32])
    assert [type(size) for size in changed.model.hidden_size] == [int, int]  # type: ignore[union-attr]
    assert [configured(changed, f"model.dropout[{layer}]") for layer in (0, 1)] == [0.0, 0.3]
    assert with_settings(changed, {"model.dropout[1]": 0.0, "model.hidden_size[0]": 32}) == TWO


def test_the_number_of_layers_goes_before_what_stands_in_one() -> None:
    settings = {"model.activation[2]": "relu", "model.num_layers": 3}
    assert with_settings(TWO, settings).model == ModelConfig(num_layers=3, activation=["tanh", "tanh", "relu"])


def test_every_setting_that_may_differ_by_layer_can_be_named_in_one() -> None:
    may = [path for path in searchable(TWO) if path.removeprefix("model.") in ModelConfig.per_layer()]
    assert len(may) == 13, "a size, two activations, ten knobs: one that is added is counted here"
    for path in may:
        own = configured(TWO, path)
        new = {float: 0.25, int: 5, str: "relu"}[type(own)]
        changed = with_settings(TWO, {f"{path}[1]": new}).model
        assert [layer[path.removeprefix("model.")] for layer in (changed.layer(0), changed.layer(1))] == [own, new]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "model.dropout[2]",
            "model.dropout[2]: there is no such layer: model.num_layers is 2, so its layers are 0 to 1.",
        ),
        ("model.dropuot[0]", "search.space: unknown setting 'model.dropuot[0]'. Did you mean 'model.dropout'?"),
        ("model.dropout[-1]", "counted from 0, is model.dropout[0] and so on."),
        ("model.dropout[]", "search.space: unknown setting 'model.dropout[]'."),
        ("model.bidirectional[0]", "model.bidirectional[0]: model.bidirectional is one for all layers."),
        ("training.learning_rate[0]", "training.learning_rate is one for all layers."),
    ],
)
def test_a_layer_that_is_not_there_is_refused_by_name(path: str, message: str) -> None:
    assert message in refused({path: [0.1]}, TWO.model)
    with pytest.raises(ConfigError, match=r"layer|unknown setting"):
        with_settings(TWO, {path: 0.1})


def test_a_value_in_one_layer_keeps_the_settings_rule() -> None:
    assert refused({"model.dropout[1]": [1.0]}, TWO.model) == "model.dropout must be in [0, 1), got 1.0."
    assert "model.hidden_size[1] must be a whole number" in refused({"model.hidden_size[1]": [8.5]}, TWO.model)


def test_all_layers_and_one_of_them_are_not_searched_together() -> None:
    space = {"model.dropout": [0.1], "model.dropout[1]": [0.2]}
    assert "model.dropout and model.dropout[1] cannot both be searched. Name each layer." in refused(space, TWO.model)


def test_a_layer_that_is_not_always_there_needs_a_condition() -> None:
    space: dict[str, Any] = {"model.num_layers": [1, 2, 3], "model.dropout[1]": [0.2]}
    assert refused(space) == (
        "search.space: model.dropout[1]: there is no such layer where model.num_layers is 1. Search it only where "
        "there is one: when: {model.num_layers: [2, 3]}."
    )
    space["model.dropout[1]"] = Values([0.2], when={"model.num_layers": [2, 3]})
    assert searching(space).search.dimensions["model.dropout[1]"] == [0.2]
    space["model.dropout[2]"] = Values([0.2], when={"model.num_layers": [2, 3]})
    assert "model.num_layers is 2, so its layers are 0 to 1." in refused(space)
    # Where the baseline has no such layer, nothing can be off there.
    del space["model.dropout[2]"]
    assert "model.dropout must be 0 where model.dropout[1] is searched" in refused(space, ModelConfig(dropout=0.2))


# ---------------------------------------------------------------------- conditions


def test_a_condition_holds_for_what_waits_for_it_and_comes_first() -> None:
    config = searching(
        {
            "model.dropout[1]": Range(0.1, 0.5, when={"model.activation[1]": "relu"}),
            "model.activation[1]": Values(["relu"], when={"model.num_layers": [2, 3]}),
            "model.num_layers": [2, 3],
        }
    )
    assert list(config.search.dimensions) == ["model.num_layers", "model.activation[1]", "model.dropout[1]"]
    assert config.search.conditions == {
        "model.num_layers": {},
        "model.activation[1]": {"model.num_layers": (2, 3)},
        "model.dropout[1]": {"model.num_layers": (2, 3), "model.activation[1]": ("relu",)},
    }


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"model.layers": 2}, "model.dropout: when must name settings that are searched too, got 'model.layers'."),
        ({"model.hidden_sizes": 8}, "got 'model.hidden_sizes'. Did you mean 'model.hidden_size'? Search it, or"),
        ({"model.bidirectional": True}, "got 'model.bidirectional'. Search it, or set what it is in the configuration"),
        ({"model.dropout": 0.1}, "a setting cannot wait for itself: model.dropout when model.dropout."),
        (
            {"model.hidden_size": 9},
            "model.dropout: when: model.hidden_size must be one of its values (32, 8, 16), got 9.",
        ),
        ({"model.hidden_size": []}, "model.dropout: when must be possible for model.hidden_size, got ()."),
        ({"training.learning_rate": 0.01}, "must name settings with listed values or a step"),
    ],
)
def test_a_condition_that_cannot_hold_is_refused(when: dict[str, Any], message: str) -> None:
    space = {
        "model.dropout": Values([0.1], when=when),
        "model.hidden_size": [8, 16],
        "training.learning_rate": Range(0.001, 0.1, log=True),
    }
    assert message in refused(space)


def test_a_circle_of_conditions_is_refused_with_its_way() -> None:
    space = {
        "model.dropout": Values([0.1], when={"model.kernel_l1": 0.1}),
        "model.kernel_l1": Values([0.1], when={"model.hidden_size": 8}),
        "model.hidden_size": Values([8], when={"model.dropout": 0.1}),
    }
    way = "model.dropout when model.kernel_l1 when model.hidden_size when model.dropout"
    assert f"a setting cannot wait for itself: {way}." in refused(space)


def test_conditions_that_exclude_each_other_are_refused() -> None:
    space = {
        "model.hidden_size": [8, 16],
        "model.kernel_l1": Values([0.1], when={"model.hidden_size": 8}),
        "model.dropout": Values([0.1], when={"model.kernel_l1": 0.1, "model.hidden_size": 16}),
    }
    assert "when must be possible for model.hidden_size, got (16,)" in refused(space)


def test_a_condition_may_name_what_is_off_or_a_step() -> None:
    space = {
        "model.kernel_l1": [0.1],
        "model.kernel_l2": Values([0.1], when={"model.kernel_l1": 0.0}),
        "model.num_layers": Range(1, 3, step=1),
        "model.dropout[1]": Values([0.1], when={"model.num_layers": [2, 3]}),
    }
    assert searching(space).search.conditions["model.kernel_l2"] == {"model.kernel_l1": (0.0,)}


def test_a_space_is_read_as_it_was_written(tmp_path: Path) -> None:
    space = {
        "model.num_layers": [1, 2],
        "model.dropout[1]": Range(0.1, 0.5, step=0.1, when={"model.num_layers": 2}),
        "model.kernel_l1[1]": Values([0.1], when={"model.num_layers": [2]}),
    }
    config = searching(space)
    write_yaml(config, tmp_path / "config.yaml")
    assert from_dict(read_yaml(tmp_path / "config.yaml")) == config == from_dict(dataclasses.asdict(config))


# ---------------------------------------------------------------------- intervals, grids, and no screen


@pytest.mark.parametrize(
    ("low", "high", "step"),
    [(0.15, 0.99, 0.05), (0.05, 0.99, 0.05), (40, 800, 20), (0.1, 0.3, 0.1), (0.15, 0.99, 0.01)],
)
def test_the_greatest_value_is_the_one_that_optuna_takes(low: float, high: float, step: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns where the steps do not meet the end
        optuna = FloatDistribution(low, high, step=step)
    found = Range(low, high, step=step)
    assert found.greatest == optuna.high
    assert found.steps == round((optuna.high - low) / step)


def test_a_whole_number_is_searched_in_whole_steps() -> None:
    rule = "must be a list of whole numbers, or have a whole low and a whole step"
    assert rule in refused({"model.hidden_size": Range(8, 64)})
    assert rule in refused({"model.hidden_size": Range(8, 64, step=0.5)})
    assert rule in refused({"model.hidden_size": Range(8, 64, log=True)})
    assert searching({"model.hidden_size": Range(8, 65, step=8)})


def test_a_grid_needs_steps() -> None:
    message = refused({"model.dropout": Range(0.1, 0.5)}, sampler="grid", trials=3)
    assert "search.space: model.dropout must have a step where search.sampler is grid" in message
    assert "Give it a step, or list its values" in message
    assert searching({"model.dropout": Range(0.1, 0.5, step=0.1), "model.kernel_l1": [0.1]}, sampler="grid")


def test_without_a_screen_something_must_be_proposed() -> None:
    with pytest.raises(ConfigError, match=r"^search\.trials must be above 0 where search\.screen is false"):
        SearchConfig(screen=False)
    assert SearchConfig(screen=False, trials=1).trials == 1


def test_the_command_line_reads_a_space_as_yaml_says_it(tmp_path: Path) -> None:
    lines = """
data: {path: table.csv, target: y}
search:
  space:
    model.num_layers: [1, 2]
    model.hidden_size: {values: [8, 16], grow: true}
    model.dropout[0]: [0.1, 0.3]
    model.dropout[1]: {values: [0.1, 0.3], when: {model.num_layers: 2}}
    model.recurrent_dropout[1]: {low: 0.1, high: 0.5, step: 0.1, when: {model.num_layers: [2, 3], model.hidden_size: 8}}
    model.activation[1]: {values: [relu, tanh], when: {model.num_layers: 2}}
"""
    (tmp_path / "lstmreg.yaml").write_text(lines.replace("[2, 3]", "[2, 1]"))
    with pytest.raises(ConfigError, match=r"model\.recurrent_dropout\[1\]: there is no such layer"):
        parsed(tmp_path)
    (tmp_path / "lstmreg.yaml").write_text(lines.replace("[2, 3]", "[2]"))
    assert parsed(tmp_path) == searching(
        {
            "model.num_layers": [1, 2],
            "model.hidden_size": Values([8, 16], grow=True),
            "model.dropout[0]": [0.1, 0.3],
            "model.dropout[1]": Values([0.1, 0.3], when={"model.num_layers": 2}),
            "model.recurrent_dropout[1]": Range(
                0.1, 0.5, step=0.1, when={"model.num_layers": [2], "model.hidden_size": 8}
            ),
            "model.activation[1]": Values(["relu", "tanh"], when={"model.num_layers": 2}),
        }
    )


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            "{lo: 0.1, high: 0.5}",
            "model.dropout: unknown key 'lo'. Did you mean 'low'? It is a list of values, {values,",
        ),
        ("{values: [0.1], whne: {model.num_layers: 2}}", "model.dropout: unknown key 'whne'. Did you mean 'when'?"),
        ("{value: [0.1]}", "model.dropout: unknown key 'value'. Did you mean 'values'?"),
        ("{values: [0.1], low: 0.1}", "model.dropout: unknown key 'low'."),
        (
            "0.1",
            "model.dropout must be a list of values, {values, when, grow} or {low, high, log, step, when}, got 0.1. "
            "Write [0.1].",
        ),
        ("null", "model.dropout must be a list of values, {values, when, grow} or"),
        ("{low: 0.1}", "model.dropout must be an interval with high, or have values, got {'low': 0.1}."),
        ("{when: {model.num_layers: 2}}", "model.dropout must be an interval with low, or have values, got"),
        ("{low: a, high: 0.5}", "model.dropout: low must be a number, got 'a'."),
        ("{low: 0.1, high: 0.5, when: 3}", "model.dropout: when must be settings by path, each with a value or"),
        ("{values: 0.1}", "model.dropout: values must be a list of numbers, names, true or false, got 0.1."),
        ("[[0.1]]", "model.dropout must be a list of numbers, names, true or false, got [[0.1]]."),
    ],
)
def test_a_dimension_that_is_none_is_answered_with_what_one_may_be(written: str, message: str, tmp_path: Path) -> None:
    space = f"model.kernel_l1: [0.1]\n    model.dropout: {written}"
    (tmp_path / "lstmreg.yaml").write_text(f"data: {{path: table.csv, target: y}}\nsearch:\n  space:\n    {space}\n")
    with pytest.raises(ConfigError) as caught:
        parsed(tmp_path)
    assert str(caught.value).startswith(f"search.space: {message}")


def test_an_option_that_is_no_space_is_answered_with_its_key() -> None:
    space = "--search.space={model.dropout: {lo: 0.1, high: 0.5}}"
    with pytest.raises(ConfigError, match=r"^search\.space: model\.dropout: unknown key 'lo'\. Did you mean 'low'"):
        parse(["search", "--data.path=table.csv", "--data.target=y", space])


def test_a_number_in_scientific_notation_is_one(tmp_path: Path) -> None:
    text = (
        "data: {path: table.csv, target: y}\nsearch: {space: {model.kernel_l1: {low: 1e-3, high: 1e-1, log: true}}}\n"
    )
    (tmp_path / "lstmreg.yaml").write_text(text)
    assert parsed(tmp_path).search.dimensions == {"model.kernel_l1": Range(0.001, 0.1, log=True)}


def parsed(folder: Path) -> Config:
    verb, found = parse(["search", "-c", str(folder / "lstmreg.yaml")])
    return verb.config(found)  # type: ignore[attr-defined, no-any-return]
