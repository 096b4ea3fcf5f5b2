"""What a space may say of a run: of settings that there are, in layers that there are, with values that may be."""

from __future__ import annotations

import dataclasses
from typing import Any

from lstmreg.errors import ConfigError
from lstmreg.knobs import KNOBS, knob_at
from lstmreg.rules import require
from lstmreg.setting_path import SettingPath, layer_of, whole

from .model import ModelConfig
from .search import SearchConfig
from .settings import LAYERS, Sections, check_known, configured, kind_of, replaced
from .space import Condition, Dimension, Range, Scalar
from .training import TrainingConfig

#: What may grow by doubling.
SIZES = ("model.hidden_size", "model.embedding_size")


def check_space(search: SearchConfig, model: ModelConfig, training: TrainingConfig) -> None:
    """Check all dimensions of a space, and the conditions under which they are searched.

    Raises:
        ConfigError: If a path is unknown or names a layer that is not there, a value breaks its setting's rule, or a
            condition can never hold.
    """
    _Check(search.dimensions, search.conditions, _Both(model, training)).all()
    for path in search.dimensions:
        if search.grows(path) and knob_at(path) is None and whole(path) not in SIZES:
            raise ConfigError(
                f"search.space: {path}: grow must be false or null of what is neither a knob nor one of "
                f"{', '.join(SIZES)}. List the values that are to be tried."
            )


@dataclasses.dataclass(frozen=True)
class _Both:
    model: ModelConfig
    training: TrainingConfig


@dataclasses.dataclass(frozen=True)
class _Check:
    dimensions: dict[str, Dimension]
    conditions: dict[str, Condition]
    config: Sections

    def all(self) -> None:
        for path, dimension in self.dimensions.items():
            check_known(path, "search.space: ")
            self._check_values(path, dimension)
        for path in self.dimensions:
            self._check_condition(path)

    def _check_values(self, path: str, dimension: Dimension) -> None:
        if isinstance(dimension, Range):
            values: list[Any] = [dimension.low, dimension.greatest]
            if kind_of(path) is int:
                numbers = (dimension.low, dimension.step)
                are_whole = all(number is not None and float(number).is_integer() for number in numbers)
                rule = "a list of whole numbers, or have a whole low and a whole step"
                require(are_whole, f"search.space: {path}", rule, f"low={dimension.low}, step={dimension.step}")
        else:
            values = dimension
            require(len(values) > 0, f"search.space: {path}", "a list with at least one value", values)
        section = self._section(path)
        self._check_layer(path, section)
        for value in values:
            replaced(section, path, value)  # raises where it breaks the setting's rule

    def _check_layer(self, path: str, section: Any) -> None:
        """Say of a layer that is there at times, and of which no condition says so, how that is said."""
        layer, searched = layer_of(path), self.dimensions.get(LAYERS)
        if layer is None or searched is None or layer < section.num_layers or LAYERS in self.conditions[path]:
            return
        if enough := [count for count in self._possible(LAYERS, searched) or [] if int(count) > layer]:
            needed = enough[0] if len(enough) == 1 else enough
            raise ConfigError(
                f"search.space: {path}: there is no such layer where {LAYERS} is {section.num_layers}. Search it only "
                f"where there is one: when: {{{LAYERS}: {needed}}}."
            )

    def _section(self, path: str) -> Any:
        """Return the section in which a value must be able to stand, with as many layers as there are at least."""
        layer = layer_of(path)
        if layer is None:
            return getattr(self.config, SettingPath.of(path).section)
        if whole(path) in self.dimensions:
            raise ConfigError(f"search.space: {whole(path)} and {path} cannot both be searched. Name each layer.")
        layers = self._layers_at_least(path)
        if layers == self.config.model.num_layers:
            return self.config.model
        if layer >= self.config.model.num_layers and whole(path) in KNOBS:  # the baseline cannot have it off there
            value = getattr(self.config.model, SettingPath.of(path).name)
            require(value == 0, whole(path), f"0 where {path} is searched, in a layer that is not always there", value)
        return dataclasses.replace(self.config.model, num_layers=layers)

    def _layers_at_least(self, path: str) -> int:
        """Return how many layers there are at least where a dimension is searched."""
        if (needed := self.conditions[path].get(LAYERS)) is not None:
            return min(int(layers) for layers in needed)
        searched = self.dimensions.get(LAYERS)
        values = [] if searched is None else self._possible(LAYERS, searched) or []
        return min([self.config.model.num_layers, *(int(layers) for layers in values)])

    def _check_condition(self, path: str) -> None:
        for needed, values in self.conditions[path].items():
            where = f"search.space: {path}: when"
            possible = self._possible(needed, self.dimensions[needed])
            if possible is None:
                raise ConfigError(f"{where} must name settings with listed values or a step, got {needed!r}.")
            for value in values:
                said = ", ".join(map(str, possible))
                require(value in possible, f"{where}: {needed}", f"one of its values ({said})", value)

    def _possible(self, path: str, dimension: Dimension) -> list[Scalar] | None:
        """Return what a setting may be, its value in the baseline included; ``None`` if there are no steps."""
        own: Scalar = 0.0 if knob_at(path) is not None else configured(self.config, path)
        if not isinstance(dimension, Range):
            values = list(dimension)
        elif dimension.steps is not None:
            values = [dimension.at(step) for step in range(dimension.steps + 1)]
        else:
            return None
        return values if own in values else [own, *values]
