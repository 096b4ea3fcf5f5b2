"""What a case costs is what torch says of it alone, whatever stands beside it, behind its end, or where nothing is."""

from __future__ import annotations

import dataclasses
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from lstmreg.errors import DataError
from lstmreg.losses import NO_CLASS, CrossEntropy, Loss, Regression, balanced

KINDS = {"mse": functional.mse_loss, "mae": functional.l1_loss, "huber": functional.huber_loss}
WEIGHTS = [0.5, 2.0, 1.25, 0.0]
C, OUT = 4, 3

#: Losses, with what torch computes of a single case without padding.
LOSSES: dict[str, tuple[Loss, object]] = {
    **{kind: (Regression(kind), function) for kind, function in KINDS.items()},
    **{f"{kind}, all steps": (Regression(kind, steps="all"), function) for kind, function in KINDS.items()},
}
for name, smoothing, weights in (
    ("cross entropy", 0.0, None),
    ("smoothed", 0.2, None),
    ("weighted", 0.0, WEIGHTS),
    ("weighted and smoothed", 0.1, WEIGHTS),
):

    def alone(prediction: Tensor, y: Tensor, smoothing=smoothing, weights=weights) -> Tensor:
        weight = None if weights is None else torch.tensor(weights)
        each = functional.cross_entropy(prediction, y, weight, label_smoothing=smoothing, reduction="none")
        return each.mean()  # and not torch's weighted mean, in which a case depends on the others

    LOSSES[name] = CrossEntropy(C, smoothing, weights), alone
    LOSSES[f"{name}, all steps"] = CrossEntropy(C, smoothing, weights, steps="all"), alone

each_loss = pytest.mark.parametrize("name", LOSSES)


def example(loss: Loss, lengths: list[int], seed: int = 0, models: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    """Return predictions and targets of some cases; beyond the end of each there is no target."""
    generator = torch.Generator().manual_seed(seed)
    steps = (max(lengths),) if loss.steps == "all" else ()
    width = C if isinstance(loss, CrossEntropy) else OUT
    prediction = torch.randn(*models, len(lengths), *steps, width, generator=generator)
    if isinstance(loss, CrossEntropy):
        y = torch.randint(0, C, (len(lengths), *steps), generator=generator)
    else:
        y = torch.randn(len(lengths), *steps, OUT, generator=generator)
    if steps:
        for b, length in enumerate(lengths):
            y[b, length:] = NO_CLASS if isinstance(loss, CrossEntropy) else math.nan
    return prediction, y


@each_loss
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_a_case_costs_what_torch_says_of_it_alone(name, lengths, seed):
    loss, alone = LOSSES[name]
    prediction, y = example(loss, lengths, seed)
    ends = [slice(length) if loss.steps == "all" else slice(None) for length in lengths]
    if loss.steps == "all":
        expected = [alone(p[end], t[end]) for p, t, end in zip(prediction, y, ends, strict=True)]
    else:
        expected = [alone(p[None], t[None]) for p, t in zip(prediction, y, strict=True)]
    torch.testing.assert_close(loss.each(prediction, y), torch.stack(expected))
    torch.testing.assert_close(loss(prediction, y), torch.stack(expected).mean())


@each_loss
@given(lengths=st.lists(st.integers(1, 6), min_size=2, max_size=5), more=st.integers(1, 4))
@settings(max_examples=10, deadline=None)
def test_neither_padding_nor_company_changes_what_a_case_costs(name, lengths, more):
    loss, _ = LOSSES[name]
    prediction, y = example(loss, lengths)
    found = loss.each(prediction, y)
    for b in range(len(lengths)):
        torch.testing.assert_close(loss.each(prediction[b : b + 1], y[b : b + 1]), found[b : b + 1], rtol=0, atol=0)
    if loss.steps == "all":
        nothing = NO_CLASS if isinstance(loss, CrossEntropy) else math.nan
        prediction = torch.cat([prediction, torch.full_like(prediction[:, :1], math.nan).repeat(1, more, 1)], dim=1)
        y = torch.cat([y, torch.full_like(y[:, :1], nothing).repeat_interleave(more, dim=1)], dim=1)
        torch.testing.assert_close(loss.each(prediction, y), found)


@each_loss
@pytest.mark.parametrize("content", [0.0, math.nan, 1e30, -math.inf])
def test_what_is_predicted_where_there_is_no_target_is_never_looked_at(name, content):
    loss, _ = LOSSES[name]
    prediction, y = example(loss, [4, 2, 1, 3])
    absent = y.isnan() if y.is_floating_point() else y == NO_CLASS
    if loss.steps == "last":
        absent[1] = True
        y[absent] = math.nan if y.is_floating_point() else NO_CLASS

    def run(value: float) -> tuple[Tensor, Tensor]:
        mask = absent if absent.shape == prediction.shape else absent.unsqueeze(-1)
        leaf = torch.where(mask, value, prediction).requires_grad_()
        each = loss.each(leaf, y)
        return each.detach(), torch.autograd.grad(each.sum(), leaf)[0]

    (each, gradient), (usual, expected) = run(content), run(0.5)
    assert torch.equal(each, usual)
    assert torch.equal(gradient, expected)
    assert gradient.isfinite().all()
    assert (gradient[absent] == 0).all()


@each_loss
def test_a_case_without_targets_costs_nothing_and_counts_as_a_case(name):
    loss, _ = LOSSES[name]
    prediction, y = example(loss, [3, 2])
    y[1] = math.nan if y.is_floating_point() else NO_CLASS
    each = loss.each(prediction, y)
    assert each[1] == 0
    assert loss(prediction, y) == each[0] / 2


@each_loss
@pytest.mark.parametrize("models", [(1,), (3,), (2, 3)])
def test_axes_in_front_of_the_cases_are_models_with_targets_shared_or_their_own(name, models):
    loss, _ = LOSSES[name]
    prediction, y = example(loss, [3, 1, 2, 2], models=models)
    own = y.expand(*models, *y.shape).clone()
    for targets in (y, own):
        each = loss.each(prediction, targets)
        assert each.shape == (*models, 4)
        for index in torch.cartesian_prod(*map(torch.arange, models)).reshape(-1, len(models)).tolist():
            alone = loss.each(prediction[tuple(index)], y)
            torch.testing.assert_close(each[tuple(index)], alone, rtol=0, atol=0)


def test_some_outputs_of_a_case_may_have_no_target():
    prediction, y = torch.zeros(2, 3), torch.tensor([[1.0, math.nan, 3.0], [2.0, 2.0, 2.0]])
    assert Regression("mse").each(prediction, y).tolist() == [5.0, 4.0]
    # Of a step too: the mean over steps of the mean over outputs.
    steps = torch.tensor([[[1.0, math.nan], [2.0, 4.0], [math.nan, math.nan]]])
    assert Regression("mae", steps="all").each(torch.zeros(1, 3, 2), steps).tolist() == [(1 + 3) / 2]


@each_loss
def test_a_loss_is_its_pickle_and_says_how_it_is_made(name):
    loss, _ = LOSSES[name]
    prediction, y = example(loss, [3, 2])
    again = pickle.loads(pickle.dumps(loss))
    assert again == loss
    assert hash(again) == hash(loss)
    assert eval(repr(loss)) == loss
    assert torch.equal(again.each(prediction, y), loss.each(prediction, y))


def test_balanced_weights_are_those_of_scikit_learn():
    # n / (C * bincount), as its documentation of compute_class_weight has it.
    y = torch.tensor([0, 0, 0, 1, 2, 2, NO_CLASS])
    assert balanced(y, 3) == (6 / 9, 6 / 3, 6 / 6)
    assert balanced(y.view(7, 1), 3) == balanced(y, 3)
    with pytest.raises(DataError, match=r"class 3 has no target in training.*class_weight=None"):
        balanced(y, 4)
    for wrong in (3, -1):
        with pytest.raises(DataError, match=rf"targets must be classes from 0 to 2, or -100 for none, got {wrong}"):
            balanced(torch.tensor([0, 1, 2, wrong]), 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Regression("rmse"), r"kind must be one of 'mse', 'mae', 'huber', got 'rmse'"),
        (lambda: Regression(steps="first"), r"steps must be 'last' or 'all', got 'first'"),
        (lambda: CrossEntropy(1), r"classes must be a whole number of at least 2, got 1"),
        (lambda: CrossEntropy(True), r"classes must be"),
        (lambda: CrossEntropy(2, 1.0), r"label_smoothing must be in \[0, 1\), got 1.0"),
        (lambda: CrossEntropy(2, math.nan), r"label_smoothing must be"),
        (lambda: CrossEntropy(2, class_weights=[1.0]), r"one finite number, not negative, for each of the 2 classes"),
        (lambda: CrossEntropy(2, class_weights=[1.0, -1.0]), r"not negative"),
    ],
)
def test_a_setting_that_breaks_its_rule_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("loss", "prediction", "y", "message"),
    [
        (Regression(), (4, 1), torch.zeros(4), r"y must have the prediction's shape, \(4, 1\), got \(4,\). Use y.unsq"),
        (Regression(), (4,), torch.zeros(4), r"prediction must be \(B, O\) where steps is 'last', got shape \(4,\)"),
        (Regression(steps="all"), (4, 1), torch.zeros(4, 1), r"prediction must be \(B, T, O\) where steps is 'all'"),
        (CrossEntropy(3), (4, 2), torch.zeros(4).long(), r"one logit for each of the 3 classes"),
        (CrossEntropy(2), (4, 2), torch.zeros(4), r"y must be whole numbers, the classes, got torch.float32"),
        (CrossEntropy(2), (4, 2), torch.zeros(4, 1).long(), r"y must have the shape \(4,\).*Use y.squeeze"),
        (CrossEntropy(2), (4, 2), torch.full((4,), 2), r"classes from 0 to 1, or -100 for none, got 2"),
        (CrossEntropy(2, steps="all"), (4, 5, 2), torch.zeros(4).long(), r"y must have the shape \(4, 5\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(loss, prediction, y, message):
    with pytest.raises(ValueError, match=message):
        loss.each(torch.zeros(prediction), y)


@pytest.mark.parametrize("name", [name for name, (loss, _) in LOSSES.items() if isinstance(loss, CrossEntropy)])
def test_soft_targets_say_the_loss(name):
    loss, _ = LOSSES[name]
    prediction, y = example(loss, [3, 1, 4, 4])
    y[1] = NO_CLASS
    each = -(loss.soft_targets(y, torch.float32) * prediction.log_softmax(-1)).sum(-1)
    last = dataclasses.replace(loss, steps="last")  # or it would be the mean over steps
    expected = last.each(prediction.flatten(0, -2), y.flatten())
    torch.testing.assert_close(each.flatten(), expected, rtol=1e-5, atol=1e-6)


def test_soft_targets_are_of_classes():
    with pytest.raises(ValueError, match=r"y must be classes from 0 to 3, or -100 for none, got 4\."):
        CrossEntropy(C).soft_targets(torch.tensor([0, 4]), torch.float32)
