"""One training as it is configured: its seed decides everything, and its numbers are in the units they should be."""

from __future__ import annotations

import copy
import tracemalloc

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor

from lstmreg import Config, DataConfig, DivergedError, ModelConfig, TrainingConfig
from lstmreg.config import KNOBS, with_settings
from lstmreg.data.splits import Split
from lstmreg.data.table import Series
from lstmreg.training.single import Trained, fit_held_out, prepare, train_single

DROPPING = {"model.dropout": 0.3, "model.recurrent_dropout": 0.3}


class Watching(pl.Callback):
    """Keeps the initial weights, the batches and the number of threads."""

    def on_train_start(self, trainer, module) -> None:
        self.weights = copy.deepcopy(module.network.state_dict())
        self.batches: list[Tensor] = []
        self.threads = torch.get_num_threads()

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        self.batches += [part.clone() for part in batch]


def train(settings: dict | None = None, *callbacks: pl.Callback) -> Trained:
    training = TrainingConfig(learning_rate=0.01, batch_size=8, max_epochs=3)
    config = Config(DataConfig("table.csv", "y", window=3, horizon=2), ModelConfig(hidden_size=4), training)
    values = np.sin(np.arange(50.0)) * 3 + 5
    series = Series("table.csv", "", ("y",), "y", values[:, None], values, tuple(map(str, range(50))), ())
    return train_single(with_settings(config, settings or {}), series, Split(35, 50), callbacks)


def assert_same(one: Trained, other: Trained, *, same: bool = True) -> None:
    assert (one.result.history == other.result.history) == same
    weights = [trained.network.state_dict() for trained in (one, other)]
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items()) == same


def test_one_seed_is_one_result_bit_for_bit_whatever_was_drawn_before():
    first = train(DROPPING)
    torch.manual_seed(123)
    assert_same(train(DROPPING), first)
    assert_same(train(DROPPING | {"training.seed": 1}), first, same=False)


def test_turning_a_knob_moves_neither_the_initial_weights_nor_the_batches():
    usual = Watching()
    train({}, usual)
    for knob in KNOBS:
        turned = Watching()
        train({knob: 0.3}, turned)
        torch.testing.assert_close(turned.weights, usual.weights, rtol=0, atol=0, msg=knob)
        torch.testing.assert_close(turned.batches, usual.batches, rtol=0, atol=0, msg=knob)
    other = Watching()
    train({"training.seed": 1}, other)
    assert not torch.equal(other.batches[0], usual.batches[0])
    assert not torch.equal(other.weights["head.weight"], usual.weights["head.weight"])


@pytest.mark.parametrize(
    ("loss", "by_hand"),
    [
        ("mse", lambda e: (e * e).mean()),
        ("mae", lambda e: e.abs().mean()),
        ("huber", lambda e: torch.where(e.abs() < 1, e * e / 2, e.abs() - 0.5).mean()),
    ],
)
def test_losses_are_those_of_the_remaining_weights_without_dropout_and_penalties(loss, by_hand):
    trained = train(DROPPING | {"training.loss": loss, "model.kernel_l2": 0.1})
    for windows, told in [
        (trained.data.train_windows, trained.result.train_loss),
        (trained.data.validation_windows, trained.result.val_loss),
    ]:
        with torch.no_grad():
            errors = trained.network(torch.from_numpy(windows.inputs)) - torch.from_numpy(windows.targets)
        assert told == pytest.approx(float(by_hand(errors)), rel=1e-6)
    assert trained.result.train_loss != trained.result.history[trained.result.best_epoch].train_loss


@pytest.mark.parametrize(("hidden_size", "within"), [(4, 1), (129, 2)])
def test_a_small_network_has_one_thread_and_everybody_their_own_again(hidden_size, within):
    torch.set_num_threads(2)
    settings = {"model.hidden_size": hidden_size, "training.max_epochs": 1}
    watching = Watching()
    train(settings, watching)
    assert watching.threads == within
    assert torch.get_num_threads() == 2
    with pytest.raises(DivergedError):
        train(settings | {"training.optimizer": "sgd", "training.learning_rate": 1e30, "training.batch_size": 1})
    assert torch.get_num_threads() == 2


def test_a_forecast_is_in_the_units_of_the_target():
    trained = train()
    prediction, truth = trained.forecast(35, 50)
    target = trained.data.series.target
    np.testing.assert_allclose(truth, [target[n : n + 2] for n in range(35, 49)], rtol=1e-6)
    mean, spread = target[:35].mean(), target[:35].std()
    assert np.square((prediction - truth) / spread).mean() == pytest.approx(trained.result.val_loss, rel=1e-5)
    assert trained.about()["outputs"] == {"mean": pytest.approx(mean), "scale": pytest.approx(spread)}


def test_what_is_held_out_is_compared_with_the_floors(tmp_path):
    path = tmp_path / "table.csv"
    y = np.round(np.sin(np.arange(60.0)) * 3 + 5, 3)
    path.write_text("y\n" + "\n".join(map(str, y)))
    data = DataConfig(str(path), "y", window=3, season=6, test_fraction=0.2)
    held = fit_held_out(Config(data, ModelConfig(4), TrainingConfig(max_epochs=2, loss="mae")))
    assert held.metric == "mean absolute error"
    prediction, truth = held.trained.forecast(48, 60)
    assert held.test_error == pytest.approx(np.abs(prediction - truth).mean(), rel=1e-6)
    floors = {"mean": y[:48].mean(), "persistence": y[47:59], "seasonal": y[42:54]}
    assert held.test_floors == pytest.approx(
        {k: np.abs(floor - y[48:]).mean() for k, floor in floors.items()}, rel=1e-5
    )
    floors = {"mean": y[:36].mean(), "persistence": y[35:47], "seasonal": y[30:42]}
    scaled = {k: np.abs(floor - y[36:48]).mean() / y[:36].std() for k, floor in floors.items()}
    assert held.val_floors == pytest.approx(scaled, rel=1e-5)


def test_all_seeds_of_a_split_read_one_scaled_series_through_their_windows():
    rows, D, window = 4000, 6, 48
    values = np.random.default_rng(0).normal(size=(rows, D))
    names, labels = tuple(f"x{k}" for k in range(D)), tuple(map(str, range(rows)))
    series = Series("table.csv", "", names, "x0", values, values[:, 0].copy(), labels, ())
    config = Config(DataConfig("table.csv", "x0", window=window), ModelConfig(hidden_size=2))
    prepare(config, series, Split(2000, 3000), {})  # what is loaded once
    tracemalloc.start()
    try:
        known = {}
        modules = [
            prepare(with_settings(config, {"training.seed": seed}), series, split, known).data
            for split in (Split(2000, 3000), Split(3000, 4000))
            for seed in range(3)
        ]
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    scaled = rows * (D + 1) * 4 + rows * 8  # float32 of each column and the target, and the windows' rows
    assert kept < 2 * scaled + 200_000  # a copy of the windows of one split alone would be 4.6 MB
    assert len({id(module) for module in modules}) == 6
    assert sum(len(module.train_windows.inputs) for module in modules) == 3 * (2000 - window + 3000 - window)
