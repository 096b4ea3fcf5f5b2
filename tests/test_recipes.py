"""The recipes say what they are said to say, run as they stand, and every key of their spaces is a live setting."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.distributions import FloatDistribution

from lstmreg import Config, report, search
from lstmreg.cli import main, parse
from lstmreg.config import DataConfig, ModelConfig, Range, SearchConfig, TrainingConfig
from lstmreg.errors import ConfigError
from lstmreg.knobs import KNOBS
from lstmreg.recipes import RECIPES, file_of, recipe
from lstmreg.search.arms import LEARNING_RATE
from lstmreg.search.config_file import read_config
from lstmreg.search.space import Setting, baseline_config, configured, dimensions, is_regularizer, trained_config
from lstmreg.tasks import Task, read_task
from lstmreg.training.population.together import Assignment, train_together
from tests.tiny import write_series

LAYERS = (0, 1, 2)


def configured_by(name: str, folder: Path) -> Config:
    """Return the configuration of a recipe for a short series; of no name that of no recipe."""
    if not (folder / "waves.csv").exists():
        write_series(folder / "waves.csv")
    data = DataConfig(str(folder / "waves.csv"), "wave", time="day", window=4)
    return Config(data, runs=str(folder / "runs"), **(recipe(name) if name else {}))


# ---------------------------------------------------------------------- what they say


def test_there_is_a_file_for_each_and_no_other() -> None:
    assert {path.stem for path in file_of("quick").parent.glob("*.yaml")} == set(RECIPES)
    with pytest.raises(ConfigError, match=r"staged, stacked, got 'stagd'. Did you mean 'staged'"):
        recipe("stagd")


@pytest.mark.parametrize("effort", ["quick", "default", "thorough"])
def test_the_first_three_are_the_efforts(effort: str) -> None:
    assert recipe(effort) == {
        "model": ModelConfig(),
        "training": TrainingConfig(),
        "search": SearchConfig(effort=effort),  # type: ignore[arg-type]
    }


def test_the_staged_one_is_the_advice_that_people_get() -> None:
    found = recipe("staged")
    model, space = found["model"], found["search"].dimensions  # type: ignore[union-attr]
    assert (model.num_layers, model.hidden_size) == (1, 5)  # type: ignore[union-attr]
    assert space.pop("model.hidden_size") == [10]
    assert found["search"].grows("model.hidden_size")  # type: ignore[union-attr]
    strengths = {path for path, knob in KNOBS.items() if knob.kind == "strength"}
    assert {path: space.pop(path) for path in strengths} == {path: [0.01] for path in strengths}
    rates = [0.1, 0.2, 0.3, 0.4, 0.5]
    assert space == {"model.dropout": rates, "model.recurrent_dropout": rates}


def test_the_stacked_one_is_the_recipe_from_the_web_as_written() -> None:
    plain = yaml.safe_load(file_of("stacked").read_text())
    assert plain["model"] == {"num_layers": 3, "hidden_size": 40, "activation": ["tanh", "tanh", "relu"]}
    assert plain["training"] == {"optimizer": "adam", "patience": 2}
    rates = [1e-2, 1e-3, 1e-4, 1e-7, 1e-10]
    space = plain["search"].pop("space")
    assert plain["search"].pop("learning_rates") == space.pop(LEARNING_RATE) == rates
    assert plain["search"] == {"screen": False, "trials": 20, "sampler": "gp", "weight_decay": []}
    written = {
        "hidden_size": {"low": 40, "high": 800, "step": 20},
        "dropout": {"low": 0.15, "high": 0.99, "step": 0.05},
        "recurrent_dropout": {"low": 0.05, "high": 0.99, "step": 0.05},
        "kernel_l1": [0.0001, 0.001, 0.01],
        "kernel_l2": [0.0001, 0.001, 0.01],
    }
    assert space == {f"model.{name}[{layer}]": written[name] for name in written for layer in LAYERS}


def test_its_steps_are_those_that_optuna_makes_of_what_is_written() -> None:
    found = recipe("stacked")["search"].dimensions  # type: ignore[union-attr]
    for layer in LAYERS:
        sizes, first, second = (found[f"model.{n}[{layer}]"] for n in ("hidden_size", "dropout", "recurrent_dropout"))
        assert [sizes.at(k) for k in range(sizes.steps + 1)] == list(range(40, 801, 20))
        for dimension, low in ((first, 0.15), (second, 0.05)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Optuna warns that 0.99 is not met
                optuna = FloatDistribution(low, 0.99, step=0.05)
            assert (dimension.low, dimension.greatest) == (optuna.low, optuna.high) == (low, 0.95)


# ---------------------------------------------------------------------- the command line


def parsed(*arguments: str) -> Config:
    verb, found = parse(["search", *arguments, "--data.path=waves.csv", "--data.target=wave"])
    return verb.config(found)  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_lies_beneath_a_file_and_flags(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = DataConfig("waves.csv", "wave")
    assert parsed("--recipe", name) == parsed(f"--recipe={name}") == Config(data, **recipe(name))  # type: ignore[arg-type]
    Path("mine.yaml").write_text("training: {patience: 7}\nsearch: {space: {model.dropout: [0.5]}, trials: 4}\n")
    mine = parsed("-c", "mine.yaml", "--recipe", name, "--training.patience=8")
    assert (mine.training.patience, mine.search.trials, mine.search.space) == (8, 4, {"model.dropout": [0.5]})
    assert mine.model == recipe(name)["model"]
    demo, found = parse(["demo", "sunspots", "--recipe", name])
    config = demo.config(found)  # type: ignore[attr-defined]
    lies_above = {"space": config.search.space, "effort": config.search.effort, "sampler": config.search.sampler}
    assert config.data.target == "sunspots"
    assert lies_above == {key: getattr(recipe(name)["search"], key) for key in lies_above}
    assert config.search.is_open == (name in ("quick", "default", "thorough"))  # a demo's own amounts are its file's


def test_a_recipe_that_is_none_is_answered_with_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--recipe", "nightly"], ["--recipe=nightly"]):
        assert main(["search", *arguments]) == 2
        said = capsys.readouterr().err
        assert said.startswith(
            "lstmreg: recipe must be one of quick, default, thorough, staged, stacked, got 'nightly'."
        )
    for arguments in (["--recipe"], ["--recipe", "-c"], ["--recipe", "quick", "--recipe=staged"]):
        assert main(["search", *arguments]) == 2
        assert "--recipe must name one of quick, default, thorough, staged, stacked" in capsys.readouterr().err


def test_what_lies_above_a_recipe_is_said_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("data: {path: none.csv, target: y}\nmodel: {hidden_size: 16, num_layers: 1}\n")
    # There are no data, so nothing starts; it is said even so.
    assert main(["search", "-c", "mine.yaml", "--recipe", "staged", "--search.weight_decay=[0.1]"]) == 3
    assert " ".join(capsys.readouterr().out.split()) == (
        "Not as the recipe staged has it: model.hidden_size: 16 of mine.yaml, where the recipe says 5; "
        "search.weight_decay: [0.1] of the options, where the recipe says []."
    )
    Path("mine.yaml").write_text("data: {path: none.csv, target: y}\nsearch: {space: {model.dropout: [0.1]}}\n")
    assert main(["search", "-c", "mine.yaml", "--recipe=staged"]) == 3
    assert "search.space of mine.yaml, where the recipe has one of its own." in capsys.readouterr().out
    assert main(["search", "--recipe", "staged", "--data.path=none.csv", "--data.target=y"]) == 3
    assert capsys.readouterr().out == ""


def test_a_recipe_becomes_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["search", "--recipe", "staged", "--data.path=waves.csv", "--data.target=wave", "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["model"]["hidden_size"], "recipe" in printed) == (5, False)


#: What makes a search of two dozen values a matter of seconds.
LEAST = {"blocks": 3, "race": 0, "judge_seeds": 2, "test_seeds": 2, "learning_rates": [0.01]}


@pytest.mark.parametrize("name", RECIPES)
def test_each_runs_from_its_name_to_its_answer(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_series(Path("waves.csv"), rows=80)
    least: dict[str, Any] = dict(LEAST)
    if name == "stacked":  # as it stands, with small networks
        space = yaml.safe_load(file_of(name).read_text())["search"]["space"]
        sizes = {path: {"low": 4, "high": 8, "step": 2} for path in space if "hidden_size" in path}
        least |= {"space": space | sizes, "trials": 3}
    elif name != "staged":
        least["space"] = {"model.dropout": [0.2]}  # of the space itself, the whole is run elsewhere
    data = {"path": "waves.csv", "target": "wave", "time": "day", "window": 4}
    Path("mine.yaml").write_text(yaml.safe_dump({"data": data, "training": {"max_epochs": 2}, "search": least}))
    assert main(["search", "-c", "mine.yaml", "--recipe", name]) == 0
    kept = read_config(Path("runs/waves"))
    assert kept.model == recipe(name)["model"]
    assert (kept.search.effort, kept.search.sampler) == (recipe(name)["search"].effort, recipe(name)["search"].sampler)  # type: ignore[union-attr]
    answer = report.answer(search.read(Path("runs/waves")))
    assert {knob.path for knob in answer.knobs if knob.verdict != "not searched"} == set(dimensions(kept))


# ---------------------------------------------------------------------- every key is a live setting


def another_value(config: Config, base: Config, path: str) -> Setting:
    """Return the first value of a dimension that is not the baseline's."""
    dimension = dimensions(config)[path]
    values = [dimension.at(k) for k in (0, 1)] if isinstance(dimension, Range) else dimension
    return {path: next(value for value in values if value != configured(base, path))}


def outcomes(base: Config, task: Task, settings: list[Setting]) -> list[object]:
    """Train each setting as a search does, and return its learning curves and weights."""
    split, found = task.splits(base.search).blocks[0], {}

    def tell(number: int, trained: Any) -> None:
        curves = [dataclasses.astuple(epoch) for epoch in trained.result.history]
        found[number] = curves, {name: w.tolist() for name, w in trained.network.state_dict().items()}

    train_together([Assignment(trained_config(base, setting), split) for setting in settings], task, tell)
    return [found[number] for number in range(len(settings))]


@pytest.mark.parametrize("name", ["", "staged", "stacked"], ids=lambda name: name or "no recipe")
def test_every_key_of_every_space_is_a_live_setting(name: str, tmp_path: Path) -> None:
    """It changes what is trained, alone, with the values that the space has."""
    config = configured_by(name, tmp_path)
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, max_epochs=2))
    task = read_task(config)
    base = baseline_config(task.completed(config), 0.01, len(task.features))
    paths = list(dimensions(config))
    settings = [another_value(config, base, path) for path in paths]
    settings = [s | ({"training.optimizer": "adamw"} if "training.weight_decay" in s else {}) for s in settings]
    plain, again, decaying, *changed = outcomes(base, task, [{}, {}, {"training.optimizer": "adamw"}, *settings])
    assert plain == again  # or a difference would say nothing
    usual = [decaying if path == "training.weight_decay" else plain for path in paths]
    assert [path for path, one, other in zip(paths, changed, usual, strict=True) if one == other] == []
    assert any(is_regularizer(path) for path in paths)
