"""What was found in a model, layer by layer, for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .keras.graph.layers import LayerDescription
from .keras.modules.model import KerasModel
from .keras.modules.recurrent import are_alike
from .keras.words.dialects import KINDS, OWN_SETTINGS, Settings


@dataclass(frozen=True)
class Found:
    """A layer of a model.

    Args:
        name: Its name in Keras; of a layer inside another, with that one's name before.
        keras_class: Its class in Keras.
        parameters: How many numbers its weights are.
        settings: Those that differ from Keras' defaults, such as ``recurrent_dropout=0.2``.
    """

    name: str
    keras_class: str
    parameters: int
    settings: str


def summarize(model: KerasModel, prefix: str = "") -> Iterator[Found]:
    """Yield each layer of a model, those of models inside it too."""
    for layer in model.description.layers:
        if layer.kind in ("InputLayer", "Operation"):
            continue
        module = model.layers[model.key_of(layer.name)]
        buffers = [buffer for name, buffer in module.named_buffers() if "bias_hh" not in name]
        count = sum(tensor.numel() for tensor in [*module.parameters(), *buffers])
        settings = _described(layer) + ("" if layer.is_trained else ", frozen" if _described(layer) else "frozen")
        yield Found(prefix + layer.name, layer.keras_class if layer.kind != "Model" else "model", count, settings)
        if isinstance(module, KerasModel):
            yield from summarize(module, f"{prefix}{layer.name} > ")


def _described(layer: LayerDescription) -> str:
    settings = layer.settings
    if layer.kind == "RNN" and "cell" in settings:
        cells = settings["cell"].get("cells", [settings["cell"]])
        inner = "; ".join(_spoken(cell, "LSTMCell") for cell in cells)
        return ", ".join(filter(None, [_spoken(settings, "RNN"), f"cells: {inner}"]))
    if layer.kind == "RNN":
        return _spoken(settings, "LSTM")
    if layer.kind == "Bidirectional":
        ahead, back = settings["layer"], settings["backward_layer"]
        parts = [f"merge_mode={settings['merge_mode']!r}", _spoken(ahead, "LSTM", without=("zero_output_for_mask",))]
        return ", ".join(filter(None, [*parts, "" if are_alike(settings) else f"backward: {_spoken(back, 'LSTM')}"]))
    if layer.kind == "TimeDistributed":
        assert layer.model is not None
        inner_layer = layer.model.layers[0]
        return f"{inner_layer.keras_class}({_described(inner_layer)})"
    return _spoken(settings, layer.kind)


def _spoken(settings: Settings, kind: str, without: tuple[str, ...] = ()) -> str:
    """Say the settings that are not Keras' defaults; sizes and activations first."""
    usual = _OF_GATES if kind in ("LSTM", "LSTMCell") else {"activation": "linear"} if kind == "Dense" else {}
    defaults = {**KINDS[kind].defaults, **usual} if kind in KINDS else usual
    hidden = {*OWN_SETTINGS, "cell", "layer", "backward_layer", *without}
    shown = {k: v for k, v in settings.items() if k not in hidden and v != defaults.get(k, _NEVER)}
    if settings.get("per_gate_masks") is False and settings.get("recurrent_dropout"):
        shown["per_gate_masks"] = False
    as_keras_3 = bool(settings.get("recurrent_dropout")) and settings.get("per_gate_masks", True)
    if settings.get("dropout") and settings.get("per_gate_input_masks") not in (None, as_keras_3):
        shown["per_gate_input_masks"] = not as_keras_3
    order = sorted(shown, key=lambda name: (name not in _FIRST, _FIRST.index(name) if name in _FIRST else 0))
    return ", ".join(f"{name}={_value(shown[name])}" for name in order)


_NEVER = object()
_FIRST = ["units", "input_dim", "output_dim", "activation", "recurrent_activation"]
_OF_GATES: Settings = {"activation": "tanh", "recurrent_activation": "sigmoid"}


def _value(value: Any) -> str:
    if isinstance(value, dict) and "class_name" in value:
        config = [f"{name}={_value(setting)}" for name, setting in value["config"].items() if setting != 0]
        return f"{value['class_name']}({', '.join(config)})"
    return f"{value:.6g}" if isinstance(value, float) else repr(value)
