"""What is searched: dimensions by the path of a setting, and how Optuna draws from them."""

from __future__ import annotations

import json
from typing import Any, cast

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from lstmreg.config import Config, Dimension, Range, Scalar, with_settings
from lstmreg.knobs import KNOBS

#: The searched settings that are not at their baseline, by path; empty for the baseline itself.
Setting = dict[str, Scalar]

OFF = 0.0

#: What one would do without the knobs; the optimizer's own regularization.
WEIGHT_DECAY = "training.weight_decay"


def regularizers() -> list[str]:
    """List all settings that regularize, in the table's order; each is off in the baseline if it is tried."""
    return [*KNOBS, WEIGHT_DECAY]


def key(setting: Setting) -> str:
    """Return a text that is equal for equal settings."""
    return json.dumps(setting, sort_keys=True)


def knobs_of(setting: Setting) -> list[str]:
    """List the knobs that a setting turns, weight decay among them, in the table's order."""
    return [path for path in regularizers() if path in setting]


def dimensions(config: Config) -> dict[str, Dimension]:
    """Return all that is tried, by path: the space, and weight decay beside it."""
    space = config.search.dimensions
    rival: dict[str, Dimension] = {WEIGHT_DECAY: list(config.search.weight_decay)} if config.search.weight_decay else {}
    return space if WEIGHT_DECAY in space else space | rival


def turned_off(config: Config) -> Setting:
    """Return the knobs that the configuration turns and the search tries, so that the baseline does without them."""
    tried = dimensions(config)
    return {path: configured(config, path) for path in regularizers() if path in tried and _is_turned(config, path)}


def kept_on(config: Config) -> Setting:
    """Return the knobs that the configuration turns and nobody tries: they stay on in every training."""
    tried = dimensions(config)
    return {path: configured(config, path) for path in regularizers() if path not in tried and _is_turned(config, path)}


def about_configured_knobs(config: Config) -> list[str]:
    """Say what becomes of the knobs that the configuration turns."""
    said = []
    if off := turned_off(config):
        tried = {path: value for path in off if (value := one_value(config, path)) is not None}
        others = {path: value for path, value in off.items() if path not in tried}
        said.append(
            f"The search turns off {describe(off)} of the configuration: what is searched is off in the baseline, and "
            f"every effect is measured against that."
            + (f" It tries {describe(tried)} with the others." if tried else "")
            + (f" It does not try {describe(others)} itself." if others else "")
        )
    if on := kept_on(config):
        said.append(f"{describe(on)} of the configuration stays on everywhere: every effect is one beyond it.")
    return said


def one_value(config: Config, path: str) -> Scalar | None:
    """Return the value at which the configuration turns a regularizer, if one value says it, and it is turned at all.

    Layers may differ; and Adam's weight decay is another thing than the one that is searched.
    """
    value: Any = configured(config, path)
    if isinstance(value, list):
        value = value[0] if len(set(value)) == 1 else OFF
    is_other = path == WEIGHT_DECAY and config.training.optimizer == "adam"
    return None if value == OFF or is_other else cast(Scalar, value)


def _is_turned(config: Config, path: str) -> bool:
    value: Any = configured(config, path)
    return any(value) if isinstance(value, list) else value != OFF


def ladder(dimension: Dimension) -> list[Scalar]:
    """Return the values at which a setting is tried alone: those listed, or three over an interval.

    A knob that is off is the baseline.
    """
    if not isinstance(dimension, Range):
        return [value for value in dimension if isinstance(value, (bool, str)) or value != OFF]
    if dimension.log:
        points = np.geomspace(dimension.low, dimension.high, 3)
    elif dimension.step is not None:
        steps = int((dimension.high - dimension.low) / dimension.step + 1e-9)
        points = dimension.low + dimension.step * np.unique(np.linspace(0, steps, 3).round())
    else:
        points = np.linspace(dimension.low, dimension.high, 3)
    return [_readable(p) for p in points if p != OFF]


def _readable(value: float) -> float:
    """Return a value with as many digits as anybody wants to paste."""
    return float(f"{value:.3g}")


def suggest(trial: optuna.trial.BaseTrial, dimensions: dict[str, Dimension], base: Config) -> Setting:
    """Draw a setting, without what is at its baseline; a knob with listed values may come out as off."""
    drawn: Setting = {}
    for path, dimension in dimensions.items():
        if not isinstance(dimension, Range):
            drawn[path] = cast(Scalar, trial.suggest_categorical(path, _choices(path, dimension)))
        else:
            value = trial.suggest_float(path, dimension.low, dimension.high, log=dimension.log, step=dimension.step)
            drawn[path] = value if dimension.step is not None else _readable(value)
    return {path: value for path, value in drawn.items() if value != configured(base, path)}


def as_parameters(setting: Setting, dimensions: dict[str, Dimension], base: Config) -> dict[str, Scalar]:
    """Return values for all dimensions, such that :func:`suggest` gives ``setting``, for Optuna's queue.

    Where the baseline's own value is not among what is searched, the nearest (or first) that is stands in.
    """
    parameters: dict[str, Scalar] = {}
    for path, dimension in dimensions.items():
        value = setting.get(path, configured(base, path))
        if isinstance(dimension, Range):
            value = min(max(float(value), dimension.low), dimension.high)
            if dimension.step is not None:
                value = dimension.low + dimension.step * round((value - dimension.low) / dimension.step)
        elif value not in _choices(path, dimension):
            value = _choices(path, dimension)[0]
        parameters[path] = value
    return parameters


def distributions(dimensions: dict[str, Dimension]) -> dict[str, BaseDistribution]:
    """Return what :func:`suggest` draws from, as Optuna says it."""
    return {
        path: FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)
        if isinstance(dimension, Range)
        else CategoricalDistribution(_choices(path, dimension))
        for path, dimension in dimensions.items()
    }


def baseline_config(config: Config, learning_rate: float, input_columns: int) -> Config:
    """Return ``config`` with every searched knob off, at the baseline's learning rate.

    With a single input column, what a searched knob needs beside it there is set, unless the configuration says
    otherwise.
    """
    tried = dimensions(config)
    base: Setting = {path: OFF for path in regularizers() if path in tried}
    searched = [KNOBS[path] for path in tried if path in KNOBS]
    if input_columns == 1:
        needed = dict(knob.with_one_column for knob in searched if knob.with_one_column is not None)
        base |= {path: value for path, value in needed.items() if configured(config, path) is None}
    return with_settings(config, {**base, "training.learning_rate": learning_rate})


def configured(config: Config, path: str) -> Scalar:
    """Return the value of a setting in ``config``."""
    section, name = path.split(".")
    value: Scalar = getattr(getattr(config, section), name)
    return value


def describe(setting: Setting) -> str:
    """Say a setting in one line; ``baseline`` for the empty one."""
    parts = (f"{path.split('.')[1]}={short(value)}" for path, value in setting.items())
    return ", ".join(parts) or "baseline"


def short(value: Scalar) -> str:
    """Write a value as briefly as it reads well."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _choices(path: str, dimension: list[Scalar]) -> list[Scalar]:
    return [OFF, *ladder(dimension)] if path in regularizers() else dimension
