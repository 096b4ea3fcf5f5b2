"""One run: all sections together, and settings by their path."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lstmreg.rules import check_section, require
from lstmreg.setting_path import layer_of

from .data import DataConfig
from .model import ModelConfig
from .search import SearchConfig
from .searched import check_space
from .settings import LAYERS, check_known, replaced, searchable_settings, with_layers
from .space import Range, Scalar, Values
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
        check_space(self.search, self.model, self.training)

    @property
    def run_name(self) -> str:
        """The run's name, given or derived."""
        return self.name if self.name is not None else Path(self.data.path.removesuffix(".gz")).stem

    @property
    def directory(self) -> Path:
        """The run's folder."""
        return Path(self.runs) / self.run_name


def searchable(config: Config) -> list[str]:
    """List the settings that a search may vary, by path."""
    return searchable_settings()


def with_settings(config: Config, settings: Mapping[str, Scalar]) -> Config:
    """Return a copy of ``config`` with some settings, named by path, replaced.

    A path may name the value of one layer, such as ``model.dropout[1]``; whole settings go first, the number of layers
    before all. With fewer layers, those that are left keep their values. A whole number given as a float becomes an int
    where the setting is one.
    """
    sections: dict[str, Any] = {}
    for path in sorted(settings, key=lambda path: (path != LAYERS, layer_of(path) is not None)):
        if path != "training.seed":
            check_known(path)
        section = path.split(".")[0]
        if path == LAYERS:
            sections[section] = with_layers(config.model, settings[path])
            continue
        sections[section] = replaced(sections.get(section, getattr(config, section)), path, settings[path])
    return dataclasses.replace(config, **sections)


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
            path: _dimension(dimension) if isinstance(dimension, dict) else dimension
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


def _dimension(plain: dict[str, Any]) -> Range | Values:
    return Values(**plain) if "values" in plain else Range(**plain)
