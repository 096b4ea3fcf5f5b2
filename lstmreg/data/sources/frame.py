"""A data frame of pandas, polars, pyarrow and others as a table, by way of narwhals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lstmreg.config import DataConfig
from lstmreg.errors import DataError

from .memory import Column, TableInMemory, sum_of


def from_frame(frame: Any, config: DataConfig) -> TableInMemory:
    """Return a data frame as the table that a file with the same cells would be.

    Args:
        frame: Of pandas, polars, pyarrow, or another library that narwhals knows. It is not changed. The index of one
            of pandas counts as a column if it has a name that the settings use.
        config: Whose ``path`` the messages call the frame by.

    Raises:
        DataError: If it is no such frame, or has no row, or two columns of one name.
    """
    columns = _columns(frame, config)
    rows = len(next(iter(columns.values()))) if columns else 0

    def column(name: str) -> Column:
        return cells_of(columns[name], f"{config.path}, column {name!r}")

    return TableInMemory(config.path, sum_of(list(columns), column), list(columns), rows, column)


def _columns(frame: Any, config: DataConfig) -> Mapping[str, Any]:
    import narwhals as nw

    try:
        narrow: Any = nw.from_native(frame, eager_only=True)
        columns = {str(name): narrow.get_column(name) for name in narrow.columns}
    except (TypeError, ValueError, nw.exceptions.NarwhalsError) as error:
        raise DataError(
            f"{config.path}: {type(frame).__name__} is no data frame that can be read ({str(error).splitlines()[0]}). "
            f"Give one of pandas, polars or pyarrow, collected if it is lazy."
        ) from None
    if len(columns) < len(narrow.columns):
        raise DataError(f"{config.path}: two columns have one name as text. Rename one of them.")
    index: Any = nw.maybe_get_index(narrow)
    name = getattr(index, "name", None)
    if name in (config.time, config.sequence, config.group) and name is not None and name not in columns:
        named: Any = nw.from_native(index.to_series(), series_only=True)
        columns[name] = named
    return columns


def cells_of(series: Any, where: str) -> Column:
    """Return a series of narwhals as numbers or as text.

    Raises:
        DataError: If its cells are neither.
    """
    import narwhals as nw

    kind = series.dtype
    if kind.is_numeric() or kind == nw.Boolean:
        numbers = series.cast(nw.Float64).to_numpy()
        return np.array(numbers, dtype=np.float64)
    if kind.is_nested() or kind == nw.Binary:
        raise DataError(f"{where}: holds {kind}, and a cell is a number or text. Give each value a column of its own.")
    if kind == nw.Unknown and not all(cell is None for cell in series.to_list()):
        raise DataError(f"{where}: holds cells of a type that is not known. Make them numbers or text.")
    return [as_cell(cell) for cell in series.to_list()]


def as_cell(cell: Any) -> str:
    """Return one cell as it would stand in a CSV file."""
    if cell is None or cell != cell:
        return ""
    return str(cell.isoformat() if hasattr(cell, "isoformat") else cell)
