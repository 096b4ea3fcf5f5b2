"""What series and sequences have in common once their columns are read: names, tokens, gaps, constants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import DataConfig
from lstmreg.errors import DataError, did_you_mean

from .cells import MISSING
from .sources.columns import Columns


def known_columns(config: DataConfig, header: Sequence[str], wanted: Iterable[str], path: str = "") -> None:
    """See that a table has the columns that the settings name.

    Raises:
        DataError: If it has one not.
    """
    for name in [*wanted, *(config.tokens or [])]:
        if name not in header:
            columns = " ".join(", ".join(header).split())
            where = path or config.path
            raise DataError(f"unknown column {name!r} in {where}; columns: {columns}.{did_you_mean(name, header)}")


def with_tokens(
    columns: Columns, names: Sequence[str], tokens: Sequence[str]
) -> tuple[NDArray[np.float64], dict[str, tuple[str, ...]]]:
    """Return columns ``(N, D)`` in the order of ``names``, those of tokens as their numbers, and the tokens of each."""
    if not tokens and list(names) == list(columns.names):
        return columns.values, {}
    values = np.empty((len(columns), len(names)))
    vocabularies: dict[str, tuple[str, ...]] = {}
    for k, name in enumerate(names):
        if name in tokens:
            values[:, k], vocabularies[name] = numbered(columns.texts[name])
        else:
            values[:, k] = columns.values[:, columns.names.index(name)]
    return values, vocabularies


def numbered(cells: Sequence[str]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the number of each cell's token, NaN where it is missing, and the tokens in order."""
    tokens = tuple(sorted(set(cells) - MISSING))
    numbers = {token: float(k) for k, token in enumerate(tokens)}
    return np.fromiter((numbers.get(cell, np.nan) for cell in cells), np.float64, len(cells)), tokens


def fill_forward(
    values: NDArray[np.float64], missing: NDArray[np.bool_], first: NDArray[np.int64] | None = None
) -> None:
    """Fill each missing cell of ``(N, D)`` in place with the last value above it, if there is one.

    Args:
        values: What is filled.
        missing: Where it is.
        first: Of each row the first one of its sequence, ``(N,)``, above which nothing is taken from. Default: row 0.
    """
    rows = np.arange(len(values))
    for k in np.flatnonzero(missing.any(axis=0)):
        start = np.zeros_like(rows) if first is None else first
        last = np.maximum(np.maximum.accumulate(np.where(missing[:, k], 0, rows)), start)
        values[:, k] = values[last, k]


def checked_weights(
    values: NDArray[np.float64], what: str, where: Callable[[int], str]
) -> tuple[NDArray[np.float64], list[str]]:
    """Return weights ``(N,)`` that are such, and what is to be said of them.

    Args:
        values: The weights.
        what: What they are called.
        where: Says where one stands.

    Raises:
        DataError: If one is missing or not positive.
    """
    bad = np.flatnonzero(~(values > 0))
    if len(bad):
        n = int(bad[0])
        raise DataError(
            f"{where(n)}: {what} must be above 0, got {values[n]:g} ({len(bad)} such in all). Leave out what is not to "
            f"count."
        )
    return values, [f"What counts how much says {what}, from {values.min():g} to {values.max():g}."]


def constant_notes(names: Sequence[str], values: NDArray[np.float64]) -> list[str]:
    """Say which columns never change."""
    low, high = values.min(axis=0), values.max(axis=0)
    return [
        f"Column {n!r} is constant; it tells a model nothing."
        for n, same in zip(names, low == high, strict=True)
        if same
    ]
