"""Reads the bytes of a Keras file in a process of its own, which may neither write, nor open another file, nor linger.

HDF5 is read by a C library that was not made for hostile files. So it runs here, alone, under limits: whatever a file
makes it do ends this process, and not the caller's. This program imports nothing of lstmreg. It writes to standard
output one line of JSON and then the arrays, or a line with an ``error``.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import os
import stat
import sys
import time
import zipfile
import zlib
from typing import IO, Any

#: A file may hold this many groups, arrays and zip members in all.
MEMBERS = 20_000
DEPTH = 40
#: Descriptions (JSON) may have this many bytes; that of a model of a thousand layers has three million.
TEXT_BYTES = 8 << 20
#: What is packed may grow to this many bytes, or to this many times the file's size if that is more.
UNPACKED_BYTES, UNPACKED_TIMES = 64 << 20, 8
#: Seconds of the processor that reading may take, and one more for so many bytes of the file. The C library goes in
#: circles in some damaged files; a model of two thousand layers takes two seconds.
SECONDS, BYTES_A_SECOND = 4, 4 << 20
#: Filters that the HDF5 library has itself; for others it would load a plugin.
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32"}
#: Of the attributes of a file, these are read.
ATTRIBUTES = ("keras_version", "backend", "model_config", "name", "layer_names", "weight_names")
#: Groups whose arrays belong to the optimizer: they are looked at, but not read.
UNUSED = ("optimizer_weights", "optimizer", "_optimizer")


#: What zipfile, zlib, json and h5py raise of a file that is not what it seems.
DAMAGED = (
    *(OSError, EOFError, zipfile.BadZipFile, zlib.error),
    *(ValueError, KeyError, TypeError, AttributeError, OverflowError),
    *(RuntimeError, SystemError),
)


class RefusedError(Exception):
    """The file breaks a rule; the message says which."""


class Budget:
    """How much a file may still unpack."""

    def __init__(self, size: int) -> None:
        self.bytes = max(UNPACKED_BYTES, UNPACKED_TIMES * size)
        self.members = MEMBERS

    def take(self, where: str, size: int) -> None:
        """Count the bytes of an array or member."""
        self.bytes -= size
        if self.bytes < 0:
            raise RefusedError(f"{where} declares more data than a file of this size can be trusted to hold")

    def count(self) -> None:
        """Count a group, array or member."""
        self.expect(1)
        self.members -= 1

    def expect(self, members: int) -> None:
        """See before they are looked at, which takes time, that there are not too many groups, arrays or members."""
        if members > self.members:
            raise RefusedError(f"has more than {MEMBERS:,} groups, arrays or members")


def read(path: str) -> tuple[dict[str, Any], list[bytes]]:
    """Return a description of a file and the bytes of its arrays, in the description's order."""
    import h5py

    for name in ("ascii", "cp437", "latin-1", "utf-8"):
        codecs.lookup(name)  # Python loads them late, when no file can be opened any more

    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise RefusedError("is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        budget = Budget(size)
        _lock_down(size)
        magic = file.read(8)
        file.seek(0)
        if magic == b"\x89HDF\r\n\x1a\n":
            with h5py.File(file, "r") as tree:
                return _read_hdf5(tree, budget)
        if magic[:4] == b"PK\x03\x04":
            return _read_keras(file, budget, h5py)
        if size <= TEXT_BYTES and magic.lstrip()[:1] == b"{":
            return {"kind": "json", "config": file.read().decode()}, []
        raise RefusedError("is neither a .keras file (zip) nor HDF5, nor a model's description in JSON")


def _lock_down(size: int) -> None:
    """From here on nothing can be opened, written or started, and memory and time are bounded."""
    try:
        import resource
    except ImportError:  # not on Windows; the parent's timeout holds there too
        return
    # What Python and its libraries took until here, on a slow machine some seconds, was not for the file.
    seconds = int(time.process_time()) + SECONDS + size // BYTES_A_SECOND
    memory = _address_space() + 3 * max(UNPACKED_BYTES, UNPACKED_TIMES * size) + (64 << 20)
    for what, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(
                what, (limit, hard) if hard in (resource.RLIM_INFINITY, -1) else (min(limit, hard), hard)
            )


def _address_space() -> int:
    """Return how much address space this process has, where the system tells."""
    try:
        with open("/proc/self/statm") as pages:
            return int(pages.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 1 << 30


# ---------------------------------------------------------------------- .keras


def _read_keras(file: IO[bytes], budget: Budget, h5py: Any) -> tuple[dict[str, Any], list[bytes]]:
    with zipfile.ZipFile(file) as archive:
        wanted = _members(archive, budget)
        for name in ("config.json", "metadata.json"):
            if name not in wanted:
                raise RefusedError(f"is a zip file without {name}, so no .keras file")
        config = _unpack(archive, wanted["config.json"], budget, TEXT_BYTES).decode()
        metadata = _unpack(archive, wanted["metadata.json"], budget, 1 << 20).decode()
        if "model.weights.h5" not in wanted:
            raise RefusedError("has no model.weights.h5 (weights in other formats are not read)")
        weights = _unpack(archive, wanted["model.weights.h5"], budget, budget.bytes)
    with h5py.File(io.BytesIO(weights), "r") as tree:
        found, arrays = _read_hdf5(tree, budget)
    version = json.loads(metadata).get("keras_version")
    return {**found, "kind": "keras", "config": config, "version": version}, arrays


def _members(archive: zipfile.ZipFile, budget: Budget) -> dict[str, zipfile.ZipInfo]:
    found: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        budget.count()
        name = member.filename.replace("\\", "/")
        if name.startswith("/") or ".." in name.split("/") or ":" in name.split("/")[0]:
            raise RefusedError(f"has a member outside of it, {name!r}")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise RefusedError(f"has a member {name!r} that is a link")
        if name in found:
            raise RefusedError(f"has the member {name!r} twice")
        if name.endswith((".pkl", ".pickle", ".py", ".pyc", ".so", ".dll")):
            raise RefusedError(f"has a member {name!r}, which no .keras file has")
        found[name] = member
    return found


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, budget: Budget, most: int) -> bytes:
    """Read a member, but never more than it may have, whatever its header says."""
    if member.flag_bits & 1:
        raise RefusedError(f"has an encrypted member {member.filename!r}")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise RefusedError(f"has a member {member.filename!r} in an unusual compression")
    if member.file_size > most:
        raise RefusedError(f"has a member {member.filename!r} of {member.file_size:,} bytes, which is too large")
    budget.take(member.filename, member.file_size)
    with archive.open(member) as stream:
        content = stream.read(member.file_size + 1)
    if len(content) != member.file_size:
        raise RefusedError(f"has a member {member.filename!r} whose size is not the declared one")
    return content


# ---------------------------------------------------------------------- HDF5


def _read_hdf5(tree: Any, budget: Budget) -> tuple[dict[str, Any], list[bytes]]:
    attributes: dict[str, dict[str, Any]] = {}
    datasets: dict[str, Any] = {}
    _walk(tree, "", 0, budget, attributes, datasets, set())
    described, arrays = [], []
    for name, dataset in datasets.items():
        array = dataset[()]
        described.append({"name": name, "dtype": array.dtype.str, "shape": list(array.shape)})
        arrays.append(array.tobytes())
    return {"kind": "hdf5", "attributes": attributes, "arrays": described}, arrays


def _walk(
    group: Any,
    path: str,
    depth: int,
    budget: Budget,
    attributes: dict[str, dict[str, Any]],
    datasets: dict[str, Any],
    seen: set[Any],
) -> None:
    import h5py

    if depth > DEPTH:
        raise RefusedError(f"has groups within groups more than {DEPTH} deep")
    _put(attributes, path, _attributes(group, path, budget))
    budget.expect(len(group))
    for key in group:
        budget.count()
        name = f"{path}/{key}".lstrip("/").replace("\\", "/")  # as Windows wrote it
        if group.id.links.get_info(key.encode(errors="surrogateescape")).type != h5py.h5l.TYPE_HARD:
            raise RefusedError(f"{name!r} is a link to elsewhere ({type(group.get(key, getlink=True)).__name__})")
        member = group[key]
        if not isinstance(member, (h5py.Group, h5py.Dataset)):
            raise RefusedError(f"{name!r} is neither a group nor an array")
        place = h5py.h5o.get_info(member.id).addr
        if place in seen:
            raise RefusedError(f"{name!r} stands in the file under another name too")
        seen.add(place)
        if isinstance(member, h5py.Group):
            _walk(member, name, depth + 1, budget, attributes, datasets, seen)
        else:
            _check_dataset(member, name, budget)
            if name.split("/")[0] not in UNUSED:
                _put(datasets, name, member)


def _put(where: dict[str, Any], name: str, value: Any) -> None:
    if name in where:
        raise RefusedError(f"has {name!r} twice")
    where[name] = value


def _check_dataset(dataset: Any, name: str, budget: Budget) -> None:
    import h5py

    properties = dataset.id.get_create_plist()  # once: h5py would ask for it again and again
    if properties.get_layout() == h5py.h5d.VIRTUAL:
        raise RefusedError(f"array {name!r} is virtual: its data are in another file")
    if properties.get_external_count() > 0:
        raise RefusedError(f"array {name!r} has its data in another file")
    dtype, shape = dataset.dtype, dataset.shape
    if dtype.kind not in "fiub" or dtype.itemsize > 8 or dtype.subdtype is not None:
        raise RefusedError(f"array {name!r} does not hold numbers, but {dtype}")
    if shape is None or len(shape) > 6:
        raise RefusedError(f"array {name!r} has no shape that a weight can have")
    for index in range(properties.get_nfilters()):
        code = properties.get_filter(index)[0]
        if code not in FILTERS:
            raise RefusedError(f"array {name!r} is packed by a filter that is not read (number {code})")
    size = _bytes(shape, dtype.itemsize)
    budget.take(f"array {name!r}", size)
    is_in_pieces = properties.get_layout() == h5py.h5d.CHUNKED
    if is_in_pieces and _bytes(properties.get_chunk(), dtype.itemsize) > UNPACKED_BYTES:
        raise RefusedError(f"array {name!r} is packed in pieces that are too large")
    if size > 0 and dataset.id.get_storage_size() == 0:
        raise RefusedError(f"array {name!r} is declared, but has no data")
    if properties.get_nfilters() == 0 and dataset.id.get_storage_size() < size:
        raise RefusedError(f"array {name!r} is declared larger than its data")


def _bytes(shape: tuple[int, ...], itemsize: int) -> int:
    size = itemsize
    for length in shape:
        size *= int(length)
    return size


def _attributes(group: Any, path: str, budget: Budget) -> dict[str, Any]:
    found = {}
    budget.expect(len(group.attrs))
    for name in group.attrs:
        budget.count()
        if name.rstrip("0123456789") in ATTRIBUTES:
            found[name] = _text(group.attrs, name, f"{path}@{name}", budget)
    return found


def _text(attributes: Any, name: str, where: str, budget: Budget) -> Any:
    import h5py

    held = attributes.get_id(name)
    is_text = held.dtype.kind in "SU" or h5py.check_string_dtype(held.dtype) is not None
    # Keras writes an empty list of names as an empty array of float64.
    if not is_text and not (held.shape is not None and 0 in held.shape):
        raise RefusedError(f"{where} is no text")
    if held.shape is None or len(held.shape) > 1:
        raise RefusedError(f"{where} is neither a text nor a list of them")
    declared = _bytes(held.shape, max(held.dtype.itemsize, 1))
    if declared > TEXT_BYTES:
        raise RefusedError(f"{where} declares {declared:,} bytes of text")
    budget.take(where, declared)
    value = attributes[name]
    if getattr(value, "shape", ()) == ():
        return _plain(value, where, budget)
    return [_plain(item, where, budget) for item in value]


def _plain(value: Any, where: str, budget: Budget) -> str:
    if len(value) > TEXT_BYTES:
        raise RefusedError(f"{where} is too long")
    budget.take(where, len(value))
    return value.decode() if isinstance(value, bytes) else str(value)


def main(path: str) -> None:
    """Write what ``path`` holds to standard output."""
    try:
        described, arrays = read(path)
        lines = json.dumps(described), arrays
    except RefusedError as reason:
        lines = json.dumps({"error": str(reason)}), []
    except MemoryError:
        lines = json.dumps({"error": "asks for more memory than a file of its size needs"}), []
    except DAMAGED as error:
        lines = json.dumps({"error": f"is damaged ({_first_line(error)})"}), []
    sys.stdout.buffer.write(lines[0].encode() + b"\n")
    for content in lines[1]:
        sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


if __name__ == "__main__":
    main(sys.argv[1])
