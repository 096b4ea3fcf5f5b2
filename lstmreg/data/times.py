"""Reads time stamps, and sees whether rows follow each other in time."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import DataConfig
from lstmreg.errors import DataError

from .sources.columns import Columns

#: ISO 8601 of reduced precision, and quarters: what is written, what it is called, and its number in a row of such.
#: A month is no number of days, so that neither 28 nor 31 of them are a gap.
_PERIODS: list[tuple[re.Pattern[str], str, Callable[[int, int], float]]] = [
    (re.compile(r"(\d{4})-(\d\d)", re.ASCII), "months", lambda year, n: 12 * year + date(year, n, 1).month),
    (re.compile(r"(\d{4})-?[Qq]([1-4])", re.ASCII), "quarters", lambda year, n: 4 * year + n),
    (
        re.compile(r"(\d{4})-?W(\d\d)", re.ASCII),
        "weeks",
        lambda year, n: date.fromisocalendar(year, n, 1).toordinal() / 7,
    ),
]


#: Dates beside ISO 8601 that can mean one day only: with dots the day stands first, and a year in front is followed by
#: its month. With slashes 03/04/2024 may be of March or of April, and is not read.
_OTHER_DATES = (
    re.compile(r"(?P<day>\d\d?)\.(?P<month>\d\d?)\.(?P<year>\d{4})(?P<clock>[ T].*)?", re.ASCII),
    re.compile(r"(?P<year>\d{4})([/.])(?P<month>\d\d?)\2(?P<day>\d\d?)(?P<clock>[ T].*)?", re.ASCII),
)


def in_iso(cells: Sequence[str]) -> Sequence[str]:
    """Return time stamps with dates such as 31.12.2024 or 2024/12/31 in ISO 8601; all others as they are."""
    if not any("." in cell[:5] or "/" in cell[:5] for cell in cells):
        return cells
    return list(map(_in_iso, cells))


def _in_iso(cell: str) -> str:
    found = next((match for form in _OTHER_DATES if (match := form.fullmatch(cell))), None)
    if found is None:
        return cell
    clock = found["clock"] or ""
    clock = f"{clock[0]}0{clock[1:]}" if clock[2:3] == ":" else clock
    return f"{found['year']}-{int(found['month']):02}-{int(found['day']):02}{clock}"


def time_stamp(cell: str) -> tuple[float, str]:
    """Return a number that orders a time stamp among those of its kind, and the kind.

    Raises:
        ValueError: If it is neither a number nor ISO 8601, nor a date that :func:`in_iso` knows.
    """
    if "_" not in cell:
        try:
            return float(cell), "numbers"
        except ValueError:
            pass
    for pattern, kind, number in _PERIODS:
        if found := pattern.fullmatch(cell):
            return float(number(int(found[1]), int(found[2]))), kind
    moment = datetime.fromisoformat(_in_iso(cell))
    kind = "dates with a time zone" if moment.tzinfo else "dates without a time zone"
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), kind


def not_after(labels: Sequence[str], last: str) -> NDArray[np.bool_] | None:
    """Tell of each of some times whether it is not after another one; ``None`` if they cannot be compared.

    What is no time, such as ``+1``, comes after all.
    """
    limit, kind = time_stamp(last)
    known: dict[str, bool] = {}
    for label in set(labels):
        try:
            stamp, own = time_stamp(label) if not label.startswith("+") else (np.inf, kind)
        except ValueError:
            return None
        if own != kind:
            return None
        known[label] = stamp <= limit
    return np.array([known[label] for label in labels], dtype=bool)


def time_stamps(columns: Columns, name: str) -> NDArray[np.float64]:
    """Turn a column of rising numbers or ISO 8601 time stamps into numbers ``(N,)`` that order the rows.

    Raises:
        DataError: If a cell is none, or of another kind than those before it.
    """
    cells = columns.texts[name]
    stamps = _all_numbers(cells)
    if stamps is None:
        stamps = _all_moments(in_iso(cells))
    return _one_by_one(columns, name) if stamps is None else stamps


def _all_numbers(cells: Sequence[str]) -> NDArray[np.float64] | None:
    """Return the numbers of a column if each cell is one."""
    try:
        stamps = np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        return None
    return stamps if np.isfinite(stamps).all() and not any("_" in cell for cell in cells) else None


def _all_moments(cells: Sequence[str]) -> NDArray[np.float64] | None:
    """Return the seconds of a column if each cell is a date, perhaps with a time, and all are of one kind.

    Longer than any number of a period, and with a hyphen where a number has none: what they are is beyond doubt.
    """
    if not all(len(cell) > 8 and cell[4] == "-" for cell in cells):
        return None
    try:
        moments = list(map(datetime.fromisoformat, cells))
    except ValueError:
        return None
    zones = {moment.tzinfo is None for moment in moments}
    if len(zones) > 1:
        return None
    if zones == {True}:
        return np.array(moments, dtype="datetime64[us]").astype(np.int64) / 1e6
    return np.fromiter((moment.timestamp() for moment in moments), np.float64, len(moments))


def _one_by_one(columns: Columns, name: str) -> NDArray[np.float64]:
    kinds: set[str] = set()
    stamps = np.empty(len(columns))
    for row, cell in enumerate(columns.texts[name]):
        where = f"{columns.where(row, name)}: {cell!r}"
        try:
            stamps[row], kind = time_stamp(cell)
        except ValueError:
            raise DataError(
                f"{where} is no time stamp. Write it as ISO 8601 (2024-03-31, 2024-03-31T14:00:00+02:00, 2024-03, "
                f"2024-W13), as a quarter (2024-Q1), or with dots and the day first (31.03.2024)."
                f"{_ABOUT_SLASHES if _SLASHES.match(cell) else ''}"
            ) from None
        if not math.isfinite(stamps[row]):
            raise DataError(f"{where} is no time stamp. Give every row one.")
        kinds.add(kind)
        if len(kinds) > 1:
            raise DataError(f"{where} mixes kinds ({' and '.join(sorted(kinds))}). Write all rows alike.")
    return stamps


_SLASHES = re.compile(r"\d\d?[/-]\d\d?[/-]\d{2,4}", re.ASCII)

_ABOUT_SLASHES = " Whether the day or the month stands first in such dates, only you know."


def are_time_stamps(cells: Sequence[str]) -> bool:
    """Tell whether all cells could be those of a time column, and not mere numbers."""
    try:
        kinds = {time_stamp(cell)[1] for cell in cells}
    except ValueError:
        return False
    return len(kinds) == 1 and kinds != {"numbers"}


def check_order(
    config: DataConfig, columns: Columns, stamps: NDArray[np.float64], order: NDArray[np.int64] | None
) -> None:
    """See that time rises from row to row.

    Args:
        config: Names the time column.
        columns: Of the table, the times among them as text.
        stamps: Of each row of the table.
        order: Rows of the table as they are to follow each other; nothing if as they stand.

    Raises:
        DataError: If it does not; it says so if several series seem to stand in one table.
    """
    in_order = stamps if order is None else stamps[order]
    falls = np.flatnonzero(np.diff(in_order) <= 0)
    if not len(falls):
        return
    place = int(falls[0]) + 1
    where = columns.where(place if order is None else int(order[place]), str(config.time))
    if _are_several_series(stamps):
        raise DataError(f"{where}: the same times come again. {_how_to_part(config, columns, stamps)}")
    if in_order[place] == in_order[place - 1]:
        raise DataError(f"{where}: the same time twice. Keep one of the rows.")
    raise DataError(f"{where}: earlier than the row before. Sort the table, or set data.sort: true.")


def check_order_within(
    config: DataConfig,
    columns: Columns,
    stamps: NDArray[np.float64],
    parts: NDArray[np.int64],
    order: NDArray[np.int64],
    called: Callable[[int], str],
) -> None:
    """See that time rises from row to row within each part of a table.

    Args:
        config: Names the time column.
        columns: Of the table.
        stamps: In the order of the rows, ``(N,)``.
        parts: Which part each row is of, by number, in that order; the rows of a part are neighbours.
        order: The rows' places in the table.
        called: Names a part for the message, such as ``group 'Bern'``.

    Raises:
        DataError: If it does not.
    """
    falls = np.flatnonzero((np.diff(stamps) <= 0) & (np.diff(parts) == 0)) + 1
    if not len(falls):
        return
    place = int(falls[0])
    where = f"{columns.where(int(order[place]), str(config.time))}: in {called(int(parts[place]))}"
    if stamps[place] == stamps[place - 1]:
        raise DataError(f"{where} the same time twice. Keep one of the rows.")
    raise DataError(f"{where} earlier than the row before. Sort the table, or set data.sort: true.")


def _are_several_series(stamps: NDArray[np.float64]) -> bool:
    """Tell whether most rows share their time with another one, and not by an oversight in a row or two."""
    counts = np.unique(stamps, return_counts=True)[1]
    shared = counts[counts > 1]
    return len(shared) > 2 and int(shared.sum()) > len(stamps) / 2


def _how_to_part(config: DataConfig, columns: Columns, stamps: NDArray[np.float64]) -> str:
    column = _column_of_series(config, columns, stamps)
    if column is None:
        return "Several series seem to stand in one table. Name the column that tells them apart as data.group."
    names = list(dict.fromkeys(columns.table.column(column)))
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return (
        f"Column {column!r} tells such rows apart ({shown}), so it seems to name several series. Set data.group: "
        f"{column}, or keep the rows of one of them."
    )


def _column_of_series(config: DataConfig, columns: Columns, stamps: NDArray[np.float64]) -> str | None:
    """Find the column that tells apart the rows of one time; text rather than numbers, and few values."""
    most = int(np.unique(stamps, return_counts=True)[1].max())
    found = []
    names = [name for name in columns.table.header if name not in (config.time, *config.targets)]
    for name, cells in columns.table.columns(names, len(columns)):
        values = set(cells)
        is_text = not any(value.replace(".", "", 1).isdecimal() for value in values)
        few = len(values) <= len(cells) / 2 if is_text else len(values) == most
        if few and len(set(zip(stamps.tolist(), cells, strict=True))) == len(cells):
            found.append((not is_text, len(values), name))
    return min(found)[2] if found else None


def gap_notes(name: str, stamps: NDArray[np.float64], group: NDArray[np.int64] | None = None) -> list[str]:
    """Say how often more than the usual time lies between two rows, of one group if ``group (N,)`` tells them apart."""
    steps = np.diff(stamps)
    if group is not None:
        steps = steps[np.diff(group) == 0]
    if len(steps) == 0:
        return []
    usual = float(np.median(steps))
    gaps = int((steps > 1.5 * usual).sum())
    if gaps == 0:
        return []
    return [f"Column {name!r} has {gaps} gap(s) of more than 1.5 usual steps; rows count as neighbours there."]
