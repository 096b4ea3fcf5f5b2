"""Predictions of any task as they leave the house: a table with a name for each row, and what must be said of them."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Heads the column that counts steps: of a horizon, of a sequence.
STEP = "step"


@dataclass(frozen=True)
class Band:
    """Which columns belong together: a predicted number, its interval, and the truth, as far as there are such."""

    value: str
    low: str | None = None
    high: str | None = None
    truth: str | None = None


@dataclass(frozen=True)
class Predictions:
    """A row for each prediction, in the user's own units.

    Attributes:
        names: Of the rows: the time of a step, the name of a sequence.
        columns: ``(N,)`` each, by their headings, in the order in which they are written.
        heading: That of the names.
        bands: Which columns are a number with its interval, so that they can be drawn.
        shares: Headings of columns that are probabilities of classes.
        trained: Heading of a column that says "yes" of each row that the model was trained on.
        truth: Heading of the column of true classes, where they are known; "" in a row is none.
        notes: What a reader must know, a sentence each.
        in_time: Whether the rows follow each other in time, of each group by itself, so that they are drawn as a line.
        group: Heading of the column of groups, where there are several series.

    Raises:
        ValueError: If a column has another length, or is called as the names are.

    Example:
        >>> import numpy as np
        >>> predictions = Predictions(("2024-05", "2024-06"), {"sales": np.array([3.5, 4.0])}, heading="month")
        >>> print(predictions.csv(), end="")
        month,sales
        2024-05,3.5
        2024-06,4.0
    """

    names: tuple[str, ...]
    columns: Mapping[str, NDArray[Any]]
    heading: str = "name"
    bands: tuple[Band, ...] = ()
    shares: tuple[str, ...] = ()
    truth: str | None = None
    trained: str | None = None
    notes: tuple[str, ...] = ()
    in_time: bool = False
    group: str | None = None

    def __post_init__(self) -> None:
        for heading, column in self.columns.items():
            if len(column) != len(self.names):
                raise ValueError(f"column {heading!r} must have {len(self.names)} rows, got {len(column)}.")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def header(self) -> list[str]:
        """The headings of all columns, that of the names in front, with a line behind it if a column is called so."""
        return [free_heading(self.heading, self.columns), *self.columns]

    def rows(self) -> Iterator[list[str]]:
        """Yield each row as text: numbers with all digits that tell them apart, what is missing as nothing."""
        columns = [[_written(value) for value in column.tolist()] for column in self.columns.values()]
        for name, *cells in zip(self.names, *columns, strict=True):
            yield [name, *cells]

    def csv(self) -> str:
        """Return them as a CSV file.

        What a spreadsheet would take for a formula, a text that begins with ``=``, ``+``, ``-`` or ``@`` and is no
        number, gets an apostrophe in front.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([_harmless(heading) for heading in self.header])
        writer.writerows([_harmless(cell) for cell in row] for row in self.rows())
        return text.getvalue()

    def with_notes(self, *notes: str) -> Predictions:
        """Return the same with further notes."""
        return dataclasses.replace(self, notes=(*self.notes, *notes))


def free_heading(wanted: str, taken: Iterable[str]) -> str:
    """Return a heading, with as many lines behind it as it takes to be that of no other column."""
    others = set(taken)
    while wanted in others:
        wanted += "_"
    return wanted


def _written(value: Any) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else repr(value)
    return str(value)


def _harmless(cell: str) -> str:
    if not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
