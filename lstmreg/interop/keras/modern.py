"""Says a model in the words of Keras 3: the same outputs, by other weights where its own functions differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lstmreg.errors import ConfigError

from .file.container import Array
from .graph.calls import Reference
from .graph.layers import LayerDescription, ModelDescription
from .modules.model import KerasModel, groups_of
from .modules.recurrent import cells_of
from .weights import arrays_of, build, in_place
from .words.dialects import Settings

#: The ``hard_sigmoid`` of Keras 1 and 2, clip(0.2 z + 0.5), is clip((1.2 z) / 6 + 0.5): that of Keras 3 at 1.2 z.
_OLD, _NEW, _SCALE = "keras2_hard_sigmoid", "hard_sigmoid", 1.2

Arrays = dict[str, Array]


def in_keras_3(model: KerasModel) -> KerasModel:
    """Return a model with the same outputs that Keras 3 has words for; its notes say what training would notice.

    Where ``hard_sigmoid`` meant the function of Keras 1 and 2, what goes into it is multiplied by 1.2: by the weights
    in front of it, or by a layer ``Rescaling`` where there are none. A penalty or constraint of such weights then sees
    the larger ones, and no single strength makes up for that, since an LSTM's candidates keep theirs. Outputs come
    first: it is said in a note.

    Raises:
        ConfigError: If an LSTM's ``activation`` is that function: it reads the cell state too, which no weight scales.
    """
    arrays: Arrays = dict(arrays_of(model))
    description = _model(model.description, arrays, "")
    return model if description == model.description else build(description, in_place(arrays))


def _model(model: ModelDescription, arrays: Arrays, place: str) -> ModelDescription:
    groups = groups_of(model)
    layers = [_layer(layer, arrays, f"{place}{groups.get(layer.name, '')}/") for layer in model.layers]
    return _with_rescaling(replace(model, layers=tuple(layers)))


def _layer(layer: LayerDescription, arrays: Arrays, place: str) -> LayerDescription:
    settings = layer.settings
    if layer.kind == "Model":
        assert layer.model is not None
        return replace(layer, model=_model(layer.model, arrays, place))
    if layer.kind == "TimeDistributed":
        assert layer.model is not None
        inner = _layer(layer.model.layers[0], arrays, f"{place}layer/")
        return replace(layer, model=replace(layer.model, layers=(inner,)))
    if layer.kind == "Bidirectional":
        ahead, first = _recurrent(settings["layer"], arrays, f"{place}forward_layer/", layer.name)
        back, second = _recurrent(settings["backward_layer"], arrays, f"{place}backward_layer/", layer.name)
        notes = dict.fromkeys([*layer.notes, *first, *second])
        return replace(layer, settings={**settings, "layer": ahead, "backward_layer": back}, notes=tuple(notes))
    if layer.kind == "RNN":
        changed, said = _recurrent(settings, arrays, place, layer.name)
        return replace(layer, settings=changed, notes=(*layer.notes, *said))
    if layer.kind in ("Dense", "Conv1D") and settings["activation"] == _OLD:
        for index in range(1 + settings["use_bias"]):
            arrays[f"{place}vars/{index}"] = arrays[f"{place}vars/{index}"] * _SCALE
        return replace(layer, settings={**settings, "activation": _NEW}, notes=(*layer.notes, _said(settings)))
    return layer


def _recurrent(settings: Settings, arrays: Arrays, place: str, name: str) -> tuple[Settings, list[str]]:
    """Return the settings of one direction as Keras 3 says them, its weights scaled, and what training would notice."""
    notes: list[str] = []
    changed: list[Settings] = []
    for path, cell in cells_of(settings):
        if cell["activation"] == _OLD:
            raise ConfigError(
                f"{name}.activation: Keras 3 does not have the hard_sigmoid of Keras 1 and 2, and would give other "
                "numbers. save_model and save_onnx (--to torch, --to onnx) keep them."
            )
        notes += _other_masks(cell)
        if cell["recurrent_activation"] == _OLD:
            for index in range(2 + cell["use_bias"]):
                key = f"{place}{path}/vars/{index}"
                i, f, c, o = np.split(arrays[key], 4, axis=-1)
                arrays[key] = np.concatenate([_SCALE * i, _SCALE * f, c, _SCALE * o], axis=-1, dtype=c.dtype)
            notes.append(_said(cell))
            cell = {**cell, "recurrent_activation": _NEW}
        changed.append(dict(cell))
    if "cell" not in settings:
        return changed[0], notes
    inner = {"cells": changed} if "cells" in settings["cell"] else changed[0]
    return {**settings, "cell": inner}, notes


def _said(settings: Mapping[str, Any]) -> str:
    said = "hard_sigmoid of Keras 1 and 2 is written as that of Keras 3, with the weights in front 1.2 times as large"
    ways = [f"{weight}_{what}" for weight in ("kernel", "recurrent", "bias") for what in ("regularizer", "constraint")]
    on = [way for way in ways if settings.get(way) is not None]
    return f"{said}; in training {' and '.join(on)} will see the larger weights" if on else said


def _other_masks(cell: Mapping[str, Any]) -> Iterator[str]:
    """Yield in what masks Keras 3 will draw others in training."""
    recurrent = cell["recurrent_dropout"] > 0
    per_gate = cell.get("per_gate_masks", True)
    if recurrent and not per_gate:
        yield "the gates shared a mask of recurrent_dropout; Keras 3 draws one for each in training"
    ours = cell.get("per_gate_input_masks")
    ours = recurrent and per_gate if ours is None else ours
    if cell["dropout"] > 0 and ours != recurrent:
        before, now = ("each gate had its own", "one for all") if ours else ("the gates shared a", "one for each gate")
        yield f"{before} mask of the dropped inputs; Keras 3 draws {now} in training"


def _with_rescaling(model: ModelDescription) -> ModelDescription:
    """Put a layer that multiplies by 1.2 in front of each function that stands alone."""
    taken = {layer.name for layer in model.layers}
    layers: list[LayerDescription] = []
    for layer in model.layers:
        if not _is_function_alone(layer):
            layers.append(layer)
            continue
        name = f"{layer.name}_input"
        while name in taken:
            name += "_"
        taken.add(name)
        settings = {"scale": _SCALE, "offset": 0.0}
        layers.append(LayerDescription(name, "Rescaling", settings, layer.calls, keras_class="Rescaling"))
        calls = tuple(replace(call, inputs=(Reference(name, index),)) for index, call in enumerate(layer.calls))
        layers.append(replace(_renamed(layer), calls=calls))
    return replace(model, layers=tuple(layers))


def _is_function_alone(layer: LayerDescription) -> bool:
    if layer.kind == "TimeDistributed":
        assert layer.model is not None
        return _is_function_alone(layer.model.layers[0])
    return layer.kind == "Activation" and layer.settings["activation"] == _OLD


def _renamed(layer: LayerDescription) -> LayerDescription:
    if layer.kind == "TimeDistributed":
        assert layer.model is not None
        return replace(layer, model=replace(layer.model, layers=(_renamed(layer.model.layers[0]),)))
    note = "hard_sigmoid of Keras 1 and 2 is written as that of Keras 3, with a layer in front that multiplies by 1.2"
    return replace(layer, settings={**layer.settings, "activation": _NEW}, notes=(*layer.notes, note))
