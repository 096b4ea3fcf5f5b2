"""What a file holds, before anything is made of it: a description, a version and named arrays."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lstmreg.errors import ConfigError, CorruptFileError
from lstmreg.extras import need

from . import reader

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Container:
    """The parts of a Keras file."""

    path: Path
    version: str | None  #: of the Keras that wrote it, where the file says so
    config: dict[str, Any] | None  #: the model's description, if the file has one
    arrays: Mapping[str, Array] = field(default_factory=dict)  #: by their path within the file
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  #: by the path of their group

    def texts(self, group: str, name: str) -> list[str]:
        """Return a list of names that is an attribute of a group; Keras spreads a long one over several."""
        found = self.attributes.get(group, {})
        if name in found:
            parts = [found[name]]
        else:
            numbered = [key for key in found if re.fullmatch(rf"{name}\d+", key)]
            parts = [found[key] for key in sorted(numbered, key=lambda key: int(key[len(name) :]))]
        return [text for part in parts for text in ([part] if isinstance(part, str) else part)]

    @property
    def legacy_group(self) -> str | None:
        """The group that lists the layers, in the layout of Keras 1 and 2."""
        return next((group for group in ("model_weights", "") if self.texts(group, "layer_names")), None)


def open_container(path: str | os.PathLike[str]) -> Container:
    """Read a ``.keras``, ``.h5`` or ``.weights.h5`` file, or a model's description in JSON.

    The file is read by a process of its own, with bounded memory and time; see
    :mod:`lstmreg.interop.keras.file.reader`.

    Raises:
        ConfigError: If there is no such file, or h5py is not installed.
        CorruptFileError: If it is damaged, or not safe to read.
    """
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", str(path)):
        raise CorruptFileError(f"{path}: is no file here; lstmreg has no network code. Download it first.")
    path = Path(path)
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder. In Keras, save the model as a .keras or .h5 file.")
    if not path.exists():
        raise ConfigError(f"{path}: there is no such file.")
    need("keras", "reading Keras files", "h5py")  # not imported: only the process that reads needs it
    described, content = _read(path)
    config = described.get("config")
    attributes = described.get("attributes", {})
    root = attributes.get("", {})
    if config is None:
        config = root.get("model_config")
    weights = "model_weights" if "model_weights" in attributes else ""
    version = described.get("version") or root.get("keras_version") or attributes.get(weights, {}).get("keras_version")
    parsed = None if config is None else _parse(path, config)
    if version is None and parsed is not None:
        version = parsed.get("keras_version")
    return Container(
        path, _check_version(path, version), parsed, _arrays(described.get("arrays", []), content), attributes
    )


def _read(path: Path) -> tuple[dict[str, Any], memoryview]:
    timeout = 40 + path.stat().st_size / (10 << 20)
    environment = {
        **os.environ,
        "HDF5_PLUGIN_PRELOAD": "::",  # load no filters from the file's or the machine's wishes
        "HDF5_USE_FILE_LOCKING": "FALSE",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONIOENCODING": "utf-8",
    }
    # -P: nothing in this folder may be found in place of a library.
    command = [sys.executable, "-P", "-W", "ignore", reader.__file__, os.fspath(path.absolute())]
    try:
        done = _run(command, environment, timeout)
    except subprocess.TimeoutExpired:
        raise CorruptFileError(f"{path}: could not be read within {timeout:.0f} seconds; it is damaged.") from None
    if done.returncode == -getattr(signal, "SIGXCPU", 0) != 0:
        raise CorruptFileError(f"{path}: takes more time to read than a file of its size needs; it is damaged.")
    line, _, _ = done.stdout.partition(b"\n")
    if done.returncode != 0 or not line:
        detail = done.stderr.decode(errors="replace").strip().splitlines()
        reason = f"signal {-done.returncode}" if done.returncode < 0 else (detail[-1] if detail else "no answer")
        raise CorruptFileError(f"{path}: is damaged: reading it ended its process ({reason}).")
    described: dict[str, Any] = json.loads(line)
    if "error" in described:
        raise CorruptFileError(f"{path}: {described['error']}.")
    return described, memoryview(done.stdout)[len(line) + 1 :]


def _run(command: list[str], environment: dict[str, str], timeout: float) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=timeout, check=False
    )


def _arrays(described: list[dict[str, Any]], content: memoryview) -> dict[str, Array]:
    found, start = {}, 0
    for each in described:
        dtype, shape = np.dtype(each["dtype"]), tuple(each["shape"])
        size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(content[start : start + size], dtype).reshape(shape)
        found[each["name"]] = array.astype(dtype.newbyteorder("="))
        start += size
    return found


#: So many objects and lists may a description have; one that Keras wrote has some fifty for each layer.
_OBJECTS = 300_000


def _parse(path: Path, text: Any) -> dict[str, Any]:
    if not isinstance(text, str):
        raise CorruptFileError(f"{path}: its description of the model is no text.")
    if text.count("{") + text.count("[") > _OBJECTS:
        raise CorruptFileError(f"{path}: its description of the model has more than {_OBJECTS:,} objects.")
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{path}: its description of the model is no JSON ({error}).") from None
    if not isinstance(parsed, dict):
        raise CorruptFileError(f"{path}: its description of the model is no JSON object.")
    return parsed


def _check_version(path: Path, version: Any) -> str | None:
    if version is None:
        return None
    if not isinstance(version, str) or not re.match(r"[123]\.\d+", version):
        raise CorruptFileError(f"{path}: was written by Keras {str(version)[:40]!r}; known are versions 1, 2 and 3.")
    return version
