"""Small layers: one program goes through all of time with some rows of a model, whose weights stay where it is.

No step waits for another program, so that thousands of models are as good as one. What the next step needs of the
input is asked for before this one is computed.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from lstmreg.ops.recurrence import Cotangents

from . import cell
from .problem import Backward, Forward, Problem, groups, most_shared, new_cells, padded, width

#: Rows of a program: as few as a product on tensor cores takes, since rows wait for each other.
ROWS = 16

#: The most units whose weights find room, by the bytes of a number; beyond 64, whose rows are whole pieces of memory.
_MOST_UNITS = {4: 64, 2: 128}

#: Warps of a program, by its units: the fewest that spill no registers, with what each step must wait for in mind.
WARPS = {16: 4, 32: 4, 64: 8, 128: 8}


@triton.jit(do_not_specialize=["steps", "batch", "valid_model"])
def forward(
    gates,  # in: what the input adds to them; out: the gates themselves, if they are kept
    h_0,
    c_0,
    w_hh,
    bias,
    mask,
    valid,
    y,
    h_n,
    c_n,
    cells,
    steps,
    batch,
    valid_model,
    H: tl.constexpr,
    W: tl.constexpr,
    N: tl.constexpr,
    ROWS: tl.constexpr,
    GROUPS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_VALID: tl.constexpr,
    REVERSE: tl.constexpr,
    KEEP: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Go forward."""
    model = tl.program_id(1).to(tl.int64)
    row, col = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, N)
    inside = (row < batch)[:, None] & (col < H)[None, :]
    unit = (col < H)[None, :]
    here = row[:, None] * H + col[None, :]
    wide = (row < batch)[:, None] & (col < W)[None, :]
    gate_here = row[:, None] * (4 * W) + col[None, :]
    cell_here = row[:, None] * W + col[None, :]
    states = model * batch * H
    gates += model * steps * batch * (4 * W)
    y += model * steps * batch * H
    cells += model * steps * batch * W
    valid += model * valid_model

    # As right-hand sides of products, of which what is summed over comes first.
    square = (col < H)[:, None] & unit
    w_i, w_f, w_g, w_o = cell.four(w_hh + model * 4 * H * H, col[None, :] * H + col[:, None], H * H, square)
    m_i, m_f, m_g, m_o = cell.masks(mask + model * GROUPS * batch * H, here, batch * H, inside, GROUPS)
    if HAS_BIAS:
        b_i, b_f, b_g, b_o = cell.four_floats(bias + model * 4 * H, col[None, :], H, unit)
    h = tl.load(h_0 + states + here, inside, 0.0).to(tl.float32)
    c = tl.load(c_0 + states + here, inside, 0.0).to(tl.float32)
    held = tl.zeros([ROWS, N], tl.float32)

    t = tl.cast(steps - 1 if REVERSE else 0, tl.int64)
    onward = -1 if REVERSE else 1
    x_i, x_f, x_g, x_o = cell.four_floats(gates + t * batch * (4 * W), gate_here, W, wide)
    for place in range(steps):
        z_i, z_f, z_g, z_o = x_i, x_f, x_g, x_o
        follows = place + 1 < steps
        x_i, x_f, x_g, x_o = cell.four_floats(gates + (t + onward) * batch * (4 * W), gate_here, W, follows & wide)
        if HAS_BIAS:
            z_i, z_f, z_g, z_o = z_i + b_i, z_f + b_f, z_g + b_g, z_o + b_o
        seen = h.to(w_i.dtype)
        if GROUPS == 4:
            h_i, h_f, h_g, h_o = seen * m_i, seen * m_f, seen * m_g, seen * m_o
        else:
            h_i = seen * m_i if GROUPS == 1 else seen
            h_f, h_g, h_o = h_i, h_i, h_i
        z_i = tl.dot(h_i, w_i, z_i, input_precision=PRECISION)
        z_f = tl.dot(h_f, w_f, z_f, input_precision=PRECISION)
        z_g = tl.dot(h_g, w_g, z_g, input_precision=PRECISION)
        z_o = tl.dot(h_o, w_o, z_o, input_precision=PRECISION)
        i, f, g, o, c_next = cell.step(z_i, z_f, z_g, z_o, c)
        h_next = o * cell.tanh(c_next)
        if N != H:  # what is infinite makes no zero of the padding, and that would spread
            h_next = tl.where(unit, h_next, 0.0)
        if HAS_VALID:
            now = (tl.load(valid + t * batch + row, row < batch, 0) != 0)[:, None]
            c_next, h_next = tl.where(now, c_next, c), tl.where(now, h_next, h)
            held = tl.where(now, h_next, held)
        else:
            held = h_next
        c, h = c_next, h_next
        tl.store(y + t * batch * H + here, held, inside)
        if KEEP:
            cell.set_four(gates + t * batch * (4 * W), gate_here, W, wide, i, f, g, o)
            tl.store(cells + t * batch * W + cell_here, c, wide)
        t += onward
    tl.store(h_n + states + here, h, inside)
    tl.store(c_n + states + here, c, inside)


@triton.jit(do_not_specialize=["steps", "batch", "valid_model"])
def backward(
    gates,
    cells,
    c_0,
    w_hh,
    mask,
    valid,
    d_y,
    d_h_n,
    d_c_n,
    d_gates,
    d_h_0,
    d_c_0,
    steps,
    batch,
    valid_model,
    H: tl.constexpr,
    W: tl.constexpr,
    N: tl.constexpr,
    ROWS: tl.constexpr,
    GROUPS: tl.constexpr,
    HAS_VALID: tl.constexpr,
    REVERSE: tl.constexpr,
    HAS_D_Y: tl.constexpr,
    HAS_D_H: tl.constexpr,
    HAS_D_C: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Go back; gives the gradients of gates before their activations, and those of the first states."""
    model = tl.program_id(1).to(tl.int64)
    row, col = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, N)
    inside = (row < batch)[:, None] & (col < H)[None, :]
    unit = (col < H)[None, :]
    here = row[:, None] * H + col[None, :]
    wide = (row < batch)[:, None] & (col < W)[None, :]
    gate_here = row[:, None] * (4 * W) + col[None, :]
    cell_here = row[:, None] * W + col[None, :]
    states = model * batch * H
    gates += model * steps * batch * (4 * W)
    d_gates += model * steps * batch * (4 * W)
    cells += model * steps * batch * W
    d_y += model * steps * batch * H
    valid += model * valid_model

    square = (col < H)[:, None] & unit
    w_i, w_f, w_g, w_o = cell.four(w_hh + model * 4 * H * H, col[:, None] * H + col[None, :], H * H, square)
    m_i, m_f, m_g, m_o = cell.masks(mask + model * GROUPS * batch * H, here, batch * H, inside, GROUPS)
    d_h = tl.zeros([ROWS, N], tl.float32)
    d_c = tl.zeros([ROWS, N], tl.float32)
    if HAS_D_H:
        d_h = tl.load(d_h_n + states + here, inside, 0.0).to(tl.float32)
    if HAS_D_C:
        d_c = tl.load(d_c_n + states + here, inside, 0.0).to(tl.float32)
    d_held = tl.zeros([ROWS, N], tl.float32)  # what later steps that hold an output pass back to it
    first_c = tl.load(c_0 + states + here, inside, 0.0).to(tl.float32)

    t = tl.cast(0 if REVERSE else steps - 1, tl.int64)
    onward = 1 if REVERSE else -1
    then_i, then_f, then_g, then_o = cell.four_floats(gates + t * batch * (4 * W), gate_here, W, wide)
    c = tl.load(cells + t * batch * W + cell_here, wide, 0.0).to(tl.float32)
    then_y = tl.zeros([ROWS, N], tl.float32)
    if HAS_D_Y:
        then_y = tl.load(d_y + t * batch * H + here, inside, 0.0).to(tl.float32)
    for place in range(steps):
        i, f, g, o, d_here = then_i, then_f, then_g, then_o, d_held + then_y
        then = t + onward
        follows = place + 1 < steps
        c_before = tl.load(cells + then * batch * W + cell_here, follows & wide, 0.0).to(tl.float32)
        c_before = tl.where(place + 1 < steps, c_before, first_c)
        then_i, then_f, then_g, then_o = cell.four_floats(gates + then * batch * (4 * W), gate_here, W, follows & wide)
        if HAS_D_Y:
            then_y = tl.load(d_y + then * batch * H + here, follows & inside, 0.0).to(tl.float32)
        d_i, d_f, d_g, d_o, d_c_before = cell.slopes(i, f, g, o, c, c_before, d_h + d_here, d_c)
        if HAS_VALID:
            now = (tl.load(valid + t * batch + row, row < batch, 0) != 0)[:, None]
            d_i, d_f = tl.where(now, d_i, 0.0), tl.where(now, d_f, 0.0)
            d_g, d_o = tl.where(now, d_g, 0.0), tl.where(now, d_o, 0.0)
            d_c_before = tl.where(now, d_c_before, d_c)
            d_held = tl.where(now, 0.0, d_here)
        if N != H:
            d_i, d_f = tl.where(unit, d_i, 0.0), tl.where(unit, d_f, 0.0)
            d_g, d_o = tl.where(unit, d_g, 0.0), tl.where(unit, d_o, 0.0)
        s_i, s_f, s_g, s_o = d_i.to(w_i.dtype), d_f.to(w_i.dtype), d_g.to(w_i.dtype), d_o.to(w_i.dtype)
        cell.set_four(d_gates + t * batch * (4 * W), gate_here, W, wide, s_i, s_f, s_g, s_o)
        if GROUPS == 4:
            d_before = m_i.to(tl.float32) * tl.dot(s_i, w_i, input_precision=PRECISION)
            d_before += m_f.to(tl.float32) * tl.dot(s_f, w_f, input_precision=PRECISION)
            d_before += m_g.to(tl.float32) * tl.dot(s_g, w_g, input_precision=PRECISION)
            d_before += m_o.to(tl.float32) * tl.dot(s_o, w_o, input_precision=PRECISION)
        else:
            d_before = tl.dot(s_i, w_i, input_precision=PRECISION)
            d_before = tl.dot(s_f, w_f, d_before, input_precision=PRECISION)
            d_before = tl.dot(s_g, w_g, d_before, input_precision=PRECISION)
            d_before = tl.dot(s_o, w_o, d_before, input_precision=PRECISION)
            if GROUPS == 1:
                d_before *= m_i.to(tl.float32)
        if HAS_VALID:
            d_before = tl.where(now, d_before, d_h)
        d_h, d_c, c = d_before, d_c_before, c_before
        t = then
    tl.store(d_h_0 + states + here, d_h, inside)
    tl.store(d_c_0 + states + here, d_c, inside)


def serves(problem: Problem) -> bool:
    """Tell whether the weights of a layer find room in a program."""
    p = problem
    size = p.x.element_size()
    if p.hidden > _MOST_UNITS[size] or (p.hidden > 64 and width(p.hidden) != p.hidden):
        return False
    return _shared(padded(p.hidden), size) <= most_shared(p.x.device)


def _shared(units: int, size: int) -> int:
    """Return the most shared memory that a kernel takes, in bytes: the weights, and what products are fed from."""
    return 4 * units * units * size + 6 * ROWS * units * size


class Whole:
    """The way of small layers."""

    def forward(self, problem: Problem, gates: Tensor, keep: bool) -> Forward:
        """Go forward; ``gates`` are overwritten."""
        p = problem
        y = p.x.new_empty(p.models, p.steps, p.batch, p.hidden)
        h_n, c_n = torch.empty_like(p.h_0), torch.empty_like(p.c_0)
        cells = new_cells(p) if keep else y
        forward[triton.cdiv(p.batch, ROWS), p.models](
            gates,
            p.h_0,
            p.c_0,
            p.w_hh,
            p.h_0 if p.bias is None else p.bias,
            p.h_0 if p.recurrent_mask is None else p.recurrent_mask,
            p.h_0 if p.valid is None else p.valid,
            y,
            h_n,
            c_n,
            cells,
            p.steps,
            p.batch,
            p.valid_model,
            HAS_BIAS=p.bias is not None,
            KEEP=keep,
            **self._common(p),
        )
        return Forward(y, h_n, c_n, gates, cells)

    def backward(self, problem: Problem, gates: Tensor, cells: Tensor, grads: Cotangents) -> Backward:
        """Go back."""
        p = problem
        d_gates, d_h_0, d_c_0 = torch.empty_like(gates), torch.empty_like(p.h_0), torch.empty_like(p.c_0)
        backward[triton.cdiv(p.batch, ROWS), p.models](
            gates,
            cells,
            p.c_0,
            p.w_hh,
            p.h_0 if p.recurrent_mask is None else p.recurrent_mask,
            p.h_0 if p.valid is None else p.valid,
            *(p.h_0 if grad is None else grad for grad in grads),
            d_gates,
            d_h_0,
            d_c_0,
            p.steps,
            p.batch,
            p.valid_model,
            HAS_D_Y=grads.output is not None,
            HAS_D_H=grads.h_n is not None,
            HAS_D_C=grads.c_n is not None,
            **self._common(p),
        )
        return Backward(d_gates, d_h_0, d_c_0)

    def _common(self, p: Problem) -> dict[str, Any]:
        units = padded(p.hidden)
        return {
            "H": p.hidden,
            "W": width(p.hidden),
            "N": units,
            "ROWS": ROWS,
            "GROUPS": groups(p.recurrent_mask),
            "HAS_VALID": p.valid is not None,
            "REVERSE": p.reverse,
            "PRECISION": p.precision,
            "num_warps": WARPS[units],
            "num_stages": 1,
        }
