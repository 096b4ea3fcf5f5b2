"""Keras' layers as PyTorch modules: each is made of its settings in Keras' words and the shapes of its weights.

They are called as Keras' are, ``layer(inputs, mask=None)``, and tell what becomes of a mask by ``compute_mask``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lstmreg import activations, regularizers

from .keras_layer import KerasLayer, Mask, Settings, Shapes
from .leaves import Leaf, own
from .recurrent import RNN, Bidirectional


class TimeDistributed(KerasLayer):
    """A layer applied to every time step."""

    def __init__(self, settings: Settings, shapes: Shapes, layer: nn.Module) -> None:
        super().__init__(settings, shapes)
        self.layer = layer

    def call(self, inputs: Any, mask: Any) -> Any:
        """Apply the layer to ``(B * T, ...)``."""
        batch, steps = inputs.shape[:2]
        output = self.layer(inputs.flatten(0, 1))
        return output.unflatten(0, (batch, steps))


# ---------------------------------------------------------------------- beginnings


class Masking(KerasLayer):
    """Steps whose features all equal a value are masked, and set to zero."""

    def call(self, inputs: Any, mask: Any) -> Any:
        """Set masked steps to zero."""
        return inputs * self.compute_mask(inputs, mask).unsqueeze(-1)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return where any feature differs from the value."""
        return (inputs != self.settings["mask_value"]).any(-1)


class Embedding(KerasLayer):
    """A vector for each whole number."""

    def __init__(self, settings: Settings, shapes: Shapes) -> None:
        super().__init__(settings, shapes)
        self.weight = nn.Parameter(torch.empty(settings["input_dim"], settings["output_dim"]))

    @classmethod
    def leaves_of(cls, settings: Settings) -> list[Leaf]:
        """Return the vectors."""
        return own([("embeddings", "weight")])

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return the vectors of the numbers; Keras cuts off fractions."""
        try:
            return functional.embedding(inputs.long(), self.weight)
        except IndexError:
            low, high = int(inputs.min()), int(inputs.max())
            raise IndexError(f"input must be from 0 to {len(self.weight) - 1}, got {low} to {high}.") from None

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """With ``mask_zero``, zeros are masked."""
        return inputs != 0 if self.settings["mask_zero"] else None


# ---------------------------------------------------------------------- steps without time


class Dense(KerasLayer):
    """A linear map of the last axis, and an activation."""

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

    def call(self, inputs: Any, mask: Any) -> Any:
        """Apply the function."""
        return activations.get(self.settings["activation"])(inputs)


class ReLU(KerasLayer):
    """A rectifier with a slope below its threshold and a bound above."""

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return ``min(x, max_value)`` from the threshold on, and ``negative_slope * (x - threshold)`` below."""
        slope, threshold = self.settings["negative_slope"], self.settings["threshold"]
        y = torch.where(inputs >= threshold, inputs, slope * (inputs - threshold))
        return y if self.settings["max_value"] is None else y.clamp(max=self.settings["max_value"])


class Rescaling(KerasLayer):
    """Another scale and origin."""

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return ``scale * x + offset``."""
        return inputs * self.settings["scale"] + self.settings["offset"]


class LeakyReLU(KerasLayer):
    """A rectifier with a slope below zero."""

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return ``x``, and ``negative_slope * x`` below zero."""
        return functional.leaky_relu(inputs, self.settings["negative_slope"])


class ELU(KerasLayer):
    """An exponential linear unit."""

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return ``x``, and ``alpha * (exp(x) - 1)`` below zero."""
        return functional.elu(inputs, self.settings["alpha"])


class Softmax(KerasLayer):
    """A softmax over an axis; masked elements get nothing of it."""

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return the softmax."""
        if mask is not None:
            raise ValueError("Softmax behind a mask means another thing in every version of Keras; it is not read.")
        return inputs.softmax(self.settings["axis"])


class Dropout(KerasLayer):
    """Drop elements while training; axes of length 1 in ``noise_shape`` share what is dropped."""

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

    def _noise_shape(self, inputs: Tensor) -> list[int]:
        return [inputs.shape[0], 1, inputs.shape[2]]


class GaussianNoise(KerasLayer):
    """Add noise while training."""

    def call(self, inputs: Any, mask: Any) -> Any:
        """Add normal noise, while training."""
        return inputs + self.settings["stddev"] * torch.randn_like(inputs) if self.training else inputs


class ActivityRegularization(KerasLayer):
    """A penalty on what passes through."""

    def __init__(self, settings: Settings, shapes: Shapes) -> None:
        super().__init__(settings, shapes)
        self.activity_regularizer = regularizers.L1L2(settings["l1"], settings["l2"])

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return the input."""
        return inputs


class BatchNormalization(KerasLayer):
    """Normalize each feature by its mean and variance over the batch; in eval mode by the moving ones."""

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


# ---------------------------------------------------------------------- windows in time


class Conv1D(KerasLayer):
    """A convolution over time, and an activation."""

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


def _padding(kind: str, steps: int, reach: int, stride: int) -> tuple[int, int]:
    """Return how many steps are put before and behind; ``same`` puts the odd one behind."""
    if kind == "valid":
        return 0, 0
    if kind == "causal":
        return reach - 1, 0
    # Not -(-steps // stride): where steps is a symbol, ONNX rounds a negative quotient the other way.
    missing = max(((steps + stride - 1) // stride - 1) * stride + reach - steps, 0)
    return missing // 2, missing - missing // 2


class MaxPooling1D(KerasLayer):
    """The greatest value of each window in time."""

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

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return the mean of each window."""
        width, stride, around = self._windows(inputs)
        x = inputs.transpose(1, 2)
        total, count = (
            functional.avg_pool1d(functional.pad(t, around), width, stride) for t in (x, torch.ones_like(x))
        )
        return (total / count).transpose(1, 2)


# ---------------------------------------------------------------------- shapes


class Flatten(KerasLayer):
    """One axis after that of the batch."""

    passes_mask = False

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return ``(B, everything else)``."""
        return inputs.reshape(inputs.shape[0], math.prod(inputs.shape[1:]))


class Reshape(KerasLayer):
    """Another shape of each row."""

    passes_mask = False

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return ``(B, *target_shape)``."""
        return inputs.reshape(inputs.shape[0], *self.settings["target_shape"])


class Permute(KerasLayer):
    """Other places for the axes of each row, which are counted from 1."""

    passes_mask = False

    def call(self, inputs: Any, mask: Any) -> Any:
        """Permute the axes after that of the batch."""
        return inputs.permute(0, *self.settings["dims"])


class RepeatVector(KerasLayer):
    """A vector at each of ``n`` steps."""

    passes_mask = False

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return ``(B, n, D)``."""
        return inputs.unsqueeze(1).expand(-1, self.settings["n"], -1)


class GlobalAveragePooling1D(KerasLayer):
    """The mean over time, of the valid steps."""

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

    passes_mask = False

    def call(self, inputs: Any, mask: Any) -> Any:
        """Return the maximum over time."""
        return inputs.amax(1, keepdim=self.settings["keepdims"])


# ---------------------------------------------------------------------- several inputs


class Merge(KerasLayer):
    """Several inputs, one output (Keras: ``Add``, ``Concatenate`` and so on)."""

    def call(self, inputs: Any, mask: Any) -> Any:
        """Merge the inputs."""
        kind = self.settings["merge"]
        if kind == "Concatenate":
            return torch.cat(inputs, dim=self.settings["axis"])
        if kind == "Subtract":
            return inputs[0] - inputs[1]
        total = inputs[0]
        for other in inputs[1:]:
            total = _MERGES[kind](total, other)
        return total / len(inputs) if kind == "Average" else total

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return the mask that all inputs share; where they differ, as Keras merges them."""
        present = [m for m in mask if m is not None]
        if not present:
            return None
        if self.settings["merge"] == "Concatenate":
            return self._concatenated(inputs, mask)
        if len(present) < len(mask):
            return None
        together = torch.logical_or if self.settings["joins_masks_by"] == "or" else torch.logical_and
        joined = present[0]
        for other in present[1:]:
            joined = together(joined, other)
        return joined

    def _concatenated(self, inputs: Any, masks: Any) -> Any:
        full = [
            torch.ones_like(x, dtype=torch.bool) if m is None else m.unsqueeze(-1).expand(x.shape)
            for x, m in zip(inputs, masks, strict=True)
        ]
        together = torch.cat(full, dim=self.settings["axis"])
        return together.any(-1) if self.settings["joins_masks_by"] == "or" else together.all(-1)


_MERGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "Average": torch.add,
    "Multiply": torch.mul,
    "Maximum": torch.maximum,
    "Minimum": torch.minimum,
}


class Operation(KerasLayer):
    """One of the operations with which Keras 3 makes a mask."""

    passes_mask = False

    def call(self, inputs: Any, mask: Any, constants: Sequence[float] = ()) -> Any:
        """Compute the operation on a list of tensors."""
        x = inputs[0]
        match self.settings["operation"]:
            case "NotEqual":
                return x != (constants[0] if constants else inputs[1])
            case "LogicalOr":
                return x.bool() | inputs[1].bool()
            case "LogicalAnd":
                return x.bool() & inputs[1].bool()
            case "ZerosLike":
                return torch.zeros_like(x, dtype=torch.bool)
            case "OnesLike":
                return torch.ones_like(x, dtype=torch.bool)
            case "ExpandDims":
                return x.unsqueeze(self.settings["axis"])
            case "Squeeze":
                return x.squeeze(self.settings["axis"])
            case "Concatenate":
                return torch.cat(inputs, dim=self.settings["axis"])
            case "Any":
                return x.bool().any(self.settings["axis"], keepdim=self.settings["keepdims"])
            case _:
                return x.bool().all(self.settings["axis"], keepdim=self.settings["keepdims"])


#: The module of each kind; ``InputLayer`` and models are the graph's own affair.
LAYERS: dict[str, type[KerasLayer]] = {
    layer.__name__: layer
    for layer in (
        Masking,
        Embedding,
        RNN,
        Bidirectional,
        TimeDistributed,
        Dense,
        Dropout,
        SpatialDropout1D,
        GaussianNoise,
        BatchNormalization,
        LayerNormalization,
        Conv1D,
        MaxPooling1D,
        AveragePooling1D,
        Flatten,
        Reshape,
        Permute,
        RepeatVector,
        Activation,
        ReLU,
        Rescaling,
        LeakyReLU,
        ELU,
        Softmax,
        ActivityRegularization,
        GlobalAveragePooling1D,
        GlobalMaxPooling1D,
        Merge,
        Operation,
    )
}
