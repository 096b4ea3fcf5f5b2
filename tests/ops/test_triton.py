"""The recurrence in Triton against the definition: on a GPU if there is one, else in Triton's interpreter.

Both ways are held to the same at sizes of either; all memory is full of NaN before it is used.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from lstmreg import ops
from lstmreg.dropout import Streams, draw_member_masks
from lstmreg.ops import dispatch, fused_triton
from tests.ops.arguments import (
    NAMES,
    OUTPUTS,
    Arguments,
    Kind,
    assert_close,
    make_arguments,
    make_call,
    make_cotangents,
    make_mask,
    moved,
    results,
    true_results,
)

pytest.importorskip("triton", reason="Triton is not there, which has no build for this system")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytestmark = pytest.mark.usefixtures("_new_memory_is_nan")

#: How far short types may be off, of the size of a tensor: some times half of what one of their numbers can tell.
HALVES = {torch.bfloat16: 0.03, torch.float16: 0.004}


@pytest.fixture(autouse=True)
def _float32_is_exact() -> Iterator[None]:
    before = torch.backends.cudnn.rnn.fp32_precision
    torch.backends.cudnn.rnn.fp32_precision = "ieee"
    yield
    torch.backends.cudnn.rnn.fp32_precision = before


@pytest.fixture(params=["whole", "stepwise"])
def way(request, monkeypatch) -> str:
    """Let calls go either way, whatever their size."""
    from lstmreg.ops.fused_triton import whole

    if request.param == "stepwise":
        monkeypatch.setattr(whole, "serves", lambda problem: False)
    return str(request.param)


def here(call: tuple[Arguments, dict[str, Any]]) -> tuple[Arguments, dict[str, Any]]:
    """Return the same call on the device."""
    return moved(call, DEVICE)


def found_here(call: tuple[Arguments, dict[str, Any]]) -> dict[str, Tensor]:
    arguments, options = here(call)
    found = results(ops.lstm, arguments, backend="fused_triton", **options)
    return {name: t.cpu() for name, t in found.items()}


def assert_equals_the_reference(call: tuple[Arguments, dict[str, Any]]) -> None:
    arguments, options = call
    assert_close(found_here(call), true_results(arguments, **options))


def assert_near(found: dict[str, Tensor], expected: dict[str, Tensor], loss: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        off = (found[name].double() - value.double()).norm() / value.double().norm()
        assert off < loss, (name, off)


# ------------------------------------------------------------------ kinds and sizes

KINDS = [Kind(*choice) for choice in itertools.product([None, 1, 4], [None, 1, 4], [None, "prefix", "holes"])]
ALL = Kind(4, 4, "holes", reverse=True)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_kind_of_call_equals_the_reference(kind, reverse):
    kind = kind._replace(reverse=reverse)
    assert_equals_the_reference(make_call((5, 19, 3, 17), kind, torch.float32))
    assert_equals_the_reference(make_call((3, 7, 5, 8), kind._replace(bias=False), torch.float32))


SIZES = [  # T, B, D, H: about the edges of tiles, of what sums go over, and of the ways
    (1, 1, 1, 1),
    (1, 33, 65, 3),
    (7, 65, 1, 8),
    (3, 16, 33, 16),
    (20, 1, 3, 5),
    (2, 17, 7, 33),
    (2, 3, 65, 64),
    (3, 2, 7, 65),
    (2, 3, 130, 100),
]


@pytest.mark.parametrize("kind", [Kind(), ALL], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_size_equals_the_reference(size, kind):
    assert_equals_the_reference(make_call(size, kind, torch.float32))


POPULATIONS = [
    kind._replace(K=K, shares_x=shares_x, shares_valid=shares_valid)
    for (K, shares_x, shares_valid), kind in itertools.product(
        [(1, False, False), (1, True, True), (3, False, True), (3, True, False)], [Kind(), Kind(1, 4, "prefix"), ALL]
    )
]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("kind", POPULATIONS, ids=str)
def test_a_population_equals_the_reference(kind):
    assert_equals_the_reference(make_call((3, 17, 3, 9), kind, torch.float32))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kind", [Kind(), Kind(1, 4), ALL, ALL._replace(K=2)], ids=str)
def test_half_precision_is_near_the_reference(kind, dtype):
    arguments, options = make_call((5, 17, 3, 17), kind, dtype)
    found = found_here((arguments, options))
    assert {t.dtype for t in found.values()} == {dtype}
    wide = [None if a is None else a.detach().float().requires_grad_() for a in arguments]
    assert_near(found, true_results(wide, **options), HALVES[dtype])


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("size", [(2, 3, 5, 120), (2, 3, 5, 121)], ids=str)
def test_half_precision_has_room_for_more_units(size, dtype):
    kind = Kind(4, 4)
    arguments, options = make_call(size, kind, dtype)
    wide = [a.detach().float().requires_grad_() for a in arguments if a is not None]
    assert_near(found_here((arguments, options)), true_results(wide, **options), HALVES[dtype])


@pytest.mark.parametrize("dtype", HALVES)
def test_autocast_gives_short_results_and_long_gradients(dtype):
    arguments, options = make_call((5, 17, 3, 17), Kind(4, 4), torch.float32)
    expected = true_results(arguments, **options)
    with torch.autocast(DEVICE, dtype=dtype):
        found = found_here((arguments, options))
    assert [found[name].dtype for name in (*OUTPUTS, *NAMES)] == [dtype] * 3 + [torch.float32] * 6
    assert_near(found, expected, 2 * HALVES[dtype])


def test_states_are_not_rounded_on_their_way_through_time():
    """A cell that adds a little 1,000 times: in bfloat16 it would stand still long before."""
    T, H = 1000, 8
    arguments = make_arguments(T, 1, 1, H, torch.bfloat16)
    with torch.no_grad():
        for a in arguments:
            a.zero_()
        # Gates i and f wide open, and g at 0.01 in each step.
        arguments[5][: 2 * H] = 20.0
        arguments[5][2 * H : 3 * H] = 0.01
    arguments, _ = here((arguments, {}))
    _, _, c_n = ops.lstm(*arguments, backend="fused_triton")
    torch.testing.assert_close(c_n.float().cpu(), torch.full((1, H), 10.0), rtol=0.02, atol=0)


# ------------------------------------------------------------------ what autograd asks for


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("used", [("output",), ("h_n",), ("c_n",), ("output", "c_n")], ids="-".join)
@pytest.mark.parametrize("pattern", [None, "holes"])
def test_any_of_the_outputs_may_be_left_unused(pattern, used):
    arguments, options = here(make_call((5, 7, 3, 9), Kind(None, 4, pattern), torch.float32))

    def gradients(name: str) -> dict[str, Tensor]:
        outputs = dict(zip(OUTPUTS, ops.lstm(*arguments, backend=name, **options), strict=True))
        cotangents = dict(zip(OUTPUTS, make_cotangents(outputs.values()), strict=True))
        loss = sum((outputs[y] * cotangents[y]).sum() for y in used)
        return dict(zip(NAMES, torch.autograd.grad(loss, arguments), strict=True))

    assert_close(gradients("fused_triton"), gradients("reference"))


@pytest.mark.parametrize("asked", [*[(name,) for name in NAMES], NAMES[3:]], ids="-".join)
def test_any_of_the_gradients_may_be_asked_for_alone(asked):
    for kind in (Kind(4, 1, "holes"), Kind(K=2, shares_x=True)):
        arguments, options = here(make_call((3, 7, 3, 9), kind, torch.float32))
        expected = results(ops.lstm, arguments, backend="reference", **options)
        some = {name: a.detach().requires_grad_(name in asked) for name, a in zip(NAMES, arguments, strict=True)}
        outputs = ops.lstm(*some.values(), backend="fused_triton", **options)
        found = torch.autograd.grad(outputs, [some[name] for name in asked], make_cotangents(outputs))
        assert_close(dict(zip(asked, found, strict=True)), {name: expected[name] for name in asked})


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("kind", [Kind(), ALL, ALL._replace(K=3)], ids=str)
def test_outputs_are_the_same_without_gradients_and_back_twice(kind):
    arguments, options = here(make_call((5, 7, 3, 9), kind, torch.float32))
    outputs = ops.lstm(*arguments, backend="fused_triton", **options)
    with torch.no_grad():
        inferred = ops.lstm(*arguments, backend="fused_triton", **options)
    for one, two in zip(outputs, inferred, strict=True):
        assert torch.equal(one, two)
    first = torch.autograd.grad(outputs, arguments, make_cotangents(outputs), retain_graph=True)
    second = torch.autograd.grad(outputs, arguments, make_cotangents(outputs))
    for one, two in zip(first, second, strict=True):
        assert torch.equal(one, two)


def test_second_derivatives_equal_the_references():
    arguments, options = here(make_call((3, 2, 2, 3), ALL, torch.float32))

    def curvature(name: str) -> dict[str, Tensor]:
        outputs = ops.lstm(*arguments, backend=name, **options)
        slopes = torch.autograd.grad(outputs, arguments, make_cotangents(outputs), create_graph=True)
        bend = sum((s * c).sum() for s, c in zip(slopes, make_cotangents(slopes), strict=True))
        return dict(zip(NAMES, torch.autograd.grad(bend, arguments), strict=True))

    assert_close(curvature("fused_triton"), curvature("reference"), tolerance=1e-3)


@pytest.mark.parametrize("kind", [Kind(4, 4), ALL], ids=str)
def test_arguments_remain_as_they_were(kind):
    arguments, options = here(make_call((5, 7, 3, 9), kind, torch.float32))
    tensors = [*arguments, *(o for o in options.values() if isinstance(o, Tensor))]
    copies = [t.detach().clone() for t in tensors]
    results(ops.lstm, arguments, backend="fused_triton", **options)
    for tensor, copy in zip(tensors, copies, strict=True):
        assert torch.equal(tensor, copy)


@pytest.mark.usefixtures("way")
def test_outputs_have_memory_of_their_own():
    arguments, options = here(make_call((1, 1, 3, 5), Kind(4, 4), torch.float32))
    outputs = ops.lstm(*arguments, backend="fused_triton", **options)
    places = [t.untyped_storage().data_ptr() for t in (*outputs, *arguments)]
    assert len(set(places)) == len(places)


# ------------------------------------------------------------------ elastic nets that are formed along with a pass

STRENGTHS = {
    "all": ops.Strengths((0.5, 0.25), (0.0, 2.0), (1.5, 0.0), (0.125, 0.5)),
    "of the output": ops.Strengths(activity=(0.5, 0.25)),
    "of a weight": ops.Strengths(recurrent=(0.5, 0.25)),
}


def penalised_call(size: tuple[int, int, int, int], kind: Kind) -> ops.Call:
    arguments, options = here(make_call(size, kind, torch.float32))
    masks = options["input_mask"], options["recurrent_mask"], options["valid"]
    return ops.Call(*arguments, None, *masks, options["reverse"])


def defined(call: ops.Call, strengths: ops.Strengths) -> tuple[ops.Result, Tensor]:
    """Return the results of the reference, and what each net costs by its formula."""
    result = dispatch.BACKENDS["reference"].lstm(call)
    costs = [
        call.x.new_zeros(()) if s is None or w is None else s[0] * w.abs().sum() + s[1] * w.square().sum()
        for s, w in zip(strengths, (call.w_ih, call.w_hh, call.bias, result[0]), strict=True)
    ]
    return result, torch.stack(costs)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("kind", [Kind(4, 4), Kind(4, 4, reverse=True), Kind(bias=False)], ids=str)
@pytest.mark.parametrize("size", [(1, 1, 1, 1), (3, 17, 5, 9), (2, 3, 65, 33)], ids=str)
@pytest.mark.parametrize("strengths", STRENGTHS.values(), ids=STRENGTHS)
@pytest.mark.parametrize("asked", ["total", "parts", "both"])
def test_costs_and_every_gradient_are_those_of_the_definition(asked, strengths, size, kind):
    call = penalised_call(size, kind)
    leaves = [t for t in call.differentiable if t is not None]
    result, costs = ops.penalised(call, strengths, "fused_triton")
    expected, parts = defined(call, strengths)
    assert costs is not None
    close = {"rtol": 2e-4, "atol": 2e-4}
    torch.testing.assert_close(list(result), list(expected), **close)
    torch.testing.assert_close(costs.parts, parts, **close)
    torch.testing.assert_close(costs.total, parts.sum(), **close)
    on = {"total": [1, 0, 0, 0, 0], "parts": [0, 1, 1, 1, 1], "both": [1] * 5}[asked]
    weights = (torch.randn(5) * torch.tensor(on)).to(DEVICE)
    ours = {
        "total": weights[0] * costs.total,
        "parts": (weights[1:] * costs.parts).sum(),
        "both": weights[0] * costs.total + (weights[1:] * costs.parts).sum(),
    }[asked]
    cotangents = make_cotangents(expected)
    one = torch.ones((), device=DEVICE)
    found = torch.autograd.grad([*result, ours], leaves, [*cotangents, one])
    theirs = weights[0] * parts.sum() + (weights[1:] * parts).sum()
    torch.testing.assert_close(
        found, torch.autograd.grad([*expected, theirs], leaves, [*cotangents, one]), rtol=1e-3, atol=1e-3
    )


@pytest.mark.usefixtures("way")
def test_costs_alone_have_gradients_and_those_of_weights_when_the_rest_is_gone():
    call, strengths = penalised_call((3, 7, 5, 9), Kind(4, 4)), STRENGTHS["all"]
    leaves = [t for t in call.differentiable if t is not None]
    (output, *_), costs = ops.penalised(call, strengths, "fused_triton")
    assert costs is not None
    found = torch.autograd.grad(costs.total, leaves, retain_graph=True)
    expected = torch.autograd.grad(defined(call, strengths)[1].sum(), leaves)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    recurrent = costs.parts[1]
    output.sum().backward()
    assert costs.is_spent
    (found,) = torch.autograd.grad(recurrent, call.w_hh)
    torch.testing.assert_close(found, 4.0 * call.w_hh.detach(), rtol=1e-4, atol=1e-4)


def test_weights_that_torch_negates_lazily_are_penalised_as_what_they_are():
    call, strengths = penalised_call((3, 7, 5, 9), Kind(4, 4)), STRENGTHS["all"]
    names = "w_ih", "w_hh", "bias"
    lazy = call._replace(**{n: torch._neg_view(-getattr(call, n).detach()).requires_grad_() for n in names})
    assert lazy.w_ih.is_neg()
    found, expected = (
        torch.autograd.grad(ops.penalised(one, strengths, "fused_triton")[1].total, [one.w_ih, one.w_hh, one.bias])
        for one in (lazy, call)
    )
    torch.testing.assert_close(found, expected)


# ------------------------------------------------------------------ how tensors lie


def strided(t: Tensor) -> Tensor:
    wide = t.new_full((*t.shape, 2), torch.nan)
    wide[..., 0] = t.detach()
    return wide[..., 0]


def batch_first(t: Tensor) -> Tensor:
    return t.detach().transpose(-2, 0).contiguous().transpose(-2, 0) if t.dim() > 1 else t.detach()


def lazily_negated(t: Tensor) -> Tensor:
    return torch.view_as_complex(torch.stack([torch.zeros_like(t), -t.detach()], dim=-1)).conj().imag


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("layout", [strided, batch_first, lazily_negated])
@pytest.mark.parametrize("kind", [Kind(1, 4), ALL, ALL._replace(K=2)], ids=str)
def test_the_layout_of_tensors_in_memory_changes_nothing(layout, kind):
    call = make_call((3, 7, 3, 9), kind, torch.float32)
    expected = true_results(call[0], **call[1])
    arguments, options = here(call)
    laid = [layout(a).requires_grad_() for a in arguments]
    for name in ("input_mask", "recurrent_mask"):
        options[name] = layout(options[name])
    outputs = dict(zip(OUTPUTS, ops.lstm(*laid, backend="fused_triton", **options), strict=True))
    cotangents = [layout(c) for c in make_cotangents(outputs.values())]
    found = torch.autograd.grad(list(outputs.values()), laid, cotangents)
    assert_close({n: t.cpu() for n, t in (outputs | dict(zip(NAMES, found, strict=True))).items()}, expected)


def test_cotangents_that_are_zeros_without_memory_are_zeros():
    arguments, _ = here((make_arguments(3, 7, 3, 9, torch.float32), {}))
    mask = make_mask(4, 7, 9, torch.float32).to(DEVICE)
    output, h_n, _ = ops.lstm(*arguments, backend="fused_triton", recurrent_mask=mask)
    nothing = torch._efficientzerotensor(output.shape, dtype=output.dtype, device=DEVICE)
    found = torch.autograd.grad([output, h_n], arguments, [nothing, torch.zeros_like(h_n)])
    assert not any(g.any() for g in found)


# ------------------------------------------------------------------ the same thing said in another way


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("kind", [Kind(), Kind(4, 4, "prefix"), ALL, Kind(shares_x=True, pattern="holes")], ids=str)
def test_a_member_of_a_population_equals_the_model_alone(kind):
    arguments, options = here(make_call((3, 17, 3, 9), kind._replace(K=3), torch.float32))
    together = results(ops.lstm, arguments, backend="fused_triton", **options)
    cotangents = make_cotangents(together[name] for name in OUTPUTS)
    for k in range(3):
        own = [a if a.dim() == 3 and name == "x" else a[k] for name, a in zip(NAMES, arguments, strict=True)]
        own_options = {name: t[k] if isinstance(t, Tensor) else t for name, t in options.items()}
        outputs = ops.lstm(*own, backend="fused_triton", **own_options)
        found = torch.autograd.grad(outputs, own, [c[k] for c in cotangents])
        alone = dict(zip((*OUTPUTS, *NAMES[1:]), (*outputs, *found[1:]), strict=True))
        assert_close(alone, {name: together[name][k] for name in alone}, tolerance=1e-5)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("kind", [Kind(), ALL], ids=str)
def test_a_member_that_is_nan_leaves_the_others_alone(kind):
    arguments, options = here(make_call((3, 7, 3, 9), kind._replace(K=3), torch.float32))
    expected = results(ops.lstm, arguments, backend="fused_triton", **options)
    with torch.no_grad():
        for a in arguments:
            a[1] = torch.nan
    found = results(ops.lstm, arguments, backend="fused_triton", **options)
    for name in found:
        assert torch.equal(found[name][0], expected[name][0]), name
        assert torch.equal(found[name][2], expected[name][2]), name
    assert found["w_hh"][1].isnan().any()


# ------------------------------------------------------------------ numbers that are not usual


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("garbage", [torch.nan, torch.inf])
@pytest.mark.parametrize("kind", [Kind(K=2, shares_valid=True), Kind(1, 1), Kind(4, 4)], ids=str)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of the interpreter, which computes with NumPy
def test_padding_may_hold_anything(reverse, kind, garbage):
    (x, *rest), options = make_call((5, 7, 3, 9), kind._replace(pattern="holes", reverse=reverse), torch.float32)
    clean = x.detach().masked_fill(~options["valid"].unsqueeze(-1), 0).requires_grad_()
    dirty = x.detach().masked_fill(~options["valid"].unsqueeze(-1), garbage).requires_grad_()
    assert_close(found_here(([dirty, *rest], options)), true_results([clean, *rest], **options))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("special", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_infinity_and_nan_spread_as_in_the_reference(name, special):
    arguments, options = make_call((3, 7, 3, 9), Kind(1, 4), torch.float32)
    with torch.no_grad():
        arguments[NAMES.index(name)].view(-1)[5] = special
    found = found_here((arguments, options))
    expected = results(ops.lstm, arguments, backend="reference", **options)
    for key, value in expected.items():
        if key not in OUTPUTS:  # nearly zero times infinity is infinity, and zero times infinity is not
            found[key] = torch.where(found[key].isfinite(), found[key], torch.nan)
            value = torch.where(value.isfinite(), value, torch.nan)
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("size", [30.0, 1e3, 1e30])
def test_gates_saturate(size):
    arguments, options = make_call((3, 7, 3, 9), Kind(4, 4), torch.float32)
    with torch.no_grad():
        arguments[-1].sign_().mul_(size)
    assert_equals_the_reference((arguments, options))


def test_activations_are_exact_to_some_units_in_the_last_place():
    """Through ``g``, with ``i`` wide open, and through ``i``, with ``g`` wide open."""
    values = torch.cat([torch.linspace(-20, 20, 1001), torch.logspace(-30, 1, 500), -torch.logspace(-30, 1, 500)])
    B, zeros = len(values), torch.zeros(len(values), 1, device=DEVICE)
    x = values.view(1, B, 1).to(DEVICE)
    for place, function in (("g", torch.tanh), ("i", torch.sigmoid)):
        w_ih = torch.tensor([float(place == gate) for gate in "ifgo"]).unsqueeze(1).to(DEVICE)
        bias = torch.tensor({"g": [1e4, 0, 0, 0], "i": [0, 0, 1e4, 0]}[place]).to(DEVICE)
        weights = w_ih, zeros.new_zeros(4, 1), bias
        _, _, c_n = ops.lstm(x, zeros, zeros, *weights, backend="fused_triton")
        torch.testing.assert_close(
            c_n.view(-1).cpu().double(), function(values.double()), rtol=2e-6 if DEVICE == "cuda" else 4e-7, atol=1e-37
        )


# ------------------------------------------------------------------ masks


def drawn(rate: float, size: tuple[int, int, int], seed: int, place: int = 0) -> Tensor:
    from lstmreg.ops.fused_triton import masks

    return masks.draw(rate, size, seed, place, torch.empty(0, device=DEVICE))


def test_the_masks_of_models_are_those_that_each_would_draw_alone():
    from lstmreg.ops.fused_triton import masks

    seeds, places, rates = [7, 2**63 + 5, 123456789012, 7], [0, 8, 2**40 + 4, 4], [0.3, 0.5, 0.999, 0.0]
    streams = Streams.of(seeds, torch.device(DEVICE))
    own = torch.tensor(rates, dtype=torch.float64, device=DEVICE)
    found = masks.draw_of_models(own, (4, 50, 7), streams.seeds, torch.tensor(places, device=DEVICE), own.float())
    for mask, rate, seed, place in zip(found, rates, seeds, places, strict=True):
        assert torch.equal(mask, drawn(rate, (4, 50, 7), seed, place))
        assert set(mask.unique().tolist()) <= {0.0, float(torch.tensor(1 / (1 - rate)))}
    before = streams.places.clone()
    calls = [
        draw_member_masks(own, 4, 50, 7, generators=streams.rows(slice(1, 4)), device=own.device, dtype=torch.float32)
        for own in [own[1:]] * 2
    ]
    assert (streams.places - before).tolist() == [0, 8, 8, 8]  # a slice moves what it is of
    assert torch.equal(calls[1][0], drawn(0.5, (4, 50, 7), seeds[1], 4))


def test_the_numbers_of_masks_are_spread_evenly_and_know_nothing_of_each_other():
    size, rate = (4, 300, 50), 0.3
    masks = torch.stack([drawn(rate, size, seed, place).cpu() for seed in (0, 1) for place in (0, 4)]).flatten(1) > 0
    spread = (rate * (1 - rate) / masks.shape[1]) ** 0.5
    assert ((~masks).double().mean(1) - rate).abs().max() < 5 * spread
    together = torch.corrcoef(masks.double())
    assert (together - torch.eye(4)).abs().max() < 5 / masks.shape[1] ** 0.5
    (first,) = masks[:1].double()
    for lag in (1, 2, 4, 50, 15000):
        pair = torch.stack([first[:-lag], first[lag:]])
        assert abs(float(torch.corrcoef(pair)[0, 1])) < 5 / pair.shape[1] ** 0.5


# ------------------------------------------------------------------ who is served


def test_a_call_that_it_does_not_serve_is_refused_by_name_with_the_reason():
    arguments = make_arguments(3, 2, 2, 3, torch.float64)
    with pytest.raises(ValueError, match=r"'fused_triton' cannot serve this call: it takes float32.*Use backend"):
        ops.lstm(*arguments, backend="fused_triton")
    arguments, _ = here((make_arguments(3, 2, 2, 3, torch.float32), {}))
    with pytest.raises(ValueError, match=r"activations are tanh and sigmoid.*Use backend"):
        ops.lstm(*arguments, backend="fused_triton", activations=(torch.relu, torch.sigmoid))
    with pytest.raises(ValueError, match=r"torch\.func have no memory.*Use backend"):
        torch.func.grad(lambda x: ops.lstm(x, *arguments[1:], backend="fused_triton")[0].sum())(arguments[0].detach())


@pytest.mark.skipif(DEVICE == "cuda", reason="there is a GPU")
def test_without_a_gpu_it_is_refused_by_name_and_never_chosen(monkeypatch):
    arguments, options = make_call((3, 2, 2, 3), Kind(4, 4), torch.float32)
    assert dispatch.choose(ops.Call(*arguments, None, *list(options.values())[:2]), "auto") == "fused_cpu"
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    fused_triton._known.clear()
    try:
        with pytest.raises(ValueError, match=r"it runs on a GPU\. Use backend='auto'"):
            ops.lstm(*arguments, backend="fused_triton", **options)
    finally:
        fused_triton._known.clear()


@pytest.mark.parametrize("kind", [Kind(), Kind(4, 4, "prefix")], ids=str)
def test_it_is_one_operation_to_the_compiler(kind):
    arguments, options = here(make_call((3, 7, 3, 9), kind, torch.float32))

    def call(*tensors: Tensor) -> Any:
        return ops.lstm(*tensors, backend="fused_triton", **options)

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    assert_close(results(compiled, arguments), results(call, arguments), tolerance=1e-5)


# ------------------------------------------------------------------ storm


@pytest.mark.storm
@pytest.mark.usefixtures("way")
def test_storm_of_random_calls_equals_the_reference():
    for seed in range(150):
        torch.manual_seed(seed)
        choose = random.Random(seed)
        K = choose.choice([None, None, 1, 2, 5])
        kind = Kind(
            input_groups=choose.choice([None, 1, 4]),
            recurrent_groups=choose.choice([None, 1, 4]),
            pattern=choose.choice([None, None, "prefix", "holes"]),
            reverse=choose.random() < 0.5,
            bias=choose.random() < 0.8,
            K=K,
            shares_x=choose.random() < 0.5,
            shares_valid=choose.random() < 0.5,
        )
        size = tuple(round(2 ** choose.uniform(0, most)) for most in (4, 6, 7, 7))
        arguments, options = make_call(size, kind, torch.float32)
        try:
            assert_close(found_here((arguments, options)), true_results(arguments, **options))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {size}, {kind}") from error
