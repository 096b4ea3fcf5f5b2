"""Every setting has a rule, every rule names its setting, and every setting that can be searched does something."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from typing import Literal

import numpy as np
import pytest
import torch
import yaml

from lstmreg import Config, DataConfig, ModelConfig, Network, Range, SearchConfig, TrainingConfig, activations, fit
from lstmreg.config import ACTIVATIONS, AMOUNTS, PLANNED, Amount, default_space, from_dict, searchable, with_settings
from lstmreg.data.blocks import Block
from lstmreg.data.table import Series
from lstmreg.errors import ConfigError
from lstmreg.knobs import KNOBS
from lstmreg.tasks import Forecast, read_task
from lstmreg.training.single import train_single
from lstmreg.yaml_file import declared_type, known_settings, read_yaml

SECTIONS = {"data": DataConfig, "model": ModelConfig, "training": TrainingConfig, "search": SearchConfig}
DECLARED = {f"{s}.{f.name}": str(f.type) for s, kind in SECTIONS.items() for f in dataclasses.fields(kind)}
TABLE = {"path": "table.csv", "target": "y"}
PLAIN = Config(DataConfig(**TABLE))

nan, inf = math.nan, math.inf
NOT_POSITIVE, NEGATIVE, NO_FRACTION = (0.0, -1.0, nan, inf), (-0.1, nan, inf), (0.0, 1.0, -0.1, 1.5, nan, inf)

#: By path, values that are refused.
REFUSED = {
    "data.features": ([],),
    "data.window": (0, -1, 10**10),
    "data.horizon": (0, -1, 10**10),
    "data.season": (0, -1),
    "data.missing": ("fill", ""),
    "data.decimal": (";", ""),
    "data.split_by": ("shuffle", ""),
    "data.delimiter": ("", ",,"),
    "data.test_fraction": (*NO_FRACTION, 0.5, 0.7),
    "data.difference": (0, 2, -1, True, "seasons", ""),
    "data.thousands": ("", "_", ",,", "."),  # the last is the decimal sign
    "data.tokens": ([],),
    "data.target": ([],),
    "data.known_future": ([],),
    "data.calendar": ([], ["hours"]),
    "data.scale": ("apart", ""),
    "model.hidden_size": (0, -1, 16385, 10**9, [0]),
    "model.num_layers": (0, -1, 1001),
    "model.activation": ("relux", 1, ["tanhh"]),
    "model.recurrent_activation": ("", ["sigmod"]),
    "model.head_initializer": ("glorot_uniform", ""),
    "model.members": (0, -1, 1001),
    **{knob: (*NEGATIVE, [-0.1]) for knob in KNOBS if "dropout" not in knob},
    **{knob: (-0.1, 1.0, 1.5, nan, inf, [1.0]) for knob in KNOBS if "dropout" in knob},
    "model.per_gate_input_masks": ("yes", 1, 4),
    "model.embedding_size": (0, -1, 16385),
    "model.embedding_dropout": (-0.1, 1.0, 1.5, nan, inf),
    "training.learning_rate": NOT_POSITIVE,
    "training.optimizer": ("adm", ""),
    "training.weight_decay": NEGATIVE,
    "training.gradient_clip": NOT_POSITIVE,
    "training.loss": ("rmse", ""),
    "training.batch_size": (0, -1),
    "training.max_epochs": (0, -1),
    "training.patience": (0, -1),
    "training.min_delta": NEGATIVE,
    "training.seed": (-1, 2**32),
    "training.keep": ("first", ""),
    "training.precision": ("16-mixed", ""),
    "training.label_smoothing": (-0.1, 1.0, nan),
    "training.class_weight": ("balance", "", True),
    "search.weight_decay": ([0.1, 0.0], [-0.1], [nan], [inf]),
    "search.learning_rates": ([], [0.1, 0.0], [nan]),
    "search.blocks": (2, 0, -1, 1001),
    "search.race": (-1, 100_001),
    "search.judge_seeds": (1, 0, 1001),
    "search.test_seeds": (1, 0, 1001),
    "search.trials": (-1, 10**10),
    "search.batch": (0, 1001),
    "search.smallest_effect": NO_FRACTION,
    "search.confidence": NO_FRACTION,
    "search.sampler": ("tpee", ""),
    "search.cases": (49, 0, -1),
    "search.effort": ("much", ""),
    "search.explain": ("some", 1),
    "search.workers": (-1, 257),
    "search.seed": (-1, 2**32),
}


def make(path: str, value: object) -> object:
    section, name = path.split(".")
    return SECTIONS[section](**(TABLE if section == "data" else {}) | {name: value})


def assert_refused(caught: pytest.ExceptionInfo[ConfigError], *parts: str) -> None:
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert len(message.splitlines()) == 1
    for part in parts:
        assert part in message


# ---------------------------------------------------------------------- rules


@pytest.mark.parametrize(("path", "value"), [(path, value) for path, values in REFUSED.items() for value in values])
def test_a_value_that_breaks_its_rule_is_refused_by_path(path, value):
    with pytest.raises(ConfigError, match=rf"^{path} must be ") as caught:
        make(path, value)
    received = value[-1] if isinstance(value, list) and value else value
    assert_refused(caught, f"got {received!r}.")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": ["y", "y"]}, "data.target must be a list in which each name stands once, got ['y', 'y']."),
        ({"calendar": ["day", "day"], "time": "t"}, "data.calendar must be a list in which each name stands once"),
        ({"scale": "by_group"}, "data.group must be set where data.scale is by_group, got None."),
        ({"calendar": ["day"]}, "data.time must be set where data.calendar is, got None."),
        ({"known_future": ["x"], "window": 2, "horizon": 3}, "data.window must be data.horizon or more where data.kn"),
        ({"known_future": ["x", "y"]}, "data.known_future must be columns that are not data.target"),
    ],
)
def test_settings_of_a_forecast_that_do_not_fit_together_are_refused(settings, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        DataConfig(**TABLE | settings)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg://db.example.org/studies",
        "postgresql+psycopg://anna@db.example.org:5433/studies?sslmode=verify-full",
        "postgresql+psycopg:///studies?host=/run/postgresql",
        "postgresql+psycopg://anna@[::1]:5432/studies",
    ],
)
def test_an_address_of_postgresql_may_keep_the_study(address):
    assert SearchConfig(storage=address).storage == address


@pytest.mark.parametrize(
    ("address", "got"),
    [
        ("study.db", ", got 'study.db'"),
        ("sqlite:///study.db", ", got sqlite://..."),
        ("postgresql://anna@db/studies", ", got postgresql://..."),
        ("postgresql+psycopg://db.example.org", ", got postgresql+psycopg://..."),
        ("postgresql+psycopg:///", ", got postgresql+psycopg://..."),
        ("postgresql+psycopg://db/studies?dbname=other", ", got postgresql+psycopg://..."),
        ("postgresql+psycopg://db/{studies}", ", got postgresql+psycopg://..."),
        ("hidden words", ""),
        ("", ""),
    ],
)
def test_another_place_for_the_study_is_refused_with_an_example(address, got):
    with pytest.raises(ConfigError) as caught:
        SearchConfig(storage=address)
    rule = "search.storage must be postgresql+psycopg://HOST/DATABASE, such as postgresql+psycopg://anna@db.example.org"
    assert str(caught.value) == f"{rule}/studies{got}."


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg://anna:hidden@db/studies",
        "postgresql+psycopg://anna:hidden/and@more@db/studies",
        "postgresql+psycopg://anna%3Ahidden@db/studies",
        "postgresql+psycopg://anna:@db/studies",
        "postgresql+psycopg://db/studies?password=hidden",
        "postgresql+psycopg://db/studies?sslmode=require&pass%77ord=hidden",
        "postgresql+psycopg://db/studies?SSLPassword=hidden",
        "postgresql+psycopg://db/studies?dbname=host%3Ddb%20password%3Dhidden",
        "mysql://anna:hidden@db/studies",
        "anna:hidden@db/studies",
        "host=db password=hidden",
    ],
)
def test_an_address_with_a_password_is_refused_without_showing_it(address):
    with pytest.raises(ConfigError, match=r"PGPASSWORD or in ~/\.pgpass") as caught:
        SearchConfig(storage=address)
    assert "hidden" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_no_number_and_no_choice_is_without_a_rule():
    kinds = ("int", "float", "Literal", "list[float]", "bool | None")
    settings = {path for path, declared in DECLARED.items() if declared.startswith(kinds)}
    texts = {f"data.{name}" for name in ("features", "delimiter", "thousands", "tokens")}
    texts |= {f"data.{name}" for name in ("target", "known_future", "calendar")}
    texts |= {"model.activation", "model.recurrent_activation"}
    assert settings == set(REFUSED) - texts


Mood = Literal["calm", "bold"]


@dataclasses.dataclass(frozen=True)
class WithMoods(ModelConfig):
    mood: Mood = "calm"
    other_mood: Mood | None = None


@pytest.mark.parametrize(("name", "value"), [("mood", "sad"), ("mood", None), ("other_mood", "sad")])
def test_choices_are_those_of_the_type_however_it_is_written(name, value):
    assert WithMoods(mood="bold", other_mood="bold").other_mood == "bold"
    with pytest.raises(ConfigError) as caught:
        WithMoods(**{name: value})
    assert_refused(caught, f"model.{name} must be one of calm, bold, got {value!r}.")


def test_a_list_is_one_value_unless_the_type_says_that_it_is_several():
    with pytest.raises(TypeError):  # nobody who parses types hands one over
        TrainingConfig(max_epochs=[3])
    with pytest.raises(TypeError):
        SearchConfig(learning_rates=0.1)
    assert SearchConfig(learning_rates=(0.1, 0.2)).learning_rates == (0.1, 0.2)  # whoever has no YAML may well give one
    with pytest.raises(ConfigError, match=r"^search.learning_rates must be a list of rates, got \[\]\."):
        SearchConfig(learning_rates=())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("data.window", "a whole number"),
        ("data.features", "a list of names or null"),
        ("data.difference", "a whole number or text or null"),
        ("data.target", "text or a list of names"),
        ("data.calendar", "a list of some of ['hour', 'weekday', 'day', 'month', 'yearday'] or null"),
        ("data.missing", "one of ['error', 'ffill', 'drop']"),
        ("data.sort", "true or false"),
        ("model.dropout", "a number or a list of numbers"),
        ("model.hidden_size", "a whole number or a list of whole numbers"),
        ("model.activation", "text or a list of names"),
        ("search.learning_rates", "a list of numbers"),
        (
            "search.space",
            "settings by path, each a list of values, {values, when, grow} or {low, high, log, step, when}",
        ),
        ("data", "DataConfig"),
        ("model.droput", "valid"),
    ],
)
def test_a_type_is_said_in_words(name, said):
    assert declared_type(name) == said


def test_activations_are_those_of_keras_by_their_names():
    assert set(ACTIVATIONS) == set(activations.ACTIVATIONS)
    with pytest.raises(ConfigError, match=r"got 'hard_sigmod'\. Did you mean 'hard_sigmoid'\?"):
        ModelConfig(recurrent_activation="hard_sigmod")


def test_an_ensemble_is_no_setting_of_a_search():
    assert "model.members" not in searchable(PLAIN)
    with pytest.raises(ConfigError, match=r"^search.space: unknown setting 'model.members'"):
        Config(DataConfig(**TABLE), search=SearchConfig(space={"model.members": [1, 5]}))


def test_a_task_that_is_none_is_refused():
    with pytest.raises(ConfigError, match=r"^task must be one of .*forecast.*Did you mean 'forecast'"):
        read_task(Config(DataConfig(**TABLE), task="forcast"))


def test_a_table_has_no_batches_in_order_of_time_for_a_stateful_network():
    assert ModelConfig(stateful=True).layer(0) == ModelConfig().layer(0)  # in itself it is fine
    with pytest.raises(ConfigError) as caught:
        Config(DataConfig(**TABLE), ModelConfig(stateful=True))
    rule = "model.stateful must be false, because windows of a table are trained in random order, got True."
    assert_refused(caught, rule)
    assert "model.stateful" not in searchable(PLAIN)
    with pytest.raises(ConfigError, match=r"^search.space: unknown setting 'model.stateful'"):
        Config(DataConfig(**TABLE), search=SearchConfig(space={"model.stateful": [False, True]}))
    with pytest.raises(ConfigError, match=r"^unknown setting 'model.stateful'"):
        with_settings(PLAIN, {"model.stateful": True})


def test_a_season_must_be_given_to_difference_by():
    rule = "data.season must be set where data.difference is 'season', got None."
    with pytest.raises(ConfigError) as caught:
        DataConfig(**TABLE, difference="season")
    assert_refused(caught, rule)
    lags = [DataConfig(**TABLE, season=7, difference=difference).lag for difference in (None, 1, "season")]
    assert lags == [0, 1, 7]


def test_a_test_fraction_of_half_or_more_is_answered_with_what_the_rows_are_needed_for():
    with pytest.raises(ConfigError) as caught:
        DataConfig(**TABLE, test_fraction=0.6)
    assert_refused(caught, "below 0.5 (a single fit validates on as many rows, and trains on the others;", "got 0.6.")


def test_rows_can_be_sorted_by_time_alone():
    with pytest.raises(ConfigError, match=r"data.time must be set where data.sort is"):
        DataConfig(**TABLE, sort=True)
    assert DataConfig(**TABLE, sort=True, time="t").sort


@pytest.mark.parametrize("name", ["hidden_size", "kernel_l1", "dropout"])
@pytest.mark.parametrize("values", [[], [4], [4, 4, 4]])
def test_a_list_has_a_value_for_each_layer(name, values):
    with pytest.raises(ConfigError) as caught:
        ModelConfig(num_layers=2, **{name: values})
    assert_refused(caught, f"model.{name} must be one value or a list of model.num_layers=2 values, got {values}.")
    with pytest.raises(ConfigError, match=r"^model.num_layers must be between 1 and 1000, got 10000000000\."):
        ModelConfig(num_layers=10**10, **{name: values})


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"low": 1.0, "high": 0.5}, "low must be below high, got 'low=1.0, high=0.5'"),
        ({"low": 1.0, "high": 1.0}, "low must be below high"),
        ({"low": nan, "high": 1.0}, "low must be below high"),
        ({"low": 0.0, "high": inf}, "low must be below high"),
        ({"low": 0.0, "high": 1.0, "log": True}, "low must be positive where log is true, got 0.0"),
        ({"low": 0.0, "high": 1.0, "step": 0}, "step must be finite and positive, got 0"),
        ({"low": 0.0, "high": 1.0, "step": nan}, "step must be finite and positive, got nan"),
        ({"low": 0.1, "high": 1.0, "step": 0.1, "log": True}, "step must be null where log is true, got 0.1"),
    ],
)
def test_an_interval_that_cannot_be_drawn_from_is_refused(settings, rule):
    with pytest.raises(ConfigError) as caught:
        Range(**settings)
    assert_refused(caught, f"search.space: {rule}")


@pytest.mark.parametrize(
    ("path", "dimension", "message"),
    [
        ("model.dropuot", [0.1], "search.space: unknown setting 'model.dropuot'. Did you mean 'model.dropout'?"),
        ("training.seed", [1], "search.space: unknown setting 'training.seed'."),
        ("data.window", [12], "search.space: unknown setting 'data.window'."),
        ("dropout", [0.1], "search.space: unknown setting 'dropout'."),
        ("model.dropout", [], "search.space: model.dropout must be a list with at least one value, got []."),
        ("model.dropout", [0.1, 1.0], "model.dropout must be in [0, 1), got 1.0."),
        ("model.dropout", Range(0.1, 1.5), "model.dropout must be in [0, 1), got 1.5."),
        ("model.kernel_l2", Range(-0.1, 1.0), "model.kernel_l2 must be finite and not negative, got -0.1."),
        ("model.dropout", ["0.1"], "model.dropout must be a number, got '0.1'."),
        ("model.dropout", [True], "model.dropout must be a number, got True."),
        ("model.hidden_size", [8, 8.5], "model.hidden_size must be a whole number, got 8.5."),
        ("model.bidirectional", [1], "model.bidirectional must be true or false, got 1."),
        ("training.optimizer", ["adam", "adm"], "training.optimizer must be one of adam, adamw, sgd, got 'adm'."),
    ],
)
def test_a_space_with_values_that_cannot_be_is_refused(path, dimension, message):
    with pytest.raises(ConfigError) as caught:
        Config(DataConfig(**TABLE), search=SearchConfig(space={path: dimension}))
    assert_refused(caught, message)


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/x", "a/b", "a\\b", "..", ".hidden", "-x", "a" * 101, "a\0", "a\n", "", "é"]
)
def test_a_name_that_could_leave_the_folder_is_refused(name):
    with pytest.raises(ConfigError, match=r"^name must be "):
        Config(DataConfig(**TABLE), name=name)


def test_a_run_is_named_after_its_table_and_lies_among_the_runs():
    assert Config(DataConfig("some/where/prices 2024.v1.csv", "y")).run_name == "prices 2024.v1"
    assert str(Config(DataConfig(**TABLE), name="_A-1.b", runs="here").directory) == "here/_A-1.b"


# ---------------------------------------------------------------------- settings by path


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("model.hidden_size", 16.0, 16),
        ("model.num_layers", 2, 2),
        ("model.bidirectional", True, True),
        ("model.dropout", 0, 0.0),
        ("training.learning_rate", 1, 1.0),
        ("training.gradient_clip", 2, 2.0),
        ("training.patience", 3.0, 3),
        ("training.loss", "mae", "mae"),
    ],
)
def test_a_setting_becomes_what_it_is_declared_to_be(path, value, expected):
    section, name = path.split(".")
    changed = getattr(getattr(with_settings(PLAIN, {path: value}), section), name)
    assert (changed, type(changed)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("model.hidden_size", [16.5, True, "16", None, nan, inf, 0, [16]]),
        ("model.dropout", [True, "0.1", None, 1.0, nan]),
        ("model.bidirectional", [1, 0.0, "true", None]),
        ("training.optimizer", ["adm", None, 1]),
        ("training.seed", [-1]),
        ("model.nothing", [1]),
    ],
)
def test_a_setting_that_is_something_else_is_refused(path, values):
    for value in values:
        with pytest.raises(ConfigError) as caught:
            with_settings(PLAIN, {path: value})
        assert_refused(caught, path)


def test_settings_of_several_sections_change_at_once_and_only_in_the_copy():
    settings = {"model.dropout": 0.5, "training.patience": 3, "model.hidden_size": 8}
    changed = with_settings(PLAIN, settings)
    assert changed.model == ModelConfig(dropout=0.5, hidden_size=8)
    assert changed.training == TrainingConfig(patience=3)
    assert Config(DataConfig(**TABLE)) == PLAIN


# ---------------------------------------------------------------------- every key of the search space is live

#: By path, a value that must make a difference, and what else must be set for it to make one.
CHANGES = {
    "model.hidden_size": (5, {}),
    "model.num_layers": (2, {}),
    "model.bidirectional": (True, {}),
    "model.activation": ("relu", {}),
    "model.recurrent_activation": ("hard_sigmoid", {}),
    "model.head_initializer": ("keras", {}),
    **{knob: (0.1, {}) for knob in KNOBS},
    "model.per_gate_masks": (False, {"model.recurrent_dropout": 0.5}),
    "model.per_gate_input_masks": (True, {"model.dropout": 0.5}),
    "training.learning_rate": (0.02, {}),
    "training.optimizer": ("adamw", {"training.weight_decay": 0.1}),
    "training.weight_decay": (0.1, {}),
    "training.gradient_clip": (1e-3, {"training.optimizer": "sgd"}),
    "training.loss": ("mae", {}),
    "training.batch_size": (7, {}),
    "training.max_epochs": (2, {}),
    "training.patience": (1, {"training.min_delta": 10.0}),
    "training.min_delta": (10.0, {"training.patience": 1}),
    "training.proximal": (True, {"model.kernel_l1": 0.1}),
    "training.keep": ("last", {"training.learning_rate": 1.0, "training.optimizer": "sgd"}),
    "training.precision": ("bf16-mixed", {}),
}

#: The same of settings that act where classes are predicted, or a column holds tokens.
CHANGES_OF_CLASSES = {
    "model.embedding_size": (5, {}),
    "model.embedding_dropout": (0.5, {}),
    "training.label_smoothing": (0.2, {}),
    "training.class_weight": ("balanced", {}),
}


def outcome(settings: dict) -> tuple:
    """Train for up to three epochs, and return the learning curves and the weights."""
    training = TrainingConfig(learning_rate=0.01, batch_size=8, max_epochs=3, patience=2)
    small = Config(DataConfig(**TABLE, window=3), ModelConfig(hidden_size=4), training)
    values = np.sin(np.arange(60.0))
    series = Series("table.csv", "", ("y",), ("y",), values[:, None], values[:, None], tuple(map(str, range(60))), ())
    task = Forecast(small.data, series)
    trained = train_single(with_settings(small, settings), task, task.split(Block(40, 60)))
    weights = {name: weight.tolist() for name, weight in trained.network.state_dict().items()}
    return [dataclasses.astuple(epoch) for epoch in trained.result.history], weights


def outcome_of_classes(settings: dict) -> tuple:
    """The same of a network that reads tokens and tells classes, of which one is rare."""
    model = ModelConfig(hidden_size=4, **{n.removeprefix("model."): v for n, v in settings.items() if "model." in n})
    own = {n.removeprefix("training."): v for n, v in settings.items() if "training." in n}
    torch.manual_seed(0)
    network = Network(model, 1, 2, vocabularies={0: 3})
    x = torch.randint(0, 4, (20, 3, 1)).float()
    y = (torch.arange(20) % 5 == 0).long()
    result = fit(network, ((x, y), (x, y)), TrainingConfig(learning_rate=0.01, max_epochs=2, **own))
    weights = {name: weight.tolist() for name, weight in network.state_dict().items()}
    return [dataclasses.astuple(epoch) for epoch in result.history], weights


@pytest.mark.parametrize("path", searchable(PLAIN))
def test_every_key_of_the_search_space_is_a_live_setting(path):
    value, others = (CHANGES | CHANGES_OF_CLASSES)[path]
    run = outcome if path in CHANGES else outcome_of_classes
    usual, changed = run(others), run(others | {path: value})
    assert changed != usual
    assert run(others) == usual  # or the difference would say nothing


def test_the_loss_is_what_suits_the_task_where_none_is_named():
    values = np.sin(np.arange(60.0))
    series = Series("table.csv", "", ("y",), "y", values[:, None], values, tuple(map(str, range(60))), ())
    task = Forecast(PLAIN.data, series)
    assert task.completed(PLAIN).training.loss == "mse"
    assert task.completed(with_settings(PLAIN, {"training.loss": "huber"})).training.loss == "huber"
    with pytest.raises(ConfigError, match=r"^training\.loss must be one of mse, mae, huber where task is forecast"):
        task.completed(with_settings(PLAIN, {"training.loss": "cross_entropy"}))


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
@pytest.mark.parametrize(
    ("name", "value", "off"), [("label_smoothing", 0.1, "0"), ("class_weight", "balanced", "null")]
)
def test_what_acts_on_classes_alone_is_refused_beside_another_loss(loss, name, value, off):
    with pytest.raises(ConfigError, match=rf"^training\.{name} must be {off} where training\.loss is {loss}, got"):
        TrainingConfig(loss=loss, **{name: value})
    for free in (None, "cross_entropy"):
        assert getattr(TrainingConfig(loss=free, **{name: value}), name) == value


def test_the_space_that_is_searched_by_default_is_of_knobs_with_values_that_may_be():
    assert set(default_space()) < set(KNOBS) < set(searchable(PLAIN)) == set(CHANGES | CHANGES_OF_CLASSES)
    assert PLAIN.search.dimensions == default_space()


def test_an_amount_that_is_left_open_is_the_least_until_it_is_planned():
    assert list(AMOUNTS) == sorted(AMOUNTS, key=dataclasses.astuple)
    assert tuple(field.name for field in dataclasses.fields(Amount)) == PLANNED
    given = SearchConfig(race=7)
    assert given.is_open
    assert given.amount == dataclasses.replace(AMOUNTS[0], race=7)
    planned = given.planned(AMOUNTS[3])
    assert not planned.is_open
    assert planned.amount == dataclasses.replace(AMOUNTS[3], race=7)
    assert planned.planned(AMOUNTS[1]) == planned
    for amount in AMOUNTS:  # each of them may be written down
        assert SearchConfig(**dataclasses.asdict(amount)).amount == amount


# ---------------------------------------------------------------------- to a file and back

OTHER = Config(
    DataConfig(
        "a.csv", "y", ["x", "y"], "t", 5, 2, 7, "ffill", True, ";", ",", 0.2, "season", ".", "id", "who", "l.csv", ["x"]
    ),
    ModelConfig([8, 4], 2, True, kernel_l1=[0.0, 1e-5], dropout=[0.1, 0.2], activation=["relu", "tanh"], members=5),
    TrainingConfig(1e-05, "sgd", 0.1, 1e300, "huber", 7, 8, None, 1e-7, 2**32 - 1, "last", proximal=True),
    SearchConfig(
        {"model.dropout": Range(0.1, 0.5, step=0.1), "model.bias_l2": Range(1e-6, 1, True), "training.loss": ["mae"]},
        [],
        [1e-4],
        race=0,
        trials=7,
        sampler="gp",
        effort="thorough",
    ),
    name="other",
    runs="elsewhere",
)


@pytest.mark.parametrize("config", [PLAIN, OTHER], ids=["plain", "other"])
def test_a_configuration_comes_back_from_its_dictionary_and_from_files(config, tmp_path):
    plain = dataclasses.asdict(config)
    assert from_dict(plain) == config
    assert from_dict(json.loads(json.dumps(plain))) == config
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(plain))
    assert from_dict(read_yaml(path)) == config


@pytest.mark.parametrize("spoil", [lambda plain: plain["model"].update(depth=1), lambda plain: plain.pop("model")])
def test_a_dictionary_with_an_unknown_or_without_a_known_key_is_refused(spoil):
    plain = dataclasses.asdict(PLAIN)
    spoil(plain)
    with pytest.raises(TypeError):
        from_dict(plain)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("", "must be settings, as 'data: {path: ...}', got NoneType."),
        ("- data\n- model\n", "got list."),
        ("data", "got str."),
        ("data: {path: [", "not YAML"),
        ("data: 'x\n", "not YAML"),
        ("a\0b: 1", "not YAML"),
        ("training:\n\tseed: 1", "not YAML"),
        ("trainig: {seed: 1}", "unknown setting 'trainig'. Did you mean 'training'?"),
        ("model: {droput: 1}", "unknown setting 'model.droput'. Did you mean 'model.dropout'?"),
        ('"two\\nlines": 1', r"unknown setting 'two\nlines'."),
        ("1: 2", "unknown setting '1'."),
        ("name: &a x\nruns: *a\n", "tags (!) and aliases (*) are not allowed"),
        ("name: !!str x\n", "tags (!) and aliases (*) are not allowed"),
        ("name: !!python/object/apply:os.system ['touch {canary}']", "tags (!) and aliases (*) are not allowed"),
        ("name: !!python/object/new:os.system ['touch {canary}']", "tags (!) and aliases (*) are not allowed"),
        ("l0: &l0 [x]\n" + "".join(f"l{k}: &l{k} [{f'*l{k - 1},' * 9}]\n" for k in range(1, 30)), "aliases (*)"),
        ("[" * 2000, ""),
        ("name: " + "x" * 1_000_000, "more than 100,000 bytes"),
    ],
)
def test_a_hostile_or_mistaken_file_is_refused_at_once(content, part, tmp_path, monkeypatch):
    path, canary = tmp_path / "config.yaml", tmp_path / "canary"
    path.write_text(content.replace("{canary}", str(canary)))
    seen, built = [], []
    scan, build = yaml.scan, yaml.safe_load
    monkeypatch.setattr(yaml, "scan", lambda raw: (seen.append(token) or token for token in scan(raw)))
    monkeypatch.setattr(yaml, "safe_load", lambda raw: built.append(seen[-1]) or build(raw))
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert_refused(caught, str(path), part)
    assert len(seen) < 50  # refused at the first wrong token, however many follow
    assert all(isinstance(last, yaml.StreamEndToken) for last in built)  # nothing is built before all was looked at
    assert not canary.exists()


def test_a_file_that_is_huge_or_not_there_is_not_opened(tmp_path):
    path = tmp_path / "config.yaml"
    with pytest.raises(ConfigError, match=r"config.yaml: cannot be read: No such file or directory"):
        read_yaml(path)
    with path.open("wb") as file:
        file.truncate(10**12)  # a hole
    with pytest.raises(ConfigError, match=r"config.yaml: more than 100,000 bytes"):
        read_yaml(path)
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        read_yaml(tmp_path)


def test_a_number_that_yaml_takes_for_text_is_handed_on(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("training: {learning_rate: 1e-3}")
    content = read_yaml(path)
    assert float(content["training"]["learning_rate"]) == 0.001


def test_every_setting_is_known_by_its_path():
    assert sorted(known_settings()) == sorted([*SECTIONS, "task", "name", "runs", *DECLARED])
