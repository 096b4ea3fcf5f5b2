"""Evidence with losses of one's choice, without a training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from lstmreg.config import Config, DataConfig, SearchConfig
from lstmreg.search.card import DataCard
from lstmreg.search.evidence import Evidence
from lstmreg.search.records import STAGE_OF, Record, Replicate, Result, Role
from lstmreg.search.space import Setting

KNOB = "model.kernel_l2"
RATE = 0.01


def made_up(
    confirm_splits: int = 6, confirm_seeds: int = 5, floors: list[float] | None = None, **search: Any
) -> Evidence:
    """Return evidence of one knob with one value, and no trial; persistence's losses are ``floors``."""
    config = Config(
        DataConfig(str(Path("made-up.csv")), "y"),
        search=SearchConfig(
            trials=1,
            splits=2,
            seeds=1,
            confirm_splits=confirm_splits,
            confirm_seeds=confirm_seeds,
            test_seeds=2,
            learning_rates=[RATE],
            space={KNOB: [0.01]},
            **search,
        ),
    )
    card = DataCard(
        path="made-up.csv",
        sha256="",
        size=1000,
        features=["y"],
        target="y",
        notes=[],
        choose=[["a", "b"]] * 2,
        confirm=[["a", "b"]] * confirm_splits,
        test=["a", "b"],
        choose_keys=[[0, 1], [1, 2]],
        confirm_keys=[[k, k + 1] for k in range(2, 2 + confirm_splits)],
        final_key=[confirm_splits + 1, confirm_splits + 2],
        most_splits=8,
        floors={"mean": [9.0] * confirm_splits, "persistence": floors or [5.0] * confirm_splits},
        test_floors={"mean": 2.0, "persistence": 1.0},
        test_labels=[str(k) for k in range(20)],
        test_truth=[[0.0]] * 20,
        scales={"target": 1.0},
    )
    return Evidence(config, card, config.search.dimensions, looks=1)


def ran(
    evidence: Evidence, role: Role, setting: Setting, split: int, seed: int, loss: float | None, **more: Any
) -> None:
    """Put a trial in; without a loss it failed."""
    records = evidence.records[STAGE_OF[role]]
    records.append(
        Record(
            number=len(records),
            role=role,
            setting=setting,
            replicate=Replicate(split, seed),
            failure="diverged" if loss is None else None,
            result=None if loss is None else gave(loss, **more),
        )
    )


def gave(loss: float, **more: Any) -> Result:
    """Return what a training gave that reached a loss in its second epoch."""
    curve = [2.0, loss]
    usual = {"train_loss": 0.5, "best_epoch": 1, "stopped": "patience", "train": curve, "val": curve, "seconds": 0.0}
    return Result(val_loss=loss, **usual | more)


def whole(confirmed: np.ndarray, plain: np.ndarray, alone: float = 0.5, **options: Any) -> Evidence:
    """Return evidence in which one knob is the candidate; its losses and the baseline's are ``(splits, seeds)``.

    NaN stands for a training that failed.
    """
    evidence = made_up(*confirmed.shape, **options)
    for split in range(2):
        ran(evidence, "baseline", {"training.learning_rate": RATE}, split, 0, 1.0)
        ran(evidence, "alone", {KNOB: 0.01}, split, 0, alone)
    for setting, losses in (({}, plain), ({KNOB: 0.01}, confirmed)):
        for (split, seed), loss in np.ndenumerate(losses):
            ran(evidence, "confirm", setting, split, seed, None if np.isnan(loss) else float(loss))
        for seed in range(2):
            predictions = [[1.0 + 0.1 * seed]] * 20
            ran(evidence, "test", setting, 0, seed, 1.0, test_error=1.0, predictions=predictions)
    ran(evidence, "sampled", {KNOB: 0.01}, 0, 0, alone)
    evidence.records["together"][0] = dataclasses.replace(evidence.records["together"][0], position=0)
    return evidence
