"""What a study keeps as JSON: sealed, so that a digit that changed is no other answer, and of its declared types."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

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


def _digest(kept: Mapping[str, Any], place: str) -> str:
    content = json.dumps([place, kept], sort_keys=True).encode()
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def fields_of(kind: type[Any], kept: Any, what: str) -> dict[str, Any]:
    """Return of what went through JSON the fields of a dataclass; what a later version kept beside them is left out.

    Args:
        kind: The dataclass.
        kept: What was kept.
        what: Its name, for what is said of damage.

    Raises:
        ValueError: If a field is missing that has no default, or is not of its declared type.
    """
    if not isinstance(kept, dict):
        raise ValueError(f"its {what} is no mapping: {kept!r}")
    declared, found = get_type_hints(kind), {}
    for each in dataclasses.fields(kind):
        if each.name in kept:
            found[each.name] = kept[each.name]
            if not fits(found[each.name], declared[each.name]):
                raise ValueError(f"its {what} has {each.name}={found[each.name]!r}")
        elif each.default is MISSING and each.default_factory is MISSING:
            raise ValueError(f"its {what} has no {each.name}")
    return found


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
