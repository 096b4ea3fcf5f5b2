"""The gradients written by hand, against autograd through the reference."""

from __future__ import annotations

import itertools

import pytest
import torch

from lstmreg import ops
from lstmreg.ops.backward import gradients
from lstmreg.ops.call import Call


def masks(groups: int | None, batch: int, width: int) -> torch.Tensor | None:
    return None if groups is None else torch.empty(groups, batch, width, dtype=torch.float64).bernoulli_(0.7) / 0.7


@pytest.mark.parametrize(("groups_x", "groups_h"), list(itertools.product([None, 1, 4], repeat=2)))
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("steps", "batch", "features", "hidden"), [(1, 1, 1, 1), (7, 3, 2, 5)])
def test_gradients_by_hand_equal_autograds(groups_x, groups_h, reverse, padded, bias, steps, batch, features, hidden):
    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    tensors = [random(steps, batch, features), random(batch, hidden), random(batch, hidden)]
    tensors += [random(4 * hidden, features), random(4 * hidden, hidden)]
    tensors += [random(4 * hidden)] if bias else []
    x, h_0, c_0, w_ih, w_hh, *rest = tensors
    b = rest[0] if rest else None
    settings = {
        "input_mask": masks(groups_x, batch, features),
        "recurrent_mask": masks(groups_h, batch, hidden),
        "valid": torch.rand(steps, batch) < 0.6 if padded else None,  # with holes, and rows without any step
        "reverse": reverse,
    }
    results = ops.lstm(x, h_0, c_0, w_ih, w_hh, b, **settings, backend="reference")
    cotangents = tuple(torch.randn_like(r) for r in results)
    expected = torch.autograd.grad(results, tensors, cotangents)
    with torch.no_grad():
        found = gradients(Call(x, h_0, c_0, w_ih, w_hh, b, **settings), cotangents)
    torch.testing.assert_close(found, list(expected), rtol=1e-12, atol=1e-12)
