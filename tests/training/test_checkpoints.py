"""A checkpoint of Lightning's comes back as a module by itself, and as the same numbers, or says what it needs."""

from __future__ import annotations

import dataclasses

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lstmreg import LSTM, Ensemble, ModelConfig, Network, TrainingModule, interop
from lstmreg.errors import CorruptFileError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),  # Lightning's own affair
]

CONFIG = ModelConfig([4, 3], 2, dropout=0.2, kernel_l2=[0.1, 0.2], activation="relu", head_initializer="keras")


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = LSTM(2, 3, batch_first=True), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


def keras_model(folder) -> nn.Module:
    interop.save_model(Network(CONFIG, 2, 1), folder / "keras")
    return interop.load_model(folder / "keras")


NETWORKS = {
    "a network": lambda folder: Network(CONFIG, 2, 1),
    "a network in double precision": lambda folder: Network(CONFIG, 2, 1).double(),
    "an ensemble": lambda folder: Ensemble(Network(CONFIG, 2, 1) for _ in range(3)),
    "a model of Keras": keras_model,
}


def checkpoint(network: nn.Module, folder, kind: type[TrainingModule] = TrainingModule, **settings) -> TrainingModule:
    """Train a little, and leave ``a.ckpt`` in the folder."""
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", devices=1, **quiet)
    x = torch.randn(8, 4, 2, dtype=next(network.parameters()).dtype)
    module = kind(network, **settings)
    batches = DataLoader(TensorDataset(x, x[:, 0, :1]), 4)
    trainer.fit(module, batches, batches)
    trainer.save_checkpoint(folder / "a.ckpt")
    return module


@pytest.mark.parametrize("kind", NETWORKS)
def test_it_comes_back_without_its_network(kind, tmp_path):
    module = checkpoint(NETWORKS[kind](tmp_path), tmp_path, learning_rate=0.25)
    loaded = TrainingModule.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    torch.testing.assert_close(loaded.state_dict(), module.state_dict(), rtol=0, atol=0)
    assert type(loaded.network) is type(module.network)
    assert loaded.learning_rate == 0.25
    x = torch.randn(3, 5, 2, dtype=next(module.parameters()).dtype)
    assert torch.equal(loaded.eval()(x), module.eval()(x))
    if hasattr(module.network, "config"):
        assert loaded.network.config == module.network.config
    trained = [(name, p.requires_grad) for name, p in module.network.named_parameters()]
    assert [(name, p.requires_grad) for name, p in loaded.network.named_parameters()] == trained


def test_of_a_users_own_module_it_needs_one_and_says_so(tmp_path):
    module = checkpoint(Own(), tmp_path)
    with pytest.raises(TypeError, match=r"weights of Own, but not how to make one.*network=Own\(\.\.\.\)"):
        TrainingModule.load_from_checkpoint(tmp_path / "a.ckpt")
    loaded = TrainingModule.load_from_checkpoint(tmp_path / "a.ckpt", network=Own())
    torch.testing.assert_close(loaded.state_dict(), module.state_dict(), rtol=0, atol=0)


class WithHyperparameters(TrainingModule):
    def __init__(self, hidden_size: int) -> None:
        self.hidden_size = hidden_size
        super().__init__(Network(ModelConfig(hidden_size), 2, 1))
        self.save_hyperparameters()


def test_a_subclass_with_arguments_of_its_own_is_made_with_those(tmp_path):
    made = WithHyperparameters(5)
    trainer = checkpoint(nn.Linear(2, 1), tmp_path, kind=lambda network: made)  # the network is its own
    loaded = WithHyperparameters.load_from_checkpoint(tmp_path / "a.ckpt")
    assert loaded.network.config.hidden_size == 5
    torch.testing.assert_close(loaded.state_dict(), trainer.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d | {"input_size": 10**12},
        lambda d: d | {"model": d["model"] | {"hidden_size": 16384, "num_layers": 900}},
        lambda d: d | {"model": d["model"] | {"members": 1000}},
        lambda d: d | {"model": d["model"] | {"depth": 3}},
        lambda d: {"kind": "network"},
    ],
)
def test_a_description_that_does_not_fit_the_weights_is_refused_before_anything_of_that_size_is_made(change, tmp_path):
    checkpoint(Network(ModelConfig(3), 2, 1), tmp_path)
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    content["hyper_parameters"]["network"] = change(content["hyper_parameters"]["network"])
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(CorruptFileError, match="the checkpoint's network and its weights do not fit"):
        TrainingModule.load_from_checkpoint(tmp_path / "a.ckpt")


def test_what_is_neither_a_module_nor_a_description_is_refused():
    with pytest.raises(TypeError, match=r"network must be a torch\.nn\.Module, got 'lstm'"):
        TrainingModule("lstm")


def test_a_described_configuration_is_plain(tmp_path):
    checkpoint(Network(CONFIG, 2, 1), tmp_path)
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert content["hyper_parameters"]["network"]["model"] == dataclasses.asdict(CONFIG)
