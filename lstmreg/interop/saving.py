"""Models out: into files that Keras reads, and into a folder of ours."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from lstmreg.errors import ConfigError
from lstmreg.extras import need
from lstmreg.files import write_atomically
from lstmreg.layers import LSTM

from . import folder
from .describing import as_keras_model, keras_weights
from .keras.file.container import Array
from .keras.graph.configuration import keras_config
from .keras.modern import in_keras_3
from .keras.modules.model import KerasModel, groups_of
from .keras.weights import arrays_of

PathLike = str | os.PathLike[str]

#: The Keras whose format is written.
KERAS_VERSION = "3.15.1"


def get_weights(module: nn.Module) -> list[Array]:
    """Return weights as Keras' ``get_weights`` gives them and its ``set_weights`` takes them.

    Args:
        module: An :class:`lstmreg.LSTM` (for each layer and direction kernel ``(D, 4H)``, recurrent kernel ``(H, 4H)``
            and bias ``(4H)``), an :class:`lstmreg.Network`, or what :func:`load_model` returned.

    Example:
        >>> from lstmreg import LSTM, interop
        >>> [array.shape for array in interop.get_weights(LSTM(3, 5))]
        [(3, 20), (5, 20), (20,)]
    """
    if isinstance(module, LSTM):
        return [array for cell in keras_weights(module) for array in cell]
    return list(arrays_of(as_keras_model(module)).values())


def save_weights(module: nn.Module, path: PathLike) -> None:
    """Write a ``.weights.h5`` file that Keras 3 loads with ``model.load_weights``: the weights as they are.

    Args:
        module: An :class:`lstmreg.LSTM` (for a ``Sequential`` of as many LSTM layers, or ``Bidirectional`` ones), an
            :class:`lstmreg.Network`, or what :func:`load_model` returned.
        path: Its name must end in ``.weights.h5``, or Keras would not take it.

    Raises:
        ConfigError: If the name ends otherwise, or h5py is not installed.
    """
    if not str(path).endswith(".weights.h5"):
        raise ConfigError(f"{path}: Keras reads weights only from a name that ends in .weights.h5.")
    write_atomically(Path(path), _hdf5(as_keras_model(module)))


def _hdf5(model: KerasModel) -> bytes:
    need("keras", "writing Keras files", "h5py")
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as tree:
        _make_groups(tree, model)
        for key, array in arrays_of(model).items():
            tree.create_dataset(key, data=array)
    return file.getvalue()


def _make_groups(tree: Any, model: KerasModel, place: str = "") -> None:
    """Make a group for each layer, as Keras does: it looks for those without weights too."""
    groups = groups_of(model.description)
    tree.require_group(f"{place}vars").attrs["name"] = model.description.name
    for layer in model.description.layers:
        if layer.name in groups:
            below = f"{place}{groups[layer.name]}/"
            tree.require_group(f"{below}vars").attrs["name"] = layer.name
            inner = model.layers[model.key_of(layer.name)] if not layer.is_input else None
            if isinstance(inner, KerasModel):
                _make_groups(tree, inner, below)


def save_keras(module: nn.Module, path: PathLike) -> None:
    """Write a ``.keras`` file that ``keras.models.load_model`` of Keras 3 reads: the layers and their weights.

    Args:
        module: As for :func:`save_weights`. Where ``hard_sigmoid`` is that of Keras 1 and 2, it becomes that of
            Keras 3, and the weights in front of it become 1.2 times as large: the outputs are the same. Penalties and
            constraints of those weights, as far as there are such, then see the larger ones.
        path: Its name must end in ``.keras``.

    Raises:
        ConfigError: If Keras 3 has no counterpart of a setting, as of Keras 2's ``hard_sigmoid`` for an LSTM's
            ``activation``; if an input's shape is not known; or as for :func:`save_weights`.
    """
    if not str(path).endswith(".keras"):
        raise ConfigError(f"{path}: Keras reads models only from a name that ends in .keras.")
    model = in_keras_3(as_keras_model(module))
    shapes: Mapping[str, Any] = {key: array.shape for key, array in arrays_of(model).items()}
    members = {
        "metadata.json": json.dumps({"keras_version": KERAS_VERSION, "date_saved": ""}).encode(),
        "config.json": json.dumps(keras_config(model.description, shapes)).encode(),
        "model.weights.h5": _hdf5(model),
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # with a fixed date: the same model, the same bytes
    write_atomically(Path(path), file.getvalue())


def save_model(module: nn.Module, directory: PathLike) -> None:
    """Write ``model.json`` and ``model.safetensors`` into a folder, for :func:`load_model`; it needs no h5py.

    Args:
        module: As for :func:`save_weights`.
        directory: The folder; it is made if there is none.
    """
    folder.save(as_keras_model(module), directory)
