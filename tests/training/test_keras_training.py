"""A training run here and the same run in Keras: equal losses at every step, equal weights at the end."""

from __future__ import annotations

import math

import keras
import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lstmreg import L1, L1L2, L2, LSTM, MaxNorm, TrainingModule, UnitNorm, apply_constraints, penalties, regularize

B, T, D, H = 4, 6, 3, 5
STEPS = 50
LENGTHS = torch.tensor([4, 2, 6, 1])
SEEDS = [5, 1_000, 2_000, 3_000]  # further apart than a run draws
ROUNDING = 1e-5

RATES = {"dropout": 0.2, "recurrent_dropout": 0.3}
PENALTIES = {
    "kernel_regularizer": L1(2**-10),
    "recurrent_regularizer": L2(2**-7),
    "bias_regularizer": L1L2(2**-9, 2**-8),
    "activity_regularizer": L2(2**-6),
}
CONSTRAINTS = {
    "kernel_constraint": MaxNorm(0.75),
    "recurrent_constraint": MaxNorm(1.0, axis=1),
    "bias_constraint": UnitNorm(),
}
KERAS_OBJECTS = {
    "kernel_regularizer": keras.regularizers.L1(2**-10),
    "recurrent_regularizer": keras.regularizers.L2(2**-7),
    "bias_regularizer": keras.regularizers.L1L2(2**-9, 2**-8),
    "activity_regularizer": keras.regularizers.L2(2**-6),
    "kernel_constraint": keras.constraints.MaxNorm(0.75),
    "recurrent_constraint": keras.constraints.MaxNorm(1.0, axis=1),
    "bias_constraint": keras.constraints.UnitNorm(),
}
RATE = {"SGD": 2**-2, "Adam": 2**-7}  # exact in float32, in which Keras keeps it


class Last(nn.Module):
    """LSTM and a head on the output of the last step; padding is zero, as Keras' ``Masking`` takes it."""

    def __init__(self, num_layers: int, bidirectional: bool, padded: bool) -> None:
        super().__init__()
        self.padded = padded
        self.rnn = LSTM(
            D,
            H,
            num_layers,
            batch_first=True,
            bidirectional=bidirectional,
            activity_steps="last",
            seed=SEEDS[: num_layers * (1 + bidirectional)],
            **RATES,
            **PENALTIES,
            **CONSTRAINTS,
        )
        self.head = nn.Linear(H * (1 + bidirectional), 1)
        regularize(self, "head.weight", L2(2**-5))

    def forward(self, x: Tensor) -> Tensor:
        _, (h_n, _) = self.rnn(x, mask=(x != 0).any(-1) if self.padded else None)
        return self.head(h_n[-2:].transpose(0, 1).flatten(1) if self.rnn.bidirectional else h_n[-1])


def in_keras(ours: Last) -> keras.Sequential:
    """The same network with the same weights and seeds."""
    layers = [keras.Input((T, D))] + ([keras.layers.Masking()] if ours.padded else [])
    rnns = []
    for layer in range(ours.rnn.num_layers):
        lstm = keras.layers.LSTM(H, return_sequences=layer < ours.rnn.num_layers - 1, seed=0, **RATES, **KERAS_OBJECTS)
        layers.append(keras.layers.Bidirectional(lstm) if ours.rnn.bidirectional else lstm)
        rnns += [layers[-1].forward_layer, layers[-1].backward_layer] if ours.rnn.bidirectional else [lstm]
    layers.append(keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L2(2**-5)))
    model = keras.Sequential(layers)
    for rnn, weights, seed in zip(rnns, ours.rnn.all_weights, ours.rnn.seed, strict=True):
        rnn.set_weights([w.detach().numpy().T for w in weights[:3]])
        rnn.cell.seed_generator.state.assign([seed, 0])
    layers[-1].set_weights([w.detach().numpy().T for w in ours.head.parameters()])
    return model


def make_batches(padded: bool, count: int = 5) -> list[tuple[Tensor, Tensor]]:
    x, y = torch.randn(count, B, T, D), torch.randn(count, B, 1)
    if padded:
        x = x * (torch.arange(T) < LENGTHS.unsqueeze(1)).unsqueeze(-1)
    return list(zip(x, y, strict=True))


def equal_keras(optimizer: torch.optim.Optimizer, t: int) -> None:
    """Make step ``t`` that of Keras, which adds epsilon before it corrects the bias of the second moment."""
    if isinstance(optimizer, torch.optim.Adam):
        optimizer.param_groups[0]["eps"] = 1e-7 / math.sqrt(1 - 0.999**t)


def train_ours(network: Last, name: str, batches: list[tuple[Tensor, Tensor]]) -> list[float]:
    optimizer = getattr(torch.optim, name)(network.parameters(), lr=RATE[name])
    losses = []
    for step in range(STEPS):
        x, y = batches[step % len(batches)]
        loss = nn.functional.mse_loss(network(x), y) + sum(penalties(network).values())
        optimizer.zero_grad()
        loss.backward()
        equal_keras(optimizer, step + 1)
        optimizer.step()
        apply_constraints(network)
        losses.append(loss.item())
    return losses


def train_theirs(model: keras.Sequential, name: str, batches: list[tuple[Tensor, Tensor]]) -> list[float]:
    model.compile(getattr(keras.optimizers, name)(RATE[name]), loss="mse", jit_compile=False)
    losses = []
    for step in range(STEPS):
        x, y = batches[step % len(batches)]
        model.reset_metrics()  # else it returns the mean of all steps so far
        losses.append(float(model.train_on_batch(x.numpy(), y.numpy())))
    return losses


def weights_as_in_keras(network: Last) -> list[np.ndarray]:
    cells = [w.detach().numpy().T for weights in network.rnn.all_weights for w in weights[:3]]
    return cells + [w.detach().numpy().T for w in network.head.parameters()]


@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_fifty_steps_with_every_knob_on_are_those_of_keras(optimizer, num_layers, bidirectional, padded):
    network = Last(num_layers, bidirectional, padded)
    model, batches = in_keras(network), make_batches(padded)
    start = weights_as_in_keras(network)[0].copy()
    theirs = train_theirs(model, optimizer, batches)
    ours = train_ours(network, optimizer, batches)
    np.testing.assert_allclose(ours, theirs, rtol=ROUNDING)
    weights = weights_as_in_keras(network)
    trained = [v.value.detach().numpy() for v in model.trainable_variables]
    for got, expected in zip(weights, trained, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=5e-5)  # Adam divides by gradients near zero
    assert np.abs(weights[0] - start).max() > 0.05  # far from where they began


def test_the_constraints_of_that_run_bind():
    """Without them the run would be another one: what is compared above depends on them."""
    network, free = Last(1, False, False), Last(1, False, False)
    free.load_state_dict(network.state_dict())
    for kind in ("kernel", "recurrent", "bias"):
        setattr(free.rnn, f"{kind}_constraint", None)
    batches = make_batches(padded=False)
    losses = train_ours(network, "SGD", batches), train_ours(free, "SGD", batches)
    assert not np.allclose(*losses, rtol=100 * ROUNDING)


class Watch(pl.Callback):
    """Gives torch's Adam the epsilon of Keras' at each step, and keeps each loss and the weights after it."""

    def __init__(self, network: Last) -> None:
        self.network, self.losses, self.norms = network, [], []

    def on_before_optimizer_step(self, trainer, module, optimizer) -> None:
        equal_keras(optimizer, trainer.global_step + 1)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.losses.append(float(outputs["loss"]))
        rnn = self.network.rnn
        norms = rnn.weight_ih_l0.norm(dim=1), rnn.weight_hh_l0.norm(dim=0), rnn.bias_ih_l0.norm()
        self.norms.append([float(n.detach().max()) for n in norms])


@pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")  # Lightning's own affair
@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
def test_a_training_module_makes_the_run_of_keras_by_itself(padded):
    network = Last(1, False, padded)
    model, batches = in_keras(network), make_batches(padded)
    x, y = (torch.cat(part) for part in zip(*batches, strict=True))
    data = DataLoader(TensorDataset(x, y), batch_size=B)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    seen = Watch(network)
    trainer = pl.Trainer(max_steps=STEPS, callbacks=[seen], accelerator="cpu", devices=1, **quiet)
    trainer.fit(TrainingModule(network, learning_rate=RATE["Adam"]), train_dataloaders=data, val_dataloaders=data)
    np.testing.assert_allclose(seen.losses, train_theirs(model, "Adam", batches), rtol=ROUNDING)
    kernel, recurrent, bias = zip(*seen.norms, strict=True)
    # The initial kernel and bias are longer: from the first step on they are not.
    assert max(kernel) <= 0.75 + 1e-6
    assert max(recurrent) <= 1.0 + 1e-6
    np.testing.assert_allclose(bias, 1.0, rtol=1e-6)
