"""Layers that treat each step, or each element, alone."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from lstmreg import activations

from ..graph.layers import LayerDescription
from ..words import rules as rule
from ..words.rules import Rules, Settings
from . import hard_sigmoid
from .keras_layer import KerasLayer
from .kind import Rewriting, Shapes
from .leaves import Leaf, own


class Dense(KerasLayer):
    """A linear map of the last axis, and an activation."""

    rules = Rules(
        {
            **rule.WEIGHTED,
            **rule.ACTIVITY,
            "units": rule.size,
            "activation": rule.activation,
            "use_bias": rule.flag,
        },
        {**dict.fromkeys([*rule.WEIGHTED, *rule.ACTIVITY]), "use_bias": True},
        rule.OLD_WEIGHTED,
        {"lora_rank": None},
    )
    usual: ClassVar = {"activation": "linear"}

    @classmethod
    def in_keras_3(cls, layer: LayerDescription, rewriting: Rewriting) -> list[LayerDescription]:
        """Put the ``hard_sigmoid`` of Keras 1 and 2 into the weights."""
        return [hard_sigmoid.into_weights(layer, rewriting)]

    def __init__(self, settings: Settings, shapes: Shapes) -> None:
        super().__init__(settings, shapes)
        self.linear = nn.Linear(shapes["vars/0"][0], settings["units"], bias=settings["use_bias"])
        self.activation = activations.get(settings["activation"])

    @classmethod
    def leaves_of(cls, settings: Settings) -> list[Leaf]:
        """Return kernel and bias."""
        names = [("kernel", "linear.weight"), ("bias", "linear.bias")]
        return own(names if settings["use_bias"] else names[:1], transposed=["kernel"])

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return ``activation(x @ kernel + bias)``."""
        return self.activation(self.linear(inputs))


class Activation(KerasLayer):
    """A function of each element."""

    rules = Rules({**rule.ACTIVITY, "activation": rule.activation}, {"activity_regularizer": None})

    @classmethod
    def in_keras_3(cls, layer: LayerDescription, rewriting: Rewriting) -> list[LayerDescription]:
        """Put a layer in front of the ``hard_sigmoid`` of Keras 1 and 2 that multiplies by 1.2."""
        return hard_sigmoid.behind_a_scale(layer, rewriting)

    def call(self, inputs: Any, mask: Any) -> Any:
        """Apply the function."""
        return activations.get(self.settings["activation"])(inputs)


class ReLU(KerasLayer):
    """A rectifier with a slope below its threshold and a bound above."""

    rules = Rules(
        {"max_value": rule.optional_number, "negative_slope": rule.number, "threshold": rule.number},
        {"max_value": None, "negative_slope": 0.0, "threshold": 0.0},
    )

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return ``min(x, max_value)`` from the threshold on, and ``negative_slope * (x - threshold)`` below."""
        slope, threshold = self.settings["negative_slope"], self.settings["threshold"]
        y = torch.where(inputs >= threshold, inputs, slope * (inputs - threshold))
        return y if self.settings["max_value"] is None else y.clamp(max=self.settings["max_value"])


class Rescaling(KerasLayer):
    """Another scale and origin."""

    rules = Rules({"scale": rule.number, "offset": rule.number}, {"offset": 0.0})

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return ``scale * x + offset``."""
        return inputs * self.settings["scale"] + self.settings["offset"]


class LeakyReLU(KerasLayer):
    """A rectifier with a slope below zero."""

    rules = Rules({"negative_slope": rule.number}, renamed={"alpha": "negative_slope"})

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return ``x``, and ``negative_slope * x`` below zero."""
        return functional.leaky_relu(inputs, self.settings["negative_slope"])


class ELU(KerasLayer):
    """An exponential linear unit."""

    rules = Rules({"alpha": rule.number}, {"alpha": 1.0})  # Keras 3 does not write it

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return ``x``, and ``alpha * (exp(x) - 1)`` below zero."""
        return functional.elu(inputs, self.settings["alpha"])


class Softmax(KerasLayer):
    """A softmax over an axis; masked elements get nothing of it."""

    rules = Rules({"axis": rule.integer}, {"axis": -1})

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return the softmax."""
        if mask is not None:
            raise ValueError("Softmax behind a mask means another thing in every version of Keras; it is not read.")
        return inputs.softmax(self.settings["axis"])
