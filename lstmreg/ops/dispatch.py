"""Chooses the file that computes a call, or says why the one that was named cannot."""

from __future__ import annotations

import functools
import warnings
from types import ModuleType

import torch

from lstmreg.tracing import in_forward_mode, in_transform, is_compiling, is_plain, is_recorded

from . import eager, fused_cpu, fused_triton, native, reference
from .call import Call, Result
from .penalties import Costs, Strengths

#: In order of preference; the last one serves everything.
BACKENDS: dict[str, ModuleType] = {
    "native": native,
    "fused_cpu": fused_cpu,
    "fused_triton": fused_triton,
    "eager": eager,
    "reference": reference,
}


#: Those that consist of PyTorch's operations, which a trace records and a function transform goes through.
_TRANSPARENT = ["native", "reference"]

#: Those that are compiled, by the device that they are for.
_COMPILED = {"cpu": "fused_cpu", "cuda": "fused_triton"}


def run(call: Call, backend: str, strengths: Strengths | None = None) -> tuple[Result, Costs | None]:
    """Compute a call with the backend that is named, or the best one for ``"auto"``.

    And what elastic nets cost on its weights and its output, if the backend forms that along with the pass.

    Raises:
        ValueError: If ``backend`` is unknown, or cannot serve the call (with the reason).
    """
    chosen = choose(call, backend)
    if chosen == "fused_cpu":  # it keeps long what it can
        return fused_cpu.penalised(call, strengths)
    if call.short is None and chosen == "fused_triton":
        return fused_triton.penalised(call, strengths)
    if call.short is None:
        return BACKENDS[chosen].lstm(call), None
    # As nn.LSTM does: cast once at the door, and let nothing inside switch types.
    with torch.autocast(call.x.device.type, enabled=False):
        return run(call.shortened(), chosen)


def choose(call: Call, backend: str) -> str:
    """Return the key of the backend for a call; raises as :func:`run` does."""
    if backend == "auto":
        if is_plain() and call.x.is_cpu and _suits_compiled(call) and fused_cpu.why_not_plain(call) is None:
            return "fused_cpu"  # nearly always
        return next(name for name in _by_preference(call) if BACKENDS[name].why_not(call) is None)
    if backend not in BACKENDS:
        raise ValueError(f"backend must be 'auto' or one of {sorted(BACKENDS)}, got {backend!r}.")
    reason = BACKENDS[backend].why_not(call)
    if reason is None and is_recorded() and backend not in _TRANSPARENT:
        reason = "torch.jit.trace would not see what it computes"
    if reason is not None:
        raise ValueError(f"backend {backend!r} cannot serve this call: {reason}. Use backend='auto'.")
    return backend


def _by_preference(call: Call) -> list[str]:
    """Return the backends for the device of a call, the fastest first.

    With nothing dropped and nothing masked, the layer is torch's own to the last bit. Of the rest, torch's would pack
    sequences, and loop over them on the CPU.
    """
    if is_recorded() or in_forward_mode() or (not is_compiling() and in_transform()):
        return _TRANSPARENT
    compiled = _COMPILED.get(call.x.device.type)
    if compiled is None:
        return ["native", "eager", "reference"]
    if not _suits_compiled(call):
        return ["native", compiled, "eager", "reference"]
    if (missing := BACKENDS[compiled].missing(call)) is not None:
        _say_once(missing)
    return [compiled, "native", "eager", "reference"]


def _suits_compiled(call: Call) -> bool:
    """Tell whether compiled code would be the fastest."""
    return (
        call.input_mask is not None
        or call.recurrent_mask is not None
        or call.valid is not None
        or call.models is not None
    )


@functools.cache
def _say_once(missing: str) -> None:
    warnings.warn(f"lstmreg's compiled LSTM is not used: {missing}. A slower one takes its place.", stacklevel=2)
