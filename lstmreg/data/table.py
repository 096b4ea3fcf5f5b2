"""Makes a series of a table, strictly: every cell is a number, or the error says which is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import DataConfig
from lstmreg.errors import DataError

from .calendar import calendar_columns, calendar_names
from .cells import checked
from .choosing import checked_weights, constant_notes, fill_forward, known_columns, with_tokens
from .groups import Groups, chosen, groups_of, order_of
from .sources.columns import Table
from .sources.door import open_table
from .times import gap_notes, in_iso

#: The settings of :class:`DataConfig` by which another file like the first one is read.
READING = ("time", "sort", "delimiter", "decimal", "thousands", "missing")


@dataclass(frozen=True)
class Series:
    """One multivariate series or several, oldest row first; all that a network may see is complete and finite.

    Attributes:
        path: The file it came from.
        sha256: Of the file's bytes.
        features: Names of the input columns, D.
        target_names: Names of the columns to forecast, P.
        inputs: ``(N, D)`` float64.
        targets: ``(N, P)`` float64.
        labels: What stands in the time column, row by row, a date as ISO 8601 writes it; without one the row's number
            in the file.
        notes: What the reader did or noticed, one sentence each.
        reading: The settings by which the file was read: those of ``READING``, by name.
        tokens: Of a discrete input column its tokens; ``inputs``, and ``ahead``, hold the number of each, from 0.
        parts: Which rows are of which group. Default: all of one.
        ahead_names: Names of the columns that are known in advance, A.
        weights: How much each row counts, ``(N,)``, positive where it is known. Default: all alike.
        ahead: Their values in the rows themselves, ``(N, A)`` float64. Default: there are none.

    The rows after a group's last known one hold nothing but what is known in advance.
    """

    path: str
    sha256: str
    features: tuple[str, ...]
    target_names: tuple[str, ...]
    inputs: NDArray[np.float64]
    targets: NDArray[np.float64]
    labels: tuple[str, ...]
    notes: tuple[str, ...]
    reading: Mapping[str, Any] = field(default_factory=dict)
    tokens: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parts: Groups | None = None
    ahead_names: tuple[str, ...] = ()
    ahead: NDArray[np.float64] | None = None
    weights: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def target(self) -> NDArray[np.float64]:
        """The first target, ``(N,)``."""
        return self.targets[:, 0]

    @cached_property
    def groups(self) -> Groups:
        """Which rows are of which group."""
        return Groups.one(len(self)) if self.parts is None else self.parts

    def label_of(self, moment: int) -> str:
        """Return what stands in the time column at a moment."""
        return self.labels[int((self.groups.moments == moment).argmax())]


def read_series(config: DataConfig, table: Table | None = None) -> Series:
    """Read the table that ``config`` names, or the one that is given.

    Where columns are known in advance, the last rows of a series may have no target: they are its future.

    Raises:
        DataError: If the file cannot be read, a column is unknown or there twice, a row is ragged, a cell
            is missing (unless ``config.missing`` handles it), not a number, or not finite in float32, or
            the rows are out of order.
    """
    table = open_table(config) if table is None else table
    names = _chosen_columns(config, table.header)
    inputs = [name for name in names if name != config.weight]
    tokens = [name for name in config.tokens or [] if name in names]
    texts = [name for name in (config.time, config.group, *tokens) if name is not None]
    columns = table.read(config, [name for name in names if name not in tokens], list(dict.fromkeys(texts)))

    order = order_of(config, columns)
    notes: list[str] = []
    if config.time is not None and order.stamps is not None:
        notes += gap_notes(config.time, order.stamps, order.group)
    checked(config, columns, columns.names)
    values, vocabularies = with_tokens(columns, names, tokens)
    values = values if order.rows is None else values[order.rows]
    places = [names.index(name) for name in config.targets]
    groups = groups_of(order, _known(config, values[:, places]))
    _check_known(config, table, groups)
    if np.isnan(values).any():
        lines = columns.lines if order.rows is None else columns.lines[order.rows]
        present, found = _handle_missing(config, columns.table, names, values, lines, groups)
        notes += found
        if not present.all():
            values, order = values[present], chosen(order, present)
            groups = groups_of(order, _known(config, values[:, places])) if len(values) else groups
    if not len(values):
        raise DataError(f"{table.path}: no row is left. Give a table with complete rows.")
    notes += constant_notes(names, values[_rows_known(groups)])
    if config.weight is not None:
        known = values[_rows_known(groups), names.index(config.weight)]
        notes += checked_weights(known, repr(config.weight), lambda row: table.path)[1]
    features = config.features if config.features is not None else inputs
    labels = (
        in_iso(columns.texts[config.time])
        if config.time is not None
        else list(map(str, (columns.lines - table.first).tolist()))
    )
    labels = labels if order.rows is None else [labels[k] for k in order.rows]
    known_future = config.known_future or []
    calendar = config.calendar or []
    ahead = [values[:, names.index(name)][:, None] for name in known_future]
    return Series(
        path=table.path,
        sha256=table.sha256,
        features=tuple(features),
        target_names=config.targets,
        inputs=values if list(features) == names else values[:, [names.index(n) for n in features]],
        targets=values[:, places].copy(),
        labels=tuple(labels),
        notes=tuple(notes),
        reading={name: getattr(config, name) for name in READING},
        tokens={name: vocabularies[name] for name in tokens if name in (*features, *known_future)},
        parts=groups if config.group is not None or config.future else None,
        ahead_names=(*known_future, *calendar_names(calendar)),
        weights=None if config.weight is None else values[:, names.index(config.weight)].copy(),
        ahead=np.hstack([*ahead, calendar_columns(table.path, labels, calendar)]) if config.future else None,
    )


def _chosen_columns(config: DataConfig, header: Sequence[str]) -> list[str]:
    """Return the columns that are read as inputs or targets."""
    inputs = [*(config.features or []), *(config.known_future or [])]
    keys = [name for name in (config.time, config.group) if name is not None]
    weight = [] if config.weight is None else [config.weight]
    known_columns(config, header, [*config.targets, *inputs, *keys, *weight])
    if config.weight in (*config.targets, *inputs, *keys, *(config.tokens or [])) and weight:
        raise DataError(f"column {config.weight!r} is data.weight, so it can be nothing else.")
    if config.time in (*config.targets, *inputs) and config.time is not None:
        raise DataError(f"column {config.time!r} is data.time, so it can be neither target nor feature.")
    if config.time == config.group and config.time is not None:
        raise DataError(f"column {config.time!r} is data.time, so it cannot be data.group.")
    if config.group in (*config.targets, *inputs) and config.group is not None:
        raise DataError(f"column {config.group!r} is data.group, so it can be neither target nor feature.")
    for name in config.tokens or []:
        if name in config.targets:
            raise DataError(f"column {name!r} is data.target, which is a number; it cannot be in data.tokens.")
    chosen = list(header) if config.features is None else [*config.targets, *inputs]
    return [name for name in dict.fromkeys([*chosen, *weight]) if name not in keys]


def _known(config: DataConfig, targets: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell for each row whether a target is known, or nothing is known in advance, so that it has to be."""
    return np.asarray(~np.isnan(targets).all(axis=1) | (not config.future))


def _check_known(config: DataConfig, table: Table, groups: Groups) -> None:
    empty = [name for name, a, b in zip(groups.names, groups.starts, groups.ends, strict=False) if a == b]
    if empty:
        which = "" if config.group is None else f"group {empty[0]!r}: "
        raise DataError(
            f"{table.path}: {which}no row has a value of {', '.join(map(repr, config.targets))}. Give some."
        )


def _rows_known(groups: Groups) -> NDArray[np.bool_]:
    return np.asarray(np.arange(groups.starts[-1]) < np.repeat(groups.ends, np.diff(groups.starts)))


def _handle_missing(
    config: DataConfig,
    table: Table,
    names: Sequence[str],
    values: NDArray[np.float64],
    lines: NDArray[np.int64],
    groups: Groups,
) -> tuple[NDArray[np.bool_], list[str]]:
    """Fill ``values`` in place, or say which rows stay; refuse if that is what the configuration says."""
    in_advance = np.array([name in (config.known_future or []) for name in names])
    known = _rows_known(groups)
    missing = np.isnan(values) & (known[:, None] | in_advance)
    present = np.ones(len(values), dtype=bool)
    if not missing.any():
        return present, []
    row = int(missing.any(axis=1).argmax())
    column = int(missing[row].argmax())
    where = f"{table.path}, {table.unit} {lines[row]}, column {names[column]!r}"
    empty = [n for k, n in enumerate(names) if missing[known, k].all()]
    if empty:
        raise DataError(f"{table.path}: column {empty[0]!r} has no value at all. Leave it out of data.features.")
    count = int(missing.sum())
    if config.missing == "error":
        raise DataError(
            f"{where}: a missing value ({count} in all). Fill it, or set data.missing to 'ffill' or 'drop'."
        )
    if config.missing == "drop":
        present = np.logical_not(missing.any(axis=1))
        if not present[~known].all():
            row = int(np.argmin(present | known))
            column = int(missing[row].argmax())
            raise DataError(
                f"{table.path}, {table.unit} {lines[row]}, column {names[column]!r}: a missing value in a row that is "
                f"to be forecast. Fill it."
            )
        return (
            present,
            [f"Dropped {int((~present).sum())} rows with missing cells; their neighbours now touch."],
        )
    for name, a, b in zip(groups.names, groups.starts, groups.starts[1:], strict=False):
        if missing[a].any():
            which = "" if config.group is None else f"group {name!r}: "
            raise DataError(
                f"{table.path}: {which}{_nothing_to_fill_from(names, missing[a:b], lines[a:b], table.unit)}"
            )
    fill_forward(values, missing, np.repeat(groups.starts[:-1], np.diff(groups.starts)))
    return present, [f"Filled {count} missing cells with the value of the row before."]


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
