"""Keras' and PyTorch's models in: from files, from a running Keras, from ``torch.nn.LSTM``."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lstmreg import models
from lstmreg.errors import UNEXPECTED, ConfigError, CorruptFileError
from lstmreg.layers import LSTM

from . import folder
from .describing import as_keras_model, description_of
from .keras import weights
from .keras.file.container import Container, open_container
from .keras.graph.description import locate_layer, lstm_names, read_description
from .keras.graph.layers import ModelDescription
from .keras.modules.model import KerasModel
from .keras.modules.recurrent import ALIKE, RNN, Bidirectional, are_alike
from .keras.words.old_weights import Named

PathLike = str | os.PathLike[str]


def load_model(path: PathLike, architecture: PathLike | None = None) -> KerasModel:
    """Read a model that Keras saved, or that :func:`lstmreg.interop.save_model` did. Keras is not needed.

    Nothing in the file is executed, and what is not known is refused by name. The module gives the numbers that the
    version of Keras which wrote the file gave; ``hard_sigmoid``, for example, meant another function before Keras 3.

    Args:
        path: A ``.keras`` or ``.h5`` file of Keras 1, 2 or 3; a ``.weights.h5`` file; or a folder with a model that was
            converted, or trained by lstmreg.
        architecture: The model's description as ``model.to_json()`` has it, where the file holds weights alone.

    Returns:
        The model in eval mode, batch first.

    Raises:
        ConfigError: If there is no such file, or the description is needed and not given.
        CorruptFileError: If it is damaged, not safe to read, or holds what lstmreg does not have.

    Example:
        >>> import lstmreg
        >>> lstmreg.interop.load_model("https://example.org/model.h5")
        Traceback (most recent call last):
        lstmreg.errors.CorruptFileError: https://example.org/model.h5: is no file here; lstmreg has no network code...
    """
    if folder.is_ours(path):
        return folder.load(Path(path)) if folder.is_converted(path) else _trained(Path(path))
    container = open_container(path)
    with _named(container.path):
        config, version = _config(container, architecture)
        with _named(container.path if architecture is None else Path(architecture)):
            description = _whole(config, version)
        return weights.build(description, weights.find(description, container))


def _trained(directory: Path) -> KerasModel:
    """Read a network that lstmreg trained; what its numbers mean, where they are no levels, goes along as a note."""
    network, about = models.load(directory)
    model = as_keras_model(network)
    difference = about.get("difference") if isinstance(about, dict) else None
    if isinstance(difference, dict):
        note = f"trained on differences: {difference.get('use')}"[:1000]
        *others, head = model.description.layers
        layers = (*others, dataclasses.replace(head, notes=(note,)))
        model.description = dataclasses.replace(model.description, layers=layers)
    return model


def _whole(config: Mapping[str, Any], version: str) -> ModelDescription:
    try:
        return read_description(config, version)
    except CorruptFileError as error:
        names = lstm_names(config)
        if not names:
            raise
        rest = "" if len(names) < 6 else f" and {len(names) - 5} more"
        remedy = f"Its LSTM layers ({', '.join(names[:5])[:300]}{rest}) can be read one by one with load_lstm."
        raise CorruptFileError(f"{str(error).rstrip('.')}. {remedy}") from None


def load_lstm(path: PathLike, layer: str | None = None, architecture: PathLike | None = None) -> LSTM:
    """Read one LSTM of a Keras file into an :class:`lstmreg.LSTM`, with all its knobs; other layers may be anything.

    ``Bidirectional(LSTM)`` becomes ``LSTM(bidirectional=True)``.

    Args:
        path: As for :func:`load_model`.
        layer: The layer's name in Keras; ``encoder > lstm`` for one in a model within the model, if its own name is not
            the only one. Default: the only LSTM that there is.
        architecture: As for :func:`load_model`.

    Raises:
        ConfigError: If there is no such layer, or several and none is named.
        CorruptFileError: As for :func:`load_model`; or if the layer merges its directions in another way than
            ``concat``, or stacks several cells.
    """
    container = open_container(path)
    with _named(container.path):
        config, version = _config(container, architecture)
        description, place = locate_layer(config, version, layer, by_name=container.legacy_group is not None)
        model = weights.build(description, weights.find_layers(description, [place], container))
        return lstm_of(model.layers[model.key_of(description.layers[-1].name)])


def lstm_of(layer: nn.Module) -> LSTM:
    """Return a recurrent layer of a :class:`KerasModel` as one :class:`lstmreg.LSTM`.

    Raises:
        CorruptFileError: If one LSTM cannot do what the layer does.
    """
    if isinstance(layer, RNN) and len(layer.layers) == 1:
        only = layer.layers[0]
        assert isinstance(only, LSTM)
        return only
    if isinstance(layer, Bidirectional):
        return _two_ways(layer)
    raise CorruptFileError("several cells in one recurrence are no single LSTM. Use load_model.")


def _two_ways(layer: Bidirectional) -> LSTM:
    ahead, back = (each.layers[0] for each in (layer.forward_layer, layer.backward_layer))
    assert isinstance(ahead, LSTM)
    assert isinstance(back, LSTM)
    if (
        layer.merge_mode != "concat"
        or not are_alike(layer.settings)
        or ahead.go_backwards
        or layer.activity_regularizer
    ):
        raise CorruptFileError(
            "the two directions are no single LSTM, which joins like ones by concat. Use load_model."
        )
    options = {name: getattr(ahead, name) for name in _KEPT}
    seed = None if ahead.seed is None else [ahead.seed, back.seed]
    both = LSTM(ahead.input_size, ahead.hidden_size, bidirectional=True, seed=seed, **options)
    state: dict[str, Tensor] = {}
    for cell, source in zip(both.cells(), (ahead, back), strict=True):
        (alone,), weights = source.cells(), source.state_dict()
        state |= {name: weights[its] for name, its in zip(cell.names, alone.names, strict=True)}
    both.load_state_dict(state, assign=True)
    return both.eval()


#: Settings of one direction that are those of both.
_KEPT = [
    *ALIKE,
    *("bias", "batch_first", "stateful", "per_gate_masks", "per_gate_input_masks"),
    *("activity_regularizer", "activity_steps"),
]


def load_weights(module: nn.Module, path: PathLike, layer: str | Sequence[str] | None = None) -> None:
    """Put the weights of a Keras file into a module that is already there.

    Args:
        module: An :class:`lstmreg.LSTM`, or what :func:`load_model` returned.
        path: A ``.weights.h5``, ``.h5`` or ``.keras`` file.
        layer: For an LSTM, which layers of the file its layers are, from the first to the last, by the names that the
            file has. Default: the file has these alone.

    Raises:
        ConfigError: If there is no such layer, or no such file.
        CorruptFileError: If the weights are not those of such a module; it then is as it was.
        TypeError: If the module is of another class.
    """
    if not isinstance(module, (KerasModel, LSTM)):
        raise TypeError(f"module must be an lstmreg.LSTM or a KerasModel, got {type(module).__name__}.")
    own = None if isinstance(module, KerasModel) else description_of(module)
    container = open_container(path)
    with _named(container.path):
        if isinstance(module, KerasModel):
            if layer is not None:
                raise ConfigError("layer must be None for a whole model")
            weights.fill(module, weights.find(module.description, container))
            return
        assert own is not None
        if not container.arrays:
            raise ConfigError("has no weights in it")
        places = [layer] if isinstance(layer, str) else layer
        if places is None and len(weights.places_in(container)) not in (0, module.num_layers):
            raise ConfigError(_which_layers(module, container))
        if places is None:
            found = weights.find(own, container)
        elif len(places) == module.num_layers:
            found = weights.find_layers(own, places, container)
        else:
            raise ConfigError(f"layer must name {module.num_layers} layers, one for each of the LSTM's, got {layer!r}.")
        _copy_into(module, weights.build(own, found))


def _which_layers(lstm: LSTM, container: Container) -> str:
    """Ask which of a file's layers are those of an LSTM, and propose some."""
    held = weights.places_in(container)
    likely = weights.lstms_in(container, 1 + lstm.bidirectional)
    has, kind = f"has weights of {len(held)} layers", "a Bidirectional LSTM" if lstm.bidirectional else "an LSTM"
    if len(likely) < lstm.num_layers:
        return f"{has}, {len(likely)} of them {kind}; this one has {lstm.num_layers}: {', '.join(likely or held)[:300]}"
    proposed = likely[0] if lstm.num_layers == 1 else likely[: lstm.num_layers]
    return f"{has}; say as layer which of them are the LSTM's (layer={proposed!r}, say): {', '.join(likely)[:300]}"


@torch.no_grad()
def _copy_into(lstm: LSTM, model: KerasModel) -> None:
    cells = [
        cell
        for layer in model.layers.values()
        for cell in ([layer.forward_layer, layer.backward_layer] if isinstance(layer, Bidirectional) else [layer])
    ]
    pairs = list(zip(lstm.all_weights, map(lstm_of, cells), strict=True))
    for ours, cell in pairs:
        for target, source in zip(ours, cell.all_weights[0], strict=True):
            if target.shape != source.shape:
                found, wanted = tuple(source.t().shape), tuple(target.t().shape)
                raise CorruptFileError(f"a kernel has shape {found}; this LSTM's is {wanted}")
    for ours, cell in pairs:
        for target, source in zip(ours, cell.all_weights[0], strict=True):
            target.copy_(source)


# ---------------------------------------------------------------------- a running Keras


def from_keras(source: Any) -> KerasModel | LSTM:
    """Convert a model or an LSTM layer of a Keras that is running (``keras``, ``tf_keras`` or ``tf.keras``).

    Args:
        source: A built Sequential or Functional model, an LSTM or ``Bidirectional(LSTM)``.

    Returns:
        The model, or of a layer an :class:`lstmreg.LSTM`; in eval mode.

    Raises:
        TypeError: If it is not of Keras.
        CorruptFileError: If it holds what lstmreg does not have.
    """
    version = _version_of(source)
    if hasattr(source, "layers") and hasattr(source, "to_json"):
        description = read_description(json.loads(source.to_json()), version)
        return weights.build(description, weights.from_layers(description, dict(_live_weights(source))))
    config = {"class_name": type(source).__name__, "config": source.get_config(), "module": type(source).__module__}
    description = read_description(json.loads(json.dumps(config, default=_plain)), version)
    name = description.layers[-1].name
    model = weights.build(description, weights.from_layers(description, {name: _named_weights(source)}))
    return lstm_of(model.layers[model.key_of(name)])


def _version_of(source: Any) -> str:
    for cls in type(source).__mro__:
        root = cls.__module__.split(".")[0]
        if root in ("keras", "tf_keras", "tensorflow"):
            module = sys.modules[root]
            return str(module.keras.__version__ if root == "tensorflow" else module.__version__)
    raise TypeError(f"source must be a model or layer of Keras, got {type(source).__name__}.")


def _live_weights(model: Any) -> Iterator[tuple[str, Named]]:
    for layer in model.layers:
        yield layer.name, _named_weights(layer)


def _named_weights(layer: Any) -> Named:
    """Return a layer's weights as files have them: what is trained in front."""
    variables = [*layer.trainable_weights, *layer.non_trainable_weights]
    return [(getattr(v, "path", v.name), np.array(_numpy(v))) for v in variables]


def _numpy(variable: Any) -> Any:
    """Return a variable's values, whichever library keeps them."""
    keras = sys.modules.get(type(variable).__module__.split(".")[0])
    if isinstance(getattr(variable, "value", None), torch.Tensor):
        return variable.value.detach().cpu().numpy()
    if hasattr(keras, "ops"):  # Keras 3 on another backend
        return keras.ops.convert_to_numpy(variable.value)  # type: ignore[union-attr]
    return variable.numpy()


def _plain(value: Any) -> Any:
    """Describe an object of Keras in a layer's settings, as its own ``serialize`` does."""
    if hasattr(value, "get_config"):
        cls = type(value)
        return {"class_name": cls.__name__, "module": cls.__module__, "config": value.get_config()}
    raise CorruptFileError(f"{value!r} among the settings of a layer cannot be read")


# ---------------------------------------------------------------------- PyTorch


def from_torch(lstm: nn.LSTM, **knobs: Any) -> LSTM:
    """Make an :class:`lstmreg.LSTM` with the weights of a ``torch.nn.LSTM``.

    Args:
        lstm: The stock layer. Its ``dropout`` means another thing (between layers, anew at each step) and is not kept.
        knobs: Any keyword argument of :class:`lstmreg.LSTM`, such as ``recurrent_dropout=0.2``.

    Returns:
        The layer on the same device, in the same mode; in eval mode its outputs are the same.
    """
    if not isinstance(lstm, nn.LSTM):
        raise TypeError(f"lstm must be a torch.nn.LSTM, got {type(lstm).__name__}.")
    if taken := sorted(knobs.keys() & {"input_size", "hidden_size", "num_layers", "bidirectional", "proj_size"}):
        raise TypeError(f"{', '.join(taken)} cannot be given: the weights say it.")
    first = lstm.weight_ih_l0
    made = LSTM(
        lstm.input_size,
        lstm.hidden_size,
        lstm.num_layers,
        lstm.bias,
        lstm.batch_first,
        bidirectional=lstm.bidirectional,
        proj_size=lstm.proj_size,
        **{"device": first.device, "dtype": first.dtype, **knobs},
    )
    made.load_state_dict(lstm.state_dict())
    return made.train(lstm.training)


# ---------------------------------------------------------------------- descriptions


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Put the file's name before what is wrong with it."""
    try:
        yield
    except (CorruptFileError, ConfigError) as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {str(error).rstrip('.')}.") from None
    except UNEXPECTED as error:
        raise CorruptFileError(f"{path}: cannot be read ({error!r:.300}).") from error


def _config(container: Container, architecture: PathLike | None) -> tuple[Mapping[str, Any], str]:
    """Return a model's description and the version of Keras that means it."""
    if container.config is not None and container.config.get("format") == folder.FORMAT:
        raise ConfigError("is a part of a converted model. Name its folder")
    if not container.arrays and container.config is not None and not container.attributes:
        raise ConfigError("is a description without weights. Give the file with the weights, and this as architecture")
    about = container if architecture is None else open_container(architecture)
    if about.config is None:
        raise ConfigError(
            "holds weights alone, not what they belong to. Give the model's description (model.to_json() in Keras, "
            "saved as a file) as architecture (--architecture on the command line); or make the LSTM and use "
            "lstmreg.interop.load_weights(lstm, path, layer=...)"
        )
    return about.config, about.version or container.version or _version_by_style(about.config)


def _version_by_style(config: Mapping[str, Any]) -> str:
    """Return a version for descriptions that do not name one: Keras 3's ``to_json``, and Keras 1's files."""
    return "3.15" if "module" in config else "1.0"
