"""That a hostile or damaged file is refused in one line, runs no code, opens no other file and fills no memory."""

from __future__ import annotations

import hashlib
import json
import marshal
import os
import pickle
import re
import resource
import stat
import struct
import subprocess
import sys
import unicodedata
import warnings
import zipfile
import zlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch

import lstmreg
from lstmreg import interop
from lstmreg.errors import ConfigError, CorruptFileError
from tests.interop.files_by_hand import (
    OUT,
    PEAK,
    D,
    H,
    Loader,
    Outcome,
    assert_one_line,
    called,
    dense,
    edited,
    entry,
    functional,
    good_config,
    good_graph,
    good_lists,
    good_weights,
    hdf5,
    layer,
    lstm,
    members,
    random,
    refusal,
    sequential,
    tensor,
    write_keras,
    write_legacy,
    write_weights,
    zipped,
)
from tests.program import completed

LSTM, DENSE = ("config", "layers", 1), ("config", "layers", 2)  # in both descriptions
NODE = (*DENSE, "inbound_nodes", 0)


@pytest.fixture(scope="module")
def loader() -> Iterator[Loader]:
    made = Loader()
    yield made
    made.close()


def refusal_under_limits(loader: Loader, path: Path, architecture: Path | None = None) -> str:
    """Return the line with which a file is refused that would like to have all memory and all time."""
    return assert_refused_under_limits(loader.load(path, architecture), path)


def assert_refused_under_limits(found: Outcome, path: Path) -> str:
    assert found.kind == "CorruptFileError", found
    assert str(path) in found.message
    assert_one_line(found.message)
    assert found.megabytes < PEAK, found
    assert found.seconds < SECONDS, found
    return found.message


#: Of the processor: what reading a file may take, and something for the libraries that read it.
SECONDS = 6


# ---------------------------------------------------------------------- what is not tampered with


@pytest.mark.parametrize("config", [good_config(), good_graph()], ids=["sequential", "functional"])
@pytest.mark.parametrize("form", ["keras", "legacy", "weights"])
def test_the_files_that_the_attacks_start_from_load(form, config, tmp_path):
    arrays = good_weights()
    if form == "keras":
        model = interop.load_model(write_keras(tmp_path / "a.keras", config))
    elif form == "legacy":
        model = interop.load_model(write_legacy(tmp_path / "a.h5", config))
    else:
        (tmp_path / "a.json").write_text(json.dumps(config))
        path = write_weights(tmp_path / "a.weights.h5", arrays)
        model = interop.load_model(path, tmp_path / "a.json")
        for expected, got in zip(arrays.values(), interop.get_weights(model), strict=True):
            np.testing.assert_array_equal(expected, got)
    assert model(torch.randn(2, 5, D)).shape == (2, OUT)


# ---------------------------------------------------------------------- code in files


class Bomb:
    """Makes its folder when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


@pytest.fixture
def canary(tmp_path_factory, monkeypatch) -> Iterator[Path]:
    """Return a folder that unpickling makes, and so does importing the module ``evil``; it must not be there after."""
    place = tmp_path_factory.mktemp("canary")
    sang = place / "sang"
    (place / "evil.py").write_text(f"import os\nos.makedirs({str(sang)!r})\nclass LSTM: pass\n")
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")]))
    yield sang
    assert not sang.exists()
    assert "evil" not in sys.modules


@pytest.mark.parametrize("dump", [lambda bomb, path: path.write_bytes(pickle.dumps(bomb)), torch.save])
@pytest.mark.parametrize("name", ["a.h5", "a.keras", "a.json", "a.weights.h5", "a.pkl"])
def test_a_pickle_under_any_name_is_refused_and_not_run(name, dump, canary, tmp_path):
    dump(Bomb(canary), tmp_path / name)
    refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["data.pkl", "archive/data.pkl", "model.pickle", "evil.py", "a/b.so"])
def test_a_zip_with_code_in_it_is_refused_and_not_run(name, canary, tmp_path):
    path = tmp_path / "a.keras"
    path.write_bytes(zipped({**members(), name: pickle.dumps(Bomb(canary))}))
    refusal(path, name)


@pytest.mark.parametrize("place", ["config.json", "metadata.json", "model.weights.h5"])
def test_a_pickle_in_place_of_a_member_is_refused_and_not_run(place, canary, tmp_path):
    path = tmp_path / "a.keras"
    path.write_bytes(zipped({**members(), place: pickle.dumps(Bomb(canary))}))
    refusal(path)


def as_keras_writes(function: Any) -> dict[str, Any]:
    code = b64encode(marshal.dumps(function.__code__)).decode()
    return {"class_name": "__lambda__", "config": {"code": code, "defaults": None, "closure": None}}


def as_keras_2_writes(function: Any) -> list[Any]:
    return [b64encode(marshal.dumps(function.__code__)).decode() + "\n", None, None]


FUNCTION = as_keras_writes(lambda x: __import__("evil"))
OLD_FUNCTION = as_keras_2_writes(lambda x: __import__("evil"))
EVIL = {"module": "evil", "class_name": "LSTM", "config": {}, "registered_name": "evil>LSTM"}
FOREIGN = {
    "a lambda": layer("Lambda", "l", function=FUNCTION, arguments={}),
    "a lambda of Keras 2": layer("Lambda", "l", function=OLD_FUNCTION, function_type="lambda", module="evil"),
    "a lambda by name": layer("Lambda", "l", function="system", function_type="function", module="os"),
    "a lambda inside": layer("TimeDistributed", "t", layer=layer("Lambda", "l", function=FUNCTION)),
    "a lambda in both directions": layer("Bidirectional", "b", layer=layer("Lambda", "l", function=FUNCTION)),
    "a lambda as cell": layer("RNN", "r", cell=layer("Lambda", "l", function=FUNCTION)),
    "a lambda in a model": sequential(layer("Lambda", "l", function=FUNCTION)),
    "a saved model": layer("TFSMLayer", "l", filepath="/", call_endpoint="serve"),
    "an unknown class": layer("Attention", "a"),
    "a class of another module": dense() | {"module": "evil"},
    "an LSTM of another module": lstm("x") | {"module": "evil"},
    "an LSTM of a module within": lstm("x") | {"module": "evil.keras.layers"},
    "an LSTM registered by others": lstm("x") | {"registered_name": "evil>LSTM"},
    "an operation": layer("TFOpLambda", "l", function="io.write_file"),
    "a class that is no text": layer("Dense", "d") | {"class_name": ["Dense"]},
    "an attribute path": layer("__class__", "d"),
}


@pytest.mark.parametrize("form", ["keras", "legacy"])
@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
def test_a_layer_that_is_code_or_somebody_elses_is_refused_and_not_run(foreign, form, canary, tmp_path):
    config = edited(good_config(), DENSE, foreign)
    if form == "keras":
        refusal(write_keras(tmp_path / "a.keras", config))
    else:
        refusal(write_legacy(tmp_path / "a.h5", config))


@pytest.mark.parametrize(
    "model",
    [good_config() | {"module": "evil"}, good_graph() | {"registered_name": "evil>Functional"}, EVIL],
    ids=["module", "registered", "class"],
)
def test_a_model_of_somebody_elses_class_is_refused_and_not_run(model, canary, tmp_path):
    refusal(write_keras(tmp_path / "a.keras", model))


def described(class_name: str, **config: Any) -> dict[str, Any]:
    return {"module": "keras", "class_name": class_name, "config": config, "registered_name": None}


FOREIGN_SETTINGS = {
    "a regularizer": ("kernel_regularizer", EVIL),
    "a regularizer of a good name": ("recurrent_regularizer", described("L2", l2=0.1) | {"module": "evil"}),
    "an unknown regularizer": ("bias_regularizer", described("L3", l3=0.1)),
    "a registered regularizer": ("activity_regularizer", described("L2", l2=0.1) | {"registered_name": "evil>L2"}),
    "a regularizer with a function": ("kernel_regularizer", FUNCTION),
    "a constraint": ("kernel_constraint", EVIL),
    "a constraint of a good name": ("recurrent_constraint", described("NonNeg") | {"module": "evil"}),
    "an unknown constraint": ("bias_constraint", described("Any")),
    "an activation": ("activation", EVIL),
    "an activation with a function": ("activation", FUNCTION),
    "an activation of a good name": (
        "activation",
        {"module": "evil", "class_name": "function", "config": "tanh", "registered_name": "function"},
    ),
    "a registered activation": ("recurrent_activation", described("tanh") | {"registered_name": "evil>tanh"}),
    "an unknown activation": ("activation", "evil.LSTM"),
    "an activation of Python": ("activation", "__import__"),
    "a policy": ("dtype", EVIL),
    "a policy of a good name": ("dtype", described("DTypePolicy", name="float32") | {"module": "evil"}),
    "an unknown policy": ("dtype", described("Evil", name="float32")),
    "an unknown type": ("dtype", "evil"),
    "a setting": ("evil", EVIL),
}


@pytest.mark.parametrize(("setting", "value"), FOREIGN_SETTINGS.values(), ids=FOREIGN_SETTINGS)
def test_a_setting_that_is_code_or_somebody_elses_is_refused_by_name_and_not_run(setting, value, canary, tmp_path):
    config = edited(good_config(), (*LSTM, "config", setting), value)
    refusal(write_keras(tmp_path / "a.keras", config), "lstm")


@pytest.mark.parametrize(
    "value", [EVIL, FUNCTION, "evil.LSTM", 3, [EVIL]], ids=["class", "code", "text", "int", "list"]
)
def test_an_initializer_says_nothing_and_is_not_looked_up(value, canary, tmp_path):
    names = ("kernel_initializer", "recurrent_initializer", "bias_initializer")
    weights = hdf5(good_weights())
    config = edited(good_config(), LSTM, lstm(**dict.fromkeys(names, value)))
    model = interop.load_model(write_keras(tmp_path / "a.keras", config, weights))
    twin = interop.load_model(write_keras(tmp_path / "b.keras", good_config(), weights))
    x = torch.randn(2, 5, D)
    torch.testing.assert_close(model(x), twin(x), rtol=0, atol=0)


# ---------------------------------------------------------------------- our own folder


@pytest.fixture
def converted(tmp_path) -> Path:
    model = interop.load_model(write_keras(tmp_path / "a.keras"))
    interop.save_model(model, tmp_path / "converted")
    x = torch.randn(2, 5, D)
    torch.testing.assert_close(interop.load_model(tmp_path / "converted")(x), model(x), rtol=0, atol=0)
    return tmp_path / "converted"


def put_weights(folder: Path, content: bytes) -> None:
    """Replace the weights as an attacker does, who can compute a sum as well."""
    (folder / "model.safetensors").write_bytes(content)
    path = folder / "model.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps(about | {"weights_sha256": hashlib.sha256(content).hexdigest()}))


def put_description(folder: Path, path: tuple[Any, ...], value: Any) -> None:
    about = folder / "model.json"
    about.write_text(json.dumps(edited(json.loads(about.read_text()), path, value)))


def with_header(content: bytes, change: Any) -> bytes:
    length = struct.unpack("<Q", content[:8])[0]
    header = change(json.loads(content[8 : 8 + length]))
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def first_tensor(header: dict[str, Any], **changes: Any) -> dict[str, Any]:
    name = next(name for name in header if name != "__metadata__")
    return header | {name: header[name] | changes}


def overlapping(header: dict[str, Any]) -> dict[str, Any]:
    names = [n for n in header if n != "__metadata__" and header[n]["shape"] == [4 * H, H]]
    return header | {"more": header[names[0]]}


def key_twice(header: dict[str, Any]) -> bytes:
    name = next(iter(header))
    return (json.dumps(header)[:-1] + f", {json.dumps(name)}: {json.dumps(header[name])}}}").encode()


HEADERS = {
    "overlapping tensors": overlapping,
    "a tensor beyond the end": lambda h: first_tensor(h, data_offsets=[0, 1 << 40]),
    "a tensor that ends before it begins": lambda h: first_tensor(h, data_offsets=[64, 0]),
    "a negative offset": lambda h: first_tensor(h, data_offsets=[-4, 0]),
    "a type that there is not": lambda h: first_tensor(h, dtype="OBJECT"),
    "a shape beyond all memory": lambda h: first_tensor(h, shape=[1 << 40, 1 << 40]),
    "a shape that is none": lambda h: first_tensor(h, shape="all"),
    "a hole": lambda h: {k: v for k, v in h.items() if k != next(iter(h))},
    "no header": lambda h: b"",
    "a header that is a list": lambda h: b"[]",
    "a header within headers": lambda h: b"[" * 100_000,
}


@pytest.mark.parametrize("change", HEADERS.values(), ids=HEADERS)
def test_weights_of_ours_with_a_tampered_header_are_refused(change, converted):
    put_weights(converted, with_header((converted / "model.safetensors").read_bytes(), change))
    refusal(converted)


def test_a_name_twice_in_a_header_is_refused_or_means_one_tensor(converted):
    put_weights(converted, with_header((converted / "model.safetensors").read_bytes(), key_twice))
    try:
        interop.load_model(converted)
    except CorruptFileError as error:
        assert_one_line(str(error))


@pytest.mark.parametrize("length", [0, 1, 1 << 20, 1 << 31, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_weights_of_ours_with_a_wrong_length_of_header_are_refused(length, converted):
    content = (converted / "model.safetensors").read_bytes()
    put_weights(converted, struct.pack("<Q", length) + content[8:])
    refusal(converted)


def one(weights: dict[str, torch.Tensor], change: Any) -> dict[str, torch.Tensor]:
    name = "layers.dense.linear.weight"
    return weights | {name: change(weights[name])}


OUR_WEIGHTS = {
    "one too many": lambda w: w | {"more": torch.zeros(3)},
    "one missing": lambda w: {k: v for k, v in w.items() if "dense" not in k},
    "none": lambda w: {},
    "another shape": lambda w: one(w, lambda t: t[:1]),
    "transposed": lambda w: one(w, lambda t: t.T.contiguous()),
    "not a number": lambda w: one(w, lambda t: t * torch.nan),
    "infinite": lambda w: one(w, lambda t: t + torch.inf),
    "whole numbers": lambda w: one(w, lambda t: t.long()),
    "truth values": lambda w: one(w, lambda t: t > 0),
    "one of half precision": lambda w: one(w, lambda t: t.half()),
    "one of double precision": lambda w: one(w, lambda t: t.double()),
    "complex": lambda w: one(w, lambda t: t.to(torch.complex64)),
    "of another model": lambda w: {k.replace("lstm", "gru"): v for k, v in w.items()},
}


@pytest.mark.parametrize("change", OUR_WEIGHTS.values(), ids=OUR_WEIGHTS)
def test_weights_of_ours_that_do_not_belong_to_the_description_are_refused(change, converted):
    weights = safetensors.torch.load_file(converted / "model.safetensors")
    put_weights(converted, safetensors.torch.save(change(weights)))
    refusal(converted)


def test_weights_of_ours_with_another_sum_are_refused(converted):
    content = bytearray((converted / "model.safetensors").read_bytes())
    content[-2] ^= 1
    (converted / "model.safetensors").write_bytes(content)
    refusal(converted, "model.safetensors")


AT = "description"
INNER = (AT, "layers", 1)  # the LSTM
HEAD = (AT, "layers", 2)
OUR_DESCRIPTIONS = {
    "another format": (("format",), "keras-layers-2"),
    "a format that is a list": (("format",), [1]),
    "no format": (("format",), ...),
    "no sum": (("weights_sha256",), ...),
    "no shapes": (("shapes",), ...),
    "no description": ((AT,), ...),
    "shapes in words": (("shapes",), "all"),
    "a shape in words": (("shapes", "layers/dense/vars/0"), "ab"),
    "a shape beyond all memory": (("shapes", "layers/dense/vars/0"), [1 << 40, 1 << 40]),
    "a negative shape": (("shapes", "layers/dense/vars/0"), [-1, 2]),
    "a description that is a list": ((AT,), []),
    "a description that is nothing": ((AT,), None),
    "no layers": ((AT, "layers"), []),
    "layers in words": ((AT, "layers"), "all"),
    "an unknown kind": ((*HEAD, "kind"), "Lambda"),
    "a kind that is a list": ((*HEAD, "kind"), []),
    "a kind of Python": ((*HEAD, "kind"), "__class__"),
    "a model that is none": ((*HEAD, "kind"), "Model"),
    "an inner layer that is none": ((*HEAD, "kind"), "TimeDistributed"),
    "an inner layer of no layers": (
        HEAD,
        {
            "name": "t",
            "kind": "TimeDistributed",
            "settings": {},
            "calls": [{"inputs": [["lstm", 0, 0]], "initial_state": []}],
            "model": {"name": "m", "layers": [], "inputs": [], "outputs": [], "is_sequential": False},
            "is_trained": True,
            "keras_class": "TimeDistributed",
            "notes": [],
        },
    ),
    "a name that is a number": ((*HEAD, "name"), 3),
    "a name twice": ((*HEAD, "name"), "lstm"),
    "an unknown field": ((*HEAD, "code"), "import evil"),
    "a class that is no text": ((*HEAD, "keras_class"), 3),
    "notes that are numbers": ((*HEAD, "notes"), [3]),
    "notes in words": ((*HEAD, "notes"), 3),
    "no settings": ((*HEAD, "settings"), {}),
    "settings that are a list": ((*HEAD, "settings"), []),
    "units beyond all memory": ((*INNER, "settings", "units"), 10**9),
    "units beyond all numbers": ((*INNER, "settings", "units"), 10**30),
    "units in words": ((*INNER, "settings", "units"), "4"),
    "other units": ((*HEAD, "settings", "units"), 7),
    "negative units": ((*INNER, "settings", "units"), -4),
    "a rate in words": ((*INNER, "settings", "dropout"), "0.1"),
    "a rate that is NaN": ((*INNER, "settings", "recurrent_dropout"), float("nan")),
    "an unknown activation": ((*HEAD, "settings", "activation"), "evil"),
    "a flag in words": ((*INNER, "settings", "return_sequences"), "yes"),
    "a direction in words": ((*INNER, "settings", "go_backwards"), "no"),
    "an unknown setting": ((*INNER, "settings", "evil"), 3),
    "a regularizer of code": ((*INNER, "settings", "kernel_regularizer"), EVIL),
    "a regularizer in words": ((*HEAD, "settings", "kernel_regularizer"), "evil"),
    "a constraint in words": ((*HEAD, "settings", "kernel_constraint"), "evil"),
    "a circle": ((*INNER, "calls", 0, "inputs"), [["dense", 0, 0]]),
    "an unknown reference": ((*HEAD, "calls", 0, "inputs"), [["x", 0, 0]]),
    "an output that there is not": ((*HEAD, "calls", 0, "inputs"), [["lstm", 0, 5]]),
    "a call that there is not": ((*HEAD, "calls", 0, "inputs"), [["lstm", 5, 0]]),
    "no inputs of a layer": ((*HEAD, "calls", 0, "inputs"), []),
    "two inputs of a layer": ((*HEAD, "calls", 0, "inputs"), [["lstm", 0, 0], ["lstm", 0, 0]]),
    "a reference that is a list": ((*HEAD, "calls", 0, "inputs"), [[["lstm"], 0, 0]]),
    "a reference with too much": ((*HEAD, "calls", 0, "inputs"), [["lstm", 0, 0, 0]]),
    "calls that are numbers": ((*HEAD, "calls"), [3]),
    "no inputs": ((AT, "inputs"), []),
    "no outputs": ((AT, "outputs"), []),
    "an input that is none": ((AT, "inputs"), [["dense", 0, 0]]),
    "an output of nobody": ((AT, "outputs"), [["x", 0, 0]]),
}


@pytest.mark.parametrize(("path", "value"), OUR_DESCRIPTIONS.values(), ids=OUR_DESCRIPTIONS)
def test_a_description_of_ours_that_breaks_a_rule_is_refused(path, value, canary, converted):
    put_description(converted, path, value)
    refusal(converted)


CONTENTS = {
    "nothing": b"",
    "no JSON": b"model",
    "null": b"null",
    "a list": b"[]",
    "a text": b'"format"',
    "a number": b"3",
    "no end": b'{"format": "keras-layers-1"',
    "not UTF-8": b"\xff\xfe{}\xff",
    "zeros": bytes(1000),
    "depth": b"[" * 1_000_000,
    "depth inside": b'{"format": "keras-layers-1", "description": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "digits": b'{"format": ' + b"9" * 1_000_000 + b"}",
    "garbage": bytes(range(256)) * 40_000,
    "one key": b'{"format": "keras-layers-1"}',
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_description_of_ours_that_is_none_is_refused(content, converted):
    (converted / "model.json").write_bytes(content)
    refusal(converted)


@pytest.mark.parametrize("kept", [0, 1, 8, 100, 0.5, -1, None])
@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_truncated_file_of_ours_is_refused(name, kept, converted):
    content = (converted / name).read_bytes()
    if kept is None:
        (converted / name).unlink()
        with pytest.raises((CorruptFileError, ConfigError)):  # without its description it is any folder
            interop.load_model(converted)
        return
    (converted / name).write_bytes(content[: int(len(content) * kept) if kept == 0.5 else kept])
    if name == "model.json" and kept == -1:
        interop.load_model(converted)  # that was the last newline
    else:
        refusal(converted)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_pipe_in_a_folder_of_ours_is_refused_and_not_waited_for(name, loader, converted):
    (converted / name).unlink()
    os.mkfifo(converted / name)
    found = loader.load(converted, timeout=20)
    assert found.kind in ("CorruptFileError", "ConfigError")


# ---------------------------------------------------------------------- other files


@pytest.fixture(params=["file", "pipe"])
def target(request, tmp_path) -> Iterator[Path]:
    """Return what nobody may open: a pipe, where that would take forever, or a file, where it would be seen."""
    path = tmp_path / "target"
    if request.param == "pipe":
        os.mkfifo(path)
        yield path
        return
    path.write_bytes(hdf5({"x": random(OUT)}))
    os.utime(path, (1, 2))
    yield path
    assert path.stat().st_atime == 1


def linked(tree: h5py.File, place: str, target: Path) -> None:
    tree[place] = h5py.ExternalLink(str(target), "/x")


def linked_group(tree: h5py.File, place: str, target: Path) -> None:
    del tree["layers/lstm"]
    tree["layers/lstm"] = h5py.ExternalLink(str(target), "/")


def stored_outside(tree: h5py.File, place: str, target: Path) -> None:
    tree.create_dataset(place, (OUT,), "f4", external=[(str(target), 0, 4 * OUT)])


def virtual(tree: h5py.File, place: str, target: Path) -> None:
    layout = h5py.VirtualLayout((OUT,), "f4")
    layout[:] = h5py.VirtualSource(str(target), "x", (OUT,))
    tree.create_virtual_dataset(place, layout)


def linked_optimizer(tree: h5py.File, place: str, target: Path) -> None:
    tree[place] = random(OUT)
    tree["optimizer/vars/0"] = h5py.ExternalLink(str(target), "/x")


OUTSIDE = {each.__name__: each for each in (linked, linked_group, stored_outside, virtual, linked_optimizer)}


@pytest.mark.parametrize("attack", OUTSIDE.values(), ids=OUTSIDE)
def test_weights_in_another_file_are_refused_and_it_is_not_opened(attack, target, tmp_path):
    arrays = good_weights()
    place = "layers/dense/vars/1"
    del arrays[place]
    weights = hdf5(arrays, lambda tree: attack(tree, place, target))
    refusal(write_keras(tmp_path / "a.keras", weights=weights))


@pytest.mark.parametrize("link", ["/layers/dense/vars/0", "/nowhere", "/layers/dense/vars/1", "/"])
def test_a_soft_link_is_refused(link, tmp_path):
    arrays = good_weights()
    del arrays["layers/dense/vars/1"]
    weights = hdf5(arrays, lambda tree: tree.__setitem__("layers/dense/vars/1", h5py.SoftLink(link)))
    refusal(write_keras(tmp_path / "a.keras", weights=weights), "link")


DTYPES = {
    "references": h5py.ref_dtype,
    "references to regions": h5py.regionref_dtype,
    "lists": h5py.vlen_dtype(np.float32),
    "texts": h5py.string_dtype(),
    "texts of one length": np.dtype("S8"),
    "records": np.dtype([("a", "f4"), ("b", "f4")]),
    "arrays": np.dtype(("f4", (3,))),
    "complex numbers": np.dtype("c8"),
    "opaque bytes": np.dtype("V8"),
    "named numbers": h5py.enum_dtype({"a": 1}, basetype="i"),
    "truth values": np.dtype("?"),
    "whole numbers": np.dtype("i8"),
    "long doubles": np.dtype("f16"),
}


@pytest.mark.parametrize("place", ["layers/dense/vars/1", "optimizer/vars/0"])
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_an_array_of_anything_but_floating_point_numbers_is_refused(dtype, place, tmp_path):
    arrays = {name: array for name, array in good_weights().items() if name != place}
    filled = {"data": np.ones(OUT, dtype)} if dtype.kind in "bi" else {}  # others have no need of data to be refused
    weights = hdf5(arrays, lambda tree: tree.create_dataset(place, (OUT,), dtype, **filled))
    path = write_keras(tmp_path / "a.keras", weights=weights)
    if place.startswith("optimizer") and filled:
        interop.load_model(path)  # counters of an optimizer are whole numbers
    else:
        refusal(path)


def test_a_data_type_in_place_of_an_array_is_refused(tmp_path):
    weights = hdf5(good_weights(), lambda tree: tree.__setitem__("layers/dense/type", np.dtype("f4")))
    refusal(write_keras(tmp_path / "a.keras", weights=weights))


ATTRIBUTES = {
    "two descriptions": ("", "model_config", np.array([b"{}", b"{}"])),
    "no description": ("", "model_config", np.array([])),
    "an empty description": ("", "model_config", ""),
    "a description in numbers": ("", "model_config", np.arange(3)),
    "a description by reference": ("", "model_config", ("reference", h5py.ref_dtype)),
    "no value": ("", "model_config", h5py.Empty("S10")),
    "a table of descriptions": ("", "model_config", np.array([[b"{}"], [b"{}"]])),
    "a description that is not UTF-8": ("", "model_config", np.bytes_(b"\xff\xfe{}")),
    "a version in numbers": ("", "keras_version", 2.15),
    "two versions": ("", "keras_version", np.array([b"2.1", b"2.2"])),
    "a version of tomorrow": ("", "keras_version", "4.0"),
    "a version of many digits": ("", "keras_version", "2." + "9" * 5_000),
    "names in numbers": ("model_weights", "layer_names", np.arange(3.0)),
    "a table of names": ("model_weights", "layer_names", np.array([[b"lstm", b"dense"]])),
    "names of nothing": ("model_weights", "layer_names", np.array([b"lstm", b"dense", b"x"])),
    "names of groups above": ("model_weights", "layer_names", np.array([b"lstm", b"../model_weights/dense"])),
    "names that are absolute": ("model_weights", "layer_names", np.array([b"/model_weights/lstm", b"dense"])),
    "no names": ("model_weights", "layer_names", np.array([])),
    "weights by reference": ("model_weights/lstm", "weight_names", ("reference", h5py.ref_dtype)),
    "names of records": ("model_weights/lstm", "weight_names", np.zeros(2, [("a", "S4")])),
}


@pytest.mark.parametrize(("group", "name", "value"), ATTRIBUTES.values(), ids=ATTRIBUTES)
def test_an_attribute_that_is_not_the_text_it_should_be_is_refused(group, name, value, tmp_path):
    def change(tree: h5py.File) -> None:
        held = tree[group or "/"].attrs
        if isinstance(value, tuple):
            held.create(name, tree["model_weights"].ref, dtype=value[1])
        else:
            held[name] = value

    refusal(write_legacy(tmp_path / "a.h5", change=change))


# ---------------------------------------------------------------------- more than there is


def zeros(size: int) -> bytes:
    """Return the raw deflation of a number of zeros, in no time and little memory."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    times, rest = divmod(size, 1 << 24)
    assert rest == 0
    return block * times + zlib.compressobj(9, zlib.DEFLATED, -15).flush()


def zlib_of_zeros(size: int) -> bytes:
    return b"\x78\x9c" + zeros(size) + struct.pack(">I", size % 65521 << 16 | 1)


def test_a_bomb_of_zeros_is_what_it_says():
    assert zlib.decompress(zlib_of_zeros(1 << 25)) == bytes(1 << 25)


@pytest.mark.parametrize("place", ["config.json", "metadata.json", "model.weights.h5", "other.bin"])
@pytest.mark.parametrize("declared", [10 << 30, 1000, 0, 60 << 20])
def test_a_member_that_unpacks_to_all_memory_is_refused(place, declared, loader, tmp_path):
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**members(), "other.bin": b""}.items():
            archive.writestr(name, zeros(10 << 30) if name == place else content)
        bomb = archive.getinfo(place)
        bomb.compress_type, bomb.file_size = zipfile.ZIP_DEFLATED, declared
    if place == "other.bin":
        found = loader.load(path)
        assert found.kind == "loaded"  # nobody looks into it
        assert found.megabytes < PEAK
    else:
        refusal_under_limits(loader, path)


def huge_contiguous(tree: h5py.File) -> None:
    tree.create_dataset("layers/x", (1 << 40,), "f4")


def huge_chunked(tree: h5py.File) -> None:
    tree.create_dataset("layers/x", (1 << 40,), "f4", chunks=(1 << 10,), fillvalue=1.0)


def huge_with_one_chunk(tree: h5py.File) -> None:
    tree.create_dataset("layers/x", (1 << 40,), "f4", chunks=(1 << 10,), fillvalue=1.0)[5] = 3


def huge_in_many_pieces(tree: h5py.File) -> None:
    for index in range(20):
        tree.create_dataset(f"layers/x{index}", (1 << 20,), "f4", chunks=(1 << 20,), compression="gzip")[0] = 1


def gzip_bomb(tree: h5py.File) -> None:
    held = tree.create_dataset("layers/x", (1 << 28,), "f4", chunks=(1 << 28,), compression="gzip")
    held.id.write_direct_chunk((0,), zlib_of_zeros(1 << 30))


def gzip_bomb_just_allowed(tree: h5py.File) -> None:
    held = tree.create_dataset("layers/x", (15 << 20,), "f4", chunks=(16 << 20,), maxshape=(None,), compression="gzip")
    held.id.write_direct_chunk((0,), zlib_of_zeros(64 << 20))


def gzip_bomb_in_a_small_array(tree: h5py.File) -> None:
    held = tree.create_dataset("layers/x", (4,), "f4", chunks=(1 << 28,), maxshape=(None,), compression="gzip")
    held.id.write_direct_chunk((0,), zlib_of_zeros(1 << 30))


def gzip_bomb_in_a_smaller_chunk(tree: h5py.File) -> None:
    held = tree.create_dataset("layers/x", (4,), "f4", chunks=(4,), compression="gzip")
    held.id.write_direct_chunk((0,), zlib_of_zeros(1 << 30))


def many_dimensions(tree: h5py.File) -> None:
    tree.create_dataset("layers/x", (1,) * 32, "f4", data=np.zeros((1,) * 32))


def no_elements(tree: h5py.File) -> None:
    tree.create_dataset("layers/x", (0, 1 << 62), "f4")


def no_data(tree: h5py.File) -> None:
    tree["layers/x"] = h5py.Empty("f4")


def unknown_filter(tree: h5py.File) -> None:
    tree.create_dataset("layers/x", data=np.zeros(1000), chunks=(100,), compression="lzf")


def unknown_scale(tree: h5py.File) -> None:
    tree.create_dataset("layers/x", data=np.zeros(1000, "f4"), chunks=(100,), scaleoffset=3)


def hard_link_loop(tree: h5py.File) -> None:
    tree["layers/loop"] = tree["/"]
    tree["layers/again"] = tree["/layers"]


def deep_groups(tree: h5py.File) -> None:
    group = tree
    for _ in range(1_000):
        group = group.create_group("g")


def one_array_100_000_times(tree: h5py.File) -> None:
    held, group = tree["layers/dense/vars"], tree.create_group("layers/x")
    for index in range(100_000):
        group.id.links.create_hard(b"%d" % index, held.id, b"0")


def groups_100_000(tree: h5py.File) -> None:
    group = tree.create_group("layers/x")
    for index in range(100_000):
        h5py.h5g.create(group.id, b"%d" % index)


def attributes_100_000(tree: h5py.File) -> None:
    group, space = tree.create_group("layers/x"), h5py.h5s.create(h5py.h5s.SCALAR)
    for index in range(100_000):
        h5py.h5a.create(group.id, b"name%d" % index, h5py.h5t.STD_I8LE, space)


def one_group_of_many_attributes_many_times(tree: h5py.File) -> None:
    group, space = tree.create_group("layers/x"), h5py.h5s.create(h5py.h5s.SCALAR)
    for index in range(4_000):
        h5py.h5a.create(group.id, b"%d" % index, h5py.h5t.STD_I8LE, space)
    for index in range(19_000):
        tree.id.links.create_hard(b"x%d" % index, tree["layers"].id, b"x")


def huge_attribute(tree: h5py.File) -> None:
    tree.attrs["model_config"] = np.bytes_(b"{" + b"\x01" * (30 << 20))


HDF5_BOMBS = {
    each.__name__: each
    for each in (
        huge_contiguous,
        huge_chunked,
        huge_with_one_chunk,
        huge_in_many_pieces,
        gzip_bomb,
        gzip_bomb_just_allowed,
        gzip_bomb_in_a_small_array,
        gzip_bomb_in_a_smaller_chunk,
        many_dimensions,
        no_elements,
        no_data,
        unknown_filter,
        unknown_scale,
        hard_link_loop,
        deep_groups,
        one_array_100_000_times,
        groups_100_000,
        attributes_100_000,
        one_group_of_many_attributes_many_times,
        huge_attribute,
    )
}


@pytest.mark.parametrize("name", HDF5_BOMBS)
def test_hdf5_that_asks_for_too_much_is_refused_within_limits(name, loader, tmp_path):
    path, architecture = tmp_path / "a.weights.h5", tmp_path / "a.json"
    architecture.write_text(json.dumps(good_config()))
    path.write_bytes(hdf5(good_weights(), HDF5_BOMBS[name], libver="latest"))
    refusal_under_limits(loader, path, architecture)


def endless_heap() -> bytes:
    """Return a file in which an object takes no place, so that who goes from one to the next goes nowhere."""
    content = bytearray(hdf5({}, lambda tree: tree.attrs.__setitem__("keras_version", "2.15.0")))
    heap = content.index(b"GCOL")
    first = heap + 16
    size = int.from_bytes(content[first + 8 : first + 16], "little")
    second = first + 16 + (size + 7) // 8 * 8
    content[second : second + 16] = bytes(16)
    return bytes(content)


def test_hdf5_in_which_the_library_goes_in_circles_is_refused_within_limits(loader, tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(endless_heap())
    assert "takes more time to read than a file of its size needs" in refusal_under_limits(loader, path)


def test_a_model_of_a_thousand_layers_is_read_within_the_limits(loader, tmp_path):
    layers = [dense(f"d{index}", units=D) for index in range(1_000)]
    weights = {f"d{index}": {"kernel:0": random(D, D), "bias:0": random(D)} for index in range(1_000)}
    found = loader.load(write_legacy(tmp_path / "a.h5", sequential(entry(), *layers), weights))
    assert found.kind == "loaded", found
    assert found.seconds < SECONDS, found


def test_one_text_that_stands_for_thousands_is_refused_within_limits(loader, tmp_path):
    size, count = 3 << 20, 4_000

    def change(tree: h5py.File) -> None:
        texts = ["x" * size] + ["b"] * (count - 1)
        tree.attrs.create("layer_names", texts, dtype=h5py.string_dtype())

    content = hdf5(good_weights(), change)
    start = content.index(struct.pack("<I", size), content.index(b"layer_names"))
    element = content[start : start + 16]
    path = tmp_path / "a.weights.h5"
    path.write_bytes(content[:start] + element * count + content[start + 16 * count :])
    (tmp_path / "a.json").write_text(json.dumps(good_config()))
    refusal_under_limits(loader, path, tmp_path / "a.json")


def digits(config: Any, path: tuple[Any, ...], text: str) -> str:
    return json.dumps(edited(config, path, "@")).replace('"@"', text)


def nested(levels: int, form: str) -> str:
    """Return a description in text: Python's own writer would not go so deep."""
    if form == "Sequential":
        opening, closing = '{"class_name": "Sequential", "config": {"name": "m%d", "layers": [', "]}}"
    else:
        opening, closing = f'{{"class_name": "{form}", "config": {{"name": "m%d", "layer": ', "}}"
    made = "".join(opening % index for index in range(levels)) + json.dumps(dense("d")) + closing * levels
    return json.dumps(sequential(entry(), "@")).replace('"@"', made)


def in_text(text: str) -> str:
    """Return a description with a text in place of a number."""
    return digits(good_config(), UNITS, text)


UNITS = (*LSTM, "config", "units")
REGULARIZER = (*LSTM, "config", "kernel_regularizer")
MANY = '{"class_name":"Dropout","config":{"rate":0.1}},' * 1_000_000


def many_inside() -> Any:
    inner = sequential(*[dense(f"d{index}") for index in range(4_900)])
    return sequential(entry(), inner)


def alike_names() -> Any:
    names = (f"{index:013b}".replace("0", ".").replace("1", "_") for index in range(4_900))
    return sequential(entry(), *[layer("Dropout", name, rate=0.1) for name in names])


def many_shuffled() -> Any:
    order = np.random.default_rng(0).permutation(4_900)
    return sequential(entry(), *[layer("Dropout", f"d{index}", rate=0.1) for index in order])


def embedding(rows: float, columns: int) -> Any:
    return sequential(
        entry(shape=[None, None]), layer("Embedding", "e", input_dim=rows, output_dim=columns), lstm(), dense()
    )


DESCRIPTION_BOMBS = {
    "depth": lambda: "[" * 1_000_000,
    "depth of objects": lambda: '{"a":' * 1_000_000,
    "depth inside": lambda: in_text("[" * 100_000 + "]" * 100_000),
    "models in models": lambda: nested(1_000, "Sequential"),
    "models in some models": lambda: nested(100, "Sequential"),
    "layers in layers": lambda: nested(1_000, "TimeDistributed"),
    "layers in some layers": lambda: nested(200, "TimeDistributed"),
    "directions in directions": lambda: nested(200, "Bidirectional"),
    "a million layers": lambda: '{"class_name":"Sequential","config":{"layers":[' + MANY + "{}]}}",
    "five million objects": lambda: in_text("[" + "{}," * (5 << 20) + "0]"),
    "twenty million objects": lambda: in_text("[" + "{}," * (20 << 20) + "0]"),
    "control characters": lambda: "\x01" * (60 << 20),
    "a long class": lambda: edited(good_config(), (*LSTM, "class_name"), "LSTM" * (12 << 20)),
    "a long activation": lambda: edited(good_config(), (*LSTM, "config", "activation"), "tanh" * (12 << 20)),
    "a long regularizer": lambda: edited(good_config(), REGULARIZER, "L2" * (12 << 20)),
    "a long name of a setting": lambda: edited(good_config(), (*LSTM, "config", "x" * (40 << 20)), 3),
    "a long name": lambda: edited(good_config(), (*LSTM, "config"), {"name": "x" * (40 << 20)}),
    "a strange long regularizer": lambda: edited(
        good_config(), REGULARIZER, {"class_name": "L2", "config": {"x" * 10**6: 1}}
    ),
    "many layers in a model": many_inside,
    "many layers of alike names": alike_names,
    "many layers in no order": many_shuffled,
    "a million digits": lambda: digits(good_config(), UNITS, "9" * 1_000_000),
    "four thousand digits": lambda: digits(good_config(), UNITS, "9" * 4_000),
    "a billion units": lambda: edited(good_config(), UNITS, 10**9),
    "thirty million units": lambda: edited(good_config(), UNITS, 30_000_000),
    "a billion units of a head": lambda: edited(good_config(), (*DENSE, "config", "units"), 10**9),
    "units beyond a double": lambda: digits(good_config(), UNITS, "1e999"),
    "a trillion words": lambda: embedding(10**12, 10),
    "two billion words": lambda: embedding(2**31 - 1, 1_000),
    "words of six gigabytes": lambda: embedding(3_000_000, 500),
    "words in fractions": lambda: embedding(1e12, 10),
    "a quintillion steps": lambda: edited(good_config(), DENSE, layer("RepeatVector", "r", n=10**18)),
    "a shape of many": lambda: edited(good_config(), DENSE, layer("Reshape", "r", target_shape=[10**18, 10**18])),
    "a window beyond all memory": lambda: edited(
        good_config(), DENSE, layer("MaxPooling1D", "p", pool_size=10**18, strides=1, padding="same")
    ),
}


@pytest.mark.parametrize("name", DESCRIPTION_BOMBS)
def test_a_description_that_asks_for_too_much_is_refused_within_limits(name, loader, tmp_path):
    config = DESCRIPTION_BOMBS[name]()
    weights = good_weights() | ({"layers/embedding/vars/0": random(5, D)} if "words" in name else {})
    found = loader.load(write_keras(tmp_path / "a.keras", config, hdf5({} if "many" in name else weights)))
    if name in WITHOUT_WEIGHTS:
        assert found.kind == "loaded"  # all of these layers are there, and have no weights
        assert found.megabytes < PEAK
    else:
        assert_refused_under_limits(found, tmp_path / "a.keras")


WITHOUT_WEIGHTS = ("many layers of alike names", "many layers in no order")
NUMBERS = {
    "NaN units": (UNITS, "NaN"),
    "infinite units": (UNITS, "Infinity"),
    "units of -Infinity": (UNITS, "-Infinity"),
    "units and a half": (UNITS, "4.5"),
    "units in words": (UNITS, '"4"'),
    "true units": (UNITS, "true"),
    "no units": (UNITS, "null"),
    "zero units": (UNITS, "0"),
    "negative units": (UNITS, "-4"),
    "a list of units": (UNITS, "[4]"),
    "a rate of NaN": ((*LSTM, "config", "dropout"), "NaN"),
    "a rate of 1": ((*LSTM, "config", "recurrent_dropout"), "1.0"),
    "a negative rate": ((*LSTM, "config", "dropout"), "-0.1"),
    "an infinite rate": ((*LSTM, "config", "dropout"), "1e999"),
    "a flag in words": ((*LSTM, "config", "use_bias"), '"yes"'),
    "a flag that is NaN": ((*LSTM, "config", "return_sequences"), "NaN"),
    "a strength of NaN": (REGULARIZER, '{"class_name": "L2", "config": {"l2": NaN}}'),
    "an infinite strength": (REGULARIZER, '{"class_name": "L2", "config": {"l2": Infinity}}'),
    "a strength in words": (REGULARIZER, '{"class_name": "L2", "config": {"l2": "a\\nb"}}'),
    "strengths of nobody": (REGULARIZER, '{"class_name": "L2", "config": {"__class__": 3}}'),
    "a regularizer without strengths": (REGULARIZER, '"l2\\nl1"'),
    "a norm of NaN": (
        (*LSTM, "config", "kernel_constraint"),
        '{"class_name": "MaxNorm", "config": {"max_value": NaN}}',
    ),
    "a norm in words": (
        (*LSTM, "config", "kernel_constraint"),
        '{"class_name": "MaxNorm", "config": {"max_value": "2"}}',
    ),
    "an axis that there is not": (
        (*LSTM, "config", "kernel_constraint"),
        '{"class_name": "MaxNorm", "config": {"axis": 7}}',
    ),
    "an epsilon of NaN": (
        DENSE,
        json.dumps(layer("LayerNormalization", "n", axis=-1)).replace('"axis"', '"epsilon": NaN, "axis"'),
    ),
    "a slope that is a text": (DENSE, json.dumps(layer("ReLU", "r", max_value="x"))),
    "a bound that is NaN": (DENSE, json.dumps(layer("ReLU", "r", max_value=float("nan")))),
    "a shape of noise in words": (DENSE, json.dumps(layer("Dropout", "r", rate=0.5, noise_shape="abc"))),
    "a shape of noise of texts": (DENSE, json.dumps(layer("Dropout", "r", rate=0.5, noise_shape=[None, "a"]))),
}


@pytest.mark.parametrize(("path", "text"), NUMBERS.values(), ids=NUMBERS)
def test_a_value_that_breaks_its_rule_is_refused(path, text, tmp_path):
    refusal(write_keras(tmp_path / "a.keras", digits(good_config(), path, text)))


def test_a_layer_without_a_name_of_its_own_gets_one(tmp_path):
    config = sequential(*[dense(name, units=H) for name in ("input", "input_", "input__")])
    weights = {
        f"layers/dense{'_' * bool(i)}{i or ''}/vars/{k}": random(*s)
        for i in range(3)
        for k, s in ((0, (H, H)), (1, (H,)))
    }
    model = interop.load_model(write_keras(tmp_path / "a.keras", config, hdf5(weights)))
    assert model(torch.randn(2, H)).shape == (2, H)


# ---------------------------------------------------------------------- zip files


def test_a_hundred_thousand_members_are_refused(loader, tmp_path):
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members().items():
            archive.writestr(name, content)
        for index in range(100_000):
            archive.writestr(zipfile.ZipInfo(f"{index}"), b"")
    refusal_under_limits(loader, path)


@pytest.mark.parametrize(
    "name", ["../evil.json", "a/../../evil.json", "/etc/evil.json", "..\\evil.json", "C:/evil.json", "\\\\host\\evil"]
)
def test_a_member_outside_of_the_file_is_refused(name, tmp_path):
    path = tmp_path / "a.keras"
    path.write_bytes(zipped({**members(), name: b"{}"}))
    refusal(path)


@pytest.mark.parametrize("place", ["config.json", "assets/other"])
def test_a_member_that_is_a_link_is_refused(place, tmp_path):
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**members(), "assets/other": b"/etc/passwd"}.items():
            archive.writestr(name, content)
        archive.getinfo(place).external_attr = (stat.S_IFLNK | 0o777) << 16
    refusal(path, "link")


@pytest.mark.parametrize("place", ["config.json", "metadata.json", "model.weights.h5"])
@pytest.mark.parametrize(
    "attack", ["encrypted", "twice", "longer", "shorter", "another sum", "bzip2", "missing", "moved"]
)
def test_a_member_that_is_not_as_it_should_be_is_refused(attack, place, tmp_path):
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of a name twice
        for name, content in members().items():
            if (attack, place) != ("missing", name):
                packing = zipfile.ZIP_BZIP2 if (attack, place) == ("bzip2", name) else zipfile.ZIP_STORED
                archive.writestr(name, content, packing)
        if attack == "twice":
            archive.writestr(place, members()[place])
        if attack != "missing":
            member = archive.getinfo(place)
            member.flag_bits |= attack == "encrypted"
            member.file_size += {"longer": 10, "shorter": -10}.get(attack, 0)
            member.CRC ^= attack == "another sum"
            member.header_offset += 7 * (attack == "moved")
    refusal(path)


# ---------------------------------------------------------------------- weights that do not belong


SHAPES = {
    "a longer kernel": ("lstm/cell/vars/0", random(D, 4 * H + 4)),
    "a kernel of another depth": ("lstm/cell/vars/0", random(1, D, 4 * H)),
    "a flat kernel": ("lstm/cell/vars/0", random(4 * D * H)),
    "a kernel that is a number": ("lstm/cell/vars/0", np.float32(1)),
    "a kernel of nothing": ("lstm/cell/vars/0", random(0, 4 * H)),
    "a larger recurrent kernel": ("lstm/cell/vars/1", random(H + 1, 4 * H)),
    "a flat recurrent kernel": ("lstm/cell/vars/1", random(4 * H)),
    "a recurrent kernel that is a number": ("lstm/cell/vars/1", np.float32(1)),
    "a longer bias": ("lstm/cell/vars/2", random(6 * H)),
    "a bias of two rows": ("lstm/cell/vars/2", random(2, 4 * H)),
    "a head of other units": ("dense/vars/0", random(H, OUT + 1)),
    "a transposed head": ("dense/vars/0", random(OUT, H)),
    "a flat head": ("dense/vars/0", random(H * OUT)),
    "a bias of the head of one": ("dense/vars/1", random(1)),
    "NaN": ("dense/vars/1", np.array([0, np.nan], np.float32)),
    "infinity": ("lstm/cell/vars/0", np.full((D, 4 * H), -np.inf, np.float32)),
    "whole numbers": ("lstm/cell/vars/1", np.ones((H, 4 * H), np.int32)),
    "truth values": ("lstm/cell/vars/1", np.ones((H, 4 * H), np.bool_)),
}
PLACES = {
    "lstm/cell/vars/0": ("lstm", "lstm/lstm_cell/kernel:0"),
    "lstm/cell/vars/1": ("lstm", "lstm/lstm_cell/recurrent_kernel:0"),
    "lstm/cell/vars/2": ("lstm", "lstm/lstm_cell/bias:0"),
    "dense/vars/0": ("dense", "dense/kernel:0"),
    "dense/vars/1": ("dense", "dense/bias:0"),
}


@pytest.mark.parametrize("form", ["keras", "legacy"])
@pytest.mark.parametrize(("place", "array"), SHAPES.values(), ids=SHAPES)
def test_a_weight_of_another_shape_or_kind_is_refused(place, array, form, tmp_path):
    if form == "keras":
        refusal(write_keras(tmp_path / "a.keras", weights=hdf5(good_weights() | {f"layers/{place}": array})))
        return
    lists = good_lists()
    name, weight = PLACES[place]
    lists[name][weight] = array
    refusal(write_legacy(tmp_path / "a.h5", lists=lists))


def test_a_head_whose_weights_have_other_units_than_it_says_is_refused(tmp_path):
    wide = good_weights() | {"layers/dense/vars/0": random(H, 5), "layers/dense/vars/1": random(5)}
    refusal(write_keras(tmp_path / "a.keras", weights=hdf5(wide)))


PRESENT = {
    "no bias": lambda w: w.pop("layers/lstm/cell/vars/2"),
    "no layer": lambda w: [w.pop(f"layers/dense/vars/{i}") for i in range(2)],
    "nothing": lambda w: w.clear(),
    "one more of a layer": lambda w: w.update({"layers/dense/vars/2": random(3)}),
    "one more layer": lambda w: w.update({"layers/dense_1/vars/0": random(3)}),
    "a layer of another class": lambda w: w.update({"layers/gru/cell/vars/0": random(3)}),
    "a layer by its name": lambda w: w.update({"layers/head/vars/0": w.pop("layers/dense/vars/0")}),
}


@pytest.mark.parametrize("change", PRESENT.values(), ids=PRESENT)
def test_weights_that_are_missing_or_left_over_are_refused(change, tmp_path):
    weights = good_weights()
    change(weights)
    refusal(write_keras(tmp_path / "a.keras", weights=hdf5(weights)))


def test_a_square_kernel_and_its_recurrent_kernel_cannot_change_places(tmp_path):
    kernel, recurrent, bias = random(H, 4 * H), random(H, 4 * H), random(4 * H)
    good = {"lstm/kernel:0": kernel, "lstm/recurrent_kernel:0": recurrent, "lstm/bias:0": bias}
    swapped = {name: good[name] for name in ("lstm/recurrent_kernel:0", "lstm/kernel:0", "lstm/bias:0")}
    config = sequential(entry(shape=[None, None, H]), lstm())
    interop.load_model(write_legacy(tmp_path / "a.h5", config, {"lstm": good}))
    refusal(write_legacy(tmp_path / "b.h5", config, {"lstm": swapped}), "lstm")


def listed(tree: h5py.File, name: str, weights: list[str]) -> None:
    tree[f"model_weights/{name}"].attrs["weight_names"] = np.array([w.encode() for w in weights], dtype="S")


CELL = "lstm/lstm_cell/"
NAMES = [f"{CELL}kernel:0", f"{CELL}recurrent_kernel:0", f"{CELL}bias:0"]
LISTS = {
    "no bias": lambda tree: listed(tree, "lstm", NAMES[:2]),
    "a weight twice": lambda tree: listed(tree, "lstm", [NAMES[0], NAMES[0], NAMES[2]]),
    "a weight once more": lambda tree: listed(tree, "lstm", [*NAMES, NAMES[2]]),
    "another order": lambda tree: listed(tree, "lstm", [NAMES[1], NAMES[0], NAMES[2]]),
    "no weights": lambda tree: listed(tree, "lstm", []),
    "a weight that there is not": lambda tree: listed(tree, "lstm", [*NAMES[:2], "lstm/bias:0"]),
    "a weight of another layer": lambda tree: listed(tree, "lstm", [*NAMES[:2], "../dense/dense/bias:0"]),
    "an absolute path": lambda tree: listed(tree, "lstm", [*NAMES[:2], "/model_weights/dense/dense/bias:0"]),
    "a group for a weight": lambda tree: listed(tree, "lstm", [*NAMES[:2], "lstm"]),
    "a weight in no list": lambda tree: tree.__setitem__("model_weights/lstm/more", random(3)),
    "a layer in no list": lambda tree: tree.__setitem__("model_weights/more/kernel:0", random(3)),
    "a layer's group missing": lambda tree: tree.__delitem__("model_weights/dense"),
    "a weight for a layer": lambda tree: (
        tree.__delitem__("model_weights/dense"),
        tree.__setitem__("model_weights/dense", random(3)),
    ),
}


@pytest.mark.parametrize("change", LISTS.values(), ids=LISTS)
def test_a_list_of_weights_that_does_not_fit_is_refused(change, tmp_path):
    refusal(write_legacy(tmp_path / "a.h5", change=change))


@pytest.mark.parametrize(
    "names", [["lstm"], ["lstm", "dense", "dense"], ["dense", "dense"], ["lstm", "dense", "x"], [""], ["lstm", "x"]]
)
def test_a_list_of_layers_that_does_not_fit_is_refused(names, tmp_path):
    refusal(write_legacy(tmp_path / "a.h5", names=names))


GATES = {
    "numbers": {f"lstm_{kind}_{gate}": np.float32(1) for kind in "WUb" for gate in "ifco"},
    "of different shapes": {f"lstm_{kind}_{gate}": random(3 + (gate == "o")) for kind in "WUb" for gate in "ifco"},
    "one missing": {f"lstm_{kind}_{gate}": random(H, H) for kind in "WUb" for gate in "ifc"},
    "of nothing": {f"lstm_{kind}_{gate}": random(0, 0) for kind in "WUb" for gate in "ifco"},
    "for two cards": {NAMES[0]: random(D, 0), NAMES[1]: random(0, 0), NAMES[2]: random(0)},
    "for cards": {NAMES[0]: random(D, 4), NAMES[1]: random(1, 4), NAMES[2]: random(8)},
}


@pytest.mark.parametrize("weights", GATES.values(), ids=GATES)
def test_gates_that_do_not_fit_together_are_refused(weights, tmp_path):
    refusal(write_legacy(tmp_path / "a.h5", lists=good_lists() | {"lstm": weights}))


def test_the_weights_of_an_optimizer_are_not_looked_at(tmp_path):
    def change(tree: h5py.File) -> None:
        for place in ("optimizer_weights/adam/m:0", "optimizer/vars/1"):
            tree[place] = np.full(3, np.nan)
        tree["optimizer_weights"].attrs["weight_names"] = np.array([b"adam/m:0", b"gone"])

    for made in (
        write_legacy(tmp_path / "a.h5", change=change),
        write_keras(tmp_path / "a.keras", weights=hdf5(good_weights(), change)),
    ):
        assert interop.load_model(made)(torch.randn(2, 5, D)).shape == (2, OUT)


# ---------------------------------------------------------------------- one layer of a file


ALONE = {
    "models in models": lambda: nested(300, "Sequential"),
    "code": lambda: edited(good_config(), LSTM, lstm(activation=FUNCTION)),
    "somebody else's": lambda: edited(good_config(), LSTM, lstm() | {"module": "evil"}),
    "units beyond all memory": lambda: edited(good_config(), UNITS, 30_000_000),
    "layers that are none": lambda: edited(good_config(), ("config", "layers"), [3, None, {"class_name": "LSTM"}]),
    "no layers": lambda: edited(good_config(), ("config", "layers"), 3),
    "no settings": lambda: edited(good_config(), LSTM, {"class_name": "LSTM", "config": None}),
    "names that are lists": lambda: edited(good_config(), (*LSTM, "config", "name"), [1]),
    "names of lines": lambda: edited(good_config(), LSTM, lstm("a\nb\x1b[31m", units="x")),
}


@pytest.mark.parametrize("name", ALONE)
def test_one_layer_of_a_hostile_file_is_refused_too(name, canary, tmp_path):
    path = write_keras(tmp_path / "a.keras", ALONE[name]())
    with refuse_memory(), pytest.raises((CorruptFileError, ConfigError)) as caught:
        interop.load_lstm(path)
    assert_one_line(str(caught.value))
    assert str(path) in str(caught.value)


@contextmanager
def refuse_memory() -> Iterator[None]:
    """Let this process have no more than two gigabytes beyond what it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (2 << 30), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


WRONG_WEIGHTS = {name: wrong for name, wrong in SHAPES.items() if wrong[0].startswith("lstm")}


@pytest.mark.parametrize(("place", "array"), WRONG_WEIGHTS.values(), ids=WRONG_WEIGHTS)
def test_weights_that_do_not_fit_leave_a_layer_as_it_was(place, array, tmp_path):
    torch.manual_seed(1)
    made = lstmreg.LSTM(D, H)
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    weights = good_weights() | {f"layers/{place}": array}
    path = write_weights(tmp_path / "a.weights.h5", {n: a for n, a in weights.items() if "lstm" in n})
    with pytest.raises(CorruptFileError) as caught:
        interop.load_weights(made, path)
    assert_one_line(str(caught.value))
    torch.testing.assert_close(made.state_dict(), before, rtol=0, atol=0)


# ---------------------------------------------------------------------- graphs


GRAPHS = {
    "a layer twice": (("config", "layers"), [good_graph()["config"]["layers"][i] for i in (0, 1, 1, 2)]),
    "two layers of one name": (DENSE, called(dense("lstm"), tensor("lstm"))),
    "a circle": ((*LSTM, "inbound_nodes", 0, "args"), [tensor("dense")]),
    "a circle of one": ((*LSTM, "inbound_nodes", 0, "args"), [tensor("lstm")]),
    "a call that there is not": ((*NODE, "args"), [tensor("lstm", 1)]),
    "a call far beyond": ((*NODE, "args"), [tensor("lstm", 10**18)]),
    "a negative call": ((*NODE, "args"), [tensor("lstm", -1)]),
    "a call in words": ((*NODE, "args"), [tensor("lstm", "0")]),
    "an output that there is not": ((*NODE, "args"), [tensor("lstm", 0, 1)]),
    "a negative output": ((*NODE, "args"), [tensor("lstm", 0, -1)]),
    "an unknown layer": ((*NODE, "args"), [tensor("gru")]),
    "a layer that is a list": ((*NODE, "args"), [tensor(["lstm"])]),
    "no layer": ((*NODE, "args"), [None]),
    "a number": ((*NODE, "args"), [3]),
    "code": ((*NODE, "args"), [FUNCTION]),
    "two inputs": ((*NODE, "args"), [[tensor("lstm"), tensor("lstm")]]),
    "no inputs": ((*NODE, "args"), [[]]),
    "nothing": ((*NODE, "args"), []),
    "an argument that says something": ((*NODE, "kwargs"), {"training": True}),
    "an argument of code": ((*NODE, "kwargs"), {"evil": FUNCTION}),
    "states for a head": ((*NODE, "kwargs"), {"initial_state": [tensor("lstm")]}),
    "one state": ((*LSTM, "inbound_nodes", 0, "kwargs"), {"initial_state": [tensor("start")]}),
    "nodes that are a number": ((*DENSE, "inbound_nodes"), 3),
    "nodes that are texts": ((*DENSE, "inbound_nodes"), ["lstm"]),
    "an input that is none": (("config", "input_layers"), [["lstm", 0, 0]]),
    "an input that there is not": (("config", "input_layers"), [["x", 0, 0]]),
    "another output of an input": (("config", "input_layers"), [["start", 0, 3]]),
    "an input that is not listed": (("config", "layers", 0), called(entry("other"))),
    "no inputs of the model": (("config", "input_layers"), []),
    "inputs by name": (("config", "input_layers"), {"a": ["start", 0, 0]}),
    "an output of nobody": (("config", "output_layers"), [["x", 0, 0]]),
    "an output of a later call": (("config", "output_layers"), [["dense", 1, 0]]),
    "another output of a head": (("config", "output_layers"), [["dense", 0, 1]]),
    "no outputs of the model": (("config", "output_layers"), []),
    "outputs that are numbers": (("config", "output_layers"), [3]),
    "no outputs": (("config", "output_layers"), ...),
    "layers by name": (("config", "layers"), {"lstm": lstm()}),
    "no layers": (("config", "layers"), []),
    "a layer that is a text": (LSTM, "lstm"),
    "a layer that is nothing": (LSTM, None),
    "no settings": ((*LSTM, "config"), None),
    "settings that are a list": ((*LSTM, "config"), [1]),
    "a name that is a list": ((*LSTM, "name"), ["lstm"]),
    "no config": (("config",), None),
    "no class": (("class_name",), ...),
}


@pytest.mark.parametrize(("path", "value"), GRAPHS.values(), ids=GRAPHS)
def test_a_graph_that_cannot_be_is_refused(path, value, tmp_path):
    refusal(write_keras(tmp_path / "a.keras", edited(good_graph(), path, value)))


def test_an_input_between_the_layers_of_a_chain_is_refused(tmp_path):
    refusal(write_keras(tmp_path / "a.keras", sequential(entry(), lstm(), entry("x"), dense())))


def test_a_circle_of_many_layers_is_refused(loader, tmp_path):
    count = 3_000
    layers = [called(layer("ReLU", f"r{i}"), tensor(f"r{(i + 1) % count}")) for i in range(count)]
    config = functional(called(entry("start")), *layers, inputs=[["start", 0, 0]], outputs=[["r0", 0, 0]])
    path = write_keras(tmp_path / "a.keras", config, hdf5({}))
    assert "own output" in refusal_under_limits(loader, path)


# ---------------------------------------------------------------------- what is no file of a model


@pytest.mark.parametrize("url", ["https://example.org/a.keras", "file:///etc/passwd", "gs://a/b.h5", "s3://a/b.keras"])
def test_an_address_is_refused_and_nothing_is_fetched(url):
    with pytest.raises(CorruptFileError) as caught:
        interop.load_model(url)
    assert_one_line(str(caught.value))
    assert url in str(caught.value)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="folder") as caught:
        interop.load_model(tmp_path)
    assert_one_line(str(caught.value))


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/urandom", "/dev/null"])
def test_a_device_is_refused_and_not_read(name, loader):
    refusal_under_limits(loader, Path(name))


def test_a_pipe_is_refused_and_not_waited_for(loader, tmp_path):
    os.mkfifo(tmp_path / "a.keras")
    refusal_under_limits(loader, tmp_path / "a.keras")


@pytest.mark.parametrize("form", ["keras", "legacy", "weights"])
@pytest.mark.parametrize("kept", [0, 1, 4, 10, 100, 0.5, -100, -1])
def test_a_truncated_file_is_refused(kept, form, tmp_path):
    path, architecture = tmp_path / "a", None
    if form == "keras":
        write_keras(path)
    elif form == "legacy":
        write_legacy(path)
    else:
        write_weights(path)
        architecture = tmp_path / "a.json"
        architecture.write_text(json.dumps(good_config()))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept) if kept == 0.5 else kept])
    refusal(path, architecture=architecture)


STRANGE = {
    "zeros": bytes(10_000),
    "garbage": bytes(range(256)) * 40,
    "a header of HDF5 alone": b"\x89HDF\r\n\x1a\n",
    "a header of HDF5 and zeros": b"\x89HDF\r\n\x1a\n" + bytes(10_000),
    "a header of HDF5 and ones": b"\x89HDF\r\n\x1a\n" + b"\xff" * 10_000,
    "a header of a zip alone": b"PK\x03\x04",
    "an empty zip": zipped({}),
    "a zip without a model": zipped({"a.txt": "a"}),
    "HDF5 without a model": hdf5({}),
    "a list": b"[1, 2, 3]",
    "an object": b"{}",
    "an object without an end": b'{"class_name": "Sequential"',
    "not UTF-8": b'{"class_name": "\xff\xfe"}',
    "a number": b"3",
    "Python": b"import evil\n",
}


@pytest.mark.parametrize("content", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize("role", ["model", "architecture"])
def test_what_is_no_file_of_a_model_is_refused(role, content, canary, tmp_path):
    path = tmp_path / "strange"
    path.write_bytes(content)
    model, architecture = (path, None) if role == "model" else (write_weights(tmp_path / "a.weights.h5"), path)
    with pytest.raises((CorruptFileError, ConfigError)) as caught:
        interop.load_model(model, architecture)
    assert_one_line(str(caught.value))
    assert str(tmp_path) in str(caught.value)


# ---------------------------------------------------------------------- names


HALF = "\ud800"  # of a pair, which is no text by itself
UGLY = {
    "colours": "\x1b[31mred\x1b[0m",
    "a title": "\x1b]0;title\x07",
    "lines": "a\nlstmreg: all is well\r\nb",
    "C1": "a\x9b31mb\x85c",
    "separators": "a\u2028b\u2029c",
    "a turn of direction": "a\u202eb\u2066c",
    "a script": "<script>alert(1)</script>[bold red]markup[/]",
    "length": "x" * 10_000,
    "NUL": "a\0b",
    "a path": "../../etc/passwd",
    "dots": "a.b.c",
    "nothing to see": " ",
    "a method": "forward",
    "half a character": HALF,
}


@pytest.mark.parametrize("name", UGLY.values(), ids=UGLY)
def test_an_ugly_name_of_what_is_refused_leaves_the_message_one_line(name, tmp_path):
    path = tmp_path / "a.keras"
    reason = "a name that is no text" if name == HALF else "units"
    refusal(write_keras(path, edited(good_config(), LSTM, lstm(name, units="x"))), reason)
    refusal(write_keras(path, edited(good_config(), (*LSTM, "class_name"), name)))
    refusal(write_keras(path, edited(good_config(), (*LSTM, "config", name), {name: name})))
    refusal(write_keras(path, edited(good_config(), (*LSTM, "config", "activation"), name)))
    refusal(write_keras(path, edited(good_config(), REGULARIZER, name)))
    refusal(write_keras(path, edited(good_graph(), (*NODE, "args"), [tensor(name)])))


@pytest.mark.parametrize("name", [name for name in UGLY.values() if "\0" not in name and "\ud800" not in name])
def test_an_ugly_name_in_hdf5_leaves_the_message_one_line(name, tmp_path):
    weights = hdf5(good_weights() | {f"layers/{name}/vars/0": random(3)})
    refusal(write_keras(tmp_path / "a.keras", weights=weights))
    refusal(write_legacy(tmp_path / "a.h5", names=["lstm", "dense", name]))
    refusal(write_legacy(tmp_path / "a.h5", lists=good_lists() | {"lstm": {name: random(3)}}))


@pytest.mark.parametrize("name", [n for n in UGLY.values() if n != HALF], ids=[n for n in UGLY if UGLY[n] != HALF])
def test_a_model_with_an_ugly_name_loads_and_can_be_kept(name, tmp_path):
    model = interop.load_model(write_keras(tmp_path / "a.keras", edited(good_config(), LSTM, lstm(name))))
    interop.save_model(model, tmp_path / "b")
    x = torch.randn(2, 5, D)
    torch.testing.assert_close(interop.load_model(tmp_path / "b")(x), model(x), rtol=0, atol=0)


def convert(path: Path) -> subprocess.CompletedProcess[str]:
    done = completed(path.parent, "convert", str(path), "-o", str(path.parent / "out"))
    said = done.stdout + done.stderr
    bad = {c for c in said if unicodedata.category(c) in ("Cc", "Zl", "Zp") and c != "\n"}
    assert not bad
    assert "Traceback" not in said
    assert done.returncode in (0, 4)
    return done


def test_the_command_line_shows_ugly_names_without_control_characters(tmp_path):
    tanh = [layer("Activation", name, activation="tanh") for name in UGLY.values() if name != HALF]
    path = write_keras(tmp_path / "a.keras", sequential(entry(), *tanh, lstm(), dense()), version="2.15\x1b[31m.0")
    done = convert(path)
    assert done.returncode == 0
    assert re.search("red.*\n", done.stdout)
    assert interop.load_model(tmp_path / "out")(torch.randn(2, 5, D)).shape == (2, OUT)


@pytest.mark.parametrize("name", ["colours", "half a character"])
def test_the_command_line_refuses_in_one_line_without_control_characters(name, tmp_path):
    done = convert(write_keras(tmp_path / "a.keras", edited(good_config(), LSTM, lstm(UGLY[name], units="x"))))
    assert done.returncode == 4
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


def test_the_command_line_ends_well_with_layers_in_layers(tmp_path):
    levels = 120
    place = "layers/time_distributed/" + "layer/" * levels + "vars"
    weights = hdf5({f"{place}/0": random(D, OUT), f"{place}/1": random(OUT)})
    convert(write_keras(tmp_path / "a.keras", nested(levels, "TimeDistributed"), weights))
