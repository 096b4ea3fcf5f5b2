"""Windows in time: convolutions and poolings."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lstmreg import activations

from ..graph.layers import LayerDescription
from ..words import rules as rule
from ..words.rules import Rules, Settings
from . import hard_sigmoid
from .keras_layer import KerasLayer
from .kind import Rewriting, Shapes
from .leaves import Leaf, own

_POOLING = Rules(
    {"pool_size": rule.length, "strides": rule.stride, "padding": rule.one_of("valid", "same")},
    {"strides": None, "padding": "valid"},
    {"pool_length": "pool_size", "stride": "strides", "border_mode": "padding"},
    rule.DATA_FORMAT,
)


class Conv1D(KerasLayer):
    """A convolution over time, and an activation."""

    rules = Rules(
        {
            **rule.WEIGHTED,
            **rule.ACTIVITY,
            "filters": rule.size,
            "kernel_size": rule.length,
            "strides": rule.length,
            "padding": rule.one_of("valid", "same", "causal"),
            "dilation_rate": rule.length,
            "groups": rule.size,
            "activation": rule.activation,
            "use_bias": rule.flag,
        },
        {**dict.fromkeys([*rule.WEIGHTED, *rule.ACTIVITY]), "dilation_rate": 1, "groups": 1, "use_bias": True},
        neutral=rule.DATA_FORMAT,
    )

    @classmethod
    def in_keras_3(cls, layer: LayerDescription, rewriting: Rewriting) -> list[LayerDescription]:
        """Put the ``hard_sigmoid`` of Keras 1 and 2 into the weights."""
        return [hard_sigmoid.into_weights(layer, rewriting)]

    passes_mask = False

    def __init__(self, settings: Settings, shapes: Shapes) -> None:
        super().__init__(settings, shapes)
        width, inputs, filters = shapes["vars/0"]
        if (width, filters) != (settings["kernel_size"], settings["filters"]):
            raise ValueError(f"kernel_size and filters do not fit weights of the shape {shapes['vars/0']}")
        self.weight = nn.Parameter(torch.empty(filters, inputs, width))
        self.bias = nn.Parameter(torch.empty(filters)) if settings["use_bias"] else None
        self.activation = activations.get(settings["activation"])

    @classmethod
    def leaves_of(cls, settings: Settings) -> list[Leaf]:
        """Return kernel and bias."""
        names = [("kernel", "weight"), ("bias", "bias")]
        return own(names if settings["use_bias"] else names[:1], transposed=["kernel"])

    def call(self, inputs: Any, mask: Any) -> Any:
        """Convolve along time, with zeros around as ``padding`` says."""
        stride, dilation = self.settings["strides"], self.settings["dilation_rate"]
        reach = dilation * (self.settings["kernel_size"] - 1) + 1
        x = functional.pad(inputs.transpose(1, 2), _padding(self.settings["padding"], inputs.shape[1], reach, stride))
        y = functional.conv1d(x, self.weight, self.bias, stride, 0, dilation, self.settings["groups"])
        return self.activation(y.transpose(1, 2))


class MaxPooling1D(KerasLayer):
    """The greatest value of each window in time."""

    rules = _POOLING

    passes_mask = False

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return the maximum of each window."""
        width, stride, around = self._windows(inputs)
        x = functional.pad(inputs.transpose(1, 2), around, value=-math.inf)
        return functional.max_pool1d(x, width, stride).transpose(1, 2)

    def _windows(self, inputs: Tensor) -> tuple[int, int, tuple[int, int]]:
        width = self.settings["pool_size"]
        stride = self.settings["strides"] or width
        return width, stride, _padding(self.settings["padding"], inputs.shape[1], width, stride)


class AveragePooling1D(MaxPooling1D):
    """The mean of each window in time; steps beyond the ends do not count."""

    rules = _POOLING

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return the mean of each window."""
        width, stride, around = self._windows(inputs)
        x = inputs.transpose(1, 2)
        total, count = (
            functional.avg_pool1d(functional.pad(t, around), width, stride) for t in (x, torch.ones_like(x))
        )
        return (total / count).transpose(1, 2)


def _padding(kind: str, steps: int, reach: int, stride: int) -> tuple[int, int]:
    """Return how many steps are put before and behind; ``same`` puts the odd one behind."""
    if kind == "valid":
        return 0, 0
    if kind == "causal":
        return reach - 1, 0
    # Not -(-steps // stride): where steps is a symbol, ONNX rounds a negative quotient the other way.
    missing = max(((steps + stride - 1) // stride - 1) * stride + reach - steps, 0)
    return missing // 2, missing - missing // 2
