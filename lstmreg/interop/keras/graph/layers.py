"""What a model is: layers with settings, and which feeds which."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lstmreg.errors import CorruptFileError

from ..words.dialects import Settings
from .calls import Call, Reference


@dataclass(frozen=True)
class LayerDescription:
    """A layer: its name, what kind it is, its settings, and where it is used."""

    name: str
    kind: str  #: a key of ``modules.layers.LAYERS``, or ``InputLayer``, or ``Model``
    settings: Settings
    calls: tuple[Call, ...] = ()
    model: ModelDescription | None = None  #: of a kind ``Model``
    is_trained: bool = True
    keras_class: str = ""  #: today's name of the class in Keras
    notes: tuple[str, ...] = ()  #: what the file means that cannot be carried over


@dataclass(frozen=True)
class ModelDescription:
    """A graph of layers."""

    name: str
    layers: tuple[LayerDescription, ...]
    inputs: tuple[Reference, ...]
    outputs: tuple[Reference, ...]
    is_sequential: bool = False


def outputs_of(layer: LayerDescription) -> int:
    """Return how many tensors a layer gives."""
    if layer.kind == "Model":
        assert layer.model is not None
        return len(layer.model.outputs)
    if layer.kind not in ("RNN", "Bidirectional"):
        return 1
    inner = layer.settings.get("layer", layer.settings) if layer.kind == "Bidirectional" else layer.settings
    states = states_of(layer) if inner.get("return_state") else 0
    return (2 if layer.settings.get("merge_mode", "") is None else 1) + states


def states_of(layer: LayerDescription) -> int:
    """Return how many states a recurrent layer has: ``h`` and ``c`` of each cell in each direction."""
    inner = layer.settings["layer"] if layer.kind == "Bidirectional" else layer.settings
    cells = len(inner["cell"]["cells"]) if "cells" in (inner.get("cell") or {}) else 1
    return 2 * cells * (2 if layer.kind == "Bidirectional" else 1)


def references_of(model: ModelDescription) -> list[Reference]:
    """Return all tensors that a model uses or gives."""
    between = [reference for layer in model.layers for call in layer.calls for reference in call.references()]
    return [*model.inputs, *model.outputs, *between]


def check_names(layers: Sequence[LayerDescription]) -> None:
    """See that no two layers have one name."""
    name, count = Counter(layer.name for layer in layers).most_common(1)[0]
    if count > 1:
        raise CorruptFileError(f"two layers are called {name[:80]!r}")


def check_graph(model: ModelDescription) -> None:
    """See that every tensor that is used exists, and that every layer gets what it takes.

    Raises:
        CorruptFileError: If not, with the layer's name.
    """
    check_names(model.layers)
    layers = {layer.name: layer for layer in model.layers}
    calls = {layer.name: max(len(layer.calls), layer.kind == "InputLayer") for layer in model.layers}
    for reference in references_of(model):
        if not 0 <= reference.call < calls.get(reference.layer, 0):
            raise CorruptFileError(f"{reference.layer[:80]!r} is used, but there is no such call of a layer")
        if not 0 <= reference.output < outputs_of(layers[reference.layer]):
            raise CorruptFileError(f"{reference.layer[:80]!r} has no output {reference.output}, but it is used")
    if not model.inputs or not model.outputs or any(layers[r.layer].kind != "InputLayer" for r in model.inputs):
        raise CorruptFileError("the model's inputs must be input layers, and it must have inputs and outputs")
    for layer in model.layers:
        for call in layer.calls:
            _check_call(layer, call)


def _check_call(layer: LayerDescription, call: Call) -> None:
    fewest, most = _takes(layer, call)
    if not fewest <= len(call.inputs) <= most:
        raise CorruptFileError(f"{layer.name[:80]}: is called with {len(call.inputs)} inputs, which it does not take")
    states = states_of(layer) if layer.kind in ("RNN", "Bidirectional") else 0
    if len(call.initial_state) not in (0, states):
        raise CorruptFileError(f"{layer.name[:80]}: takes {states} initial states, but got {len(call.initial_state)}")
    if len(call.masks) > len(call.inputs):
        raise CorruptFileError(f"{layer.name[:80]}: is called with more masks than inputs")
    if call.constants and (layer.kind, layer.settings.get("operation")) != ("Operation", "NotEqual"):
        raise CorruptFileError(f"{layer.name[:80]}: is called with a number, which it does not take")


def _takes(layer: LayerDescription, call: Call) -> tuple[int, int]:
    """Return how many inputs a layer takes, at least and at most."""
    if layer.kind == "Model":
        assert layer.model is not None
        return len(layer.model.inputs), len(layer.model.inputs)
    if layer.kind == "Merge":
        return (2, 2) if layer.settings["merge"] == "Subtract" else (1, 10_000)
    if layer.kind == "Operation":
        operation = layer.settings["operation"]
        if operation == "Concatenate":
            return 1, 10_000
        both = operation in ("LogicalOr", "LogicalAnd") or (operation == "NotEqual" and not call.constants)
        return (2, 2) if both else (1, 1)
    return 1, 1


def snake_case(name: str) -> str:
    """Return a class's name as Keras spells it in files."""
    spaced = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", spaced).lower()
