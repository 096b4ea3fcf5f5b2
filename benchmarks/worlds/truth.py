"""What a setting really does with some data: trained on them again and again, judged on data that nobody has seen."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from generators import World

from lstmreg.config import Config, Scalar, with_settings
from lstmreg.tasks import Task, read_task
from lstmreg.training.population.together import Assignment, train_together
from lstmreg.training.single import Trained

#: Numbers of data sets for the truth begin here; searches have the ones before.
_FRESH = 10_000

#: Seeds that no search uses.
_SEEDS = 500_000

Setting = dict[str, Scalar]


class Truth:
    """Effects of settings on one set of data: mean differences of log losses from the baseline's.

    Each block trains as in the search, with seeds of its own. What is judged are many cases drawn anew in the world.

    Args:
        world: Where.
        task: The data of the search.
        base: The run at its baseline, learning rate included.
        draws: How many data sets are drawn to judge on.
        seeds: How many networks train on each block.
    """

    def __init__(self, world: World, task: Task, base: Config, draws: int, seeds: int) -> None:
        self.task, self.base, self.seeds = task, base, seeds
        self._fresh = [read_task(base, world.draw(_FRESH + number)) for number in range(draws)]
        self._known: dict[str, np.ndarray] = {}

    def effect(self, setting: Setting) -> float:
        """Return the effect of a setting, a log ratio."""
        return float((self._losses(setting) - self._losses({})).mean())

    def _losses(self, setting: Setting) -> np.ndarray:
        """Return log losses ``(blocks, seeds)``."""
        known = str(sorted(setting.items()))
        if known not in self._known:
            self._known[known] = self._trained(with_settings(self.base, setting))
        return self._known[known]

    def _trained(self, config: Config) -> np.ndarray:
        blocks = self.task.splits(self.base.search).blocks
        losses = np.full((len(blocks), self.seeds), math.nan)
        places = list(np.ndindex(losses.shape))

        def assignment(block: int, seed: int) -> Assignment:
            training = dataclasses.replace(config.training, seed=_SEEDS + seed)
            return Assignment(dataclasses.replace(config, training=training), blocks[block])

        def ended(number: int, outcome: Trained | Exception) -> None:
            if isinstance(outcome, Exception):
                raise outcome
            losses[places[number]] = math.log(np.mean([self._loss_on(fresh, outcome) for fresh in self._fresh]))

        train_together([assignment(*place) for place in places], self.task, ended)
        return losses

    @staticmethod
    def _loss_on(fresh: Task, trained: Trained) -> float:
        """Return the mean loss on all cases of other data, as the network knows the scales."""
        lesson = trained.lesson
        encoded = fresh.encoded(lesson.encoder)
        cases = np.arange(len(encoded.targets))
        predictions = fresh.predictions(lesson.encoder, fresh.outputs(trained.network, encoded, cases), cases)
        scales = fresh.judging(lesson.encoder, lesson.split, cases)
        return float(fresh.weighted_losses(trained.training, predictions, fresh.truth(cases), scales).mean())
