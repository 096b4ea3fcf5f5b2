"""Several inputs into one, and the operations of which Keras 3 makes its masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..graph.calls import Call, Reference
from ..graph.layers import LayerDescription
from ..words import rules as rule
from ..words.dialects import Dialect
from ..words.habits import joins_masks_by
from ..words.rules import Rules, Settings, check_settings
from .keras_layer import KerasLayer
from .kind import Reader, Writer, Written, serialized, settings_of, told_settings

#: As many inputs as there are.
MANY = 10_000

_OWN = {
    "merge": ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"),
    "joins_masks_by": ("and", "or"),
}
_MADE_OF_SHAPES = ("ZerosLike", "OnesLike")
_ALONG_AN_AXIS = ("ExpandDims", "Squeeze", "Concatenate")
_OPERATION = {
    "operation": ("NotEqual", "LogicalOr", "LogicalAnd", "Any", "All", *_MADE_OF_SHAPES, *_ALONG_AN_AXIS),
}
_REDUCED: dict[str, rule.Rule] = {"axis": rule.integer, "keepdims": rule.flag}


class Merge(KerasLayer):
    """Several inputs, one output (Keras: ``Add``, ``Concatenate`` and so on)."""

    reads: ClassVar = {
        **dict.fromkeys(["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"], Rules({}, own=_OWN)),
        "Concatenate": Rules({"axis": rule.integer}, {"axis": -1}, own=_OWN),
    }
    takes_list = True
    fits_each_step = False

    @classmethod
    def habits(cls, written: Written, settings: Settings, dialect: Dialect) -> tuple[Settings, list[str]]:
        """Say how the version joined masks."""
        return {"joins_masks_by": joins_masks_by(dialect)}, []

    @classmethod
    def described(cls, written: Written, settings: Settings, reader: Reader) -> LayerDescription:
        """Return the description, which says how inputs are merged."""
        return cls.new(written, {**settings, "merge": written.class_name}, written.class_name)

    @classmethod
    def check(cls, layer: LayerDescription) -> None:
        """See that a description is such as reading gives."""
        check_settings(layer.settings["merge"], cls.reads[layer.settings["merge"]], layer.settings)

    @classmethod
    def takes(cls, layer: LayerDescription, call: Call) -> tuple[int, int]:
        """Return how many inputs it takes."""
        return (2, 2) if layer.settings["merge"] == "Subtract" else (1, MANY)

    @classmethod
    def config_settings(cls, layer: LayerDescription) -> Settings:
        """Return its settings as Keras 3 writes them."""
        return settings_of(cls.reads[layer.settings["merge"]], layer.name, layer.settings)

    @classmethod
    def told(cls, layer: LayerDescription) -> str:
        """Return along which axis it concatenates, the usual one too: it says which sizes must agree."""
        return told_settings(layer.settings, Rules({}, own=_OWN), {})

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

    reads: ClassVar = {
        **{f"ops.{name}": Rules({}, own=_OPERATION) for name in ("NotEqual", "LogicalOr", "LogicalAnd")},
        **{f"ops.{name}": Rules({}, ignored=frozenset({"dtype"}), own=_OPERATION) for name in _MADE_OF_SHAPES},
        **{f"ops.{name}": Rules({"axis": rule.integer}, own=_OPERATION) for name in _ALONG_AN_AXIS},
        **{f"ops.{name}": Rules(_REDUCED, {"keepdims": False}, own=_OPERATION) for name in ("Any", "All")},
    }
    takes_list = True
    casts = False
    fits_each_step = False
    passes_mask = False

    @classmethod
    def described(cls, written: Written, settings: Settings, reader: Reader) -> LayerDescription:
        """Return the description, which says which operation it is."""
        operation = written.class_name.removeprefix("ops.")
        return cls.new(written, {**settings, "operation": operation}, written.class_name)

    @classmethod
    def check(cls, layer: LayerDescription) -> None:
        """See that a description is such as reading gives."""
        name = f"ops.{layer.settings['operation']}"
        check_settings(name, cls.reads[name], layer.settings)

    @classmethod
    def takes(cls, layer: LayerDescription, call: Call) -> tuple[int, int]:
        """Return how many inputs it takes: one, two, or as many as there are."""
        operation = layer.settings["operation"]
        if operation == "Concatenate":
            return 1, MANY
        both = operation in ("LogicalOr", "LogicalAnd") or (operation == "NotEqual" and not call.constants)
        return (2, 2) if both else (1, 1)

    @classmethod
    def takes_numbers(cls, layer: LayerDescription) -> bool:
        """Tell that a tensor can be compared with a number."""
        return bool(layer.settings["operation"] == "NotEqual")

    @classmethod
    def group(cls, layer: LayerDescription) -> str:
        """Return nothing: Keras 3 keeps no place for it."""
        return ""

    @classmethod
    def config(cls, layer: LayerDescription, writer: Writer) -> Settings:
        """Return what Keras 3 writes for an operation."""
        operation = layer.settings["operation"]
        config = settings_of(cls.reads[f"ops.{operation}"], layer.name, layer.settings)
        config |= {"dtype": "bool"} if operation in _MADE_OF_SHAPES else {}
        return serialized(operation, config) | {"module": "keras.src.ops.numpy"}

    @classmethod
    def arguments(cls, layer: LayerDescription, call: Call, tensor: Callable[[Reference], Settings]) -> Settings:
        """Return what Keras 3 writes for a call: its tensors one by one, but for a list of them."""
        if layer.settings["operation"] == "Concatenate":
            return super().arguments(layer, call, tensor)
        return {"args": [*[tensor(reference) for reference in call.inputs], *call.constants], "kwargs": {}}

    @classmethod
    def told_as(cls, layer: LayerDescription) -> str | None:
        """Return nothing: no user wrote it."""
        return None

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
