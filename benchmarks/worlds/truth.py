"""What a setting really does in a world: trained and judged on data that no search has seen, many times over."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from generators import World

from lstmreg.config import Config, Scalar, with_settings
from lstmreg.tasks import Task, read_task
from lstmreg.training.population.together import Assignment, train_together
from lstmreg.training.single import Trained

#: Numbers of data sets for the truth begin here; searches have the ones before.
_FRESH = 10_000

Setting = dict[str, Scalar]


class Truth:
    """Effects of settings as mean differences of log losses from a baseline, over fresh data sets and all their blocks.

    Args:
        world: Where.
        data_sets: How many are drawn.
    """

    def __init__(self, world: World, data_sets: int) -> None:
        self.world, self.data_sets = world, data_sets
        self._tasks: dict[int, Task] = {}
        self._known: dict[tuple[float, str], np.ndarray] = {}

    def effect(self, base: Config, setting: Setting) -> tuple[float, float]:
        """Return the effect of a setting, and the standard error of that.

        Args:
            base: The run at its baseline, learning rate included.
            setting: What differs.
        """
        if not setting:
            return 0.0, 0.0
        baseline, ours = self._losses(base, {}), self._losses(base, setting)
        differences = ours - baseline  # (data_sets, blocks); blocks of one data set share rows
        of_sets = differences.mean(1)
        return float(of_sets.mean()), float(of_sets.std(ddof=1) / math.sqrt(len(of_sets)))

    def _losses(self, base: Config, setting: Setting) -> np.ndarray:
        known = base.training.learning_rate, str(sorted(setting.items()))
        if known not in self._known:
            self._known[known] = np.stack([self._on(number, base, setting) for number in range(self.data_sets)])
        return self._known[known]

    def _on(self, number: int, base: Config, setting: Setting) -> np.ndarray:
        """Return log losses on all blocks of one data set, each with a seed that is the same for all settings."""
        task = self._task(number, base)
        blocks = task.splits(base.search).blocks
        config = with_settings(base, setting)
        assignments = [
            Assignment(
                dataclasses.replace(config, training=dataclasses.replace(config.training, seed=1000 * number + block)),
                split,
            )
            for block, split in enumerate(blocks)
        ]
        losses = np.full(len(blocks), math.nan)

        def ended(block: int, outcome: Trained | Exception) -> None:
            if isinstance(outcome, Exception):
                raise outcome
            losses[block] = math.log(outcome.judged_losses().mean())

        train_together(assignments, task, ended)
        return losses

    def _task(self, number: int, base: Config) -> Task:
        if number not in self._tasks:
            self._tasks[number] = read_task(base, self.world.draw(_FRESH + number))
        return self._tasks[number]


def mean_effect(truth: Truth, base: Config, picks: Sequence[Setting]) -> tuple[float, float]:
    """Return the mean effect of what the blocks picked, and a standard error that takes picks to hang together."""
    effects = [truth.effect(base, pick) for pick in picks]
    return float(np.mean([e for e, _ in effects])), float(np.mean([s for _, s in effects]))
