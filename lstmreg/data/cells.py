"""Turns cells into numbers; where one is none, says what it looks like and what to do about it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import compress

import numpy as np
import yaml
from numpy.typing import NDArray

from lstmreg.config import THOUSANDS, DataConfig
from lstmreg.errors import DataError

from .sources.columns import Columns, Fault
from .times import are_time_stamps

#: Cells that count as missing, after blanks at both ends are removed. Anything else must be a number.
MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?"})

#: Signs that may be the decimal one.
_DECIMALS = (".", ",")

_LARGEST = float(np.finfo(np.float32).max)

#: A longer list of columns would be cut off in the message.
_LONGEST_LIST = 1_500


def checked(config: DataConfig, columns: Columns, names: Sequence[str]) -> None:
    """See that columns that were read as numbers are such.

    Raises:
        DataError: If a cell is no number, or not finite in float32.
    """
    for name in names:
        if name not in columns.faults:
            continue
        fault = columns.faults[name]
        where = f"{columns.where(fault.row, name)}: {fault.cell!r}"
        if math.isnan(_number(fault.cell, config.decimal, config.thousands)):
            raise DataError(f"{where} is not a number. {_remedy(config, columns, name, fault.cell)}")
        raise DataError(f"{where} is not finite in float32. Correct it, or leave the cell empty.")


def converted(cells: Sequence[str], decimal: str = ".", thousands: str | None = None) -> NDArray[np.float64] | Fault:
    """Turn cells into float64, a missing one into NaN; or return the first that is no number finite in float32.

    Many cells at once where all are as most are; one by one, carefully, where not.
    """
    together = "".join(cells)
    signs = ["_", *([thousands] if thousands is not None else []), *(["."] if decimal == "," else [])]
    if any(sign in together for sign in signs):
        return _one_by_one(cells, decimal, thousands)
    if decimal == "," and "," in together:
        cells = [cell.replace(",", ".") for cell in cells]
    values = _all_numbers(cells)
    return _one_by_one(cells, ".", None) if values is None else values


def _all_numbers(cells: Sequence[str]) -> NDArray[np.float64] | None:
    """Return the numbers of cells, each one or missing, or nothing if one is neither."""
    try:
        values = np.fromiter(map(float, cells), np.float64, len(cells))
        if _are_finite(values):
            return values
    except ValueError:
        pass
    cells = list(map(str.strip, cells))
    present = [cell not in MISSING for cell in cells]
    try:
        numbers = np.fromiter(map(float, compress(cells, present)), np.float64, sum(present))
    except ValueError:
        return None
    if not _are_finite(numbers):
        return None
    values = np.full(len(cells), math.nan)
    values[present] = numbers
    return values


def not_finite(values: NDArray[np.float64]) -> int | None:
    """Return the first place in ``(N,)`` that is neither NaN nor finite in float32, if there is one."""
    bad = np.flatnonzero(np.abs(values) > _LARGEST)
    return int(bad[0]) if len(bad) else None


def _are_finite(values: NDArray[np.float64]) -> bool:
    return bool((np.abs(values) <= _LARGEST).all())


def _one_by_one(cells: Sequence[str], decimal: str, thousands: str | None) -> NDArray[np.float64] | Fault:
    values = np.empty(len(cells))
    for row, cell in enumerate(map(str.strip, cells)):
        if cell in MISSING:
            values[row] = math.nan
            continue
        values[row] = _number(cell, decimal, thousands)
        if not abs(values[row]) <= _LARGEST:
            return Fault(row, cell)
    return values


def _number(cell: str, decimal: str, thousands: str | None) -> float:
    """Return a cell's number, or NaN."""
    if thousands is not None and thousands in cell:
        if not _is_grouped(cell, decimal, thousands):
            return math.nan
        cell = cell.replace(thousands, "")
    if "_" in cell or (decimal == "," and "." in cell):
        return math.nan
    try:
        return float(cell.replace(decimal, "."))
    except ValueError:
        return math.nan


def _is_grouped(cell: str, decimal: str, thousands: str) -> bool:
    """Tell whether a cell is a number with groups of three digits, such as 1,188.5."""
    group, point = re.escape(thousands), re.escape(decimal)
    return re.fullmatch(rf"[+-]?[1-9]\d{{0,2}}({group}\d{{3}})+({point}\d*)?", cell, re.ASCII) is not None


# ---------------------------------------------------------------------- what to do about it


def _remedy(config: DataConfig, columns: Columns, name: str, cell: str) -> str:
    """Say what to do about a cell that is no number, by what the rest of its column and of the table looks like."""
    cells = [other for other in columns.table.column(name) if other not in MISSING]
    setting = _setting_for_signs(config, cells, cell)
    if setting is not None:
        return setting
    if sum(_is_number(config, other) for other in cells) >= len(cells) / 2:
        return "Correct it, or leave the cell empty and set data.missing."
    if name in config.targets:
        others = ", ".join(_columns_of_numbers(config, columns)) or "none"
        return f"data.target must be a column of numbers; here: {others[:_LONGEST_LIST]}."
    if config.time is None and are_time_stamps(cells):
        return f"Its cells are time stamps: set data.time: {_yaml(name)}."
    inputs = _yaml(_columns_of_numbers(config, columns))
    shown = f"data: features: {inputs}" if len(inputs) <= _LONGEST_LIST else "data.features."
    time = None if config.time is not None else _column_of_times(columns)
    order = "Name them" if time is None else f"Set data.time: {_yaml(time)}, which orders the rows, and name the inputs"
    tokens = f"or tokens (data.tokens: {_yaml([name])})"
    return f"The column is text, and inputs are numbers, {tokens}. {order} under {shown}"


def _column_of_times(columns: Columns) -> str | None:
    names = columns.table.header
    return next((n for n, cells in columns.table.columns(names, len(columns)) if are_time_stamps(cells)), None)


def _setting_for_signs(config: DataConfig, cells: Sequence[str], cell: str) -> str | None:
    """Say which sign is the decimal one, or stands between thousands, if a column shows that."""
    for sign in THOUSANDS:
        those = [other for other in cells if sign in other]
        if sign == config.decimal or sign not in cell or not all(_is_grouped(c, config.decimal, sign) for c in those):
            continue
        thousand, small = cell.replace(sign, ""), cell.replace(sign, config.decimal)
        if sign in _DECIMALS and all(c.count(sign) == 1 and config.decimal not in c for c in cells):
            return (
                f"Set data.thousands: {sign!r} if it means {thousand}, or data.decimal: {sign!r} if it means {small}."
            )
        return f"Set data.thousands: {sign!r}."
    other = next(sign for sign in _DECIMALS if sign != config.decimal)
    is_read = [not math.isnan(_number(c, other, None)) for c in (cell, *cells)]
    if other in cell and is_read[0] and sum(is_read) > len(cells) / 2:
        return f"Set data.decimal: {other!r}."
    return None


def _is_number(config: DataConfig, cell: str) -> bool:
    return not math.isnan(_number(cell, config.decimal, config.thousands))


def _columns_of_numbers(config: DataConfig, columns: Columns) -> list[str]:
    """List the columns in which each cell is a number or missing, and one is a number."""
    found = []
    for name, all_cells in columns.table.columns(columns.table.header, len(columns)):
        cells = [cell for cell in all_cells if cell not in MISSING]
        if name != config.time and cells and all(_is_number(config, cell) for cell in cells):
            found.append(name)
    return found


def _yaml(value: object) -> str:
    """Write a value as it stands in a line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=math.inf)
    return text.removesuffix("...\n").strip()
