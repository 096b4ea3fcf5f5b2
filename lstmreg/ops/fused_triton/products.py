"""What needs no recurrence: the products over all steps at once, with masks and what is valid folded in.

No masked copy of anything is made; and float32 is multiplied as the call says, where a flag of torch's own products
would have to be turned for everybody.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .problem import Problem, groups, padded, width

#: Rows of a tile, and the most of its columns and of what is summed over at once.
_ROWS, _MOST, _MOST_SUMS = 64, 64, 32

_WARPS, _STAGES = 8, 3

#: Sums that are added up later are not rounded before.
_SUMS = torch.float32

#: Sums over all rows are cut, so that about so many programs have something to do.
_PROGRAMS = 264


@triton.jit(do_not_specialize=["rows", "batch", "x_model", "x_step", "x_row"])
def add_input(
    x,
    w_ih,
    mask,
    gates,
    rows,
    batch,
    x_model,
    x_step,
    x_row,
    D: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    SUMS: tl.constexpr,
    GROUPS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Compute what the input adds to the gates, ``(K, T, B, 4, H)``."""
    model = tl.program_id(2).to(tl.int64)
    tiles = tl.cdiv(H, COLS)
    gate = tl.program_id(1) // tiles
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    col = (tl.program_id(1) % tiles) * COLS + tl.arange(0, COLS)
    sequence = row % batch
    x_here = x + model * x_model + (row // batch).to(tl.int64) * x_step + sequence.to(tl.int64) * x_row
    w_ih += (model * 4 + gate) * H * D
    if GROUPS > 0:
        mask += (model * GROUPS + (gate if GROUPS == 4 else 0)) * batch * D
    sums = tl.zeros([ROWS, COLS], tl.float32)
    for first in range(0, D, SUMS):
        d = first + tl.arange(0, SUMS)
        inside = (row < rows)[:, None] & (d < D)[None, :]
        a = tl.load(x_here[:, None] + d[None, :], inside, 0.0)
        if GROUPS > 0:
            a *= tl.load(mask + sequence[:, None] * D + d[None, :], inside, 0.0)
        w = tl.load(w_ih + col[None, :] * D + d[:, None], (d < D)[:, None] & (col < H)[None, :], 0.0)
        sums = tl.dot(a, w, sums, input_precision=PRECISION)
    gates += model * rows * (4 * W) + gate * W
    tl.store(gates + row.to(tl.int64)[:, None] * (4 * W) + col[None, :], sums, (row < rows)[:, None] & (col < W)[None, :])


@triton.jit(do_not_specialize=["rows", "batch"])
def of_input(
    d_gates,
    w_ih,
    mask,
    d_x,
    rows,
    batch,
    D: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    SUMS: tl.constexpr,
    GROUPS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Compute the gradient of the input, ``(K, T, B, D)``."""
    model = tl.program_id(2).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    col = tl.program_id(1) * COLS + tl.arange(0, COLS)
    inside = (row < rows)[:, None] & (col < D)[None, :]
    mask_here = (row % batch)[:, None] * D + col[None, :]
    d_gates += model * rows * (4 * W)
    w_ih += model * 4 * H * D
    mask += model * GROUPS * batch * D
    total = tl.zeros([ROWS, COLS], tl.float32)
    for gate in range(4):
        sums = tl.zeros([ROWS, COLS], tl.float32)
        for first in range(0, H, SUMS):
            n = first + tl.arange(0, SUMS)
            here = row.to(tl.int64)[:, None] * (4 * W) + gate * W + n[None, :]
            a = tl.load(d_gates + here, (row < rows)[:, None] & (n < W)[None, :], 0.0)
            w = tl.load(w_ih + (gate * H + n)[:, None] * D + col[None, :], (n < H)[:, None] & (col < D)[None, :], 0.0)
            sums = tl.dot(a, w, sums, input_precision=PRECISION)
        if GROUPS == 4:
            sums *= tl.load(mask + gate * batch * D + mask_here, inside, 0.0).to(tl.float32)
        total += sums
    if GROUPS == 1:
        total *= tl.load(mask + mask_here, inside, 0.0).to(tl.float32)
    tl.store(d_x + model * rows * D + row.to(tl.int64)[:, None] * D + col[None, :], total, inside)


@triton.jit(do_not_specialize=["rows", "batch", "x_model", "x_step", "x_row", "valid_model", "share", "shares"])
def of_weights(
    d_gates,
    x,
    mask,
    valid,
    d_w,
    rows,
    batch,
    x_model,
    x_step,
    x_row,
    valid_model,
    share,
    shares,
    D: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    SUMS: tl.constexpr,
    GROUPS: tl.constexpr,
    HAS_VALID: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Compute the gradient of weights that were multiplied with ``x``, ``(shares, K, 4H, D)``: sums over some rows."""
    model = (tl.program_id(2) // shares).to(tl.int64)
    part = (tl.program_id(2) % shares).to(tl.int64)
    models = (tl.num_programs(2) // shares).to(tl.int64)
    tiles = tl.cdiv(H, ROWS)
    gate = tl.program_id(0) // tiles
    unit = (tl.program_id(0) % tiles) * ROWS + tl.arange(0, ROWS)
    col = tl.program_id(1) * COLS + tl.arange(0, COLS)
    d_gates += model * rows * (4 * W) + gate * W
    x += model * x_model
    valid += model * valid_model
    if GROUPS > 0:
        mask += (model * GROUPS + (gate if GROUPS == 4 else 0)) * batch * D
    sums = tl.zeros([ROWS, COLS], tl.float32)
    for first in range(part * share, min((part + 1) * share, rows), SUMS):
        row = first + tl.arange(0, SUMS)
        sequence = row % batch
        there = row < rows
        a = tl.load(d_gates + row[:, None] * (4 * W) + unit[None, :], there[:, None] & (unit < W)[None, :], 0.0)
        inside = there[:, None] & (col < D)[None, :]
        here = (row // batch).to(tl.int64) * x_step + sequence.to(tl.int64) * x_row
        if HAS_VALID:  # what is not valid may be anything, NaN too
            inside = inside & (tl.load(valid + row, there, 0) != 0)[:, None]
        b = tl.load(x + here[:, None] + col[None, :], inside, 0.0)
        if GROUPS > 0:
            b *= tl.load(mask + sequence[:, None] * D + col[None, :], inside, 0.0)
        sums = tl.dot(tl.trans(a), b, sums, input_precision=PRECISION)
    d_w += ((part * models + model) * 4 + gate) * H * D
    tl.store(d_w + unit[:, None] * D + col[None, :], sums, (unit < H)[:, None] & (col < D)[None, :])


def gates_of_input(problem: Problem) -> Tensor:
    """Return what the input adds to the gates, ``(K, T, B, 4, H)``; the bias is not in it."""
    p = problem
    rows = p.steps * p.batch
    gates = p.x.new_empty(p.models, p.steps, p.batch, 4, width(p.hidden))
    cols, sums = _tile(p.hidden), min(_MOST_SUMS, padded(p.features))
    add_input[triton.cdiv(rows, _ROWS), 4 * triton.cdiv(p.hidden, cols), p.models](
        p.x,
        p.w_ih,
        p.x if p.input_mask is None else p.input_mask,
        gates,
        rows,
        p.batch,
        p.x_model,
        p.x.stride(1),
        p.x.stride(2),
        D=p.features,
        H=p.hidden,
        W=width(p.hidden),
        ROWS=_ROWS,
        COLS=cols,
        SUMS=sums,
        GROUPS=groups(p.input_mask),
        PRECISION=p.precision,
        num_warps=_WARPS,
        num_stages=_STAGES,
    )
    return gates


def gradient_of_input(problem: Problem, d_gates: Tensor) -> Tensor:
    """Return the gradient of each model's input, ``(K, T, B, D)``."""
    p = problem
    rows = p.steps * p.batch
    d_x = p.x.new_empty(p.models, p.steps, p.batch, p.features)
    cols, sums = _tile(p.features), min(_MOST_SUMS, padded(p.hidden))
    of_input[triton.cdiv(rows, _ROWS), triton.cdiv(p.features, cols), p.models](
        d_gates,
        p.w_ih,
        p.x if p.input_mask is None else p.input_mask,
        d_x,
        rows,
        p.batch,
        D=p.features,
        H=p.hidden,
        W=width(p.hidden),
        ROWS=_ROWS,
        COLS=cols,
        SUMS=sums,
        GROUPS=groups(p.input_mask),
        PRECISION=p.precision,
        num_warps=_WARPS,
        num_stages=_STAGES,
    )
    return d_x


def gradient_of_weights(problem: Problem, d_gates: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
    """Return the gradient of the weights that were multiplied with a masked ``x``, ``(K, 4H, D)``.

    Args:
        problem: What ``d_gates`` are of.
        d_gates: ``(K, T, B, 4, H)``.
        x: ``(K, T, B, D)`` or ``(1, T, B, D)``: the input, or the states before each step.
        mask: ``(K, G, B, D)``, or ``None``.
    """
    p = problem
    rows, features = p.steps * p.batch, x.shape[-1]
    high, cols = _tile(p.hidden), _tile(features)
    tiles = 4 * triton.cdiv(p.hidden, high), triton.cdiv(features, cols)
    shares = max(1, min(_PROGRAMS // (tiles[0] * tiles[1] * p.models), triton.cdiv(rows, 4 * _MOST)))
    share = triton.cdiv(triton.cdiv(rows, shares), _MOST) * _MOST
    d_w = x.new_empty(shares, p.models, 4 * p.hidden, features, dtype=p.x.dtype if shares == 1 else _SUMS)
    of_weights[*tiles, p.models * shares](
        d_gates,
        x,
        x if mask is None else mask,
        x if p.valid is None else p.valid,
        d_w,
        rows,
        p.batch,
        x.stride(0) if len(x) > 1 else 0,
        x.stride(1),
        x.stride(2),
        p.valid_model,
        share,
        shares,
        D=features,
        H=p.hidden,
        W=width(p.hidden),
        ROWS=high,
        COLS=cols,
        SUMS=_MOST_SUMS,
        GROUPS=groups(mask),
        HAS_VALID=p.valid is not None,
        PRECISION=p.precision,
        num_warps=_WARPS,
        num_stages=_STAGES,
    )
    return d_w[0] if shares == 1 else d_w.sum(0).to(x.dtype)


def _tile(size: int) -> int:
    return min(_MOST, padded(size))
