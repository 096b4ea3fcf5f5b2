"""What needs no recurrence: the products over all steps at once, with masks and what is valid folded in.

No masked copy of anything is made; and float32 is multiplied as the call says, where a flag of torch's own products
would have to be turned for everybody.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .kernels import products as kernels
from .problem import Problem, groups, padded, tiles, width

#: Rows of a tile, and the most of its columns and of what is summed over at once.
_ROWS, _MOST, _MOST_SUMS = 64, 64, 32

_WARPS, _STAGES = 8, 3

#: Sums that are added up later are not rounded before.
_SUMS = torch.float32

#: Sums over all rows are cut, so that about so many programs have something to do.
_PROGRAMS = 264


def gates_of_input(problem: Problem) -> Tensor:
    """Return what the input adds to the gates, ``(K, T, B, 4, H)``; the bias is not in it."""
    p = problem
    rows = p.steps * p.batch
    gates = p.x.new_empty(p.models, p.steps, p.batch, 4, width(p.hidden))
    cols, sums = _tile(p.hidden), min(_MOST_SUMS, padded(p.features))
    kernels.add_input[tiles(rows, _ROWS), 4 * tiles(p.hidden, cols), p.models](
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
    kernels.of_input[tiles(rows, _ROWS), tiles(p.features, cols), p.models](
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
    across = 4 * tiles(p.hidden, high), tiles(features, cols)
    shares = max(1, min(_PROGRAMS // (across[0] * across[1] * p.models), tiles(rows, 4 * _MOST)))
    share = tiles(tiles(rows, shares), _MOST) * _MOST
    d_w = x.new_empty(shares, p.models, 4 * p.hidden, features, dtype=p.x.dtype if shares == 1 else _SUMS)
    kernels.of_weights[*across, p.models * shares](
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
