"""What is searched: dimensions by the path of a setting, and how Optuna draws from them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from lstmreg.config import Condition, Config, Dimension, Range, Scalar, configured, with_settings
from lstmreg.config.settings import as_declared
from lstmreg.knobs import KNOBS, knob_at
from lstmreg.setting_path import layer_of, of_layer, whole

#: The searched settings that are not at their baseline, by path; empty for the baseline itself.
Setting = dict[str, Scalar]

OFF = 0.0

#: What one would do without the knobs; the optimizer's own regularization.
WEIGHT_DECAY = "training.weight_decay"


def is_regularizer(path: str) -> bool:
    """Tell whether a setting regularizes, in all layers or in one; it is off in the baseline if it is tried."""
    return path == WEIGHT_DECAY or knob_at(path) is not None


def regularizers(paths: Iterable[str]) -> list[str]:
    """List those paths that regularize: knobs in the table's order, by layer, and then weight decay."""
    order = [*KNOBS, WEIGHT_DECAY]
    return sorted(
        (path for path in paths if is_regularizer(path)),
        key=lambda path: (order.index(whole(path)), layer_of(path) or 0),
    )


def key(setting: Setting) -> str:
    """Return a text that is equal for equal settings."""
    return _in_order(setting)


_in_order = json.JSONEncoder(sort_keys=True).encode


def knobs_of(setting: Setting) -> list[str]:
    """List the knobs that a setting turns, weight decay among them, in the table's order."""
    return regularizers(setting)


def dimensions(config: Config) -> dict[str, Dimension]:
    """Return all that is tried, by path: the space, and weight decay beside it."""
    space = config.search.dimensions
    rival: dict[str, Dimension] = {WEIGHT_DECAY: list(config.search.weight_decay)} if config.search.weight_decay else {}
    return space if WEIGHT_DECAY in space else space | rival


def conditions(config: Config) -> dict[str, Condition]:
    """Return under which conditions a setting is tried, of those that are tried under some."""
    return {path: condition for path, condition in config.search.conditions.items() if condition}


def turned_off(config: Config) -> Setting:
    """Return the knobs that the configuration turns and the search tries, so that the baseline does without them."""
    tried = [path for path in dimensions(config) if _is_there(config, path)]
    return {path: configured(config, path) for path in regularizers(tried) if _is_turned(configured(config, path))}


def kept_on(config: Config) -> Setting:
    """Return the knobs that the configuration turns and nobody tries: they stay on in every training."""
    tried = dimensions(config)
    found: Setting = {}
    for path in (path for path in [*KNOBS, WEIGHT_DECAY] if path not in tried):
        by_layer = [f"{path}[{layer}]" for layer in range(config.model.num_layers)]
        left = [layer for layer in by_layer if layer not in tried]
        # Where none of its layers is tried, it stays as it is written.
        for each in left if len(left) < len(by_layer) else [path]:
            if _is_turned(configured(config, each)):
                found[each] = configured(config, each)
    return found


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


def _is_there(config: Config, path: str) -> bool:
    """Tell whether the configured network has the layer that a path names."""
    layer = layer_of(path)
    return layer is None or layer < config.model.num_layers


def one_value(config: Config, path: str) -> Scalar | None:
    """Return the value at which the configuration turns a regularizer, if one value says it, and it is turned at all.

    Layers may differ; and Adam's weight decay is another thing than the one that is searched.
    """
    value: Any = configured(config, path) if _is_there(config, path) else OFF
    if isinstance(value, list):
        value = value[0] if len(set(value)) == 1 else OFF
    is_other = path == WEIGHT_DECAY and config.training.optimizer == "adam"
    return None if value == OFF or is_other else cast(Scalar, value)


def _is_turned(value: Any) -> bool:
    return any(value) if isinstance(value, list) else value != OFF


def ladder(dimension: Dimension) -> list[Scalar]:
    """Return the values at which a setting is tried alone: those listed, or three over an interval.

    A knob that is off is the baseline.
    """
    if not isinstance(dimension, Range):
        return [value for value in dimension if isinstance(value, (bool, str)) or value != OFF]
    points: Iterable[float]
    if dimension.log:
        points = np.geomspace(dimension.low, dimension.high, 3)
    elif dimension.step is not None:
        points = [dimension.at(int(step)) for step in np.unique(np.linspace(0, dimension.steps or 0, 3).round())]
    else:
        points = np.linspace(dimension.low, dimension.high, 3)
    return [_readable(p) for p in points if p != OFF]


def _readable(value: float, digits: int | None = None) -> float:
    """Return a value with as many digits as anybody wants to paste, or with so many."""
    return float(f"{value:.{digits or 3}g}")


def suggest(
    trial: optuna.trial.BaseTrial, dimensions: dict[str, Dimension], base: Config, conditions: Mapping[str, Condition]
) -> Setting:
    """Draw a setting, without what is at its baseline; a knob with listed values may come out as off.

    What is searched under a condition is drawn only where that holds.
    """
    drawn: Setting = {}
    for path, dimension in dimensions.items():
        if not holds(conditions.get(path, {}), drawn, base):
            continue
        if not isinstance(dimension, Range):
            drawn[path] = cast(Scalar, trial.suggest_categorical(path, _choices(path, dimension)))
        else:
            low, high = dimension.low, dimension.greatest
            value = trial.suggest_float(path, low, high, log=dimension.log, step=dimension.step)
            drawn[path] = as_declared(path, _readable(value, None if dimension.step is None else 10))
    return {path: value for path, value in drawn.items() if value != configured(base, path)}


def holds(condition: Condition, setting: Mapping[str, Scalar], base: Config) -> bool:
    """Tell whether a setting meets a condition; what it does not name is at the baseline."""
    return all(setting.get(path, configured(base, path)) in allowed for path, allowed in condition.items())


def as_parameters(
    setting: Setting, dimensions: dict[str, Dimension], base: Config, conditions: Mapping[str, Condition]
) -> dict[str, Scalar]:
    """Return values for all dimensions, such that :func:`suggest` gives ``setting``, for Optuna's queue.

    Where the baseline's own value is not among what is searched, the nearest (or first) that is stands in. What is not
    searched beside the others has none.
    """
    parameters: dict[str, Scalar] = {}
    for path, dimension in dimensions.items():
        if not holds(conditions.get(path, {}), parameters, base):
            continue
        value = setting.get(path, configured(base, path))
        if isinstance(dimension, Range):
            value = min(max(float(value), dimension.low), dimension.greatest)
            if dimension.step is not None:
                value = dimension.at(round((value - dimension.low) / dimension.step))
        elif value not in _choices(path, dimension):
            value = _choices(path, dimension)[0]
        parameters[path] = value
    return parameters


def distributions(dimensions: dict[str, Dimension]) -> dict[str, BaseDistribution]:
    """Return what :func:`suggest` draws from, as Optuna says it."""
    return {
        path: FloatDistribution(dimension.low, dimension.greatest, log=dimension.log, step=dimension.step)
        if isinstance(dimension, Range)
        else CategoricalDistribution(_choices(path, dimension))
        for path, dimension in dimensions.items()
    }


def baseline_config(config: Config, learning_rate: float, input_columns: int) -> Config:
    """Return ``config`` with every searched knob off, at the baseline's learning rate; nothing is left to be searched.

    With a single input column, what a searched knob needs beside it there is set, unless the configuration says
    otherwise.
    """
    tried = dimensions(config)
    base: Setting = {path: OFF for path in tried if is_regularizer(path) and _is_there(config, path)}
    of_inputs = [knob_at(path) for path in tried if layer_of(path) in (None, 0)]
    searched = [knob for knob in of_inputs if knob is not None]
    if input_columns == 1:
        needed = dict(knob.with_one_column for knob in searched if knob.with_one_column is not None)
        base |= {path: value for path, value in needed.items() if configured(config, path) is None}
    return trained_config(config, {**base, "training.learning_rate": learning_rate})


def trained_config(base: Config, setting: Setting) -> Config:
    """Return what a setting trains: the baseline with it, in which nothing is left to be searched.

    What the user's space needs of the user's network is no rule for a network that the search has made.
    """
    return with_settings(dataclasses.replace(base, search=dataclasses.replace(base.search, space={})), setting)


def describe(setting: Setting) -> str:
    """Say a setting in one line; ``baseline`` for the empty one."""
    parts = (f"{path.split('.')[1]}={short(value)}" for path, value in setting.items())
    return ", ".join(parts) or "baseline"


def place_of(path: str) -> str:
    """Say what a knob acts on, and in which layer, if it is turned in a single one."""
    knob, layer = knob_at(path), layer_of(path)
    assert knob is not None  # who asks has looked
    return knob.acts_on if layer is None else f"{knob.acts_on} of {of_layer(layer)}"


def short(value: Scalar) -> str:
    """Write a value as briefly as it reads well."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _choices(path: str, dimension: list[Scalar]) -> list[Scalar]:
    return [OFF, *ladder(dimension)] if is_regularizer(path) else dimension
