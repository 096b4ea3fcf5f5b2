"""What a setting may be: rules, which stand beside a field in its metadata, and are read off it with its type.

Nothing here loads torch.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lstmreg.errors import ConfigError, did_you_mean
from lstmreg.knobs import KNOBS


def require(ok: bool, name: str, rule: str, value: object) -> None:
    """Raise a ``ConfigError`` that names the setting, its rule and the value, unless all is well."""
    if not ok:
        raise ConfigError(f"{name} must be {rule}, got {value!r}.")


@dataclass(frozen=True)
class Rule:
    """What values a setting may have.

    Attributes:
        words: As they stand behind "must be".
        holds: Whether a value is one of them.
        near: Of names: those among which one that is not known is looked for.
    """

    words: str
    holds: Callable[[Any], bool]
    near: tuple[str, ...] = ()

    def check(self, path: str, value: object) -> None:
        """Raise a ``ConfigError`` that names the setting if it may not have a value."""
        if not self.holds(value):
            raise ConfigError(f"{path} must be {self.words}, got {value!r}.{did_you_mean(str(value), self.near)}")


def between(least: int, most: int = 1_000_000_000) -> Rule:
    """Return the rule of a whole number in a range, both ends included."""
    return Rule(f"between {least} and {most}", lambda value: least <= value <= most)


WHOLE = Rule("a whole number", lambda value: float(value).is_integer())
POSITIVE = Rule("finite and positive", lambda value: math.isfinite(value) and value > 0)
NOT_NEGATIVE = Rule("finite and not negative", lambda value: math.isfinite(value) and value >= 0)
FRACTION = Rule("between 0 and 1", lambda value: math.isfinite(value) and 0 < value < 1)
RATE = Rule("in [0, 1)", lambda value: math.isfinite(value) and 0 <= value < 1)
FLAG_OR_NULL = Rule("true, false or null", lambda value: isinstance(value, bool))
SEED = between(0, 2**32 - 1)
ADDRESS = Rule(
    "the address of a scheduler, such as tcp://host:8786 or tls://host:8786",
    lambda value: re.fullmatch(r"(tcp|tls)://[\w.-]+:\d{1,5}|(tcp|tls)://\[[0-9a-fA-F:]+\]:\d{1,5}", value) is not None,
)
ONE_CHARACTER = Rule("one character", lambda value: len(value) == 1)


def ruled(*rules: Rule, filled: str | None = None, is_searchable: bool = True) -> dict[str, Any]:
    """Return what stands beside a setting, as its field's metadata; :class:`Declared` says what it means."""
    return {"rules": rules, "filled": filled, "is_searchable": is_searchable}


def kinds_of(declared_type: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the type itself."""
    return get_args(declared_type) if get_origin(declared_type) in (Union, UnionType) else (declared_type,)


def choices_of(declared_type: Any) -> tuple[str, ...]:
    """Return the values that a ``Literal`` lists, also one within a union."""
    return tuple(value for kind in kinds_of(declared_type) if get_origin(kind) is Literal for value in get_args(kind))


@dataclass(frozen=True)
class Declared:
    """What is declared of one setting, read off its field: its type, and what stands beside it.

    Attributes:
        type: The field's, resolved.
        rules: That a value must keep, in this order; of a list each of its values. Those of a knob are in its table.
        filled: Of a list that must not be empty: what it is a list of.
        is_searchable: Whether a search may vary it.
    """

    type: Any
    rules: tuple[Rule, ...]
    filled: str | None
    is_searchable: bool

    @functools.cached_property
    def kinds(self) -> tuple[Any, ...]:
        """The types of which it may be, the first one being that of a single value."""
        return kinds_of(self.type)

    @functools.cached_property
    def may_be_null(self) -> bool:
        """Whether it may be left open."""
        return NoneType in self.kinds

    @functools.cached_property
    def may_be_list(self) -> bool:
        """Whether it takes a list of values."""
        return any(get_origin(kind) is list for kind in self.kinds)

    @functools.cached_property
    def may_differ_by_layer(self) -> bool:
        """Whether it takes one value or a list of such."""
        return self.may_be_list and get_origin(self.kinds[0]) is not list

    def check(self, path: str, value: Any) -> None:
        """Raise a ``ConfigError`` if the setting may not have a value."""
        if value is None and self.may_be_null:
            return
        are_several = isinstance(value, list) if self.may_differ_by_layer else self.may_be_list
        values = list(value) if are_several else [value]
        if self.filled is not None:
            require(len(values) > 0, path, self.filled, [])
        for each in values:
            for rule in self.rules:
                rule.check(path, each)
            if path in KNOBS:
                KNOBS[path].check(each)


def declared(section: type) -> dict[str, Declared]:
    """Return what is declared of each setting of a section, by name."""
    whichever: Any = section  # as a key any class will do, whatever its instances are
    return _read_off(whichever)


@functools.cache
def _read_off(section: Any) -> dict[str, Declared]:
    types = get_type_hints(section)
    return {spec.name: _declared(types[spec.name], **spec.metadata) for spec in dataclasses.fields(section)}


def _declared(
    kind: Any, rules: tuple[Rule, ...] = (), filled: str | None = None, is_searchable: bool = True
) -> Declared:
    if choices := choices_of(kind):
        rules = (Rule("one of " + ", ".join(choices), lambda value: value in choices), *rules)
    return Declared(kind, rules, filled, is_searchable)


def check_section(section: Any, prefix: str) -> None:
    """Check every setting of a section against the rules that stand beside it."""
    for name, setting in declared(type(section)).items():
        setting.check(prefix + name, getattr(section, name))
