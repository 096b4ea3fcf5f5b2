"""Elastic nets that a pass forms along with its results, against the same nets as operations of their own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lstmreg import ops
from lstmreg.ops import Call, Costs, Strengths
from tests.ops.arguments import Arguments, make_arguments, make_cotangents, make_mask

pytestmark = pytest.mark.usefixtures("_new_memory_is_nan")

STRENGTHS = {
    "all": Strengths((0.5, 0.25), (0.0, 2.0), (1.5, 0.0), (0.125, 0.5)),
    "squares": Strengths((0.0, 0.25), (0.0, 2.0), (0.0, 1.0), (0.0, 0.5)),
    "of the output": Strengths(activity=(0.5, 0.25)),
    "of a weight": Strengths(recurrent=(0.5, 0.25)),
}
SIZES = [(1, 1, 1, 1), (3, 2, 5, 4), (2, 7, 3, 16), (4, 33, 9, 17), (5, 65, 1, 65)]


def call_of(arguments: Arguments, masked: bool = True, **others: Any) -> Call:
    x, *rest = arguments
    masks = (make_mask(4, x.shape[1], x.shape[2], x.dtype), make_mask(4, *rest[0].shape, x.dtype)) if masked else ()
    return Call(*arguments, None, *masks, **others)


def defined(call: Call, strengths: Strengths) -> tuple[ops.Result, list[Tensor]]:
    """Return the results of the reference, and what each net costs by its formula."""
    result = ops.dispatch.BACKENDS["reference"].lstm(call)
    costs = [
        call.x.new_zeros(()) if s is None or w is None else s[0] * w.abs().sum() + s[1] * w.square().sum()
        for s, w in zip(strengths, (call.w_ih, call.w_hh, call.bias, result[0]), strict=True)
    ]
    return result, costs


def formed(call: Call, strengths: Strengths) -> tuple[ops.Result, Costs]:
    result, costs = ops.penalised(call, strengths, "fused_cpu")
    assert costs is not None
    return result, costs


def assert_close(found: Any, expected: Any) -> None:
    one = found[0] if isinstance(found, (list, tuple)) else found
    tolerance = 1e-10 if one.dtype is torch.float64 else 2e-4
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("strengths", STRENGTHS.values(), ids=STRENGTHS)
def test_costs_and_every_gradient_are_those_of_the_definition(strengths, size, dtype, reverse, with_bias):
    arguments: Arguments = [*make_arguments(*size, dtype)]
    if not with_bias:
        arguments[5] = None
    leaves = [a for a in arguments if a is not None]
    call = call_of(arguments, reverse=reverse)
    (result, costs), (expected, parts) = formed(call, strengths), defined(call, strengths)
    assert_close(list(result), list(expected))
    assert_close(costs.parts, torch.stack(parts))
    assert_close(costs.total, sum(parts))
    cotangents = [torch.randn_like(y) for y in expected]
    weights = torch.randn(5, dtype=dtype)
    scaled = weights[0] * sum(parts) + sum(w * part for w, part in zip(weights[1:], parts, strict=True))
    ours = [*result, weights[0] * costs.total + (weights[1:] * costs.parts).sum()]
    one = torch.ones((), dtype=dtype)
    found = torch.autograd.grad(ours, leaves, [*cotangents, one])
    assert_close(list(found), list(torch.autograd.grad([*expected, scaled], leaves, [*cotangents, one])))


def test_costs_alone_have_gradients_without_a_gradient_of_the_results():
    arguments = make_arguments(3, 5, 4, 7)
    call, strengths = call_of(arguments), STRENGTHS["all"]
    leaves = [a for a in arguments if a is not None]
    found = torch.autograd.grad(formed(call, strengths)[1].total, leaves)
    assert_close(list(found), list(torch.autograd.grad(sum(defined(call, strengths)[1]), leaves)))


def test_costs_of_weights_can_be_gone_back_through_when_the_rest_of_the_graph_is_gone():
    arguments = make_arguments(3, 5, 4, 7)
    w_hh = arguments[4]
    (output, _, _), costs = formed(call_of(arguments), STRENGTHS["all"])
    kernel, recurrent, _, activity = costs.parts.unbind()
    assert not costs.is_spent
    output.sum().backward()
    assert costs.is_spent
    (found,) = torch.autograd.grad(recurrent, w_hh, retain_graph=True)
    assert_close(found, 4.0 * w_hh.detach())
    with pytest.raises(RuntimeError, match="second time"):
        activity.backward(retain_graph=True)
    with torch.no_grad():
        w_hh.mul_(2)
    with pytest.raises(RuntimeError, match="changed in place"):
        kernel.backward()


def test_second_derivatives_are_those_of_the_definition():
    arguments = make_arguments(3, 2, 2, 3)
    call, strengths = call_of(arguments), STRENGTHS["all"]
    leaves = [a for a in arguments if a is not None]
    cotangent, *_ = make_cotangents(ops.dispatch.BACKENDS["reference"].lstm(call))

    def slopes(result: ops.Result, total: Tensor) -> tuple[Tensor, ...]:
        first = torch.autograd.grad((result[0] * cotangent).sum() + total, leaves, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), leaves)

    result, costs = formed(call, strengths)
    expected, parts = defined(call, strengths)
    assert_close(list(slopes(result, costs.total)), list(slopes(expected, sum(parts))))


def test_a_batch_of_cotangents_gives_the_gradients_of_each():
    arguments = make_arguments(3, 2, 2, 3)
    _, costs = formed(call_of(arguments), STRENGTHS["all"])
    leaves = [a for a in arguments if a is not None]
    batch = torch.randn(3, 4, dtype=costs.parts.dtype)
    found = torch.autograd.grad(costs.parts, leaves, batch, is_grads_batched=True, retain_graph=True)
    each = [torch.autograd.grad(costs.parts, leaves, row, retain_graph=True) for row in batch]
    assert_close(list(found), [torch.stack(gradients) for gradients in zip(*each, strict=True)])


@pytest.mark.parametrize("threads", [1, 2])
def test_in_bfloat16_they_are_those_of_the_rounded_output(threads):
    arguments = [a.float().detach().requires_grad_() for a in make_arguments(9, 33, 8, 32)]
    strengths, before = STRENGTHS["all"], torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            (output, _, _), costs = ops.penalised(call_of(arguments), strengths, "fused_cpu")
        if costs is None:  # no processor for it
            return
        weights = arguments[3:]
        of_output = 0.125 * output.float().abs().sum() + 0.5 * output.float().square().sum()
        torch.testing.assert_close(costs.parts[3], of_output, rtol=1e-5, atol=0)
        assert_close(
            list(torch.autograd.grad(costs.parts[:3].sum(), weights, retain_graph=True)),
            [0.5 * weights[0].sign() + 0.5 * weights[0], 4.0 * weights[1], 1.5 * weights[2].sign()],
        )
        (found,) = torch.autograd.grad(costs.parts[3], weights[1], retain_graph=True)
        (expected,) = torch.autograd.grad(of_output, weights[1])
        assert (found - expected).norm() < 0.01 * expected.norm()
    finally:
        torch.set_num_threads(before)


def test_of_few_units_in_bfloat16_none_are_formed_because_the_output_is_rounded_after_the_pass():
    arguments = [a.float().detach().requires_grad_() for a in make_arguments(9, 3, 8, 5)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (output, _, _), costs = ops.penalised(call_of(arguments), STRENGTHS["all"], "fused_cpu")
    assert output.dtype is torch.bfloat16
    assert costs is None


def test_they_are_formed_where_somebody_can_go_back_and_in_plain_pytorch_alone():
    arguments, strengths = make_arguments(3, 2, 2, 3), STRENGTHS["all"]
    call = call_of(arguments)
    assert ops.penalised(call, strengths, "auto")[1] is not None
    assert ops.penalised(call, strengths, "eager")[1] is None
    assert ops.penalised(call_of(arguments, masked=False), strengths, "auto")[1] is None  # torch's own LSTM
    with torch.no_grad():
        assert ops.penalised(call, strengths, "fused_cpu")[1] is None
