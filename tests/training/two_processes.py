"""A fit in two processes on the CPU, each with half of the data; run as a script by ``test_distributed.py``."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lstmreg import L2, LSTM, BestWeights, DivergedError, TrainingModule


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = LSTM(2, 4, batch_first=True, kernel_regularizer=L2(1e-3), activity_regularizer=L2(1e-3))
        self.head = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Unsynchronised(TrainingModule):
    """As somebody's own module that logs what its process saw alone."""

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        self.log("val_loss", self.criterion(self(x), y))


def data(spoilt: bool) -> tuple[DataLoader, DataLoader]:
    """Training pulls the prediction up to 2, past what validation wants: much in one half, and little in the other."""
    generator = torch.Generator().manual_seed(1)
    x, x_val = (torch.randn(n, 5, 2, generator=generator) for n in (32, 14))
    level = torch.where(torch.arange(14) % 2 == 0, 0.3, 1.2).unsqueeze(1)  # processes take turns at the rows
    y, y_val = 2 + 0.1 * x[:, 0, :1], level + 0.1 * x_val[:, 0, :1]
    if spoilt:
        y[1] = torch.nan  # for the second process alone
    return DataLoader(TensorDataset(x, y), batch_size=8), DataLoader(TensorDataset(x_val, y_val), batch_size=5)


def main(directory: Path, kind: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    made = Unsynchronised if kind == "unsynchronised" else TrainingModule
    module, best = made(Own(), learning_rate=0.03), BestWeights()
    trainer = pl.Trainer(
        max_epochs=40,
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        callbacks=[EarlyStopping("val_loss", patience=4, check_finite=False), best],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    told: dict[str, object] = {"failure": None}
    try:
        trainer.fit(module, *data(kind == "spoilt"))
    except DivergedError as error:
        told["failure"] = str(error)
    told |= {
        "epochs": trainer.current_epoch,
        "best_epoch": best.best_epoch,
        "best_value": best.best_value,
        "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
        "weights": {name: w.flatten().tolist() for name, w in module.network.state_dict().items()},
    }
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    leave(directory, rank, json.dumps(told))


def leave(directory: Path, rank: int, told: str) -> None:
    """Tell, and end at once: threads of gloo that still run at the usual end abort the process now and then."""
    (directory / f"{rank}.part").write_text(told)
    (directory / f"{rank}.part").replace(directory / f"{rank}.json")
    last = time.monotonic() + 60
    while rank == 0 and not (directory / "1.json").exists() and time.monotonic() < last:  # who ends first ends both
        time.sleep(0.01)
    os._exit(0)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]), sys.argv[2])
