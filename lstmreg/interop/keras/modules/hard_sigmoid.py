"""The ``hard_sigmoid`` of Keras 1 and 2 in the words of Keras 3.

It is clip(0.2 z + 0.5), and so clip((1.2 z) / 6 + 0.5): that of Keras 3 at 1.2 z. What goes into it is multiplied by
1.2: by the weights in front of it, or by a layer ``Rescaling`` where there are none. A penalty or constraint of such
weights then sees the larger ones, and no single strength makes up for that, since an LSTM's candidates keep theirs.
Outputs come first: it is said in a note.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lstmreg.errors import ConfigError

from ..file.container import Array
from ..graph.calls import Reference
from ..graph.layers import LayerDescription
from ..words.rules import Settings
from .kind import Rewriting

OLD, NEW, SCALE = "keras2_hard_sigmoid", "hard_sigmoid", 1.2


def into_weights(layer: LayerDescription, rewriting: Rewriting) -> LayerDescription:
    """Put the factor into the kernel and bias of a layer that has one activation."""
    settings = layer.settings
    if settings["activation"] != OLD:
        return layer
    for index in range(1 + settings["use_bias"]):
        rewriting.scale(f"vars/{index}", lambda weight: SCALE * weight)
    return replace(layer, settings={**settings, "activation": NEW}, notes=(*layer.notes, _note(settings)))


def into_gates(name: str, cell: Settings, rewriting: Rewriting) -> tuple[Settings, list[str]]:
    """Put the factor into the weights of the gates i, f, o of a cell; return its settings, and what training notices.

    Raises:
        ConfigError: If the cell's ``activation`` is that function: it reads the cell state too, which no weight scales.
    """
    if cell["activation"] == OLD:
        raise ConfigError(
            f"{name}.activation: Keras 3 does not have the hard_sigmoid of Keras 1 and 2, and would give other "
            "numbers. save_model and save_onnx (--to torch, --to onnx) keep them."
        )
    if cell["recurrent_activation"] != OLD:
        return cell, []
    for index in range(2 + cell["use_bias"]):
        rewriting.scale(f"vars/{index}", _scale_gates)
    return {**cell, "recurrent_activation": NEW}, [_note(cell)]


def _scale_gates(weight: Array) -> Array:
    i, f, c, o = np.split(weight, 4, axis=-1)
    return np.concatenate([SCALE * i, SCALE * f, c, SCALE * o], axis=-1, dtype=c.dtype)


def behind_a_scale(layer: LayerDescription, rewriting: Rewriting) -> list[LayerDescription]:
    """Put a layer with the factor in front of a function that stands alone."""
    if layer.settings["activation"] != OLD:
        return [layer]
    name = rewriting.new_name(f"{layer.name}_input")
    scale = LayerDescription(name, "Rescaling", {"scale": SCALE, "offset": 0.0}, keras_class="Rescaling")
    note = "hard_sigmoid of Keras 1 and 2 is written as that of Keras 3, with a layer in front that multiplies by 1.2"
    changed = replace(layer, settings={**layer.settings, "activation": NEW}, notes=(*layer.notes, note))
    return in_front(scale, changed)


def in_front(first: LayerDescription, layer: LayerDescription) -> list[LayerDescription]:
    """Return two layers of which the first is called with what the second was called with, and hands it on."""
    calls = tuple(replace(call, inputs=(Reference(first.name, index),)) for index, call in enumerate(layer.calls))
    return [replace(first, calls=layer.calls), replace(layer, calls=calls)]


def _note(settings: Settings) -> str:
    said = "hard_sigmoid of Keras 1 and 2 is written as that of Keras 3, with the weights in front 1.2 times as large"
    ways = [f"{weight}_{what}" for weight in ("kernel", "recurrent", "bias") for what in ("regularizer", "constraint")]
    on = [way for way in ways if settings.get(way) is not None]
    return f"{said}; in training {' and '.join(on)} will see the larger weights" if on else said
