"""Rolling origins: what lies before a moment is for training, the block of rows behind it for validation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import DataConfig, SearchConfig
from lstmreg.errors import ConfigError, DataError


@dataclass(frozen=True, order=True)
class Block:
    """Moments ``[0, origin)`` are for training; targets in ``[origin, end)`` for validation (or the test).

    Of a single series a moment is a row; of several, one of the times that are in the table.
    """

    origin: int
    end: int

    def first_steps(self, horizon: int) -> NDArray[np.int64]:
        """Return the row of the first step of each forecast behind the origin."""
        return np.arange(self.origin, self.end - horizon + 1)


@dataclass(frozen=True)
class Blocks:
    """The blocks of one experiment.

    Attributes:
        choose: On which settings are chosen.
        confirm: On which the choice is judged; no row is validated in both.
        final: The last stretch before the test rows validates the models that meet the test.
        test: The test rows themselves, as the validation part of a split.
    """

    choose: tuple[Block, ...]
    confirm: tuple[Block, ...]
    final: Block
    test: Block


#: The share of the rows before the test that no split validates on: the first origin lies behind it.
_FIRST_ORIGIN = 0.4


#: Fewer windows than these say nothing about a loss.
_LEAST_WINDOWS = 5

#: A test fraction for which not even so many times the rows suffice is no sensible one.
_MANY = 100


def make_blocks(rows: int, data: DataConfig, search: SearchConfig) -> Blocks:
    """Divide ``rows`` rows, or times: test at the end, before it equal blocks of validation rows.

    The blocks of the two kinds alternate, so that both see short and long histories: a value of a knob
    is chosen for about as much data as it is judged on.

    Raises:
        DataError: If a part would have fewer than five windows; it states the number of rows needed.
    """
    plan = search.plan
    blocks = plan.splits + plan.confirm_splits
    test_rows = round(rows * data.test_fraction)
    usable = rows - test_rows
    first = max(round(usable * _FIRST_ORIGIN), data.past + data.horizon)
    size = (usable - first) // blocks
    if min(size, test_rows) < data.horizon + _LEAST_WINDOWS - 1:
        raise DataError(
            f"{data.path}: {rows} {_called(data)} are too few for data.window={data.window}{_differenced(data)}, "
            f"data.horizon={data.horizon}, {blocks} validation blocks and the test; "
            f"at least {rows_needed(data, search)} are needed. "
            f"Give more {_called(data)}, a shorter window, or fewer search.splits."
        )
    edges = [usable - size * (blocks - k) for k in range(blocks + 1)]
    all_blocks = [Block(a, b) for a, b in pairwise(edges)]
    # Which of the blocks confirm: spread evenly, the last one first of all.
    confirm = {blocks - 1 - k * blocks // plan.confirm_splits for k in range(plan.confirm_splits)}
    return Blocks(
        choose=tuple(s for k, s in enumerate(all_blocks) if k not in confirm),
        confirm=tuple(s for k, s in enumerate(all_blocks) if k in confirm),
        final=all_blocks[-1],
        test=Block(usable, rows),
    )


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
    blocks = search.plan.splits + search.plan.confirm_splits
    rows = data.past + data.horizon * (blocks + 2)
    while True:
        test_rows = round(rows * data.test_fraction)
        usable = rows - test_rows
        first = max(round(usable * _FIRST_ORIGIN), data.past + data.horizon)
        if min((usable - first) // blocks, test_rows) >= data.horizon + _LEAST_WINDOWS - 1:
            return rows
        rows += 1


def _differenced(data: DataConfig) -> str:
    return f", data.difference={data.difference!r} (the first {data.lag} rows have none)" if data.lag else ""


def _called(data: DataConfig) -> str:
    return "rows" if data.group is None else "times"
