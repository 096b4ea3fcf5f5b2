"""Triton, compiled on first use: the whole recurrence on a GPU, for any masks.

Two ways, by size, of one function: ``whole`` keeps a small layer's weights in one program, which goes through all of
time, with thousands of models beside each other; ``stepwise`` takes a launch for each step of a larger one. What needs
no recurrence is in ``products``. Half precision is multiplied as it is; states and sums are float32.

Triton comes with torch's builds for CUDA. Where its interpreter is on (``TRITON_INTERPRET=1``), the same code runs on
the CPU, slowly, for whoever asks for it by name: it is how it is tested without a GPU.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess

import torch
from torch import Tensor

from lstmreg.ops import recurrence
from lstmreg.ops.call import Call, Differentiable, Result
from lstmreg.ops.penalties import Costs, Strengths
from lstmreg.ops.recurrence import Cotangents, Gradients, Kept

from .problem import width
from .slopes import Slopes

#: The types of tensors that it takes, all alike.
_TYPES = torch.float32, torch.bfloat16, torch.float16

#: Older ones have no such products.
_OLDEST = 8, 0


def why_not(call: Call) -> str | None:
    """Return why it cannot serve a call, or ``None`` if it can."""
    return _why_not_served(call) or recurrence.why_not_from_memory() or missing(call)


def _why_not_served(call: Call) -> str | None:
    if (reason := call.why_not_by_hand()) is not None:
        return reason
    kinds = {t.dtype for t in (*call.differentiable, call.input_mask, call.recurrent_mask) if t is not None}
    if not (kinds == {call.x.dtype} or call.short) or call.result_type not in _TYPES or torch.float64 in kinds:
        return "it takes float32, bfloat16 or float16, all tensors alike"
    return None


def missing(call: Call) -> str | None:
    """Return why there is no Triton for the device of a call, or ``None``."""
    return missing_on(call.x.device)


def missing_on(device: torch.device) -> str | None:
    """Return why there is no Triton for a device, or ``None``."""
    found: str | None = _missing(device.type, device.index)
    return found


_known: dict[tuple[str, int | None], str | None] = {}


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _missing(kind: str, index: int | None) -> str | None:
    if (kind, index) not in _known:
        _known[kind, index] = _look_for_triton(kind, index)
    return _known[kind, index]


def _look_for_triton(kind: str, index: int | None) -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed, which torch's builds for CUDA bring along. Install it with: pip install triton"
    if is_interpreted():
        return None
    if kind != "cuda":
        return "it runs on a GPU"
    if torch.version.cuda is None or torch.cuda.get_device_capability(index) < _OLDEST:
        return "it needs a GPU of NVIDIA with compute capability 8.0 or more"
    from triton.runtime import driver

    try:
        driver.active.get_current_target()
    except (RuntimeError, OSError, ImportError, subprocess.SubprocessError) as error:  # to start, it compiles C
        return f"Triton does not start, which needs a C compiler and Python's headers: {error}"
    return None


def is_interpreted() -> bool:
    """Tell whether Triton's interpreter takes the place of a GPU."""
    return os.environ.get("TRITON_INTERPRET", "0") not in ("0", "")


def lstm(call: Call) -> Result:
    """Compute what :func:`lstmreg.ops.lstm` defines, for a call that ``why_not`` admits."""
    return penalised(call, None)[0]


def penalised(call: Call, strengths: Strengths | None) -> tuple[Result, Costs | None]:
    """Compute what :func:`lstmreg.ops.penalised` defines, for such a call; costs are formed in float32 alone."""
    return recurrence.run(call, PASSES, strengths if call.x.dtype is torch.float32 else None)


_NO_SLOPES = Slopes()


class _Passes:
    """Loads Triton when it is first asked to compute.

    Args:
        records: Whether passes of many launches may be recorded; not where ``torch.compile`` may record them itself.
    """

    def __init__(self, *, records: bool) -> None:
        self._records = records

    def result_type(self, call: Call) -> torch.dtype:
        return call.x.dtype

    def kept_shapes(self, call: Call) -> Kept[tuple[int, ...]]:
        *lead, batch, hidden = call.h_0.shape
        rows = *lead, call.steps, batch
        return Kept(gates=(*rows, 4, width(hidden)), cells=(*rows, width(hidden)))

    def forward(self, call: Call, keep: bool) -> tuple[Result, Kept[Tensor] | None]:
        from . import passes

        return passes.forward(call, keep, self._records)

    def penalised(self, call: Call, strengths: Strengths) -> tuple[Result, Kept[Tensor], Costs]:
        from . import passes

        return passes.penalised(call, strengths)

    def slopes(self, strengths: Strengths, d_total: Tensor | None, d_parts: Tensor | None) -> Slopes:
        return Slopes(strengths, d_total, d_parts)

    def concerns_output(self, slopes: Slopes) -> bool:
        return slopes.concerns_output

    def backward(
        self,
        call: Call,
        output: Tensor,
        kept: Kept[Tensor],
        grads: Cotangents,
        needed: Differentiable[bool],
        slopes: Slopes = _NO_SLOPES,
    ) -> Gradients:
        from . import passes

        return passes.backward(call, output, kept, grads, needed, slopes, self._records)


PASSES = _Passes(records=True)
PASSES_OF_COMPILER = _Passes(records=False)
