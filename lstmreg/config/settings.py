"""Settings of the model and the training by their paths: which there are, and another value in place of one."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from lstmreg.errors import ConfigError, did_you_mean
from lstmreg.rules import declared, require
from lstmreg.setting_path import SettingPath, whole

from .model import ModelConfig
from .space import Scalar
from .training import TrainingConfig

#: The sections whose settings a search may vary.
_SECTIONS = {"model": ModelConfig, "training": TrainingConfig}


LAYERS = "model.num_layers"


class Sections(Protocol):
    """What has both sections: a configuration."""

    @property
    def model(self) -> ModelConfig:
        """The network."""

    @property
    def training(self) -> TrainingConfig:
        """How it is trained."""


def searchable_settings() -> list[str]:
    """List the settings that a search may vary, by path."""
    return [
        f"{section}.{name}"
        for section, kind in _SECTIONS.items()
        for name, setting in declared(kind).items()
        if setting.is_searchable
    ]


def check_known(path: str, where: str = "") -> None:
    """Raise a ``ConfigError`` unless a path names a setting that a search may vary, or its value in one layer."""
    known = searchable_settings()
    if whole(path) not in known:
        hint = did_you_mean(path.partition("[")[0], known)
        if "[" in path and path.partition("[")[0] in known:
            hint = f" The value of one layer, counted from 0, is {path.partition('[')[0]}[0] and so on."
        raise ConfigError(f"{where}unknown setting {path!r}.{hint}")
    name = SettingPath.of(path)
    if name.layer is not None and not declared(_SECTIONS[name.section])[name.name].may_differ_by_layer:
        raise ConfigError(f"{where}{path}: {whole(path)} is one for all layers. Name it without a layer.")


def configured(config: Sections, path: str) -> Scalar:
    """Return the value of a setting; in one layer that of the layer, also of one that only more layers would have."""
    section, name, layer = SettingPath.of(path)
    value: Any = getattr(getattr(config, section), name)
    found: Scalar = value[layer] if layer is not None and isinstance(value, list) else value
    return found


def replaced(section: Any, path: str, value: Scalar) -> Any:
    """Return a section with another value of one setting.

    Raises:
        ConfigError: If the value breaks the setting's rule, or the path names a layer that is not there.
    """
    name = SettingPath.of(path)
    new: Any = as_declared(path, value)
    if name.layer is not None:
        layers = section.num_layers
        if name.layer >= layers:
            names = "its layer is 0" if layers == 1 else f"its layers are 0 to {layers - 1}"
            raise ConfigError(f"{path}: there is no such layer: model.num_layers is {layers}, so {names}.")
        values = [section.layer(index)[name.name] for index in range(layers)]
        values[name.layer] = new
        new = values[0] if all(v == values[0] for v in values) else values
    return dataclasses.replace(section, **{name.name: new})


def with_layers(model: ModelConfig, count: Scalar) -> ModelConfig:
    """Return a network of so many layers; with fewer, those that are left keep their values.

    Raises:
        ConfigError: If ``count`` breaks its rule, or there are more layers than a setting lists values of.
    """
    layers = as_declared(LAYERS, count)
    assert isinstance(layers, int)  # or it has been refused
    listed: dict[str, Any] = {n: value for n in model.per_layer() if isinstance(value := getattr(model, n), list)}
    kept = {name: values[: max(layers, 1)] for name, values in listed.items()}
    as_one: dict[str, Any] = {
        name: values[0] if all(v == values[0] for v in values) else values for name, values in kept.items()
    }
    fewer = as_one if layers < model.num_layers else {}
    return dataclasses.replace(model, num_layers=layers, **fewer)


def kind_of(path: str) -> Any:
    """Return the type of a setting's single value."""
    section, name, _ = SettingPath.of(path)
    return declared(_SECTIONS[section])[name].kinds[0]


def as_declared(path: str, value: Scalar) -> Scalar:
    """Return a value in its setting's type; a whole number that is given as a float becomes an int where it must be.

    Raises:
        ConfigError: If it is of another type.
    """
    kind = kind_of(path)
    if kind is int:
        is_whole = isinstance(value, (int, float)) and not isinstance(value, bool) and float(value).is_integer()
        require(is_whole, path, "a whole number", value)
        return int(value)
    if kind is float:
        require(isinstance(value, (int, float)) and not isinstance(value, bool), path, "a number", value)
        return float(value)
    if kind is bool:
        require(isinstance(value, bool), path, "true or false", value)
    return value
