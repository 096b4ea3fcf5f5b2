"""Evidence with losses of one's choice, without a training."""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmreg.config import Config, DataConfig, SearchConfig
from lstmreg.search.arms import BASELINE_SEEDS, LEARNING_RATE
from lstmreg.search.card import DataCard
from lstmreg.search.evidence import Evidence
from lstmreg.search.method import Plan
from lstmreg.search.records import STAGE_OF, Record, Replicate, Result, Role
from lstmreg.search.space import Setting

KNOB = "model.kernel_l2"
RATE = 0.01

#: The seeds that judge begin here.
FRESH = Plan.most_seeds


def made_up(blocks: int = 6, floors: list[float] | None = None, **search: Any) -> Evidence:
    """Return evidence of one knob with one value, and no trial; persistence's losses are ``floors``."""
    config = Config(
        DataConfig("made-up.csv", "y"),
        search=SearchConfig(
            **{
                "learning_rates": [RATE],
                "weight_decay": [],
                "blocks": blocks,
                "race": 2,
                "judge_seeds": 4,
                "test_seeds": 2,
                "space": {KNOB: [0.01]},
            }
            | search
        ),
    )
    card = DataCard(
        path="made-up.csv",
        sha256="",
        size=1000,
        features=["y"],
        target="y",
        notes=[],
        blocks=[["a", "b"]] * blocks,
        test=["a", "b"],
        block_keys=[[k, k + 1] for k in range(blocks)],
        final_key=[blocks, blocks + 1],
        most_blocks=8,
        judged_cases=[20] * blocks,
        floors={"mean": [9.0] * blocks, "persistence": floors or [5.0] * blocks},
        test_floors={"mean": 2.0, "persistence": 1.0},
        test_labels=[str(k) for k in range(20)],
        test_truth=[[0.0]] * 20,
        scales={"target": 1.0},
    )
    return Evidence(config, card)


def ran(
    evidence: Evidence, role: Role, setting: Setting, block: int, seed: int, loss: float | None, **more: Any
) -> None:
    """Put a trial in; without a loss it failed."""
    records = evidence.records[STAGE_OF[role]]
    records.append(
        Record(
            number=len(records),
            role=role,
            setting=setting,
            replicate=Replicate(block, seed),
            failure="diverged" if loss is None else None,
            result=None if loss is None else gave(loss, **more),
        )
    )


def gave(reached: float, **more: Any) -> Result:
    """Return what a training gave that reached a loss in its second epoch, the judged one too."""
    curve = [2.0, reached]
    usual = {"train_loss": 0.5, "best_epoch": 1, "stopped": "patience", "train": curve, "val": curve, "seconds": 0.0}
    return Result(**{"val_loss": reached, "loss": reached} | usual | more)


def whole(judged: np.ndarray, plain: np.ndarray, chosen: float = 0.5, **options: Any) -> Evidence:
    """Return evidence of a whole experiment in which one knob is the candidate.

    Args:
        judged: Its losses with the seeds that judge ``(blocks, seeds)``; NaN stands for a training that failed.
        plain: The baseline's.
        chosen: Its loss with the seeds that choose, where the baseline's is 1.
        **options: Of :func:`made_up`.
    """
    evidence = made_up(len(judged), **options)
    luck = np.random.default_rng(3)
    for block in range(len(judged)):
        for seed in range(BASELINE_SEEDS):
            scatter = float(np.exp(0.01 * luck.normal()))
            ran(evidence, "learning rate", {LEARNING_RATE: RATE}, block, seed, scatter)
        ran(evidence, "screen", {KNOB: 0.01}, block, 0, chosen * float(np.exp(0.01 * luck.normal())))
    for setting, losses in (({}, plain), ({KNOB: 0.01}, judged)):
        for (block, seed), loss in np.ndenumerate(losses):
            ran(evidence, "judge", setting, block, FRESH + seed, None if np.isnan(loss) else float(loss))
        for seed in range(2):
            predictions = [[1.0 + 0.1 * seed]] * 20
            ran(evidence, "test", setting, 0, seed, 1.0, test_error=1.0, predictions=predictions)
    return evidence
