"""What a trial trained as parameters of Optuna, for whoever watches a study; no answer is read from them."""

from __future__ import annotations

from collections.abc import Mapping

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from lstmreg.config import Config, Range, Scalar
from lstmreg.search import arms
from lstmreg.search.arms import LEARNING_RATE
from lstmreg.search.method.candidates import Arm
from lstmreg.search.space import Setting, dimensions

#: Where the largest value is so many times the least, the axis is a logarithmic one.
_WIDE = 10


def distributions(config: Config) -> dict[str, BaseDistribution]:
    """Return the distribution of each setting that may be tried, on which all trials of a run agree.

    Numbers lie between the least and the greatest that may be tried, also where a list has grown; all else is one of
    several.

    Args:
        config: The run, with all that was planned.
    """
    rates = config.search.learning_rates
    # The baseline's, and a step to either side, at which the best of the others is tried too.
    values: dict[str, list[Scalar]] = {LEARNING_RATE: [*rates, *_grown(Arm(LEARNING_RATE, tuple(rates)), 1)]}
    for path, dimension in dimensions(config).items():
        listed = [dimension.low, dimension.high] if isinstance(dimension, Range) else dimension
        values.setdefault(path, []).extend(listed)
    grow = arms.plan(config, rates[0]).grow
    for arm in arms.arms(config):
        values.setdefault(arm.path, []).extend([*arm.ladder, *_grown(arm, grow)])
        for needed, value in arm.beside:
            values.setdefault(needed, []).append(value)
    return {path: _distribution(of) for path, of in values.items()}


def parameters(setting: Setting, known: Mapping[str, BaseDistribution]) -> dict[str, Scalar]:
    """Return those values of a setting that their distributions know."""
    return {path: value for path, value in setting.items() if path in known and _knows(known[path], value)}


def _grown(arm: Arm, steps: int) -> list[float]:
    """Return how far a ladder may grow at both ends."""
    if not arm.grows:
        return []
    high, low = max(map(float, arm.ladder)), min(map(float, arm.ladder))
    for _ in range(steps):
        high, lower = arm.higher(high), arm.lower(low)
        low = low if lower is None else lower
    return [low, high]


def _distribution(values: list[Scalar]) -> BaseDistribution:
    if any(isinstance(value, (bool, str)) for value in values):
        return CategoricalDistribution(list(dict.fromkeys(values)))
    numbers = [float(value) for value in values]
    low, high = min(numbers), max(numbers)
    return FloatDistribution(low, high, log=low > 0 and high >= _WIDE * low)


def _knows(distribution: BaseDistribution, value: Scalar) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, FloatDistribution)
    return not isinstance(value, (bool, str)) and distribution.low <= value <= distribution.high
