"""A layer at each time step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from lstmreg.errors import CorruptFileError

from ..graph.layers import LayerDescription, ModelDescription
from ..words import rules as rule
from ..words.rules import Rules, Settings, check_settings
from . import hard_sigmoid
from .checks import check_layer
from .keras_layer import KerasLayer, below
from .kind import Reader, Rewriting, Shapes, Writer, Written, kind_of, layer_leaves, make
from .leaves import Leaf


class TimeDistributed(KerasLayer):
    """A layer applied to every time step; it is the only one of ``LayerDescription.model``."""

    rules = Rules({**rule.ACTIVITY, "layer": rule.anything}, {"activity_regularizer": None})
    holds_layers = True

    def __init__(self, settings: Settings, shapes: Shapes, layer: nn.Module) -> None:
        super().__init__(settings, shapes)
        self.layer = layer

    def call(self, inputs: Any, mask: Any) -> Any:
        """Apply the layer to ``(B * T, ...)``."""
        batch, steps = inputs.shape[:2]
        output = self.layer(inputs.flatten(0, 1))
        return output.unflatten(0, (batch, steps))

    @classmethod
    def described(cls, written: Written, settings: Settings, reader: Reader) -> LayerDescription:
        """Return the description with the layer inside."""
        inner = reader.layer(settings.pop("layer"), 0)
        if not kind_of(inner).fits_each_step:
            raise CorruptFileError(f"TimeDistributed over {inner.keras_class} is not supported")
        return cls.new(written, settings, written.class_name, ModelDescription(inner.name, (inner,), (), ()))

    @classmethod
    def check(cls, layer: LayerDescription) -> None:
        """See that a description is such as reading gives."""
        check_layer(inner_of(layer))
        check_settings("TimeDistributed", cls.rules, {**layer.settings, "layer": None})

    @classmethod
    def make(cls, layer: LayerDescription, shapes: Shapes) -> nn.Module:
        """Make the layer with the one inside."""
        return cls(layer.settings, shapes, make(inner_of(layer), below(shapes, "layer")))

    @classmethod
    def leaves(cls, layer: LayerDescription) -> list[Leaf]:
        """Return the weights of the layer inside."""
        return [leaf.inside("layer", "layer") for leaf in layer_leaves(inner_of(layer))]

    @classmethod
    def config_inside(cls, layer: LayerDescription, writer: Writer) -> Settings:
        """Return the layer inside as Keras 3 writes it."""
        return {"layer": writer.layer(inner_of(layer))}

    @classmethod
    def in_keras_3(cls, layer: LayerDescription, rewriting: Rewriting) -> list[LayerDescription]:
        """Say the layer inside in the words of Keras 3; what comes in front of it, comes in front of all steps."""
        inner = inner_of(layer)
        *before, last = kind_of(inner).in_keras_3(inner, rewriting.at("layer"))
        changed = replace(layer, model=replace(layer.inside, layers=(last,)))
        return hard_sigmoid.in_front(before[0], changed) if before else [changed]

    @classmethod
    def told(cls, layer: LayerDescription) -> str:
        """Return what is applied."""
        inner = inner_of(layer)
        return f"{inner.keras_class}({kind_of(inner).told(inner)})"


def inner_of(layer: LayerDescription) -> LayerDescription:
    """Return the layer that is applied to every step."""
    [inner] = layer.inside.layers
    return inner
