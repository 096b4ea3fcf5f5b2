"""Thousands of mutated files: each is refused, or loads as a whole; none hangs, none ends in another way."""

from __future__ import annotations

import copy
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lstmreg import interop
from lstmreg.errors import LstmregError
from tests.interop.files_by_hand import (
    OUT,
    D,
    H,
    called,
    dense,
    entry,
    functional,
    hdf5,
    layer,
    lstm,
    members,
    sequential,
    tensor,
    write_keras,
    write_legacy,
    write_weights,
    zipped,
)
from tests.interop.readers import STARTED
from tests.mutations import TooLongError, limits, mutated_bytes

pytestmark = pytest.mark.storm

FILES = 60  #: in each test
SECONDS = 30  #: for each file

# ---------------------------------------------------------------------- the models that are mutated

L2 = {"module": "keras.regularizers", "class_name": "L2", "config": {"l2": 0.1}, "registered_name": None}
NORM = {"module": "keras.constraints", "class_name": "MaxNorm", "config": {"max_value": 2.0, "axis": 0}}
EXTRAS = {"kernel_regularizer": L2, "bias_constraint": NORM, "dropout": 0.1, "recurrent_dropout": 0.2, "seed": None}


def chain() -> Any:
    both = layer("Bidirectional", "both", layer=lstm("inner", return_sequences=True), merge_mode="sum")
    return sequential(
        entry(shape=[None, 5, D]),
        layer("Masking", "mask", mask_value=0.0),
        lstm("first", return_sequences=True, **EXTRAS),
        both,
        layer("LayerNormalization", "norm", axis=[-1], epsilon=1e-3, center=True, scale=True),
        layer("TimeDistributed", "each", layer=dense("step", units=H)),
        lstm("second", go_backwards=True, use_bias=False),
        dense("head"),
    )


CHAIN = {
    "first": {"kernel": (D, 4 * H), "recurrent_kernel": (H, 4 * H), "bias": (4 * H,)},
    "both": {
        f"{way}/{name}": shape
        for way in ("forward_inner", "backward_inner")
        for name, shape in {"kernel": (H, 4 * H), "recurrent_kernel": (H, 4 * H), "bias": (4 * H,)}.items()
    },
    "norm": {"gamma": (H,), "beta": (H,)},
    "each": {"kernel": (H, H), "bias": (H,)},
    "second": {"kernel": (H, 4 * H), "recurrent_kernel": (H, 4 * H)},
    "head": {"kernel": (H, OUT), "bias": (OUT,)},
}
CHAIN_PLACES = [
    *[f"layers/lstm/cell/vars/{index}" for index in range(3)],
    *[f"layers/bidirectional/{way}_layer/cell/vars/{index}" for way in ("forward", "backward") for index in range(3)],
    *[f"layers/layer_normalization/vars/{index}" for index in range(2)],
    *[f"layers/time_distributed/layer/vars/{index}" for index in range(2)],
    *[f"layers/lstm_1/cell/vars/{index}" for index in range(2)],
    *[f"layers/dense/vars/{index}" for index in range(2)],
]


def graph() -> Any:
    states = [tensor("encoder", 0, 1), tensor("encoder", 0, 2)]
    return functional(
        called(entry("words", [None, 5])),
        called(entry("numbers", [None, 5, D])),
        called(layer("Embedding", "embed", input_dim=7, output_dim=D, mask_zero=True), tensor("words")),
        called(lstm("encoder", return_state=True), tensor("embed")),
        called(lstm("decoder", return_sequences=True), tensor("numbers"), initial_state=states),
        called(layer("Conv1D", "conv", filters=H, kernel_size=[2], strides=[1], padding="same"), tensor("decoder"))
        | {
            "config": layer(
                "Conv1D", "conv", filters=H, kernel_size=[2], strides=[1], padding="same", activation="relu"
            )["config"]
        },
        called(layer("BatchNormalization", "batch", axis=-1, momentum=0.9, epsilon=1e-3), tensor("conv")),
        called(layer("Concatenate", "join", axis=-1), [tensor("batch"), tensor("numbers")]),
        called(layer("GlobalMaxPooling1D", "top", keepdims=False), tensor("join")),
        called(dense("head"), tensor("top")),
        inputs=[["words", 0, 0], ["numbers", 0, 0]],
        outputs=[["head", 0, 0]],
    )


GRAPH = {
    "embed": {"embeddings": (7, D)},
    "encoder": {"kernel": (D, 4 * H), "recurrent_kernel": (H, 4 * H), "bias": (4 * H,)},
    "decoder": {"kernel": (D, 4 * H), "recurrent_kernel": (H, 4 * H), "bias": (4 * H,)},
    "conv": {"kernel": (2, H, H), "bias": (H,)},
    "batch": {"gamma": (H,), "beta": (H,), "moving_mean": (H,), "moving_variance": (H,)},
    "head": {"kernel": (H + D, OUT), "bias": (OUT,)},
}
GRAPH_PLACES = [
    "layers/embedding/vars/0",
    *[f"layers/{name}/cell/vars/{index}" for name in ("lstm", "lstm_1") for index in range(3)],
    *[f"layers/conv1d/vars/{index}" for index in range(2)],
    *[f"layers/batch_normalization/vars/{index}" for index in range(4)],
    *[f"layers/dense/vars/{index}" for index in range(2)],
]

Base = tuple[Any, dict[str, dict[str, Any]], dict[str, np.ndarray]]


def base(name: str) -> Base:
    """Return a description, and its weights by layer and by place."""
    config, shapes, places = (chain(), CHAIN, CHAIN_PLACES) if name == "chain" else (graph(), GRAPH, GRAPH_PLACES)
    made = np.random.default_rng(1)
    lists = {
        layer_name: {
            f"{layer_name}/{weight}:0": made.uniform(0.1, 1, size=shape).astype(np.float32)
            for weight, shape in weights.items()
        }
        for layer_name, weights in shapes.items()
    }
    arrays = [array for weights in lists.values() for array in weights.values()]
    return config, lists, dict(zip(places, arrays, strict=True))


def example(name: str) -> list[Tensor]:
    numbers = torch.randn(2, 5, D)
    return [numbers] if name == "chain" else [torch.randint(0, 7, (2, 5)), numbers]


Written = tuple[Path, Path | None]


def write(form: str, folder: Path, config: Any, lists: Any, arrays: Any) -> Written:
    """Write a model, as text where its description is one."""
    if form == "keras":
        return write_keras(folder / "a.keras", config, hdf5(arrays)), None
    if form == "legacy":
        return write_legacy(folder / "a.h5", config, lists), None
    (folder / "a.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return write_weights(folder / "a.weights.h5", arrays), folder / "a.json"


# ---------------------------------------------------------------------- mutations of descriptions

PALETTE = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    5,
    10**6,
    1 << 31,
    10**18,
    10**30,
    0.5,
    -0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "lstm",
    "head",
    "tanh",
    "linear",
    "softmax",
    "LSTM",
    "Dense",
    "Model",
    "RNN",
    "Dropout",
    "Bidirectional",
    "TimeDistributed",
    "Flatten",
    "keras",
    "evil",
    "same",
    "causal",
    "concat",
    "\x1b[31m\n\0",
    "x" * 1_000,
    [],
    [None],
    [1, 2],
    [[]],
    {},
    {"class_name": "L2", "config": {"l2": 1}},
    {"class_name": "LSTMCell", "config": {"units": 4}},
]


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def at(node: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        node = node[key]
    return node


def mutated_description(config: Any, rng: random.Random) -> Any:
    config = copy.deepcopy(config)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        found = [path for path in places(config) if path]
        if not found:
            return config
        *above, key = rng.choice(found)
        holder = at(config, tuple(above))
        other = copy.deepcopy(at(config, rng.choice(found)))
        kind = rng.choice(["replace", "replace", "delete", "duplicate", "exchange", "rename"])
        if kind == "replace":
            holder[key] = copy.deepcopy(rng.choice(PALETTE))
        elif kind == "delete":
            del holder[key]
        elif kind == "exchange":
            holder[key] = other
        elif isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]) if kind == "duplicate" else other)
        elif kind == "duplicate":
            holder[f"{key}_again"] = copy.deepcopy(holder[key])
        else:
            holder[rng.choice(list(KEYS))] = holder.pop(key)
    return config


KEYS = {path[-1] for config in (chain(), graph()) for path in places(config) if path and isinstance(path[-1], str)}


def mutated_weights(arrays: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    arrays = dict(arrays)
    names = list(arrays)
    name, other = rng.choice(names), rng.choice(names)
    kind = rng.choice(["missing", "exchange", "renamed", "more", "dtype", "shape", "order", "value"])
    if kind == "missing":
        del arrays[name]
    elif kind == "exchange":
        arrays[name], arrays[other] = arrays[other], arrays[name]
    elif kind == "renamed":
        arrays[name.replace("0", "9") + "x"] = arrays.pop(name)
    elif kind == "more":
        arrays[f"{name}x"] = arrays[other]
    elif kind == "dtype":
        arrays[name] = arrays[name].astype(rng.choice(["f2", "f8", ">f4", "i4", "u1", "?", "c8", "S3"]))
    elif kind == "shape":
        shape = arrays[name].shape
        wanted = rng.choice([(), (0,), (0, *shape[1:]), (*shape, 1), (1, *shape), shape[::-1], (arrays[name].size,)])
        arrays[name] = np.resize(arrays[name], wanted)
    elif kind == "order":
        rng.shuffle(names)
        arrays = {n: arrays[n] for n in names}
    else:
        changed = arrays[name].copy()
        changed.flat[0] = rng.choice([np.nan, np.inf, -np.inf, 1e38, -0.0])
        arrays[name] = changed
    return arrays


# ---------------------------------------------------------------------- what must become of each


def fault(files: Written, inputs: list[Tensor]) -> str | None:
    """Load a file and use the model; return what is wrong with how that ended."""
    signal.alarm(SECONDS)
    try:
        model = interop.load_model(*files)
    except LstmregError as error:
        message = str(error)
        if len(message.splitlines()) != 1 or not message.isprintable() or str(files[0].parent) not in message:
            return f"says {message[:300]!r}"
        return None
    except TooLongError:
        return "takes too long to load"
    except Exception as error:  # noqa: BLE001
        return f"does not load: {type(error).__name__}: {str(error)[:300]}"
    finally:
        signal.alarm(0)
    if not all(bool(t.isfinite().all()) for t in model.state_dict().values()):
        return "has weights that are not finite"
    signal.alarm(SECONDS)
    try:
        with torch.no_grad():
            model(*inputs)
    except (ValueError, RuntimeError, IndexError):
        return None
    except TooLongError:
        return "takes too long to compute"
    except Exception as error:  # noqa: BLE001
        return f"does not compute: {type(error).__name__}: {str(error)[:300]}"
    finally:
        signal.alarm(0)
    return None


def mutated(kind: str, form: str, made: Base, rng: random.Random, folder: Path) -> Written:
    config, lists, arrays = made
    if kind == "description":
        return write(form, folder, json.dumps(mutated_description(config, rng)), lists, arrays)
    if kind == "weights" and form == "legacy":
        name = rng.choice(list(lists))
        return write(form, folder, config, {**lists, name: mutated_weights(lists[name], rng)}, arrays)
    if kind == "weights":
        return write(form, folder, config, lists, mutated_weights(arrays, rng))
    path, architecture = write(form, folder, config, lists, arrays)
    if form == "keras" and rng.random() < 0.7:  # inside the zip, whose sums are right
        parts = members(config, hdf5(arrays))
        place = rng.choice(["model.weights.h5"] * 5 + ["config.json", "metadata.json"])
        content = parts[place]
        parts[place] = mutated_bytes(content.encode() if isinstance(content, str) else content, rng)
        path.write_bytes(zipped(parts))
    else:
        path.write_bytes(mutated_bytes(path.read_bytes(), rng))
    return path, architecture


@pytest.mark.parametrize("name", ["chain", "graph"])
@pytest.mark.parametrize("form", ["keras", "legacy", "weights"])
def test_the_models_that_are_mutated_load_and_compute(form, name, tmp_path):
    config, lists, arrays = base(name)
    if form == "legacy" and name == "chain":
        lists = lists | {"mask": {}}
    model = interop.load_model(*write(form, tmp_path, config, lists, arrays))
    assert model(*example(name)).shape == (2, OUT)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["chain", "graph"])
@pytest.mark.parametrize("form", ["keras", "legacy", "weights"])
@pytest.mark.parametrize("kind", ["bytes", "description", "weights"])
def test_a_mutated_file_is_refused_or_loads_as_a_whole(kind, form, name, seed, tmp_path):
    rng = random.Random(f"{kind} {form} {name} {seed}")
    made, inputs = base(name), example(name)
    faults = {}
    with limits():
        for index in range(FILES if kind != "weights" else FILES // 3):
            wrong = fault(mutated(kind, form, made, rng, tmp_path), inputs)
            if wrong is not None:
                faults[index] = wrong
    assert not faults
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        {"keras": ["a.keras"], "legacy": ["a.h5"], "weights": ["a.json", "a.weights.h5"]}[form]
    )


def test_every_hostile_file_is_refused_by_a_process_that_was_started_for_it():
    """As in ``tests/interop/test_hostile.py``, where copies of one process read most of them."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", "test_hostile.py"]
    settings = os.environ | {STARTED: "1"}
    done = subprocess.run(command, cwd=Path(__file__).parent, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
