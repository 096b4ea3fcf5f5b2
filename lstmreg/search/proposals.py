"""What Optuna's samplers propose to try next, from what is known of other settings."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence

import optuna

from lstmreg.config import Condition, Config, Dimension

from . import arms
from .method import Candidate, Proposer
from .space import Setting, as_parameters, conditions, dimensions, distributions, key, suggest

#: So often a sampler is asked for something that has not been tried; a small space may have nothing more.
_ASKED = 30


def proposer(config: Config, base: Config) -> Proposer:
    """Return what has a sampler propose candidates; what must stand beside a setting is not its affair.

    Args:
        config: The run.
        base: It at its baseline.
    """
    searched, under = dimensions(config), conditions(config)
    beside = {path: arms.always_beside(config, path) for path in searched}
    added = {path for settings in beside.values() for path in settings}

    def plain(candidate: Candidate) -> Setting:
        return {path: value for path, value in candidate.values if path not in added}

    def whole(setting: Setting) -> Candidate:
        needed = {path: value for turned in setting for path, value in beside.get(turned, {}).items()}
        return Candidate.of(setting | needed)

    def proposed(known: Sequence[tuple[Candidate, float]], first: int, count: int) -> list[Candidate]:
        points = [({}, 0.0), *((plain(candidate), effect) for candidate, effect in known)]
        found = propose(base, searched, under, points, first, count)
        return [whole(setting) for setting in found if setting]

    return proposed


def propose(
    config: Config,
    dimensions: dict[str, Dimension],
    conditions: Mapping[str, Condition],
    known: Sequence[tuple[Setting, float]],
    first: int,
    count: int,
) -> list[Setting]:
    """Propose ``count`` settings that are not known yet, as far as there are such.

    The sampler's study lives in memory and is made anew each time, so that the proposals follow from the arguments
    alone, whatever happened in between.

    Args:
        config: The run, at its baseline.
        dimensions: What is searched.
        conditions: Under which conditions some of it is.
        known: Settings with their values, less being better.
        first: Position of the first proposal among all.
        count: How many.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=_sampler(config, first))
    drawn_from = distributions(dimensions)
    for setting, value in known:
        parameters = as_parameters(setting, dimensions, config, conditions)
        fixed = optuna.trial.FixedTrial(parameters)
        if suggest(fixed, dimensions, config, conditions) == setting:  # the space can say it
            of_trial = {path: drawn_from[path] for path in parameters}
            study.add_trial(optuna.trial.create_trial(params=parameters, distributions=of_trial, value=value))
    seen = {key(setting) for setting, _ in known}
    proposals = []
    for _ in range(count):
        for _ in range(_ASKED):
            setting = suggest(study.ask(), dimensions, config, conditions)
            if key(setting) not in seen:
                break
        seen.add(key(setting))
        proposals.append(setting)
    return proposals


def _sampler(config: Config, first: int) -> optuna.samplers.BaseSampler:
    """Make a sampler whose seed follows from the position: they forget themselves between sittings."""
    digest = hashlib.blake2b(f"{config.search.seed}/{first}".encode(), digest_size=4).digest()
    seed = int.from_bytes(digest, "little")
    if config.search.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if config.search.sampler == "grid":
        # Unlike GridSampler it knows grids that lack some points, where a condition does not hold.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.BruteForceSampler(seed=seed)
    if config.search.sampler == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed)
