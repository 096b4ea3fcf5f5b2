"""Tune the knobs of a network of your own with Optuna. Copy it and change it.

A trial's value is its best validation epoch, which ``lstmreg.fit`` returns and whose weights it restores.
For the whole experiment (each knob alone, intervals, a report) use ``lstmreg search`` instead.
"""

import optuna
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lstmreg import L2, LSTM, DivergedError, TrainingConfig, fit


class Forecaster(nn.Module):
    def __init__(self, dropout: float, recurrent_dropout: float, kernel_l2: float) -> None:
        super().__init__()
        self.lstm = LSTM(
            2,
            16,
            batch_first=True,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            kernel_regularizer=L2(kernel_l2),
        )
        self.head = nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


def noisy_waves(count: int, steps: int = 24) -> TensorDataset:
    """Two noisy waves as input; the next value of the first one is to be forecast."""
    phase = torch.rand(count, 1) * 6.28
    time = torch.arange(steps + 1) * 0.4 + phase
    waves = torch.stack([time.sin(), (0.5 * time).cos()], dim=-1) + 0.3 * torch.randn(count, steps + 1, 2)
    return TensorDataset(waves[:, :-1], waves[:, -1, :1])


def main(trials: int = 8) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the fastest for so small a network
    train, validation = noisy_waves(200), noisy_waves(200)
    validation_batches = DataLoader(validation, batch_size=200)

    def objective(trial: optuna.Trial) -> float:
        torch.manual_seed(0)  # the same initial weights in every trial, so that only the knobs differ
        network = Forecaster(
            dropout=trial.suggest_float("dropout", 0.0, 0.5),
            recurrent_dropout=trial.suggest_float("recurrent_dropout", 0.0, 0.5),
            kernel_l2=trial.suggest_float("kernel_l2", 1e-6, 1e-2, log=True),
        )
        # A generator of its own for the order of the batches: turning a knob does not move it.
        batches = DataLoader(train, batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(0))
        result = fit(
            network, (batches, validation_batches), TrainingConfig(learning_rate=0.01, max_epochs=30, patience=6)
        )
        return result.val_loss

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.enqueue_trial({"dropout": 0.0, "recurrent_dropout": 0.0, "kernel_l2": 1e-6})  # the baseline
    study.optimize(objective, n_trials=trials, catch=(DivergedError,))
    print(f"baseline {study.trials[0].value:.4f}, best of {trials} {study.best_value:.4f} with {study.best_params}")


if __name__ == "__main__":
    main()
