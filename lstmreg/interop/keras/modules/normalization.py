"""Layers that normalize."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..words import rules as rule
from ..words.dialects import Dialect
from ..words.rules import Rules, Settings
from .keras_layer import KerasLayer, Mask
from .kind import Shapes, Written
from .leaves import Leaf, own

_NORMALIZATION: dict[str, rule.Rule] = {
    "epsilon": rule.number,
    "center": rule.flag,
    "scale": rule.flag,
    "gamma_regularizer": rule.regularizer,
    "beta_regularizer": rule.regularizer,
    "gamma_constraint": rule.constraint,
    "beta_constraint": rule.constraint,
}
_DEFAULTS: Settings = {
    "center": True,
    "scale": True,
    **dict.fromkeys(["gamma_regularizer", "beta_regularizer", "gamma_constraint", "beta_constraint"]),
}


class BatchNormalization(KerasLayer):
    """Normalize each feature by its mean and variance over the batch; in eval mode by the moving ones."""

    rules = Rules(
        {**_NORMALIZATION, "axis": rule.axes, "momentum": rule.number},
        {**_DEFAULTS, "axis": [-1]},
        neutral={
            "mode": 0,
            "renorm": False,
            "virtual_batch_size": None,
            "adjustment": None,
            "synchronized": False,
        },
        ignored=frozenset({"fused", "renorm_clipping", "renorm_momentum"}),
        own={"is_frozen": (True, False)},
    )

    @classmethod
    def habits(cls, written: Written, settings: Settings, dialect: Dialect) -> tuple[Settings, list[str]]:
        """Say that a frozen layer keeps its statistics."""
        return {} if written.is_trained else {"is_frozen": True}, []

    def __init__(self, settings: Settings, shapes: Shapes) -> None:
        super().__init__(settings, shapes)
        size = next(iter(shapes.values()))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.weight = nn.Parameter(torch.empty(size)) if settings["scale"] else None
        self.bias = nn.Parameter(torch.empty(size)) if settings["center"] else None
        self.register_buffer("running_mean", torch.empty(size))
        self.register_buffer("running_var", torch.empty(size))

    @classmethod
    def leaves_of(cls, settings: Settings) -> list[Leaf]:
        """Return gamma and beta, as far as there are such, and the moving statistics."""
        names = [("gamma", "weight")] if settings["scale"] else []
        names += [("beta", "bias")] if settings["center"] else []
        names += [("moving_mean", "running_mean"), ("moving_variance", "running_var")]
        return own(names, untrained=["moving_mean", "moving_variance"])

    def call(self, inputs: Any, mask: Any) -> Any:
        """Normalize; while training, move the statistics as Keras does (with the biased variance)."""
        [axis] = self.settings["axis"]
        x = inputs.transpose(axis, -1)
        mean, variance = self.running_mean, self.running_var
        if self.training and not self.settings.get("is_frozen", False):
            mean, variance = self._moments(x, mask if axis in (-1, inputs.dim() - 1) else None)
        y = (x - mean) * torch.rsqrt(variance + self.settings["epsilon"])
        y = y if self.weight is None else y * self.weight
        y = y if self.bias is None else y + self.bias
        return y.transpose(axis, -1)

    def _moments(self, x: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
        rows = x.flatten(0, -2) if mask is None else x[mask.bool()]
        mean, variance = rows.mean(0), rows.var(0, unbiased=False)
        with torch.no_grad():
            for moving, new in ((self.running_mean, mean), (self.running_var, variance)):
                moving.lerp_(new, 1 - self.settings["momentum"])
        return mean, variance


class LayerNormalization(KerasLayer):
    """Normalize each row over some axes."""

    rules = Rules({**_NORMALIZATION, "axis": rule.axes}, _DEFAULTS, neutral={"rms_scaling": False})

    def __init__(self, settings: Settings, shapes: Shapes) -> None:
        super().__init__(settings, shapes)
        names = [leaf.tensor for leaf in self.leaves_of(settings)]
        for name, shape in zip(names, shapes.values(), strict=True):
            self.register_parameter(name, nn.Parameter(torch.empty(shape)))

    @classmethod
    def leaves_of(cls, settings: Settings) -> list[Leaf]:
        """Return gamma and beta, as far as there are such."""
        names = [("gamma", "weight")] if settings["scale"] else []
        return own(names + ([("beta", "bias")] if settings["center"] else []))

    def call(self, inputs: Any, mask: Any) -> Any:
        """Normalize, scale and shift."""
        axes = sorted(axis % inputs.dim() for axis in self.settings["axis"])
        mean = inputs.mean(axes, keepdim=True)
        variance = (inputs - mean).square().mean(axes, keepdim=True)
        y = (inputs - mean) * torch.rsqrt(variance + self.settings["epsilon"])
        along = [size if axis in axes else 1 for axis, size in enumerate(inputs.shape)]
        y = y * self.weight.view(along) if self.settings["scale"] else y  # type: ignore[operator]
        return y + self.bias.view(along) if self.settings["center"] else y  # type: ignore[operator]
