"""What a study keeps as JSON: sealed, so that a digit that changed is no other answer, and of its declared types."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, get_args, get_origin

_SEAL = "seal"


def sealed(kept: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return what is kept with a digest of it and of where it belongs.

    Args:
        kept: By name, as JSON can say it.
        place: A name of the place; what is moved elsewhere is found out too.
    """
    return {**kept, _SEAL: _digest(kept, place)}


def check_seal(kept: Mapping[str, Any], place: str) -> None:
    """Look whether something is as :func:`sealed` returned it.

    Raises:
        ValueError: If it is not.
    """
    if _SEAL not in kept:
        raise ValueError("it has no seal")
    if kept[_SEAL] != _digest({name: value for name, value in kept.items() if name != _SEAL}, place):
        raise ValueError("it is not what was written")


def is_sealed(kept: Mapping[str, Any]) -> bool:
    """Tell whether it has a seal, as earlier versions gave none."""
    return _SEAL in kept


def _digest(kept: Mapping[str, Any], place: str) -> str:
    content = json.dumps([place, kept], sort_keys=True).encode()
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def fits(value: Any, declared: Any) -> bool:
    """Tell whether a value that went through JSON is of a declared type."""
    if declared is Any:  # numbers of any number of axes, with nothing where there is none
        return value is None or fits(value, float) or fits(value, list[Any])
    origin, of = get_origin(declared), get_args(declared)
    if origin is list:
        return isinstance(value, list) and all(fits(each, of[0]) for each in value)
    if origin is tuple:  # which JSON keeps as a list
        return isinstance(value, list) and len(value) == len(of) and all(map(fits, value, of))
    if origin is dict:
        return isinstance(value, dict) and (of[1] is Any or all(fits(each, of[1]) for each in value.values()))
    if origin is Literal:
        return value in of
    if origin is UnionType:
        return any(fits(value, kind) for kind in of)
    if declared is bool:
        return isinstance(value, bool)
    return isinstance(value, (int, float) if declared is float else declared) and not isinstance(value, bool)
