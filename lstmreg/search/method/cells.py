"""What is known: the log loss of each cell, which is a candidate on a block with a seed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .candidates import BASELINE, Candidate

#: A training that failed counts as the worst of its candidate's, and as a loss twice the baseline's at least.
LEAST_HARM = math.log(2.0)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """One training: a candidate, the block whose loss is taken, and the seed, both counted from 0."""

    candidate: Candidate
    block: int
    seed: int


class LogLosses(Mapping[Cell, float]):
    """The log losses of cells; one that failed has ``inf``. It only grows.

    Args:
        blocks: How many blocks there are, ``G``.
        known: Cells with their log losses; ``None``, NaN and infinity are failures.
    """

    def __init__(self, blocks: int, known: Mapping[Cell, float | None] | None = None) -> None:
        self.blocks = blocks
        self._of: dict[Candidate, Array] = {}
        self._count = 0
        for cell, loss in (known or {}).items():
            self.add(cell, loss)

    def add(self, cell: Cell, log_loss: float | None) -> None:
        """Take in what a training gave; ``None``, NaN and infinity say that it failed.

        Raises:
            ValueError: If the cell is known already, or is on no block.
        """
        if not 0 <= cell.block < self.blocks or cell.seed < 0:
            raise ValueError(f"a cell must be on one of {self.blocks} blocks with a seed from 0 on, got {cell}.")
        if cell in self:
            raise ValueError(f"{cell} is known already; what was measured once stays.")
        losses = self._of.get(cell.candidate)
        if losses is None or losses.shape[1] <= cell.seed:
            self._of[cell.candidate] = losses = self.table(cell.candidate, 2 * cell.seed + 4)
        losses[cell.block, cell.seed] = log_loss if log_loss is not None and math.isfinite(log_loss) else math.inf
        self._count += 1

    def __contains__(self, cell: object) -> bool:
        return isinstance(cell, Cell) and not math.isnan(self._at(cell))

    def __getitem__(self, cell: Cell) -> float:
        if cell not in self:
            raise KeyError(cell)
        return self._at(cell)

    def __iter__(self) -> Iterator[Cell]:
        for candidate, losses in self._of.items():
            for block, seed in np.argwhere(~np.isnan(losses)).tolist():
                yield Cell(candidate, block, seed)

    def __len__(self) -> int:
        return self._count

    def _at(self, cell: Cell) -> float:
        losses = self._of.get(cell.candidate)
        if losses is None or not (0 <= cell.block < self.blocks and 0 <= cell.seed < losses.shape[1]):
            return math.nan
        return float(losses[cell.block, cell.seed])

    @property
    def candidates(self) -> list[Candidate]:
        """The candidates of which anything is known, the baseline among them."""
        return list(self._of)

    def table(self, candidate: Candidate, end: int, begin: int = 0) -> Array:
        """Return the log losses ``(G, end - begin)`` of a candidate with the seeds from ``begin`` to ``end - 1``.

        NaN where it did not run, infinite where it failed.
        """
        found = np.full((self.blocks, end - begin), np.nan)
        losses = self._of.get(candidate)
        if losses is not None:
            known = losses[:, begin:end]
            found[:, : known.shape[1]] = known
        return found

    def failures(self, candidate: Candidate, end: int) -> int:
        """Count the trainings of a candidate with seeds below ``end`` that failed."""
        return int(np.isinf(self.table(candidate, end)).sum())


def baseline_table(log_losses: LogLosses, end: int, begin: int = 0) -> Array:
    """Return the baseline's log losses ``(G, N)``; where it failed nothing compares, so there it has NaN."""
    table = log_losses.table(BASELINE, end, begin)
    return np.where(np.isinf(table), np.nan, table)


def settled(losses: Array, baseline: Array) -> Array:
    """Return log losses with numbers where trainings failed.

    A failure counts as worse than the baseline on its block: by the worst that was seen of the candidate, and by
    ``log 2`` at least, or the candidate that fails most would look best.

    Args:
        losses: Of a candidate ``(G, N)``: NaN where it did not run, infinite where it failed.
        baseline: On the same blocks ``(G, M)``, NaN where unknown.
    """
    failed = np.isinf(losses)
    if not failed.any():
        return losses
    level = block_means(baseline)[:, None]
    finite = (losses - level)[np.isfinite(losses - level)]
    harm = max(LEAST_HARM, float(finite.max())) if finite.size else LEAST_HARM
    return np.where(failed, level + harm, losses)


def block_means(table: Array) -> Array:
    """Return the mean over the seeds ``(G,)`` of what is known in a table ``(G, N)``; NaN where nothing is."""
    known = np.isfinite(table)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, table, 0.0).sum(axis=1) / known.sum(axis=1))
