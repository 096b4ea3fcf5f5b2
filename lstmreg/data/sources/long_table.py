"""Takes the sequences out of a long table, in which a column says to which one each row belongs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import DataConfig
from lstmreg.data.cells import MISSING, checked
from lstmreg.data.choosing import known_columns
from lstmreg.data.times import check_order_within, time_stamps
from lstmreg.errors import DataError

from .columns import Columns, Table
from .raw import Kind, Raw


def sequences_of_table(config: DataConfig, kind: Kind, table: Table) -> Raw:
    """Read the sequences of a long table.

    Args:
        config: Names the columns: ``sequence``, ``target``, perhaps ``group`` and ``time``.
        kind: Whether a target belongs to a sequence, or to each of its rows (``label``).
        table: The table. The rows of one sequence need not be neighbours in it.

    Raises:
        DataError: If a column is not there or not what it should be, if a row belongs to no sequence, if target or
            group change within a sequence where they may not, or if time does not rise in one.
    """
    if config.sequence is None:
        header = ", ".join(table.header)
        raise DataError(
            f"{table.path}: data.sequence must name the column that tells the sequences apart; columns: {header}."
        )
    features = chosen_features(config, table)
    tokens = [name for name in config.tokens or [] if name in features]
    targets = targets_of(config, kind)
    others = [n for n in (config.sequence, *targets, config.group, config.time, config.weight) if n is not None]
    numbers = [name for name in features if name not in tokens]
    columns = table.read(config, numbers, list(dict.fromkeys([*others, *tokens])))
    checked(config, columns, columns.names)
    order, starts, names = _sequences(config, columns, columns.texts[config.sequence])
    first = order[starts[:-1]]

    def of_each(name: str) -> list[str]:
        cells = columns.texts[name]
        _check_one_value(columns, name, order, starts, names)
        return [cells[row] for row in first]

    def of_rows(name: str) -> list[str]:
        cells = columns.texts[name]
        return [cells[row] for row in order]

    values = np.empty((len(order), len(features)))
    for k, name in enumerate(features):
        values[:, k] = np.nan if name in tokens else columns.values[order, numbers.index(name)]
    return Raw(
        path=table.path,
        sha256=table.sha256,
        features=tuple(features),
        values=values,
        starts=starts,
        names=names,
        targets=[of_rows(name) if kind == "label" else of_each(name) for name in targets],
        target_names=targets,
        groups=None if config.group is None else tuple(of_each(config.group)),
        times=None if config.time is None else tuple(columns.texts[config.time][row] for row in first),
        weights=None if config.weight is None else of_each(config.weight),
        texts={name: of_rows(name) for name in tokens},
        where=lambda row: f"{table.path}, {table.unit} {columns.lines[order[row]]}",
    )


def targets_of(config: DataConfig, kind: Kind) -> tuple[str, ...]:
    """Return the columns to predict.

    Raises:
        ConfigError: If there are several, and they are to be classes.
    """
    return (config.one_target,) if kind == "classify" else config.targets


def chosen_features(config: DataConfig, table: Table, beside: Sequence[str | None] = ()) -> list[str]:
    """Return the names of the input columns: those that are asked for, or all that have no other part.

    Raises:
        DataError: If one is not there, or has another part.
    """
    parts = [
        ("data.time", config.time),
        ("data.sequence", config.sequence),
        *(("data.target", name) for name in config.targets),
        ("data.group", config.group),
        ("data.weight", config.weight),
    ]
    named = [name for _, name in parts if name is not None]
    known_columns(config, table.header, [name for name in named if name not in beside], table.path)
    features = config.features
    if features is None:
        features = [name for name in table.header if name not in named]
    else:
        known_columns(config, table.header, features, table.path)
    seen: dict[str, str] = {}
    for setting, name in parts:
        if name is None:
            continue
        if name in features or name in (config.tokens or []):
            raise DataError(f"{table.path}: column {name!r} is {setting}, so it can be no input.")
        if name in seen:
            raise DataError(
                f"{table.path}: column {name!r} is both {seen[name]} and {setting}. Name one column for each."
            )
        seen[name] = setting
    if not features:
        raise DataError(f"{table.path}: no column is left for the inputs. Name them under data.features.")
    return list(dict.fromkeys(features))


def _sequences(
    config: DataConfig, columns: Columns, cells: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
    """Return the rows in the order of sequences and time, where each sequence starts among them, and their names."""
    numbers: dict[str, int] = {}
    which = np.fromiter((numbers.setdefault(cell, len(numbers)) for cell in cells), np.int64, len(cells))
    for cell in MISSING & set(numbers):
        row = int((which == numbers[cell]).argmax())
        raise DataError(
            f"{columns.where(row, str(config.sequence))}: {cell!r} is no name of a sequence. Give every row one."
        )
    names = tuple(numbers)
    stamps = None if config.time is None else time_stamps(columns, config.time)
    within = [stamps] if stamps is not None and config.sort else []
    order = np.lexsort([*within, which])  # which keeps the order of the file among equals
    starts = np.concatenate([[0], np.cumsum(np.bincount(which))]).astype(np.int64)
    if stamps is not None:
        check_order_within(config, columns, stamps[order], which[order], order, lambda n: f"sequence {names[n]!r}")
    return order.astype(np.int64), starts, names


def _check_one_value(
    columns: Columns, name: str, order: NDArray[np.int64], starts: NDArray[np.int64], names: Sequence[str]
) -> None:
    """See that a column does not change within a sequence."""
    cells = columns.texts[name]
    known: dict[str, int] = {}
    which = np.fromiter((known.setdefault(cell, len(known)) for cell in cells), np.int64, len(cells))[order]
    first = np.repeat(which[starts[:-1]], np.diff(starts))
    other = np.flatnonzero(which != first)
    if len(other):
        place = int(other[0])
        row = int(order[place])
        n = int(np.searchsorted(starts, place, side="right")) - 1
        begins = cells[order[starts[n]]]
        raise DataError(
            f"{columns.where(row, name)}: sequence {names[n]!r} has {cells[row]!r} here and {begins!r} in its first "
            f"row. Write the same value in every row of a sequence."
        )
