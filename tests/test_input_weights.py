"""Columns are ranked by the largest weight on their way in, of a layer's own weights as of any others."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lstmreg import LSTM
from lstmreg.input_weights import ColumnWeight, ranked_columns


def test_columns_are_ranked_by_hand() -> None:
    weights = np.array([[0.1, 0.0, -3.0, 1e-30], [-2.0, 0.0, 0.5, 0.0], [0.3, -0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert ranked_columns(weights, ["a", "b", "c", "d"]) == (
        ColumnWeight("c", 3.0, False),
        ColumnWeight("a", 2.0, False),
        ColumnWeight("d", 1e-30, False),  # small is not zero
        ColumnWeight("b", 0.0, True),
    )


def test_equal_columns_stay_in_the_order_of_the_table() -> None:
    weights = np.array([[1.0, -1.0, 0.0, 1.0, 0.0]])
    assert [column.name for column in ranked_columns(weights, list("vwxyz"))] == ["v", "w", "y", "x", "z"]


@given(
    st.integers(1, 5).flatmap(
        lambda width: arrays(
            np.float32, st.tuples(st.integers(1, 9), st.just(width)), elements=st.floats(-9, 9, width=32)
        )
    )
)
def test_they_are_what_a_loop_finds(weights: np.ndarray) -> None:
    names = [f"x{k}" for k in range(weights.shape[1])]
    ranked = ranked_columns(weights, names)
    assert sorted(column.name for column in ranked) == names
    assert all(one.weight >= other.weight for one, other in pairwise(ranked))
    for column in ranked:
        own = [abs(float(row[names.index(column.name)])) for row in weights]
        assert column == (column.name, max(own), all(weight == 0 for weight in own))


def test_a_column_that_a_layer_does_not_hear_ranks_last_and_changes_nothing() -> None:
    torch.manual_seed(0)
    layer = LSTM(3, 5, batch_first=True)
    with torch.no_grad():
        layer.weight_ih_l0[:, 1] = 0.0
        layer.weight_ih_l0[7, 2] = -4.0
    ranked = ranked_columns(layer.weight_ih_l0.detach().numpy(), ["T1", "rv1", "lights"])
    assert [column.name for column in ranked] == ["lights", "T1", "rv1"]
    assert [column.is_zero for column in ranked] == [False, False, True]
    x = torch.randn(2, 6, 3)
    other = x.clone()
    other[..., 1] = torch.randn(2, 6)
    torch.testing.assert_close(layer(x)[0], layer(other)[0], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("weights", "names", "said"),
    [
        (np.ones((8, 3)), ["a", "b"], r"weights must have a column for each of 2 names, got shape \(8, 3\)."),
        (np.ones(3), ["a", "b", "c"], r"weights must have a column for each of 3 names, got shape \(3,\)."),
        (np.ones((0, 2)), ["a", "b"], r"weights must have a column for each of 2 names, got shape \(0, 2\)."),
        (np.array([[1.0, np.nan]]), ["a", "b"], "weights must be finite; that of column 'b' is not."),
    ],
)
def test_what_are_no_weights_of_these_columns_is_refused(weights: np.ndarray, names: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ranked_columns(weights, names)
