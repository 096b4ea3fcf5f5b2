"""``config.yaml`` in a run's folder: what the run was begun with, and may only go on with."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lstmreg.config import PLANNED, Config, Dimension, Plan, Range, SearchConfig, from_dict
from lstmreg.errors import ConfigError, CorruptFileError
from lstmreg.tasks import Task
from lstmreg.yaml_file import read_yaml, write_yaml

from .planning import possible_plans
from .space import turned_off

#: What may change between two sittings: how much is planned, and where the folder lies.
_FREE = {"search.effort", "runs", "name"}

#: Numbers that may grow: what is done stays, and the rest is run.
_MAY_GROW = {*(f"search.{name}" for name in PLANNED), "search.shortlist"}


def settle(config: Config, task: Task) -> Config:
    """Return what is in force for a run: of one that has begun, what it was begun with, and what was widened since.

    What the configuration leaves open stays as it was, unless a thorough search is asked for. More splits, seeds,
    trials, values and learning rates widen the question; anything else would be another one.

    Args:
        config: What is asked for now.
        task: The question and the data.

    Raises:
        ConfigError: If the run was begun with another configuration; it shows the difference.
    """
    if not (config.directory / "config.yaml").exists():
        return config
    begun = read_config(config.directory)
    config = dataclasses.replace(config, search=_filled(begun.search.plan, config, task))
    theirs, ours = dataclasses.asdict(begun), dataclasses.asdict(config)
    different = [
        f"{name}: {old!r} then, {new!r} now"
        for name, old, new in _differences(theirs, ours)
        if name not in _FREE and not (name in _MAY_GROW and new > old) and not _is_wider(name, begun, config)
    ]
    if different:
        raise ConfigError(
            f"{config.directory} was begun with another configuration ({'; '.join(different)}). More splits, seeds, "
            f"trials and values may be asked for; for another question, give this run another name (--name=...), or "
            f"remove the folder."
        )
    return config


def _filled(begun: Plan, config: Config, task: Task) -> SearchConfig:
    """Fill in what is left open; a run that has gone further than so many trials stays as far as it is."""
    plan = begun
    if config.search.effort == "thorough":
        most = possible_plans(config, task)[-1]
        plan = Plan(**{name: max(getattr(begun, name), getattr(most, name)) for name in PLANNED})
    filled = config.search.planned(plan)
    return dataclasses.replace(filled, trials=max(filled.plan.trials, begun.trials))


def _is_wider(name: str, begun: Config, config: Config) -> bool:
    """Tell whether a list of values holds all that it held; a new knob must be off in the baseline."""
    if name.startswith("search.learning_rates"):
        return set(config.search.learning_rates) >= set(begun.search.learning_rates)
    if name != "search.space" and not name.startswith("search.space."):
        return False
    old, new = begun.search.dimensions, config.search.dimensions
    widened = all(path in new and _holds(new[path], dimension) for path, dimension in old.items())
    return widened and not turned_off(config, [path for path in new if path not in old])


def _holds(wider: Dimension, dimension: Dimension) -> bool:
    if isinstance(wider, Range) or isinstance(dimension, Range):
        return wider == dimension
    return all(value in wider for value in dimension)


def write_config(config: Config) -> None:
    """Write ``config.yaml``."""
    write_yaml(config, config.directory / "config.yaml")


def read_config(directory: Path) -> Config:
    """Read the ``config.yaml`` of a run.

    Raises:
        CorruptFileError: If there is none, or it is damaged.
    """
    path = directory / "config.yaml"
    if not path.exists():
        raise CorruptFileError(f"{directory}: no run here (no config.yaml). Run 'lstmreg search' first.")
    try:
        config = from_dict(read_yaml(path))
    except (TypeError, KeyError, ValueError) as error:
        raise CorruptFileError(f"{path}: damaged ({str(error).splitlines()[0]}).") from None
    # The folder may have been moved since.
    return dataclasses.replace(config, name=directory.resolve().name, runs=str(directory.resolve().parent))


def _differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(n for n in new if n not in old)]:
            yield from _differences(old.get(name), new.get(name), f"{path}.{name}" if path else name)
    elif old != new:
        yield path, old, new
