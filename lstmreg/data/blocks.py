"""Rolling origins: what lies before a moment trains, the stretch of rows behind it stops, and the next is judged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import AMOUNTS, DataConfig, SearchConfig
from lstmreg.errors import ConfigError, DataError


@dataclass(frozen=True, order=True)
class Block:
    """Moments ``[0, origin)`` come before it; targets in ``[origin, end)`` end a training or judge it.

    Of a single series a moment is a row; of several, one of the times that are in the table.
    """

    origin: int
    end: int

    def first_steps(self, horizon: int) -> NDArray[np.int64]:
        """Return the row of the first step of each forecast behind the origin."""
        return np.arange(self.origin, self.end - horizon + 1)


@dataclass(frozen=True)
class Blocks:
    """The stretches of one experiment.

    Attributes:
        stretches: Equal ones, in order. Each but the last ends trainings on what lies before it, which are judged on
            the next; the last ends those that meet the test.
        test: The test rows.
    """

    stretches: tuple[Block, ...]
    test: Block


#: The share of the rows before the test that only train: the first origin lies behind it.
_FIRST_ORIGIN = 0.4


#: Fewer windows than these say nothing about a loss.
_LEAST_WINDOWS = 5

#: A test fraction for which not even so many times the rows suffice is no sensible one.
_MANY = 100


def make_blocks(rows: int, data: DataConfig, search: SearchConfig) -> Blocks:
    """Divide ``rows`` rows, or times: test at the end, before it a stretch more than there are blocks.

    Raises:
        DataError: If a part would have fewer than five windows; it states the number of rows needed.
    """
    blocks = search.amount.blocks
    usable, size = _lengths(rows, data, blocks)
    if min(size, rows - usable) < data.horizon + _LEAST_WINDOWS - 1:
        fewer = ", a shorter window, or fewer search.blocks" if blocks > AMOUNTS[0].blocks else " or a shorter window"
        raise DataError(
            f"{data.path}: {rows} {_called(data)} are too few for data.window={data.window}{_differenced(data)}, "
            f"data.horizon={data.horizon}, {blocks} blocks with one more to end their trainings, and the test; "
            f"at least {rows_needed(data, search)} are needed. Give more {_called(data)}{fewer}."
        )
    origins = range(usable - size * (blocks + 1), usable, size)
    return Blocks(tuple(Block(origin, origin + size) for origin in origins), Block(usable, rows))


def _lengths(rows: int, data: DataConfig, blocks: int) -> tuple[int, int]:
    """Return how many rows come before the test, and how many are in each stretch."""
    usable = rows - round(rows * data.test_fraction)
    first = max(round(usable * _FIRST_ORIGIN), data.past + data.horizon)
    return usable, (usable - first) // (blocks + 1)


def hold_out(rows: int, data: DataConfig) -> tuple[Block, Block]:
    """Divide ``rows`` rows, or times, for a single fit: the test at the end, and before it as long a validation part.

    Raises:
        DataError: If a part would have no window; it states the number of rows needed.
    """
    test_rows = round(rows * data.test_fraction)
    origin = rows - 2 * test_rows
    if test_rows < data.horizon or origin < data.past + data.horizon:
        enough = (
            n
            for n in range(rows + 1, _MANY * (rows + data.past + data.horizon))
            if round(n * data.test_fraction) >= data.horizon
            and n - 2 * round(n * data.test_fraction) >= data.past + data.horizon
        )
        needed = next(enough, None)
        if needed is None:
            raise ConfigError(
                f"data.test_fraction must leave data.horizon={data.horizon} rows or more to test, as many to validate, "
                f"and others to train, got {data.test_fraction}. The default is 0.15."
            )
        raise DataError(
            f"{data.path}: {rows} {_called(data)} are too few for data.window={data.window}{_differenced(data)} and "
            f"data.horizon={data.horizon}; at least {needed} are needed. Give more {_called(data)} or a shorter window."
        )
    return Block(origin, rows - test_rows), Block(rows - test_rows, rows)


def rows_needed(data: DataConfig, search: SearchConfig) -> int:
    """Return the least number of rows for which every part has its windows."""
    blocks = search.amount.blocks
    rows = data.past + data.horizon * (blocks + 3)
    while True:
        usable, size = _lengths(rows, data, blocks)
        if min(size, rows - usable) >= data.horizon + _LEAST_WINDOWS - 1:
            return rows
        rows += 1


def _differenced(data: DataConfig) -> str:
    return f", data.difference={data.difference!r} (the first {data.lag} rows have none)" if data.lag else ""


def _called(data: DataConfig) -> str:
    return "rows" if data.group is None else "times"
