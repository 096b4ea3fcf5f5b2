"""Elastic nets on the weights of a pass and on its output: what they cost, and their gradients on the weights."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def slope(d_total, d_parts, net: tl.constexpr, HAS_TOTAL: tl.constexpr, HAS_PARTS: tl.constexpr):
    """Return the gradient of what a net costs."""
    found = tl.load(d_total) if HAS_TOTAL else 0.0
    if HAS_PARTS:
        found += tl.load(d_parts + net)
    return found


_SIZES = [f"size_{i}" for i in range(4)]
_STRENGTHS = [f"{norm}_{i}" for norm in ("l1", "l2") for i in range(4)]


@triton.jit(do_not_specialize=[*_SIZES, *_STRENGTHS])
def sums(
    tensor_0,
    tensor_1,
    tensor_2,
    tensor_3,
    found,
    size_0,
    size_1,
    size_2,
    size_3,
    l1_0,
    l1_1,
    l1_2,
    l1_3,
    l2_0,
    l2_1,
    l2_2,
    l2_3,
    BLOCK: tl.constexpr,
):
    """Compute what a share of each of four tensors costs, ``(4, programs)``."""
    net = tl.program_id(0)
    share, shares = tl.program_id(1), tl.num_programs(1)
    if net == 0:
        total = _cost(tensor_0, size_0, l1_0, l2_0, share, shares, BLOCK)
    elif net == 1:
        total = _cost(tensor_1, size_1, l1_1, l2_1, share, shares, BLOCK)
    elif net == 2:
        total = _cost(tensor_2, size_2, l1_2, l2_2, share, shares, BLOCK)
    else:
        total = _cost(tensor_3, size_3, l1_3, l2_3, share, shares, BLOCK)
    tl.store(found + net * shares + share, total)


@triton.jit
def _cost(tensor, size, l1, l2, share, shares, BLOCK: tl.constexpr):
    total = tl.zeros([BLOCK], tl.float32)
    for first in range(share * BLOCK, size, shares * BLOCK):
        i = first + tl.arange(0, BLOCK)
        w = tl.load(tensor + i, i < size, 0.0)
        total += l1 * tl.abs(w) + l2 * w * w
    return tl.sum(total)


@triton.jit(do_not_specialize=[*_SIZES[:3], *_STRENGTHS[:3], *_STRENGTHS[4:7]])
def add_slopes(
    tensor_0,
    tensor_1,
    tensor_2,
    gradient_0,
    gradient_1,
    gradient_2,
    d_total,
    d_parts,
    size_0,
    size_1,
    size_2,
    l1_0,
    l1_1,
    l1_2,
    l2_0,
    l2_1,
    l2_2,
    BLOCK: tl.constexpr,
    HAS_TOTAL: tl.constexpr,
    HAS_PARTS: tl.constexpr,
):
    """Add the gradients of the nets on three tensors to theirs."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    net = tl.program_id(1)
    if net == 0:
        scale = slope(d_total, d_parts, 0, HAS_TOTAL, HAS_PARTS)
        _add_slope(tensor_0, gradient_0, i, size_0, l1_0 * scale, 2 * l2_0 * scale)
    elif net == 1:
        scale = slope(d_total, d_parts, 1, HAS_TOTAL, HAS_PARTS)
        _add_slope(tensor_1, gradient_1, i, size_1, l1_1 * scale, 2 * l2_1 * scale)
    else:
        scale = slope(d_total, d_parts, 2, HAS_TOTAL, HAS_PARTS)
        _add_slope(tensor_2, gradient_2, i, size_2, l1_2 * scale, 2 * l2_2 * scale)


@triton.jit
def sign(w):
    """Return -1, 0 or 1."""
    return tl.where(w > 0, 1.0, tl.where(w < 0, -1.0, 0.0))


@triton.jit
def _add_slope(tensor, gradient, i, size, of_sign, of_value):
    w = tl.load(tensor + i, i < size, 0.0)
    known = tl.load(gradient + i, i < size, 0.0)
    tl.store(gradient + i, known + of_sign * sign(w) + of_value * w, i < size)
