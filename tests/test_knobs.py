"""The table of knobs: each row is a live setting, and one that is added is served everywhere, or named where not."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import keras
import pytest
import torch

from lstmreg import LSTM, ModelConfig, Network, Population, TrainingConfig, fit_population
from lstmreg.config import Config, DataConfig, SearchConfig, default_space, with_settings
from lstmreg.config import settings as config_settings
from lstmreg.errors import ConfigError
from lstmreg.knobs import KNOBS, Knob, layer_arguments
from lstmreg.layers import arguments
from lstmreg.layers import settings as layer_settings
from lstmreg.layers.population import SERVED
from lstmreg.models import drops
from lstmreg.report.code import snippets
from lstmreg.search.space import baseline_config, knobs_of

ZONEOUT = Knob("model.zoneout", "zoneout", "rate", "the steps of the state", (0.1, 0.3))


@dataclass(frozen=True)
class WithZoneout(ModelConfig):
    zoneout: float | list[float] = 0.0


@pytest.fixture
def zoneout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KNOBS, ZONEOUT.path, ZONEOUT)


@pytest.mark.parametrize("knob", KNOBS.values(), ids=lambda knob: knob.name)
def test_every_knob_is_a_setting_and_an_argument_here_and_in_keras(knob: Knob) -> None:
    assert knob.path == f"model.{knob.name}"
    fields = {field.name for field in dataclasses.fields(ModelConfig)}
    assert knob.name in fields, "it has no field in ModelConfig (lstmreg/config/model.py)"
    assert knob.argument in inspect.signature(LSTM).parameters, "LSTM has no such argument (lstmreg/layers/lstm.py)"
    theirs = inspect.signature(keras.layers.LSTM).parameters
    assert knob.argument in theirs, "Keras' LSTM has no such argument, so that the report could not write it for Keras"
    assert knob.argument in arguments.SETTINGS, "it has no rule in SETTINGS (lstmreg/layers/arguments.py)"
    per_layer = knob.argument in arguments._PER_LAYER or knob.name not in ModelConfig.per_layer()
    assert per_layer, "it may differ by layer, and is not in _PER_LAYER (lstmreg/layers/arguments.py)"
    assert knob.argument in layer_settings._DEFAULTS, "it has no default in _DEFAULTS (lstmreg/layers/settings.py)"
    assert knob.argument in SERVED, "populations do not serve it: see SERVED (lstmreg/layers/population.py)"
    if knob.keyword is not None:
        assert knob.keyword in inspect.signature(keras.regularizers.L1L2).parameters


@pytest.mark.parametrize("knob", KNOBS.values(), ids=lambda knob: knob.name)
def test_every_knob_changes_what_a_network_trains_on(knob: Knob) -> None:
    network = Network(ModelConfig(hidden_size=3, **{knob.name: knob.ladder[-1]}), 2, 1)
    (layer,) = network.layers
    x = torch.randn(4, 5, 2, generator=torch.Generator().manual_seed(0))
    if knob.kind == "strength":
        network(x)
        assert layer.penalty() > 0, "it costs nothing (penalty_terms in lstmreg/layers/cell.py, or activity in lstm.py)"
    else:
        is_seen = not torch.equal(network.train()(x), network.eval()(x))
        assert is_seen, "it drops nothing: is it in _NOT_STOCK_IN_TRAINING (lstmreg/layers/lstm.py), and done to h_n?"
        assert drops(network), "it drops, and drops (lstmreg/models.py), by which --samples knows, does not see it"


@pytest.mark.parametrize("value", [5.0, 1.0, -0.1, float("nan")])
def test_a_knob_that_is_added_has_its_rule(zoneout: None, value: float) -> None:
    with pytest.raises(ConfigError, match=r"model.zoneout must be in \[0, 1\)"):
        WithZoneout(zoneout=value)


def test_a_knob_without_a_setting_is_named(zoneout: None) -> None:
    with pytest.raises(ConfigError, match=r"unknown setting 'model\.zoneout'"):
        Config(DataConfig("x.csv", "y"), search=SearchConfig(space=default_space()))


def test_a_knob_that_the_layer_does_not_have_is_named(zoneout: None) -> None:
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'zoneout'"):
        Network(WithZoneout(zoneout=0.2), 2, 1)


def test_a_knob_that_populations_do_not_serve_is_named(zoneout: None) -> None:
    networks = [Network(ModelConfig(hidden_size=3), 2, 1) for _ in range(2)]
    for network in networks:
        network.config = WithZoneout(hidden_size=3, zoneout=0.2)
    with pytest.raises(ValueError, match=r"a population does not serve model.zoneout.*lstmreg.fit"):
        Population(networks)


def test_a_knob_that_is_added_is_searched_turned_off_and_counted(
    zoneout: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(config_settings._SECTIONS, "model", WithZoneout)  # as a field of ModelConfig would be
    assert default_space()["model.zoneout"] == [0.1, 0.3]
    setting = {"model.hidden_size": 8, "model.zoneout": 0.1}
    assert knobs_of(setting) == ["model.zoneout"]
    searched = SearchConfig(space={"model.zoneout": [0.1]})
    config = Config(DataConfig("x.csv", "y"), model=WithZoneout(zoneout=0.3), search=searched)
    assert baseline_config(config, 0.01, 3).model.zoneout == 0.0
    assert with_settings(config, {"model.zoneout": 0.1}).model.zoneout == 0.1


def test_a_knob_that_is_added_is_written_in_every_dialect(zoneout: None) -> None:
    settings = {f"model.{name}": value for name, value in dataclasses.asdict(ModelConfig(hidden_size=8)).items()}
    answer: Any = SimpleNamespace(
        recommended={"model.zoneout": 0.1, "model.kernel_l1": 0.01},
        kept_on={},
        settings=settings | {"data.window": 5, "data.horizon": 1, "training.loss": "mse"},
        task="forecast",
        data=SimpleNamespace(features=["a", "b"], length=5, outputs=1, steps="last", classes=[], vocabularies={}),
    )
    ours, pytorch, theirs = (snippet.code for snippet in snippets(answer))
    assert "zoneout=0.1, kernel_regularizer=L1L2(l1=0.01)" in ours
    assert "torch.nn.LSTM has no zoneout of this kind" in pytorch
    assert "0.01 * weight.abs().sum()" in pytorch
    assert "zoneout=0.1, kernel_regularizer=keras.regularizers.L1L2(l1=0.01)" in theirs


@pytest.mark.parametrize("knob", [k for k in KNOBS.values() if k.proximal_ladder], ids=lambda knob: knob.name)
def test_beside_adam_a_proximal_step_needs_a_ladder_of_its_own(knob: Knob) -> None:
    """With the usual strengths next to no weight ends at zero, with those of its own more and more of them do."""
    torch.manual_seed(0)
    x = torch.randn(160, 5, 6)
    y = x[:, -1, :1] - 0.7 * x[:, -2, 1:2]
    usual = [value for value in knob.ladder if value < 0.1]
    values = [*usual, *knob.proximal_ladder]
    networks = Population(Network(ModelConfig(hidden_size=8, **{knob.name: value}), 6, 1) for value in values)
    training = TrainingConfig(learning_rate=0.01, max_epochs=30, proximal=True)
    fit_population(networks, ((x[:120], y[:120]), (x[120:], y[120:])), training)
    weights = [network.layers[0].get_parameter(f"{knob.weights}_l0") for network in networks]
    zeros = [float((weight == 0).float().mean()) for weight in weights]
    assert max(zeros[: len(usual)]) < 0.01
    assert min(zeros[len(usual) :]) > 0.01
    assert zeros[len(usual) :] == sorted(zeros[len(usual) :])


def test_only_the_l1_on_weights_can_be_a_step_of_its_own() -> None:
    by_itself = {name for name, knob in KNOBS.items() if knob.proximal_ladder}
    assert by_itself == {"model.kernel_l1", "model.recurrent_l1", "model.bias_l1"}


def test_a_row_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="a strength has a keyword"):
        Knob("model.x", "x", "strength", "x", ())
    with pytest.raises(ConfigError, match=r"model.x must be in \[0, 1\)"):
        Knob("model.x", "x", "rate", "x", (1.5,))


def test_a_layer_is_given_its_knobs_by_argument() -> None:
    settings = {"kernel_l1": 0.1, "kernel_l2": 0.2, "bias_l1": 0.0, "recurrent_dropout": 0.3, "hidden_size": 8}
    assert layer_arguments(settings) == {
        "kernel_regularizer": {"l1": 0.1, "l2": 0.2},
        "recurrent_dropout": 0.3,
    }
