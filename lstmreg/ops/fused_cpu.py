"""C++, compiled on first use: the whole recurrence in one call, for any masks, on the CPU.

Of half precision, what is multiplied may be bfloat16 where the processor multiplies that; all else is float32.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import compiled, penalties, recurrence
from .call import Call, Differentiable, Result
from .penalties import NO_NETS, Costs, Nets, Strengths
from .recurrence import Cotangents, Gradients, Kept

REALS = {torch.float32: "float", torch.float64: "double"}

#: Of the types that it takes, those that it computes in float32.
_HALVES = torch.bfloat16, torch.float16


def why_not(call: Call) -> str | None:
    """Return why the compiled code cannot serve a call, or ``None`` if it can; compiles it if need be."""
    return _why_not_served(call) or recurrence.why_not_from_memory() or missing(call)


def why_not_plain(call: Call) -> str | None:
    """Return the same where plain PyTorch runs the code."""
    return _why_not_served(call) or missing(call)


def _why_not_served(call: Call) -> str | None:
    x, short = call.x, call.short
    if (reason := call.why_not_by_hand()) is not None:
        return reason
    dtype = x.dtype
    # Under autocast the types may differ: it takes them all for the one that is asked for.
    served = short in _HALVES if short else dtype in REALS or dtype in _HALVES
    for t in (*call.differentiable, call.input_mask, call.recurrent_mask):
        if t is None:
            continue
        if not t.is_cpu:
            return "it runs on the CPU"
        if not served or not (t.dtype is dtype or (short and t.is_floating_point())):
            return "it takes float32, float64, bfloat16 or float16, all tensors alike"
    return None


def missing(call: Call) -> str | None:
    """Return why there is no compiled code for the type of a call, or ``None``."""
    real = _real(call)
    return compiled.why_not(REALS[real]) if real in REALS else None


def _real(call: Call) -> torch.dtype:
    """Return the type that a call is computed in."""
    return torch.float32 if call.result_type in _HALVES else call.x.dtype


def penalised(call: Call, strengths: Strengths | None) -> tuple[Result, Costs | None]:
    """Compute what :func:`lstmreg.ops.penalised` defines, for a call that ``why_not`` admits.

    Costs are formed where weights are not cast before the pass, and the output is not afterwards.
    """
    if call.result_type not in _HALVES:
        return recurrence.run(call, PASSES, strengths)
    passes = SHORT_PASSES if multiplies_shorts(call) else PASSES
    writes_result = passes.output_type(call.h_0.shape[-1]) is call.result_type
    if strengths is not None and writes_result and call.w_hh.dtype is torch.float32:
        return recurrence.run(call.cast(torch.float32), passes, strengths)
    return in_real(call, lambda wide: recurrence.run(wide, passes)[0]), None


def multiplies_shorts(call: Call) -> bool:
    """Tell whether products are those of bfloat16, because the results are, and the processor has such products."""
    return call.result_type is torch.bfloat16 and _has_short_products()


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _has_short_products() -> bool:
    return bool(library_of(torch.float32).lstmreg_short())


def in_real(call: Call, compute: Callable[[Call], Result]) -> Result:
    """Let a call be computed in float32 if its tensors, or what autocast asks for, are shorter.

    What is longer than autocast asks for is not shortened first: that would take time, and lose digits.
    """
    if call.result_type not in _HALVES:
        return compute(call)
    output, h_n, c_n = compute(call.cast(torch.float32))
    return output.to(call.result_type), h_n.to(call.result_type), c_n.to(call.result_type)


class Problem(ctypes.Structure):
    """``Problem`` in ``csrc/lstm.cpp``, field by field; it says there what each is, and when it may be null."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("models", "steps", "batch", "features", "hidden", "reverse", "threads")),
        ("short_products", ctypes.c_int64),
        *((name, ctypes.c_int64) for name in ("input_groups", "recurrent_groups", "x_model", "x_step", "x_row")),
        *((name, ctypes.c_int64) for name in ("valid_model", "dy_model", "dy_step", "dy_row")),
        *((name, ctypes.c_void_p) for name in ("x", "h_0", "c_0", "w_ih", "w_hh", "bias", "input_mask")),
        *((name, ctypes.c_void_p) for name in ("recurrent_mask", "valid", "y", "h_n", "c_n", "gates", "cells")),
        *((name, ctypes.c_void_p) for name in ("cost", "costs")),
        *((name, ctypes.c_void_p) for name in ("dy", "dh_n", "dc_n", "dx", "dh_0", "dc_0", "dw_ih", "dw_hh", "dbias")),
        *((f"of_{name}_{i}", ctypes.c_double) for name in ("w_ih", "w_hh", "bias", "y") for i in range(2)),
        *((name, ctypes.c_void_p) for name in ("scratch", "parallel")),
    ]


_NO_COSTS = (None, None)


class _Passes:
    def __init__(self, short: bool) -> None:
        self._short = short  # whether bfloat16 is multiplied

    def result_type(self, call: Call) -> torch.dtype:
        return torch.bfloat16 if self._short else call.x.dtype

    def kept_shapes(self, call: Call) -> Kept[tuple[int, ...]]:
        """Return the shapes of the gates and of the cell states, whose rows are padded to whole vectors."""
        *lead, batch, hidden = call.h_0.shape
        steps, padded = call.x.shape[-3], _padded(library_of(call.x.dtype), hidden)
        return Kept(gates=(*lead, steps, 4, batch, padded), cells=(*lead, steps, batch, padded))

    def penalised(self, call: Call, strengths: Strengths) -> tuple[Result, Kept[Tensor], Costs]:
        """Compute the forward pass, and form what elastic nets cost on the weights and the output along with it."""
        costs = Costs(call.x.new_empty(()), call.x.new_empty(len(strengths)))
        result, kept = self.forward(call, True, penalties.flat(strengths), costs)
        assert kept is not None
        return result, kept, costs

    def forward(
        self, call: Call, keep: bool, nets: Nets = NO_NETS, costs: tuple[Tensor | None, ...] = _NO_COSTS
    ) -> tuple[Result, Kept[Tensor] | None]:
        library = library_of(call.x.dtype)
        call = _laid_out(call)
        x, h_0 = call.x, call.h_0
        *lead, batch, hidden = h_0.shape
        output = x.new_empty((*lead, x.shape[-3], batch, hidden), dtype=self.output_type(hidden))
        h_n, c_n = torch.empty_like(h_0), torch.empty_like(h_0)
        kept = None
        if keep:
            gates, cells = self.kept_shapes(call)
            kept = Kept(x.new_empty(gates), x.new_empty(cells))
        results = output, h_n, c_n
        _compute(library.lstmreg_forward, self._short, call, results, kept, nets, costs=costs)
        if not self._short:
            return results, kept
        return (output.to(torch.bfloat16), h_n.to(torch.bfloat16), c_n.to(torch.bfloat16)), kept

    def output_type(self, hidden: int) -> torch.dtype | None:
        """Return the type in which the compiled code writes an output, if it is not that of the tensors."""
        return torch.bfloat16 if self._short and library_of(torch.float32).lstmreg_short_results(hidden) else None

    def slopes(self, strengths: Strengths, d_total: Tensor | None, d_parts: Tensor | None) -> Nets:
        return penalties.slopes(strengths, d_total, d_parts)

    def concerns_output(self, slopes: Nets) -> bool:
        return any(slopes[-2:])

    def backward(
        self,
        call: Call,
        output: Tensor,
        kept: Kept[Tensor],
        grads: Cotangents,
        needed: Differentiable[bool],
        slopes: Nets = NO_NETS,
    ) -> Gradients:
        library = library_of(call.x.dtype)
        call = _laid_out(call)
        # Autograd keeps some zeros nowhere; the compiled code takes what is absent for zero.
        d_output, d_h, d_c = [None if g is None or g._is_zerotensor() else g for g in grads]
        if self._short:
            output_type = self.output_type(call.h_0.shape[-1]) or call.x.dtype
            output = output.to(output_type)
            d_output = None if d_output is None else d_output.to(output_type)
        d_output = None if d_output is None else _in_rows(d_output)
        d_h = None if d_h is None else _contiguous(d_h.to(call.x.dtype))
        d_c = None if d_c is None else _contiguous(d_c.to(call.x.dtype))
        x, h_0, c_0, w_ih, w_hh, bias, *_ = call
        lead = w_hh.shape[:-2]
        x_shape = x.shape if x.dim() == 3 + len(lead) else (*lead, *x.shape)
        # The weights' gradients cost nothing to leave out; those of x and of the states are skipped if nobody asks.
        found: Gradients = Differentiable(
            x=x.new_empty(x_shape) if needed.x else None,
            h_0=torch.empty_like(h_0) if needed.h_0 else None,
            c_0=torch.empty_like(c_0) if needed.c_0 else None,
            w_ih=torch.empty_like(w_ih),
            w_hh=torch.empty_like(w_hh),
            bias=None if bias is None else torch.empty_like(bias),
        )
        cotangents = Cotangents(d_output, d_h, d_c)
        results = output, None, None
        _compute(library.lstmreg_backward, self._short, call, results, kept, slopes, cotangents, found)
        if lead and found.x is not None and found.x.shape != x.shape:
            return found._replace(x=found.x.sum(0))  # of data that the models share
        return found


PASSES = _Passes(short=False)
SHORT_PASSES = _Passes(short=True)

_NOTHING_KEPT = Kept(None, None)
_NO_COTANGENTS = Cotangents(None, None, None)
_NO_GRADIENTS: Gradients = Differentiable(None, None, None, None, None, None)


def _compute(
    function: Any,
    short: bool,
    call: Call,
    results: tuple[Tensor | None, ...],
    kept: Kept[Tensor] | None,
    nets: Nets,
    grads: Cotangents = _NO_COTANGENTS,
    found: Gradients = _NO_GRADIENTS,
    costs: tuple[Tensor | None, ...] = _NO_COSTS,
) -> None:
    x, h_0, c_0, w_ih, w_hh, bias, _, input_mask, recurrent_mask, valid, reverse, _, _ = call
    *lead, batch, hidden = h_0.shape
    threads = torch.get_num_threads()
    valid_model = 0 if valid is None or valid.dim() == 2 else valid.stride(0)
    inputs = x, h_0, c_0, w_ih, w_hh, bias, input_mask, recurrent_mask, valid
    tensors = *inputs, *results, *(kept or _NOTHING_KEPT), *costs, *grads, *found
    problem = Problem(
        lead[0] if lead else 1,
        x.shape[-3],
        batch,
        x.shape[-1],
        hidden,
        reverse,
        # A model of a population is one thread's work, so that its sums do not depend on how many models there are.
        min(threads, lead[0]) if lead else threads,
        short,
        0 if input_mask is None else input_mask.shape[-3],
        0 if recurrent_mask is None else recurrent_mask.shape[-3],
        *_strides(x),
        valid_model,
        *((0, 0, 0) if grads.output is None else _strides(grads.output)),
        *[None if tensor is None else tensor.data_ptr() for tensor in tensors],
        *nets,
        None,
        parallel(),
    )
    # torch's allocator gives the memory, so that its profilers see it and a failure is an error and no crash.
    reference = ctypes.byref(problem)
    scratch = torch.empty(function(reference), dtype=torch.uint8)
    problem.scratch = scratch.data_ptr()
    function(reference)


def masks_of(random: Tensor, rate: float) -> Tensor | None:
    """Make masks of uniform random numbers, which are overwritten, if the compiled code is loaded.

    They are those that torch makes, bit for bit.

    Args:
        random: In one piece on the CPU; float32, or there are none.
        rate: The probability of a zero.
    """
    library = _loaded.get(torch.float32)
    if library is None or random.dtype is not torch.float32:
        return None
    library.lstmreg_masks(random.data_ptr(), random.numel(), rate)
    return random


def _laid_out(call: Call) -> Call:
    """Return a call whose tensors lie as the compiled code reads them: all but ``x`` contiguous."""
    if _is_laid_out(call):  # nearly always
        return call
    return call._replace(
        x=_in_rows(call.x),
        h_0=_contiguous(call.h_0),
        c_0=_contiguous(call.c_0),
        w_ih=_contiguous(call.w_ih),
        w_hh=_contiguous(call.w_hh),
        bias=None if call.bias is None else _contiguous(call.bias),
        input_mask=None if call.input_mask is None else _contiguous(call.input_mask),
        recurrent_mask=None if call.recurrent_mask is None else _contiguous(call.recurrent_mask),
        valid=None if call.valid is None else call.valid.contiguous(),
    )


def _is_laid_out(call: Call) -> bool:
    x, h_0, c_0, w_ih, w_hh, bias, _, input_mask, recurrent_mask, valid, _, _, _ = call
    for t in (h_0, c_0, w_ih, w_hh, bias, input_mask, recurrent_mask, valid):
        if t is not None and (not t.is_contiguous() or t.is_neg()):
            return False
    return _in_rows(x) is x


def _contiguous(tensor: Tensor) -> Tensor:
    """Return a tensor whose memory holds its numbers one after the other, and not what they are the negative of."""
    return (tensor.resolve_neg() if tensor.is_neg() else tensor).contiguous()


def _in_rows(tensor: Tensor) -> Tensor:
    """Return a tensor whose last dimension is contiguous."""
    if tensor.is_neg():
        return _contiguous(tensor)
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _strides(tensor: Tensor) -> tuple[int, int, int]:
    """Return the strides of model, step and row of ``([K,] T, B, D)``."""
    strides = tensor.stride()
    return (0, *strides[:2]) if len(strides) == 3 else strides[:3]  # type: ignore[return-value]


@functools.cache
def _padded(library: Any, hidden: int) -> int:
    """Return the length of a row of gates or of cell states: ``hidden`` in whole vectors, which differ by library."""
    width: int = library.lstmreg_width(hidden)
    return (hidden + width - 1) // width * width


@functools.cache
def library_of(dtype: torch.dtype) -> Any:
    """Return the compiled library for a type, loaded once."""
    library: Any = compiled.library(REALS[dtype])
    for function in (library.lstmreg_forward, library.lstmreg_backward):
        function.argtypes, function.restype = [ctypes.POINTER(Problem)], ctypes.c_int64
    library.lstmreg_masks.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_double]
    library.lstmreg_masks.restype = None
    library.lstmreg_width.argtypes = [ctypes.c_int64]
    library.lstmreg_short_results.argtypes = [ctypes.c_int64]
    library.lstmreg_problem_size.restype = ctypes.c_int64
    ours, theirs = ctypes.sizeof(Problem), library.lstmreg_problem_size()
    assert ours == theirs, f"Problem has {theirs} bytes in lstm.cpp, {ours} here: a field is on one side alone"
    _loaded[dtype] = library
    return library


#: The libraries that have been of use.
_loaded: dict[torch.dtype, Any] = {}


@functools.cache
def parallel() -> int | None:
    """Return the address of the OpenMP entry that torch itself uses, so that both share one set of threads."""
    try:
        return ctypes.cast(ctypes.CDLL(None).GOMP_parallel, ctypes.c_void_p).value
    except (AttributeError, OSError, TypeError):  # another OpenMP, or none: the compiled code starts its own threads
        return None
