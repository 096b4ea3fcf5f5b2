"""PyTorch's own layers in, and ONNX out, with batch and time free."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import lstmreg
from lstmreg import L2, LSTM, ModelConfig, Network, interop
from lstmreg.errors import ConfigError


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("proj_size", [0, 3])
def test_a_stock_lstm_comes_in_with_its_numbers_and_goes_back(bidirectional: bool, bias: bool, proj_size: int) -> None:
    stock = nn.LSTM(3, 5, 2, bias=bias, bidirectional=bidirectional, proj_size=proj_size, dropout=0.4).double().eval()
    ours = interop.from_torch(stock, kernel_regularizer=L2(0.1))
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(ours(x), stock(x))
    torch.testing.assert_close(ours.to_torch()(x), stock(x))
    assert ours.penalty() > 0
    assert ours.dropout == 0
    assert not ours.training


def test_what_is_not_an_lstm_does_not_come_in_as_one() -> None:
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.LSTM, got GRU"):
        interop.from_torch(nn.GRU(3, 4))
    with pytest.raises(TypeError, match="hidden_size cannot be given"):
        interop.from_torch(nn.LSTM(3, 4), hidden_size=5)


class Tagger(nn.Module):
    """Two LSTMs of different kinds somewhere in a user's module, under masks with holes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = LSTM(3, 4, 2, batch_first=True, bidirectional=True, activation=["tanh", "relu"])
        self.second = LSTM(
            8, 5, batch_first=True, go_backwards=True, bias=False, recurrent_activation="keras2_hard_sigmoid"
        )
        self.third = LSTM(5, 2, batch_first=True, recurrent_activation="hard_sigmoid", zero_output_for_mask=True)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mask = (x != 0).any(-1)
        y, _ = self.first(x, mask=mask)
        y, (h_n, _) = self.second(y, mask=mask)
        y, _ = self.third(y, mask=mask)
        return y, h_n


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])


def holes(batch: int, steps: int) -> torch.Tensor:
    """Sequences with masked steps in front, between and behind, and one that has no other."""
    x = torch.randn(batch, steps, 3)
    x[torch.rand(batch, steps) < 0.4] = 0
    x[-1] = 0
    return x


def test_onnx_gives_the_same_numbers_at_any_batch_and_time_under_any_mask(tmp_path: Path) -> None:
    model = Tagger().eval()
    interop.save_onnx(model, tmp_path / "m.onnx", torch.randn(2, 5, 3))
    run = session(tmp_path / "m.onnx")
    for batch, steps in ((2, 5), (1, 1), (7, 12)):
        x = holes(batch, steps)
        got = run.run(None, {"input": x.numpy()})
        for a, b in zip(got, model(x), strict=True):
            np.testing.assert_allclose(a, b.detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("gates", ["sigmoid", "relu", "hard_sigmoid", "keras2_hard_sigmoid"])
def test_onnx_has_each_activation_beside_each_other(gates: str, tmp_path: Path) -> None:
    class Several(nn.Module):
        """One LSTM for each activation, side by side."""

        def __init__(self) -> None:
            super().__init__()
            names = ["tanh", "relu", "elu", "linear", "softsign", "softplus", "leaky_relu", "keras2_hard_sigmoid"]
            self.lstms = nn.ModuleList(LSTM(3, 2, activation=name, recurrent_activation=gates) for name in names)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([lstm(x)[0] for lstm in self.lstms])

    model = Several().eval()
    interop.save_onnx(model, tmp_path / "m.onnx", torch.zeros(5, 2, 3))
    x = torch.randn(7, 4, 3)
    [got] = session(tmp_path / "m.onnx").run(None, {"input": x.numpy()})
    np.testing.assert_allclose(got, model(x).detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_first", [False, True])
def test_the_free_axes_of_a_layer_are_called_what_they_are(batch_first: bool, tmp_path: Path) -> None:
    interop.save_onnx(LSTM(3, 2, batch_first=batch_first), tmp_path / "m.onnx")
    names = ["batch", "time"] if batch_first else ["time", "batch"]
    assert session(tmp_path / "m.onnx").get_inputs()[0].shape == [*names, 3]


def test_onnx_contains_the_recurrence_as_its_own_operation(tmp_path: Path) -> None:
    import onnx

    network = Network(ModelConfig(hidden_size=4, num_layers=2, dropout=0.3, recurrent_dropout=0.2), 3, 1)
    with torch.autocast("cpu", torch.bfloat16):  # which changes nothing
        interop.save_onnx(network, tmp_path / "m.onnx")
    program = onnx.load(tmp_path / "m.onnx")
    assert [node.op_type for node in program.graph.node].count("LSTM") == 2
    assert {node.domain for node in program.graph.node} <= {"", "ai.onnx"}
    assert session(tmp_path / "m.onnx").get_inputs()[0].shape == ["batch", "time", 3]
    assert session(tmp_path / "m.onnx").get_outputs()[0].shape == ["batch", 1]
    x = torch.randn(5, 9, 3)
    got = session(tmp_path / "m.onnx").run(None, {"input": x.numpy()})[0]
    np.testing.assert_allclose(got, network.eval()(x).detach().numpy(), atol=1e-6)


def test_onnx_has_keras_names_of_inputs_and_outputs(tmp_path: Path) -> None:
    left, right = keras.Input((None, 3), name="left"), keras.Input((7,), name="right")
    embedded = keras.layers.Embedding(5, 3, mask_zero=True)(right)
    y, h, _ = keras.layers.LSTM(4, return_sequences=True, return_state=True, name="reads")(left)
    mean = keras.layers.GlobalAveragePooling1D(name="mean")(keras.layers.LSTM(2, return_sequences=True)(embedded))
    model = interop.from_keras(keras.Model([left, right], [y, h, mean]))
    interop.save_onnx(model, tmp_path / "m.onnx")
    run = session(tmp_path / "m.onnx")
    assert [value.name for value in run.get_inputs()] == ["left", "right"]
    assert [value.name for value in run.get_outputs()] == ["reads", "reads_1", "mean"]
    x, words = torch.randn(4, 6, 3), torch.randint(0, 5, (4, 7))
    words[:, 0] = 1
    for a, b in zip(run.run(None, {"left": x.numpy(), "right": words.numpy()}), model(x, words), strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("padding", ["same", "causal", "valid"])
def test_onnx_pads_windows_in_time_as_the_model_does_at_any_length(padding: str, tmp_path: Path) -> None:
    pooling = "same" if padding == "causal" else padding

    def branch(x: keras.KerasTensor, strides: int) -> keras.KerasTensor:
        y = keras.layers.Conv1D(4, 5, strides=strides, padding=padding)(x)
        y = keras.layers.MaxPooling1D(3, strides=2, padding=pooling)(y)
        y = keras.layers.AveragePooling1D(2, padding=pooling)(y)
        return keras.layers.LSTM(3)(y)

    entry = keras.Input((None, 3))
    model = interop.from_keras(keras.Model(entry, [branch(entry, strides) for strides in (1, 2, 3)]))
    interop.save_onnx(model, tmp_path / "m.onnx")  # all in one: to write a file takes seconds
    run = session(tmp_path / "m.onnx")
    for steps in range(40, 47):
        x = torch.randn(2, steps, 3)
        for got, expected in zip(run.run(None, {run.get_inputs()[0].name: x.numpy()}), model(x), strict=True):
            np.testing.assert_allclose(got, expected.detach().numpy(), atol=1e-6)


def test_an_example_that_the_exporter_cannot_read_is_refused_in_words(tmp_path: Path) -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = LSTM(3, 4, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.lstm(x)[0] if x.sum() > 0 else x

    with pytest.raises(ConfigError, match="exporter cannot read the Reader"):
        interop.save_onnx(Reader(), tmp_path / "m.onnx", torch.zeros(2, 5, 3))


def test_onnx_refuses_what_it_cannot_say(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(ConfigError, match="recurrent_activation 'selu' has no counterpart"):
        interop.save_onnx(LSTM(3, 4, recurrent_activation="selu"), path)
    with pytest.raises(ConfigError, match="stateful"):
        interop.save_onnx(LSTM(3, 4, stateful=True), path)
    with pytest.raises(ConfigError, match="projection"):
        interop.save_onnx(LSTM(3, 4, proj_size=2), path)
    with pytest.raises(ConfigError, match=r"example must be given.*torch\.zeros"):
        interop.save_onnx(Tagger(), path)
    assert not path.exists()


def test_a_module_is_as_it_was_after_it_was_written(tmp_path: Path) -> None:
    model = LSTM(3, 4, kernel_regularizer="l2").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    drawn = torch.get_rng_state()
    interop.save_onnx(model, tmp_path / "m.onnx")
    assert model.training
    assert torch.equal(torch.get_rng_state(), drawn)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert lstmreg.penalties(model)["kernel"].item() > 0


def test_a_layer_that_is_used_under_two_names_is_one_in_the_file_too(tmp_path: Path) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.utils.parametrizations.weight_norm(LSTM(3, 3, batch_first=True), "weight_hh_l0")
            self.second = self.first

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x)[0])[0]

    model = Twice().eval()
    interop.save_onnx(model, tmp_path / "m.onnx", torch.zeros(2, 5, 3))
    x = torch.randn(4, 7, 3)
    [got] = session(tmp_path / "m.onnx").run(None, {"input": x.numpy()})
    assert model.first is model.second
    np.testing.assert_allclose(got, model(x).detach().numpy(), atol=1e-6)
