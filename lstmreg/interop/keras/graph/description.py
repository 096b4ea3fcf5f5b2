"""Reads what a model is: its layers with their settings, and which feeds which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from lstmreg.errors import ConfigError, CorruptFileError, did_you_mean

from ..modules.beginnings import declared_shape
from ..modules.checks import check_graph, check_names
from ..modules.kind import Written, kind_of, kind_reading
from ..words.dialects import Dialect, check_origin
from .calls import Call, Reference, is_reference, read_call, read_reference
from .layers import LayerDescription, ModelDescription, references_of, snake_case

#: Descriptions within descriptions, and layers in all, that a file may have.
_DEPTH, _LAYERS = 12, 5_000


@dataclass
class _Reader:
    """Reads layers and models, and knows where it is."""

    dialect: Dialect
    layers_left: int = _LAYERS
    depth: int = 0
    path: list[str] = field(default_factory=list)

    def model(self, class_name: str, config: Any) -> ModelDescription:
        """Read a model."""
        self.depth += 1
        if self.depth > _DEPTH:
            raise CorruptFileError(f"models are nested more than {_DEPTH} deep")
        if isinstance(config, list):  # Sequential, up to Keras 2.2
            config = {"name": "sequential", "layers": config}
        if not isinstance(config, dict) or not isinstance(config.get("layers"), list):
            raise CorruptFileError(
                f"{class_name} has no list of layers (a subclassed model has none; only its code knows it)"
            )
        _precision(config.get("dtype"))
        made = _sequential(config, self) if class_name == "Sequential" else _functional(config, self)
        self.depth -= 1
        return made

    def layer(self, written: Any, index: int) -> LayerDescription:
        """Read a layer."""
        self.layers_left -= 1
        if self.layers_left < 0:
            raise CorruptFileError(f"has more than {_LAYERS:,} layers")
        if not isinstance(written, dict):
            raise CorruptFileError(f"layer {index + 1} is no description of a layer")
        config = written.get("config")
        named = config.get("name") if isinstance(config, dict) else None
        name = written.get("name") or named or f"layer_{index + 1}"
        if not isinstance(name, str) or len(name) > 20_000:
            raise CorruptFileError(f"layer {index + 1} has no name, or one that is too long")
        if any(0xD800 <= ord(character) <= 0xDFFF for character in name):
            raise CorruptFileError(f"layer {index + 1} has a name that is no text")
        self.path.append(name[:80])
        made = _described(name, written, self)
        self.path.pop()
        return made


def read_description(config: Mapping[str, Any], version: str) -> ModelDescription:
    """Read a model's description as Keras' ``to_json`` and its files have it.

    Args:
        config: The parsed JSON.
        version: Of the Keras that wrote it.

    Raises:
        CorruptFileError: If it holds anything that is not known, with its place.
    """
    reader = _Reader(Dialect(version))
    try:
        named = (config.get(name) for name in ("class_name", "module", "registered_name"))
        class_name, kind = kind_reading(*named)
        return reader.model(class_name, config.get("config")) if kind.is_model else _alone(reader.layer(config, 0))
    except CorruptFileError as error:
        place = " > ".join(reader.path)
        raise CorruptFileError(f"{place + ': ' if place else ''}{str(error).rstrip('.')}.") from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        place = " > ".join(reader.path)
        raise CorruptFileError(f"{place or 'model'}: the description is damaged ({error!r:.200}).") from None


def locate_layer(
    config: Mapping[str, Any], version: str, name: str | None, *, by_name: bool
) -> tuple[ModelDescription, str]:
    """Read one recurrent layer of a model's description, whatever its other layers are.

    Args:
        config: The model's description.
        version: Of the Keras that wrote it.
        name: The layer's name, with those of the models around it (``encoder > lstm``) where it is not the only one of
            its name; ``None`` for the only layer.
        by_name: Whether the file's weights go by layers' names, and not by groups.

    Returns:
        The model that consists of this layer, and where its weights are.

    Raises:
        ConfigError: If there is no such layer, or several and none is named.
        CorruptFileError: If the layer has a setting that is not known.
    """
    found = list(_recurrent_layers(config, (), ""))
    names = ", ".join(each.name for each in found)[:300]
    wanted = [each for each in found if name is None or name in (each.name, each.path[-1])]
    if not found:
        raise ConfigError("has no LSTM layer")
    if name is not None and not wanted:
        hint = did_you_mean(name, [each.name for each in found])
        raise ConfigError(f"has no LSTM layer {name!r}.{hint} It has {names}")
    if len(wanted) > 1:
        raise ConfigError(f"has {len(wanted)} such LSTM layers; name one as layer, in full: {names}")
    [one] = wanted
    description = read_description({k: v for k, v in one.written.items() if k != "inbound_nodes"}, version)
    return description, "/".join(one.path) if by_name else one.group


def lstm_names(config: Mapping[str, Any]) -> list[str]:
    """Return the names of the recurrent layers that :func:`locate_layer` finds."""
    return [each.name for each in _recurrent_layers(config, (), "")]


class _Located(NamedTuple):
    """A layer as it is written, with the names of the models around it, and its place in a ``.weights.h5`` file."""

    path: tuple[str, ...]
    written: Mapping[str, Any]
    group: str

    @property
    def name(self) -> str:
        return " > ".join(self.path)


def _recurrent_layers(model: Any, path: tuple[str, ...], place: str) -> Iterator[_Located]:
    config = model.get("config")
    layers = config.get("layers") if isinstance(config, dict) else config
    counts: Counter[str] = Counter()
    for layer in layers if isinstance(layers, list) and len(path) < _DEPTH else []:
        if not isinstance(layer, dict) or not isinstance(layer.get("class_name"), str):
            continue
        class_name, inner = layer["class_name"], layer.get("config")
        if class_name == "InputLayer":
            continue
        snake = snake_case(class_name)
        group = f"{place}layers/{snake}" + (f"_{counts[snake]}" if counts[snake] else "")
        counts[snake] += 1
        name = layer.get("name") or (inner.get("name") if isinstance(inner, dict) else None) or snake
        if _is_lstm(layer):
            yield _Located((*path, str(name)), layer, group)
        elif class_name in ("Sequential", "Functional", "Model"):
            yield from _recurrent_layers(layer, (*path, str(name)), f"{group}/")


def _is_lstm(written: Any) -> bool:
    """Tell whether a layer as it is written is an LSTM, or has one inside."""
    class_name, config = written.get("class_name"), written.get("config")
    if class_name in ("LSTM", "CuDNNLSTM"):
        return True
    inner = {"Bidirectional": "layer", "RNN": "cell"}.get(class_name) if isinstance(class_name, str) else None
    held = config.get(inner) if isinstance(config, dict) and inner is not None else None
    return isinstance(held, dict) and (held.get("class_name") == "LSTMCell" or _is_lstm(held))


def _alone(layer: LayerDescription) -> ModelDescription:
    """Return the model that consists of one layer."""
    entry = LayerDescription("input" if layer.name != "input" else "input_", "InputLayer", {}, keras_class="InputLayer")
    used = replace(layer, calls=(Call((Reference(entry.name),)),))
    outputs = [Reference(layer.name, 0, index) for index in range(kind_of(layer).outputs(layer))]
    return ModelDescription(layer.name, (entry, used), (Reference(entry.name),), tuple(outputs), is_sequential=True)


# ---------------------------------------------------------------------- models


def _sequential(config: Mapping[str, Any], reader: _Reader) -> ModelDescription:
    layers = [reader.layer(each, index) for index, each in enumerate(config["layers"])]
    if not layers or not layers[0].is_input:
        names = {layer.name for layer in layers}
        name = "input"
        while name in names:
            name += "_"
        layers.insert(
            0, LayerDescription(name, "InputLayer", declared_shape(config["layers"][:1]), keras_class="InputLayer")
        )
    chained = [layers[0]]
    last = Reference(layers[0].name)
    for layer in layers[1:]:
        if layer.is_input:
            raise CorruptFileError(f"{layer.name}: an input stands between other layers")
        if layer is not layers[-1] and kind_of(layer).has_states and kind_of(layer).outputs(layer) > 1:
            raise CorruptFileError(f"{layer.name}: has several outputs, but the next layer takes one")
        chained.append(replace(layer, calls=(Call((last,)),)))
        last = Reference(layer.name)
    check_names(chained)
    top = chained[-1]
    outputs = tuple(Reference(top.name, 0, index) for index in range(kind_of(top).outputs(top)))
    name = str(config.get("name", "sequential"))
    return ModelDescription(name, tuple(chained), (Reference(chained[0].name),), outputs, is_sequential=True)


def _functional(config: Mapping[str, Any], reader: _Reader) -> ModelDescription:
    layers = []
    for index, each in enumerate(config["layers"]):
        layer = reader.layer(each, index)
        has_states = kind_of(layer).has_states
        reader.path.append(layer.name)
        calls = tuple(read_call(node, has_states=has_states) for node in each.get("inbound_nodes") or [])
        reader.path.pop()
        layers.append(replace(layer, calls=calls))
    check_names(layers)
    inputs, outputs = _ends(config["input_layers"]), _ends(config["output_layers"])
    made = _count_calls_from_zero(ModelDescription(str(config.get("name", "model")), tuple(layers), inputs, outputs))
    check_graph(made)
    return made


def _count_calls_from_zero(model: ModelDescription) -> ModelDescription:
    """Renumber the calls of models within the model.

    TensorFlow counts a model's being made as its first call, which it does not write down; so its calls are 1, 2, and
    so on. All calls that are written down are used.
    """
    used: dict[str, set[int]] = {}
    for reference in references_of(model):
        used.setdefault(reference.layer, set()).add(reference.call)
    late = {
        layer.name
        for layer in model.layers
        if kind_of(layer).is_model and used.get(layer.name) == set(range(1, len(layer.calls) + 1))
    }

    def renumbered(reference: Reference) -> Reference:
        return reference._replace(call=reference.call - 1) if reference.layer in late else reference

    layers = [replace(layer, calls=tuple(call.renamed(renumbered) for call in layer.calls)) for layer in model.layers]
    return replace(model, layers=tuple(layers), outputs=tuple(map(renumbered, model.outputs)))


def _ends(written: Any) -> tuple[Reference, ...]:
    """Read the inputs or outputs of a model: one reference, or a list of them."""
    if isinstance(written, dict):
        raise CorruptFileError("inputs or outputs in a dict are not supported")
    return tuple(read_reference(each) for each in ([written] if is_reference(written) else written))


# ---------------------------------------------------------------------- layers


def _described(name: str, written: Mapping[str, Any], reader: _Reader) -> LayerDescription:
    class_name, config = written.get("class_name"), written.get("config")
    if class_name == "Merge" and isinstance(config, dict):
        class_name, config = _old_merge(config)
    known, kind = kind_reading(class_name, written.get("module"), written.get("registered_name"))
    is_trained = not isinstance(config, dict) or config.get("trainable", True) is not False
    found = Written(name, known, config, is_trained, whole=written)
    if kind.is_model:
        return kind.describe(found, reader)
    if not isinstance(config, dict):
        raise CorruptFileError(f"{known} has no settings")
    if config.get("weights") is not None:
        raise CorruptFileError(f"{known}: weights stand among the settings, which is not supported")
    if (precision := _precision(config.get("dtype"))) is not None:
        found = replace(found, notes=(f"computed in {precision}; here it is computed in float32",))
    return kind.describe(found, reader)


def _old_merge(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return today's name of what Keras 1 called ``Merge`` with a mode."""
    modes = {"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "concat": "Concatenate"}
    if config.get("layers") or config.get("mode") not in modes or config.get("mode_type", "raw") != "raw":
        raise CorruptFileError(f"Merge(mode={str(config.get('mode'))[:40]!r}) of this form is not supported")
    kind = modes[config["mode"]]
    return kind, {"axis": config.get("concat_axis", -1)} if kind == "Concatenate" else {}


def _precision(dtype: Any) -> str | None:
    """Return the type in which the layer computed, if it is another one than the weights'."""
    if isinstance(dtype, dict):
        check_origin(dtype.get("class_name"), dtype.get("module"), dtype.get("registered_name"))
        if dtype.get("class_name") not in ("DTypePolicy", "FloatDTypePolicy", "Policy", "PolicyV1"):
            raise CorruptFileError(f"dtype policy {str(dtype.get('class_name'))[:60]!r} is not supported")
        dtype = (dtype.get("config") or {}).get("name")
    if dtype in (None, "float32", "float64") or str(dtype).startswith("int"):
        return None
    if dtype in ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16"):
        return str(dtype)
    raise CorruptFileError(f"dtype {str(dtype)[:60]!r} is not supported")
