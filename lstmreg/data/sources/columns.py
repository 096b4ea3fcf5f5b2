"""What every source of a table gives: columns by name, numbers as one matrix, and words for where a cell stands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import DataConfig

#: How many cells of text are held at once where many columns are looked through.
_CELLS_AT_ONCE = 5_000_000


@dataclass(frozen=True)
class Fault:
    """The first cell of a column that is no number: its row, from 0, and what stands there."""

    row: int
    cell: str


class Table(ABC):
    """The columns of a file or a frame, of which those are read that somebody asks for.

    Attributes:
        path: The file, or what messages call the frame.
        sha256: Of what it holds.
        header: Names of the columns.
        unit: What a row is counted in, in messages.
        first: What is taken off that count to number the rows: in a file the first one stands on line 2 and is row 1.
    """

    unit = "row"
    first = 0

    def __init__(self, path: str, sha256: str, header: Sequence[str]) -> None:
        self.path = path
        self.sha256 = sha256
        self.header = list(header)

    @abstractmethod
    def read(self, config: DataConfig, numbers: Sequence[str], texts: Sequence[str] = ()) -> Columns:
        """Read some columns as numbers, and some as text without blanks at both ends.

        Raises:
            DataError: If the table is damaged. A cell that is no number is a fault of its column.
        """

    @abstractmethod
    def _texts(self, names: Sequence[str]) -> Mapping[str, list[str]]:
        """Return columns as text, whatever they hold."""

    def column(self, name: str) -> list[str]:
        """Return a column as text, without blanks at both ends."""
        return self._texts([name])[name]

    def columns(self, names: Sequence[str], rows: int) -> Iterator[tuple[str, list[str]]]:
        """Yield columns as text, few of them in memory at once."""
        at_once = max(1, _CELLS_AT_ONCE // max(rows, 1))
        for start in range(0, len(names), at_once):
            yield from self._texts(names[start : start + at_once]).items()


@dataclass(frozen=True)
class Columns:
    """Some columns of a table.

    Attributes:
        table: The table.
        names: Of the columns that were read as numbers, D.
        values: ``(N, D)`` float64, NaN where a cell is missing, and anything in a column that has a fault.
        texts: The columns that were read as text, by name.
        lines: The line of the file on which each row ends, or its number, ``(N,)``.
        faults: Of the columns that are no numbers.
    """

    table: Table
    names: tuple[str, ...]
    values: NDArray[np.float64]
    texts: Mapping[str, list[str]]
    lines: NDArray[np.int64]
    faults: Mapping[str, Fault] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, row: int, name: str) -> str:
        """Say where a cell stands."""
        return f"{self.table.path}, {self.table.unit} {self.lines[row]}, column {name!r}"
