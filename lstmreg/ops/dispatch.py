"""Chooses the file that computes a call, or says why the one that was named cannot."""

from __future__ import annotations

from types import ModuleType

from . import fused_cpu, native, reference
from .call import Call, Result

#: In order of preference; the last one serves everything.
BACKENDS: dict[str, ModuleType] = {"native": native, "fused_cpu": fused_cpu, "reference": reference}


def run(call: Call, backend: str) -> Result:
    """Compute a call with the backend that is named, or the best one for ``"auto"``.

    Raises:
        ValueError: If ``backend`` is unknown, or cannot serve the call (with the reason).
    """
    result: Result = _choose(call, backend).lstm(call)
    return result


def _choose(call: Call, backend: str) -> ModuleType:
    if backend == "auto":
        return next(b for b in BACKENDS.values() if b.why_not(call) is None)
    if backend not in BACKENDS:
        raise ValueError(f"backend must be 'auto' or one of {sorted(BACKENDS)}, got {backend!r}.")
    reason = BACKENDS[backend].why_not(call)
    if reason is not None:
        raise ValueError(f"backend {backend!r} cannot serve this call: {reason}. Use backend='auto'.")
    return BACKENDS[backend]
