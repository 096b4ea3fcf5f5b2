"""A step of training in one call, beside autograd through the definition; memory is full of NaN before it is used."""

import math

import pytest
import torch
from torch.nn import functional

from lstmreg import ops
from lstmreg.losses import NO_CLASS, CrossEntropy, Regression
from lstmreg.ops import lesson
from lstmreg.ops.fused_cpu import library_of

CRITERIA = {"mse": functional.mse_loss, "mae": functional.l1_loss, "huber": functional.huber_loss}

OUT = 3

#: K, T, B, D, H; a feature alone has a way of its own, which takes some steps together.
SIZES = [
    (1, 1, 1, 1, 1),
    (3, 4, 5, 1, 7),
    (2, 9, 33, 3, 16),
    (3, 3, 7, 11, 17),
    (2, 5, 6, 2, 65),
    (2, 40, 65, 2, 8),
    (2, 70, 35, 1, 5),
]


def draw(K, T, B, D, H, groups, *, shared=False, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    def mask(width):
        return None if groups == 0 else (normal(K, groups, B, width) > -0.5).to(dtype) / 0.7

    lead = () if shared else (K,)
    weights = normal(K, 4 * H * (D + H + 1) + OUT * (H + 1)) * 0.4
    x = normal(*lead, B, T, D).transpose(-3, -2)
    return lesson.Lesson(
        x, normal(*lead, B, OUT), weights, H, torch.zeros(K, dtype=torch.int64), mask(D), mask(H), normal(K), normal(K)
    )


def alone(given, k, criterion):
    """Compute one model's prediction, loss, activity and gradients of both by the definition and autograd."""
    x = given.x if given.x.dim() == 3 else given.x[k]
    y = given.targets if given.x.dim() == 3 else given.targets[k]
    D, H, B = x.shape[-1], given.hidden, x.shape[1]
    leaf = given.weights[k].clone().requires_grad_()
    w_ih, w_hh, bias, head, head_bias = torch.split(leaf, [4 * H * D, 4 * H * H, 4 * H, OUT * H, OUT])
    zeros = x.new_zeros(B, H)
    _, h_n, _ = ops.lstm(
        x, zeros, zeros, w_ih.view(4 * H, D), w_hh.view(4 * H, H), bias,
        input_mask=None if given.input_mask is None else given.input_mask[k],
        recurrent_mask=None if given.recurrent_mask is None else given.recurrent_mask[k],
        backend="reference",
    )  # fmt: skip
    prediction = functional.linear(h_n, head.view(OUT, H), head_bias)
    loss = criterion(prediction, y)
    activity = h_n.new_zeros(())
    if given.l1 is not None:
        activity = activity + given.l1[k] * h_n.abs().sum()
    if given.l2 is not None:
        activity = activity + given.l2[k] * h_n.square().sum()
    (gradient,) = torch.autograd.grad(loss + activity, leaf)
    return prediction, loss, activity, gradient


def assert_as_alone(given, criteria, tolerance=1e-11):
    gradient = torch.full_like(given.weights, math.nan)
    learnt = lesson.learn(given, gradient)
    for k, criterion in enumerate(criteria):
        found = learnt.predictions[k], learnt.losses[k], learnt.activity[k], gradient[k]
        for ours, expected in zip(found, alone(given, k, criterion), strict=True):
            torch.testing.assert_close(ours, expected.detach(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("groups", [0, 1, 4])
@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: ",".join(map(str, sizes)))
def test_a_step_is_what_autograd_finds(sizes, groups, shared):
    K = sizes[0]
    assert_as_alone(draw(*sizes, groups, shared=shared), [CRITERIA["mse"]] * K)


def test_float32_is_as_exact_as_it_can_be():
    assert_as_alone(draw(3, 24, 32, 2, 16, 4, dtype=torch.float32), [CRITERIA["mse"]] * 3, tolerance=2e-5)


def test_every_model_has_its_own_loss():
    given = draw(3, 4, 6, 2, 5, 4)
    numbers = torch.tensor([lesson.CRITERIA[name] for name in CRITERIA])
    assert_as_alone(given._replace(criteria=numbers, targets=given.targets * 2), list(CRITERIA.values()))


def test_a_target_that_is_not_there_counts_nowhere():
    given = draw(3, 4, 6, 2, 5, 1)
    targets = given.targets.clone()
    targets[:, 1, 0] = targets[:, 2] = targets[1, 5, 2] = math.nan
    numbers = torch.tensor([number + lesson.MAY_LACK for number in lesson.CRITERIA.values()])
    assert_as_alone(given._replace(criteria=numbers, targets=targets), [Regression(name) for name in CRITERIA])


CLASSES = [
    CrossEntropy(OUT),
    CrossEntropy(OUT, label_smoothing=0.3),
    CrossEntropy(OUT, class_weights=[1.0, 0.0, 4.0], label_smoothing=0.1),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_step_of_classes_is_what_autograd_finds(dtype):
    given = draw(3, 5, 8, 2, 5, 4, dtype=dtype)
    y = torch.tensor([0, 1, 2, NO_CLASS, 2, 1, 0, 1]).expand(3, 8).clone()
    y[1] = NO_CLASS
    soft = torch.stack([loss.soft_targets(own, dtype) for loss, own in zip(CLASSES, y, strict=True)])
    asked = given._replace(criteria=torch.full((3,), lesson.CROSS_ENTROPY), targets=soft)
    gradient = torch.full_like(given.weights, math.nan)
    learnt, judged = lesson.learn(asked, gradient), lesson.judge(asked._replace(input_mask=None, recurrent_mask=None))
    bound = 1e-11 if dtype is torch.float64 else 1e-4
    for k, criterion in enumerate(CLASSES):
        expected = alone(given._replace(targets=y), k, criterion)
        for ours, theirs in zip(
            (learnt.predictions[k], learnt.losses[k], learnt.activity[k], gradient[k]), expected, strict=True
        ):
            torch.testing.assert_close(ours, theirs.detach(), rtol=bound, atol=bound)
        torch.testing.assert_close(judged.losses[k], criterion(judged.predictions[k], y[k]), rtol=bound, atol=bound)
    assert learnt.losses[1] == 0


def test_large_logits_do_not_overflow():
    given = draw(1, 2, 4, 1, 3, 0, dtype=torch.float32)
    weights = given.weights.clone()
    weights[:, -OUT:] = torch.tensor([1e4, -1e4, 3e3])  # of the head: its biases
    y = torch.tensor([0, 1, 2, 0])
    soft = CLASSES[0].soft_targets(y, torch.float32)
    asked = given._replace(weights=weights, criteria=torch.tensor([lesson.CROSS_ENTROPY]), targets=soft)
    gradient = torch.empty_like(weights)
    learnt = lesson.learn(asked, gradient)
    torch.testing.assert_close(learnt.losses[0], CLASSES[0](learnt.predictions[0], y))
    assert gradient.isfinite().all()


def test_a_target_that_is_not_finite_spoils_its_own_model_alone():
    given = draw(2, 4, 6, 2, 5, 4)
    targets = given.targets.clone()
    targets[0, 1, 0] = math.nan
    clean, spoilt = torch.empty_like(given.weights), torch.empty_like(given.weights)
    lesson.learn(given, clean)
    learnt = lesson.learn(given._replace(targets=targets), spoilt)
    assert learnt.losses.isnan().tolist() == [True, False]
    assert spoilt[0].isnan().any()
    assert torch.equal(spoilt[1], clean[1])


@pytest.mark.parametrize("missing", ["l1", "l2"])
def test_an_activity_that_costs_nothing_has_no_gradient(missing):
    assert_as_alone(draw(2, 3, 4, 2, 5, 4)._replace(**{missing: None}), [CRITERIA["mse"]] * 2)


@pytest.mark.parametrize("threads", [1, 3])
def test_no_bit_of_a_model_depends_on_the_others_or_on_threads(threads):
    given = draw(5, 6, 7, 3, 9, 4, dtype=torch.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    gradient = torch.empty_like(given.weights)
    lesson.learn(given, gradient)
    torch.set_num_threads(before)
    fourth = lesson.Lesson(*(t[3:4] if isinstance(t, torch.Tensor) else t for t in given))
    own = torch.empty_like(fourth.weights)
    lesson.learn(fourth, own)
    assert torch.equal(own[0], gradient[3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: ",".join(map(str, sizes)))
def test_to_judge_is_to_learn_without_learning(sizes, dtype):
    given = draw(*sizes, 0, dtype=dtype)
    for shown, learnt in zip(lesson.judge(given), lesson.learn(given, torch.empty_like(given.weights)), strict=True):
        torch.testing.assert_close(shown, learnt, rtol=1e-12 if dtype is torch.float64 else 1e-5, atol=0.0)


#: Whether the processor multiplies bfloat16.
HAS_SHORT = bool(library_of(torch.float32).lstmreg_short())


@pytest.mark.parametrize("sizes", [(2, 9, 33, 3, 16), (3, 3, 7, 11, 17), (2, 24, 32, 1, 65)], ids=str)
@pytest.mark.parametrize("groups", [0, 1, 4])
def test_what_is_multiplied_may_be_bfloat16(sizes, groups):
    given = draw(*sizes, groups, dtype=torch.float32)._replace(l1=None)  # whose gradient jumps
    given = given._replace(weights=0.3 * given.weights)  # or differences would grow on their way through time
    exact, rounded = torch.empty_like(given.weights), torch.full_like(given.weights, math.nan)
    lesson.learn(given, exact)
    lesson.learn(given._replace(short_products=True), rounded)
    assert torch.equal(exact, rounded) is not HAS_SHORT
    for k in range(len(exact)):
        assert (exact[k] - rounded[k]).norm() < 0.02 * exact[k].norm()


def test_networks_of_few_units_are_multiplied_as_they_are():
    given = draw(2, 9, 33, 3, 4, 4, dtype=torch.float32)
    exact, rounded = torch.empty_like(given.weights), torch.empty_like(given.weights)
    lesson.learn(given, exact)
    lesson.learn(given._replace(short_products=True), rounded)
    assert torch.equal(exact, rounded)


def test_what_is_not_float_or_of_two_types_is_not_served():
    given = draw(2, 3, 4, 2, 5, 0)
    assert lesson.serves(given.x, given.targets, given.weights)
    assert not lesson.serves(given.x, given.targets.long(), given.weights)
    assert not lesson.serves(given.x.float(), given.targets, given.weights)
    assert not lesson.serves(given.x.half(), given.targets.half(), given.weights.half())
    assert not lesson.serves(given.x[:, :0], given.targets, given.weights)


def test_autocast_asks_for_what_it_has_not():
    x, y, weights = torch.randn(4, 3, 2), torch.randn(4, 1), torch.randn(5, 7)
    assert lesson.serves(x, y, weights)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not lesson.serves(x, y, weights)
