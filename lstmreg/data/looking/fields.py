"""Columns as they are compared: numbers, and codes that stand for what is written in each cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import DataConfig
from lstmreg.data.cells import MISSING
from lstmreg.data.sources.columns import Fault, Table
from lstmreg.data.sources.memory import as_text


@dataclass(frozen=True, eq=False)
class Field:
    """A column.

    Attributes:
        name: Of the column.
        values: ``(N,)`` if it is one of numbers, NaN where one is missing.
        codes: ``(N,)``: the place of each cell among the values that occur; -1 where it is missing.
        words: The values that occur, as text: in the order in which they come, or numbers as they rise.
        fault: Of a column of text the first cell that is no number, and the line on which it stands.
    """

    name: str
    values: NDArray[np.float64] | None
    codes: NDArray[np.int64]
    words: list[str]
    fault: Fault | None = None

    @property
    def missing(self) -> int:
        """How many cells have no value."""
        return int((self.codes < 0).sum())

    @property
    def is_whole(self) -> bool:
        """Whether it holds whole numbers."""
        if self.values is None:
            return False
        present = self.values[~np.isnan(self.values)]
        return bool(len(present) and (present == np.trunc(present)).all())

    def cells(self) -> list[str]:
        """Return all cells as text, a missing one empty."""
        return [self.words[code] if code >= 0 else "" for code in self.codes.tolist()]


def fields_of(table: Table, config: DataConfig) -> list[Field]:
    """Return the columns of a table, in their order.

    Raises:
        DataError: If the table is damaged.
    """
    columns = table.read(config, table.header)
    numbers = {
        name: field_of_numbers(name, columns.values[:, k].copy())
        for k, name in enumerate(columns.names)
        if name not in columns.faults
    }
    texts = table.columns([name for name in table.header if name not in numbers], len(columns))
    faults = {name: Fault(int(columns.lines[fault.row]), fault.cell) for name, fault in columns.faults.items()}
    found = numbers | {name: field_of_cells(name, cells, faults[name]) for name, cells in texts}
    return [found[name] for name in table.header]


def field_of_numbers(name: str, values: NDArray[np.float64]) -> Field:
    """Return a column of numbers."""
    present = ~np.isnan(values)
    which, inverse = np.unique(values[present], return_inverse=True)
    codes = np.full(len(values), -1, dtype=np.int64)
    codes[present] = inverse
    return Field(name, values, codes, as_text(which) if len(which) else [])


def field_of_cells(name: str, cells: Sequence[str], fault: Fault | None = None) -> Field:
    """Return a column of text."""
    numbers: dict[str, int] = {}
    codes = np.fromiter((numbers.setdefault(cell, len(numbers)) for cell in cells), np.int64, len(cells))
    words = list(numbers)
    is_missing = np.array([word in MISSING for word in words], dtype=bool)
    places = np.where(is_missing, -1, np.cumsum(~is_missing) - 1)
    kept = [word for word in words if word not in MISSING]
    return Field(name, None, places[codes] if len(words) else codes, kept, fault)


def range_of(field: Field) -> tuple[str, ...]:
    """Return the least and the greatest number of a column, to six digits."""
    if field.values is None or not field.words:
        return ()
    low, high = float(np.nanmin(field.values)), float(np.nanmax(field.values))
    return tuple(dict.fromkeys(f"{value:.15g}" if field.is_whole else f"{value:.6g}" for value in (low, high)))
