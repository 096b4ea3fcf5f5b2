"""To which input columns a network listens: the weights on their way in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class ColumnWeight(NamedTuple):
    """How much a first layer can hear of an input column."""

    name: str
    weight: float  #: the largest absolute weight of the column, into any gate of any unit
    is_zero: bool  #: whether each of them is exactly zero, so that the column changes no prediction


def ranked_columns(weights: ArrayLike, names: Sequence[str]) -> tuple[ColumnWeight, ...]:
    r"""Rank input columns by their largest absolute input weight, the largest first.

    .. math:: w_d = \max_k \lvert W_{kd} \rvert

    Columns of equal weight stay in the order of the table. Weights compare where the columns are scaled alike, as those
    of a forecast are. A large one is no proof that its column helps.

    Args:
        weights: ``weight_ih`` of the first layer, ``(4H, D)``. Those of its other direction, or of other networks that
            read the same columns, may follow as further rows.
        names: Of the columns, D.

    Returns:
        An entry for each column.

    Raises:
        ValueError: If the weights are not a matrix with a column for each name, or not finite.

    Example:
        >>> [column.name for column in ranked_columns([[0.5, 0.0, -2.0]], ["T1", "rv1", "lights"])]
        ['lights', 'T1', 'rv1']
    """
    matrix = np.abs(np.asarray(weights, dtype=np.float64))
    if matrix.ndim != 2 or len(matrix) == 0 or matrix.shape[1] != len(names):
        raise ValueError(f"weights must have a column for each of {len(names)} names, got shape {matrix.shape}.")
    largest = matrix.max(axis=0)
    if not np.isfinite(largest).all():
        where = names[int(np.isfinite(largest).argmin())]
        raise ValueError(f"weights must be finite; that of column {where!r} is not.")
    order = np.argsort(-largest, kind="stable").tolist()
    return tuple(ColumnWeight(names[k], float(largest[k]), bool(largest[k] == 0)) for k in order)
