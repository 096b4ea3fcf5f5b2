"""A table whose columns are in memory, or come there by name: that of a frame, a Parquet file or an array."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import DataConfig
from lstmreg.data.cells import converted, not_finite
from lstmreg.errors import DataError

from .columns import Columns, Fault, Table

#: A column: numbers, NaN where one is missing, or text, "" where it is.
Column = NDArray[np.float64] | list[str]


class TableInMemory(Table):
    """Columns that are asked for by name.

    Args:
        path: The file, or what messages call the table.
        sha256: Of what it holds.
        header: Names of the columns.
        rows: How many rows they have, N.
        column: Returns one.
    """

    def __init__(
        self, path: str, sha256: str, header: Sequence[str], rows: int, column: Callable[[str], Column]
    ) -> None:
        super().__init__(path, sha256, header)
        for k, name in enumerate(self.header):
            if not name.strip():
                raise DataError(f"{path}: a column without a name. Name every column.")
            if name in self.header[:k]:
                raise DataError(f"{path}: two columns named {name!r}. Rename one of them.")
        if rows == 0:
            raise DataError(f"{path}: a header, but no row below it.")
        self._rows = rows
        self._column = column

    def read(self, config: DataConfig, numbers: Sequence[str], texts: Sequence[str] = ()) -> Columns:
        """See :meth:`Table.read`."""
        values = np.empty((self._rows, len(numbers)))
        faults: dict[str, Fault] = {}
        for k, name in enumerate(numbers):
            given = self._numbers(name, config)
            if isinstance(given, Fault):
                faults[name] = given
            else:
                values[:, k] = given
        lines = np.arange(self._rows)
        return Columns(self, tuple(numbers), values, self._texts(texts), lines, faults)

    def _numbers(self, name: str, config: DataConfig) -> NDArray[np.float64] | Fault:
        column = self._column(name)
        if isinstance(column, list):
            return converted(column, config.decimal, config.thousands)
        row = not_finite(column)
        return column if row is None else Fault(row, str(column[row]).replace(".", config.decimal))

    def _texts(self, names: Sequence[str]) -> Mapping[str, list[str]]:
        return {name: as_text(self._column(name)) for name in names}


def as_text(column: Column) -> list[str]:
    """Return a column as text without blanks at both ends; a whole number without a point."""
    if isinstance(column, list):
        return [cell.strip() for cell in column]
    present = column[~np.isnan(column)]
    if (present == np.trunc(present)).all() and (np.abs(present) < 2**53).all():
        return ["" if value != value else str(int(value)) for value in column.tolist()]
    return ["" if value != value else repr(value) for value in column.tolist()]


def sum_of(header: Sequence[str], column: Callable[[str], Column]) -> str:
    """Return the SHA-256 of columns and their names."""
    digest = hashlib.sha256()
    for name in header:
        values = column(name)
        digest.update(f"{name}\0{len(values)}\0".encode())
        if isinstance(values, list):
            for cell in values:
                digest.update(f"{len(cell)}\0{cell}".encode("utf-8", "surrogatepass"))
        else:
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
