"""Keras' files made by hand, without Keras and without lstmreg, so that anything in them can be wrong."""

from __future__ import annotations

import io
import json
import os
import select
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lstmreg import interop
from lstmreg.errors import CorruptFileError

D, H, OUT = 3, 4, 2
#: Megabytes that reading a small file may take, with torch's 300.
PEAK = 512
Arrays = dict[str, np.ndarray]

_random = np.random.default_rng(0)


def random(*shape: int) -> np.ndarray:
    return _random.normal(size=shape).astype(np.float32)


# ---------------------------------------------------------------------- descriptions


def layer(class_name: str, name: str | None, /, **config: Any) -> dict[str, Any]:
    named = {} if name is None else {"name": name}
    return {"module": "keras.layers", "class_name": class_name, "config": named | config, "registered_name": None}


def lstm(name: str = "lstm", /, **config: Any) -> dict[str, Any]:
    gates = {"units": H, "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True}
    return layer("LSTM", name, **gates | config)


def dense(name: str = "dense", /, **config: Any) -> dict[str, Any]:
    return layer("Dense", name, **{"units": OUT, "activation": "linear", "use_bias": True} | config)


def entry(name: str = "input_layer", shape: Iterable[int | None] = (None, None, D)) -> dict[str, Any]:
    return layer("InputLayer", name, batch_shape=list(shape), dtype="float32")


def sequential(*layers: Any) -> dict[str, Any]:
    config = {"name": "sequential", "trainable": True, "layers": list(layers)}
    return {"module": "keras", "class_name": "Sequential", "config": config, "registered_name": None}


def tensor(name: str, call: Any = 0, output: Any = 0) -> dict[str, Any]:
    history = {"shape": [None, D], "dtype": "float32", "keras_history": [name, call, output]}
    return {"class_name": "__keras_tensor__", "config": history}


def called(described: dict[str, Any], *arguments: Any, **keywords: Any) -> dict[str, Any]:
    """Return a layer of a functional model, called once."""
    node = {"args": list(arguments), "kwargs": keywords}
    return described | {"name": described["config"]["name"], "inbound_nodes": [node] if arguments or keywords else []}


def functional(*layers: Any, inputs: Any, outputs: Any) -> dict[str, Any]:
    config = {"name": "functional", "layers": list(layers), "input_layers": inputs, "output_layers": outputs}
    return {"module": "keras", "class_name": "Functional", "config": config, "registered_name": "Functional"}


def good_config() -> dict[str, Any]:
    return sequential(entry(), lstm(), dense())


def good_graph() -> dict[str, Any]:
    return functional(
        called(entry("start")),
        called(lstm(), tensor("start")),
        called(dense(), tensor("lstm")),
        inputs=[["start", 0, 0]],
        outputs=[["dense", 0, 0]],
    )


def edited(config: Any, path: Iterable[Any], value: Any) -> Any:
    """Return a description with one value changed, or removed where the new one is ``...``."""
    changed = json.loads(json.dumps(config))
    *above, last = path
    place = changed
    for key in above:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return changed


# ---------------------------------------------------------------------- weights


def good_weights() -> Arrays:
    return {
        "layers/lstm/cell/vars/0": random(D, 4 * H),
        "layers/lstm/cell/vars/1": random(H, 4 * H),
        "layers/lstm/cell/vars/2": random(4 * H),
        "layers/dense/vars/0": random(H, OUT),
        "layers/dense/vars/1": random(OUT),
    }


def good_lists() -> dict[str, dict[str, np.ndarray]]:
    """Return the same by layers, as legacy files have them."""
    kernel, recurrent, bias, head, head_bias = good_weights().values()
    cell = "lstm/lstm_cell/"
    return {
        "lstm": {f"{cell}kernel:0": kernel, f"{cell}recurrent_kernel:0": recurrent, f"{cell}bias:0": bias},
        "dense": {"dense/kernel:0": head, "dense/bias:0": head_bias},
    }


Change = Callable[[h5py.File], object]


def hdf5(arrays: Mapping[str, Any], change: Change = lambda tree: None, **options: Any) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w", **options) as tree:
        for name, array in arrays.items():
            tree[name] = array
        change(tree)
    return file.getvalue()


def zipped(members: Mapping[str, str | bytes], packing: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def members(config: Any = None, weights: bytes | None = None, version: Any = "3.15.0") -> dict[str, str | bytes]:
    """Return what a ``.keras`` file holds; texts and bytes go in as they are."""
    return {
        "metadata.json": json.dumps({"keras_version": version, "date_saved": "2026-01-01@00:00:00"}),
        "config.json": config if isinstance(config, (str, bytes)) else json.dumps(config or good_config()),
        "model.weights.h5": hdf5(good_weights()) if weights is None else weights,
    }


def write_keras(path: Path, config: Any = None, weights: bytes | None = None, version: Any = "3.15.0") -> Path:
    path.write_bytes(zipped(members(config, weights, version), zipfile.ZIP_DEFLATED))
    return path


def write_weights(path: Path, arrays: Mapping[str, Any] | None = None, change: Change = lambda tree: None) -> Path:
    path.write_bytes(hdf5(good_weights() if arrays is None else arrays, change))
    return path


def write_legacy(
    path: Path,
    config: Any = None,
    lists: Mapping[str, Mapping[str, Any]] | None = None,
    change: Change = lambda tree: None,
    version: Any = "2.15.0",
    names: Iterable[str] | None = None,
) -> Path:
    """Write an ``.h5`` file as Keras 2 does: a description, and lists of layers and of their weights."""
    lists = good_lists() if lists is None else lists

    def fill(tree: h5py.File) -> None:
        tree.attrs["keras_version"] = version
        tree.attrs["model_config"] = config if isinstance(config, str) else json.dumps(config or good_config())
        group = tree.create_group("model_weights")
        group.attrs["layer_names"] = np.array([n.encode() for n in (lists if names is None else names)], dtype="S")
        for name, weights in lists.items():
            below = group.require_group(name)
            below.attrs["weight_names"] = np.array([weight.encode() for weight in weights], dtype="S")
            for weight, array in weights.items():
                below[weight] = array
        change(tree)

    path.write_bytes(hdf5({}, fill))
    return path


# ---------------------------------------------------------------------- loading


def refusal(path: Path, part: str = "", architecture: Path | None = None) -> str:
    """Return the one line with which a file is refused."""
    with pytest.raises(CorruptFileError) as caught:
        interop.load_model(path, architecture)
    message = str(caught.value)
    assert caught.value.exit_code == 4
    assert str(path) in message, message[:500]
    assert part in message, message[:500]
    assert_one_line(message)
    return message


def assert_one_line(message: str) -> None:
    assert len(message.splitlines()) == 1, message[:500]
    assert message.isprintable(), message[:500]
    assert len(message) < 2_000


@dataclass(frozen=True)
class Outcome:
    """What became of a file in a process of its own."""

    kind: str  #: ``loaded`` or the name of the exception
    message: str
    megabytes: int  #: the peak of the process or of one that it started
    seconds: float  #: of the processor, that of what it started with it


_LOADER = """
import json, resource, sys
from pathlib import Path
from lstmreg import interop
from lstmreg.interop import loading
resource.setrlimit(resource.RLIMIT_AS, (10 << 30, 10 << 30))

def peak():
    status = Path("/proc/self/status")
    own = int(status.read_text().split("VmHWM:")[1].split()[0]) if status.exists() else 0
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) >> 10

def seconds():
    of = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in of)

sys.stdout.write("ready\\n")
sys.stdout.flush()
for line in sys.stdin:
    path, architecture = json.loads(line)
    before = seconds()
    try:
        interop.load_model(path, architecture)
        kind, message = "loaded", ""
    except BaseException as error:
        kind, message = type(error).__name__, str(error)
    sys.stdout.write(json.dumps([kind, message[:5000], peak(), seconds() - before]) + "\\n")
    sys.stdout.flush()
    del message
"""


class Loader:
    """A process that loads files, one after the other, and tells what that took; after an excess, a new one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def load(self, path: Path, architecture: Path | None = None, timeout: float = 30) -> Outcome:
        self._process = self._process or self._start()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = json.dumps([str(path), None if architecture is None else str(architecture)])
        self._process.stdin.write(request.encode() + b"\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], timeout)
        line = self._process.stdout.readline() if ready else b""
        outcome = Outcome(*json.loads(line)) if line else Outcome("ended" if ready else "hung", "", 0, 0)
        if not line or outcome.megabytes >= PEAK:
            self.close()
        return outcome

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _LOADER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
