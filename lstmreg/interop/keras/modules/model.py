"""The PyTorch module that a description and its weights become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lstmreg.errors import CorruptFileError

from ..graph.calls import Call, Reference
from ..graph.layers import LayerDescription, ModelDescription, snake_case
from .keras_layer import KerasLayer, Mask, Shapes, below
from .layers import LAYERS, Embedding, Operation, TimeDistributed
from .leaves import Leaf


class KerasModel(nn.Module):
    """A model of Keras' layers, sequential or functional, as a plain PyTorch module.

    It is made by :func:`lstmreg.interop.load_model`. Regularizers, dropouts and constraints are part of it:
    :func:`lstmreg.penalties` and :func:`lstmreg.apply_constraints` find them, and ``train()`` and ``eval()`` do what
    ``training=`` does in Keras. Layers are found by their names in Keras, as ``model.layers["lstm_1"]``.

    Args:
        description: The layers and how they are connected.
        shapes: Of each weight, by its path in a ``.weights.h5`` file.

    Shape:
        Inputs in the order of Keras' model, batch first as in Keras: ``(B, T, D)``, or whole numbers ``(B, T)`` for an
        ``Embedding``. One output is a tensor, several are a tuple.

    Raises:
        CorruptFileError: If the layers are connected in a circle.
    """

    def __init__(self, description: ModelDescription, shapes: Shapes) -> None:
        super().__init__()
        self.description = description
        self.layers = nn.ModuleDict()
        self._keys = keys_of(description)
        groups = groups_of(description)
        for layer in description.layers:
            if layer.kind != "InputLayer":
                self.layers[self._keys[layer.name]] = _make(layer, below(shapes, groups.get(layer.name, "")))
        self._order = _order(description)

    def leaves(self) -> list[Leaf]:
        """Return all weights, as Keras names and orders them."""
        return leaves_of(self.description)

    def key_of(self, name: str) -> str:
        """Return under which key of ``layers`` the layer of a name in Keras stands."""
        return self._keys[name]

    def forward(self, *inputs: Any) -> Tensor | tuple[Tensor, ...]:
        """Compute the model's outputs; see the class for shapes.

        Raises:
            ValueError: If the number of inputs is another one.
        """
        given: Sequence[Tensor] = inputs
        if len(inputs) == 1 and isinstance(inputs[0], (list, tuple)):  # as Keras is called
            given = inputs[0]
        expected = len(self.description.inputs)
        if len(given) != expected:
            names = ", ".join(reference.layer for reference in self.description.inputs)
            some = "one input" if expected == 1 else f"{expected} inputs"
            raise ValueError(f"the model takes {some} ({names}), got {len(given)}.")
        for reference, x in zip(self.description.inputs, given, strict=True):
            if not isinstance(x, Tensor):
                raise TypeError(f"{reference.layer} must be a torch.Tensor, got {type(x).__name__}.")
        outputs, _ = self.run(given, [None] * expected)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def run(self, inputs: Sequence[Tensor], masks: Sequence[Mask]) -> tuple[list[Tensor], list[Mask]]:
        """Compute outputs and their masks."""
        tensors = dict(zip(self.description.inputs, inputs, strict=True))
        valid = dict(zip(self.description.inputs, masks, strict=True))
        dtype = next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.float32)
        for layer, index, call in self._order:
            module = self.layers[self._keys[layer.name]]
            given = [tensors[reference] for reference in call.inputs]
            if not isinstance(module, (Embedding, Operation, KerasModel)):
                given = [x if x.dtype == dtype else x.to(dtype) for x in given]  # as Keras does
            states = [tensors[reference].to(dtype) for reference in call.initial_state]
            known = [valid[r] for r in call.inputs]
            if call.masks:
                known = [mask if r is None else tensors[r].bool() for r, mask in zip(call.masks, known, strict=False)]
            try:
                outputs, found = _apply(module, layer, given, known, states, call)
            except (ValueError, RuntimeError, IndexError) as error:
                shapes = ", ".join(str(tuple(x.shape)) for x in given)
                error.add_note(f"In layer {layer.name!r} ({layer.keras_class}), given {shapes}.")
                raise
            for number, (output, mask) in enumerate(zip(outputs, found, strict=True)):
                tensors[Reference(layer.name, index, number)] = output
                valid[Reference(layer.name, index, number)] = mask
        return [tensors[r] for r in self.description.outputs], [valid[r] for r in self.description.outputs]

    def reset_state(self) -> None:
        """Let stateful layers begin with zeros again."""
        for module in self.layers.values():
            if hasattr(module, "reset_state"):
                module.reset_state()  # type: ignore[operator]

    def notes(self) -> list[str]:
        """Return what the file means that could not be carried over."""
        found = []
        for layer in self.description.layers:
            found += [f"{layer.name}: {note}" for note in layer.notes]
            if layer.kind == "Model":
                found += [f"{layer.name} > {note}" for note in self.layers[self._keys[layer.name]].notes()]  # type: ignore[operator]
        return found


def _apply(
    module: nn.Module,
    layer: LayerDescription,
    inputs: list[Tensor],
    masks: list[Mask],
    states: list[Tensor],
    call: Call,
) -> tuple[list[Tensor], list[Mask]]:
    if isinstance(module, KerasModel):
        return module.run(inputs, masks)
    assert isinstance(module, KerasLayer)
    alone = layer.kind not in ("Merge", "Operation")
    given: Any = inputs[0] if alone else inputs
    mask: Any = masks[0] if alone else masks
    more: dict[str, Any] = {"initial_state": states} if states else {}
    if call.constants:
        more["constants"] = call.constants
    is_hidden = bool(states) and not call.masks and not layer.settings.get("masks_with_states", False)
    output = module(given, None if is_hidden else mask, **more)
    found = module.compute_mask(given, mask)
    return (output, found) if isinstance(output, list) else ([output], [found])


def _make(layer: LayerDescription, shapes: Shapes) -> nn.Module:
    try:
        if layer.kind == "Model":
            assert layer.model is not None
            return KerasModel(layer.model, shapes)
        if layer.kind == "TimeDistributed":
            assert layer.model is not None
            inner = _make(layer.model.layers[0], below(shapes, "layer"))
            made: nn.Module = TimeDistributed(layer.settings, shapes, inner)
        else:
            made = LAYERS[layer.kind](layer.settings, shapes)
    except CorruptFileError:
        raise
    except (ValueError, TypeError, KeyError, StopIteration, RuntimeError, IndexError) as error:
        raise CorruptFileError(
            f"{layer.name[:80]}: cannot be made with these settings and weights ({error})."
        ) from None
    return made if layer.is_trained else made.requires_grad_(False)


def groups_of(description: ModelDescription) -> dict[str, str]:
    """Return the place of each layer in a ``.weights.h5`` file: by class, counted, and not by name."""
    counts: Counter[str] = Counter()
    found = {}
    for layer in description.layers:
        if layer.kind == "Operation" or (layer.kind == "InputLayer" and description.is_sequential):
            continue
        name = snake_case(_class_of(layer))
        number = counts[name]
        counts[name] += 1
        found[layer.name] = f"layers/{name}" + (f"_{number}" if number else "")
    return found


def _class_of(layer: LayerDescription) -> str:
    if layer.model is not None and layer.kind == "Model":
        return "Sequential" if layer.model.is_sequential else "Functional"
    return layer.keras_class


def keys_of(description: ModelDescription) -> dict[str, str]:
    """Return under which key each layer stands in a model: its name, if ``nn.ModuleDict`` takes it."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    alike: Counter[str] = Counter()
    for layer in description.layers:
        if layer.kind == "InputLayer":
            continue
        stem = key = layer.name.replace(".", "_") or "_"
        while key in taken or hasattr(_NO_LAYERS, key):
            alike[stem] += 1
            key = f"{stem}_{alike[stem]}"
        taken.add(key)
        found[layer.name] = key
    return found


_NO_LAYERS = nn.ModuleDict()


def leaves_of(description: ModelDescription) -> list[Leaf]:
    """Return all weights of a model, as Keras names and orders them."""
    groups, keys = groups_of(description), keys_of(description)
    return [
        leaf.inside(groups[layer.name], f"layers.{keys[layer.name]}")
        for layer in description.layers
        if layer.name in groups and layer.kind != "InputLayer"
        for leaf in layer_leaves(layer)
    ]


def layer_leaves(layer: LayerDescription) -> list[Leaf]:
    """Return the weights of one layer, as seen from it."""
    if layer.kind == "InputLayer":
        return []
    if layer.kind == "Model":
        assert layer.model is not None
        leaves = leaves_of(layer.model)
    elif layer.kind == "TimeDistributed":
        assert layer.model is not None
        leaves = [leaf.inside("layer", "layer") for leaf in layer_leaves(layer.model.layers[0])]
    else:
        leaves = [replace(leaf, owner=layer.name) for leaf in LAYERS[layer.kind].leaves_of(layer.settings)]
    return leaves if layer.is_trained else [replace(leaf, is_trained=False) for leaf in leaves]


def _order(description: ModelDescription) -> list[tuple[LayerDescription, int, Call]]:
    """Return the calls in an order in which each finds its inputs, without those that no output needs."""
    calls: Mapping[tuple[str, int], tuple[LayerDescription, int, Call]] = {
        (layer.name, index): (layer, index, call)
        for layer in description.layers
        for index, call in enumerate(layer.calls)
        if layer.kind != "InputLayer"
    }
    order: list[tuple[LayerDescription, int, Call]] = []
    state: dict[tuple[str, int], str] = {}
    stack = [(r.layer, r.call) for r in reversed(description.outputs)]
    while stack:
        place = stack[-1]
        if place not in calls or state.get(place) == "done":
            stack.pop()
            continue
        call = calls[place][2]
        waiting = [(r.layer, r.call) for r in call.references()]
        missing = [w for w in waiting if w in calls and state.get(w) != "done"]
        if not missing:
            order.append(calls[place])
            state[place] = "done"
        elif state.get(place) == "open" or any(state.get(w) == "open" for w in missing):
            raise CorruptFileError(f"{place[0][:80]!r} depends on its own output.")
        else:
            state[place] = "open"
            stack += missing
    return order
