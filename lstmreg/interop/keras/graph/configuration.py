"""Writes a description as the ``config.json`` of a ``.keras`` file of Keras 3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lstmreg.errors import ConfigError

from ..words.dialects import OWN_SETTINGS, Settings
from .calls import Call, Reference
from .layers import LayerDescription, ModelDescription

Shapes = Mapping[str, tuple[int, ...]]


def keras_config(description: ModelDescription, shapes: Shapes, *, is_inner: bool = False) -> dict[str, Any]:
    """Return what Keras 3 writes for a model.

    Args:
        description: The model.
        shapes: Of its weights, by their path in a ``.weights.h5`` file.
        is_inner: Whether it stands inside another one, which tells it the shape of its input.

    Raises:
        ConfigError: If Keras 3 cannot say what the description says.
    """
    if not is_inner:
        _check_masks(description)
    config: dict[str, Any] = {"name": description.name, "trainable": True}
    if description.is_sequential:
        layers = description.layers
        if is_inner and layers[0].settings.get("batch_shape") is None:
            layers = layers[1:]
        config["layers"] = [_layer(layer, shapes, description) for layer in layers]
        return {"module": "keras", "class_name": "Sequential", "config": config, "registered_name": None}
    config["layers"] = [
        _layer(layer, shapes, description)
        | {"name": layer.name, "inbound_nodes": [_node(c, layer) for c in layer.calls]}
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


def _check_masks(description: ModelDescription) -> None:
    """Refuse what other versions did with masks, and Keras 3 does not."""
    layers = list(_all_layers(description))
    sources = sum(
        max(len(layer.calls), 1) for layer in layers if layer.kind == "Masking" or layer.settings.get("mask_zero")
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


def _node(call: Call, layer: LayerDescription) -> dict[str, Any]:
    inputs: Any = [_tensor(reference) for reference in call.inputs]
    if layer.kind == "Operation" and layer.settings["operation"] != "Concatenate":
        return {"args": [*inputs, *call.constants], "kwargs": {}}
    if layer.kind not in ("Merge", "Operation") and len(inputs) == 1:
        [inputs] = inputs
    keywords: dict[str, Any] = {}
    if call.initial_state:
        keywords["initial_state"] = [_tensor(reference) for reference in call.initial_state]
    if call.masks:
        masks = [None if mask is None else _tensor(mask) for mask in call.masks]
        keywords["mask"] = masks if layer.kind in ("Merge", "Model") and len(call.inputs) > 1 else masks[0]
    return {"args": [inputs], "kwargs": keywords}


def _tensor(reference: Reference) -> dict[str, Any]:
    # Keras finds the tensor by its history; the shape is made anew.
    config = {"shape": [None], "dtype": "float32", "keras_history": list(reference)}
    return {"class_name": "__keras_tensor__", "config": config}


def _layer(layer: LayerDescription, shapes: Shapes, description: ModelDescription) -> dict[str, Any]:
    if layer.kind == "InputLayer":
        return _serialized("InputLayer", {"batch_shape": _batch_shape(layer, shapes, description), "name": layer.name})
    if layer.kind == "Model":
        assert layer.model is not None
        made = keras_config(layer.model, shapes, is_inner=True)
        made["config"] = {**made["config"], "name": layer.name, "trainable": layer.is_trained}
        return made
    config = _config(layer.name, layer.settings)
    if layer.kind == "Operation":
        if layer.settings["operation"] in ("ZerosLike", "OnesLike"):
            config["dtype"] = "bool"
        return _serialized(layer.settings["operation"], config) | {"module": "keras.src.ops.numpy"}
    if layer.kind == "RNN" and "cell" in layer.settings:
        config["cell"] = _cell(layer.settings["cell"])
    elif layer.kind == "Bidirectional":
        # Keras names the two by itself, and makes the second from the first unless it is another.
        ahead, back = layer.settings["layer"], layer.settings["backward_layer"]
        config["layer"] = _recurrent(f"forward_{layer.name}", ahead)
        config["backward_layer"] = _recurrent(f"backward_{layer.name}", back)
    elif layer.kind == "TimeDistributed":
        assert layer.model is not None
        config["layer"] = _layer(layer.model.layers[0], shapes, layer.model)
    return _serialized(layer.keras_class, config if layer.is_trained else {**config, "trainable": False})


def _serialized(class_name: str, config: Settings) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": class_name, "config": config, "registered_name": None}


def _recurrent(name: str, settings: Settings) -> dict[str, Any]:
    config = _config(name, settings)
    if "cell" in settings:
        return _serialized("RNN", {**config, "cell": _cell(settings["cell"])})
    return _serialized("LSTM", config)


def _cell(settings: Settings, number: int = 0) -> dict[str, Any]:
    if "cells" in settings:
        cells = [_cell(cell, index) for index, cell in enumerate(settings["cells"])]
        return _serialized("StackedRNNCells", {"cells": cells})
    return _serialized("LSTMCell", _config("lstm_cell" + (f"_{number}" if number else ""), settings))


def _config(name: str, settings: Settings) -> Settings:
    kept = {
        key: value
        for key, value in settings.items()
        if key not in OWN_SETTINGS and key not in ("layer", "backward_layer")
    }
    if kept.get("axis") is not None and isinstance(kept["axis"], list) and len(kept["axis"]) == 1:
        [kept["axis"]] = kept["axis"]
    return {"name": name, **kept}


def _batch_shape(layer: LayerDescription, shapes: Shapes, description: ModelDescription) -> list[int | None]:
    shape: list[int | None] | None = layer.settings.get("batch_shape")
    if shape is not None:
        return shape
    first = next(
        (each for each in description.layers if each.calls and each.calls[0].inputs[0].layer == layer.name), None
    )
    if description.is_sequential and first is not None and first.kind in ("RNN", "Bidirectional"):
        features = min(shapes.items())[1][0]
        return [None, None, features]
    raise ConfigError(f"{layer.name}: the model does not say which shape its input has, and Keras 3 needs it.")
