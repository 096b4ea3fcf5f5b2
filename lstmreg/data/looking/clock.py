"""Reads what a column of times says: its step, its gaps, its zone, and whether the rows follow it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from lstmreg.data.sources.columns import Columns, Table
from lstmreg.data.times import are_time_stamps, time_stamp, time_stamps
from lstmreg.errors import DataError

from .fields import Field
from .sighting import Clock

_MINUTE, _HOUR, _DAY, _WEEK = 60, 3_600, 86_400, 604_800

#: Ways to write a date that are not read, or not with such hours.
_OTHER_DATES = ("%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y%m%d")
_OTHER_HOURS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")

_ZONE = re.compile(r"(Z|[+-]\d\d:?\d\d)$")

#: Steps of several weeks: between so many days, their name, and their season.
_LONG_STEPS: tuple[tuple[int, int, str, tuple[int, ...]], ...] = (
    (28, 31, "month", (12,)),
    (89, 92, "quarter", (4,)),
    (365, 366, "year", ()),
)

#: So many cells are looked at before all are.
_FIRST = 50


@dataclass(frozen=True, eq=False)
class Stamps:
    """The times of all rows, as numbers.

    Attributes:
        values: ``(N,)``: seconds, months, or whatever ``kind`` says.
        kind: As :func:`lstmreg.data.times.time_stamp` calls it.
        is_read: Whether the reader of tables takes the column as it is written.
    """

    values: NDArray[np.float64]
    kind: str
    is_read: bool = True


def stamps_of(field: Field, table: Table) -> Stamps | None:
    """Return the times of a column of text, or of numbers that are dates; nothing if they are none."""
    if field.missing or not field.words:
        return None
    if field.values is not None:
        seconds = _otherwise(field.words, ("%Y%m%d",)) if _could_be_dates(field.words) else None
        return None if seconds is None else Stamps(seconds[field.codes], "dates without a time zone")
    if are_time_stamps(field.words[:_FIRST]):
        alone = Columns(table, (), np.empty((0, 0)), {field.name: field.words}, np.arange(len(field.words)))
        try:
            return Stamps(time_stamps(alone, field.name)[field.codes], time_stamp(field.words[0])[1])
        except DataError:
            return None
    formats = [date + hour for date in _OTHER_DATES for hour in _OTHER_HOURS]
    likely = [form for form in formats if _otherwise(field.words[:_FIRST], [form]) is not None]
    seconds = _otherwise(field.words, likely)
    return None if seconds is None else Stamps(seconds[field.codes], "dates without a time zone", is_read=False)


def _could_be_dates(words: Sequence[str]) -> bool:
    return all(len(word) == 8 and word.isdecimal() and word[:2] in ("18", "19", "20") for word in words)


def _otherwise(words: Sequence[str], formats: Sequence[str]) -> NDArray[np.float64] | None:
    """Return the seconds of times that are written in the first of some ways that fits all of them."""
    for form in formats:
        try:
            moments = [datetime.strptime(word, form).replace(tzinfo=UTC) for word in words]
        except ValueError:
            continue
        return np.array([moment.timestamp() for moment in moments])
    return None


def clock_of(
    field: Field, stamps: Stamps, parts: NDArray[np.int64] | None = None, place: Callable[[int], str] = "row {}".format
) -> Clock:
    """Say what a column of times shows.

    Args:
        field: The column.
        stamps: Its times, ``(N,)``.
        parts: To which of several series or sequences each row belongs, ``(N,)``.
        place: Says where a row stands, such as ``line 3``.
    """
    which = np.zeros(len(stamps.values), dtype=np.int64) if parts is None else parts
    order = np.lexsort([stamps.values, which])
    times, owners = stamps.values[order], which[order]
    inside = np.diff(owners) == 0
    steps = np.diff(times)[inside]
    steps_as_they_stand = np.diff(stamps.values[np.argsort(which, kind="stable")])[inside]
    rising = steps[steps > 0]
    usual = float(np.median(rising)) if len(rising) else 0.0
    step, lags, longest = _named(usual, stamps.kind, times)
    wide = steps[steps > longest] if usual else steps[:0]
    again = order[1:][inside & (np.diff(times) == 0)]
    doubled = f"{field.words[field.codes[again.min()]]} again on {place(int(again.min()))}" if len(again) else ""
    first, last = int(stamps.values.argmin()), int(stamps.values.argmax())
    return Clock(
        name=field.name,
        step=step,
        lags=lags,
        first=field.words[field.codes[first]],
        last=field.words[field.codes[last]],
        gaps=len(wide),
        longest_gap=float(wide.max() / usual) if len(wide) else 0.0,
        zone=_zone(field, stamps.kind),
        is_sorted=bool((steps_as_they_stand >= 0).all()),
        doubled=int((steps == 0).sum()),
        is_date=stamps.kind != "numbers",
        first_doubled=doubled,
    )


def _named(usual: float, kind: str, times: NDArray[np.float64]) -> tuple[str, tuple[int, ...], float]:
    """Return a step in words, the seasons that make sense for it, and beyond which a step is a gap."""
    longest = 1.5 * usual
    if kind == "numbers":
        return f"{usual:g}", (), longest
    if kind in ("months", "quarters", "weeks"):
        known = {("months", 1): (12,), ("months", 3): (4,), ("quarters", 1): (4,), ("weeks", 1): (52,)}
        return _plural(round(usual), kind[:-1]), known.get((kind, round(usual)), ()), longest
    days = usual / _DAY
    for least, most, name, lags in _LONG_STEPS:
        if least <= days <= most:
            return f"1 {name}", lags, longest
    if usual == _WEEK:
        return "1 week", (52,), longest
    if usual == _DAY:
        weekdays = (times // _DAY + 3) % 7  # the first day of all was a Thursday
        if len(times) >= 10 and not (weekdays >= 5).any():
            return "1 working day", (5, 252), 3.5 * usual
        return "1 day", (7, 365), longest
    lags = tuple(round(span / usual) for span in _spans(usual) if usual and span % usual == 0)
    for unit, name in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if usual >= unit and usual % unit == 0:
            return _plural(round(usual / unit), name), lags, longest
    return f"{usual:g} seconds", lags, longest


def _spans(usual: float) -> tuple[int, ...]:
    """Return how long a season may be, in seconds: an hour only where it has some steps."""
    if usual < _MINUTE or usual >= _DAY:
        return ()
    return (_HOUR, _DAY, _WEEK) if usual * 12 <= _HOUR else (_DAY, _WEEK)


def _plural(count: int, name: str) -> str:
    return f"{count} {name}{'s' if count != 1 else ''}"


def _zone(field: Field, kind: str) -> str:
    if kind == "dates without a time zone":
        has_hours = any(":" in word for word in field.words[:_FIRST])
        return "none given" if has_hours else ""
    if kind != "dates with a time zone":
        return ""
    found = sorted({zone[1] for word in field.words if (zone := _ZONE.search(word))})
    shown = " and ".join("UTC" if zone in ("Z", "+00:00", "+0000") else zone for zone in found[:3])
    return f"{shown} (daylight saving)" if len(found) == 2 else shown
