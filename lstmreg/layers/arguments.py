"""Checks what a layer is given, at the door, and settles it into what the layer works with."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from lstmreg import activations, constraints, regularizers
from lstmreg.activations import Activation
from lstmreg.constraints import Constraint
from lstmreg.dropout import spread_seed
from lstmreg.regularizers import Regularizer

V = TypeVar("V")

#: One value for all layers, or a list with one for each.
PerLayer: TypeAlias = V | Sequence[V]

#: An object, Keras' name of it, or Keras' serialized form.
Named: TypeAlias = V | str | dict[str, Any] | None


def size(name: str, value: int, least: int = 1) -> int:
    """Return a size that is a whole number and large enough."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {value!r}.")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}.")
    return value


def rate(name: str, value: float) -> float:
    """Return a dropout rate."""
    ok = hasattr(value, "__float__") and math.isfinite(value) and 0 <= value < 1
    if not ok:
        raise ValueError(f"{name} must be in [0, 1), got {value!r}.")
    return float(value)


def choice(name: str, value: V, allowed: tuple[V, ...]) -> V:
    """Return one of the allowed values."""
    if not any(value is each or (isinstance(value, str) and value == each) for each in allowed):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}.")
    return value


def per_layer(name: str, value: Any, layers: int, settle: Callable[[str, Any], Any]) -> Any:
    """Settle a knob: one value for all layers, or a list with one for each."""
    if not isinstance(value, (list, tuple)):
        return settle(name, value)
    if len(value) != layers:
        raise ValueError(f"{name} must be one value or one for each of the {layers} layers, got {value!r}.")
    return [settle(name, v) for v in value]


def activation(name: str, value: Any) -> Activation:
    """Return the activation that is named."""
    return activations.get(value, name)


def constraint(name: str, value: Any) -> Constraint | None:
    """Return the constraint that is named."""
    return constraints.get(value, name)


def regularizer(name: str, value: Any) -> Regularizer | None:
    """Return the regularizer that is named."""
    return regularizers.get(value, name)


def seeds(seed: int | Sequence[int] | None, cells: int) -> list[int] | None:
    """Return a seed for each layer and direction, or ``None`` for torch's global generator."""
    if seed is None:
        return None
    if not isinstance(seed, Sequence):
        return spread_seed(operator.index(seed), cells)
    if len(seed) != cells:
        raise ValueError(
            f"seed must be None, an int, or one int for each of the {cells} layers and directions, got {seed!r}."
        )
    return [operator.index(s) for s in seed]


def valid_steps(mask: Tensor, x: Tensor, batched: bool) -> Tensor:
    """Return a mask ``(B, T)``, or ``(T)`` for unbatched input, as ``(T, B)`` bool; ``x`` is ``(T, B, D)``."""
    steps, batch = x.shape[:2]
    expected = (batch, steps) if batched else (steps,)
    flat = mask.squeeze(-1) if mask.dim() == len(expected) + 1 and mask.shape[-1] == 1 else mask
    if tuple(flat.shape) != expected:
        raise ValueError(f"mask must have shape {expected}, got {tuple(mask.shape)}.")
    valid = flat.to(device=x.device, dtype=torch.bool)
    return valid.t() if batched else valid.unsqueeze(1)
