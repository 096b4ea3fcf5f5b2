"""What was found in a model, layer by layer, for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .keras.modules.kind import kind_of, layer_leaves
from .keras.modules.model import KerasModel


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
        kind = kind_of(layer)
        known_as = kind.told_as(layer)
        if known_as is None:
            continue
        module = model.layers[model.key_of(layer.name)]
        tensors = module.state_dict()
        count = sum(tensors[leaf.tensor].numel() for leaf in layer_leaves(layer))
        settings = ", ".join(filter(None, [kind.told(layer), "" if layer.is_trained else "frozen"]))
        yield Found(prefix + layer.name, known_as, count, settings)
        if isinstance(module, KerasModel):
            yield from summarize(module, f"{prefix}{layer.name} > ")
