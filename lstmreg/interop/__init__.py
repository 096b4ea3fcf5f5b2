"""Keras' and PyTorch's models in and out: weights, settings, files.

Files are read without Keras, by an allow-list; nothing in them is executed. Each name is resolved on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .exported import save_exported as save_exported
    from .keras.modules.model import KerasModel as KerasModel
    from .loading import from_keras as from_keras
    from .loading import from_torch as from_torch
    from .loading import load_lstm as load_lstm
    from .loading import load_model as load_model
    from .loading import load_weights as load_weights
    from .onnx import save_onnx as save_onnx
    from .saving import get_weights as get_weights
    from .saving import save_keras as save_keras
    from .saving import save_model as save_model
    from .saving import save_weights as save_weights

_HOMES = {
    "KerasModel": "keras.modules.model",
    "load_model": "loading",
    "load_lstm": "loading",
    "load_weights": "loading",
    "from_keras": "loading",
    "from_torch": "loading",
    "get_weights": "saving",
    "save_keras": "saving",
    "save_model": "saving",
    "save_weights": "saving",
    "save_onnx": "onnx",
    "save_exported": "exported",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"lstmreg.interop.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
