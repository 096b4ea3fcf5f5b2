"""Makes a series of a table, strictly: every cell is a number, or the error says which is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import DataConfig
from lstmreg.errors import DataError

from .cells import checked
from .choosing import constant_notes, fill_forward, known_columns, with_tokens
from .sources.columns import Table
from .sources.door import open_table
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
        tokens: Of a discrete input column its tokens; ``inputs`` hold the number of each, from 0.
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
    tokens: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.target)


def read_series(config: DataConfig, table: Table | None = None) -> Series:
    """Read the table that ``config`` names, or the one that is given.

    Raises:
        DataError: If the file cannot be read, a column is unknown or there twice, a row is ragged, a cell
            is missing (unless ``config.missing`` handles it), not a number, or not finite in float32, or
            the rows are out of order.
    """
    table = open_table(config) if table is None else table
    chosen = _chosen_columns(config, table.header)
    tokens = [name for name in config.tokens or [] if name in chosen]
    names = [name for name in chosen if name != config.time]
    times = [config.time] if config.time is not None else []
    columns = table.read(config, [name for name in names if name not in tokens], [*times, *tokens])

    notes: list[str] = []
    keep: NDArray[np.int64] | None = None  # as they stand
    if config.time is not None:
        stamps = time_stamps(columns, config.time)
        if config.sort:
            keep = np.argsort(stamps, kind="stable")
        check_order(config, columns, stamps, keep)
        notes += gap_notes(config.time, stamps if keep is None else stamps[keep])

    checked(config, columns, columns.names)
    values, vocabularies = with_tokens(columns, names, tokens)
    values = values if keep is None else values[keep]
    if np.isnan(values).any():
        lines = columns.lines if keep is None else columns.lines[keep]
        present, note = _handle_missing(config, columns.table, names, values, lines)
        notes.append(note)
        if not present.all():
            values, keep = values[present], np.flatnonzero(present) if keep is None else keep[present]
    if not len(values):
        raise DataError(f"{table.path}: no row is left. Give a table with complete rows.")
    notes += constant_notes(names, values)
    features = config.features if config.features is not None else names
    labels = (
        columns.texts[config.time]
        if config.time is not None
        else list(map(str, (columns.lines - table.first).tolist()))
    )
    return Series(
        path=table.path,
        sha256=table.sha256,
        features=tuple(features),
        target_name=config.target,
        inputs=values if list(features) == names else values[:, [names.index(n) for n in features]],
        target=values[:, names.index(config.target)].copy(),
        labels=tuple(labels if keep is None else (labels[k] for k in keep)),
        notes=tuple(notes),
        reading={name: getattr(config, name) for name in READING},
        tokens=vocabularies,
    )


def _chosen_columns(config: DataConfig, header: Sequence[str]) -> list[str]:
    known_columns(
        config, header, [config.target, *(config.features or []), *([config.time] if config.time is not None else [])]
    )
    if config.time in (config.target, *(config.features or [])):
        raise DataError(f"column {config.time!r} is data.time, so it can be neither target nor feature.")
    if config.target in (config.tokens or []):
        raise DataError(f"column {config.target!r} is data.target, which is a number; it cannot be in data.tokens.")
    wanted = [config.target, *(config.features or []), *([config.time] if config.time is not None else [])]
    chosen = list(header) if config.features is None else wanted
    return list(dict.fromkeys(chosen))


def _handle_missing(
    config: DataConfig,
    table: Table,
    names: Sequence[str],
    values: NDArray[np.float64],
    lines: NDArray[np.int64],
) -> tuple[NDArray[np.bool_], str]:
    """Fill ``values`` in place, or say which rows stay; refuse if that is what the configuration says."""
    missing = np.isnan(values)
    row = int(missing.any(axis=1).argmax())
    column = int(missing[row].argmax())
    where = f"{table.path}, {table.unit} {lines[row]}, column {names[column]!r}"
    empty = [n for k, n in enumerate(names) if missing[:, k].all()]
    if empty:
        raise DataError(f"{table.path}: column {empty[0]!r} has no value at all. Leave it out of data.features.")
    count = int(missing.sum())
    if config.missing == "error":
        raise DataError(
            f"{where}: a missing value ({count} in all). Fill it, or set data.missing to 'ffill' or 'drop'."
        )
    if config.missing == "drop":
        present: NDArray[np.bool_] = np.logical_not(missing.any(axis=1))
        return (
            present,
            f"Dropped {int((~present).sum())} rows with missing cells; their neighbours now touch.",
        )
    if missing[0].any():
        raise DataError(f"{table.path}: {_nothing_to_fill_from(names, missing, lines, table.unit)}")
    fill_forward(values, missing)
    return np.ones(len(values), dtype=bool), f"Filled {count} missing cells with the value of the row before."


def _nothing_to_fill_from(names: Sequence[str], missing: NDArray[np.bool_], lines: NDArray[np.int64], unit: str) -> str:
    """Say how many rows come before each column has had a value."""
    first = missing.argmin(axis=0)  # the row of each column's first value
    column, rows = names[int(first.argmax())], int(first.max())
    those = f"the first row ({unit} {lines[0]})" if rows == 1 else f"the first {rows} rows (from {unit} {lines[0]} on)"
    return (
        f"column {column!r} has no value in {those}, and 'ffill' has nothing to fill from. "
        f"Leave out {'that row' if rows == 1 else f'those {rows} rows'} of the table, leave {column!r} out of "
        f"data.features, or set data.missing: drop."
    )
