"""Finds each layer's weights in the layouts that Keras has had, and nothing else in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lstmreg.errors import ConfigError, CorruptFileError

from .file.container import Array, Container
from .graph.layers import ModelDescription
from .modules.kind import kind_of, layer_leaves
from .modules.leaves import Leaf
from .modules.model import KerasModel, groups_of
from .words.old_weights import ALIASES, Named, modern_weights, plain_name


class Weight(NamedTuple):
    """A weight of Keras', and where it was found, as the file calls the place."""

    array: Array
    place: str


#: Of a model, by their path in a ``.weights.h5`` file of today.
Weights = Mapping[str, Weight]


def arrays_of(model: KerasModel) -> dict[str, Array]:
    """Return a model's weights as Keras has them, by their path in a ``.weights.h5`` file."""
    state = model.state_dict()
    found = {}
    for leaf in model.leaves():
        whole = state[leaf.tensor] + state[leaf.addend] if leaf.addend else state[leaf.tensor]
        found[leaf.key] = leaf.as_in_keras(whole).detach().cpu().numpy().copy()
    return found


def in_place(arrays: Mapping[str, Array]) -> dict[str, Weight]:
    """Return weights that stand where their path says."""
    return {place: Weight(array, place) for place, array in arrays.items()}


def build(description: ModelDescription, weights: Weights) -> KerasModel:
    """Make the module and give it its weights.

    Args:
        description: The layers.
        weights: Keras' weights.

    Raises:
        CorruptFileError: If a weight has not the shape that the settings ask for, or is not finite.
    """
    with torch.device("meta"):  # a description's word for its size allocates nothing
        model = KerasModel(description, {key: weight.array.shape for key, weight in weights.items()})
    fill(model, weights)
    return model.eval()


def fill(model: KerasModel, weights: Weights) -> None:
    """Put Keras' weights into a module.

    Raises:
        CorruptFileError: If one is missing, has another shape, or is not finite; the module then is as it was.
    """
    expected = model.state_dict()
    wide = any(weight.array.dtype == np.float64 for weight in weights.values())
    dtype = torch.float64 if wide else torch.float32
    state: dict[str, Tensor] = {}
    for leaf in model.leaves():
        shape = tuple(leaf.as_in_keras(expected[leaf.tensor]).shape)
        array, place = weights[leaf.key]
        named = f"{place[:120]} ({leaf.name} of {leaf.owner[:80]!r})"
        if array.shape != shape:
            raise CorruptFileError(f"{named} must have shape {shape}, got {array.shape}.")
        if array.dtype.kind != "f":
            raise CorruptFileError(f"{named} must be floating point, got {array.dtype}.")
        if not np.isfinite(array).all():
            raise CorruptFileError(f"{named} is not finite.")
        state[leaf.tensor] = leaf.as_in_keras(torch.from_numpy(array)).to(dtype).contiguous()
        if leaf.addend:
            state[leaf.addend] = torch.zeros_like(state[leaf.tensor])
    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    model.load_state_dict(state, assign=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained[name])


# ---------------------------------------------------------------------- from a file


def find(description: ModelDescription, container: Container) -> dict[str, Weight]:
    """Return a model's weights, whatever the layout of the file.

    Raises:
        CorruptFileError: If any is missing, has another name than expected, or is left over.
    """
    if container.legacy_group is not None:
        return from_layers(description, _by_layer(container, container.legacy_group))
    return _from_groups(description, _modern_paths(description, in_place(container.arrays)))


def find_layers(description: ModelDescription, places: Sequence[str], container: Container) -> dict[str, Weight]:
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
    found = in_place(container.arrays)
    moved: dict[str, Weight] = {}
    for place, group in zip(places, groups.values(), strict=True):
        inside = f"{place}/" if place.startswith("layers/") else f"layers/{place}/"
        if any(key.startswith(_EARLY) for key in found):
            inside = re.sub(r"layers/([a-z_]+?)(?:_(\d+))?(?=/)", _early_group, inside)
        these = {f"{group}/{key[len(inside) :]}": weight for key, weight in found.items() if key.startswith(inside)}
        if not these:
            known = sorted({"/".join(key.split("/")[:2]) for key in found if key.startswith("layers/")})
            raise ConfigError(f"has no weights at {place[:80]!r}; it has {', '.join(known)[:300]}.")
        moved |= these
    return _from_groups(description, moved)


def places_in(container: Container) -> list[str]:
    """Return which layers a file has weights of, by what the file calls them."""
    if container.legacy_group is not None:
        return [name for name, held in _by_layer(container, container.legacy_group).items() if held]
    return _top_groups(container.arrays)


def _top_groups(keys: Iterable[str]) -> list[str]:
    places = [key.replace(_EARLY, "layers/") for key in keys if not _is_seed(key)]
    return list(dict.fromkeys(place.split("/")[1] for place in places if place.startswith("layers/")))


def lstms_in(container: Container, directions: int) -> list[str]:
    """Return which weights of a file are those of an LSTM, by what :func:`find_layers` calls them.

    Args:
        container: The file.
        directions: 1 for an LSTM, 2 for a ``Bidirectional`` one.
    """
    if container.legacy_group is None:
        return _lstm_groups(container.arrays, directions)
    places = []
    for layer, held in _by_layer(container, container.legacy_group).items():
        weights = modern_weights(held)
        if _are_lstm(weights, directions):
            places.append(layer)
            continue
        inner: dict[str, Named] = {}  # of a model within the model
        for name, array in weights:
            inner.setdefault(_layer_of(name), []).append((name, array))
        places += [f"{layer}/{name}" for name, its in inner.items() if _are_lstm(its, directions)]
    return places


def _lstm_groups(arrays: Mapping[str, Array], directions: int) -> list[str]:
    cells: dict[str, Named] = {}
    for key, array in sorted(arrays.items()):
        if found := _CELL_WEIGHT.fullmatch(key):
            cells.setdefault(found["layer"], []).append((_OF_CELL[int(found["index"])], array))
    places = [layer for layer, weights in cells.items() if _are_lstm(weights, directions)]
    if any(place.startswith(_EARLY) for place in places):
        places = [re.sub(rf"{_EARLY}([a-z_]+?)(?:_(\d+))?(?=/|$)", _group_of_today, place) for place in places]
    places.sort(key=lambda place: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", place)])
    return [place.removeprefix("layers/") if place.count("/") == 1 else place for place in places]


_CELL_WEIGHT = re.compile(r"(?P<layer>.+?)(?:/(?:forward|backward)_layer)?/cell/vars/(?P<index>[012])")
_OF_CELL = "kernel", "recurrent_kernel", "bias"


def _are_lstm(weights: Named, directions: int) -> bool:
    """Tell whether these are the weights of one LSTM in one direction or in two, and no other."""
    each, rest = divmod(len(weights), directions)
    if rest or each not in (2, 3):
        return False
    for start in range(0, len(weights), each):
        cell = weights[start : start + each]
        (_, kernel), (_, recurrent) = cell[:2]
        if _names_today(cell, _OF_CELL) != list(_OF_CELL[:each]) or kernel.ndim != 2 or recurrent.ndim != 2:
            return False
        if not kernel.shape[1] == recurrent.shape[1] == 4 * recurrent.shape[0]:
            return False
    return True


def _layer_of(weight: str) -> str:
    """Return the name of the layer that has a weight, of the weight's own: ``enc`` of ``enc/lstm_cell/kernel:0``."""
    *path, last = weight.split("/")
    inside = [part for part in path if not re.fullmatch(r"lstm_cell(_\d+)?|(forward|backward)_.+", part)]
    return inside[-1] if inside else re.sub(r"_[WUb]$", "", last)


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


def _group_of_today(place: re.Match[str]) -> str:
    number = int(place[2] or 0) // 2
    return f"layers/{place[1]}" + (f"_{number}" if number else "")


def _modern_paths(description: ModelDescription, found: Weights) -> Weights:
    """Return weights by the paths of Keras 3; Keras 2.12 to 2.14 had others."""
    if not any(key.startswith(_EARLY) for key in found):
        return found
    pairs = dict(_early_paths(description))
    if any(early not in found for early in pairs.values()):
        return {key.replace(_EARLY, "layers/"): weight for key, weight in found.items()}
    names = {early: key for key, early in pairs.items()}
    return {names.get(key, key.replace(_EARLY, "layers/")): weight for key, weight in found.items()}


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
        if kind_of(layer).is_model:
            inner = _early_paths(layer.inside)
        yield from ((f"layers/{name}/{today}", f"{place}/{early}") for today, early in inner)


def _from_groups(description: ModelDescription, found: Weights) -> dict[str, Weight]:
    """Read the layout of Keras 3 (and of ``.keras`` files since 2.12), which counts classes."""
    groups = groups_of(description)
    kept: dict[str, Weight] = {}
    for layer in description.layers:
        keys = {f"{groups.get(layer.name, '')}/{leaf.key}": leaf.name for leaf in layer_leaves(layer)}
        missing = [name for key, name in keys.items() if key not in found]
        if missing and any("/cu_dnnlstm" in key for key in found):
            raise CorruptFileError("weights of a CuDNNLSTM in this layout are not read. Save the model as .h5.")
        if missing:
            what = "weights" if len(missing) == len(keys) else ", ".join(missing)
            there = ", ".join(_top_groups(weight.place for weight in found.values()))[:300] or "no layer"
            raise CorruptFileError(
                f"has no {what} of {layer.name[:80]!r} ({layer.keras_class}); it has weights of {there}."
            )
        kept |= {key: found[key] for key in keys}
    extra = sorted(key for key in found.keys() - kept.keys() if key.startswith("layers/") and not _is_seed(key))
    if extra:
        place = found[extra[0]].place[:120]
        raise CorruptFileError(f"{place} belongs to no layer of the description ({len(extra)} such weights).")
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


def from_layers(description: ModelDescription, layers: Mapping[str, Named]) -> dict[str, Weight]:
    """Return a model's weights, from those of each of its layers in Keras' order.

    Layers go by their names; where those differ, as between two runs of a program, by their order.
    """
    groups = groups_of(description)
    ours = {layer.name: leaves for layer in description.layers if (leaves := layer_leaves(layer))}
    theirs = {name: modern_weights(weights) for name, weights in layers.items() if weights}
    if len(ours) != len(theirs):
        has, wants = (", ".join(names)[:300] for names in (theirs, ours))
        raise CorruptFileError(
            f"has weights of {len(theirs)} layers ({has}); the description has {len(ours)} with weights ({wants})."
        )
    pairs = [(name, name) for name in ours] if ours.keys() == theirs.keys() else list(zip(ours, theirs, strict=True))
    found = {}
    for name, written in pairs:
        # Old files keep what is trained in front.
        leaves = sorted(ours[name], key=lambda leaf: not leaf.is_trained)
        _check_names(written, leaves, theirs[written])
        for leaf, (place, array) in zip(leaves, theirs[written], strict=True):
            found[f"{groups[name]}/{leaf.key}"] = Weight(array, f"{written}/{place}")
    return found


def _check_names(layer: str, leaves: Sequence[Leaf], weights: Named) -> None:
    """See that the weights of a layer are the expected ones, in the expected order, by their names."""
    wanted = [leaf.name for leaf in leaves]
    if _names_today(weights, wanted) != wanted:
        names = ", ".join(name for name, _ in weights)[:200]
        raise CorruptFileError(f"{layer[:80]}: must have the weights {', '.join(wanted)}; it has {names}.")
    owners = {leaf.owner for leaf in leaves if leaf.owner}
    for leaf, (name, _) in zip(leaves, weights, strict=True):
        named = owners & set(name.split("/"))
        if named and leaf.owner not in named:
            raise CorruptFileError(f"{layer[:80]}: {name[:120]} stands where a weight of {leaf.owner} is expected.")


def _names_today(weights: Named, wanted: Sequence[str]) -> list[str]:
    """Return what weights are called today, where others are expected perhaps by what Keras 1 called them."""
    got = [plain_name(name) for name, _ in weights]
    return [ALIASES.get((want, have), have) for want, have in zip_longest(wanted[: len(got)], got, fillvalue="")]
