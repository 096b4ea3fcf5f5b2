"""Sequences in a few numbers each: what a model without memory can know of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lstmreg.data.sequences import Sequences

#: A column of more tokens than these is left out: a weight for each would be learned by heart.
_MOST_TOKENS = 50


def summaries(sequences: Sequences) -> NDArray[np.float64]:
    """Return of each sequence, ``(N, F)``: how long it is, and of each column mean, spread, extremes, ends and slope.

    Of a column of tokens, how often each occurs, as a share of the steps.
    """
    first, lengths = sequences.starts[:-1], sequences.lengths
    values = sequences.inputs[:, _numeric(sequences)]
    mean = np.add.reduceat(values, first) / lengths[:, None]
    steps = np.arange(len(values)) - np.repeat(first, lengths)
    centred = values - np.repeat(mean, lengths, axis=0)
    step = steps - np.repeat((lengths - 1) / 2, lengths)
    spread = np.sqrt(np.add.reduceat(centred**2, first) / lengths[:, None])
    slope = np.add.reduceat(centred * step[:, None], first) / np.maximum(np.add.reduceat(step**2, first), 1)[:, None]
    shares = [np.add.reduceat(each, first) / lengths[:, None] for each in _occurrences(sequences)]
    return np.hstack(
        [
            lengths[:, None].astype(np.float64),
            mean,
            spread,
            np.minimum.reduceat(values, first),
            np.maximum.reduceat(values, first),
            values[first],
            values[sequences.starts[1:] - 1],
            slope,
            *shares,
        ]
    )


def steps_alone(sequences: Sequences) -> NDArray[np.float64]:
    """Return each step's own inputs, ``(rows, F)``: numbers as they are, and of a token which one it is."""
    return np.hstack([sequences.inputs[:, _numeric(sequences)], *_occurrences(sequences)])


def _numeric(sequences: Sequences) -> list[int]:
    return [k for k, name in enumerate(sequences.features) if name not in sequences.tokens]


def _occurrences(sequences: Sequences) -> list[NDArray[np.float64]]:
    """Return for each column of few tokens which one each row has, ``(rows, V)``."""
    return [
        np.eye(len(tokens))[sequences.inputs[:, sequences.features.index(name)].astype(np.int64)]
        for name, tokens in sequences.tokens.items()
        if len(tokens) <= _MOST_TOKENS
    ]
