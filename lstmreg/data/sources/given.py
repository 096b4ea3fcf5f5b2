"""What is given from Python in place of a file: a frame, columns by name, arrays, a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lstmreg.config import DataConfig
from lstmreg.errors import DataError

from .columns import Table
from .frame import as_cell, from_frame
from .memory import Column, TableInMemory, sum_of


def table_given(source: Any, config: DataConfig) -> Table:
    """Return as a table what is one: a data frame, columns by name, or an array ``(N, columns)``, ``(N,)`` for one.

    Columns of an array are named "0", "1" and so on.

    Raises:
        DataError: If it is none of these, or its columns are not equally long.
    """
    if isinstance(source, Table):
        return source
    if hasattr(source, "columns") and not isinstance(source, Mapping):
        return from_frame(source, config)
    columns = _columns(source, config)
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise DataError(f"{config.path}: the columns must be equally long, got {said}.")
    names = list(columns)
    return TableInMemory(
        config.path, sum_of(names, columns.__getitem__), names, max(lengths.values(), default=0), columns.__getitem__
    )


def _columns(source: Any, config: DataConfig) -> dict[str, Column]:
    if isinstance(source, Mapping):
        return {str(name): _column(values, f"{config.path}, column {name!r}") for name, values in source.items()}
    if isinstance(source, tuple):
        raise DataError(
            f"{config.path}: a series is one table, got a tuple of {len(source)}. Give a frame, columns by name, or an "
            f"array (N, columns) that has the target among its columns."
        )
    try:
        values = np.asarray(source, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"{config.path}: {type(source).__name__} is no table. Give a frame, columns by name, or an array "
            f"(N, columns) of numbers."
        ) from None
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2:
        raise DataError(f"{config.path}: a table must have shape (N, columns), got {values.shape}.")
    return {str(k): column.copy() for k, column in enumerate(values.T)}


def _column(values: Any, where: str) -> Column:
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"{where}: must have shape (N,), got {array.shape}.")
    if array.dtype.kind in "biuf":
        return array.astype(np.float64)
    if array.dtype.kind == "M":
        return [str(cell) for cell in np.datetime_as_string(array, unit="auto")]
    return [as_cell(cell) for cell in values]


def parts_given(source: Any, config: DataConfig) -> tuple[Any, ...] | None:
    """Return ``(x, y)``, perhaps with groups and weights, of sequences and targets apart; ``None`` of a table.

    Raises:
        DataError: If a tuple has another length, or a dataset gives something else.
    """
    if isinstance(source, tuple):
        if len(source) not in (2, 3, 4):
            raise DataError(
                f"{config.path}: arrays must be (x, y), (x, y, groups) or (x, y, groups, weights), got {len(source)} "
                f"of them."
            )
        return source
    if hasattr(source, "__getitem__") and hasattr(source, "__len__") and type(source).__module__.startswith("torch."):
        return _of_dataset(source, config)
    is_dataset = any(base.__name__ == "Dataset" for base in type(source).__mro__)
    return _of_dataset(source, config) if is_dataset else None


def _of_dataset(dataset: Any, config: DataConfig) -> tuple[list[Any], list[Any]]:
    """Return the items of a map-style dataset, ``(x, y)`` each."""
    items = [dataset[k] for k in range(len(dataset))]
    if not items or not all(isinstance(item, (tuple, list)) and len(item) == 2 for item in items):
        raise DataError(f"{config.path}: a dataset must give (x, y) for each sequence, and have at least one.")
    return [x for x, _ in items], [y.item() if hasattr(y, "item") and np.ndim(y) == 0 else y for _, y in items]
