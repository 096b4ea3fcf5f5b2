"""Train a network of your own with Keras' six knobs, under a Lightning Trainer. Copy it and change it.

The two lines that matter: ``LSTM`` in place of ``torch.nn.LSTM``, and ``TrainingModule``, which adds the
penalties to the loss and keeps them out of ``val_loss``.
"""

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lstmreg import L1L2, L2, LSTM, BestWeights, TrainingModule


class Forecaster(nn.Module):
    """Any network will do, with the layer anywhere inside it."""

    def __init__(self, features: int, hidden_size: int) -> None:
        super().__init__()
        self.lstm = LSTM(
            features,
            hidden_size,
            batch_first=True,
            kernel_regularizer=L2(1e-4),
            recurrent_regularizer=L2(1e-4),
            bias_regularizer=L1L2(l1=1e-6, l2=1e-5),
            activity_regularizer=L2(1e-4),
            activity_steps="last",  # because only the last step is used below
            dropout=0.1,
            recurrent_dropout=0.2,
        )
        self.head = nn.Linear(hidden_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        output, _ = self.lstm(x)
        return self.head(output[:, -1])


def noisy_waves(count: int, steps: int = 24) -> TensorDataset:
    """Two noisy waves as input; the next value of the first one is to be forecast."""
    phase = torch.rand(count, 1) * 6.28
    time = torch.arange(steps + 1) * 0.4 + phase
    waves = torch.stack([time.sin(), (0.5 * time).cos()], dim=-1) + 0.3 * torch.randn(count, steps + 1, 2)
    return TensorDataset(waves[:, :-1], waves[:, -1, :1])


def main() -> None:
    pl.seed_everything(0)
    torch.set_num_threads(1)  # the fastest for so small a network
    train = DataLoader(noisy_waves(200), batch_size=32, shuffle=True)
    validation = DataLoader(noisy_waves(200), batch_size=200)

    best = BestWeights()
    module = TrainingModule(Forecaster(features=2, hidden_size=16), learning_rate=0.01)
    trainer = pl.Trainer(
        max_epochs=40,
        callbacks=[EarlyStopping("val_loss", patience=8), best],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        log_every_n_steps=1,
    )
    trainer.fit(module, train, validation)
    penalties = {name: round(float(value), 6) for name, value in trainer.callback_metrics.items() if "penalty" in name}
    print(f"penalties in the last epoch: {penalties}")
    # However the fit ended, the module now has the weights of its best epoch.
    again = trainer.validate(module, validation, verbose=False)[0]["val_loss"]
    print(f"best epoch {best.best_epoch}, counted from 0: val_loss {best.best_value:.4f}; evaluated again {again:.4f}")


if __name__ == "__main__":
    main()
