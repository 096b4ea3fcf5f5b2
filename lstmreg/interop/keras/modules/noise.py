"""Layers that do something only while a model is trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lstmreg import regularizers

from ..words import rules as rule
from ..words.rules import Rules, Settings
from .keras_layer import KerasLayer
from .kind import Shapes


class Dropout(KerasLayer):
    """Drop elements while training; axes of length 1 in ``noise_shape`` share what is dropped."""

    rules = Rules(
        {"rate": rule.rate, "noise_shape": rule.noise_shape, **rule.ACTIVITY},
        {"noise_shape": None, "activity_regularizer": None},
        {"p": "rate"},
    )

    def call(self, inputs: Any, mask: Any) -> Any:
        """Drop and scale, while training."""
        if not self.training or self.settings["rate"] == 0:
            return inputs
        return inputs * functional.dropout(inputs.new_ones(self._noise_shape(inputs)), self.settings["rate"])

    def _noise_shape(self, inputs: Tensor) -> list[int]:
        wanted = self.settings["noise_shape"] or [None] * inputs.dim()
        return [size if length is None else length for size, length in zip(inputs.shape, wanted, strict=True)]


class SpatialDropout1D(Dropout):
    """Drop features of a sequence at all steps, while training."""

    rules = Rules({"rate": rule.rate}, renamed={"p": "rate"}, neutral={"noise_shape": None})

    def _noise_shape(self, inputs: Tensor) -> list[int]:
        return [inputs.shape[0], 1, inputs.shape[2]]


class GaussianNoise(KerasLayer):
    """Add noise while training."""

    rules = Rules({"stddev": rule.number}, renamed={"sigma": "stddev"})

    def call(self, inputs: Any, mask: Any) -> Any:
        """Add normal noise, while training."""
        return inputs + self.settings["stddev"] * torch.randn_like(inputs) if self.training else inputs


class ActivityRegularization(KerasLayer):
    """A penalty on what passes through."""

    rules = Rules({"l1": rule.number, "l2": rule.number})

    def __init__(self, settings: Settings, shapes: Shapes) -> None:
        super().__init__(settings, shapes)
        self.activity_regularizer = regularizers.L1L2(settings["l1"], settings["l2"])

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return the input."""
        return inputs
