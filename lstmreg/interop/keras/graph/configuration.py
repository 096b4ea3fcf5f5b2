"""Writes a description as the ``config.json`` of a ``.keras`` file of Keras 3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lstmreg.errors import ConfigError

from ..modules.kind import Shapes, kind_of
from ..words.rules import Settings
from .calls import Reference
from .layers import LayerDescription, ModelDescription


def keras_config(description: ModelDescription, shapes: Shapes) -> dict[str, Any]:
    """Return what Keras 3 writes for a model.

    Args:
        description: The model.
        shapes: Of its weights, by their path in a ``.weights.h5`` file.

    Raises:
        ConfigError: If Keras 3 cannot say what the description says.
    """
    _check_masks(description)
    return _Writer(description, shapes).whole(is_inner=False)


class _Writer:
    """Writes a model, its layers and what is inside them."""

    def __init__(self, description: ModelDescription, shapes: Shapes) -> None:
        self._description = description
        self._shapes = shapes

    def whole(self, *, is_inner: bool) -> Settings:
        """Write the model; ``is_inner`` if it stands inside another one, which tells it the shape of its input."""
        description = self._description
        config: Settings = {"name": description.name, "trainable": True}
        if description.is_sequential:
            layers = description.layers
            if is_inner and layers[0].settings.get("batch_shape") is None:
                layers = layers[1:]
            config["layers"] = [self.layer(layer) for layer in layers]
            return {"module": "keras", "class_name": "Sequential", "config": config, "registered_name": None}
        config["layers"] = [
            self.layer(layer)
            | {
                "name": layer.name,
                "inbound_nodes": [kind_of(layer).arguments(layer, call, _tensor) for call in layer.calls],
            }
            for layer in description.layers
        ]
        for name, ends in (("input_layers", description.inputs), ("output_layers", description.outputs)):
            written = [list(reference) for reference in ends]
            config[name] = written[0] if len(written) == 1 else written
        return {
            "module": "keras.src.models.functional",
            "class_name": "Functional",
            "config": config,
            "registered_name": "Functional",
        }

    def layer(self, layer: LayerDescription) -> Settings:
        """Write a layer."""
        return kind_of(layer).config(layer, self)

    def model(self, model: ModelDescription) -> Settings:
        """Write a model that stands inside this one."""
        return _Writer(model, self._shapes).whole(is_inner=True)

    def batch_shape(self, layer: LayerDescription) -> list[int | None]:
        """Return the shape of an input, as the file declared it, or as an LSTM behind it takes it."""
        shape: list[int | None] | None = layer.settings.get("batch_shape")
        if shape is not None:
            return shape
        layers = self._description.layers
        first = next((each for each in layers if each.calls and each.calls[0].inputs[0].layer == layer.name), None)
        if self._description.is_sequential and first is not None and kind_of(first).has_states:
            features = min(self._shapes.items())[1][0]
            return [None, None, features]
        raise ConfigError(f"{layer.name}: the model does not say which shape its input has, and Keras 3 needs it.")


def _check_masks(description: ModelDescription) -> None:
    """Refuse what other versions did with masks, and Keras 3 does not."""
    layers = list(_all_layers(description))
    sources = sum(
        max(len(layer.calls), 1)
        for layer in layers
        if "mask_value" in layer.settings or layer.settings.get("mask_zero")
    )
    for layer in layers if sources else []:
        inner = layer.settings.get("layer", {})
        if inner.get("return_sequences") and not inner["zero_output_for_mask"]:
            reason = "Bidirectional held its output at masked steps; Keras 3 sets it to zero"
        elif layer.settings.get("masks_with_states") and any(c.initial_state and not c.masks for c in layer.calls):
            reason = "a mask went on to a layer with an initial state; in Keras 3 it does not"
        elif layer.settings.get("joins_masks_by") == "and" and sources > 1:
            reason = "merged steps were valid where all inputs were; in Keras 3 where any is"
        else:
            continue
        raise ConfigError(f"{layer.name}: in the Keras of this model {reason}, and would give other numbers.")


def _all_layers(description: ModelDescription) -> Iterator[LayerDescription]:
    for layer in description.layers:
        yield layer
        if layer.model is not None:
            yield from _all_layers(layer.model)


def _tensor(reference: Reference) -> dict[str, Any]:
    # Keras finds the tensor by its history; the shape is made anew.
    config = {"shape": [None], "dtype": "float32", "keras_history": list(reference)}
    return {"class_name": "__keras_tensor__", "config": config}
