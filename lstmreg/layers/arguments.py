"""Checks what a layer is given, at the door, and settles it into what the layer works with."""

from __future__ import annotations

import functools
import math
import operator
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from lstmreg import activations, constraints, initializers, ops, regularizers
from lstmreg.dropout import spread_seed
from lstmreg.errors import InputError

V = TypeVar("V")

#: One value for all layers, or a list with one for each.
PerLayer: TypeAlias = V | Sequence[V]

#: An object, Keras' name of it, or Keras' serialized form.
Named: TypeAlias = V | str | dict[str, Any] | None


def _size(name: str, value: Any, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {value!r}.")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}.")
    return value


def _rate(name: str, value: Any) -> float:
    ok = hasattr(value, "__float__") and math.isfinite(value) and 0 <= value < 1
    if not ok:
        raise ValueError(f"{name} must be in [0, 1), got {value!r}.")
    return float(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, int) or value not in (0, 1):
        raise TypeError(f"{name} must be True or False, got {value!r}.")
    return bool(value)


def _flag_or_none(name: str, value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{name} must be True, False or None, got {value!r}.")
    return value


def _one_of(*allowed: str) -> Callable[[str, Any], str]:
    def choice(name: str, value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}.")
        return str(value)

    return choice


def _named(get: Callable[[Any, str], V]) -> Callable[[str, Any], V]:
    return lambda name, value: get(value, name)


#: What checks each setting, and makes of a name the object that it names; when a layer is made, and when one is set
#: later. ``seed`` has its own rule, :func:`seeds`.
SETTINGS: dict[str, Callable[[str, Any], Any]] = {
    "input_size": _size,
    "hidden_size": _size,
    "num_layers": _size,
    "bias": _flag,
    "batch_first": _flag,
    "dropout": _rate,
    "bidirectional": _flag,
    "proj_size": functools.partial(_size, least=0),
    "recurrent_dropout": _rate,
    "kernel_regularizer": _named(regularizers.get),
    "recurrent_regularizer": _named(regularizers.get),
    "bias_regularizer": _named(regularizers.get),
    "activity_regularizer": _named(regularizers.get),
    "activity_steps": _one_of("all", "last"),
    "kernel_constraint": _named(constraints.get),
    "recurrent_constraint": _named(constraints.get),
    "bias_constraint": _named(constraints.get),
    "activation": _named(activations.get),
    "recurrent_activation": _named(activations.get),
    "kernel_initializer": _named(initializers.get),
    "recurrent_initializer": _named(initializers.get),
    "bias_initializer": _named(initializers.get),
    "unit_forget_bias": _flag,
    "initializer": _one_of("keras", "torch"),
    "zero_output_for_mask": _flag,
    "go_backwards": _flag,
    "stateful": _flag,
    "per_gate_masks": _flag,
    "per_gate_input_masks": _flag_or_none,
    "backend": _one_of("auto", *ops.BACKENDS),
}

#: Those that take a list with a value for each layer.
_PER_LAYER = {
    "dropout",
    "recurrent_dropout",
    *(name for name in SETTINGS if name.endswith(("_regularizer", "_constraint", "activation"))),
}


def settle(name: str, value: Any, settings: Mapping[str, Any]) -> Any:
    """Check a setting, by itself and beside the others, and return it as the layer keeps it.

    Args:
        name: A key of :data:`SETTINGS`.
        value: What was given.
        settings: The layer's settings so far.
    """
    one = SETTINGS[name]
    if name not in _PER_LAYER or not isinstance(value, (list, tuple)):
        settled = one(name, value)
    elif len(value) == settings["num_layers"]:
        settled = tuple(one(name, each) for each in value)
    else:
        layers = settings["num_layers"]
        raise ValueError(f"{name} must be one value or one for each of the {layers} layers, got {value!r}.")
    _check_together(ChainMap({name: settled}, settings))  # type: ignore[arg-type]
    return settled


def _check_together(settings: Mapping[str, Any]) -> None:
    if settings.get("bidirectional") and settings.get("go_backwards"):
        raise ValueError("go_backwards must be False where bidirectional is True: that reads both ways already.")
    projected = settings.get("proj_size", 0)
    if projected >= settings.get("hidden_size", math.inf):
        raise ValueError(f"proj_size must be below hidden_size={settings['hidden_size']}, got {projected}.")
    rates = settings.get("recurrent_dropout", 0.0)
    if projected > 0 and any(rates if isinstance(rates, tuple) else [rates]):
        raise ValueError(
            "recurrent_dropout must be 0 where proj_size is set: Keras has no projection, so nothing says "
            "whether the projected or the hidden units are dropped."
        )


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
        raise InputError(f"mask must have shape {expected}, got {tuple(mask.shape)}.")
    valid = flat.to(device=x.device, dtype=torch.bool)
    return valid.t() if batched else valid.unsqueeze(1)
