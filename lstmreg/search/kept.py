"""What a study keeps as JSON: sealed, so that a digit that changed is no other answer, and of its declared types."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
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


def check_sealed_texts(texts: Mapping[str, str], kept: Mapping[str, Any], place: str) -> None:
    """Look whether something that is kept as JSON, each part under its name, is as :func:`sealed` returned it.

    Where the names within the parts stand in order, their texts are what was sealed, and nothing need be written once
    more to see that.

    Args:
        texts: What is kept.
        kept: What it says.
        place: Where it belongs.

    Raises:
        ValueError: If it is not.
    """
    content = ", ".join(f"{json.dumps(name)}: {texts[name]}" for name in sorted(texts) if name != _SEAL)
    if kept.get(_SEAL) != _of_text(f"[{json.dumps(place)}, {{{content}}}]"):
        check_seal(kept, place)


def _digest(kept: Mapping[str, Any], place: str) -> str:
    return _of_text(json.dumps([place, kept], sort_keys=True))


def _of_text(content: str) -> str:
    return hashlib.blake2b(content.encode(), digest_size=12).hexdigest()


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
    whichever: Any = kind  # as a key any class will do
    declared, found = _hints(whichever), {}
    for each in dataclasses.fields(kind):
        if each.name in kept:
            found[each.name] = kept[each.name]
            if not fits(found[each.name], declared[each.name]):
                raise ValueError(f"its {what} has {each.name}={found[each.name]!r}")
        elif each.default is MISSING and each.default_factory is MISSING:
            raise ValueError(f"its {what} has no {each.name}")
    return found


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def fits(value: Any, declared: Any) -> bool:
    """Tell whether a value that went through JSON is of a declared type."""
    return _test_of(declared)(value)


@functools.cache
def _test_of(declared: Any) -> Callable[[Any], bool]:
    """Return what tells whether a value is of a type: it is made once, and asked for each number of a study."""
    if declared is Any:  # numbers of any number of axes, with nothing where there is none
        return lambda value: value is None or fits(value, float) or fits(value, list[Any])
    origin, of = get_origin(declared), get_args(declared)
    tests = [_test_of(each) for each in of if origin in (list, tuple, dict, UnionType) and each is not Any]
    if origin is list and of[0] is float:  # curves, whose many values are looked at together
        return lambda value: isinstance(value, list) and {*map(type, value)} <= {int, float}
    if origin is list:
        return lambda value: isinstance(value, list) and all(fits(each, of[0]) for each in value)
    if origin is tuple:  # which JSON keeps as a list
        return lambda value: isinstance(value, list) and len(value) == len(of) and all(map(fits, value, of))
    if origin is dict:
        return lambda value: isinstance(value, dict) and (of[1] is Any or all(map(tests[1], value.values())))
    if origin is Literal:
        return lambda value: value in of
    if origin is UnionType:
        return lambda value: any(test(value) for test in tests)
    if declared is bool:
        return lambda value: isinstance(value, bool)
    kinds = (int, float) if declared is float else declared
    return lambda value: isinstance(value, kinds) and not isinstance(value, bool)
