"""The times of steps that come after a table's last row, where its time column has a regular step."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import NamedTuple

from .times import time_stamp

#: So many of the last rows say what the step is, and so many of these steps must be alike: a gap is no other step.
_ROWS, _SHARE = 50, 0.9


def times_ahead(labels: Sequence[str], count: int) -> list[str] | None:
    """Return the next times after those of some rows, written like them.

    Args:
        labels: What stands in the time column, oldest first: numbers, dates, times, weeks, months, quarters or years.
        count: How many are wanted.

    Returns:
        The times; ``None`` where the steps between the rows are not regular, or there are too few.

    Example:
        >>> times_ahead(["2024-01-31", "2024-02-29", "2024-03-31"], 2)
        ['2024-04-30', '2024-05-31']
    """
    last = labels[-_ROWS:]
    if len(last) < 2:
        return None
    for read in (_numbers, _periods, _days_of_months, _moments):
        found = read(last)
        if found is not None and (step := _usual(found.places)) is not None:
            try:
                return [found.written(found.places[-1] + step * (n + 1)) for n in range(count)]
            except (ValueError, OverflowError, InvalidOperation):  # after the year 9999
                return None
    return None


class _Line(NamedTuple):
    """Where times lie on a line on which they are evenly spaced, and how a place on it is written."""

    places: Sequence[Decimal | int]
    written: Callable[[Decimal | int], str]


def _usual(places: Sequence[Decimal | int]) -> Decimal | int | None:
    """Return the step between most places, if most are alike and it leads onwards."""
    steps = [after - before for before, after in pairwise(places)]
    usual = max(set(steps), key=steps.count)
    return usual if usual > 0 and steps.count(usual) >= _SHARE * len(steps) else None


def _numbers(labels: Sequence[str]) -> _Line | None:
    try:
        places = [Decimal(label.strip()) for label in labels]
    except InvalidOperation:
        return None
    if _are_days(labels):
        return None
    if not all(place.is_finite() and -30 < place.adjusted() < 30 for place in places if place):
        return None
    return _Line(places, lambda place: f"{place:f}")


def _are_days(labels: Sequence[str]) -> bool:
    """Tell whether numbers of eight digits are days, such as 20240229."""
    try:
        return all(len(label) == 8 and 1800 <= date.fromisoformat(label).year < 2200 for label in labels)
    except ValueError:
        return False


def _periods(labels: Sequence[str]) -> _Line | None:
    """Months, quarters and weeks of ISO 8601."""
    found = re.fullmatch(r"\d{4}(-?)([QqW]?)\d{1,2}", labels[-1], re.ASCII)
    if found is None or (not found[2] and not found[1]):
        return None
    try:
        stamps = [time_stamp(label) for label in labels]
    except ValueError:
        return None
    if len({kind for _, kind in stamps}) > 1:
        return None
    kind, hyphen, letter = stamps[0][1], found[1], found[2]
    places = [round(number) for number, _ in stamps] if kind != "weeks" else [_week(number) for number, _ in stamps]

    def written(place: Decimal | int) -> str:
        number = int(place)
        if kind == "weeks":
            year, week, _ = date.fromordinal(number * 7 + 1).isocalendar()
            return f"{year:04}{hyphen}W{week:02}"
        of_year = 12 if kind == "months" else 4
        year, part = divmod(number - 1, of_year)
        return f"{year:04}-{part + 1:02}" if kind == "months" else f"{year:04}{hyphen}{letter}{part + 1}"

    return _Line(places, written)


def _week(number: float) -> int:
    """Return the number of a week: of the Monday that it begins with, whose ordinal is 1 modulo 7."""
    return (round(number * 7) - 1) // 7


def _moments(labels: Sequence[str]) -> _Line | None:
    try:
        moments = [datetime.fromisoformat(label) for label in labels]
    except ValueError:
        return None
    zone, last = moments[-1].tzinfo, labels[-1]
    if any((moment.tzinfo is None) != (zone is None) for moment in moments):
        return None
    origin = datetime(1970, 1, 1, tzinfo=zone)
    microsecond = timedelta(microseconds=1)

    def written(place: Decimal | int) -> str:
        return written_like(last, origin + int(place) * microsecond)

    return _Line([(moment - origin) // microsecond for moment in moments], written)


def written_like(label: str, moment: datetime) -> str:
    """Write a moment as a label is written."""
    if len(label) == 7 and "-" in label:
        return f"{moment:%Y-%m}"
    if len(label) <= 10:
        return moment.strftime("%Y%m%d") if "-" not in label else moment.date().isoformat()
    separator = label[10] if len(label) > 10 and not label[10].isdigit() else "T"
    has_seconds = label.count(":") - (2 if re.search(r"[+-]\d\d:\d\d$", label) else 0) > 0
    clock = label[11:].split("+")[0].split("-")[0].rstrip("Zz")
    spec = "microseconds" if "." in clock else "seconds" if clock.count(":") == 2 or not has_seconds else "minutes"
    text = moment.isoformat(sep=separator, timespec=spec)
    return re.sub(r"\+00:00$", label[-1], text) if label.endswith(("Z", "z")) else text


def _days_of_months(labels: Sequence[str]) -> _Line | None:
    """Dates that stand for their month, quarter or year: always the same day of the month, or always the last one."""
    try:
        days = [datetime.fromisoformat(label) for label in labels]
    except ValueError:
        return None
    are_last = all(day.day == calendar.monthrange(day.year, day.month)[1] for day in days)
    if not are_last and len({day.day for day in days}) > 1:
        return None
    if len({(day.timetz()) for day in days}) > 1:
        return None
    end = days[-1]

    def written(place: Decimal | int) -> str:
        year, month = divmod(int(place) - 1, 12)
        length = calendar.monthrange(year, month + 1)[1]
        return written_like(
            labels[-1], end.replace(year=year, month=month + 1, day=length if are_last else min(end.day, length))
        )

    return _Line([12 * day.year + day.month for day in days], written)
