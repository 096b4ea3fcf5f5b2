"""Backends with a backward pass of their own against the definition: every output and every gradient.

All memory is full of NaN before it is used, so that what a backend reads but never wrote shows.
"""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from lstmreg import ops
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
    results,
    true_results,
)

BACKENDS = ["eager", "fused_cpu"]
DTYPES = [torch.float64, torch.float32]

pytestmark = pytest.mark.usefixtures("_new_memory_is_nan")


def assert_equals_the_reference(backend: str, call: tuple[Arguments, dict[str, Any]]) -> None:
    arguments, options = call
    assert_close(results(ops.lstm, arguments, backend=backend, **options), true_results(arguments, **options))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_working_memory_of_the_compiled_code_is_nan_too(dtype):
    scratch = torch.empty(64, dtype=torch.uint8)  # as fused_cpu takes it; whole numbers are filled with their largest
    assert scratch.view(dtype).isnan().all()


# ------------------------------------------------------------------ kinds and sizes

KINDS = [Kind(*choice) for choice in itertools.product([None, 1, 4], [None, 1, 4], [None, "prefix", "holes"])]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_kind_of_call_equals_the_reference(backend, kind, reverse):
    kind = kind._replace(reverse=reverse)
    assert_equals_the_reference(backend, make_call((7, 33, 3, 17), kind, torch.float64))
    assert_equals_the_reference(backend, make_call((9, 7, 5, 8), kind._replace(bias=False), torch.float32))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [Kind(4), Kind(4, 1), Kind(1, 4)], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_masks_of_one_input_column_equal_the_reference(backend, kind, dtype):
    assert_equals_the_reference(backend, make_call((36, 7, 1, 3), kind, dtype))


SIZES = [  # T, B, D, H: about the edges of tiles, vectors, panels, and of what goes through time together
    (1, 1, 1, 1),
    (1, 7, 33, 3),
    (7, 65, 1, 8),
    (33, 7, 65, 16),
    (7, 70, 5, 17),
    (5, 130, 7, 50),
    (3, 33, 65, 64),
    (2, 7, 130, 100),
    (3, 70, 33, 130),
    (300, 1, 3, 5),
    (50, 2, 33, 65),
    (17, 3, 7, 130),
    (9, 64, 2, 4),
    (40, 130, 2, 9),
    (65, 33, 7, 33),
]
ALL = Kind(4, 4, "holes", reverse=True)


@pytest.mark.parametrize("threads", [1, 3])  # more than there are cores do not wait busily for each other
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [Kind(), Kind(1, 1), Kind(None, 4, "prefix"), ALL], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_compiled_code_equals_the_reference_at_every_size(size, kind, dtype, threads):
    torch.set_num_threads(threads)
    assert_equals_the_reference("fused_cpu", make_call(size, kind, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [Kind(), ALL], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_eager_equals_the_reference_at_every_size(size, kind, dtype):
    assert_equals_the_reference("eager", make_call(size, kind, dtype))


POPULATIONS = [
    kind._replace(K=K, shares_x=shares_x, shares_valid=shares_valid)
    for (K, shares_x, shares_valid), kind in itertools.product(
        [(1, False, False), (1, True, True), (3, False, True), (3, True, False)], [Kind(), Kind(1, 4, "prefix"), ALL]
    )
]


@pytest.mark.parametrize("threads", [1, 5])  # a model on one, or some rows of it on each
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", POPULATIONS, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_population_equals_the_reference(backend, kind, dtype, threads):
    torch.set_num_threads(threads if backend == "fused_cpu" else 1)
    assert_equals_the_reference(backend, make_call((7, 33, 3, 17), kind, dtype))
    assert_equals_the_reference(backend, make_call((1, 2, 3, 5), kind, dtype))


@pytest.mark.parametrize("kind", [Kind(), ALL, Kind(1, 1, K=2, shares_x=True, bias=False)], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_equal_finite_differences(backend, kind):
    arguments, options = make_call((3, 2, 2, 3), kind)
    leaves = [a for a in arguments if a is not None]
    rest = [None] * (6 - len(leaves))
    assert torch.autograd.gradcheck(lambda *a: ops.lstm(*a, *rest, backend=backend, **options), leaves)


# ------------------------------------------------------------------ memory


@pytest.mark.parametrize("kind", [Kind(), Kind(1, 1, "prefix"), ALL, ALL._replace(K=3)], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_results_do_not_depend_on_what_memory_held_before(backend, kind):
    torch.set_num_threads(3 if backend == "fused_cpu" else 1)
    arguments, options = make_call((40, 70, 3, 17), kind, torch.float32)
    first = results(ops.lstm, arguments, backend=backend, **options)
    torch.utils.deterministic.fill_uninitialized_memory = False
    second = results(ops.lstm, arguments, backend=backend, **options)
    for name in first:
        assert torch.equal(first[name], second[name]), name


def strided(t: Tensor) -> Tensor:
    """The same numbers two apart, among NaN."""
    wide = t.new_full((*t.shape, 2), torch.nan)
    wide[..., 0] = t.detach()
    return wide[..., 0]


def sliced(t: Tensor) -> Tensor:
    """The same numbers amidst a larger tensor of NaN."""
    wide = t.new_full([n + 4 for n in t.shape], torch.nan)
    inside = wide[tuple(slice(2, 2 + n) for n in t.shape)]
    inside.copy_(t.detach())
    return inside


def transposed(t: Tensor) -> Tensor:
    """The same numbers with the last but one dimension first in memory, as in batch_first."""
    return t.detach().transpose(-2, 0).contiguous().transpose(-2, 0) if t.dim() > 1 else t.detach()


def last_first(t: Tensor) -> Tensor:
    """The same numbers with the last dimension first in memory."""
    return t.detach().movedim(-1, 0).contiguous().movedim(0, -1)


LAYOUTS = [strided, sliced, transposed, last_first]


@pytest.mark.parametrize("kind", [Kind(), Kind(1, 1, "prefix"), ALL, ALL._replace(K=3)], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(7, 13, 3, 17), (30, 2, 5, 9)], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_layout_of_tensors_in_memory_changes_nothing(backend, size, layout, kind):
    arguments, options = make_call(size, kind)
    expected = true_results(arguments, **options)
    laid = [layout(a).requires_grad_() for a in arguments]
    for name in ("input_mask", "recurrent_mask"):
        if options[name] is not None:
            options[name] = layout(options[name])
    if options["valid"] is not None:
        options["valid"] = transposed(options["valid"])
    outputs = dict(zip(OUTPUTS, ops.lstm(*laid, backend=backend, **options), strict=True))
    cotangents = [layout(c) for c in make_cotangents(outputs.values())]
    found = torch.autograd.grad(list(outputs.values()), laid, cotangents)
    assert_close(outputs | dict(zip(NAMES, found, strict=True)), expected)


@pytest.mark.parametrize("K", [None, 3])
@pytest.mark.parametrize("backend", BACKENDS)
def test_tensors_may_be_expanded(backend, K):
    T, B, D, H = 7, 13, 3, 17
    lead = [] if K is None else [K]
    small = make_arguments(1, 1, D, H, K=K)
    masks = {"input_mask": make_mask(4, 1, D), "recurrent_mask": make_mask(4, 1, H)}

    def outputs(name: str) -> dict[str, Tensor]:
        x, h_0, c_0, *weights = small
        states = h_0.expand(*lead, B, H), c_0.expand(*lead, B, H)
        wide = {key: m.expand(*lead, 4, B, -1) for key, m in masks.items()}
        valid = torch.tensor([1, 1, 0, 1, 1, 1, 0]).bool().unsqueeze(1).expand(*lead, T, B)
        y = ops.lstm(x.expand(*lead, T, B, D), *states, *weights, valid=valid, backend=name, **wide)
        gradients = torch.autograd.grad(sum(part.sum() for part in y), small)  # expanded too
        return dict(zip((*OUTPUTS, *NAMES), (*y, *gradients), strict=True))

    assert_close(outputs(backend), outputs("reference"))


WRONG_SHAPES = {
    "x": lambda x: x[..., :2],
    "h_0": lambda h: h[:1],
    "c_0": lambda c: torch.cat([c, c]),
    "w_ih": lambda w: w[:17],
    "w_hh": lambda w: w[:, :16],
    "bias": lambda b: b[:17],
    "input_mask": lambda m: m[..., :2],
    "recurrent_mask": lambda m: m[:2],
    "valid": lambda v: v[:6],
}


@pytest.mark.parametrize("name", list(WRONG_SHAPES))
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tensor_of_the_wrong_shape_is_refused_and_nothing_beyond_it_is_read(backend, name):
    arguments, options = make_call((7, 13, 3, 17), Kind(4, 4, "holes"))
    tensors = dict(zip(NAMES, arguments, strict=True)) | options
    tensors[name] = WRONG_SHAPES[name](tensors[name])
    with torch.no_grad(), pytest.raises((ValueError, RuntimeError, TypeError)):
        ops.lstm(**tensors, backend=backend)


GUARDED = """
import ctypes, mmap
import torch
from lstmreg import ops
from tests.ops.arguments import Kind, make_call, make_cotangents

pages = []

def guarded_empty(shape, dtype):
    '''Memory between pages that nobody may touch: to read or write next to it ends the process.'''
    shape = torch.Size(shape)
    size = shape.numel() * dtype.itemsize
    room = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    pages.append(mmap.mmap(-1, room + 2 * mmap.PAGESIZE))
    begin = ctypes.addressof(ctypes.c_char.from_buffer(pages[-1]))
    for page in (begin, begin + mmap.PAGESIZE + room):
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(page), mmap.PAGESIZE, 0) == 0
    offset = mmap.PAGESIZE + (0 if len(pages) % 3 == 0 else room - size)
    return torch.frombuffer(pages[-1], dtype=dtype, count=shape.numel(), offset=offset).view(shape)

def guarded(t):
    return guarded_empty(t.shape, t.dtype).copy_(t.detach())

def new_empty(like, *shape, dtype=None):
    return guarded_empty(shape[0] if isinstance(shape[0], tuple) else shape, dtype or like.dtype)

def empty(size, dtype):
    return guarded_empty((size,), dtype)

def call(backend, arguments, options):
    # All memory that the backend takes for itself is guarded too.
    before = torch.Tensor.new_empty, torch.empty_like, torch.empty
    torch.Tensor.new_empty, torch.empty_like, torch.empty = new_empty, lambda t: new_empty(t, t.shape), empty
    try:
        outputs = ops.lstm(*arguments, backend=backend, **options)
        cotangents = [guarded(c) for c in make_cotangents(outputs)]
        torch.autograd.grad(outputs, arguments, cotangents)
    finally:
        torch.Tensor.new_empty, torch.empty_like, torch.empty = before

torch.set_num_threads(3)
for dtype in (torch.float32, torch.float64):
    for size in [(7, 13, 3, 17), (30, 2, 5, 9), (1, 70, 33, 1), (5, 7, 16, 64), (3, 5, 65, 100)]:
        for kind in (Kind(), Kind(4, 4, "holes", reverse=True), Kind(1, 1, "prefix", K=3), Kind(None, 4, K=2)):
            arguments, options = make_call(size, kind, dtype)
            arguments = [guarded(a).requires_grad_() for a in arguments]
            options = {name: guarded(o) if isinstance(o, torch.Tensor) else o for name, o in options.items()}
            call("fused_cpu", arguments, options)
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.float32):
                call("fused_cpu", arguments, options)
"""


def test_compiled_code_touches_nothing_outside_the_tensors():
    subprocess.run([sys.executable, "-c", GUARDED], cwd=Path(__file__).parents[2], check=True, timeout=120)


@pytest.mark.parametrize("kind", [Kind(), ALL._replace(K=1)], ids=str)
@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_have_memory_of_their_own(backend, gradients, kind):
    arguments, options = make_call((1, 1, 3, 5), kind)  # one step, so that an output is a state
    with torch.set_grad_enabled(gradients):
        outputs = ops.lstm(*arguments, backend=backend, **options)
    places = [t.untyped_storage().data_ptr() for t in (*outputs, *arguments)]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("backend", BACKENDS)
def test_arguments_remain_as_they_were(backend):
    arguments, options = make_call((7, 13, 3, 17), ALL)
    tensors = [*arguments, *(o for o in options.values() if isinstance(o, Tensor))]
    copies = [t.detach().clone() for t in tensors]
    results(ops.lstm, arguments, backend=backend, **options)
    for tensor, copy in zip(tensors, copies, strict=True):
        assert torch.equal(tensor, copy)


# ------------------------------------------------------------------ what autograd asks for


@pytest.mark.parametrize("used", [("output",), ("h_n",), ("c_n",), ("output", "c_n"), OUTPUTS], ids="-".join)
@pytest.mark.parametrize("pattern", [None, "holes"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_any_of_the_outputs_may_be_left_unused(backend, pattern, used):
    arguments, options = make_call((7, 13, 3, 17), Kind(None, 4, pattern))

    def gradients(name: str) -> dict[str, Tensor]:
        outputs = dict(zip(OUTPUTS, ops.lstm(*arguments, backend=name, **options), strict=True))
        cotangents = dict(zip(OUTPUTS, make_cotangents(outputs.values()), strict=True))
        loss = sum((outputs[y] * cotangents[y]).sum() for y in used)
        return dict(zip(NAMES, torch.autograd.grad(loss, arguments), strict=True))

    assert_close(gradients(backend), gradients("reference"))


@pytest.mark.parametrize("asked", [*[(name,) for name in NAMES], ("x", "w_hh"), NAMES[3:], NAMES[1:]], ids="-".join)
@pytest.mark.parametrize("backend", BACKENDS)
def test_any_of_the_gradients_may_be_asked_for_alone(backend, asked):
    for kind in (Kind(4, 1, "holes"), Kind(K=3, shares_x=True)):
        arguments, options = make_call((7, 13, 3, 17), kind)
        expected = true_results(arguments, **options)
        some = {name: a.detach().requires_grad_(name in asked) for name, a in zip(NAMES, arguments, strict=True)}
        outputs = ops.lstm(*some.values(), backend=backend, **options)
        found = torch.autograd.grad(outputs, [some[name] for name in asked], make_cotangents(outputs))
        assert_close(dict(zip(asked, found, strict=True)), {name: expected[name] for name in asked})


@pytest.mark.parametrize("kind", [Kind(), ALL, ALL._replace(K=3)], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_are_the_same_without_gradients(backend, kind):
    arguments, options = make_call((7, 13, 3, 17), kind)
    expected = ops.lstm(*arguments, backend=backend, **options)
    with torch.no_grad():
        found = ops.lstm(*arguments, backend=backend, **options)
    with torch.inference_mode():
        inferred = ops.lstm(*arguments, backend=backend, **options)
    for y, y_found, y_inferred in zip(expected, found, inferred, strict=True):
        assert torch.equal(y, y_found)
        assert torch.equal(y, y_inferred)
        assert y.requires_grad
        assert not y_found.requires_grad


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_nobody_asks_for_is_neither_kept_nor_computed(backend, monkeypatch):
    passes = ops.dispatch.BACKENDS[backend].PASSES
    kept, cotangents, needed = [], [], []
    forward, backward = passes.forward, passes.backward

    def spy_forward(call: Any, keep: bool) -> Any:
        kept.append(keep)
        return forward(call, keep)

    def spy_backward(call: Any, output: Any, state: Any, grads: Any, wanted: Any) -> Any:
        cotangents.append([g is not None for g in grads])
        needed.append(list(wanted))
        return backward(call, output, state, grads, wanted)

    monkeypatch.setattr(passes, "forward", spy_forward)
    monkeypatch.setattr(passes, "backward", spy_backward)
    x, h_0, c_0, *weights = make_arguments(3, 2, 2, 3)
    with torch.no_grad():
        ops.lstm(x, h_0, c_0, *weights, backend=backend)
    ops.lstm(*(a.detach() for a in (x, h_0, c_0, *weights)), backend=backend)
    output, _, _ = ops.lstm(x.detach(), h_0.detach(), c_0, *weights, backend=backend)
    output.sum().backward()
    assert kept == [False, False, True]
    assert cotangents == [[True, False, False]]
    assert needed == [[False, False, True, True, True, True]]


@pytest.mark.parametrize("kind", [Kind(), ALL, ALL._replace(K=3)], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_going_back_twice_gives_the_same_gradients(backend, kind):
    arguments, options = make_call((7, 13, 3, 17), kind)
    outputs = ops.lstm(*arguments, backend=backend, **options)
    cotangents = make_cotangents(outputs)
    first = torch.autograd.grad(outputs, arguments, cotangents, retain_graph=True)
    second = torch.autograd.grad(outputs, arguments, cotangents)
    for one, two in zip(first, second, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_output_changed_in_place_is_noticed(backend):
    arguments = make_arguments(7, 13, 3, 17)
    output, _, _ = ops.lstm(*arguments, backend=backend)
    with pytest.raises(RuntimeError, match="inplace"):
        output.mul_(2).sum().backward()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", [Kind(), ALL, Kind(None, 4, "prefix", bias=False), Kind(4, 1, K=2)], ids=str)
def test_second_derivatives_equal_the_references(backend, kind):
    arguments, options = make_call((3, 2, 2, 3), kind)
    leaves = [a for a in arguments if a is not None]

    def curvature(name: str) -> dict[str, Tensor]:
        outputs = ops.lstm(*arguments, backend=name, **options)
        cotangents = [c.requires_grad_() for c in make_cotangents(outputs)]
        slopes = torch.autograd.grad(outputs, leaves, cotangents, create_graph=True)
        bend = sum((s * c).sum() for s, c in zip(slopes, make_cotangents(slopes), strict=True)) + outputs[0].sum()
        names = [*map(str, range(len(leaves))), *OUTPUTS]
        return dict(zip(names, torch.autograd.grad(bend, [*leaves, *cotangents]), strict=True))

    assert_close(curvature(backend), curvature("reference"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_gradient_is_the_same_to_the_last_bit_where_it_may_be_differentiated_again(backend):
    arguments, options = make_call((7, 13, 3, 17), ALL)
    outputs = ops.lstm(*arguments, backend=backend, **options)
    once = torch.autograd.grad(outputs, arguments, make_cotangents(outputs), retain_graph=True)
    twice = torch.autograd.grad(outputs, arguments, make_cotangents(outputs), create_graph=True)
    for one, two in zip(once, twice, strict=True):
        assert torch.equal(one, two)
        assert not one.requires_grad
        assert two.requires_grad


@pytest.mark.parametrize("backend", BACKENDS)
def test_derivatives_of_any_order_equal_finite_differences(backend):
    arguments, options = make_call((2, 2, 1, 2), Kind(1, 4, "prefix"))

    def slope(*tensors: Tensor) -> Tensor:
        output, _, c_n = ops.lstm(*tensors, backend=backend, **options)
        return torch.autograd.grad(output.square().sum() + c_n.sin().sum(), tensors[4], create_graph=True)[0]

    assert torch.autograd.gradgradcheck(lambda *a: ops.lstm(*a, backend=backend, **options), arguments)
    assert torch.autograd.gradgradcheck(slope, arguments)  # a third derivative


@pytest.mark.parametrize("kind", [Kind(), ALL, Kind(None, 4, "prefix", bias=False)], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_of_cotangents_gives_the_gradients_of_each(backend, kind):
    arguments, options = make_call((5, 3, 2, 3), kind)
    leaves = [a for a in arguments if a is not None]
    outputs = ops.lstm(*arguments, backend=backend, **options)
    batch = [torch.randn(4, *y.shape, dtype=y.dtype) for y in outputs]
    found = torch.autograd.grad(outputs, leaves, batch, retain_graph=True, is_grads_batched=True)
    for k in range(4):
        one = torch.autograd.grad(outputs, leaves, [c[k] for c in batch], retain_graph=True)
        for got, expected in zip(found, one, strict=True):
            torch.testing.assert_close(got[k], expected, rtol=1e-10, atol=1e-12)


def lazily_negated(tensor: Tensor) -> Tensor:
    """Return the same numbers, held as what they are the negative of."""
    pairs = torch.stack([torch.zeros_like(tensor), -tensor.detach()], dim=-1)
    return torch.view_as_complex(pairs).conj().imag


@pytest.mark.parametrize("kind", [Kind(1, 4), ALL], ids=str)
@pytest.mark.parametrize("backend", ["auto", "native", *BACKENDS, "reference"])
def test_tensors_that_torch_negates_lazily_are_read_as_what_they_are(backend, kind):
    if backend == "native":
        kind = Kind(1)
    arguments, options = make_call((7, 13, 3, 17), kind)
    expected = true_results(arguments, **options)
    lazy = [lazily_negated(a).requires_grad_() for a in arguments]
    masks = {name: lazily_negated(m) for name, m in options.items() if name.endswith("mask") and m is not None}
    assert all(t.is_neg() for t in (*lazy, *masks.values()))

    outputs = dict(zip(OUTPUTS, ops.lstm(*lazy, backend=backend, **options | masks), strict=True))
    cotangents = [lazily_negated(c) for c in make_cotangents(outputs.values())]
    found = torch.autograd.grad(list(outputs.values()), lazy, cotangents)
    assert_close(outputs | dict(zip(NAMES, found, strict=True)), expected)


def test_cotangents_that_are_zeros_without_memory_are_zeros():
    arguments = make_arguments(7, 13, 3, 17)
    output, h_n, _ = ops.lstm(*arguments, backend="fused_cpu", recurrent_mask=make_mask(4, 13, 17))
    nothing = torch._efficientzerotensor(output.shape, dtype=output.dtype)
    found = torch.autograd.grad([output, h_n], arguments, [nothing, torch.zeros_like(h_n)])
    assert not any(g.any() for g in found)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, about itself
@pytest.mark.parametrize("backend", ["native", *BACKENDS])
def test_a_forward_derivative_is_given_by_auto_and_refused_by_name(backend):
    x, *rest = [a.detach() for a in make_arguments(3, 2, 2, 3)]
    for wanted in (False, True):
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x.clone().requires_grad_(wanted), torch.ones_like(x))
            expected, found = (
                forward_ad.unpack_dual(ops.lstm(dual, *rest, backend=name)[0]).tangent for name in ("reference", "auto")
            )
            torch.testing.assert_close(found, expected)
            with pytest.raises(ValueError, match=r"no forward derivatives. Use backend='auto'"):
                ops.lstm(dual, *rest, backend=backend)


TRANSFORMS = {
    "jacrev": lambda f, x: torch.func.jacrev(f)(x),
    "jacfwd": lambda f, x: torch.func.jacfwd(f)(x),
    "hessian": lambda f, x: torch.func.hessian(lambda t: f(t).square().sum())(x),
    "vmap of grad": lambda f, x: torch.func.vmap(torch.func.grad(lambda t: f(t).square().sum()))(torch.stack([x, -x])),
    "grad of vmap": lambda f, x: torch.func.grad(lambda t: torch.func.vmap(f)(torch.stack([t, -t])).square().sum())(x),
    "vmap of jvp": lambda f, x: torch.func.vmap(lambda t: torch.func.jvp(f, (t,), (t,))[1])(torch.stack([x, -x])),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, about itself
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("kind", [Kind(), ALL], ids=str)
def test_auto_goes_through_every_function_transform(kind, transform):
    (x, *rest), options = make_call((3, 2, 2, 3), kind)
    x, rest = x.detach(), [a.detach() for a in rest]
    found, expected = (
        TRANSFORMS[transform](lambda t, name=name: ops.lstm(t, *rest, backend=name, **options)[0], x)
        for name in ("auto", "reference")
    )
    torch.testing.assert_close(found, expected)
    assert found.any()


@pytest.mark.parametrize("backend", ["native", *BACKENDS])
def test_a_backend_that_cannot_be_batched_says_so(backend):
    x, *rest = [a.detach() for a in make_arguments(3, 2, 2, 3)]
    with pytest.raises(ValueError, match=r"(torch\.vmap|torch\.func).*Use backend='auto'"):
        torch.func.vmap(lambda t: ops.lstm(t, *rest, backend=backend)[0])(torch.stack([x, x]))


@pytest.mark.parametrize("K", [None, 3])
@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_function_transforms_go_through(backend, K):
    arguments, options = make_call((7, 13, 3, 17), Kind(4, 4, "holes", K=K))
    expected = true_results(arguments, **options)
    plain = [a.detach() for a in arguments]

    def loss(*tensors: Tensor) -> Tensor:
        outputs = ops.lstm(*tensors, backend=backend, **options)
        return sum((y * c).sum() for y, c in zip(outputs, make_cotangents(outputs), strict=True))

    found = torch.func.grad(loss, argnums=tuple(range(6)))(*plain)
    assert_close(dict(zip(NAMES, found, strict=True)), {name: expected[name] for name in NAMES})
    (alone,) = torch.func.grad(loss, argnums=(4,))(*plain)
    assert_close({"w_hh": alone}, {"w_hh": expected["w_hh"]})


def test_compiled_code_asked_for_by_name_refuses_the_tensors_of_function_transforms():
    arguments = [a.detach() for a in make_arguments(7, 13, 3, 17)]
    with pytest.raises(ValueError, match=r"torch\.func have no memory.*backend='auto'"):
        torch.func.grad(lambda *tensors: ops.lstm(*tensors, backend="fused_cpu")[0].sum())(*arguments)


@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_what_a_function_transform_does_not_differentiate_goes_through_too(backend):
    arguments = [a.detach() for a in make_arguments(7, 13, 3, 17)]
    expected = ops.lstm(*arguments, backend="reference")[0].mean()

    def product(*tensors: Tensor) -> Tensor:
        return ops.lstm(*(t.detach() for t in tensors), backend=backend)[0].mean() * tensors[0].sum()

    torch.testing.assert_close(torch.func.grad(product)(*arguments), expected.expand(7, 13, 3))


@pytest.mark.parametrize("kind", [Kind(), ALL], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_checkpointing_changes_nothing(backend, kind):
    arguments, options = make_call((7, 13, 3, 17), kind)

    def checkpointed(*tensors: Tensor, **options: Any) -> Any:
        return checkpoint(ops.lstm, *tensors, use_reentrant=False, **options)

    assert_close(
        results(checkpointed, arguments, backend=backend, **options),
        results(ops.lstm, arguments, backend=backend, **options),
        tolerance=1e-15,
    )


@pytest.mark.parametrize("backend", ["auto", "eager", "fused_cpu"])
def test_autocast_runs_recurrent_dropout_in_bfloat16(backend):
    arguments, options = make_call((7, 13, 3, 17), Kind(4, 4), torch.float32)
    expected = true_results(arguments, **options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = results(ops.lstm, arguments, backend=backend, **options)
    assert [found[name].dtype for name in (*OUTPUTS, *NAMES)] == [torch.bfloat16] * 3 + [torch.float32] * 6
    assert_close({n: t.float() for n, t in found.items()}, expected, tolerance=0.1)


# ------------------------------------------------------------------ the same thing said in another way


@pytest.mark.parametrize("kind", [Kind(), Kind(1, 1, "prefix"), ALL, ALL._replace(K=3)], ids=str)
@pytest.mark.parametrize("size", [(7, 65, 3, 17), (40, 130, 2, 9), (3, 33, 33, 65)], ids=str)
def test_the_number_of_threads_changes_roundings_only(size, kind):
    arguments, options = make_call(size, kind)
    found = {}
    for threads in (1, 2, 3, 8):
        torch.set_num_threads(threads)
        found[threads] = results(ops.lstm, arguments, backend="fused_cpu", **options)
    for threads in (2, 3, 8):
        assert_close(found[threads], found[1], tolerance=1e-13)


@pytest.mark.parametrize("kind", [Kind(), Kind(1, 1, "prefix"), ALL], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_equals_its_rows(backend, kind):
    (x, h_0, c_0, *weights), options = make_call((7, 70, 3, 17), kind)
    whole = ops.lstm(x, h_0, c_0, *weights, backend=backend, **options)
    for b in (0, 1, 5, 6, 35, 63, 64, 69):
        row = slice(b, b + 1)
        own = {name: t if t is None or name == "reverse" else t[:, row] for name, t in options.items()}
        output, *states = ops.lstm(x[:, row], h_0[row], c_0[row], *weights, backend=backend, **own)
        torch.testing.assert_close(output, whole[0][:, row], rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(states, [s[row] for s in whole[1:]], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("kind", [Kind(), Kind(1, 4), Kind(4, 1, K=3)], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_two_half_sequences_with_carried_state_equal_one(backend, kind):
    arguments, options = make_call((9, 13, 3, 17), kind)

    def in_halves(x: Tensor, h_0: Tensor, c_0: Tensor, *weights: Tensor, **options: Any) -> Any:
        first, *states = ops.lstm(x[..., :4, :, :], h_0, c_0, *weights, **options)
        second, *states = ops.lstm(x[..., 4:, :, :], *states, *weights, **options)
        return torch.cat([first, second], dim=-3), *states

    options["backend"] = backend
    assert_close(results(in_halves, arguments, **options), results(ops.lstm, arguments, **options))


@pytest.mark.parametrize("kind", [Kind(), Kind(1, 4, "prefix"), ALL, Kind(shares_x=True, pattern="holes")], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_member_of_a_population_equals_the_model_alone(backend, kind):
    arguments, options = make_call((7, 33, 3, 17), kind._replace(K=3))
    together = results(ops.lstm, arguments, backend=backend, **options)
    cotangents = make_cotangents(together[name] for name in OUTPUTS)
    d_x = []
    for k in range(3):
        own = [a if a.dim() == 3 and name == "x" else a[k] for name, a in zip(NAMES, arguments, strict=True)]
        own_options = {name: t[k] if isinstance(t, Tensor) else t for name, t in options.items()}
        outputs = ops.lstm(*own, backend=backend, **own_options)
        found = torch.autograd.grad(outputs, own, [c[k] for c in cotangents])
        d_x.append(found[0])
        alone = dict(zip((*OUTPUTS, *NAMES[1:]), (*outputs, *found[1:]), strict=True))
        assert_close(alone, {name: together[name][k] for name in alone}, tolerance=1e-13)
    whole = sum(d_x) if kind.shares_x else torch.stack(d_x)
    assert_close({"x": whole}, {"x": together["x"]}, tolerance=1e-13)


@pytest.mark.parametrize("kind", [Kind(), ALL, Kind(1, 1, "holes", shares_valid=True)], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_member_that_is_nan_leaves_the_others_alone(backend, kind):
    arguments, options = make_call((7, 33, 3, 17), kind._replace(K=3))
    expected = results(ops.lstm, arguments, backend=backend, **options)
    with torch.no_grad():
        for a in arguments:
            a[1] = torch.nan
    found = results(ops.lstm, arguments, backend=backend, **options)
    for name in found:
        assert torch.equal(found[name][0], expected[name][0]), name
        assert torch.equal(found[name][2], expected[name][2]), name
    assert found["w_hh"][1].isnan().any()


# ------------------------------------------------------------------ numbers that are not usual


@pytest.mark.parametrize("garbage", [torch.nan, torch.inf, 1e30])
@pytest.mark.parametrize("kind", [Kind(K=3, shares_valid=True), Kind(1, 1), Kind(4, 4), Kind(None, 4)], ids=str)
@pytest.mark.parametrize("pattern", ["prefix", "holes"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_padding_may_hold_anything(backend, reverse, pattern, kind, garbage):
    (x, *rest), options = make_call((7, 33, 3, 17), kind._replace(pattern=pattern, reverse=reverse))
    x = x.detach().masked_fill(~options["valid"].unsqueeze(-1), 0).requires_grad_()
    dirty = x.detach().masked_fill(~options["valid"].unsqueeze(-1), garbage).requires_grad_()
    assert_close(results(ops.lstm, [dirty, *rest], backend=backend, **options), true_results([x, *rest], **options))


@pytest.mark.parametrize("special", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_infinity_and_nan_spread_as_in_the_reference(backend, name, special):
    for dtype, kind in [(torch.float64, Kind()), (torch.float32, Kind(1, 4))]:
        arguments, options = make_call((5, 7, 3, 9), kind, dtype)
        with torch.no_grad():
            arguments[NAMES.index(name)].view(-1)[5] = special
        found = results(ops.lstm, arguments, backend=backend, **options)
        expected = results(ops.lstm, arguments, backend="reference", **options)
        for key, value in expected.items():
            if key not in OUTPUTS:  # nearly zero times infinity is infinity, and zero times infinity is not
                found[key] = torch.where(found[key].isfinite(), found[key], torch.nan)
                value = torch.where(value.isfinite(), value, torch.nan)
            torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("special", [torch.nan, torch.inf])
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_not_a_number_stays_in_its_sequence(backend, special):
    arguments, options = make_call((7, 33, 3, 17), Kind(None, 4, "holes"))
    expected = results(ops.lstm, arguments, backend=backend, **options)
    with torch.no_grad():
        arguments[0][:, 5] = special
        arguments[2][6] = special
    found = results(ops.lstm, arguments, backend=backend, **options)
    others = [b for b in range(33) if b not in (5, 6)]
    for name in ("output", "h_n", "c_n", "x", "h_0", "c_0"):
        torch.testing.assert_close(found[name][..., others, :], expected[name][..., others, :], rtol=1e-13, atol=1e-13)
    assert found["output"][:, 5].isnan().any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [30.0, 1e3, 1e30])
@pytest.mark.parametrize("backend", BACKENDS)
def test_gates_saturate(backend, size, dtype):
    arguments, options = make_call((7, 33, 3, 17), Kind(4, 4), dtype)
    with torch.no_grad():
        arguments[-1].sign_().mul_(size)
    assert_equals_the_reference(backend, (arguments, options))


OPEN = 1e4  # what an activation takes for infinity
BIASES = {"i": (0, 0, OPEN, 0), "f": (0, 0, 0, 0), "g": (OPEN, 0, 0, 0), "o": (0, OPEN, 0, 0), "c": (0, OPEN, 0, OPEN)}


def activate(place: str, values: Tensor, H: int) -> Tensor:
    """Send values through one activation of a cell, whose other gates are wide open or see zeros."""
    B, dtype = len(values), values.dtype
    w_ih = torch.tensor([float(place == gate) for gate in "ifgo"], dtype=dtype).repeat_interleave(H).unsqueeze(1)
    bias = torch.tensor(BIASES[place], dtype=dtype).repeat_interleave(H)
    c_0 = {"f": torch.ones(B, H), "o": torch.full((B, H), OPEN), "c": values.unsqueeze(1).expand(B, H)}
    zeros = torch.zeros(B, H, dtype=dtype)
    arguments = values.view(1, B, 1), zeros, c_0.get(place, zeros).to(dtype), w_ih, zeros.new_zeros(4 * H, H), bias
    _, h_n, c_n = ops.lstm(*arguments, backend="fused_cpu")
    return h_n if place in "oc" else c_n


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("H", [1, 40])
@pytest.mark.parametrize("place", list(BIASES))
def test_compiled_activations_are_exact_to_some_units_in_the_last_place(place, H, dtype):
    small, large = torch.logspace(-46 if dtype == torch.float32 else -320, 3, 4001, dtype=torch.float64), 90.0
    values = torch.cat([torch.linspace(-large, large, 20001, dtype=torch.float64), small, -small, torch.zeros(1)])
    values = values.to(dtype)
    expected = (torch.tanh if place in "gc" else torch.sigmoid)(values.double())
    loss = (activate(place, values, H).double() - expected.unsqueeze(1)).abs().amax(1)
    limits = torch.finfo(dtype)
    # An exponential is as wrong as rounding its argument makes it, and below the smallest normal number all is zero.
    allowed = limits.eps * expected.abs() * (3 + values.double().abs().clamp(max=100)) + limits.tiny
    assert (loss <= allowed).all(), (values[loss > allowed], (loss / expected.abs() / limits.eps)[loss > allowed])


# ------------------------------------------------------------------ storm


def random_kind(choose: random.Random) -> Kind:
    K = choose.choice([None, None, 1, 2, 3, 7])
    return Kind(
        input_groups=choose.choice([None, 1, 4]),
        recurrent_groups=choose.choice([None, 1, 4]),
        pattern=choose.choice([None, None, "prefix", "holes"]),
        reverse=choose.random() < 0.5,
        bias=choose.random() < 0.8,
        K=K,
        shares_x=choose.random() < 0.5,
        shares_valid=choose.random() < 0.5,
    )


def random_size(choose: random.Random) -> tuple[int, int, int, int]:
    """Sizes of all magnitudes, of which at most some are large, so that one call takes no more than a moment."""
    while True:
        T, B, D, H = (round(2 ** choose.uniform(0, most)) for most in (8.5, 9, 8, 8))
        if T * B * (D + H) * H < 2e6:
            return T, B, D, H


@pytest.mark.storm
@pytest.mark.parametrize("part", range(4))
def test_storm_of_random_calls_equals_the_reference(part):
    for seed in range(400 * part, 400 * (part + 1)):
        torch.manual_seed(seed)
        choose = random.Random(seed)
        kind, size = random_kind(choose), random_size(choose)
        dtype, threads = choose.choice(DTYPES), choose.choice([1, 1, 2, 3, 4, 7])
        arguments, options = make_call(size, kind, dtype)
        expected = true_results(arguments, **options)
        for backend in BACKENDS:
            torch.set_num_threads(threads if backend == "fused_cpu" else 1)
            try:
                assert_close(results(ops.lstm, arguments, backend=backend, **options), expected)
            except AssertionError as error:
                raise AssertionError(f"{backend}, seed {seed}, {size}, {kind}, {dtype}, {threads} threads") from error
