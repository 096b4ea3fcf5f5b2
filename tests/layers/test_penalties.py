"""What penalties cost, when they count, and how they add up over a model."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
import weakref

import keras
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.rnn import pack_sequence
from torch.utils.checkpoint import checkpoint

from lstmreg import L1, L1L2, L2, LSTM, MaxNorm, apply_constraints, penalties
from lstmreg.regularizers import elastic_nets

T, B, D, H = 7, 3, 5, 4


def assert_close(got, expected) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)


def activity_of(output: Tensor) -> Tensor:
    return 0.5 * output.square().sum() / B


@pytest.fixture
def x() -> Tensor:
    return torch.randn(T, B, D)


@pytest.fixture
def active() -> LSTM:
    return LSTM(D, H, activity_regularizer=L2(0.5))


def test_every_knob_costs_what_its_formula_says(x):
    lstm = LSTM(
        D,
        H,
        num_layers=2,
        bidirectional=True,
        kernel_regularizer=L1(0.5),
        recurrent_regularizer=L2(0.25),
        bias_regularizer=L1L2(0.5, 2.0),
        activity_regularizer=L2(0.5),
        activity_steps="last",
    )
    for bias_hh in lstm.buffers():
        bias_hh.fill_(-0.5)  # what is penalised is the sum of the two biases
    top, _ = lstm(x)
    bottom = LSTM(D, H, bidirectional=True)
    bottom.load_state_dict({name: w for name, w in lstm.state_dict().items() if "l0" in name})
    cells = lstm.all_weights
    expected = {
        "kernel": sum(0.5 * w_ih.abs().sum() for w_ih, *_ in cells),
        "recurrent": sum(0.25 * w_hh.square().sum() for _, w_hh, *_ in cells),
        "bias": sum(0.5 * (b + c).abs().sum() + 2.0 * (b + c).square().sum() for *_, b, c in cells),
        "activity": activity_of(bottom(x)[0]) + activity_of(top[-1, :, :H]) + activity_of(top[0, :, H:]),
    }
    assert_close(penalties(lstm), expected)
    assert_close(lstm.penalty(), sum(expected.values()))


def test_activity_of_padded_sequences_counts_their_valid_steps(active):
    sequences = [torch.randn(length, D) for length in (2, 7, 1)]
    active(pack_sequence(sequences, enforce_sorted=False))
    cost = active.penalty()
    assert_close(cost, sum(activity_of(active.eval()(sequence)[0]) for sequence in sequences))


def test_reading_twice_gives_the_same(active, x):
    output, _ = active(x)
    for _ in range(2):
        assert_close(active.penalty(), activity_of(output))
        assert_close(penalties(active), {"activity": activity_of(output)})


def test_two_calls_before_a_reading_add_up_and_the_first_after_it_begins_anew(active, x):
    first, second, third = (active(x * scale)[0] for scale in (1, 2, 3))
    assert_close(active.penalty(), activity_of(first) + activity_of(second) + activity_of(third))
    for reading in (active.penalty, lambda: penalties(active)["activity"]):
        fourth, _ = active(x * 4)
        assert_close(reading(), activity_of(fourth))


def test_eval_records_nothing_and_keeps_what_training_recorded(active, x):
    active.eval()(x)
    assert active.penalty() == 0
    output, _ = active.train()(x)
    active.eval()(x)
    assert_close(active.penalty(), activity_of(output))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda lstm: pickle.loads(pickle.dumps(lstm))])
def test_copies_carry_no_activity(clone, active, x):
    output, _ = active(x)  # its graph, still pending, can be neither copied nor pickled
    twin = clone(active)
    assert twin.penalty() == 0
    assert_close(active.penalty(), activity_of(output))


@pytest.mark.parametrize("parametrized", [False, True])
def test_frozen_weights_cost_nothing_but_their_activity_does(parametrized, x):
    lstm = LSTM(D, H, kernel_regularizer=L2(0.5), recurrent_regularizer=L2(0.5), activity_regularizer=L2(0.5))
    if parametrized:
        parametrize.register_parametrization(lstm, "weight_ih_l0", nn.Tanh())
    for name, parameter in lstm.named_parameters():
        parameter.requires_grad_("weight_ih" not in name)
    output, _ = lstm(x)
    expected = {"recurrent": 0.5 * lstm.weight_hh_l0.square().sum(), "activity": activity_of(output)}
    assert_close(penalties(lstm), expected)
    lstm.requires_grad_(False)
    assert_close(penalties(lstm), {"activity": activity_of(output)})


def train(checkpointed: bool, steps: int = 3) -> list[tuple[Tensor, ...]]:
    torch.manual_seed(3)
    lstm = LSTM(D, H, 2, dropout=0.3, recurrent_dropout=0.4, activity_regularizer=L2(0.5))
    optimizer = torch.optim.SGD(lstm.parameters(), lr=0.1)
    log = []
    for _ in range(steps):
        x = torch.randn(T, B, D, requires_grad=True)
        output, _ = checkpoint(lstm, x, use_reentrant=False) if checkpointed else lstm(x)
        cost = lstm.penalty()
        optimizer.zero_grad()
        (output.square().sum() + cost).backward()
        assert_close(lstm.penalty(), cost)  # what backward ran again was not recorded again
        log.append((cost.detach(), x.grad, *(p.grad.clone() for p in lstm.parameters())))
        optimizer.step()
    return log


def test_checkpointing_changes_neither_penalties_nor_gradients():
    torch.testing.assert_close(train(checkpointed=True), train(checkpointed=False), rtol=0, atol=0)


def test_seeded_dropout_refuses_to_be_drawn_again(x):
    lstm = LSTM(D, H, recurrent_dropout=0.4, seed=7)
    output, _ = checkpoint(lstm, x, use_reentrant=False)
    with pytest.raises(RuntimeError, match=r"seeded dropout .* checkpointing .* Use seed=None"):
        output.sum().backward()


def test_a_model_costs_the_sum_of_its_layers_by_kind(x):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.ModuleDict({"a": LSTM(D, H, kernel_regularizer=L2(0.5))})
            self.b = LSTM(H, D, kernel_regularizer=L1(0.5), activity_regularizer=L2(0.5))
            self.head = nn.Linear(D, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.b(self.inner["a"](x)[0])[0])

    model = Model()
    model(x)
    a, b = model.inner["a"], model.b
    found = penalties(model)
    assert list(found) == ["kernel", "activity"]
    assert_close(found["kernel"], 0.5 * a.weight_ih_l0.square().sum() + 0.5 * b.weight_ih_l0.abs().sum())
    assert_close(found["activity"], b.penalty() - 0.5 * b.weight_ih_l0.abs().sum())


def test_a_model_without_regularizers_costs_nothing():
    assert penalties(nn.ModuleList([LSTM(D, H), nn.Linear(H, 1)])) == {}


def test_a_shared_layer_counts_once(x):
    lstm = LSTM(D, D, recurrent_regularizer=L2(0.5), activity_regularizer=L2(0.5))
    model = nn.ModuleDict({"a": lstm, "b": nn.Sequential(lstm)})
    first, _ = lstm(x)
    second, _ = lstm(first)
    activity = activity_of(first) + activity_of(second)  # though each of its calls does
    expected = {"recurrent": 0.5 * lstm.weight_hh_l0.square().sum(), "activity": activity}
    assert_close(penalties(model), expected)


def test_a_shared_parameter_counts_once():
    a, b = (LSTM(D, H, recurrent_regularizer=L2(0.5)) for _ in range(2))
    b.weight_hh_l0 = a.weight_hh_l0
    assert_close(penalties(nn.ModuleList([a, b])), {"recurrent": 0.5 * a.weight_hh_l0.square().sum()})


@pytest.mark.parametrize(("regularizer", "grad"), [(L2(0.5), True), (L2(0.5), False), (torch.sum, True)])
def test_parametrized_weights_count_each(regularizer, grad):
    lstm = LSTM(D, H, num_layers=5, recurrent_regularizer=regularizer)
    for layer in range(5):
        parametrize.register_parametrization(lstm, f"weight_hh_l{layer}", nn.Tanh())
    with torch.set_grad_enabled(grad):
        expected = sum(regularizer(w_hh) for _, w_hh, *_ in lstm.all_weights)
        assert_close(penalties(lstm), {"recurrent": expected})


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (L1(0.125), keras.regularizers.L1(0.125)),
        (L2(0.375), keras.regularizers.L2(0.375)),
        (L1L2(0.125, 0.375), keras.regularizers.L1L2(0.125, 0.375)),
        (L1L2(l2=0.5), keras.regularizers.L1L2(l2=0.5)),
        (L1(0), keras.regularizers.L1(0)),
        (L1(), keras.regularizers.L1()),
        (L2(), keras.regularizers.L2()),
        (L1L2(), keras.regularizers.L1L2()),
    ],
    ids=lambda regularizer: repr(regularizer) if dataclasses.is_dataclass(regularizer) else "keras",
)
def test_value_and_gradient_are_those_of_keras(ours, theirs):
    w = torch.randn(7, 33)
    w[3], w[:, 5] = 0.0, -0.0
    results = []
    for regularizer in (ours, theirs):
        leaf = w.clone().requires_grad_()
        value = regularizer(leaf)
        grad = torch.autograd.grad(value, leaf)[0] if value.requires_grad else torch.zeros_like(w)
        results.append((value, grad))
    torch.testing.assert_close(*results, rtol=2e-7, atol=0)


@pytest.mark.parametrize("kind", [L1, L2, L1L2])
@pytest.mark.parametrize(
    ("strength", "error", "rule"),
    [
        (-0.1, ValueError, "finite and not negative"),
        (math.nan, ValueError, "finite and not negative"),
        (math.inf, ValueError, "finite and not negative"),
        ("0.1", TypeError, "a number"),
    ],
)
def test_a_wrong_strength_is_refused_with_rule_and_value(kind, strength, error, rule):
    with pytest.raises(error, match=f"must be {rule}, got {strength!r}"):
        kind(strength)


def test_a_strength_may_be_any_finite_number_and_none_is_the_default():
    assert (L1(None), L2(None), L1L2(None, None)) == (L1(0.01), L2(0.01), L1L2(0.0, 0.0))
    w = torch.tensor([1.0, -3.0])
    assert L1(np.float32(0.5))(w) == 2
    assert L2(1)(w) == 10
    assert L1L2(np.float64(1.0), torch.tensor(0.5))(w) == 9


def test_an_output_changed_in_place_before_the_reading_is_refused(active, x):
    output, _ = active(x)
    output.detach().relu_()
    with pytest.raises(RuntimeError, match="changed in place"):
        active.penalty()


def plain(l1: float, l2: float, w: Tensor) -> Tensor:
    return l1 * w.abs().sum() + l2 * w.square().sum()


@pytest.mark.parametrize("regularizer", [L1(0.5), L2(0.25), L1L2(0.5, 2.0), L1L2()])
def test_elastic_nets_can_be_differentiated_twice_and_mapped(regularizer):
    w = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(regularizer, [w])
    assert torch.autograd.gradgradcheck(regularizer, [w])
    # As a population maps a regularizer over its members.
    mapped = torch.func.vmap(torch.func.grad(regularizer))(w.detach())
    torch.testing.assert_close(mapped, torch.stack([torch.func.grad(regularizer)(row) for row in w.detach()]))


def test_elastic_nets_add_up_into_the_sums_they_are_given():
    tensors = [torch.randn(shape, requires_grad=True) for shape in [(2, 3), (4,), (1, 1), (3, 2)]]
    strengths, sums = [(0.5, 0.0), (0.0, 2.0), (1.0, 1.0), (0.0, 0.25)], [1, 0, 1, 1]
    penalised = [w.t() if w.dim() == 2 else w for w in tensors]  # not contiguous
    costs = [plain(l1, l2, w) for (l1, l2), w in zip(strengths, penalised, strict=True)]
    expected = [costs[1], costs[0] + costs[2] + costs[3]]
    found = elastic_nets(strengths, penalised, sums)
    assert_close(found, expected)
    for weights in ([1.0, 0.0], [0.0, 1.0], [2.0, -3.0]):
        together = [sum(w * total for w, total in zip(weights, of, strict=True)) for of in (found, expected)]
        assert_close(*(torch.autograd.grad(loss, tensors, retain_graph=True) for loss in together))


def test_the_gradient_of_one_sum_leaves_the_tensors_of_others_alone():
    first, second = torch.randn(2, requires_grad=True), torch.randn(3, requires_grad=True)
    total, _ = elastic_nets([(0.0, 1.0), (0.0, 1.0)], [first, second], [0, 1])
    total.backward()
    assert_close(first.grad, 2 * first.detach())
    assert second.grad is None


def test_an_eval_forward_after_a_reading_leaves_no_activity_behind() -> None:
    lstm, x = LSTM(3, 4, activity_regularizer="l2"), torch.randn(5, 2, 3)
    lstm(x)
    lstm.eval()(x)  # a look in between
    assert lstm.penalty().item() > 0
    lstm(x)
    assert lstm.penalty().item() == 0


# ---------------------------------------------------------------------- forwards without gradients


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("regularizer", [L2(0.5), lambda y: 0.5 * y.square().sum()], ids=["elastic", "a function"])
def test_forwards_without_gradients_cost_what_they_cost_and_none_of_them_is_kept(regularizer, without, x):
    lstm = LSTM(D, H, 2, bidirectional=True, recurrent_dropout=0.5, activity_regularizer=[regularizer, None])
    torch.manual_seed(3)
    for _ in range(3):
        lstm(x)
    expected = lstm.penalty()
    outputs = []
    torch.manual_seed(3)
    with without():  # as Monte Carlo dropout runs
        for _ in range(3):
            output, (h_n, _) = lstm(x)
            outputs.append(weakref.ref(output))
            del output, h_n
        found = lstm.penalty()
    assert_close(found, expected)
    assert [output() for output in outputs] == [None] * 3
    lstm(x)  # the first forward after the reading begins anew
    assert lstm.penalty() < found
    assert lstm.penalty().requires_grad


def test_forwards_with_and_without_gradients_add_up(active, x):
    with torch.no_grad():
        first, _ = active(x)
    second, _ = active(2 * x)
    penalty = active.penalty()
    assert_close(penalty, activity_of(first) + activity_of(second))
    (found,) = torch.autograd.grad(penalty, active.weight_ih_l0, retain_graph=True)
    (expected,) = torch.autograd.grad(activity_of(second), active.weight_ih_l0)
    assert_close(found, expected)


# ---------------------------------------------------------------------- constraints


def small(lstm: LSTM) -> bool:
    """Tell whether the constraint of ``constrained`` holds."""
    return bool(lstm.weight_ih_l0.norm(dim=1).max() <= 0.1 + 1e-5)


def constrained(**options) -> LSTM:
    return LSTM(D, H, kernel_constraint=MaxNorm(0.1), **options)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("set_to_none", [True, False])
def test_constraints_hold_whether_gradients_are_set_to_zero_before_or_after(set_to_none, training, x):
    results = []
    for clears_first in (True, False):
        torch.manual_seed(3)
        lstm = constrained().train(training)
        optimizer = torch.optim.SGD(lstm.parameters(), 0.1)
        for _ in range(2):
            lstm(x)[0].sum().backward()
            optimizer.step()
            if clears_first:
                optimizer.zero_grad(set_to_none=set_to_none)
            apply_constraints(lstm)
            optimizer.zero_grad()
        assert small(lstm)
        results.append(lstm.state_dict())
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_weights_that_no_optimizer_moved_stay_as_they_are_as_in_keras(x):
    unused, frozen = constrained(), constrained().requires_grad_(False)
    only_evaluated = constrained()
    with torch.no_grad():
        only_evaluated(x)
    frozen(x)
    model = nn.ModuleList([unused, frozen, only_evaluated])
    before = copy.deepcopy(model.state_dict())
    apply_constraints(model)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert not any(map(small, model))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda lstm: pickle.loads(pickle.dumps(lstm))])
def test_a_copy_of_a_trained_layer_is_constrained_as_the_layer(clone, x):
    lstm = constrained()
    lstm(x)
    twin = clone(lstm)
    apply_constraints(twin)
    assert small(twin)


def test_a_constraint_reaches_a_parametrized_weight(x):
    lstm = constrained()
    parametrizations.weight_norm(lstm, "weight_ih_l0")
    lstm(x)[0].sum().backward()
    lstm.zero_grad()
    assert not small(lstm)
    apply_constraints(lstm)
    assert small(lstm)


SIX = {
    "kernel_regularizer": L1L2(0.5, 0.25),
    "recurrent_regularizer": L2(0.5),
    "bias_regularizer": L1(0.5),
    "activity_regularizer": L1L2(0.125, 0.5),
    "dropout": 0.3,
    "recurrent_dropout": 0.3,
}


def cubes(w: Tensor) -> Tensor:
    return w.abs().pow(3).sum()


def step(lstm: LSTM, x: Tensor, readings: int = 1) -> list[Tensor]:
    """Return the penalty of a training step, its output, and every gradient."""
    torch.manual_seed(5)
    lstm.zero_grad()
    leaf = x.clone().requires_grad_()
    output, _ = lstm(leaf)
    costs = [lstm.penalty() for _ in range(readings)]
    (output.square().sum() + sum(costs)).backward()
    return [costs[-1].detach(), output.detach(), leaf.grad, *(p.grad for p in lstm.parameters() if p.requires_grad)]


@pytest.mark.parametrize("readings", [1, 2])
@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"num_layers": 2, "bidirectional": True},
        {"num_layers": 2, "activity_steps": "last"},
        {"recurrent_regularizer": cubes},
        {"activity_regularizer": cubes},
        {"bias": False},
        {"kernel_regularizer": None, "per_gate_masks": False},
    ],
    ids=lambda knobs: (
        ", ".join(f"{name}={getattr(value, '__name__', value)}" for name, value in knobs.items()) or "none"
    ),
)
def test_a_pass_that_forms_its_penalties_costs_what_operations_of_their_own_do(knobs, readings):
    torch.manual_seed(0)
    x = torch.randn(9, 33, D, dtype=torch.float64)
    ours = LSTM(D, 17, dtype=torch.float64, **SIX | knobs)
    twin = copy.deepcopy(ours)
    twin.backend = "eager"
    for frozen in (False, True):
        for lstm in (ours, twin):
            lstm.weight_hh_l0.requires_grad_(not frozen)
        torch.testing.assert_close(step(ours, x, readings), step(twin, x, readings), rtol=1e-9, atol=1e-9)


def test_the_penalty_of_weights_is_theirs_as_they_are_now_whatever_a_pass_has_formed(x):
    lstm = LSTM(D, H, **SIX)

    def of_weights() -> dict[str, Tensor]:
        w_ih, w_hh, b_ih, b_hh = lstm.all_weights[0]
        bias = b_ih + b_hh
        strengths = [lstm.kernel_regularizer.strengths, lstm.recurrent_regularizer.strengths, (0.5, 0.0)]
        named = zip(["kernel", "recurrent", "bias"], strengths, [w_ih, w_hh, bias], strict=True)
        return {kind: plain(*strength, w) for kind, strength, w in named}

    def change(what: str) -> None:
        if what == "in place":
            lstm.weight_ih_l0.mul_(2)
        elif what == "the second bias":
            lstm.bias_hh_l0.add_(1)
        elif what == "other data":
            lstm.weight_ih_l0.data = torch.randn(4 * H, D)
        elif what == "the setting":
            lstm.recurrent_regularizer = L2(0.75)
        else:
            lstm.weight_hh_l0 = nn.Parameter(torch.randn(4 * H, H))

    for what in ("in place", "other data", "the second bias", "the setting", "another parameter"):
        output, _ = lstm(x)
        activity = plain(0.125 / B, 0.5 / B, output)
        assert_close(penalties(lstm), of_weights() | {"activity": activity})
        assert_close(lstm.penalty(), sum(of_weights().values()) + activity)
        with torch.no_grad():
            change(what)
        assert_close(penalties(lstm), of_weights() | {"activity": activity})
        assert_close(lstm.penalty(), sum(of_weights().values()) + activity)
        for weight, gradient in zip(
            lstm.parameters(),
            torch.autograd.grad(sum(penalties(lstm)[k] for k in of_weights()), lstm.parameters()),
            strict=True,
        ):
            (expected,) = torch.autograd.grad(sum(of_weights().values()), weight)
            assert_close(gradient, expected)


def test_penalties_of_weights_can_be_gone_back_through_after_the_loss(x):
    lstm = LSTM(D, H, **SIX)
    output, _ = lstm(x)
    found = penalties(lstm)
    output.sum().backward()
    lstm.zero_grad()
    (found["kernel"] + found["recurrent"] + found["bias"]).backward()
    assert_close(lstm.weight_hh_l0.grad, lstm.weight_hh_l0.detach())
    lstm.zero_grad()
    lstm(x)
    lstm.penalty().backward()  # and anew
    with torch.no_grad():
        assert not lstm.penalty().requires_grad
        assert not any(value.requires_grad for value in penalties(lstm).values())


def test_what_a_pass_has_formed_goes_with_the_next_pass(x):
    lstm = LSTM(D, H, **SIX)
    first = lstm(x)
    graph = weakref.ref(first[0].grad_fn)
    lstm.penalty()
    del first
    assert graph() is not None
    lstm(x)
    assert graph() is None
