"""The products over all steps at once, with masks and what is valid folded in."""

from __future__ import annotations

import triton
import triton.language as tl

from . import cell


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
            a = cell.masked(a, mask, sequence[:, None] * D + d[None, :], inside)
        w = tl.load(w_ih + col[None, :] * D + d[:, None], (d < D)[:, None] & (col < H)[None, :], 0.0)
        sums = cell.add_product(sums, a, w, PRECISION)
    gates += model * rows * (4 * W) + gate * W
    there = (row < rows)[:, None] & (col < W)[None, :]
    tl.store(gates + row.to(tl.int64)[:, None] * (4 * W) + col[None, :], sums, there)


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
            sums = cell.add_product(sums, a, w, PRECISION)
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
            b = cell.masked(b, mask, sequence[:, None] * D + col[None, :], inside)
        sums = cell.add_product(sums, tl.trans(a), b, PRECISION)
    d_w += ((part * models + model) * 4 + gate) * H * D
    tl.store(d_w + unit[:, None] * D + col[None, :], sums, (unit < H)[:, None] & (col < D)[None, :])
