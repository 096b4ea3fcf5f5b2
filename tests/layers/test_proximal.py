"""The L1 as a proximal step: soft thresholding by hand, for what can be split off, with the rate of the step."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from lstmreg import L1, L1L2, L2, LSTM, Orthogonal, penalties, regularize
from lstmreg.layers.proximal import proximal_step, smooth_penalties, soft_threshold_

WEIGHTS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0")


def by_hand(value: float, amount: float) -> float:
    return math.copysign(max(abs(value) - amount, 0.0), value)


def sgd(model: nn.Module, rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=rate)


def ones(lstm: LSTM) -> LSTM:
    """Fill the weights with numbers of both signs, some of them small."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.normal_(std=0.2)
    return lstm


@pytest.mark.parametrize("amount", [0.0, 0.25, 0.5])
def test_soft_thresholding_is_the_arithmetic(amount):
    values = [-2.0, -0.5, -0.25, -0.125, 0.0, 0.125, 0.25, 0.375, 3.0]
    w = torch.tensor(values)
    assert soft_threshold_(w, amount) is w
    assert w.tolist() == [by_hand(value, amount) for value in values]


def test_each_weight_may_have_an_amount_of_its_own():
    w = torch.tensor([[1.0, -1.0], [0.5, -0.5]])
    assert soft_threshold_(w, torch.tensor([[0.25, 2.0], [0.0, 0.125]])).tolist() == [[0.75, 0.0], [0.5, -0.375]]


def test_what_is_not_finite_stays_so():
    w = soft_threshold_(torch.tensor([torch.nan, torch.inf, -torch.inf]), 1.0)
    assert w.isnan().tolist() == [True, False, False]
    assert w[1:].tolist() == [math.inf, -math.inf]


@pytest.mark.parametrize("kind", ["kernel", "recurrent", "bias"])
@pytest.mark.parametrize("regularizer", [L1(0.5), L1L2(0.5, 0.25)], ids=str)
def test_each_kind_of_weight_is_pulled_by_the_rate_times_its_strength(kind, regularizer):
    lstm = ones(LSTM(3, 4, **{f"{kind}_regularizer": regularizer}))
    before = {name: weight.tolist() for name, weight in lstm.double().state_dict().items()}
    proximal_step(lstm, sgd(lstm, 0.25))
    name = dict(zip(("kernel", "recurrent", "bias"), WEIGHTS, strict=True))[kind]
    for other, weight in lstm.state_dict().items():
        expected = torch.tensor(before[other], dtype=torch.float64)
        if other == name:
            expected = torch.tensor([by_hand(v, 0.125) for v in expected.flatten().tolist()]).view_as(weight)
            assert 0 < int((weight == 0).sum()) < weight.numel()
        torch.testing.assert_close(weight, expected.to(weight), rtol=0, atol=1e-7)


def test_of_two_biases_the_sum_becomes_exactly_zero():
    lstm = LSTM(2, 3, bias_regularizer=L1(1.0))
    with torch.no_grad():
        lstm.bias_ih_l0.copy_(torch.linspace(-0.6, 0.6, 12))
        lstm.bias_hh_l0.fill_(0.3)
    expected = [by_hand(value, 0.5) for value in (lstm.bias_ih_l0 + lstm.bias_hh_l0).tolist()]
    proximal_step(lstm, sgd(lstm, 0.5))
    assert (lstm.bias_ih_l0 + lstm.bias_hh_l0).tolist() == pytest.approx(expected, abs=1e-7)
    assert int((lstm.bias_ih_l0 + lstm.bias_hh_l0 == 0).sum()) == expected.count(0.0) > 0


def test_layers_and_directions_have_strengths_of_their_own_and_each_group_its_rate():
    lstm = ones(LSTM(3, 4, num_layers=2, bidirectional=True, kernel_regularizer=[L1(0.5), L2(0.5)]))
    before = {name: weight.clone() for name, weight in lstm.named_parameters()}
    fast = [lstm.weight_ih_l0_reverse]
    slow = [p for p in lstm.parameters() if p is not fast[0] and p is not lstm.weight_ih_l1]
    proximal_step(lstm, torch.optim.SGD([{"params": fast, "lr": 0.5}, {"params": slow, "lr": 0.125}]))
    for name, weight in lstm.named_parameters():
        amount = {"weight_ih_l0": 0.0625, "weight_ih_l0_reverse": 0.25}.get(name, 0.0)
        assert torch.equal(weight, before[name].sign() * (before[name].abs() - amount).clamp(min=0)), name


def test_penalties_keep_their_values_and_the_l1_loses_its_gradient():
    lstm = ones(LSTM(3, 4, kernel_regularizer=L1L2(0.5, 0.25), recurrent_regularizer=L1(0.5), bias_regularizer=L2(0.5)))
    whole, smooth = penalties(lstm), smooth_penalties(lstm)
    assert {kind: v.item() for kind, v in smooth.items()} == {kind: v.item() for kind, v in whole.items()}
    sum(smooth.values()).backward()
    torch.testing.assert_close(lstm.weight_ih_l0.grad, 2 * 0.25 * lstm.weight_ih_l0)
    torch.testing.assert_close(lstm.bias_ih_l0.grad, 2 * 0.5 * lstm.bias_ih_l0)
    assert lstm.weight_hh_l0.grad is None


def own(w: torch.Tensor) -> torch.Tensor:
    return w.abs().sum()


@pytest.mark.parametrize("regularizer", [Orthogonal(0.1), own, L2(0.1)], ids=["orthogonal", "own", "l2"])
def test_what_has_no_l1_to_split_off_stays_in_the_loss_whole(regularizer):
    lstm = ones(LSTM(3, 4, kernel_regularizer=regularizer))
    before = lstm.weight_ih_l0.clone()
    proximal_step(lstm, sgd(lstm, 0.5))
    assert torch.equal(lstm.weight_ih_l0, before)
    gradients = [torch.autograd.grad(f(lstm)["kernel"], lstm.weight_ih_l0)[0] for f in (penalties, smooth_penalties)]
    assert torch.equal(*gradients)
    assert bool(gradients[0].any())


def test_activity_and_what_regularize_gave_stay_in_the_loss():
    model = nn.ModuleDict({"rnn": LSTM(3, 4, activity_regularizer=L1(0.5)), "head": nn.Linear(4, 1)})
    regularize(model, "head.weight", L1(0.5))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    output, _ = model["rnn"](torch.randn(5, 2, 3))
    model["head"](output)
    sum(smooth_penalties(model).values()).backward()
    assert torch.equal(model["head"].weight.grad, 0.5 * model["head"].weight.sign())
    assert bool(model["rnn"].weight_ih_l0.grad.any())
    proximal_step(model, sgd(model, 0.5))
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_a_parametrized_weight_keeps_its_l1_in_the_loss():
    lstm = ones(LSTM(3, 4, kernel_regularizer=L1(0.5)))
    weight_norm(lstm, "weight_ih_l0")
    before = lstm.weight_ih_l0.clone()
    proximal_step(lstm, sgd(lstm, 0.5))
    assert torch.equal(lstm.weight_ih_l0, before)
    smooth_penalties(lstm)["kernel"].backward()
    assert bool(lstm.parametrizations.weight_ih_l0.original0.grad.any())


def test_a_shared_weight_is_pulled_once_and_one_that_is_not_trained_not_at_all():
    first, second = (ones(LSTM(3, 4, kernel_regularizer=L1(0.5), recurrent_regularizer=L1(0.5))) for _ in range(2))
    second.weight_ih_l0 = first.weight_ih_l0
    second.weight_hh_l0.requires_grad_(False)
    model = nn.ModuleList([first, second])
    before, held = first.weight_ih_l0.clone(), [first.weight_hh_l0.clone(), second.weight_hh_l0.clone()]
    trained = [p for p in model.parameters() if p is not first.weight_hh_l0]
    proximal_step(model, torch.optim.SGD(trained, lr=0.25))
    assert torch.equal(first.weight_ih_l0, before.sign() * (before.abs() - 0.125).clamp(min=0))
    assert torch.equal(first.weight_hh_l0, held[0])  # the optimizer does not have it
    assert torch.equal(second.weight_hh_l0, held[1])  # it is frozen


class Rateless(torch.optim.Optimizer):
    def __init__(self, parameters) -> None:
        super().__init__(parameters, {})


def test_an_optimizer_without_a_rate_is_refused_where_there_is_something_to_pull():
    proximal_step(LSTM(2, 3), Rateless(LSTM(2, 3).parameters()))
    lstm = LSTM(2, 3, kernel_regularizer=L1(0.5))
    with pytest.raises(ValueError, match=r"^proximal needs an optimizer .* learning rate 'lr', got Rateless\.$"):
        proximal_step(lstm, Rateless(lstm.parameters()))
