"""Tokens and their numbers: what training has seen has one of its own, and all else is 0, unknown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstmreg.errors import DataError


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The tokens of a column.

    Attributes:
        tokens: All that there are, V.
        seen: Which of them the training rows have, ``(V,)``.
    """

    tokens: tuple[str, ...]
    seen: NDArray[np.bool_]

    @classmethod
    def fit(cls, tokens: tuple[str, ...], numbers: NDArray[np.float64]) -> Vocabulary:
        """Look at the numbers ``(N,)`` of the training rows' tokens, from 0; NaN is none."""
        there = numbers[~np.isnan(numbers)].astype(np.int64)
        return cls(tokens, np.bincount(there, minlength=len(tokens)) > 0)

    @property
    def known(self) -> dict[str, int]:
        """The number of each token that training has seen, from 1."""
        return {token: k + 1 for k, token in enumerate(self.tokens) if self.seen[k]}

    def numbers_of(self, tokens: Iterable[str]) -> list[int]:
        """Return the numbers of tokens, from 1; of what training has not seen 0.

        One that is not there as it is written may be there as other programs write it: 1.0 for 1, true for True.
        """
        known = self.known
        plain: dict[str, set[int]] = {}
        for token, number in known.items():
            plain.setdefault(_plain(token), set()).add(number)
        alone = {token: numbers.pop() for token, numbers in plain.items() if len(numbers) == 1}
        return [known.get(token) or alone.get(_plain(token), 0) for token in tokens]

    def encoded(self, numbers: NDArray[np.float64], tokens: tuple[str, ...]) -> NDArray[np.float32]:
        """Return a column as a network reads it.

        Args:
            numbers: Of each row's token in ``tokens``, from 0, ``(N,)``; NaN is none, which is 0 to a network.
            tokens: Those of the table, which numbers them in its own way.
        """
        own = np.array([*self.numbers_of(tokens), 0], dtype=np.float32)
        return own[np.where(np.isnan(numbers), len(tokens), numbers).astype(np.int64)]

    def unknown(self, numbers: NDArray[np.float64], tokens: tuple[str, ...]) -> Unknown:
        """Return which of the tokens in some rows training has not seen."""
        used = [tokens[k] for k in np.unique(numbers[~np.isnan(numbers)]).astype(np.int64).tolist()]
        own = self.numbers_of(used)
        new = tuple(token for token, number in zip(used, own, strict=True) if number == 0)
        return Unknown(new, len(used))


@dataclass(frozen=True)
class Unknown:
    """The tokens of a column that training has not seen, and how many different ones the column has."""

    tokens: tuple[str, ...]
    used: int


def refuse_strangers(column: str, vocabulary: Vocabulary, unknown: Unknown) -> None:
    """See that training has seen a token of a column: else it is numbered or written in another way.

    Raises:
        DataError: If it has seen none.
    """
    if unknown.tokens and len(unknown.tokens) == unknown.used:
        raise DataError(
            f"column {column!r} has no token that training has seen, got {', '.join(unknown.tokens[:3])}; seen were "
            f"{', '.join(list(vocabulary.known)[:8])}. Give them as they were written there."
        )


def notes_on_unknown(unknown: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Say which tokens of each column training has not seen."""
    return [
        f"Training has not seen {', '.join(map(repr, tokens[:3]))}{' and others' if len(tokens) > 3 else ''} "
        f"of column {name!r}: unknown tokens count as none."
        for name, tokens in unknown.items()
    ]


_WHOLE = re.compile(r"([+-]?\d+)\.0*", re.ASCII)


def _plain(token: str) -> str:
    """Return a token as most programs write it: a whole number without a point, a truth value as a number."""
    if found := _WHOLE.fullmatch(token):
        return found[1]
    return {"true": "1", "false": "0"}.get(token.lower(), token)
