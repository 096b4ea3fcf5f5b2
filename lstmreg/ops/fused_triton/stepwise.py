"""Larger layers: one launch for each step, in which the products and the cell are one.

A program has a tile of rows and units: it multiplies the states before with the weights of all four gates, each masked
on its way, and goes on to the next state of its tile at once. Backwards likewise. On a GPU the launches of a pass are
recorded and replayed (``graphs``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lstmreg.ops.recurrence import Cotangents, Kept

from .kernels import stepwise as kernels
from .problem import Backward, Forward, Problem, groups, new_cells, padded, tiles, width
from .slopes import Slopes

#: Rows and units of a tile, and what is summed over at once.
ROWS, UNITS, SUMS = 32, 32, 32

WARPS, STAGES = 4, 3


class Stepwise:
    """The way of larger layers."""

    def forward(self, problem: Problem, gates: Tensor, keep: bool) -> Forward:
        """Go forward; ``gates`` are overwritten."""
        p = problem
        y = p.x.new_empty(p.models, p.steps, p.batch, p.hidden)
        cells = new_cells(p) if keep else y
        h, c = p.h_0.float(), p.c_0.to(torch.float32, copy=True)
        h_next, other = torch.empty_like(h), torch.empty_like(h)  # the first states stay as they are
        for t in p.order:
            kernels.forward[self._grid(p)](
                gates,
                h,
                h_next,
                c,
                p.w_hh,
                h if p.bias is None else p.bias,
                h if p.recurrent_mask is None else p.recurrent_mask,
                h if p.valid is None else p.valid,
                y,
                cells,
                t,
                p.steps,
                p.batch,
                p.valid_model,
                HAS_BIAS=p.bias is not None,
                KEEP=keep,
                **self._common(p),
            )
            h, h_next, other = h_next, other, h_next
        return Forward(y, h.to(p.x.dtype), c.to(p.x.dtype), gates, cells)

    def backward(
        self, problem: Problem, output: Tensor, kept: Kept[Tensor], grads: Cotangents, slopes: Slopes
    ) -> Backward:
        """Go back."""
        gates, cells = kept
        p = problem
        d_gates = torch.empty_like(gates)
        d_h, d_c = (
            torch.zeros_like(p.h_0, dtype=torch.float32) if d is None else d.to(torch.float32, copy=True)
            for d in (grads.h_n, grads.c_n)
        )
        d_held = d_h if p.valid is None else torch.zeros_like(d_h)
        before_first = p.steps if p.reverse else -1
        for place, t in enumerate([*reversed(p.order), before_first]):
            kernels.backward[self._grid(p)](
                gates,
                cells,
                p.c_0,
                p.w_hh,
                d_h if p.recurrent_mask is None else p.recurrent_mask,
                d_h if p.valid is None else p.valid,
                d_h if grads.output is None else grads.output,
                d_gates,
                output,
                d_h=d_h,
                d_c=d_c,
                d_held=d_held,
                t=t,
                steps=p.steps,
                batch=p.batch,
                valid_model=p.valid_model,
                HAS_D_Y=grads.output is not None,
                **slopes.arguments(d_h),
                HAS_LATER=place > 0,
                HAS_STEP=place < p.steps,
                **self._common(p),
            )
        return Backward(d_gates, d_h.to(p.x.dtype), d_c.to(p.x.dtype))

    def _grid(self, p: Problem) -> tuple[int, int, int]:
        return tiles(p.batch, ROWS), tiles(p.hidden, UNITS), p.models

    def _common(self, p: Problem) -> dict[str, Any]:
        return {
            "H": p.hidden,
            "W": width(p.hidden),
            "ROWS": ROWS,
            "UNITS": UNITS,
            "SUMS": min(SUMS, padded(p.hidden)),
            "GROUPS": groups(p.recurrent_mask),
            "HAS_VALID": p.valid is not None,
            "REVERSE": p.reverse,
            "PRECISION": p.precision,
            "num_warps": WARPS,
            "num_stages": STAGES,
        }
