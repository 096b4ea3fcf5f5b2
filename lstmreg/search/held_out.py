"""What the test rows say: losses averaged over seeds, with an interval, and what averaging predictions is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from lstmreg.tasks import task_named

from .card import log_loss, restored
from .evidence import Effect, Evidence, relative
from .space import Setting


@dataclass(frozen=True)
class Averaging:
    """What the average of several networks' predictions is worth on the test rows.

    Attributes:
        members: How many networks, one for each test seed.
        single: Error of one of them, on average.
        averaged: Error of the average of their predictions.
        change: Of the loss, from the one to the other.
    """

    members: int
    single: float
    averaged: float
    change: float


def truth(evidence: Evidence) -> NDArray[np.float64]:
    """Return the truth ``(M, ...)`` of the test's cases."""
    return restored(evidence.card.test_truth)


def predictions(evidence: Evidence, setting: Setting) -> dict[int, NDArray[np.float64]]:
    """Return what a setting's networks predicted ``(M, ...)``, by seed."""
    tested = sorted(evidence.results(setting, "test").items())
    return {replicate.seed: restored(result.predictions or []) for replicate, result in tested}


def case_losses(evidence: Evidence, predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the loss of each test case ``(M)``, scaled as the validation loss is."""
    task = task_named(evidence.config.task)
    return task.weighted_losses(evidence.config.training, predicted, truth(evidence), evidence.card.scales)


def errors(evidence: Evidence, predicted: NDArray[np.float64]) -> dict[str, float]:
    """Return the errors of predictions of the test's cases, in the user's units, the most important first."""
    task = task_named(evidence.config.task)
    return task.errors(evidence.config.training, predicted, truth(evidence), evidence.card.scales)


def error(evidence: Evidence, predicted: NDArray[np.float64]) -> float:
    """Return the most important of them."""
    return next(iter(errors(evidence, predicted).values()))


def metric(evidence: Evidence) -> str:
    """Return its name."""
    return next(iter(errors(evidence, next(iter(predictions(evidence, {}).values())))))


def errors_by_step(evidence: Evidence, predicted: NDArray[np.float64]) -> list[float]:
    """Return the most important error of parts of the predictions: of each step ahead with all its targets."""
    task, true = task_named(evidence.config.task), truth(evidence)
    if not task.columns_are:
        return []
    width = len(evidence.card.scales.get("names", [""]))
    columns = [(predicted[:, k : k + width], true[:, k : k + width]) for k in range(0, true.shape[1], width)]
    found = [task.errors(evidence.config.training, p, t, evidence.card.scales) for p, t in columns]
    return [next(iter(errors.values())) for errors in found]


def effect(evidence: Evidence, setting: Setting, against: Setting) -> Effect | None:
    r"""Return what a setting does on the test rows relative to another; ``None`` if one never finished.

    The logarithm of the ratio of the two mean losses, each averaged over its seeds. By the delta method its variance
    is that of the paired difference :math:`d_n = \ell_n / \bar\ell - \ell'_n / \bar\ell'` over the M cases, which
    may depend on each other in time (Newey and West), plus that of the R seeds.
    """
    ours, theirs = (
        {seed: case_losses(evidence, p) for seed, p in predictions(evidence, s).items()} for s in (setting, against)
    )
    return compared(evidence, ours, theirs, evidence.failures(setting, "test"))


def compared(
    evidence: Evidence, ours: Mapping[int, NDArray[np.float64]], theirs: Mapping[int, NDArray[np.float64]], failed: int
) -> Effect | None:
    """Return the effect that :func:`effect` says, of losses of the same cases in their order ``(M,)``, by seed."""
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        return None
    mean_ours, mean_theirs = (np.mean([side[seed] for seed in seeds], axis=0) for side in (ours, theirs))
    center = log_loss(float(mean_ours.mean())) - log_loss(float(mean_theirs.mean()))
    tiny = np.finfo(np.float64).tiny
    d = mean_ours / max(float(mean_ours.mean()), tiny) - mean_theirs / max(float(mean_theirs.mean()), tiny)
    by_seed = [log_loss(float(ours[s].mean())) - log_loss(float(theirs[s].mean())) for s in seeds]
    of_cases = float(np.var(d))
    if task_named(evidence.config.task).do_neighbours_depend:
        of_cases = long_run_variance(d, evidence.config.data.horizon)
    variances = np.array([of_cases / len(d), np.inf])
    freedom = np.array([max(len(d) - 1, 1), max(len(seeds) - 1, 1)])
    if len(seeds) > 1:
        variances[1] = np.var(by_seed, ddof=1) / len(seeds)
    half = _quantile(variances, freedom, evidence.config.search.confidence) * math.sqrt(variances.sum())
    return Effect(relative(center), relative(center - half), relative(center + half), len(d), failed)


def _quantile(variances: NDArray[np.float64], freedom: NDArray[np.int64], confidence: float) -> float:
    """Return Student's quantile, whose degrees of freedom are Welch and Satterthwaite's for a sum of two variances."""
    if not 0 < variances.sum() < np.inf:
        return 1.0
    degrees = variances.sum() ** 2 / (variances**2 / freedom).sum()
    return float(stdtrit(degrees, 0.5 + confidence / 2))


def long_run_variance(values: NDArray[np.float64], horizon: int) -> float:
    """Return the variance of a mean, times the count, of values in order of time that depend on their neighbours.

    Newey and West's estimate, whose weights fall linearly; windows that overlap in ``horizon`` steps depend on each
    other at least so far.
    """
    count, centered = len(values), values - values.mean()
    lags = min(count - 1, max(horizon - 1, int(4 * (count / 100) ** (2 / 9))))
    covariances = [float(centered[lag:] @ centered[: count - lag]) / count for lag in range(lags + 1)]
    return max(0.0, covariances[0] + 2 * sum((1 - k / (lags + 1)) * covariances[k] for k in range(1, lags + 1)))


def averaging(evidence: Evidence, setting: Setting) -> Averaging | None:
    """Compare the average of a setting's predictions over its test seeds with the single networks'."""
    found = list(predictions(evidence, setting).values())
    if len(found) < 2 or task_named(evidence.config.task).has_own_networks:
        return None
    average = np.mean(found, axis=0)
    single = float(np.mean([case_losses(evidence, p).mean() for p in found]))
    averaged = float(case_losses(evidence, average).mean())
    return Averaging(
        members=len(found),
        single=float(np.mean([error(evidence, p) for p in found])),
        averaged=error(evidence, average),
        change=relative(log_loss(averaged) - log_loss(single)),
    )
