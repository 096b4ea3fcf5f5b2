"""What a source of sequences gives: rows, where each sequence begins, and targets as they were found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lstmreg.errors import DataError

from .memory import Column

#: What is to be predicted: a class or numbers of a whole sequence, or a class or numbers at every step.
Kind = Literal["classify", "regress", "label"]


class WithoutTargetsError(DataError):
    """A source has nothing that could be a target."""


@dataclass(frozen=True)
class Raw:
    """Sequences before they are looked at; whichever source they come from, the rest is the same.

    Attributes:
        path: The file or folder, or what messages call it.
        sha256: Of what it holds.
        features: Names of the input columns, D.
        values: ``(rows, D)`` float64, NaN where a cell is missing; of a column in ``texts`` anything.
        starts: ``(N + 1,)``: sequence n is rows ``starts[n]`` to ``starts[n + 1]``, the last one not.
        names: Of the sequences, N.
        targets: A column for each name of a target: a cell for each sequence, or for each row.
        target_names: Their names.
        groups: What each sequence belongs to, N.
        times: When each begins, N.
        weights: How much each counts, N.
        texts: Of discrete input columns their cells as text, ``rows`` of them.
        where: Says where a row stands, for messages.
        where_target: Says where the target of a sequence stands, where that is not in its rows.
        notes: What the reader did or noticed.
    """

    path: str
    sha256: str
    features: tuple[str, ...]
    values: NDArray[np.float64]
    starts: NDArray[np.int64]
    names: tuple[str, ...]
    targets: Sequence[Column]
    target_names: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    times: tuple[str, ...] | None = None
    weights: Column | None = None
    texts: Mapping[str, list[str]] = field(default_factory=dict)
    where: Callable[[int], str] | None = None
    where_target: Callable[[int], str] | None = None
    notes: tuple[str, ...] = ()

    def place(self, row: int) -> str:
        """Say where a row stands: in its file if that is known, or else in its sequence."""
        if self.where is not None:
            return self.where(row)
        n = self.sequence_of(row)
        return f"{self.path}, sequence {self.names[n]!r}, step {row - int(self.starts[n])}"

    def place_of_target(self, n: int) -> str:
        """Say where the target of a sequence stands: in a table of labels, or in its first row."""
        return self.place(int(self.starts[n])) if self.where_target is None else self.where_target(n)

    def sequence_of(self, row: int) -> int:
        """Return the number of the sequence to which a row belongs."""
        return int(np.searchsorted(self.starts, row, side="right")) - 1
