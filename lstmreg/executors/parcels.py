"""What is packed for another process of the same search, and the data that such a process was sent."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from lstmreg.errors import ConfigError
from lstmreg.tasks import Split, Task
from lstmreg.training.memory import Outgrown


@dataclass(frozen=True)
class Material:
    """The data of a search, which travel once to each worker.

    Attributes:
        task: The question and the data.
        splits: By their keys.
    """

    task: Task
    splits: Mapping[tuple[int, ...], Split]


@dataclass(frozen=True)
class Parcel:
    """Something packed, and its digest."""

    content: bytes
    digest: str

    @classmethod
    def of(cls, thing: Any) -> Parcel:
        """Pack something.

        Raises:
            ConfigError: If it cannot travel.
        """
        content = pack(thing)
        return cls(content, hashlib.blake2b(content, digest_size=16).hexdigest())


def pack(thing: Any) -> bytes:
    """Pack something that goes to, or comes from, a process of this search; nothing else is ever unpacked.

    Raises:
        ConfigError: If it cannot travel.
    """
    try:
        return _pickler().dumps(thing, protocol=pickle.HIGHEST_PROTOCOL)  # type: ignore[no-any-return]
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise ConfigError(
            f"the data or the network cannot be sent to another process ({error}). Define what they consist of in a "
            f"module, or install cloudpickle, which sends what a script or a notebook defines."
        ) from None


def unpack(content: bytes) -> Any:
    """Return what :func:`pack` packed in a process of this search."""
    return pickle.loads(content)


def _pickler() -> ModuleType:
    """Return cloudpickle where it is installed, which also takes what a script or a notebook defines."""
    with suppress(ImportError):
        import cloudpickle

        return cloudpickle  # type: ignore[no-any-return]
    return pickle


#: Data that a process keeps at most: of searches that share it, and of those that ended without a word.
_MOST = 8

#: What this process has been sent, by its digest, with what turned out to be too large there.
_materials: dict[str, tuple[Material, Outgrown]] = {}


class MissingMaterialError(LookupError):
    """The data of an order have not been sent to this process."""


def keep_material(parcel: Parcel) -> None:
    """Keep the data of a search in this process; the oldest go, if there are too many."""
    if parcel.digest not in _materials:
        _materials[parcel.digest] = unpack(parcel.content), Outgrown()
    while len(_materials) > _MOST:
        del _materials[next(iter(_materials))]


def forget_material(parcel: Parcel) -> None:
    """Keep the data of a search no longer."""
    _materials.pop(parcel.digest, None)


def material_of(digest: str) -> tuple[Material, Outgrown]:
    """Return the data of a search, and what was too large in this process.

    Raises:
        MissingMaterialError: If they have not been sent here.
    """
    if digest not in _materials:
        raise MissingMaterialError(digest)
    return _materials[digest]
