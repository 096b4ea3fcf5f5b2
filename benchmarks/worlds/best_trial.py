"""The rival: the best trial of an Optuna study, as tutorials show it.

Each trial is one network with the one seed, trained and valued on the one validation set, by its lowest loss there.
"""

from __future__ import annotations

import dataclasses
import math

import optuna

from lstmreg.config import Config, with_settings
from lstmreg.search.space import Setting, dimensions, suggest
from lstmreg.tasks import Task
from lstmreg.training.population.together import Assignment, train_together
from lstmreg.training.single import Trained

#: So many trials are asked for and trained at once.
_BATCH = 20


def best_trial(base: Config, task: Task, trials: int) -> tuple[Setting, float]:
    """Return what the best of so many trials had set, and its validation loss relative to no knob's, as a log ratio."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=base.search.seed))
    split = task.splits(base.search).final
    space = dimensions(base)
    config = dataclasses.replace(base, training=dataclasses.replace(base.training, seed=0))

    def values(settings: list[Setting]) -> list[float]:
        found = [math.inf] * len(settings)

        def ended(number: int, outcome: Trained | Exception) -> None:
            if isinstance(outcome, Trained):
                found[number] = outcome.result.val_loss

        train_together([Assignment(with_settings(config, each), split) for each in settings], task, ended)
        return found

    tried: list[tuple[float, int, Setting]] = []
    for _ in range(0, trials, _BATCH):
        asked = [study.ask() for _ in range(_BATCH)]
        settings = [suggest(trial, space, config, {}) for trial in asked]
        for trial, setting, value in zip(asked, settings, values(settings), strict=True):
            study.tell(trial, value)
            tried.append((value, trial.number, setting))
    [baseline] = values([{}])
    value, _, best = min(tried)
    return best, math.log(value / baseline)
