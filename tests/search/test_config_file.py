"""A run that has begun goes on with what it was begun with, and refuses another question."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from lstmreg.config import AMOUNTS, PLANNED, Config, default_space, with_settings
from lstmreg.errors import ConfigError, CorruptFileError
from lstmreg.search.config_file import read_config, settle, write_config
from lstmreg.tasks import read_task
from tests.tiny import tiny_config


def begun(config: Config) -> Config:
    """Begin a run, as far as its configuration goes."""
    config.directory.mkdir(parents=True, exist_ok=True)
    write_config(config)
    return config


def settled(config: Config) -> Config:
    return settle(config, read_task(config))


def test_a_run_that_has_not_begun_may_be_anything(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    assert settled(config) == config


def test_a_space_that_is_left_open_is_the_one_that_suits_the_columns(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, space=None)
    assert settled(config).search.space == default_space(2)
    single = dataclasses.replace(config, data=dataclasses.replace(config.data, features=["wave"]))
    assert settled(single).search.space == default_space(1)


@pytest.mark.parametrize(("optimizer", "is_other"), [("adam", True), ("adamw", True), ("sgd", False)])
def test_a_space_that_is_left_open_has_the_strengths_of_a_proximal_step(
    tmp_path: Path, optimizer: str, *, is_other: bool
) -> None:
    settings = {"training.proximal": True, "training.optimizer": optimizer}
    space = settled(with_settings(tiny_config(tmp_path, space=None), settings)).search.space
    assert space is not None
    usual = default_space(2)
    assert {path for path in space if space[path] != usual[path]} == (
        {"model.kernel_l1", "model.recurrent_l1"} if is_other else set()
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"learning_rates": [0.01]}, r"search\.learning_rates: \[0.01, 0.03\] then, \[0.01\] now"),
        ({"learning_rates": [0.01, 0.03, 0.1]}, r"search\.learning_rates"),
        ({"smallest_effect": 0.05}, r"search\.smallest_effect: 0.02 then, 0.05 now"),
        ({"confidence": 0.9}, r"search\.confidence"),
        ({"weight_decay": []}, r"search\.weight_decay: \[0.1\] then, \[\] now"),
        ({"blocks": 4}, r"search\.blocks: 3 then, 4 now"),
        ({"race": 3}, r"search\.race: 2 then, 3 now"),
        ({"judge_seeds": 5}, r"search\.judge_seeds"),
        ({"test_seeds": 5}, r"search\.test_seeds"),
        ({"trials": 1}, r"search\.trials: 0 then, 1 now"),
        ({"seed": 1}, r"search\.seed: 0 then, 1 now"),
        ({"space": {"model.kernel_l2": [1e-4, 1e-2]}}, r"search\.space\.model\.dropout: \[0.2\] then, None now"),
    ],
)
def test_another_question_is_refused_with_the_difference(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    """More trainings too: to look, and then to ask for more, gives chance another opportunity."""
    begun(tiny_config(tmp_path))
    with pytest.raises(ConfigError, match=said) as caught:
        settled(tiny_config(tmp_path, **changed))
    assert "give this run another name (--name=...)" in str(caught.value)
    assert caught.value.exit_code == 2


def test_other_data_another_model_or_a_further_knob_are_refused(tmp_path: Path) -> None:
    config = begun(tiny_config(tmp_path))
    with pytest.raises(ConfigError, match=r"model\.bias_l2: 0.0 then, 0.1 now; training\.batch_size: \d+ then, 7 now"):
        settled(with_settings(config, {"model.bias_l2": 0.1, "training.batch_size": 7}))
    with pytest.raises(ConfigError, match=r"data\.window: 6 then, 7 now"):
        settled(dataclasses.replace(config, data=dataclasses.replace(config.data, window=7)))
    space = dict(config.search.space or {}) | {"model.bias_l2": [0.01]}
    with pytest.raises(ConfigError, match=r"search\.space\.model\.bias_l2: None then"):
        settled(dataclasses.replace(config, search=dataclasses.replace(config.search, space=space)))


def test_numbers_that_are_left_open_are_those_it_began_with(tmp_path: Path) -> None:
    begun(tiny_config(tmp_path))
    left_open = tiny_config(tmp_path, **dict.fromkeys(PLANNED))
    assert settled(left_open) == tiny_config(tmp_path)
    assert AMOUNTS[0] != settled(left_open).search.amount


def test_a_run_keeps_the_effort_that_it_was_planned_with(tmp_path: Path) -> None:
    begun(tiny_config(tmp_path, effort="quick"))
    unsaid = settled(tiny_config(tmp_path, **dict.fromkeys(PLANNED)))
    assert unsaid.search.amount == tiny_config(tmp_path).search.amount
    assert unsaid.search.effort == "quick"
    with pytest.raises(ConfigError, match=r"search.effort: 'quick' then, 'thorough' now.*another name"):
        settled(tiny_config(tmp_path, effort="thorough", **dict.fromkeys(PLANNED)))


def test_a_folder_that_was_moved_and_renamed_goes_on(tmp_path: Path) -> None:
    config = begun(tiny_config(tmp_path))
    moved = tmp_path / "elsewhere" / "other"
    shutil.copytree(config.directory, moved)
    there = dataclasses.replace(config, runs=str(moved.parent), name="other")
    assert settled(there) == there == read_config(moved)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    config = begun(tiny_config(tmp_path))
    read = read_config(config.directory)
    assert read == dataclasses.replace(config, name="waves")  # which was derived from the file's


def test_a_folder_without_a_run_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="no run here"):
        read_config(tmp_path)
    config = begun(tiny_config(tmp_path))
    for damage in ("search: 3\n", "search: {blocks: 1}\n", "nothing: {}\n"):
        (config.directory / "config.yaml").write_text(damage)
        with pytest.raises((CorruptFileError, ConfigError), match=r"config\.yaml: damaged"):
            read_config(config.directory)
