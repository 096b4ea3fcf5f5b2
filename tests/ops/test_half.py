"""Half precision in compiled code, under autocast and of weights' own: as exact as what torch's LSTM does there.

Products of bfloat16 are the processor's where it has them; on another one the same tests meet products of float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lstmreg import ops
from lstmreg.ops import dispatch
from lstmreg.ops.call import Call
from tests.ops.arguments import (
    NAMES,
    OUTPUTS,
    Kind,
    assert_loses_little,
    losses,
    make_call,
    make_cotangents,
    results,
    true_results,
)
from tests.ops.test_backends import ALL, KINDS, POPULATIONS, SIZES

pytestmark = pytest.mark.usefixtures("_new_memory_is_nan")


def in_bfloat16(*arguments: Any, backend: str = "fused_cpu", **options: Any) -> Any:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return ops.lstm(*arguments, backend=backend, **options)


HALVES = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kind", [Kind(1), Kind(4, 4), ALL, ALL._replace(K=3)], ids=str)
def test_autocast_takes_the_compiled_code_for_whatever_types_it_is_given(kind, dtype):
    arguments, options = make_call((7, 13, 3, 17), kind, torch.float32)
    expected = true_results(arguments, **options)
    types = [dtype, torch.float32, torch.float64, torch.float32, torch.float32, torch.float32]
    mixed = [a.detach().to(t).requires_grad_() for a, t in zip(arguments, types, strict=True)]
    with torch.autocast("cpu", dtype=dtype):
        assert dispatch.choose(Call(*mixed, short=dtype, **options), "auto") == "fused_cpu"
        found = results(ops.lstm, mixed, **options)
    assert [found[name].dtype for name in (*OUTPUTS, *NAMES)] == [dtype] * 3 + types
    assert_loses_little(found, expected)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kind", [Kind(4, 4), ALL, ALL._replace(K=3)], ids=str)
def test_weights_in_half_precision_take_the_compiled_code(kind, dtype):
    arguments, options = make_call((7, 13, 3, 17), kind, dtype)
    assert dispatch.choose(Call(*arguments, **options), "auto") == "fused_cpu"
    found = results(ops.lstm, arguments, **options)
    assert {t.dtype for t in found.values()} == {dtype}
    assert_loses_little(found, true_results(arguments, **options))


def test_compiled_code_asked_for_by_name_refuses_types_that_differ_without_autocast():
    arguments, options = make_call((7, 13, 3, 17), Kind(4, 4), torch.float32)
    arguments[0] = arguments[0].bfloat16()
    with pytest.raises(ValueError, match="all tensors alike"):
        ops.lstm(*arguments, backend="fused_cpu", **options)


@pytest.mark.parametrize("backend", ["auto", "eager", "native", "reference"])
def test_autocast_casts_all_that_other_backends_get(backend):
    arguments, options = make_call((7, 13, 3, 17), Kind(), torch.float32)
    halves = [a.detach().bfloat16().requires_grad_() for a in arguments]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = results(ops.lstm, arguments, backend=backend, **options)
    expected = results(ops.lstm, halves, backend=backend, **options)
    for name, value in expected.items():
        assert torch.equal(found[name].to(value.dtype), value)


# ------------------------------------------------------------------ products of bfloat16


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_kind_of_call_in_bfloat16_loses_little(kind, reverse):
    arguments, options = make_call((7, 33, 3, 17), kind._replace(reverse=reverse), torch.float32)
    assert_loses_little(results(in_bfloat16, arguments, **options), true_results(arguments, **options))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kind", [Kind(), Kind(1, 1), Kind(None, 4, "prefix"), ALL, Kind(4, 4, bias=False)], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_call_of_any_size_in_bfloat16_loses_little(size, kind, threads):
    torch.set_num_threads(threads)
    arguments, options = make_call(size, kind, torch.float32)
    assert_loses_little(results(in_bfloat16, arguments, **options), true_results(arguments, **options))


@pytest.mark.parametrize("threads", [1, 5])
@pytest.mark.parametrize("kind", POPULATIONS, ids=str)
def test_a_population_in_bfloat16_loses_little(kind, threads):
    torch.set_num_threads(threads)
    arguments, options = make_call((7, 33, 3, 17), kind, torch.float32)
    assert_loses_little(results(in_bfloat16, arguments, **options), true_results(arguments, **options))


@pytest.mark.parametrize("size", [(30, 32, 8, 16), (50, 33, 32, 64), (30, 17, 5, 33), (20, 64, 64, 128)], ids=str)
def test_nothing_is_lost_that_torchs_lstm_does_not_lose_in_bfloat16(size):
    arguments, options = make_call(size, Kind(), torch.float32)
    true = true_results(arguments, **options)
    ours = losses(results(in_bfloat16, arguments, **options), true)
    theirs = losses(results(in_bfloat16, arguments, backend="native", **options), true)
    rounding = torch.finfo(torch.bfloat16).eps / 4
    assert {name: (ours[name], theirs[name]) for name in ours if ours[name] > 1.2 * theirs[name] + rounding} == {}


def test_gradients_of_what_is_float32_are_not_rounded_to_bfloat16():
    arguments, options = make_call((7, 33, 3, 17), Kind(4, 4), torch.float32)
    found = results(in_bfloat16, arguments, **options)
    for name in NAMES:
        assert found[name].dtype == torch.float32
        assert not torch.equal(found[name], found[name].bfloat16().float()), name


@pytest.mark.parametrize("kind", [Kind(), Kind(1, 4, "prefix"), ALL], ids=str)
def test_a_member_of_a_population_in_bfloat16_equals_the_model_alone(kind):
    arguments, options = make_call((7, 33, 3, 17), kind._replace(K=3), torch.float32)
    together = results(in_bfloat16, arguments, **options)
    cotangents = make_cotangents(together[name] for name in OUTPUTS)
    for k in range(3):
        own = [a[k] for a in arguments]
        outputs = in_bfloat16(*own, **{name: t[k] if isinstance(t, Tensor) else t for name, t in options.items()})
        found = torch.autograd.grad(outputs, own, [c[k] for c in cotangents])
        for name, value in zip((*OUTPUTS, *NAMES), (*outputs, *found), strict=True):
            torch.testing.assert_close(value, together[name][k], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("garbage", [torch.nan, torch.inf, 1e30])
@pytest.mark.parametrize("kind", [Kind(), Kind(1, 1), Kind(4, 4), Kind(None, 4, K=3)], ids=str)
@pytest.mark.parametrize("pattern", ["prefix", "holes"])
def test_padding_may_hold_anything_in_bfloat16(pattern, kind, garbage):
    (x, *rest), options = make_call((7, 33, 3, 17), kind._replace(pattern=pattern), torch.float32)
    x = x.detach().masked_fill(~options["valid"].unsqueeze(-1), 0).requires_grad_()
    dirty = x.detach().masked_fill(~options["valid"].unsqueeze(-1), garbage).requires_grad_()
    expected = results(in_bfloat16, [x, *rest], **options)
    for name, value in results(in_bfloat16, [dirty, *rest], **options).items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("special", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", NAMES)
def test_infinity_and_nan_spread_in_bfloat16_as_in_the_reference(name, special):
    arguments, options = make_call((5, 7, 3, 17), Kind(1, 4), torch.float32)
    with torch.no_grad():
        arguments[NAMES.index(name)].view(-1)[5] = special
    found = results(in_bfloat16, arguments, **options)
    expected = results(ops.lstm, arguments, backend="reference", **options)
    for key in OUTPUTS:
        torch.testing.assert_close(found[key].float(), expected[key], rtol=0.05, atol=0.05, equal_nan=True)


@pytest.mark.parametrize("layout", ["transposed", "every other", "negated"])
def test_the_layout_of_tensors_in_memory_changes_nothing_in_bfloat16(layout):
    arguments, options = make_call((7, 33, 3, 17), Kind(4, 4), torch.float32)
    expected = results(in_bfloat16, arguments, **options)
    again = [relaid(a.detach(), layout).requires_grad_() for a in arguments]
    masks = {name: relaid(t, layout) if isinstance(t, Tensor) else t for name, t in options.items()}
    for name, value in results(in_bfloat16, again, **masks).items():
        assert torch.equal(value, expected[name]), name


def relaid(t: Tensor, layout: str) -> Tensor:
    made: dict[str, Callable[[], Tensor]] = {
        "transposed": lambda: t.mT.contiguous().mT if t.dim() > 1 else t,
        "every other": lambda: torch.stack([t, torch.full_like(t, torch.nan)], -1)[..., 0],
        "negated": lambda: torch._neg_view(-t),
    }
    return made[layout]()


def test_second_derivatives_in_bfloat16_are_those_of_the_definition():
    arguments, options = make_call((3, 5, 2, 17), Kind(4, 4), torch.float32)

    def slopes(lstm: Callable[..., Any]) -> list[Tensor]:
        output = lstm(*arguments, **options)[0].float()
        first = torch.autograd.grad(output.square().sum(), arguments, create_graph=True)
        return list(torch.autograd.grad(sum(g.square().sum() for g in first), arguments))

    found = dict(zip(NAMES, slopes(in_bfloat16), strict=True))
    expected = dict(zip(NAMES, slopes(ops.lstm), strict=True))
    assert {name: loss for name, loss in losses(found, expected).items() if not loss < 0.05} == {}


def test_a_batch_of_cotangents_goes_through_in_bfloat16():
    arguments, options = make_call((3, 5, 2, 17), Kind(4, 4), torch.float32)
    output = in_bfloat16(*arguments, **options)[0]
    cotangents = torch.randn(2, *output.shape).bfloat16()
    found = torch.autograd.grad(output, arguments, cotangents, is_grads_batched=True, retain_graph=True)
    for i in range(2):
        one = torch.autograd.grad(output, arguments, cotangents[i], retain_graph=True)
        own = {name: g[i] for name, g in zip(NAMES, found, strict=True)}
        assert {n: loss for n, loss in losses(own, dict(zip(NAMES, one, strict=True))).items() if not loss < 0.03} == {}
