"""Which rows are of one series, in which order, and which of them are of one time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import DataConfig
from lstmreg.errors import DataError

from .cells import MISSING
from .sources.columns import Columns
from .times import check_order, check_order_within, time_stamps


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups of a series, one below the other, each with its oldest row first.

    Attributes:
        names: Of the groups, G; a single one without a name where the table holds one series.
        starts: Group ``g`` is rows ``starts[g]`` to ``starts[g + 1]``, ``(G + 1,)``.
        ends: The row after the last one of each group whose targets are known, ``(G,)``.
        moments: The place of each row's time among all times of the table, ``(N,)``; rises within a group.
    """

    names: tuple[str, ...]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    moments: NDArray[np.int64]

    @classmethod
    def one(cls, rows: int) -> Groups:
        """Return a single group without a name, whose rows are all known."""
        return cls(("",), np.array([0, rows]), np.array([rows]), np.arange(rows))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def count(self) -> int:
        """How many moments have a known row, or lie before one that has."""
        return int(self.moments[self.ends - 1].max()) + 1

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of the group that each row is of."""
        return np.asarray(np.searchsorted(self.starts, rows, side="right") - 1)

    def before(self, moment: int) -> NDArray[np.int64]:
        """Return of each group the row after its last known one before a moment, ``(G,)``."""
        pairs = zip(self.starts, self.ends, strict=False)
        return np.array([a + np.searchsorted(self.moments[a:b], moment) for a, b in pairs], dtype=np.int64)

    def first_steps(self, past: int, horizon: int) -> NDArray[np.int64]:
        """Return each row that a forecast can begin at, with ``past`` rows of its group before it, all steps known."""
        pairs = zip(self.starts, self.ends, strict=False)
        return np.concatenate([np.arange(a + past, max(a + past, b - horizon + 1)) for a, b in pairs])

    def lacking(self, rows: int) -> list[str]:
        """List the groups that have fewer known rows than that."""
        return [name for name, n in zip(self.names, self.ends - self.starts[:-1], strict=True) if n < rows]


class Order(NamedTuple):
    """How the rows of a table follow each other."""

    rows: NDArray[np.int64] | None  #: of the table, in their order; nothing where it is as they stand
    names: tuple[str, ...]  #: of the groups, as they first come
    group: NDArray[np.int64] | None  #: of each row in that order, by number; nothing where there is one series
    stamps: NDArray[np.float64] | None  #: that order them, in that order; nothing where the table has none


def order_of(config: DataConfig, columns: Columns) -> Order:
    """Order the rows of a table by group, and by time within each.

    Raises:
        DataError: If a row has no group or no time, or if time does not rise.
    """
    stamps = None if config.time is None else time_stamps(columns, config.time)
    if config.group is not None:
        return _by_group(config, columns, columns.texts[config.group], stamps)
    if stamps is None:
        return Order(None, ("",), None, None)
    rows = np.argsort(stamps, kind="stable") if config.sort else None
    check_order(config, columns, stamps, rows)
    return Order(rows, ("",), None, stamps if rows is None else stamps[rows])


def _by_group(config: DataConfig, columns: Columns, cells: Sequence[str], stamps: NDArray[np.float64] | None) -> Order:
    numbers: dict[str, int] = {}
    group = np.fromiter((numbers.setdefault(cell, len(numbers)) for cell in cells), np.int64, len(cells))
    nameless = next((cell for cell in numbers if cell in MISSING), None)
    if nameless is not None:
        row = cells.index(nameless)
        raise DataError(f"{columns.where(row, str(config.group))}: a row of no group. Write the group of every row.")
    by_time = stamps if config.sort else None
    rows = np.argsort(group, kind="stable") if by_time is None else np.lexsort((by_time, group))
    group = group[rows]
    if stamps is not None:
        stamps = stamps[rows]
        names = tuple(numbers)
        check_order_within(config, columns, stamps, group, rows, lambda part: f"group {names[part]!r}")
    return Order(rows, tuple(numbers), group, stamps)


def groups_of(order: Order, known: NDArray[np.bool_]) -> Groups:
    """Return the groups of rows that are in order.

    Without times, the last known rows of all groups count as simultaneous, and those before them likewise.

    Args:
        order: Of the rows that are there.
        known: Whether a row's targets are known, ``(N,)``; those after a group's last such row are its future.
    """
    rows = len(known)
    group = np.zeros(rows, np.int64) if order.group is None else order.group
    present, starts = np.unique(group, return_index=True)
    reached = np.maximum.reduceat(np.where(known, np.arange(rows) + 1, 0), starts)
    names = tuple(order.names[k] for k in present)
    edges = np.append(starts, rows).astype(np.int64)
    ends = np.maximum(reached, edges[:-1])
    if order.group is None:
        moments = np.arange(rows)
    elif order.stamps is None:
        longest = int((ends - edges[:-1]).max())
        moments = np.arange(rows) - np.repeat(ends, np.diff(edges)) + longest
    else:
        moments = np.unique(order.stamps, return_inverse=True)[1].astype(np.int64)
    return Groups(names, edges, ends, moments)


def chosen(order: Order, keep: NDArray[np.bool_]) -> Order:
    """Return the order of some of the rows."""
    rows = np.flatnonzero(keep) if order.rows is None else order.rows[keep]
    group = None if order.group is None else order.group[keep]
    return Order(rows, order.names, group, None if order.stamps is None else order.stamps[keep])
