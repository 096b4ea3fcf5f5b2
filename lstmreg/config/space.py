"""What a search tries of each setting."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lstmreg.errors import ConfigError, did_you_mean
from lstmreg.knobs import KNOBS
from lstmreg.rules import POSITIVE, require

#: A single value of a setting.
Scalar = int | float | str | bool

#: Under which condition a setting is searched: others by path, each with the value or the values that it must have.
When = dict[str, Scalar | list[Scalar]]


@dataclass(frozen=True)
class Range:
    """An interval that the search draws from.

    Args:
        low: Least value.
        high: Greatest value.
        log: Whether to draw on a logarithmic scale.
        step: Distance between neighbouring values, or null for none. Steps are counted from ``low``; where they do not
            meet ``high``, the last one below it is the greatest value.
        when: Other searched settings by path, with the value, or the values, beside which alone it is searched.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    when: When | None = None

    def __post_init__(self) -> None:
        ok = math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high
        require(ok, "search.space: low", "below high", f"low={self.low}, high={self.high}")
        require(not self.log or self.low > 0, "search.space: low", "positive where log is true", self.low)
        if self.step is not None:
            POSITIVE.check("search.space: step", self.step)
            require(not self.log, "search.space: step", "null where log is true", self.step)

    @property
    def steps(self) -> int | None:
        """How many steps there are above ``low``; ``None`` without a step."""
        if self.step is None:
            return None
        # As decimal numbers, in which they were written: 0.15 and two steps of 0.05 are 0.25.
        low, high, step = (Decimal(str(number)) for number in (self.low, self.high, self.step))
        return int((high - low) // step)

    @property
    def greatest(self) -> float:
        """The greatest value that is drawn."""
        return self.high if self.steps is None else self.at(self.steps)

    def at(self, step: int) -> float:
        """Return the value so many steps above ``low``."""
        assert self.step is not None  # or there are none
        return float(Decimal(str(self.low)) + step * Decimal(str(self.step)))


@dataclass(frozen=True)
class Values:
    """Some values that the search tries, and what else is to be said of them.

    Args:
        values: The values.
        when: Other searched settings by path, with the value, or the values, beside which alone it is searched.
        grow: Whether the list grows where its best value lies at an edge: that of a knob at both edges, and that of a
            size upwards, by doubling. Null: that of a knob does.
    """

    values: list[Scalar]
    when: When | None = None
    grow: bool | None = None


#: What a search tries for one setting: an interval, or some values.
Dimension = Range | list[Scalar]

#: What may be written of one setting.
DIMENSION_IN_WORDS = "a list of values, {values, when, grow} or {low, high, log, step, when}"


def check_written(space: Mapping[str, Any]) -> None:
    """Check what a file or an option says of each setting, before a space is made of it.

    Raises:
        ConfigError: If a dimension is none, has a key that there is not, lacks one, or has a value of another type.
    """
    for path, written in space.items():
        where = f"search.space: {path}"
        if not isinstance(written, (list, dict)):
            is_value = isinstance(written, (int, float, str))
            hint = f" Write {[written]}." if is_value else ""
            raise ConfigError(f"{where} must be {DIMENSION_IN_WORDS}, got {written!r}.{hint}")
        for key, value in {"values": written}.items() if isinstance(written, list) else written.items():
            _check_key(where, written, key, value)
        if isinstance(written, dict) and "values" not in written:
            for needed in ("low", "high"):
                require(needed in written, where, f"an interval with {needed}, or have values", written)


def _check_key(where: str, written: Any, key: str, value: Any) -> None:
    kinds: list[type[Values] | type[Range]] = [Range]
    if "values" in written or isinstance(written, list):
        kinds = [Values]
    elif not {"low", "high", "log", "step"} & set(written):  # which of the two is meant, none of its keys says
        kinds = [Range, Values]
    known = list(dict.fromkeys(field.name for kind in kinds for field in dataclasses.fields(kind)))
    if key not in known:
        raise ConfigError(f"{where}: unknown key {key!r}.{did_you_mean(str(key), known)} It is {DIMENSION_IN_WORDS}.")
    words, holds = _WRITTEN[key]
    require(holds(value), where if isinstance(written, list) else f"{where}: {key}", words, value)


def _is_number(value: object) -> bool:
    if isinstance(value, str):  # as YAML 1.1 reads 1e-3
        with contextlib.suppress(ValueError):
            return math.isfinite(float(value))
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_list_of_values(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, (int, float, str)) for each in value)


def _is_condition(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(each, (int, float, str)) or _is_list_of_values(each) for each in value.values()
    )


_WRITTEN: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "low": ("a number", _is_number),
    "high": ("a number", _is_number),
    "log": ("true or false", lambda value: isinstance(value, bool)),
    "step": ("a number or null", lambda value: value is None or _is_number(value)),
    "values": ("a list of numbers, names, true or false", _is_list_of_values),
    "when": (
        "settings by path, each with a value or a list of values, or null",
        lambda value: value is None or _is_condition(value),
    ),
    "grow": ("true, false or null", lambda value: value is None or isinstance(value, bool)),
}

#: The values that a setting must have for another one to be searched, by path.
Condition = dict[str, tuple[Scalar, ...]]


def conditions(space: Mapping[str, Range | Values | list[Scalar]]) -> dict[str, Condition]:
    """Return under which conditions each setting of a space is searched, those of its conditions' settings included.

    Raises:
        ConfigError: If a condition leads in a circle, names what is not searched, or can never hold.
    """
    found: dict[str, Condition] = {}

    def visit(path: str, waiting: tuple[str, ...]) -> Condition:
        if path in waiting:
            raise ConfigError(
                f"search.space: a setting cannot wait for itself: {' when '.join([*waiting, path])}. "
                f"Leave one of these conditions out."
            )
        if path not in found:
            condition: Condition = {}
            for needed, values in _when(space[path]).items():
                if needed not in space:
                    raise ConfigError(
                        f"search.space: {path}: when must name settings that are searched too, got {needed!r}."
                        f"{did_you_mean(needed, space)} Search it, or set what it is in the configuration and leave "
                        f"the condition out."
                    )
                for other, allowed in [*visit(needed, (*waiting, path)).items(), (needed, values)]:
                    condition[other] = tuple(v for v in condition.get(other, allowed) if v in allowed)
                    require(len(condition[other]) > 0, f"search.space: {path}: when", f"possible for {other}", values)
            found[path] = condition
        return found[path]

    for path in space:
        visit(path, ())
    return found


def _when(dimension: Range | Values | list[Scalar]) -> dict[str, tuple[Scalar, ...]]:
    when = None if isinstance(dimension, list) else dimension.when
    return {path: tuple(v) if isinstance(v, list) else (v,) for path, v in (when or {}).items()}


def default_space(input_columns: int = 2, *, proximal: bool = False) -> dict[str, Dimension]:
    """Return the knobs that make sense for so many input columns, each with its ladder of values.

    Off is always tried too. Where there is a single column, a knob that chooses among columns has nothing to choose.

    Args:
        input_columns: How many columns there are.
        proximal: Whether the L1 on weights is a step of its own after Adam's, which takes other strengths.
    """
    return {
        path: list((proximal and knob.proximal_ladder) or knob.ladder)
        for path, knob in KNOBS.items()
        if knob.by_default and (input_columns > 1 or not knob.chooses_columns)
    }
