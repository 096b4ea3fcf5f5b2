"""Models of the installed Keras, in and out: the same numbers before and after, and in training."""

from __future__ import annotations

import copy
import json
import re
import warnings
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import torch
from keras import layers

import lstmreg
from lstmreg import L1L2, L2, LSTM, ModelConfig, Network, interop
from lstmreg.errors import ConfigError
from lstmreg.interop.describing import as_keras_model
from lstmreg.interop.keras.graph.description import read_description
from lstmreg.interop.keras.graph.layers import ModelDescription
from lstmreg.interop.keras.modern import in_keras_3
from lstmreg.interop.keras.modules.model import KerasModel, leaves_of
from lstmreg.interop.keras.weights import build, in_place
from tests.interop.random_models import FEATURES, STEPS, random_model

CASES = range(40)

# Keras about layers that end a mask, and about NumPy's conversions.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask"),
    pytest.mark.filterwarnings("ignore:__array__ implementation"),
]


def predict(model: keras.Model, inputs: list[np.ndarray]) -> list[np.ndarray]:
    found = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    return [t.detach().numpy() for t in (found if isinstance(found, (list, tuple)) else [found])]


def run(model: torch.nn.Module, inputs: list[np.ndarray]) -> list[np.ndarray]:
    with torch.no_grad():
        found = model(*[torch.from_numpy(x) for x in inputs])
    return [t.numpy() for t in (found if isinstance(found, tuple) else [found])]


def assert_same(got: list[np.ndarray], expected: list[np.ndarray], tolerance: float = 2e-5) -> None:
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("seed", CASES)
def test_a_model_comes_in_from_every_format_with_the_same_numbers(seed: int, tmp_path: Path) -> None:
    model, inputs = random_model(seed)
    expected = predict(model, inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras, about the old format
        model.save(tmp_path / "m.h5")
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    (tmp_path / "m.json").write_text(model.to_json())
    for name, architecture in (("m.keras", None), ("m.h5", None), ("m.weights.h5", "m.json"), ("m.h5", "m.json")):
        ours = interop.load_model(tmp_path / name, None if architecture is None else tmp_path / architecture)
        assert_same(run(ours, inputs), expected)
    assert_same(run(interop.from_keras(model), inputs), expected)


@pytest.mark.parametrize("seed", CASES)
def test_a_model_that_came_in_goes_back_and_keras_gives_the_same_numbers(seed: int, tmp_path: Path) -> None:
    model, inputs = random_model(seed)
    expected = predict(model, inputs)
    ours = interop.from_keras(model)
    interop.save_keras(ours, tmp_path / "m.keras")
    assert_same(predict(keras.models.load_model(tmp_path / "m.keras"), inputs), expected)
    interop.save_weights(ours, tmp_path / "m.weights.h5")
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))
    model.load_weights(tmp_path / "m.weights.h5")
    assert_same(predict(model, inputs), expected)
    interop.save_model(ours, tmp_path / "folder")
    assert_same(run(interop.load_model(tmp_path / "folder"), inputs), run(ours, inputs), 0.0)


@pytest.mark.parametrize("seed", CASES)
def test_penalties_of_weights_and_of_outputs_are_those_of_keras(seed: int) -> None:
    model, inputs = random_model(seed, drops=False)
    ours = interop.from_keras(model).train()
    assert total(lstmreg.penalties(ours).values()) == pytest.approx(total(model.losses), rel=1e-5, abs=1e-7)
    model(inputs if len(inputs) > 1 else inputs[0], training=True)
    run(ours, inputs)
    assert total(lstmreg.penalties(ours).values()) == pytest.approx(total(model.losses), rel=1e-4, abs=1e-7)


def total(losses) -> float:
    return float(sum(loss.detach() for loss in losses))


def knobs() -> dict:
    return {
        "kernel_regularizer": keras.regularizers.L1(0.01),
        "recurrent_regularizer": keras.regularizers.L2(0.02),
        "bias_regularizer": keras.regularizers.L1L2(0.01, 0.02),
        "activity_regularizer": keras.regularizers.L2(0.03),
        "kernel_constraint": keras.constraints.MaxNorm(0.8),
        "recurrent_constraint": keras.constraints.UnitNorm(),
        "bias_constraint": keras.constraints.NonNeg(),
        "dropout": 0.2,
        "recurrent_dropout": 0.3,
        "seed": 7,
    }


def test_training_goes_on_as_it_would_have_in_keras(tmp_path: Path) -> None:
    """Every knob, constraint, seeded mask and moving statistic is carried over: 30 steps give the same losses."""
    model = keras.Sequential(
        [
            keras.Input((STEPS, FEATURES)),
            layers.LSTM(4, return_sequences=True, **knobs()),
            layers.BatchNormalization(momentum=0.7),
            layers.LSTM(3, activation="softsign", **{**knobs(), "seed": 11}),
            layers.Dense(2, kernel_regularizer="l2", kernel_constraint="max_norm", activity_regularizer="l1"),
        ]
    )
    model.save(tmp_path / "m.keras")
    ours = interop.load_model(tmp_path / "m.keras").train()
    rng = np.random.default_rng(0)
    model.compile(keras.optimizers.SGD(0.05), "mse")
    optimizer = torch.optim.SGD(ours.parameters(), 0.05)
    for layer in model.layers:
        if isinstance(layer, keras.layers.LSTM):
            layer.cell.seed_generator.state.assign([layer.cell.seed, 0])
    for _ in range(30):
        x = rng.normal(size=(8, STEPS, FEATURES)).astype(np.float32)
        y = rng.normal(size=(8, 2)).astype(np.float32)
        theirs = model.train_on_batch(x, y)
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(ours(torch.from_numpy(x)), torch.from_numpy(y))
        whole = loss + sum(lstmreg.penalties(ours).values())
        whole.backward()
        optimizer.step()
        lstmreg.apply_constraints(ours)
        assert whole.item() == pytest.approx(float(theirs), rel=2e-4)
    for got, expected in zip(interop.get_weights(ours), model.get_weights(), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-4)  # the moving statistics too


@pytest.mark.parametrize("cleared", [False, True])
def test_constraints_do_not_depend_on_gradients_being_there_still(cleared: bool, tmp_path: Path) -> None:
    model = keras.Sequential(
        [keras.Input((FEATURES,)), layers.Dense(2, kernel_constraint=keras.constraints.MaxNorm(0.1))]
    )
    model.save(tmp_path / "m.keras")
    ours = interop.load_model(tmp_path / "m.keras").train()
    (dense,) = ours.layers.values()
    loaded = dense.linear.weight.detach().clone()
    lstmreg.apply_constraints(ours)
    assert torch.equal(dense.linear.weight, loaded)  # nothing has moved it yet
    ours(torch.ones(3, FEATURES)).sum().backward()
    torch.optim.SGD(ours.parameters(), 0.5).step()
    if cleared:
        ours.zero_grad()
    lstmreg.apply_constraints(ours)
    assert (dense.linear.weight.norm(dim=1) <= 0.1 + 1e-6).all()


@pytest.mark.parametrize(("version", "per_gate"), [("3.7.0", False), ("3.8.0", True), ("3.15.1", True)])
def test_masks_of_recurrent_dropout_are_drawn_as_the_version_drew_them(version: str, per_gate: bool) -> None:
    layer = keras.layers.LSTM(3, recurrent_dropout=0.2)
    config = {"class_name": "LSTM", "config": layer.get_config(), "module": "keras.layers"}
    [_, read] = read_description(json.loads(json.dumps(config, default=str)), version).layers
    assert read.settings["per_gate_masks"] is per_gate


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_single_layer_becomes_an_lstm_with_all_its_knobs(bidirectional: bool, tmp_path: Path) -> None:
    lstm = layers.LSTM(4, return_sequences=True, return_state=False, use_bias=True, **knobs())
    layer = layers.Bidirectional(lstm, name="both") if bidirectional else lstm
    x = np.random.default_rng(0).normal(size=(2, STEPS, FEATURES)).astype(np.float32)
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), layer, layers.Lambda(lambda t: t)])
    for weight in layer.trainable_weights:
        weight.assign(np.random.default_rng(1).normal(scale=0.4, size=weight.shape))
    expected = layer(x).detach().numpy()
    model.save(tmp_path / "m.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(tmp_path / "m.h5")
    for ours in (
        interop.load_lstm(tmp_path / "m.keras"),
        interop.load_lstm(tmp_path / "m.h5", layer.name),
        interop.from_keras(layer),
    ):
        assert isinstance(ours, LSTM)
        assert ours.bidirectional is bidirectional
        assert (ours.dropout, ours.recurrent_dropout) == (0.2, 0.3)
        assert ours.kernel_regularizer == lstmreg.L1(float(np.float32(0.01)))  # as Keras keeps it
        assert ours.recurrent_regularizer == L2(0.02)
        assert ours.bias_regularizer == L1L2(0.01, 0.02)
        assert ours.activity_regularizer == L2(0.03)
        assert ours.kernel_constraint == lstmreg.MaxNorm(0.8)
        assert ours.bias_constraint == lstmreg.NonNeg()
        with torch.no_grad():
            got, _ = ours(torch.from_numpy(x))
        np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)


def test_an_lstm_is_found_by_its_whole_name_where_its_own_is_not_the_only_one(tmp_path: Path) -> None:
    inner = keras.Sequential([keras.Input((STEPS, 4)), layers.LSTM(2, activation="relu", name="lstm")], name="inner")
    outer = [keras.Input((STEPS, 3)), layers.LSTM(4, return_sequences=True, name="lstm"), inner]
    model = keras.Sequential([*outer, layers.Dense(1)])
    model.save(tmp_path / "m.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(tmp_path / "m.h5")
    for name in ("m.keras", "m.h5"):
        with pytest.raises(ConfigError, match="has 2 such LSTM layers; name one as layer, in full: lstm, inner > lstm"):
            interop.load_lstm(tmp_path / name)
        found = interop.load_lstm(tmp_path / name, "inner > lstm")
        assert found.activation is torch.nn.functional.relu
        np.testing.assert_array_equal(found.weight_ih_l0.detach().numpy().T, inner.layers[0].get_weights()[0])
        with pytest.raises(ConfigError, match=r"has no LSTM layer 'inner > lst'. Did you mean 'inner > lstm'"):
            interop.load_lstm(tmp_path / name, "inner > lst")


def test_a_layer_may_be_called_input(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((STEPS, 3)), layers.LSTM(4, name="input")])
    model.save(tmp_path / "m.keras")
    assert interop.load_lstm(tmp_path / "m.keras").hidden_size == 4


def test_a_refused_model_tells_which_of_its_layers_can_be_read(tmp_path: Path) -> None:
    model = keras.Sequential(
        [keras.Input((STEPS, 3)), layers.LSTM(4, name="reads"), layers.Dropout(0.1), layers.UnitNormalization()]
    )
    model.save(tmp_path / "m.keras")
    with pytest.raises(
        lstmreg.errors.CorruptFileError, match=r"unit_normalization.*: UnitNormalization .*\(reads\).*load_lstm"
    ):
        interop.load_model(tmp_path / "m.keras")


def lstms() -> list[LSTM]:
    found = [
        LSTM(3, 4),
        LSTM(3, 4, 2, bias=False, batch_first=True),
        LSTM(3, 4, 2, bidirectional=True),
        LSTM(3, 4, dropout=0.1, recurrent_dropout=0.2, kernel_regularizer=L2(0.1), recurrent_activation="hard_sigmoid"),
        LSTM(3, 4, go_backwards=True),
    ]
    for lstm in found:
        for parameter in lstm.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
        if lstm.bias:
            lstm.bias_hh_l0.normal_()
    return found


@pytest.mark.parametrize("index", range(5))
def test_an_lstm_of_ours_goes_to_keras_and_comes_back(index: int, tmp_path: Path) -> None:
    ours = lstms()[index].eval()
    ours.batch_first = True
    x = torch.randn(2, STEPS, 3)
    with torch.no_grad():
        expected = ours(x)[0].numpy()
    interop.save_keras(ours, tmp_path / "m.keras")
    model = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(model(x.numpy()).detach().numpy(), expected, atol=1e-6)
    interop.save_weights(ours, tmp_path / "m.weights.h5")
    fresh = keras.models.clone_model(model)
    fresh.load_weights(tmp_path / "m.weights.h5")
    np.testing.assert_allclose(fresh(x.numpy()).detach().numpy(), expected, atol=1e-6)
    fresh.set_weights(interop.get_weights(ours))
    np.testing.assert_allclose(fresh(x.numpy()).detach().numpy(), expected, atol=1e-6)
    again = copy.deepcopy(ours)
    again.reset_parameters()
    interop.load_weights(again, tmp_path / "m.weights.h5")
    with torch.no_grad():
        np.testing.assert_allclose(again(x)[0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_trained_network_goes_to_keras(bidirectional: bool, tmp_path: Path) -> None:
    config = ModelConfig(hidden_size=[5, 3], num_layers=2, bidirectional=bidirectional, kernel_l2=0.01, dropout=0.2)
    network = Network(config, 3, 2).eval()
    x = torch.randn(4, STEPS, 3)
    interop.save_keras(network, tmp_path / "m.keras")
    model = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(model(x.numpy()).detach().numpy(), network(x).detach().numpy(), atol=1e-6)
    lstmreg.models.save(tmp_path, network, {})
    assert_same(run(interop.load_model(tmp_path), [x.numpy()]), [network(x).detach().numpy()], 1e-6)


def test_a_network_that_forecasts_changes_says_so_wherever_it_goes(tmp_path: Path) -> None:
    import onnx

    network = Network(ModelConfig(4), 1, 1).eval()
    lstmreg.models.save(tmp_path, network, {"difference": {"lag": 12, "inputs": ["y"], "use": "add it to what was"}})
    model = interop.load_model(tmp_path)
    interop.save_model(model, tmp_path / "again")
    interop.save_onnx(model, tmp_path / "m.onnx")
    note = "dense: trained on differences: add it to what was"
    assert model.notes() == interop.load_model(tmp_path / "again").notes() == [note]
    assert onnx.load(tmp_path / "m.onnx").doc_string == note
    lstmreg.models.save(tmp_path, network, {"difference": None})
    assert interop.load_model(tmp_path).notes() == []


def test_the_layers_of_a_weights_file_can_be_chosen_one_by_one(tmp_path: Path) -> None:
    model = keras.Sequential(
        [keras.Input((STEPS, 3)), layers.LSTM(4, return_sequences=True), layers.LSTM(5), layers.Dense(1)]
    )
    model.save_weights(tmp_path / "m.weights.h5")
    ours = LSTM(4, 5, batch_first=True)
    interop.load_weights(ours, tmp_path / "m.weights.h5", "lstm_1")
    np.testing.assert_array_equal(ours.weight_ih_l0.detach().numpy().T, model.layers[1].get_weights()[0])
    before = ours.weight_ih_l0.clone()
    with pytest.raises(ConfigError, match=r"lstm_2.*layers/lstm_1"):
        interop.load_weights(ours, tmp_path / "m.weights.h5", "lstm_2")
    with pytest.raises(lstmreg.errors.CorruptFileError, match=r"must have shape \(\d, 20\), got \(3, 16\)"):
        interop.load_weights(ours, tmp_path / "m.weights.h5", "lstm")
    assert torch.equal(ours.weight_ih_l0, before)


def test_weights_of_another_width_are_not_spread_over_an_lstm(tmp_path: Path) -> None:
    interop.save_weights(LSTM(1, 4, 2), tmp_path / "m.weights.h5")
    ours = LSTM(3, 4, 2)
    before = copy.deepcopy(ours.state_dict())
    with pytest.raises(lstmreg.errors.CorruptFileError, match=r"has shape \(1, 16\); this LSTM's is \(3, 16\)"):
        interop.load_weights(ours, tmp_path / "m.weights.h5")
    assert all(torch.equal(tensor, before[name]) for name, tensor in ours.state_dict().items())


def test_weights_of_several_layers_ask_which_are_the_lstms(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((STEPS, 3)), layers.LSTM(4), layers.Dense(1)])
    model.save_weights(tmp_path / "m.weights.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(tmp_path / "m.h5")
    for name, lstm in (("m.weights.h5", "lstm"), ("m.h5", model.layers[0].name)):
        with pytest.raises(
            ConfigError, match=rf"has weights of 2 layers; say as layer which .* \(layer='{lstm}', say\)"
        ):
            interop.load_weights(LSTM(3, 4), tmp_path / name)
        interop.load_weights(LSTM(3, 4), tmp_path / name, lstm)
    (tmp_path / "m.json").write_text(model.to_json())
    with pytest.raises(ConfigError, match="has no weights in it"):
        interop.load_weights(LSTM(3, 4), tmp_path / "m.json")


def test_only_lstms_are_proposed_for_an_lstm(tmp_path: Path) -> None:
    words = [keras.Input((STEPS,)), layers.Embedding(9, 3, name="words"), layers.GRU(4, return_sequences=True)]
    reads = [layers.LSTM(4, return_sequences=True, name="reads"), layers.Bidirectional(layers.LSTM(2), name="both")]
    model = keras.Sequential([*words, *reads, layers.Dense(1, name="lstm_says")])
    inner = keras.Sequential([keras.Input((STEPS, 3)), layers.LSTM(4, name="first"), layers.Dense(2)], name="inner")
    outer = keras.Sequential([keras.Input((STEPS, 3)), inner, layers.Dense(1)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(tmp_path / "m.h5")
        outer.save(tmp_path / "nested.h5")
    model.save_weights(tmp_path / "m.weights.h5")
    outer.save_weights(tmp_path / "nested.weights.h5")
    for name, lstm, layer in (
        ("m.h5", LSTM(3, 4), "reads"),
        ("m.h5", LSTM(4, 2, bidirectional=True), "both"),
        ("m.weights.h5", LSTM(3, 4), "lstm"),
        ("m.weights.h5", LSTM(4, 2, bidirectional=True), "bidirectional"),
        ("nested.h5", LSTM(3, 4), "inner/first"),
        ("nested.weights.h5", LSTM(3, 4), "layers/sequential/layers/lstm"),
    ):
        with pytest.raises(ConfigError, match=rf"which of them are the LSTM's \(layer='{layer}', say\): {layer}\.$"):
            interop.load_weights(lstm, tmp_path / name)
    interop.load_weights(LSTM(3, 4), tmp_path / "nested.h5", "inner/first")
    interop.load_weights(LSTM(3, 4), tmp_path / "nested.weights.h5", "layers/sequential/layers/lstm")
    with pytest.raises(ConfigError, match=r"has weights of 5 layers, 1 of them an LSTM; this one has 2: reads\.$"):
        interop.load_weights(LSTM(3, 4, 2), tmp_path / "m.h5")


def test_a_file_of_as_many_layers_that_are_no_lstms_says_so(tmp_path: Path) -> None:
    keras.Sequential([keras.Input((STEPS,)), layers.Embedding(9, 3)]).save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(
        lstmreg.errors.CorruptFileError, match=r"has no weights of 'lstm' \(LSTM\); it has weights of embedding\.$"
    ):
        interop.load_weights(LSTM(3, 4), tmp_path / "m.weights.h5")


def test_what_a_mismatched_pair_names_is_in_the_file(tmp_path: Path) -> None:
    """A description and weights that do not belong together: layers by their names, weights by the file's places."""
    other = [layers.LSTM(4, name="reads"), layers.Dense(2, name="says")]
    described = keras.Sequential([keras.Input((STEPS, 3)), *other])
    (tmp_path / "m.json").write_text(described.to_json())
    written = {
        "wider": keras.Sequential([keras.Input((STEPS, 3)), layers.LSTM(5, name="a"), layers.Dense(2, name="b")]),
        "fewer": keras.Sequential([keras.Input((STEPS, 3)), layers.LSTM(4, name="a")]),
        "others": keras.Sequential([keras.Input((STEPS, 3)), layers.GRU(4, name="a"), layers.Dense(2, name="b")]),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, model in written.items():
            model.save(tmp_path / f"{name}.h5")
            model.save_weights(tmp_path / f"{name}.weights.h5")
    for name, expected in {
        "wider.weights.h5": r"layers/lstm/cell/vars/0 \(kernel of 'reads'\) must have shape \(3, 16\), got \(3, 20\)",
        "wider.h5": r"a/[\w/]*kernel \(kernel of 'reads'\) must have shape \(3, 16\), got \(3, 20\)",
        "fewer.weights.h5": r"has no weights of 'says' \(Dense\); it has weights of lstm\.",
        "fewer.h5": r"has weights of 1 layers \(a\); the description has 2 with weights \(reads, says\)",
        "others.weights.h5": r"has no weights of 'reads' \(LSTM\); it has weights of dense, gru\.",
        "others.h5": r"a/[\w/]*kernel \(kernel of 'reads'\) must have shape \(3, 16\), got \(3, 12\)",
    }.items():
        with pytest.raises(lstmreg.errors.CorruptFileError, match=expected) as caught:
            interop.load_model(tmp_path / name, tmp_path / "m.json")
        places: set[str] = set()
        with h5py.File(tmp_path / name) as file:
            file.visit(places.add)
        for place in re.findall(r"[\w]+(?:/[\w]+)+", str(caught.value).removeprefix(str(tmp_path / name))):
            assert place in places or f"model_weights/{place}" in places, place


def test_layers_go_in_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    two = [layers.LSTM(4, return_sequences=True, name="lstm"), layers.LSTM(4, name="lstm_1")]
    model = keras.Sequential([keras.Input((STEPS, 4)), *two])
    model.save_weights(tmp_path / "m.weights.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(tmp_path / "m.h5")
    for name in ("m.weights.h5", "m.h5"):
        for order in (["lstm", "lstm_1"], ["lstm_1", "lstm"], ["lstm_1", "lstm_1"]):
            ours = LSTM(4, 4, 2)
            interop.load_weights(ours, tmp_path / name, order)
            for got, wanted in zip(interop.get_weights(ours)[::3], order, strict=True):
                np.testing.assert_array_equal(got, model.get_layer(wanted).get_weights()[0])


def test_a_model_says_in_which_layer_an_input_does_not_fit(tmp_path: Path) -> None:
    words, x = keras.Input((5,), name="words"), keras.Input((5, 3), name="x")
    y = layers.Concatenate()([layers.Embedding(7, 2)(words), x])
    model = interop.from_keras(keras.Model([words, x], layers.LSTM(4, name="reads")(y)))
    good = torch.randint(0, 7, (2, 5)), torch.randn(2, 5, 3)
    assert model(*good).shape == (2, 4)
    assert torch.equal(model(list(good)), model(*good))
    with pytest.raises(ValueError, match=r"takes 2 inputs \(words, x\), got 1"):
        model(good[0])
    with pytest.raises(TypeError, match=r"x must be a torch.Tensor, got ndarray"):
        model(good[0], good[1].numpy())
    with pytest.raises(IndexError, match="from 0 to 6, got 9 to 9"):
        model(torch.full((2, 5), 9), good[1])
    beyond = (1 << 24) + 1  # which float32 does not have
    with pytest.raises(IndexError, match=f"from 0 to 6, got {beyond} to {beyond}"):
        model(torch.full((2, 5), beyond), good[1])
    with pytest.raises(ValueError, match="input_size=5") as caught:
        model(good[0], torch.randn(2, 5, 4))
    assert caught.value.__notes__ == ["In layer 'reads' (LSTM), given (2, 5, 6)."]


def test_no_layer_is_offered_that_is_not_an_lstm(tmp_path: Path) -> None:
    both = layers.Bidirectional(layers.GRU(2, return_sequences=True))
    model = keras.Sequential([keras.Input((STEPS, 3)), both, layers.LSTM(4, name="reads")])
    model.save(tmp_path / "m.keras")
    with pytest.raises(
        lstmreg.errors.CorruptFileError, match=r"GRU is not an LSTM.* Its LSTM layers \(reads\) can be read"
    ):
        interop.load_model(tmp_path / "m.keras")


def test_keras_gets_no_other_numbers_than_ours(tmp_path: Path) -> None:
    ours = LSTM(3, 4, activation="keras2_hard_sigmoid")
    with pytest.raises(ConfigError, match=r"lstm\.activation: Keras 3 does not have the hard_sigmoid of Keras 1 and 2"):
        interop.save_keras(ours, tmp_path / "m.keras")
    with pytest.raises(TypeError, match="function of your own"):
        interop.save_keras(LSTM(3, 4, activation=lambda x: x), tmp_path / "m.keras")
    with pytest.raises(ConfigError, match=r"ends in \.weights\.h5"):
        interop.save_weights(ours, tmp_path / "m.h5")
    with pytest.raises(TypeError, match="one by one"):
        interop.save_weights(torch.nn.Linear(2, 3), tmp_path / "m.weights.h5")
    assert list(tmp_path.iterdir()) == []


def old_model() -> dict:
    """A model of Keras 2 with its hard_sigmoid wherever it may stand: gates, cells, both ways, dense, alone, inside."""

    def layer(class_name: str, name: str, inputs: list, **config: object) -> dict:
        nodes = [[[name, 0, 0, {}] for name in inputs]] if inputs else []
        return {"class_name": class_name, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}

    gates = {"units": 4, "activation": "tanh", "recurrent_activation": "hard_sigmoid", "use_bias": True}
    cell = {"class_name": "LSTMCell", "config": {**gates, "units": 3}}
    lstm = {"class_name": "LSTM", "config": {**gates, "name": "l", "use_bias": False, "return_sequences": True}}
    hard = {"activation": "hard_sigmoid"}
    each = {"class_name": "Dense", "config": {"name": "d", "units": 5, "use_bias": True, **hard}}
    alone = {"class_name": "Activation", "config": {"name": "a", **hard}}
    conv = {"filters": 4, "kernel_size": [2], "strides": [1], "padding": "same", "use_bias": True, **hard}
    inner = [layer("InputLayer", "inside", [], batch_input_shape=[None, STEPS, 4])]
    inner += [layer("LSTM", "in", ["inside"], **gates, return_sequences=True), layer("Activation", "f", ["in"], **hard)]
    ends = {"input_layers": [["inside", 0, 0]], "output_layers": [["f", 0, 0]]}
    model = {"class_name": "Model", "name": "model", "config": {"name": "model", "layers": inner, **ends}}
    layers = [
        layer("InputLayer", "x", [], batch_input_shape=[None, STEPS, 3]),
        layer("Masking", "masks", ["x"], mask_value=0.0),
        layer("LSTM", "lstm", ["masks"], **gates, return_sequences=True),
        layer("Bidirectional", "both", ["lstm"], layer=lstm, merge_mode="concat"),
        layer("RNN", "cells", ["both"], cell=[cell, cell], return_sequences=True),
        layer("TimeDistributed", "each", ["cells"], layer=each),
        layer("Activation", "alone", ["each"], **hard),
        layer("TimeDistributed", "alone_each", ["alone"], layer=alone),
        layer("Conv1D", "conv", ["alone_each"], **conv),
        {**model, "inbound_nodes": [[["conv", 0, 0, {}]]]},
        layer("LSTM", "top", ["model"], **gates),
        layer("Dense", "says", ["top"], units=2, use_bias=True, **hard),
    ]
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["says", 0, 0]]}
    return {"class_name": "Model", "config": {"name": "old", "layers": layers, **ends}}


def test_the_hard_sigmoid_of_keras_1_and_2_goes_to_keras_3_wherever_it_stands(tmp_path: Path) -> None:
    description = read_description(old_model(), "2.4.0")
    ours = with_random_weights(description)
    gates = [m.recurrent_activation for m in ours.modules() if isinstance(m, LSTM)]
    assert gates == [lstmreg.activations.keras2_hard_sigmoid] * 7
    x = 3 * np.random.default_rng(2).normal(size=(6, STEPS, 3)).astype(np.float32)
    x[0, -2:] = x[1, :2] = 0  # masked
    [expected] = run(ours, [x])
    interop.save_keras(ours, tmp_path / "m.keras")
    model = keras.models.load_model(tmp_path / "m.keras")
    assert_same(predict(model, [x]), [expected], 2e-6)
    assert_same(run(interop.load_model(tmp_path / "m.keras"), [x]), [expected], 2e-6)
    as_if_the_same = model.get_layer("lstm").get_weights()
    np.testing.assert_allclose(
        as_if_the_same[0], np.float32([1.2, 1.2, 1, 1.2]).repeat(4) * interop.get_weights(ours)[0]
    )


def with_random_weights(description: ModelDescription) -> KerasModel:
    """Make a model of what its settings say, which leave the numbers of inputs open, with weights drawn at random."""
    widths = {"lstm": 3, "both": 4, "cells": 8, "each": 3, "conv": 5, "in": 4, "top": 4, "says": 4}
    rng = np.random.default_rng(1)
    arrays = {}
    for leaf in leaves_of(description):
        outer = "in" if "functional" in leaf.key else leaf.owner
        outer = "each" if leaf.owner == "d" else outer
        D = 3 if "lstm_cell_1" in leaf.key else widths[outer]
        H = {"both": 4, "cells": 3}.get(outer, 4)
        dense = {"each": 5, "says": 2, "conv": 4}.get(outer)
        kernel = (D, 4 * H) if dense is None else (2, D, dense) if outer == "conv" else (D, dense)
        shape = {"kernel": kernel, "recurrent_kernel": (H, 4 * H), "bias": kernel[-1:]}[leaf.name]
        arrays[leaf.key] = rng.normal(scale=0.7, size=shape).astype(np.float32)
    return build(description, in_place(arrays))


def test_a_penalty_of_weights_that_are_scaled_is_told() -> None:
    knobs = {"kernel_regularizer": L2(0.1), "bias_constraint": "non_neg"}
    plain, with_knobs = LSTM(3, 4, recurrent_activation="keras2_hard_sigmoid"), LSTM(3, 4, **knobs)
    with_knobs.recurrent_activation = plain.recurrent_activation
    written = "lstm: hard_sigmoid of Keras 1 and 2 is written as that of Keras 3"
    [note] = in_keras_3(as_keras_model(plain)).notes()
    assert note.startswith(written)
    assert "training" not in note
    [note] = in_keras_3(as_keras_model(with_knobs)).notes()
    assert note.startswith(written)
    assert "in training kernel_regularizer and bias_constraint will see the larger weights" in note
    assert in_keras_3(as_keras_model(LSTM(3, 4, **knobs))).notes() == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"recurrent_dropout": 0.2, "per_gate_masks": False}, ["the gates shared a mask of recurrent_dropout"]),
        ({"dropout": 0.2, "per_gate_input_masks": True}, ["each gate had its own mask of the dropped inputs"]),
        (
            {"dropout": 0.2, "recurrent_dropout": 0.2, "per_gate_input_masks": False},
            ["the gates shared a mask of the dro"],
        ),
        ({"dropout": 0.2, "recurrent_dropout": 0.2}, []),
        ({"dropout": 0.2}, []),
        ({"per_gate_input_masks": True, "per_gate_masks": False}, []),
    ],
)
def test_masks_that_keras_3_draws_otherwise_are_told(options: dict, said: list[str]) -> None:
    notes = in_keras_3(as_keras_model(LSTM(3, 4, **options))).notes()
    assert [note.removeprefix("lstm: ")[: len(part)] for note, part in zip(notes, said, strict=True)] == said
