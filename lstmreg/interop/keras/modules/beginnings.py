"""Where a model begins: its inputs, what is masked, and words as vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..graph.layers import LayerDescription
from ..words import rules as rule
from ..words.dialects import Dialect
from ..words.rules import Rules, Settings
from .keras_layer import KerasLayer
from .kind import Kind, Reader, Shapes, Writer, Written, serialized
from .leaves import Leaf, own


class InputLayer(Kind):
    """Where a tensor comes in; it is no module."""

    rules = Rules({})
    fits_each_step = False

    @classmethod
    def described(cls, written: Written, settings: Settings, reader: Reader) -> LayerDescription:
        """Return the description with the shape that the file declares."""
        return cls.new(written, declared_shape([written.whole]), written.class_name)

    @classmethod
    def check(cls, layer: LayerDescription) -> None:
        """Let any shape be: nothing is made of it but an example."""

    @classmethod
    def config(cls, layer: LayerDescription, writer: Writer) -> Settings:
        """Return what Keras 3 writes for an input, which must have a shape."""
        return serialized("InputLayer", {"batch_shape": writer.batch_shape(layer), "name": layer.name})

    @classmethod
    def told_as(cls, layer: LayerDescription) -> str | None:
        """Return nothing: it has no settings and no weights."""
        return None


class Masking(KerasLayer):
    """Steps whose features all equal a value are masked, and set to zero."""

    rules = Rules({"mask_value": rule.number}, {"mask_value": 0.0})

    def call(self, inputs: Any, mask: Any) -> Any:
        """Set masked steps to zero."""
        return inputs * self.compute_mask(inputs, mask).unsqueeze(-1)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return where any feature differs from the value."""
        return (inputs != self.settings["mask_value"]).any(-1)


class Embedding(KerasLayer):
    """A vector for each whole number."""

    rules = Rules(
        {
            "input_dim": rule.size,
            "output_dim": rule.size,
            "mask_zero": rule.flag,
            "embeddings_regularizer": rule.regularizer,
            "embeddings_constraint": rule.constraint,
            **rule.ACTIVITY,
        },
        {
            "mask_zero": False,
            **dict.fromkeys(["embeddings_regularizer", "embeddings_constraint", "activity_regularizer"]),
        },
        {"W_regularizer": "embeddings_regularizer", "W_constraint": "embeddings_constraint"},
        ignored=frozenset({"dropout"}),
    )
    casts = False

    @classmethod
    def habits(cls, written: Written, settings: Settings, dialect: Dialect) -> tuple[Settings, list[str]]:
        """Say that Keras 1 dropped words."""
        rate = written.config.get("dropout")
        return {}, [f"Keras {dialect.version} dropped whole words (dropout={rate}); that is not kept"] if rate else []

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


def declared_shape(layers: Sequence[Any]) -> Settings:
    """Return the shape of an input as the first layer declares it, ``None`` where it is open; nothing is made of it."""
    config = layers[0].get("config") if layers and isinstance(layers[0], dict) else None
    config = config if isinstance(config, dict) else {}
    shape = config.get("batch_shape") or config.get("batch_input_shape")
    if shape is None and isinstance(config.get("input_shape"), list):
        shape = [None, *config["input_shape"]]
    if shape is None and config.get("input_dim") is not None:
        shape = [None, config.get("input_length"), config["input_dim"]]
    is_shape = isinstance(shape, list) and len(shape) < 8 and all(n is None or isinstance(n, int) for n in shape)
    return {"batch_shape": shape if is_shape else None}
