"""The elastic nets of K models at once are those of each."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lstmreg import L1L2
from lstmreg.regularizers import elastic_nets, member_nets

K = 4

#: By name, the strengths (l1, l2) of each tensor for each member; None where no member has any.
STRENGTHS = {
    "both": [([0.5, 0.0, 2.0, 0.25], [0.25, 3.0, 0.0, 0.125]), ([1.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 2.0])],
    "L1 alone": [([0.5, 0.0, 2.0, 0.25], None), ([1.0, 0.5, 0.0, 0.0], None)],
    "L2 alone": [(None, [0.25, 3.0, 0.0, 0.125]), (None, [0.5, 2.0, 0.0, 1.0])],
    "one of each": [(None, [0.25, 3.0, 0.0, 0.125]), ([1.0, 0.5, 0.0, 0.0], None)],
}


def tensors(dtype: torch.dtype) -> list[Tensor]:
    shapes = ((K, 8, 3), (K, 5), (K, 3, 2, 7))
    return [torch.randn(*shape, dtype=dtype, requires_grad=True) for shape in shapes]


def columns(strengths: list, dtype: torch.dtype) -> list[tuple[Tensor | None, Tensor | None]]:
    return [tuple(None if s is None else torch.tensor(s, dtype=dtype) for s in pair) for pair in strengths]


@pytest.mark.parametrize("sums", [[0, 0, 0], [0, 1, 0], [1, 0, 2]])
@pytest.mark.parametrize("name", STRENGTHS)
def test_each_member_has_the_values_and_gradients_of_its_own_elastic_nets(name, sums):
    dtype = torch.float64
    given = [*STRENGTHS[name], STRENGTHS["both"][1]]
    w = tensors(dtype)
    totals = member_nets(columns(given, dtype), w, sums)
    assert len(totals) == max(sums) + 1
    scales = torch.randn(max(sums) + 1, K, dtype=dtype)
    gradients = torch.autograd.grad(sum((t * s).sum() for t, s in zip(totals, scales, strict=True)), w)
    for k in range(K):
        own = [tensor.detach()[k].clone().requires_grad_() for tensor in w]
        expected = [torch.zeros((), dtype=dtype) for _ in range(max(sums) + 1)]
        for (l1, l2), tensor, i in zip(given, own, sums, strict=True):
            net = L1L2(0.0 if l1 is None else l1[k], 0.0 if l2 is None else l2[k])
            expected[i] = expected[i] + net.l1 * tensor.abs().sum() + net.l2 * (tensor * tensor).sum()
            torch.testing.assert_close(net(tensor), net.l1 * tensor.abs().sum() + net.l2 * (tensor * tensor).sum())
        for i, total in enumerate(totals):
            torch.testing.assert_close(total[k], expected[i])
        by_hand = torch.autograd.grad(sum(e * s for e, s in zip(expected, scales[:, k], strict=True)), own)
        for gradient, alone in zip(gradients, by_hand, strict=True):
            torch.testing.assert_close(gradient[k], alone)


def test_a_member_that_is_not_finite_spoils_no_other():
    w = tensors(torch.float32)
    strengths, sums = columns([*STRENGTHS["both"], ([1.0] * K, [1.0] * K)], torch.float32), [0, 0, 1]
    clean = member_nets(strengths, w, sums)
    clean_gradients = torch.autograd.grad(sum(t.sum() for t in clean), w)
    with torch.no_grad():
        for tensor, value in zip(w, (torch.nan, torch.inf, 1e30), strict=True):
            tensor[1] = value
    spoilt = member_nets(strengths, w, sums)
    gradients = torch.autograd.grad(sum(t.sum() for t in spoilt), w)
    others = [0, 2, 3]
    for before, after in zip((*clean, *clean_gradients), (*spoilt, *gradients), strict=True):
        assert torch.equal(after[others], before[others])
    assert not any(bool(total[1].isfinite()) for total in spoilt)


def test_what_enters_no_loss_has_no_gradient():
    w = tensors(torch.float64)
    used, _ = member_nets(columns([*STRENGTHS["both"], STRENGTHS["both"][0]], torch.float64), w, [0, 0, 1])
    gradients = torch.autograd.grad(used.sum(), w, allow_unused=True)
    assert [gradient is None for gradient in gradients] == [False, False, True]


def test_autocast_computes_no_penalty_in_a_shorter_type():
    w = torch.full((3, 7), 1 / 3)
    with torch.autocast("cpu", torch.bfloat16):
        total = L1L2(1.0, 1.0)(w)
    assert total.dtype == torch.float32
    assert float(total) == pytest.approx(21 * (1 / 3 + 1 / 9), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_squares_in_half_precision_are_summed_in_float32(dtype):
    weights, output = torch.zeros(1), torch.full((40_000,), 1.5, dtype=dtype)  # 90000: more than float16 can hold
    total = elastic_nets([(0.0, 1.0), (0.0, 1.0)], [weights, output], [0, 0])[0]
    assert total.dtype == torch.float32
    assert float(total) == 90_000
