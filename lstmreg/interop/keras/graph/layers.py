"""What a model is: layers with settings, and which feeds which."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..words.rules import Settings
from .calls import Call, Reference


@dataclass(frozen=True)
class LayerDescription:
    """A layer: its name, what kind it is, its settings, and where it is used."""

    name: str
    kind: str  #: which ``modules.kind.kind_of`` looks up
    settings: Settings
    calls: tuple[Call, ...] = ()
    model: ModelDescription | None = None  #: of what holds layers: a model, or the one of ``TimeDistributed``
    is_trained: bool = True
    keras_class: str = ""  #: today's name of the class in Keras
    notes: tuple[str, ...] = ()  #: what the file means that cannot be carried over

    @property
    def is_input(self) -> bool:
        """Tell whether it is a place where tensors come in, and computes nothing."""
        return self.kind == "InputLayer"

    @property
    def inside(self) -> ModelDescription:
        """What a layer that holds layers holds."""
        assert self.model is not None
        return self.model


@dataclass(frozen=True)
class ModelDescription:
    """A graph of layers."""

    name: str
    layers: tuple[LayerDescription, ...]
    inputs: tuple[Reference, ...]
    outputs: tuple[Reference, ...]
    is_sequential: bool = False


def references_of(model: ModelDescription) -> list[Reference]:
    """Return all tensors that a model uses or gives."""
    between = [reference for layer in model.layers for call in layer.calls for reference in call.references()]
    return [*model.inputs, *model.outputs, *between]


def snake_case(name: str) -> str:
    """Return a class's name as Keras spells it in files."""
    spaced = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", spaced).lower()
