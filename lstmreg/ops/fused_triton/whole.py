"""Small layers: one program goes through all of time with some rows of a model, whose weights stay where it is.

No step waits for another program, so that thousands of models are as good as one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lstmreg.ops.recurrence import Cotangents, Kept

from .kernels import whole as kernels
from .problem import Backward, Forward, Problem, groups, most_shared, new_cells, padded, tiles, width
from .slopes import Slopes

#: Rows of a program: as few as a product on tensor cores takes, since rows wait for each other.
ROWS = 16

#: The most units whose weights find room, by the bytes of a number.
_MOST_UNITS = {4: 64, 2: 128}

#: Warps of a program, by its units: the fewest that spill no registers, with what each step must wait for in mind.
WARPS = {16: 4, 32: 4, 64: 8, 128: 8}


def serves(problem: Problem) -> bool:
    """Tell whether the weights of a layer find room in a program, and the rest in its registers."""
    p = problem
    size = p.x.element_size()
    if p.hidden > _MOST_UNITS[size] or _shared(padded(p.hidden), size) > most_shared(p.x.device):
        return False
    # Where registers are few, none are left for odd rows, or for what held steps ask for.
    is_crowded = p.hidden > (32 if size == 4 and p.precision == "ieee" else 64)
    return not is_crowded or (width(p.hidden) == p.hidden and p.valid is None)


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
        kernels.forward[tiles(p.batch, ROWS), p.models](
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

    def backward(
        self, problem: Problem, output: Tensor, kept: Kept[Tensor], grads: Cotangents, slopes: Slopes
    ) -> Backward:
        """Go back."""
        gates, cells = kept
        p = problem
        d_gates, d_h_0, d_c_0 = torch.empty_like(gates), torch.empty_like(p.h_0), torch.empty_like(p.c_0)
        kernels.backward[tiles(p.batch, ROWS), p.models](
            gates,
            cells,
            p.c_0,
            p.w_hh,
            p.h_0 if p.recurrent_mask is None else p.recurrent_mask,
            p.h_0 if p.valid is None else p.valid,
            *(p.h_0 if grad is None else grad for grad in grads),
            d_gates,
            output,
            d_h_0=d_h_0,
            d_c_0=d_c_0,
            steps=p.steps,
            batch=p.batch,
            valid_model=p.valid_model,
            HAS_D_Y=grads.output is not None,
            **slopes.arguments(p.h_0),
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
