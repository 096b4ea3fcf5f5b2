"""A search small enough for a test: real trainings on a short made-up series, a few seconds in all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lstmreg.config import Config, DataConfig, ModelConfig, SearchConfig, TrainingConfig


def write_series(path: Path, rows: int = 120, seed: int = 0) -> None:
    """Two columns: a noisy wave to forecast, and noise."""
    generator = np.random.default_rng(seed)
    wave = np.sin(np.arange(rows) * 0.6) + 0.3 * generator.normal(size=rows)
    lines = [f"{k},{w:.6f},{n:.6f}" for k, (w, n) in enumerate(zip(wave, generator.normal(size=rows), strict=True))]
    path.write_text("day,wave,noise\n" + "\n".join(lines) + "\n")


def tiny_config(folder: Path, **search: Any) -> Config:
    """Return a configuration whose search takes a few seconds; its data lie in ``folder``."""
    path = folder / "waves.csv"
    if not path.exists():
        write_series(path)
    return Config(
        data=DataConfig(path=str(path), target="wave", time="day", window=6, season=10),
        model=ModelConfig(hidden_size=4),
        training=TrainingConfig(max_epochs=4, patience=3),
        search=SearchConfig(
            **{
                "learning_rates": [0.01, 0.03],
                "weight_decay": [0.1],
                "blocks": 3,
                "race": 2,
                "judge_seeds": 2,
                "test_seeds": 2,
                "space": {
                    "model.kernel_l2": [1e-4, 1e-2],
                    "model.dropout": [0.2],
                    "model.recurrent_dropout": [0.1, 0.3],
                },
            }
            | search
        ),
        runs=str(folder / "runs"),
    )


def smallest_config(folder: Path, **search: Any) -> Config:
    """Return the smallest configuration that gives an answer."""
    least = {"learning_rates": [0.03], "weight_decay": [], "race": 0, "space": {"model.kernel_l2": [0.01]}}
    return tiny_config(folder, **least | search)
