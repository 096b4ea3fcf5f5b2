"""Finds each layer's weights in the layouts that Keras has had, and nothing else in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from lstmreg.errors import ConfigError, CorruptFileError

from .container import Array, Container
from .graph import ModelDescription
from .leaves import Leaf
from .model import KerasModel, groups_of, layer_leaves, leaves_of
from .old_weights import ALIASES, Named, modern_weights, plain_name


def build(description: ModelDescription, arrays: Mapping[str, Array]) -> KerasModel:
    """Make the module and give it its weights.

    Args:
        description: The layers.
        arrays: Keras' weights, by their path in a ``.weights.h5`` file.

    Raises:
        CorruptFileError: If a weight has not the shape that the settings ask for, or is not finite.
    """
    with torch.device("meta"):  # a description's word for its size allocates nothing
        model = KerasModel(description, {name: array.shape for name, array in arrays.items()})
    fill(model, arrays)
    return model.eval()


def fill(model: KerasModel, arrays: Mapping[str, Array]) -> None:
    """Put Keras' weights into a module.

    Raises:
        CorruptFileError: If one is missing, has another shape, or is not finite; the module then is as it was.
    """
    expected = model.state_dict()
    wide = any(array.dtype == np.float64 for array in arrays.values())
    dtype = torch.float64 if wide else torch.float32
    state: dict[str, Tensor] = {}
    for leaf in model.leaves():
        shape = tuple(leaf.as_in_keras(expected[leaf.tensor]).shape)
        if arrays[leaf.key].shape != shape:
            raise CorruptFileError(f"{leaf.key}: {leaf.name} must have shape {shape}, got {arrays[leaf.key].shape}.")
        state[leaf.tensor] = _tensor(leaf, arrays[leaf.key], dtype)
    # What is left are second biases, as large as the first, which have been compared.
    state |= {name: torch.zeros(tensor.shape, dtype=dtype) for name, tensor in expected.items() if name not in state}
    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    model.load_state_dict(state, assign=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained[name])


def _tensor(leaf: Leaf, array: Array, dtype: torch.dtype) -> Tensor:
    if array.dtype.kind != "f":
        raise CorruptFileError(f"{leaf.key}: {leaf.name} must be floating point, got {array.dtype}.")
    if not np.isfinite(array).all():
        raise CorruptFileError(f"{leaf.key}: {leaf.name} is not finite.")
    return leaf.as_in_keras(torch.from_numpy(array)).to(dtype).contiguous()


# ---------------------------------------------------------------------- from a file


def find(description: ModelDescription, container: Container) -> dict[str, Array]:
    """Return a model's weights by their path in a ``.weights.h5`` file, whatever the layout of the file.

    Raises:
        CorruptFileError: If any is missing, has another name than expected, or is left over.
    """
    if container.legacy_group is not None:
        return from_layers(description, _by_layer(container, container.legacy_group))
    return _from_groups(description, _modern_paths(description, container.arrays))


def find_layers(description: ModelDescription, places: Sequence[str], container: Container) -> dict[str, Array]:
    """Return the weights of a model whose layers are some of a file, as :func:`find` does.

    Args:
        description: A sequential model.
        places: Of each layer with weights: its name in a file that lists layers, else its group, such as
            ``layers/lstm_1`` (or the last part of it).
        container: The file.

    Raises:
        ConfigError: If the file has no such layer.
        CorruptFileError: As for :func:`find`.
    """
    groups = groups_of(description)
    if container.legacy_group is not None:
        layers = _by_layer(container, container.legacy_group)
        return from_layers(description, {name: _listed(layers, p) for name, p in zip(groups, places, strict=True)})
    found = container.arrays
    moved: dict[str, Array] = {}
    for place, group in zip(places, groups.values(), strict=True):
        inside = f"{place}/" if place.startswith("layers/") else f"layers/{place}/"
        if any(key.startswith(_EARLY) for key in found):
            inside = re.sub(r"layers/([a-z_]+?)(?:_(\d+))?(?=/)", _early_group, inside)
        these = {f"{group}/{key[len(inside) :]}": array for key, array in found.items() if key.startswith(inside)}
        if not these:
            known = sorted({"/".join(key.split("/")[:2]) for key in found if key.startswith("layers/")})
            raise ConfigError(f"has no weights at {place[:80]!r}; it has {', '.join(known)[:300]}.")
        moved |= these
    return _from_groups(description, moved)


def places_in(container: Container) -> list[str]:
    """Return which layers a file has weights of, by what :func:`find_layers` calls them."""
    if container.legacy_group is not None:
        return [name for name, held in _by_layer(container, container.legacy_group).items() if held]
    keys = [key.replace(_EARLY, "layers/") for key in container.arrays if not _is_seed(key)]
    return list(dict.fromkeys(key.split("/")[1] for key in keys if key.startswith("layers/")))


def _listed(layers: Mapping[str, Named], place: str) -> Named:
    """Return the weights of a layer; of one within a model those of the model's that have its name in theirs."""
    outer, _, inner = (place, "", "") if place in layers else place.partition("/")
    if outer not in layers:
        raise ConfigError(f"has no layer {outer[:80]!r}; it has {', '.join(layers)[:300]}.")
    if not inner:
        return layers[outer]
    name = inner.split("/")[-1]
    return [(w, a) for w, a in layers[outer] if name in w.split("/") or w.split("/")[-1].startswith(f"{name}_")]


def _early_group(place: re.Match[str]) -> str:
    number = 2 * int(place[2] or 0)
    return f"{_EARLY}{place[1]}" + (f"_{number}" if number else "")


def _modern_paths(description: ModelDescription, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
    """Return weights by the paths of Keras 3; Keras 2.12 to 2.14 had others."""
    if not any(key.startswith(_EARLY) for key in arrays):
        return arrays
    pairs = dict(_early_paths(description))
    if any(early not in arrays for early in pairs.values()):
        return {key.replace(_EARLY, "layers/"): array for key, array in arrays.items()}
    names = {early: key for key, early in pairs.items()}
    return {names.get(key, key.replace(_EARLY, "layers/")): array for key, array in arrays.items()}


_EARLY = "_layer_checkpoint_dependencies/"


def _early_paths(description: ModelDescription) -> Iterator[tuple[str, str]]:
    """Yield the path of each weight today and in Keras 2.12, which counted each layer with weights twice."""
    counts: Counter[str] = Counter()
    groups = groups_of(description)
    for layer in description.layers:
        if layer.name not in groups:
            continue
        name = groups[layer.name].removeprefix("layers/")
        stem = re.sub(r"_\d+$", "", name)
        leaves = layer_leaves(layer)
        place = f"{_EARLY}{stem}" + (f"_{counts[stem]}" if counts[stem] else "")
        counts[stem] += 2 if leaves else 1
        inner: Iterable[tuple[str, str]] = ((leaf.key, leaf.key) for leaf in leaves)
        if layer.kind == "Model":
            assert layer.model is not None
            inner = _early_paths(layer.model)
        yield from ((f"layers/{name}/{today}", f"{place}/{early}") for today, early in inner)


def _from_groups(description: ModelDescription, found: Mapping[str, Array]) -> dict[str, Array]:
    """Read the layout of Keras 3 (and of ``.keras`` files since 2.12), which counts classes."""
    wanted = [leaf.key for leaf in leaves_of(description)]
    for key in wanted:
        if key not in found and any("/cu_dnnlstm" in other for other in found):
            raise CorruptFileError("weights of a CuDNNLSTM in this layout are not read. Save the model as .h5.")
        if key not in found:
            raise CorruptFileError(f"{key} is missing.")
    kept = {key: found[key] for key in wanted}
    extra = sorted(key for key in found.keys() - kept.keys() if key.startswith("layers/") and not _is_seed(key))
    if extra:
        raise CorruptFileError(f"{extra[0][:120]} belongs to no layer of the description ({len(extra)} such weights).")
    return kept


def _is_seed(key: str) -> bool:
    """Tell whether a place holds the state of a random generator, which some versions kept."""
    return re.search(r"/(seed_generator|_seed_generator|random_generator)(_\d+)?/vars/\d+$", key) is not None


def _by_layer(container: Container, group: str) -> dict[str, Named]:
    """Read the layout of Keras 1 and 2, and of ``.h5`` files since: each layer lists its weights."""
    layers: dict[str, Named] = {}
    used = set()
    for name in container.texts(group, "layer_names"):
        place = f"{group}/{name}".lstrip("/").replace("\\", "/")
        if name in layers:
            raise CorruptFileError(f"lists the layer {name[:80]!r} twice.")
        if place not in container.attributes:
            raise CorruptFileError(f"lists the layer {name[:80]!r}, but has nothing of it: the file is incomplete.")
        layers[name] = []
        for weight in container.texts(place, "weight_names"):
            key = f"{place}/{weight}".replace("\\", "/")
            if key in used:
                raise CorruptFileError(f"{name[:80]}: lists the weight {weight[:80]!r} twice.")
            if key not in container.arrays:
                raise CorruptFileError(f"{name[:80]}: lists the weight {weight[:80]!r}, but does not have it.")
            used.add(key)
            layers[name].append((weight, container.arrays[key]))
    unused = sorted(key for key in container.arrays if key not in used and key.startswith(group))
    if unused:
        raise CorruptFileError(f"{unused[0][:120]} is in no layer's list ({len(unused)} such weights).")
    return layers


# ---------------------------------------------------------------------- from lists of weights


def from_layers(description: ModelDescription, layers: Mapping[str, Named]) -> dict[str, Array]:
    """Return a model's weights by their path, from those of each of its layers in Keras' order.

    Layers go by their names; where those differ, as between two runs of a program, by their order.
    """
    groups = groups_of(description)
    ours = {layer.name: leaves for layer in description.layers if (leaves := layer_leaves(layer))}
    theirs = {name: modern_weights(weights) for name, weights in layers.items() if weights}
    if len(ours) != len(theirs):
        raise CorruptFileError(f"has weights of {len(theirs)} layers; the description has {len(ours)} with weights.")
    pairs = [(name, name) for name in ours] if ours.keys() == theirs.keys() else list(zip(ours, theirs, strict=True))
    found = {}
    for name, written in pairs:
        # Old files keep what is trained in front.
        leaves = sorted(ours[name], key=lambda leaf: not leaf.is_trained)
        _check_names(written, leaves, theirs[written])
        for leaf, (_, array) in zip(leaves, theirs[written], strict=True):
            found[f"{groups[name]}/{leaf.key}"] = array
    return found


def _check_names(layer: str, leaves: Sequence[Leaf], weights: Named) -> None:
    """See that the weights of a layer are the expected ones, in the expected order, by their names."""
    wanted, got = [leaf.name for leaf in leaves], [plain_name(name) for name, _ in weights]
    today = [ALIASES.get((want, have), have) for want, have in zip(wanted, got, strict=False)]
    if today != wanted or len(got) != len(wanted):
        names = ", ".join(name for name, _ in weights)[:200]
        raise CorruptFileError(f"{layer[:80]}: must have the weights {', '.join(wanted)}; it has {names}.")
    owners = {leaf.owner for leaf in leaves if leaf.owner}
    for leaf, (name, _) in zip(leaves, weights, strict=True):
        named = owners & set(name.split("/"))
        if named and leaf.owner not in named:
            raise CorruptFileError(f"{layer[:80]}: {name[:120]} stands where a weight of {leaf.owner} is expected.")
