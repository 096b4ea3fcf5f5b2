"""Layers that put the same numbers into another shape, or sum up over time."""

from __future__ import annotations

import math
from typing import Any

import torch

from ..words import rules as rule
from ..words.rules import Rules
from .keras_layer import KerasLayer

_GLOBAL_POOLING = Rules({"keepdims": rule.flag}, {"keepdims": False}, neutral=rule.DATA_FORMAT)


class Flatten(KerasLayer):
    """One axis after that of the batch."""

    rules = Rules({}, neutral=rule.DATA_FORMAT)

    passes_mask = False

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return ``(B, everything else)``."""
        return inputs.reshape(inputs.shape[0], math.prod(inputs.shape[1:]))


class Reshape(KerasLayer):
    """Another shape of each row."""

    rules = Rules({"target_shape": rule.sizes})

    passes_mask = False

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return ``(B, *target_shape)``."""
        return inputs.reshape(inputs.shape[0], *self.settings["target_shape"])


class Permute(KerasLayer):
    """Other places for the axes of each row, which are counted from 1."""

    rules = Rules({"dims": rule.sizes})

    passes_mask = False

    def call(self, inputs: Any, mask: Any) -> Any:
        """Permute the axes after that of the batch."""
        return inputs.permute(0, *self.settings["dims"])


class RepeatVector(KerasLayer):
    """A vector at each of ``n`` steps."""

    rules = Rules({"n": rule.size})

    passes_mask = False

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return ``(B, n, D)``."""
        return inputs.unsqueeze(1).expand(-1, self.settings["n"], -1)


class GlobalAveragePooling1D(KerasLayer):
    """The mean over time, of the valid steps."""

    rules = _GLOBAL_POOLING

    passes_mask = False

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return the mean over time."""
        keep = self.settings["keepdims"]
        if mask is None:
            return inputs.mean(1, keepdim=keep)
        valid = mask.unsqueeze(-1).to(inputs.dtype)
        return torch.where(mask.unsqueeze(-1), inputs, 0.0).sum(1, keepdim=keep) / valid.sum(1, keepdim=keep)


class GlobalMaxPooling1D(KerasLayer):
    """The greatest value over time, whatever the mask, as in Keras."""

    rules = _GLOBAL_POOLING

    passes_mask = False

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return the maximum over time."""
        return inputs.amax(1, keepdim=self.settings["keepdims"])
