"""Reads NumPy's files: .npy as a table of numbers, .npz as sequences. No pickle is opened, and no size believed."""

from __future__ import annotations

import hashlib
import io
import math
import struct
import tokenize
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import DataConfig
from lstmreg.errors import UNEXPECTED, DataError

from .arrays import raw_from_arrays
from .memory import TableInMemory
from .opening import file_bytes
from .raw import Kind, Raw, WithoutTargetsError

#: What the compressed arrays of a file may unpack to: a few bytes can stand for terabytes.
_MOST_UNPACKED = 1 << 30

#: What an .npz file may hold.
_KNOWN = ("x", "y", "group", "groups", "lengths", "starts", "feature_names", "names", "weight", "weights")

#: What taking a damaged zip apart may raise.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, struct.error, NotImplementedError, *UNEXPECTED)


def open_npy(config: DataConfig) -> TableInMemory:
    """Open a .npy file with numbers ``(rows, columns)`` as a table whose columns are named "0", "1" and so on.

    Raises:
        DataError: If it is no such file, or damaged, or not of that shape.
    """
    raw = file_bytes(config.path)
    array = _array(config.path, "the array", raw)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise DataError(
            f"{config.path}: must hold numbers of shape (rows, columns), got {array.dtype} {array.shape}. Sequences "
            f"are given as .npz with arrays x and y."
        )
    header = [str(k) for k in range(array.shape[1])]

    def column(name: str) -> NDArray[np.float64]:
        return array[:, int(name)].astype(np.float64)

    return TableInMemory(config.path, hashlib.sha256(raw).hexdigest(), header, len(array), column)


def sequences_of_npz(config: DataConfig, kind: Kind, *, is_labelled: bool = True) -> Raw:
    """Read the sequences of an .npz file.

    It holds ``x`` ``(N, T, D)`` or ``(N, T)``, perhaps padded, with ``lengths``; or ``(rows, D)`` with ``starts``
    ``(N + 1,)``. Beside it ``y``, and perhaps ``group`` ``(N,)``, ``weight`` ``(N,)``, ``feature_names`` ``(D,)`` and
    ``names`` ``(N,)``. Where ``is_labelled`` is false, ``y`` may be missing, and is not looked at.

    Raises:
        WithoutTargetsError: If there is no ``y``.
        DataError: If it is no such file, or damaged, or an array is missing or does not fit.
    """
    raw = file_bytes(config.path)
    arrays = _arrays(config.path, raw)
    for name, error in (("x", DataError), ("y", WithoutTargetsError)):
        if name not in arrays and (name == "x" or is_labelled):
            raise error(f"{config.path}: has no array {name!r}; arrays: {', '.join(arrays) or 'none'}.")
    if not is_labelled:
        kind, arrays["y"] = "regress", np.zeros(_count(arrays))
    return raw_from_arrays(
        arrays["x"],
        arrays["y"],
        kind,
        groups=arrays.get("group", arrays.get("groups")),
        lengths=arrays.get("lengths"),
        starts=arrays.get("starts"),
        features=_listed(arrays, "feature_names"),
        target_names=config.targets if is_labelled else config.targets[:1],
        names=_listed(arrays, "names"),
        weights=arrays.get("weight", arrays.get("weights")),
        path=config.path,
        sha256=hashlib.sha256(raw).hexdigest(),
    )


def _count(arrays: dict[str, NDArray[Any]]) -> int:
    return len(arrays["starts"].ravel()) - 1 if "starts" in arrays else len(arrays["x"]) if arrays["x"].ndim else 0


def _listed(arrays: dict[str, NDArray[Any]], name: str) -> list[str] | None:
    return [str(value) for value in arrays[name].ravel().tolist()] if name in arrays else None


def _arrays(path: str, raw: bytes) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as file:
            members = {m.filename.removesuffix(".npy"): m for m in file.infolist() if m.filename.endswith(".npy")}
            known = {name: member for name, member in members.items() if name in _KNOWN}
            packed = sum(m.file_size for m in known.values() if m.compress_type != zipfile.ZIP_STORED)
            if packed > _MOST_UNPACKED:
                raise DataError(
                    f"{path}: unpacks to more than {_MOST_UNPACKED:,} bytes. Write it by numpy.savez, unpacked, if "
                    f"that is right."
                )
            return {name: _array(path, f"array {name!r}", _member(file, member)) for name, member in known.items()}
    except DataError:
        raise
    except _DAMAGED as error:
        raise DataError(f"{path}: is no .npz file, or damaged: {_reason(error)}. Write it again.") from None


def _member(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Return what a member holds, which is as much as the directory says or it is damaged."""
    with file.open(member) as opened:
        content = opened.read(member.file_size + 1)
    if len(content) != member.file_size:
        raise zipfile.BadZipFile(f"{member.filename} has not the size that the directory says")
    return content


def _array(path: str, what: str, content: bytes) -> NDArray[Any]:
    """Return an array whose header says what follows it, no byte more or less."""
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version} of the format")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, kind = read(stream)
    except (tokenize.TokenError, SyntaxError, *UNEXPECTED) as error:
        raise DataError(f"{path}: {what} is no array of NumPy, or damaged: {_reason(error)}. Write it again.") from None
    if kind.hasobject:
        raise DataError(
            f"{path}: {what} holds Python objects, which are a pickle, and that could run code; it is not opened. Save "
            f"numbers or text: of sequences of unequal lengths x (rows, D), all below each other, with starts (N + 1,)."
        )
    rest = len(content) - stream.tell()
    if math.prod(shape) * kind.itemsize != rest or min(shape, default=0) < 0:
        raise DataError(
            f"{path}: {what} says it has shape {shape}, and has {rest} bytes. It is damaged: write it again."
        )
    if not rest:
        return np.zeros(shape, dtype=kind)
    array = np.frombuffer(content, dtype=kind, offset=stream.tell())
    return array.reshape(shape, order="F" if is_fortran else "C")


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
