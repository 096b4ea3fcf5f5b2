"""The PyTorch module that a description and its weights become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lstmreg.errors import CorruptFileError

from ..file.container import Array
from ..graph.calls import Call, Reference
from ..graph.layers import LayerDescription, ModelDescription, snake_case
from ..words.rules import Rules, Settings
from .checks import check_model
from .keras_layer import KerasLayer, Mask, below
from .kind import Kind, Reader, Rewriting, Shapes, Writer, Written, kind_of, layer_leaves, make
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
        groups, parts = groups_of(description), _by_group(shapes)
        for layer in description.layers:
            if not layer.is_input:
                group = groups.get(layer.name, "")
                self.layers[self._keys[layer.name]] = make(layer, below(parts.get(group, {}), group))
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
            if kind_of(layer).casts:
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
            if kind_of(layer).is_model:
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
    takes_list = kind_of(layer).takes_list
    given: Any = inputs if takes_list else inputs[0]
    mask: Any = masks if takes_list else masks[0]
    more: dict[str, Any] = {"initial_state": states} if states else {}
    if call.constants:
        more["constants"] = call.constants
    is_hidden = bool(states) and not call.masks and not layer.settings.get("masks_with_states", False)
    output = module(given, None if is_hidden else mask, **more)
    found = module.compute_mask(given, mask)
    return (output, found) if isinstance(output, list) else ([output], [found])


def groups_of(description: ModelDescription) -> dict[str, str]:
    """Return the place of each layer in a ``.weights.h5`` file: by class, counted, and not by name."""
    counts: Counter[str] = Counter()
    found = {}
    for layer in description.layers:
        name = snake_case(kind_of(layer).group(layer))
        if not name or (layer.is_input and description.is_sequential):
            continue
        number = counts[name]
        counts[name] += 1
        found[layer.name] = f"layers/{name}" + (f"_{number}" if number else "")
    return found


def _by_group(shapes: Shapes) -> dict[str, dict[str, tuple[int, ...]]]:
    """Part the shapes by the place of the layer that they belong to, all at once: there may be thousands of layers."""
    parts: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, shape in shapes.items():
        parts.setdefault("/".join(key.split("/", 2)[:2]), {})[key] = shape
    return parts


def keys_of(description: ModelDescription) -> dict[str, str]:
    """Return under which key each layer stands in a model: its name, if ``nn.ModuleDict`` takes it."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    alike: Counter[str] = Counter()
    for layer in description.layers:
        if layer.is_input:
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
        if layer.name in groups and not layer.is_input
        for leaf in layer_leaves(layer)
    ]


def in_keras_3(description: ModelDescription, arrays: dict[str, Array], place: str = "") -> ModelDescription:
    """Return a model with the same outputs in the words of Keras 3; weights in ``arrays`` may change."""
    groups = groups_of(description)
    rewriting = Rewriting(arrays, place, {layer.name for layer in description.layers})
    layers: list[LayerDescription] = []
    for layer in description.layers:
        its = rewriting.at(groups[layer.name]) if layer.name in groups else rewriting
        layers += kind_of(layer).in_keras_3(layer, its)
    return replace(description, layers=tuple(layers))


class Model(Kind):
    """A model inside another one; its module is a :class:`KerasModel`."""

    reads: ClassVar = {"Sequential": Rules({}), "Functional": Rules({})}
    casts = False
    holds_layers = True
    is_model = True

    @classmethod
    def describe(cls, written: Written, reader: Reader) -> LayerDescription:
        """Read the model."""
        return cls.new(written, {}, written.class_name, reader.model(written.class_name, written.config))

    @classmethod
    def check(cls, layer: LayerDescription) -> None:
        """See that the model is such as reading gives."""
        check_model(layer.inside)

    @classmethod
    def outputs(cls, layer: LayerDescription) -> int:
        """Return how many outputs the model has."""
        return len(layer.inside.outputs)

    @classmethod
    def takes(cls, layer: LayerDescription, call: Call) -> tuple[int, int]:
        """Return how many inputs the model has."""
        return len(layer.inside.inputs), len(layer.inside.inputs)

    @classmethod
    def make(cls, layer: LayerDescription, shapes: Shapes) -> nn.Module:
        """Make the model."""
        return KerasModel(layer.inside, shapes)

    @classmethod
    def leaves(cls, layer: LayerDescription) -> list[Leaf]:
        """Return the weights of the model."""
        return leaves_of(layer.inside)

    @classmethod
    def group(cls, layer: LayerDescription) -> str:
        """Return which of Keras 3's classes of models it is."""
        return "Sequential" if layer.inside.is_sequential else "Functional"

    @classmethod
    def config(cls, layer: LayerDescription, writer: Writer) -> Settings:
        """Return the model as Keras 3 writes it, under the layer's name."""
        made = writer.model(layer.inside)
        made["config"] = {**made["config"], "name": layer.name, "trainable": layer.is_trained}
        return made

    @classmethod
    def in_keras_3(cls, layer: LayerDescription, rewriting: Rewriting) -> list[LayerDescription]:
        """Say the model inside in the words of Keras 3."""
        return [replace(layer, model=in_keras_3(layer.inside, rewriting.arrays, rewriting.place))]

    @classmethod
    def told_as(cls, layer: LayerDescription) -> str | None:
        """Return what it is for people."""
        return "model"


def _order(description: ModelDescription) -> list[tuple[LayerDescription, int, Call]]:
    """Return the calls in an order in which each finds its inputs, without those that no output needs."""
    calls: Mapping[tuple[str, int], tuple[LayerDescription, int, Call]] = {
        (layer.name, index): (layer, index, call)
        for layer in description.layers
        for index, call in enumerate(layer.calls)
        if not layer.is_input
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
