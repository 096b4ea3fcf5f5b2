"""Chooses the file that computes a call, or says why the one that was named cannot."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from torch import Tensor

from . import native, reference

#: In order of preference; the last one serves everything.
BACKENDS: dict[str, ModuleType] = {"native": native, "reference": reference}


def run(
    backend: str,
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor | None,
    **arguments: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what :func:`lstmreg.ops.lstm` defines, with the backend that is named or the best one.

    Raises:
        ValueError: If ``backend`` is unknown, or cannot serve these arguments (with the reason).
    """
    chosen = _choose(backend, x, arguments)
    result: tuple[Tensor, Tensor, Tensor] = chosen.lstm(x, h_0, c_0, w_ih, w_hh, bias, **arguments)
    return result


def _choose(backend: str, x: Tensor, arguments: dict[str, Any]) -> ModuleType:
    if backend == "auto":
        return next(b for b in BACKENDS.values() if b.why_not(x, **arguments) is None)
    if backend not in BACKENDS:
        raise ValueError(f"backend must be 'auto' or one of {sorted(BACKENDS)}, got {backend!r}.")
    reason = BACKENDS[backend].why_not(x, **arguments)
    if reason is not None:
        raise ValueError(f"backend {backend!r} cannot serve this call: {reason}. Use backend='auto'.")
    return BACKENDS[backend]
