"""What is tried, and how much of it, as a configuration says."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from lstmreg.config import Config, Range, Values, default_space, with_settings
from lstmreg.errors import ConfigError
from lstmreg.knobs import KNOBS
from lstmreg.search import arms
from lstmreg.search.method import Arm
from lstmreg.search.planning import trainings
from lstmreg.search.space import WEIGHT_DECAY
from tests.tiny import tiny_config


def tried(config: Config) -> dict[str, Arm]:
    return {arm.path: arm for arm in arms.arms(config)}


def with_space(folder: Path, space: dict[str, Any], **search: Any) -> Config:
    return tiny_config(folder, space=space, **search)


def test_knobs_are_arms_of_their_kind_and_place(tmp_path: Path) -> None:
    found = tried(tiny_config(tmp_path))
    assert list(found) == ["model.kernel_l2", "model.dropout", "model.recurrent_dropout", WEIGHT_DECAY]
    l2, dropout = found["model.kernel_l2"], found["model.dropout"]
    assert (l2.ladder, l2.kind, l2.place) == ((1e-4, 1e-2), "strength", "the input weights")
    assert (dropout.ladder, dropout.kind, dropout.place) == ((0.2,), "rate", "the inputs")
    assert (l2.with_other_rates, dropout.with_other_rates) == (False, True)
    assert all(arm.grows for arm in found.values())
    assert [arm.path for arm in found.values() if arm.is_rival] == [WEIGHT_DECAY]


def test_the_default_space_is_whole_ladders_and_spares_a_single_column_what_chooses_columns() -> None:
    two, one = default_space(2), default_space(1)
    assert set(two) - set(one) == {"model.kernel_l1"}
    assert two == {path: list(knob.ladder) for path, knob in KNOBS.items() if path != "model.bias_l1"}
    assert one["model.kernel_l2"] == two["model.kernel_l2"]


@pytest.mark.parametrize(
    ("space", "values"),
    [
        ([0.1, 0.5], (0.1, 0.25, 0.5)),
        ([0.25, 0.5], (0.25, 0.5)),
        (Range(0.1, 0.5), (0.1, 0.25, 0.3, 0.5)),
        ([0.0], (0.25,)),
    ],
)
def test_whoever_configured_a_value_wants_to_know_of_it(tmp_path: Path, space: Any, values: tuple[float, ...]) -> None:
    config = with_settings(with_space(tmp_path, {"model.dropout": space}, weight_decay=[]), {"model.dropout": 0.25})
    assert tried(config)["model.dropout"].ladder == values
    by_layer = dataclasses.replace(config.model, num_layers=2, dropout=[0.25, 0.25])
    assert tried(dataclasses.replace(config, model=by_layer))["model.dropout"].ladder == values


def test_what_no_single_value_says_is_not_tried(tmp_path: Path) -> None:
    """Neither layers that differ, nor the decay that Adam adds to the gradient, which AdamW does not."""
    config = with_space(tmp_path, {"model.dropout": [0.1]})
    by_layer = dataclasses.replace(config, model=dataclasses.replace(config.model, num_layers=2, dropout=[0.1, 0.4]))
    assert tried(by_layer)["model.dropout"].ladder == (0.1,)
    assert tried(with_settings(config, {WEIGHT_DECAY: 0.7}))[WEIGHT_DECAY].ladder == tried(config)[WEIGHT_DECAY].ladder
    adamw = with_settings(config, {WEIGHT_DECAY: 0.7, "training.optimizer": "adamw"})
    assert 0.7 in tried(adamw)[WEIGHT_DECAY].ladder


@pytest.mark.parametrize(
    ("optimizer", "beside"), [("adam", {"training.optimizer": "adamw"}), ("adamw", {}), ("sgd", {})]
)
def test_weight_decay_needs_an_optimizer_that_decays_weights(
    tmp_path: Path, optimizer: str, beside: dict[str, str]
) -> None:
    arm = tried(with_settings(tiny_config(tmp_path), {"training.optimizer": optimizer}))[WEIGHT_DECAY]
    assert arm.at(0.1).setting == {WEIGHT_DECAY: 0.1} | beside


def test_a_conditional_setting_brings_what_its_condition_needs(tmp_path: Path) -> None:
    space = {
        "model.num_layers": [1, 2, 3],
        "model.dropout[1]": Values([0.2], when={"model.num_layers": [2, 3]}),
        "model.kernel_l2": Values([0.1], when={"model.kernel_l1": 0.0}),
        "model.kernel_l1": [0.01],
        "model.bias_l2": Values([0.1], when={WEIGHT_DECAY: 0.3}),
        WEIGHT_DECAY: [0.3],
    }
    found = tried(with_space(tmp_path, space))
    dropout = found["model.dropout[1]"]
    assert (dropout.kind, dropout.place) == ("rate", "the inputs of the second layer")
    assert dropout.at(0.2).setting == {"model.num_layers": 2, "model.dropout[1]": 0.2}
    assert found["model.kernel_l2"].at(0.1).setting == {"model.kernel_l2": 0.1}  # as it is, it is off
    decayed = {WEIGHT_DECAY: 0.3, "training.optimizer": "adamw", "model.bias_l2": 0.1}
    assert found["model.bias_l2"].at(0.1).setting == decayed
    meets = {path: found[path].may_stand_in for path in ("model.dropout[1]", "model.kernel_l2")}
    assert [meets["model.dropout[1]"]({"model.num_layers": n}) for n in (1, 2, 3)] == [False, True, True]
    assert not meets["model.dropout[1]"]({})
    assert [meets["model.kernel_l2"](setting) for setting in ({}, {"model.kernel_l1": 0.01})] == [True, False]


def test_any_other_setting_is_a_choice_among_what_is_not_its_own_value(tmp_path: Path) -> None:
    space = {"model.hidden_size": [4, 8, 2], "training.optimizer": ["sgd"], "training.batch_size": [32]}
    found = tried(with_space(tmp_path, space, weight_decay=[]))
    assert found["model.hidden_size"] == Arm("model.hidden_size", (8, 2), "choice")  # 4 is the baseline's
    assert not found["model.hidden_size"].grows
    assert found["training.optimizer"].ladder == ("sgd",)
    assert ("training.batch_size" in found) == (tiny_config(tmp_path).training.batch_size != 32)


def test_an_interval_is_tried_at_three_points_and_does_not_grow(tmp_path: Path) -> None:
    space = {
        "model.kernel_l1": Range(1e-4, 1e-2, log=True),
        "model.dropout": Range(0.0, 0.5),
        "model.hidden_size": Range(4, 12, step=4),
    }
    found = tried(with_space(tmp_path, space))
    assert found["model.kernel_l1"].ladder == pytest.approx((1e-4, 1e-3, 1e-2))
    assert found["model.dropout"].ladder == (0.25, 0.5)  # off is the baseline
    assert found["model.hidden_size"].ladder == (8, 12)
    assert not any(found[path].grows for path in space)


def test_a_knob_of_which_only_off_is_asked_for_is_no_arm(tmp_path: Path) -> None:
    found = tried(with_space(tmp_path, {"model.dropout": [0.0], "model.kernel_l2": [0.0, 0.1]}, weight_decay=[]))
    assert {path: arm.ladder for path, arm in found.items()} == {"model.kernel_l2": (0.1,)}


def test_the_budget_is_the_screen_the_race_the_proposals_and_the_judge(tmp_path: Path) -> None:
    plan = arms.plan(tiny_config(tmp_path, trials=5, batch=2, race=7, judge_seeds=4), 0.03)
    # The baseline has three seeds, six values one each; the pick, the baseline and weight decay are judged.
    assert plan.budget == 3 * (3 + 6 + 5 + 7 + 3 * 4)
    assert (plan.blocks, plan.judge_seeds, plan.trials, plan.batch) == (3, 4, 5, 2)
    assert (plan.learning_rate, plan.smallest_effect, plan.confidence) == (0.03, 0.02, 0.97)
    without = arms.plan(tiny_config(tmp_path, race=7, judge_seeds=4, weight_decay=[]), 0.03)
    assert without.budget == 3 * (3 + 5 + 7 + 2 * 4)


@pytest.mark.parametrize("search", [{"race": 0}, {"race": 0, "weight_decay": []}, {"race": 0, "trials": 1}])
def test_the_least_budget_suffices(tmp_path: Path, search: dict[str, Any]) -> None:
    plan = arms.plan(tiny_config(tmp_path, **search), 0.01)
    assert plan.budget >= plan.least_budget


def test_learning_rates_are_left_alone_where_the_learning_rate_is_searched(tmp_path: Path) -> None:
    config = with_space(tmp_path, {"training.learning_rate": [0.1], "model.dropout": [0.2]})
    assert arms.plan(config, 0.03).learning_rate is None


def test_trainings_are_told_by_what_they_are_for(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, trials=2, judge_seeds=3, test_seeds=4, effort="quick")
    # The baseline's seeds at its learning rate are the screen's.
    assert trainings(config, columns=2) == {
        "learning rate": 2 * 3 * 3,
        "experiment": 3 * (6 + 2 + 2 + 3 * 3),
        "test": 3 * 4,
        "explain": 0,
    }
    alone = dataclasses.replace(config, search=dataclasses.replace(config.search, weight_decay=[]))
    assert trainings(alone, columns=2)["test"] == 2 * 4


def test_a_list_grows_or_not_as_the_space_says(tmp_path: Path) -> None:
    space = {
        "model.hidden_size": Values([8, 16], grow=True),
        "model.kernel_l2": Values([0.01], grow=False),
        "model.dropout": Values([0.1], grow=True),
        "training.batch_size": [8],
    }
    found = tried(with_space(tmp_path, space))
    assert [arm.path for arm in found.values() if arm.grows] == ["model.hidden_size", "model.dropout", WEIGHT_DECAY]
    with pytest.raises(ConfigError, match=r"training\.batch_size: grow must be false or null of what"):
        with_space(tmp_path, {"training.batch_size": Values([8], grow=True)})


def test_without_a_screen_only_what_is_proposed_counts(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, screen=False, trials=7)
    plan, screened = arms.plan(config, 0.01), arms.plan(tiny_config(tmp_path, trials=7), 0.01)
    values = sum(len(arm.ladder) for arm in plan.arms)
    assert screened.budget - plan.budget == screened.screen - plan.screen == values * plan.blocks
    assert not plan.tries_alone
