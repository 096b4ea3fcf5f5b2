"""Makes a series of a CSV file, strictly: every cell is a number, or the error says which is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import DataConfig
from lstmreg.errors import DataError, did_you_mean

from .cells import numbers
from .csv_file import read_table
from .times import check_order, gap_notes, time_stamps

#: The settings of :class:`DataConfig` by which another file like the first one is read.
READING = ("time", "sort", "delimiter", "decimal", "thousands", "missing")


@dataclass(frozen=True)
class Series:
    """A multivariate series, oldest row first, complete and finite.

    Attributes:
        path: The file it came from.
        sha256: Of the file's bytes.
        features: Names of the input columns, D.
        target_name: Name of the column to forecast.
        inputs: ``(N, D)`` float64.
        target: ``(N,)`` float64.
        labels: What stands in the time column, row by row; without one the row's number in the file.
        notes: What the reader did or noticed, one sentence each.
        reading: The settings by which the file was read: those of ``READING``, by name.
    """

    path: str
    sha256: str
    features: tuple[str, ...]
    target_name: str
    inputs: NDArray[np.float64]
    target: NDArray[np.float64]
    labels: tuple[str, ...]
    notes: tuple[str, ...]
    reading: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.target)


def read_series(config: DataConfig) -> Series:
    """Read the table that ``config`` names.

    Raises:
        DataError: If the file cannot be read, a column is unknown or there twice, a row is ragged, a cell
            is missing (unless ``config.missing`` handles it), not a number, or not finite in float32, or
            the rows are out of order.
    """
    table = read_table(config.path, config.delimiter)
    columns = _chosen_columns(config, table.header)

    notes: list[str] = []
    keep = list(range(len(table.rows)))
    if config.time is not None:
        stamps = time_stamps(table, config.time)
        if config.sort:
            keep = sorted(keep, key=stamps.__getitem__)
        check_order(config, table, stamps, keep)
        notes += gap_notes(config.time, [stamps[k] for k in keep])

    names = [name for name in columns if name != config.time]
    values = np.stack([numbers(config, table, name)[keep] for name in names], axis=1)
    kept_lines = [table.lines[k] for k in keep]
    if np.isnan(values).any():
        present, note = _handle_missing(config, names, values, kept_lines)
        notes.append(note)
        values, keep = values[present], [k for k, p in zip(keep, present, strict=True) if p]
    if not keep:
        raise DataError(f"{config.path}: no row is left. Give a table with complete rows.")
    notes += [f"Column {n!r} is constant; it tells a model nothing." for n in _constant(names, values)]
    features = config.features if config.features is not None else names
    labels = table.column(config.time) if config.time else [str(line - 1) for line in table.lines]
    return Series(
        path=config.path,
        sha256=table.sha256,
        features=tuple(features),
        target_name=config.target,
        inputs=values[:, [names.index(n) for n in features]],
        target=values[:, names.index(config.target)],
        labels=tuple(labels[k] for k in keep),
        notes=tuple(notes),
        reading={name: getattr(config, name) for name in READING},
    )


def _chosen_columns(config: DataConfig, header: Sequence[str]) -> list[str]:
    wanted = [config.target, *(config.features or []), *([config.time] if config.time else [])]
    for name in wanted:
        if name not in header:
            columns = " ".join(", ".join(header).split())
            raise DataError(
                f"unknown column {name!r} in {config.path}; columns: {columns}.{did_you_mean(name, header)}"
            )
    if config.time in (config.target, *(config.features or [])):
        raise DataError(f"column {config.time!r} is data.time, so it can be neither target nor feature.")
    chosen = list(header) if config.features is None else wanted
    return list(dict.fromkeys(chosen))


def _handle_missing(
    config: DataConfig, names: Sequence[str], values: NDArray[np.float64], lines: Sequence[int]
) -> tuple[NDArray[np.bool_], str]:
    """Fill ``values`` in place, or say which rows stay; refuse if that is what the configuration says."""
    missing = np.isnan(values)
    row, column = (int(k) for k in np.argwhere(missing)[0])
    where = f"{config.path}, line {lines[row]}, column {names[column]!r}"
    empty = [n for k, n in enumerate(names) if missing[:, k].all()]
    if empty:
        raise DataError(f"{config.path}: column {empty[0]!r} has no value at all. Leave it out of data.features.")
    count = int(missing.sum())
    if config.missing == "error":
        raise DataError(
            f"{where}: a missing value ({count} in all). Fill it, or set data.missing to 'ffill' or 'drop'."
        )
    if config.missing == "drop":
        present = np.array([not row.any() for row in missing])
        return (
            present,
            f"Dropped {int((~present).sum())} rows with missing cells; their neighbours now touch.",
        )
    if missing[0].any():
        raise DataError(f"{config.path}: {_nothing_to_fill_from(names, missing, lines)}")
    for k in range(1, len(values)):
        values[k] = np.where(missing[k], values[k - 1], values[k])
    return np.ones(len(values), dtype=bool), f"Filled {count} missing cells with the value of the row before."


def _nothing_to_fill_from(names: Sequence[str], missing: NDArray[np.bool_], lines: Sequence[int]) -> str:
    """Say how many rows come before each column has had a value."""
    first = missing.argmin(axis=0)  # the row of each column's first value
    column, rows = names[int(first.argmax())], int(first.max())
    those = f"the first row (line {lines[0]})" if rows == 1 else f"the first {rows} rows (from line {lines[0]} on)"
    return (
        f"column {column!r} has no value in {those}, and 'ffill' has nothing to fill from. "
        f"Leave out {'that row' if rows == 1 else f'those {rows} rows'} of the table, leave {column!r} out of "
        f"data.features, or set data.missing: drop."
    )


def _constant(names: Sequence[str], values: NDArray[np.float64]) -> list[str]:
    return [n for n, spread in zip(names, np.ptp(values, axis=0), strict=True) if spread == 0]
