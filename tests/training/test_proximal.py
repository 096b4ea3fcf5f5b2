"""Training with the L1 as a step of its own: by hand, with exact zeros, and with columns that it switches off."""

from __future__ import annotations

import copy
import dataclasses
import math

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lstmreg import (
    L1L2,
    LSTM,
    Config,
    DataConfig,
    ModelConfig,
    Network,
    TrainingConfig,
    TrainingModule,
    fit,
    report,
    search,
)
from lstmreg.config import with_settings
from lstmreg.constraints import MaxNorm
from lstmreg.models import outputs
from lstmreg.report import words
from lstmreg.tasks import read_task
from lstmreg.terminal import Console, show_fit
from lstmreg.training.population.together import Assignment, populations, train_together
from lstmreg.training.single import HeldOut, Trained, fit_held_out, train_single
from tests.tiny import tiny_config

pytestmark = [
    pytest.mark.filterwarnings("ignore:::lightning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),  # Lightning's own affair
]


class Last(nn.Module):
    """A layer of three units, of which the first predicts."""

    def __init__(self, **settings) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.rnn = LSTM(2, 3, batch_first=True, dtype=torch.float64, **settings)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0][:, -1, :1]


class Trainer(TrainingModule):
    """SGD whose rate halves after each epoch."""

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.5)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]


def batches() -> DataLoader:
    torch.manual_seed(2)
    x = torch.randn(12, 4, 2, dtype=torch.float64)
    return DataLoader(TensorDataset(x, x[:, -1, :1]), 6)


def trained(network: nn.Module, epochs: int, **settings) -> TrainingModule:
    module = Trainer(network, proximal=True)
    trainer = pl.Trainer(
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        **settings,
    )
    trainer.fit(module, batches(), batches())
    return module


@pytest.mark.parametrize("constraint", [None, MaxNorm(0.5)], ids=["free", "constrained"])
@pytest.mark.parametrize("accumulated", [1, 2])
def test_some_steps_of_sgd_are_the_arithmetic_by_hand(constraint, accumulated):
    """Gradient step, then soft thresholding with that step's rate, then the constraint, in plain Python's numbers."""
    l1, l2 = 0.25, 0.125
    network = Last(kernel_regularizer=L1L2(l1, l2), kernel_constraint=constraint)
    theirs = copy.deepcopy(network)
    trained(network, 3, accumulate_grad_batches=accumulated)

    plain = nn.LSTM(2, 3, batch_first=True, dtype=torch.float64)
    plain.load_state_dict(theirs.rnn.state_dict())
    weights = [w for name, w in plain.named_parameters() if not name.startswith("bias_hh")]
    rate, zeros, shrunk = 0.5, 0, 0
    for _ in range(3):
        sums = [torch.zeros_like(w) for w in weights]
        for number, (x, y) in enumerate(batches(), start=1):
            loss = (plain(x)[0][:, -1, :1] - y).square().mean() + l2 * plain.weight_ih_l0.square().sum()
            sums = [s + g / accumulated for s, g in zip(sums, torch.autograd.grad(loss, weights), strict=True)]
            if number % accumulated == 0:
                with torch.no_grad():
                    for w, s in zip(weights, sums, strict=True):
                        w -= rate * s
                    for row in plain.weight_ih_l0:
                        by_hand = [math.copysign(max(abs(v) - rate * l1, 0.0), v) for v in row.tolist()]
                        norm = math.hypot(*by_hand)
                        shrink = min(norm, 0.5) / (1e-7 + norm) if constraint else 1.0  # as Keras has it
                        row.copy_(torch.tensor([shrink * v for v in by_hand], dtype=torch.float64))
                        zeros += by_hand.count(0.0)
                        shrunk += bool(constraint and norm > 0.5)
                sums = [torch.zeros_like(w) for w in weights]
        rate /= 2
    assert zeros > 0
    assert (shrunk > 0) == (constraint is not None)
    for name, weight in network.rnn.named_parameters():
        torch.testing.assert_close(weight, plain.get_parameter(name), rtol=1e-12, atol=1e-14)
    assert torch.equal(network.rnn.weight_ih_l0 == 0, plain.weight_ih_l0 == 0)


def regression(count: int = 240) -> tuple[Tensor, Tensor]:
    """Return sequences of ten columns, and what the first two of them say."""
    torch.manual_seed(0)
    x = torch.randn(count, 5, 10)
    return x, (x[:, -1, :1] - 0.7 * x[:, -2, 1:2]) + 0.05 * torch.randn(count, 1)


def fitted(l1: float, *, proximal: bool, epochs: int = 60, optimizer: str = "adam", keep: str = "last"):
    x, y = regression()
    torch.manual_seed(4)
    network = Network(ModelConfig(hidden_size=4, kernel_l1=l1), 10, 1)
    training = TrainingConfig(
        learning_rate=0.02, max_epochs=epochs, patience=None, keep=keep, proximal=proximal, optimizer=optimizer
    )
    result = fit(network, ((x[:180], y[:180]), (x[180:], y[180:])), training)
    return result, network


def heard(network: Network) -> list[bool]:
    """Tell which columns have an input weight that is not zero."""
    return (network.layers[0].weight_ih_l0 != 0).any(0).tolist()


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_weights_are_exactly_zero_with_it_and_never_without(optimizer):
    for proximal in (True, False):
        _, network = fitted(0.3, proximal=proximal, epochs=4, optimizer=optimizer)
        zeros = int((network.layers[0].weight_ih_l0 == 0).sum())
        assert (zeros > 0) == proximal
        assert all(bool((w != 0).all()) for name, w in network.named_parameters() if "weight_hh" in name)


def test_columns_that_say_nothing_are_switched_off_and_the_others_are_not():
    result, network = fitted(0.9, proximal=True, keep="best")
    off = [column for column, is_heard in enumerate(heard(network)) if not is_heard]
    assert not {0, 1} & set(off)
    assert len(off) >= 6  # of eight; on its way a weight leaves zero now and then
    assert result.val_loss < 0.1  # of targets whose variance is 1.5
    x, _ = regression()
    spoilt = x.clone()
    spoilt[:, :, off] = 1e6 * torch.randn(240, 5, len(off))
    np.testing.assert_array_equal(outputs(network, x), outputs(network, spoilt))
    _, without = fitted(0.9, proximal=False, keep="best")
    assert heard(without) == [True] * 10


def test_penalties_are_reported_whole_and_losses_without_them():
    result, network = fitted(0.3, proximal=True, epochs=3)
    x, y = regression()
    assert result.val_loss == pytest.approx(float((outputs(network, x[180:]) - y[180:]).square().mean()), rel=1e-5)
    assert [set(epoch.penalties) for epoch in result.history] == [{"kernel"}] * 3
    size = 0.3 * float(network.layers[0].weight_ih_l0.detach().abs().sum())
    assert result.history[-1].penalties["kernel"] == pytest.approx(size, rel=0.2)  # a mean over the epoch's steps


def test_with_nothing_to_do_it_changes_nothing():
    plain, network = fitted(0.0, proximal=False, epochs=2)
    same, other = fitted(0.0, proximal=True, epochs=2)
    assert same.history == plain.history
    for name, weight in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], weight), name


def test_a_checkpoint_goes_on_with_it(tmp_path):
    module = trained(Network(ModelConfig(hidden_size=3, kernel_l1=0.25), 2, 1).double(), 1)
    module.trainer.save_checkpoint(tmp_path / "some.ckpt")
    assert TrainingModule.load_from_checkpoint(tmp_path / "some.ckpt", weights_only=True).proximal


def held_out(l1: float, **model) -> HeldOut:
    """Train on a table whose target is what one of three columns said a step ago."""
    generator = np.random.default_rng(5)
    values = generator.normal(size=(120, 3))
    y = np.roll(values[:, 0], 1)
    table = {"y": y, "said": values[:, 0], "noise": values[:, 1], "murmur": values[:, 2]}
    config = Config(
        DataConfig("table.csv", "y", ["said", "noise", "murmur"], window=3),
        ModelConfig(hidden_size=3, kernel_l1=l1, **model),
        TrainingConfig(max_epochs=3, learning_rate=0.02, proximal=True),
    )
    return fit_held_out(config, data=table)


@pytest.mark.parametrize("members", [1, 2])
def test_columns_that_are_switched_off_are_named(members, capsys):
    found = held_out(50.0, members=members)  # so strong that nothing is left
    assert found.trained.switched_off() == ("said", "noise", "murmur")
    show_fit(found, members, Console())
    shown = " ".join(capsys.readouterr().out.split())
    rest = "input columns are switched off, with input weights that are all exactly zero: said, noise, murmur."
    assert f"3 of 3 {rest}" in shown


def test_one_column_that_is_switched_off_is_told_from_those_that_are_not(capsys):
    found = held_out(1e-9)
    assert found.trained.switched_off() == ()
    show_fit(found, 1, Console())
    assert "switched off" not in capsys.readouterr().out
    with torch.no_grad():
        found.trained.network.layers[0].weight_ih_l0[:, 1] = 0
        found.trained.network.layers[0].weight_ih_l0[1:, 2] = 0
    assert found.trained.switched_off() == ("noise",)
    show_fit(found, 1, Console())
    shown = " ".join(capsys.readouterr().out.split())
    assert "1 of 3 input columns is switched off, with input weights that are all exactly zero: noise." in shown


def test_a_search_trains_those_that_do_it_apart_from_those_that_do_not(tmp_path):
    config = tiny_config(tmp_path)
    task = read_task(config)
    split = task.splits(config.search).blocks[0]
    settings = [{"model.kernel_l1": l1, "training.proximal": on} for on in (True, False) for l1 in (8.0, 0.0)]
    assignments = [Assignment(with_settings(config, own), split) for own in [*settings, settings[0]]]
    assert sorted(map(sorted, populations(assignments))) == [[0, 1, 4], [2, 3]]
    told: dict[int, Trained] = {}
    train_together(assignments, task, told.__setitem__)
    for number, one in enumerate(assignments):
        alone = train_single(one.config, task, split)
        assert told[number].val_loss == pytest.approx(alone.val_loss, rel=2e-5)
        zeros, expected = (int((t.network.layers[0].weight_ih_l0 == 0).sum()) for t in (told[number], alone))
        assert zeros == expected
        assert (zeros > 0) == (number in (0, 4))


def test_a_search_may_be_configured_with_it_and_counts_the_columns_that_are_off(tmp_path):
    rows = np.random.default_rng(6).normal(size=(120, 4))
    lines = [",".join(f"{value:.5f}" for value in row) for row in rows]
    (tmp_path / "waves.csv").write_text("\n".join(["wave,a,b,c", *lines]))
    tiny = tiny_config(tmp_path, space={"model.kernel_l1": [50.0]}, weight_decay=[], learning_rates=[0.03])
    data = dataclasses.replace(tiny.data, time=None, season=None)
    config = with_settings(dataclasses.replace(tiny, data=data, runs=str(tmp_path)), {"training.proximal": True})
    answer = report.answer(search.run(config))
    assert answer.settings["training.proximal"] is True
    assert answer.columns is not None
    found = answer.columns.zero
    assert found == {value: [0.0 if value == "off" else 1.0] * 4 for value in found}  # the ladder may have grown
    assert {"off", "50"} <= set(found)
    (said,) = [sentence for sentence in words.details(answer) if "switches columns off" in sentence]
    assert "in every network 4 (" in said
    assert said.endswith("of 4.")
