"""``config.yaml`` in a run's folder: what the run was begun with, and may only go on with."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from lstmreg.config import Config, from_dict
from lstmreg.errors import ConfigError, CorruptFileError
from lstmreg.files import write_atomically
from lstmreg.yaml_file import read_yaml

#: What may change between two sittings: how far to go, and where the folder lies.
_FREE = {"search.trials", "runs", "name"}


def write_config(config: Config) -> Config:
    """Write ``config.yaml``, or compare with the one that is there; return what is in force.

    A run that has gone further already stays as far as it is.

    Raises:
        ConfigError: If the run was begun with another configuration; it shows the difference.
    """
    path = config.directory / "config.yaml"
    ours = dataclasses.asdict(config)
    if path.exists():
        begun = read_config(config.directory)
        theirs = dataclasses.asdict(begun)
        different = [
            f"{name}: {old!r} then, {new!r} now" for name, old, new in _differences(theirs, ours) if name not in _FREE
        ]
        if different:
            raise ConfigError(
                f"{config.directory} was begun with another configuration ({'; '.join(different)}). "
                f"Give this run another name, or remove the folder."
            )
        trials = max(begun.search.trials, config.search.trials)
        config = dataclasses.replace(config, search=dataclasses.replace(config.search, trials=trials))
    write_atomically(path, yaml.safe_dump(dataclasses.asdict(config), sort_keys=False, allow_unicode=True))
    return config


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
