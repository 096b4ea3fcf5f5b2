"""Means over an epoch: of all its cases, and of nothing that was before."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lstmreg import TrainingModule
from lstmreg.training.means import EpochMean

pytestmark = [
    pytest.mark.filterwarnings("ignore:::lightning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),  # Lightning's own affair
]


def test_it_is_the_mean_over_cases_and_begins_anew() -> None:
    mean = EpochMean()
    for _ in range(2):
        mean.reset()
        assert not mean.update_called
        mean.update(torch.tensor(1.0), 3)
        mean.add(torch.tensor(5.0), 1)
        assert mean.compute() == pytest.approx((3 * 1 + 5) / 4)
        mean.add(torch.tensor(2.0), 4)
        assert mean.compute() == pytest.approx((3 * 1 + 5 + 4 * 2) / 8)
    assert mean.state_dict() == {}


class Stopping(pl.Callback):
    def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any) -> None:
        raise ArithmeticError


def test_an_epoch_that_was_interrupted_leaves_nothing_in_the_next() -> None:
    x, y = torch.randn(10, 4, 2), torch.randn(10, 1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(8, 1))
    module = TrainingModule(network, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0))
    quiet = {"max_epochs": 1, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}

    def trainer(*callbacks: pl.Callback) -> pl.Trainer:
        return pl.Trainer(**quiet, callbacks=list(callbacks), accelerator="cpu", enable_model_summary=False)

    def batches(targets: torch.Tensor) -> DataLoader[Any]:
        return DataLoader(TensorDataset(x, targets), batch_size=4)

    with pytest.raises(ArithmeticError):
        trainer(Stopping()).fit(module, batches(y + 100), batches(y))
    after = trainer()
    after.fit(module, batches(y), batches(y))
    expected = float(nn.functional.mse_loss(network(x).detach(), y))
    assert float(after.callback_metrics["train_loss"]) == pytest.approx(expected, rel=1e-5)
    assert float(after.callback_metrics["val_loss"]) == pytest.approx(expected, rel=1e-5)
