"""What Keras' layers have in common as PyTorch modules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lstmreg import constraints, regularizers
from lstmreg.layers.penalty import ActivityRecord, Term, is_trainable

from ..graph.layers import LayerDescription
from ..words.rules import Settings
from .kind import Kind, Shapes
from .leaves import Leaf

Mask = Tensor | None


class KerasLayer(Kind, nn.Module):
    """What all have in common: settings, weights that Keras knows by a name, penalties and constraints.

    A subclass is a kind of layer: with its ``rules``, its weights (``leaves_of``) and what it computes (``call``) all
    is said.
    """

    #: Whether the mask of the input is also that of the output.
    passes_mask = True

    def __init__(self, settings: Settings, shapes: Shapes) -> None:
        super().__init__()
        self.settings = dict(settings)
        self.activity_regularizer = regularizers.get(settings.get("activity_regularizer"), "activity_regularizer")
        self._activity = ActivityRecord()
        #: Whether a forward pass with gradients has used the weights, so that an optimizer may have moved them.
        self._was_used = False

    @classmethod
    def make(cls, layer: LayerDescription, shapes: Shapes) -> nn.Module:
        """Make the module of a layer."""
        return cls(layer.settings, shapes)

    @classmethod
    def leaves(cls, layer: LayerDescription) -> list[Leaf]:
        """Return the weights of a layer."""
        return [replace(leaf, owner=layer.name) for leaf in cls.leaves_of(layer.settings)]

    @classmethod
    def leaves_of(cls, settings: Settings) -> list[Leaf]:
        """Return the weights of a layer with such settings, in the order of Keras' ``get_weights``."""
        return []

    def forward(self, inputs: Any, mask: Any = None, **more: Any) -> Any:
        """Compute the layer's output as Keras does."""
        if not self.training and self.activity_regularizer is not None:
            self._activity.forget()
        self._was_used = self._was_used or torch.is_grad_enabled()
        output = self.call(inputs, mask, **more)
        if self.training and self.activity_regularizer is not None:
            for tensor in output if isinstance(output, list) else [output]:
                self._activity.add(self.activity_regularizer, tensor, len(tensor))
        return output

    def call(self, *args: Any, **more: Any) -> Any:
        """Compute the output from inputs and mask; each layer has its own."""
        raise NotImplementedError

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return the mask of the output, or ``None``."""
        return mask if self.passes_mask else None

    # ------------------------------------------------------------------ penalties and constraints

    def _constrained(self, kind: str) -> Iterator[tuple[Leaf, Any]]:
        """Yield the layer's own weights that have a regularizer or constraint."""
        for leaf in self.leaves_of(self.settings):
            identifier = self.settings.get(f"{leaf.name}_{kind}")
            if leaf.group == "" and identifier is not None:
                yield leaf, identifier

    def penalty_terms(self) -> Iterator[Term]:
        """Yield the penalties of the layer's own weights and of its output, for :func:`lstmreg.penalties`."""
        for leaf, identifier in self._constrained("regularizer"):
            module, name = _owner(self, leaf.tensor)
            if is_trainable(module, name):
                weight = getattr(module, name)
                yield Term("other", weight, regularizers.get(identifier), leaf.as_in_keras(weight))  # type: ignore[arg-type]
        if self.activity_regularizer is not None:
            yield from self._activity.read()

    @torch.no_grad()
    def apply_constraints(self) -> None:
        """Project the constrained weights that are trained, as :meth:`lstmreg.LSTM.apply_constraints` does."""
        for leaf, identifier in self._constrained("constraint"):
            module, name = _owner(self, leaf.tensor)
            weight = getattr(module, name)
            constraint = constraints.get(identifier)
            is_used = self._was_used or weight.grad is not None
            if constraint is not None and is_used and is_trainable(module, name):
                weight.copy_(leaf.as_in_keras(constraint(leaf.as_in_keras(weight))))

    def extra_repr(self) -> str:
        """Show the settings that say something."""
        shown = {name: value for name, value in self.settings.items() if value not in (None, False) and name != "units"}
        return ", ".join(f"{name}={value!r}" for name, value in shown.items() if not isinstance(value, dict))


def below(shapes: Shapes, group: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what stands in a group, as seen from it."""
    return {key[len(group) + 1 :]: shape for key, shape in shapes.items() if key.startswith(f"{group}/")}


def _owner(module: nn.Module, tensor: str) -> tuple[nn.Module, str]:
    path, _, name = tensor.rpartition(".")
    return module.get_submodule(path), name
