"""Says a model in the words of Keras 3: the same outputs, by other weights where its own functions differ."""

from __future__ import annotations

from .file.container import Array
from .modules import model as modules
from .modules.model import KerasModel
from .weights import arrays_of, build, in_place


def in_keras_3(model: KerasModel) -> KerasModel:
    """Return a model with the same outputs that Keras 3 has words for; its notes say what training would notice.

    Raises:
        ConfigError: If Keras 3 has none, as for the ``hard_sigmoid`` of Keras 1 and 2 as an LSTM's ``activation``.
    """
    arrays: dict[str, Array] = dict(arrays_of(model))
    description = modules.in_keras_3(model.description, arrays)
    return model if description == model.description else build(description, in_place(arrays))
