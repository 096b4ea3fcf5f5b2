"""Describes lstmreg's own layers in Keras' words, so that they can leave the house the way Keras' models came in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from lstmreg import activations, constraints, regularizers
from lstmreg.layers import LSTM
from lstmreg.layers.cell import STEMS, Cell
from lstmreg.models import Ensemble, Network

from .keras.file.container import Array
from .keras.graph.calls import Call, Reference
from .keras.graph.layers import LayerDescription, ModelDescription
from .keras.modules.kind import kind_of
from .keras.modules.model import KerasModel
from .keras.modules.normalization import BatchNormalization
from .keras.modules.recurrent import ALIKE, RNN, Bidirectional
from .keras.modules.steps import Dense, Softmax
from .keras.weights import build, in_place
from .keras.words.rules import Settings
from .raw import Raw


def as_keras_model(module: nn.Module) -> KerasModel:
    """Return a module as a model of Keras' layers, with the same weights.

    Args:
        module: A :class:`KerasModel` (returned as it is), an :class:`lstmreg.LSTM`, an :class:`lstmreg.Network`, an
            :class:`lstmreg.Ensemble`, whose members feed an ``Average``, or one of these in a :class:`Raw`.

    Raises:
        TypeError: If it is something else, or has a regularizer, constraint or activation of the user's own.
        ValueError: If Keras has no counterpart, or the network has columns of tokens.
    """
    if isinstance(module, KerasModel):
        return module
    if isinstance(module, LSTM):
        return build(description_of(module), in_place(_arrays(module)))
    if isinstance(module, Raw):
        description, arrays = _raw(module)
        return build(description, in_place(arrays))
    if isinstance(module, Network):
        description, arrays = _network(module)
        return build(description, in_place(arrays))
    if isinstance(module, Ensemble):
        description, arrays = _ensemble(module)
        return build(description, in_place(arrays))
    raise TypeError(
        f"only lstmreg.LSTM, Network, Ensemble and models from lstmreg.interop.load_model can go to Keras, "
        f"got {type(module).__name__}. Give its LSTM layers one by one."
    )


def description_of(lstm: LSTM) -> ModelDescription:
    """Return the stack of Keras layers that an LSTM is.

    Raises:
        TypeError: If it has a regularizer, constraint or activation of the user's own.
        ValueError: If Keras has no counterpart, as for a projection.
    """
    return _chain(_stack(lstm, is_last_used=lstm.activity_steps == "last"), lstm.input_size)


def _network(network: Network) -> tuple[ModelDescription, dict[str, Array]]:
    layers, arrays = _layers(network)
    return _chain(layers, network.input_size), arrays


def _ensemble(ensemble: Ensemble) -> tuple[ModelDescription, dict[str, Array]]:
    """Describe one input, a chain of layers for each member, and their mean."""
    entry = _input(ensemble.input_size)
    chains: list[list[LayerDescription]] = []
    arrays: dict[str, Array] = {}
    for number, network in enumerate(ensemble.members):
        assert isinstance(network, Network)
        layers, weights = _layers(network, number, len(ensemble.members))
        chains.append(_linked(layers, Reference(entry.name)))
        arrays |= weights
    ends = tuple(Reference(chain[-1].name) for chain in chains)
    mean = LayerDescription("average", "Merge", {"merge": "Average"}, (Call(ends),), keras_class="Average")
    by_depth = [layer for abreast in zip(*chains, strict=True) for layer in abreast]  # as Keras orders them
    outputs = (Reference(mean.name),)
    return ModelDescription("ensemble", (entry, *by_depth, mean), (Reference(entry.name),), outputs), arrays


#: Between these a scale and its square are numbers of 32 bits.
_SCALES = 1e-15, 1e15


def _raw(raw: Raw) -> tuple[ModelDescription, dict[str, Array]]:
    """Put a frozen normalization in front, the scales of the outputs into the head, and the softmax behind."""
    network = raw.network
    description, arrays = _network(network) if isinstance(network, Network) else _ensemble(network)
    mean, scale = (t.numpy() for t in (raw.mean, raw.scale))
    if not ((scale > _SCALES[0]) & (scale < _SCALES[1])).all():
        raise ValueError(f"the scales of the inputs must lie between {_SCALES[0]:g} and {_SCALES[1]:g}, got {scale}.")
    entry, *layers = description.layers
    front = LayerDescription(
        "batch_normalization",
        BatchNormalization.__name__,
        {**BatchNormalization.rules.defaults, **_AS_IT_IS},
        (Call((Reference(entry.name),)),),
        keras_class=BatchNormalization.__name__,
        notes=tuple([raw.differences.left_out()] if raw.differences is not None else []),
    )
    layers = [
        replace(layer, calls=tuple(_behind(call, entry.name, front.name) for call in layer.calls)) for layer in layers
    ]
    place = f"layers/{front.name}/vars"
    arrays = {**arrays, f"{place}/0": mean.astype(np.float32), f"{place}/1": np.square(scale).astype(np.float32)}
    outputs = description.outputs
    if raw.output_mean is None or raw.output_scale is None:
        end = LayerDescription(
            "softmax", Softmax.__name__, dict(Softmax.rules.defaults), (Call(outputs),), keras_class="Softmax"
        )
        layers, outputs = [*layers, end], (Reference(end.name),)
    else:
        for layer in (each for each in layers if kind_of(each) is Dense):
            head = f"layers/{layer.name}/vars"
            factor, offset = raw.output_scale.numpy(), raw.output_mean.numpy()
            arrays[f"{head}/0"] = (arrays[f"{head}/0"] * factor).astype(np.float32)
            arrays[f"{head}/1"] = (arrays[f"{head}/1"] * factor + offset).astype(np.float32)
    return replace(description, layers=(entry, front, *layers), outputs=outputs), arrays


#: A normalization by stored numbers, which training leaves alone.
_AS_IT_IS: Settings = {"momentum": 0.99, "epsilon": 0.0, "center": False, "scale": False, "is_frozen": True}


def _behind(call: Call, entry: str, front: str) -> Call:
    """Let a call that takes the input take what stands in front of the network."""
    inputs = tuple(Reference(front) if reference.layer == entry else reference for reference in call.inputs)
    return replace(call, inputs=inputs)


def _layers(network: Network, number: int = 0, members: int = 1) -> tuple[list[LayerDescription], dict[str, Array]]:
    """Return the layers of a network, which may be one of several members, and their weights."""
    if network.embeddings is not None:
        raise ValueError("a network with columns of tokens cannot become Keras' layers; vocabularies must be empty.")
    layers: list[LayerDescription] = []
    arrays: dict[str, Array] = {}
    for index, lstm in enumerate(network.layers):
        assert isinstance(lstm, LSTM)
        is_last_used = index == len(network.layers) - 1 and network.steps == "last"
        first = index * members + number
        layers += _stack(lstm, is_last_used=is_last_used, first=first)
        arrays |= _arrays(lstm, first=first)
    settings: Settings = {**Dense.rules.defaults, **Dense.usual, "units": network.output_size}
    name = _numbered("dense", number)
    layers.append(LayerDescription(name, "Dense", settings, keras_class="Dense"))
    arrays[f"layers/{name}/vars/0"] = network.head.weight.detach().cpu().numpy().T
    arrays[f"layers/{name}/vars/1"] = network.head.bias.detach().cpu().numpy()
    return layers, arrays


def _chain(layers: list[LayerDescription], features: int) -> ModelDescription:
    entry = _input(features)
    chained = _linked(layers, Reference(entry.name))
    ends = (Reference(entry.name),), (Reference(chained[-1].name),)
    return ModelDescription("sequential", (entry, *chained), *ends, is_sequential=True)


def _input(features: int) -> LayerDescription:
    return LayerDescription("input", "InputLayer", {"batch_shape": [None, None, features]}, keras_class="InputLayer")


def _linked(layers: list[LayerDescription], last: Reference) -> list[LayerDescription]:
    """Let each layer take what the one before it gives, and the first one ``last``."""
    linked = []
    for layer in layers:
        linked.append(replace(layer, calls=(Call((last,)),)))
        last = Reference(layer.name)
    return linked


def _stack(lstm: LSTM, *, is_last_used: bool, first: int = 0) -> list[LayerDescription]:
    if lstm.proj_size > 0:
        raise ValueError("Keras' LSTM has no projection; proj_size must be 0.")
    made = []
    for layer in range(lstm.num_layers):
        is_sequence = layer < lstm.num_layers - 1 or not is_last_used
        cells = [_settings(lstm, cell, is_sequence) for cell in lstm.cells_of(layer)]
        if lstm.bidirectional:
            ahead, back = cells
            both: Settings = {"merge_mode": "concat", "layer": ahead, "backward_layer": back}
            kind, settings = Bidirectional.__name__, {**both, "activity_regularizer": None}
        else:
            kind, settings = RNN.__name__, cells[0]
        made.append(LayerDescription(_name(lstm, first + layer), kind, settings, keras_class=_class(lstm)))
    return made


def _class(lstm: LSTM) -> str:
    return "Bidirectional" if lstm.bidirectional else "LSTM"


def _name(lstm: LSTM, number: int) -> str:
    return _numbered(_class(lstm).lower(), number)


def _numbered(name: str, number: int) -> str:
    return name + (f"_{number}" if number else "")


def _settings(lstm: LSTM, cell: Cell, is_sequence: bool) -> Settings:
    return {
        "units": lstm.hidden_size,
        "use_bias": lstm.bias,
        "return_sequences": is_sequence,
        "return_state": False,
        "go_backwards": lstm.go_backwards or cell.direction == 1,
        "stateful": lstm.stateful,
        "zero_output_for_mask": is_sequence if lstm.bidirectional else lstm.zero_output_for_mask,
        "per_gate_masks": lstm.per_gate_masks,
        "per_gate_input_masks": lstm.per_gate_input_masks,
        "seed": cell.seed,
        **{name: _in_words(name, cell.setting(name)) for name in (*ALIKE, "activity_regularizer")},
    }


def _in_words(name: str, value: Any) -> Any:
    """Return a knob's value as Keras 3 describes it."""
    if name.endswith("_regularizer"):
        return regularizers.serialize(value)
    if name.endswith("_constraint"):
        return constraints.serialize(value)
    if not name.endswith("activation"):
        return value
    known = activations.name_of(value)
    if known is None:
        raise TypeError(f"{name} is a function of your own, {value!r}, which Keras has no name for.")
    return known


def _arrays(lstm: LSTM, first: int = 0) -> dict[str, Array]:
    """Return an LSTM's weights by their path in a ``.weights.h5`` file."""
    found: dict[str, Array] = {}
    for cell, cell_weights in zip(lstm.cells(), keras_weights(lstm), strict=True):
        place = f"layers/{_name(lstm, first + cell.layer)}/"
        place += ("forward_layer/", "backward_layer/")[cell.direction] if lstm.bidirectional else ""
        found |= {f"{place}cell/vars/{index}": array for index, array in enumerate(cell_weights)}
    return found


def keras_weights(lstm: LSTM) -> list[list[Array]]:
    """Return kernel ``(D, 4H)``, recurrent kernel ``(H, 4H)`` and bias ``(4H)`` of each layer and direction."""
    kinds = [kind for kind in STEMS if kind != "bias" or lstm.bias]
    return [[cell.in_keras(kind).detach().cpu().numpy().copy() for kind in kinds] for cell in lstm.cells()]
