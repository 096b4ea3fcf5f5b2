"""What a study keeps as JSON: sealed, so that a digit that changed is no other answer, and of its declared types."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING
from types import NoneType, UnionType
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
    content = spliced({name: text for name, text in texts.items() if name != _SEAL})
    if kept.get(_SEAL) != _of_text(f"[{json.dumps(place)}, {{{content}}}]"):
        check_seal(kept, place)


def spliced(texts: Mapping[str, str]) -> str:
    """Return JSON texts as the content of a mapping, their names in order."""
    return ", ".join([f"{_quoted(name)}: {texts[name]}" for name in sorted(texts)])


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


_quoted = functools.cache(json.dumps)


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def fits(value: Any, declared: Any) -> bool:
    """Tell whether a value that went through JSON is of a declared type."""
    return _test_of(declared)(value)


@functools.cache
def _test_of(declared: Any) -> Callable[[Any], bool]:
    """Return what tells whether a value is of a type: it is made once, and asked for all that a study keeps."""
    if declared is Any:  # numbers of any number of axes, with nothing where there is none
        return lambda value: value is None or fits(value, float) or fits(value, list[Any])
    origin, of = get_origin(declared), get_args(declared)
    if origin is None:
        return _test_of_any((declared,))
    if origin is UnionType:
        return _test_of_any(of)
    if origin is list:
        return _test_of_all(list, iter, of[0])
    if origin is dict and of[1] is Any:
        return lambda value: isinstance(value, dict)
    if origin is dict:
        return _test_of_all(dict, dict.values, of[1])
    if origin is tuple:  # which JSON keeps as a list
        return lambda value: isinstance(value, list) and len(value) == len(of) and all(map(fits, value, of))
    assert origin is Literal
    return lambda value: value in of


def _test_of_any(kinds: tuple[Any, ...]) -> Callable[[Any], bool]:
    if all(get_origin(kind) is None for kind in kinds):
        plain = _plain(kinds)
        return lambda value: type(value) in plain
    tests = [_test_of(kind) for kind in kinds]
    return lambda value: any(test(value) for test in tests)


def _test_of_all(holds: type[Any], parts: Callable[[Any], Iterable[Any]], kind: Any) -> Callable[[Any], bool]:
    """Return what tells whether a value holds parts of a type; plain ones are looked at together."""
    kinds = get_args(kind) if get_origin(kind) is UnionType else (kind,)
    if kind is not Any and all(get_origin(each) is None for each in kinds):
        plain = _plain(kinds)
        return lambda value: isinstance(value, holds) and plain.issuperset(map(type, parts(value)))
    return lambda value: isinstance(value, holds) and all(fits(part, kind) for part in parts(value))


def _plain(kinds: Iterable[Any]) -> frozenset[type[Any]]:
    """Return as which types JSON gives back values of some plain types."""
    found = {NoneType if kind is None else kind for kind in kinds}
    return frozenset(found | {int} if float in found else found)
