"""All of time in one launch: a program has some rows of a model, whose weights stay where it is.

What the next step needs is asked for before this one is computed.
"""

from __future__ import annotations

import triton
import triton.language as tl

from . import cell, costs


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
        wide_then = tl.where(place + 1 < steps, wide, False)
        x_i, x_f, x_g, x_o = cell.four_floats(gates + (t + onward) * batch * (4 * W), gate_here, W, wide_then)
        if HAS_BIAS:
            z_i, z_f, z_g, z_o = z_i + b_i, z_f + b_f, z_g + b_g, z_o + b_o
        if GROUPS == 4:
            h_i, h_f, h_g, h_o = h * m_i, h * m_f, h * m_g, h * m_o
        else:
            h_i = h * m_i if GROUPS == 1 else h
            h_f, h_g, h_o = h_i, h_i, h_i
        z_i = cell.add_product(z_i, h_i, w_i, PRECISION)
        z_f = cell.add_product(z_f, h_f, w_f, PRECISION)
        z_g = cell.add_product(z_g, h_g, w_g, PRECISION)
        z_o = cell.add_product(z_o, h_o, w_o, PRECISION)
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


@triton.jit(do_not_specialize=["steps", "batch", "valid_model", "l1", "l2"])
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
    y,
    d_total,
    d_parts,
    d_h_0,
    d_c_0,
    steps,
    batch,
    valid_model,
    l1,
    l2,
    H: tl.constexpr,
    W: tl.constexpr,
    N: tl.constexpr,
    ROWS: tl.constexpr,
    GROUPS: tl.constexpr,
    HAS_VALID: tl.constexpr,
    REVERSE: tl.constexpr,
    HAS_D_Y: tl.constexpr,
    HAS_ACTIVITY: tl.constexpr,
    HAS_TOTAL: tl.constexpr,
    HAS_PARTS: tl.constexpr,
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
    y += model * steps * batch * H
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
    nothing = tl.zeros([ROWS, N], tl.float32)
    d_held = nothing  # what later steps that hold an output pass back to it
    first_c = tl.load(c_0 + states + here, inside, 0.0).to(tl.float32)

    t = tl.cast(0 if REVERSE else steps - 1, tl.int64)
    onward = 1 if REVERSE else -1
    then_i, then_f, then_g, then_o = cell.four_floats(gates + t * batch * (4 * W), gate_here, W, wide)
    c = tl.load(cells + t * batch * W + cell_here, wide, 0.0).to(tl.float32)
    then_y = tl.zeros([ROWS, N], tl.float32)
    if HAS_D_Y:
        then_y = tl.load(d_y + t * batch * H + here, inside, 0.0).to(tl.float32)
    if HAS_ACTIVITY:
        scale = costs.slope(d_total, d_parts, 3, HAS_TOTAL, HAS_PARTS)
        of_sign, of_value = l1 * scale, 2.0 * l2 * scale
        shown = tl.load(y + t * batch * H + here, inside, 0.0).to(tl.float32)
        then_y += of_sign * costs.sign(shown) + of_value * shown
    for place in range(steps):
        i, f, g, o, d_here = then_i, then_f, then_g, then_o, d_held + then_y
        then = t + onward
        wide_then, inside_then = tl.where(place + 1 < steps, wide, False), tl.where(place + 1 < steps, inside, False)
        c_before = tl.load(cells + then * batch * W + cell_here, wide_then, 0.0).to(tl.float32)
        c_before = tl.where(place + 1 < steps, c_before, first_c)
        then_i, then_f, then_g, then_o = cell.four_floats(gates + then * batch * (4 * W), gate_here, W, wide_then)
        if HAS_D_Y:
            then_y = tl.load(d_y + then * batch * H + here, inside_then, 0.0).to(tl.float32)
        if HAS_ACTIVITY:
            shown = tl.load(y + then * batch * H + here, inside_then, 0.0).to(tl.float32)
            then_y = (then_y if HAS_D_Y else nothing) + of_sign * costs.sign(shown) + of_value * shown
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
            d_before = m_i * cell.add_product(nothing, s_i, w_i, PRECISION)
            d_before += m_f * cell.add_product(nothing, s_f, w_f, PRECISION)
            d_before += m_g * cell.add_product(nothing, s_g, w_g, PRECISION)
            d_before += m_o * cell.add_product(nothing, s_o, w_o, PRECISION)
        else:
            d_before = cell.add_product(nothing, s_i, w_i, PRECISION)
            d_before = cell.add_product(d_before, s_f, w_f, PRECISION)
            d_before = cell.add_product(d_before, s_g, w_g, PRECISION)
            d_before = cell.add_product(d_before, s_o, w_o, PRECISION)
            if GROUPS == 1:
                d_before *= m_i
        if HAS_VALID:
            d_before = tl.where(now, d_before, d_h)
        d_h, d_c, c = d_before, d_c_before, c_before
        t = then
    tl.store(d_h_0 + states + here, d_h, inside)
    tl.store(d_c_0 + states + here, d_c, inside)
