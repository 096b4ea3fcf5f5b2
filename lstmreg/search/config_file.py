"""``config.yaml`` in a run's folder: what the run was begun with, and may only go on with."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lstmreg.config import Config, Range, Scalar, SearchConfig, Values, default_space, from_dict
from lstmreg.errors import ConfigError, CorruptFileError
from lstmreg.tasks import Task
from lstmreg.yaml_file import read_yaml, write_yaml

#: What may change between two sittings: where the folder lies, and who trains.
_FREE = {"runs", "name", "search.workers", "search.cluster"}


def settle(config: Config, task: Task) -> Config:
    """Return what is in force for a run: of one that has begun, what it was begun with.

    What the configuration leaves open stays as it was. Anything else would be another question, or another look at the
    same one, each of which gives chance another opportunity.

    Args:
        config: What is asked for now.
        task: The question and the data.

    Raises:
        ConfigError: If the run was begun with another configuration; it shows the difference.
    """
    if config.search.space is None:
        training = config.training
        # A step of SGD is as large as the gradient, so there the usual strengths hold.
        is_other = training.proximal and training.optimizer != "sgd"
        space: dict[str, Range | Values | list[Scalar]] = {**default_space(len(task.features), proximal=is_other)}
        config = dataclasses.replace(config, search=dataclasses.replace(config.search, space=space))
    if not (config.directory / "config.yaml").exists():
        return config
    begun = read_config(config.directory)
    search = config.search.planned(begun.search.amount)
    if search.cases is None:
        search = dataclasses.replace(search, cases=begun.search.cases)
    if search.effort == SearchConfig.effort:  # which asks for nothing
        search = dataclasses.replace(search, effort=begun.search.effort)
    config = dataclasses.replace(config, search=search)
    if different := differences(dataclasses.asdict(begun), dataclasses.asdict(config)):
        raise ConfigError(
            f"{config.directory} was begun with another configuration ({different}). For another question, "
            f"or more trainings, give this run another name (--name=...), or remove the folder."
        )
    return config


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


def differences(then: dict[str, Any], now: dict[str, Any]) -> str:
    """Say what two configurations of one run differ in; nothing if that is only where its folder lies."""
    return "; ".join(
        f"{name}: {old!r} then, {new!r} now" for name, old, new in _differences(then, now) if name not in _FREE
    )


def _differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(n for n in new if n not in old)]:
            yield from _differences(old.get(name), new.get(name), f"{path}.{name}" if path else name)
    elif old != new:
        yield path, old, new
