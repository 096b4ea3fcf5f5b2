"""One run: all sections together, and settings by their path."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lstmreg.errors import ConfigError, did_you_mean
from lstmreg.rules import check_section, declared, require

from .data import DataConfig
from .model import ModelConfig
from .search import SearchConfig
from .space import Dimension, Range, Scalar
from .training import TrainingConfig


@dataclass(frozen=True)
class Config:
    """One run.

    Args:
        data: The table and the question.
        model: The network.
        training: How one model is trained.
        search: The experiment.
        task: What the network does: forecast, classify, regress, or label each step.
        name: Name of the run, and of its folder. Default: that of the data file, without its ending.
        runs: The folder that holds all runs.
    """

    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    task: str = "forecast"
    name: str | None = None
    runs: str = "runs"

    def __post_init__(self) -> None:
        check_section(self, "")
        require(
            re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._ -]{0,99}", self.run_name) is not None,
            "name",
            "up to 100 letters, digits, '.', '_', '-' or blanks, and no path",
            self.run_name,
        )
        require(
            not self.model.stateful,
            "model.stateful",
            "false, because windows of a table are trained in random order",
            True,
        )
        for path, dimension in self.search.dimensions.items():
            self._check_dimension(path, dimension)

    def _check_dimension(self, path: str, dimension: Dimension) -> None:
        known = searchable(self)
        if path not in known:
            raise ConfigError(f"search.space: unknown setting {path!r}.{did_you_mean(path, known)}")
        if isinstance(dimension, Range):
            values: list[Any] = [dimension.low, dimension.high]
        else:
            values = dimension
            require(len(values) > 0, f"search.space: {path}", "a list with at least one value", values)
        for value in values:
            _replaced(getattr(self, path.split(".")[0]), path, value)  # raises where it breaks the setting's rule

    @property
    def run_name(self) -> str:
        """The run's name, given or derived."""
        return self.name if self.name is not None else Path(self.data.path.removesuffix(".gz")).stem

    @property
    def directory(self) -> Path:
        """The run's folder."""
        return Path(self.runs) / self.run_name


_SECTIONS = ("model", "training")


def searchable(config: Config) -> list[str]:
    """List the settings that a search may vary, by path."""
    return [
        f"{section}.{name}"
        for section in _SECTIONS
        for name, setting in declared(type(getattr(config, section))).items()
        if setting.is_searchable
    ]


def with_settings(config: Config, settings: dict[str, Scalar]) -> Config:
    """Return a copy of ``config`` with some settings, named by path, replaced.

    A whole number given as a float becomes an int where the setting is one.
    """
    sections: dict[str, Any] = {}
    for path, value in settings.items():
        if path not in searchable(config) and path != "training.seed":
            raise ConfigError(f"unknown setting {path!r}.{did_you_mean(path, searchable(config))}")
        section = path.split(".")[0]
        sections[section] = _replaced(sections.get(section, getattr(config, section)), path, value)
    return dataclasses.replace(config, **sections)


def _replaced(section: Any, path: str, value: Scalar) -> Any:
    name = path.split(".")[1]
    return dataclasses.replace(section, **{name: _as_declared(section, path, value)})


def _as_declared(section: Any, path: str, value: Scalar) -> Scalar:
    kind = declared(type(section))[path.split(".")[1]].kinds[0]
    if kind is int:
        whole = isinstance(value, (int, float)) and not isinstance(value, bool) and float(value).is_integer()
        require(whole, path, "a whole number", value)
        return int(value)
    if kind is float:
        require(isinstance(value, (int, float)) and not isinstance(value, bool), path, "a number", value)
        return float(value)
    if kind is bool:
        require(isinstance(value, bool), path, "true or false", value)
    return value


def from_dict(plain: dict[str, Any]) -> Config:
    """Rebuild a configuration from ``dataclasses.asdict``'s form of it.

    Raises:
        ConfigError: If a value breaks its rule.
        TypeError: If a key is unknown or missing.
    """
    missing = {"data", "model", "training", "search"} - set(plain)
    if missing:
        raise TypeError(f"missing sections: {', '.join(sorted(missing))}")
    search = dict(plain["search"])
    if search.get("space") is not None:
        search["space"] = {
            path: Range(**dimension) if isinstance(dimension, dict) else dimension
            for path, dimension in search["space"].items()
        }
    return Config(
        **plain
        | {
            "data": DataConfig(**plain["data"]),
            "model": ModelConfig(**plain["model"]),
            "training": TrainingConfig(**plain["training"]),
            "search": SearchConfig(**search),
        }
    )
