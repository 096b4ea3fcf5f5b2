"""Finds by which signs a text file is written: delimiter, decimal sign, thousands, and whether it has a header."""

from __future__ import annotations

import csv
import math
import zlib
from collections.abc import Iterable, Sequence

from lstmreg.data.cells import MISSING, converted
from lstmreg.data.sources.columns import Fault
from lstmreg.data.times import time_stamp

#: So much of a file is looked at.
_BYTES = 1 << 18
_LINES = 200

_DELIMITERS = (",", ";", "\t", "|")

#: Decimal sign and thousands, the simplest first.
_SIGNS: tuple[tuple[str, str | None], ...] = (
    (".", None),
    (",", None),
    (".", ","),
    (",", "."),
    (".", " "),
    (".", "'"),
    (",", " "),
    (",", "'"),
)


def first_lines(raw: bytes) -> list[str]:
    """Return the first lines of a text file, which may be gzipped, by its bytes; of none that is text, nothing."""
    if raw.startswith(b"\x1f\x8b"):
        try:
            raw = zlib.decompressobj(wbits=31).decompress(raw, _BYTES)
        except zlib.error:
            return []
    text = raw[:_BYTES].decode("utf-8-sig", errors="replace")
    lines = text.splitlines(keepends=True)
    whole = lines if len(raw) <= _BYTES else lines[:-1]
    return [line for line in whole if line.strip()][:_LINES]


def delimiter_of(lines: Sequence[str]) -> str:
    """Return the character by which all lines have as many cells, and most of these are numbers; a comma if none."""
    found: list[tuple[float, int, str]] = []
    for delimiter in _DELIMITERS:
        rows = cut(lines, delimiter)
        widths = {len(row) for row in rows}
        if len(widths) == 1 and max(widths) > 1:
            cells = [cell for row in rows[1:] for cell in row]
            read = sum(_is_number(cell) or _is_time(cell) for cell in cells) / max(len(cells), 1)
            found.append((read, max(widths), delimiter))
    best = max(found, default=None, key=lambda one: one[:2])  # the first of those that are equal
    return best[2] if best is not None else ","


def cut(lines: Iterable[str], delimiter: str) -> list[list[str]]:
    """Return the cells of lines, without blanks at both ends; of text that is no table, what can be had."""
    try:
        return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter) if row]
    except csv.Error:
        return []


def lacks_header(rows: Sequence[Sequence[str]]) -> bool:
    """Tell whether the first row holds values and no names: at least half of its cells are numbers or times."""
    if not rows or len(rows) < 2:
        return False
    first = rows[0]
    if list(first) == [str(k) for k in range(len(first))]:  # as pandas numbers columns
        return False
    values = sum(_is_number(cell) or _is_time(cell) for cell in first if cell)
    return values > 0 and values >= len(first) / 2


def signs_of(columns: Sequence[Sequence[str]]) -> list[tuple[str, str | None]]:
    """Return the decimal sign and thousands by which most columns are numbers: one pair, or several if all are as good.

    Args:
        columns: Cells of each column.
    """
    texts = [cells for cells in columns if isinstance(converted(cells), Fault) and any(map(_has_digit, cells))]
    counts = {signs: sum(not isinstance(converted(cells, *signs), Fault) for cells in texts) for signs in _SIGNS}
    plain = len([cells for cells in columns if not isinstance(converted(cells), Fault) and _has_point(cells)])
    # A sign that helps one column must not spoil another.
    for signs in counts:
        if signs[0] == "," and plain:
            spoilt = [cells for cells in columns if not isinstance(converted(cells), Fault)]
            counts[signs] -= sum(isinstance(converted(cells, *signs), Fault) for cells in spoilt)
    most = max(counts.values())
    if most <= 0:
        return [(".", None)]
    best = [signs for signs in _SIGNS if counts[signs] == most]
    if best[0] == (".", None):
        return best[:1]
    # (",", None) beside (".", ","): 1,188 is either. Whatever else is as good as the first one says no more.
    return [signs for signs in best if signs in ((",", None), (".", ","))] or best[:1]


def _has_digit(cell: str) -> bool:
    return any(character.isdigit() for character in cell)


def _has_point(cells: Sequence[str]) -> bool:
    return any("." in cell for cell in cells)


def _is_number(cell: str) -> bool:
    if cell in MISSING:
        return True
    try:
        return math.isfinite(float(cell.replace(",", ".", 1) if cell.count(",") == 1 else cell)) and "_" not in cell
    except ValueError:
        return False


def _is_time(cell: str) -> bool:
    try:
        time_stamp(cell)
    except ValueError:
        return False
    return True
