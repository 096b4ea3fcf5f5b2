"""One step a launch: a program has a tile of rows and units, and does the products and the cell."""

from __future__ import annotations

import triton
import triton.language as tl

from . import cell, costs


@triton.jit(do_not_specialize=["t", "steps", "batch", "valid_model"])
def forward(
    gates,  # in: what the input adds to them; out: the gates themselves, if they are kept
    h_before,
    h_after,
    c,
    w_hh,
    bias,
    mask,
    valid,
    y,
    cells,
    t,
    steps,
    batch,
    valid_model,
    H: tl.constexpr,
    W: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    SUMS: tl.constexpr,
    GROUPS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_VALID: tl.constexpr,
    REVERSE: tl.constexpr,
    KEEP: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Go one step forward; states are float32."""
    model = tl.program_id(2).to(tl.int64)
    row, col = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    there, unit = (row < batch)[:, None], (col < H)[None, :]
    inside = there & unit
    here = row[:, None] * H + col[None, :]
    wide = there & (col < W)[None, :]
    gate_here = row[:, None] * (4 * W) + col[None, :]
    cell_here = row[:, None] * W + col[None, :]
    moment = model * steps + t
    h_before += model * batch * H
    w_hh += model * 4 * H * H
    mask += model * GROUPS * batch * H
    gates += moment * batch * (4 * W)

    z_i, z_f, z_g, z_o = cell.four_floats(gates, gate_here, W, wide)
    if HAS_BIAS:
        b_i, b_f, b_g, b_o = cell.four_floats(bias + model * 4 * H, col[None, :], H, unit)
        z_i, z_f, z_g, z_o = z_i + b_i, z_f + b_f, z_g + b_g, z_o + b_o
    for first in range(0, H, SUMS):
        k = first + tl.arange(0, SUMS)
        state = row[:, None] * H + k[None, :]
        read = there & (k < H)[None, :]
        h = tl.load(h_before + state, read, 0.0)
        w_i, w_f, w_g, w_o = cell.four(w_hh, col[None, :] * H + k[:, None], H * H, (k < H)[:, None] & unit)
        if GROUPS == 4:
            m_i, m_f, m_g, m_o = cell.four_floats(mask, state, batch * H, read)
            h_i, h_f, h_g, h_o = h * m_i, h * m_f, h * m_g, h * m_o
        else:
            h_i = h * tl.load(mask + state, read, 0.0).to(tl.float32) if GROUPS == 1 else h
            h_f, h_g, h_o = h_i, h_i, h_i
        z_i = cell.add_product(z_i, h_i, w_i, PRECISION)
        z_f = cell.add_product(z_f, h_f, w_f, PRECISION)
        z_g = cell.add_product(z_g, h_g, w_g, PRECISION)
        z_o = cell.add_product(z_o, h_o, w_o, PRECISION)

    own = model * batch * H + here
    c_before = tl.load(c + own, inside, 0.0)
    i, f, g, o, c_next = cell.step(z_i, z_f, z_g, z_o, c_before)
    h_next = o * cell.tanh(c_next)
    shown = h_next
    if HAS_VALID:
        now = (tl.load(valid + model * valid_model + t * batch + row, row < batch, 0) != 0)[:, None]
        before = t + 1 if REVERSE else t - 1
        known = tl.where((before >= 0) & (before < steps), inside, False)
        held = tl.load(y + (model * steps + before) * batch * H + here, known, 0.0).to(tl.float32)
        c_next = tl.where(now, c_next, c_before)
        h_next = tl.where(now, h_next, tl.load(h_before + here, inside, 0.0))
        shown = tl.where(now, h_next, held)
    tl.store(h_after + own, h_next, inside)
    tl.store(c + own, c_next, inside)
    tl.store(y + moment * batch * H + here, shown, inside)
    if KEEP:
        cell.set_four(gates, gate_here, W, wide, i, f, g, o)
        tl.store(cells + moment * batch * W + cell_here, c_next, wide)


@triton.jit(do_not_specialize=["t", "steps", "batch", "valid_model", "l1", "l2"])
def backward(
    gates,
    cells,
    c_0,
    w_hh,
    mask,
    valid,
    d_y,
    d_gates,
    y,
    d_total,
    d_parts,
    d_h,
    d_c,
    d_held,
    t,
    steps,
    batch,
    valid_model,
    l1,
    l2,
    H: tl.constexpr,
    W: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    SUMS: tl.constexpr,
    GROUPS: tl.constexpr,
    HAS_VALID: tl.constexpr,
    REVERSE: tl.constexpr,
    HAS_D_Y: tl.constexpr,
    HAS_ACTIVITY: tl.constexpr,
    HAS_TOTAL: tl.constexpr,
    HAS_PARTS: tl.constexpr,
    HAS_LATER: tl.constexpr,
    HAS_STEP: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Go back from the gates of the step after ``t``, if there is one, and through the cell at ``t``, likewise.

    The gradients of states, ``d_h`` and ``d_c``, and what later steps that hold an output pass back to it, ``d_held``,
    are float32 and overwritten.
    """
    model = tl.program_id(2).to(tl.int64)
    row, col = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    there, unit = (row < batch)[:, None], (col < H)[None, :]
    inside = there & unit
    here = row[:, None] * H + col[None, :]
    wide = there & (col < W)[None, :]
    gate_here = row[:, None] * (4 * W) + col[None, :]
    cell_here = row[:, None] * W + col[None, :]
    own = model * batch * H + here
    valid += model * valid_model
    h = tl.load(d_h + own, inside, 0.0)
    if HAS_LATER:
        later = t - 1 if REVERSE else t + 1
        d_later = d_gates + (model * steps + later) * batch * (4 * W)
        w_hh += model * 4 * H * H
        mask += model * GROUPS * batch * H
        total = tl.zeros([ROWS, UNITS], tl.float32)
        for gate in range(4):
            sums = tl.zeros([ROWS, UNITS], tl.float32)
            for first in range(0, H, SUMS):
                n = first + tl.arange(0, SUMS)
                a = tl.load(d_later + row[:, None] * (4 * W) + (gate * W + n)[None, :], there & (n < W)[None, :], 0.0)
                w = tl.load(w_hh + (gate * H + n)[:, None] * H + col[None, :], (n < H)[:, None] & unit, 0.0)
                sums = cell.add_product(sums, a, w, PRECISION)
            if GROUPS == 4:
                sums *= tl.load(mask + gate * batch * H + here, inside, 0.0).to(tl.float32)
            total += sums
        if GROUPS == 1:
            total *= tl.load(mask + here, inside, 0.0).to(tl.float32)
        if HAS_VALID:
            was = (tl.load(valid + later * batch + row, row < batch, 0) != 0)[:, None]
            total = tl.where(was, total, h)
        h = total
        tl.store(d_h + own, h, inside)
    if HAS_STEP:
        moment = model * steps + t
        i, f, g, o = cell.four_floats(gates + moment * batch * (4 * W), gate_here, W, wide)
        state = tl.load(cells + moment * batch * W + cell_here, wide, 0.0).to(tl.float32)
        before = t + 1 if REVERSE else t - 1
        known = tl.where((before >= 0) & (before < steps), wide, False)
        c_before = tl.load(cells + (model * steps + before) * batch * W + cell_here, known, 0.0).to(tl.float32)
        if (before < 0) | (before >= steps):
            c_before = tl.load(c_0 + own, inside, 0.0).to(tl.float32)
        d_here = tl.zeros([ROWS, UNITS], tl.float32)
        if HAS_D_Y:
            d_here = tl.load(d_y + moment * batch * H + here, inside, 0.0).to(tl.float32)
        if HAS_ACTIVITY:
            scale = costs.slope(d_total, d_parts, 3, HAS_TOTAL, HAS_PARTS)
            shown = tl.load(y + moment * batch * H + here, inside, 0.0).to(tl.float32)
            d_here += (l1 * scale) * costs.sign(shown) + (2.0 * l2 * scale) * shown
        if HAS_VALID:
            d_here += tl.load(d_held + own, inside, 0.0)
        d_state = tl.load(d_c + own, inside, 0.0)
        d_i, d_f, d_g, d_o, d_before = cell.slopes(i, f, g, o, state, c_before, h + d_here, d_state)
        if HAS_VALID:
            now = (tl.load(valid + t * batch + row, row < batch, 0) != 0)[:, None]
            d_i, d_f = tl.where(now, d_i, 0.0), tl.where(now, d_f, 0.0)
            d_g, d_o = tl.where(now, d_g, 0.0), tl.where(now, d_o, 0.0)
            d_before = tl.where(now, d_before, d_state)
            tl.store(d_held + own, tl.where(now, 0.0, d_here), inside)
        tl.store(d_c + own, d_before, inside)
        d_i, d_f = tl.where(unit, d_i, 0.0), tl.where(unit, d_f, 0.0)
        d_g, d_o = tl.where(unit, d_g, 0.0), tl.where(unit, d_o, 0.0)
        cell.set_four(d_gates + moment * batch * (4 * W), gate_here, W, wide, d_i, d_f, d_g, d_o)
