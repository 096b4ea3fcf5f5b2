"""An LSTM with Keras' six regularization knobs, and the search that finds which of them to turn.

Shapes in every docstring: ``B`` batch, ``T`` time, ``D`` input features, ``H`` hidden units, ``O`` outputs,
``K`` models. Gates are named and ordered ``i, f, g, o``.

Importing this package loads nothing heavy, not even torch: each public name is resolved on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lstmreg.layers import LSTM as LSTM
    from lstmreg.layers import penalties as penalties
    from lstmreg.regularizers import L1 as L1
    from lstmreg.regularizers import L1L2 as L1L2
    from lstmreg.regularizers import L2 as L2

__version__ = "0.1.0"

_HOMES = {
    "LSTM": "lstmreg.layers",
    "penalties": "lstmreg.layers",
    "L1": "lstmreg.regularizers",
    "L2": "lstmreg.regularizers",
    "L1L2": "lstmreg.regularizers",
}

__all__ = ["L1", "L1L2", "L2", "LSTM", "__version__", "penalties"]  # noqa: RUF022


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
