"""Reads time stamps, and sees whether rows follow each other in time."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from itertools import pairwise

import numpy as np

from lstmreg.config import DataConfig
from lstmreg.errors import DataError

from .csv_file import Table

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


def time_stamp(cell: str) -> tuple[float, str]:
    """Return a number that orders a time stamp among those of its kind, and the kind.

    Raises:
        ValueError: If it is neither a number nor ISO 8601.
    """
    if "_" not in cell:
        try:
            return float(cell), "numbers"
        except ValueError:
            pass
    for pattern, kind, number in _PERIODS:
        if found := pattern.fullmatch(cell):
            return float(number(int(found[1]), int(found[2]))), kind
    moment = datetime.fromisoformat(cell)
    kind = "dates with a time zone" if moment.tzinfo else "dates without a time zone"
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), kind


def time_stamps(table: Table, name: str) -> list[float]:
    """Turn a column of rising numbers or ISO 8601 time stamps into numbers that order the rows.

    Raises:
        DataError: If a cell is none, or of another kind than those before it.
    """
    kinds: set[str] = set()
    stamps: list[float] = []
    for cell, line in zip(table.column(name), table.lines, strict=True):
        where = f"{table.path}, line {line}, column {name!r}: {cell!r}"
        try:
            stamp, kind = time_stamp(cell)
        except ValueError:
            raise DataError(
                f"{where} is no time stamp. Write it as ISO 8601 (2024-03-31, 2024-03-31T14:00:00+02:00, 2024-03, "
                f"2024-W13) or as a quarter (2024-Q1)."
            ) from None
        if not math.isfinite(stamp):
            raise DataError(f"{where} is no time stamp. Give every row one.")
        stamps.append(stamp)
        kinds.add(kind)
        if len(kinds) > 1:
            raise DataError(f"{where} mixes kinds ({' and '.join(sorted(kinds))}). Write all rows alike.")
    return stamps


def are_time_stamps(cells: Sequence[str]) -> bool:
    """Tell whether all cells could be those of a time column, and not mere numbers."""
    try:
        kinds = {time_stamp(cell)[1] for cell in cells}
    except ValueError:
        return False
    return len(kinds) == 1 and kinds != {"numbers"}


def check_order(config: DataConfig, table: Table, stamps: Sequence[float], order: Sequence[int]) -> None:
    """See that time rises from row to row.

    Args:
        config: Names the time column.
        table: The file.
        stamps: Of each row of the table.
        order: Rows of the table as they are to follow each other.

    Raises:
        DataError: If it does not; it says so if several series seem to stand in one table.
    """
    for before, now in pairwise(order):
        if stamps[now] > stamps[before]:
            continue
        where = f"{config.path}, line {table.lines[now]}, column {config.time!r}"
        if _are_several_series(stamps):
            raise DataError(f"{where}: the same times come again. {_how_to_part(config, table, stamps)}")
        if stamps[now] == stamps[before]:
            raise DataError(f"{where}: the same time twice. Keep one of the rows.")
        raise DataError(f"{where}: earlier than the row before. Sort the table, or set data.sort: true.")


def _are_several_series(stamps: Sequence[float]) -> bool:
    """Tell whether most rows share their time with another one, and not by an oversight in a row or two."""
    shared = [count for count in Counter(stamps).values() if count > 1]
    return len(shared) > 2 and sum(shared) > len(stamps) / 2


def _how_to_part(config: DataConfig, table: Table, stamps: Sequence[float]) -> str:
    rule = "The rows of one series must be one file: write those of each series into a file of its own."
    column = _column_of_series(config, table, stamps)
    if column is None:
        return f"Several series seem to stand in one table. {rule}"
    names = list(dict.fromkeys(table.column(column)))
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"Column {column!r} tells such rows apart ({shown}), so it seems to name several series. {rule}"


def _column_of_series(config: DataConfig, table: Table, stamps: Sequence[float]) -> str | None:
    """Find the column that tells apart the rows of one time; text rather than numbers, and few values."""
    most = max(Counter(stamps).values())
    found = []
    for name in table.header:
        if name in (config.time, config.target):
            continue
        cells = table.column(name)
        values = set(cells)
        is_text = not any(value.replace(".", "", 1).isdecimal() for value in values)
        few = len(values) <= len(cells) / 2 if is_text else len(values) == most
        if few and len(set(zip(stamps, cells, strict=True))) == len(cells):
            found.append((not is_text, len(values), name))
    return min(found)[2] if found else None


def gap_notes(name: str, stamps: Sequence[float]) -> list[str]:
    """Say how often more than the usual time lies between two rows."""
    steps = np.diff(np.asarray(stamps))
    if len(steps) == 0:
        return []
    usual = float(np.median(steps))
    gaps = int((steps > 1.5 * usual).sum())
    if gaps == 0:
        return []
    return [f"Column {name!r} has {gaps} gap(s) of more than 1.5 usual steps; rows count as neighbours there."]
