"""Sees that a description is such as reading gives, and that its graph is whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lstmreg.errors import CorruptFileError

from ..graph.calls import Call
from ..graph.layers import LayerDescription, ModelDescription, references_of
from .kind import kind_of


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
    calls = {layer.name: max(len(layer.calls), layer.is_input) for layer in model.layers}
    for reference in references_of(model):
        if not 0 <= reference.call < calls.get(reference.layer, 0):
            raise CorruptFileError(f"{reference.layer[:80]!r} is used, but there is no such call of a layer")
        of = layers[reference.layer]
        if not 0 <= reference.output < kind_of(of).outputs(of):
            raise CorruptFileError(f"{reference.layer[:80]!r} has no output {reference.output}, but it is used")
    if not model.inputs or not model.outputs or any(not layers[r.layer].is_input for r in model.inputs):
        raise CorruptFileError("the model's inputs must be input layers, and it must have inputs and outputs")
    for layer in model.layers:
        for call in layer.calls:
            _check_call(layer, call)


def _check_call(layer: LayerDescription, call: Call) -> None:
    kind = kind_of(layer)
    fewest, most = kind.takes(layer, call)
    if not fewest <= len(call.inputs) <= most:
        raise CorruptFileError(f"{layer.name[:80]}: is called with {len(call.inputs)} inputs, which it does not take")
    states = kind.states(layer)
    if len(call.initial_state) not in (0, states):
        raise CorruptFileError(f"{layer.name[:80]}: takes {states} initial states, but got {len(call.initial_state)}")
    if len(call.masks) > len(call.inputs):
        raise CorruptFileError(f"{layer.name[:80]}: is called with more masks than inputs")
    if call.constants and not kind.takes_numbers(layer):
        raise CorruptFileError(f"{layer.name[:80]}: is called with a number, which it does not take")


def check_model(model: ModelDescription) -> None:
    """See that a description is such as reading a file of Keras gives, with all layers inside.

    Raises:
        CorruptFileError: If it is not.
    """
    check_graph(model)
    for layer in model.layers:
        check_layer(layer)


def check_layer(layer: LayerDescription) -> None:
    """See that the description of a layer is such as reading gives."""
    texts = [layer.name, layer.keras_class, *layer.notes]
    if not all(isinstance(text, str) for text in texts) or not isinstance(layer.is_trained, bool):
        raise CorruptFileError(f"{str(layer.name)[:80]}: is described in a way that is not understood")
    kind = kind_of(layer)
    if kind.holds_layers != (layer.model is not None):
        raise CorruptFileError(f"{layer.name[:80]}: {layer.kind} and what is inside it do not fit")
    kind.check(layer)
