"""Adam's step of K rows of weights in one pass of compiled code, where torch's operations make ten."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import torch
from torch import Tensor

from . import compiled
from .fused_cpu import REALS, library_of


def serves(*rows: Tensor) -> bool:
    """Tell whether there is compiled code for tensors ``(K, P)`` like these; compiles it if need be."""
    dtype = rows[0].dtype
    if dtype not in REALS or not all(t.is_cpu and t.dtype is dtype and t.is_contiguous() for t in rows):
        return False
    return compiled.why_not(REALS[dtype]) is None


def step(
    weights: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    betas: tuple[float, float],
    epsilon: float,
    roots: Tensor,
    sizes: Tensor,
) -> None:
    """Change weights and moments ``(K, P)`` in place.

    Args:
        weights: What is trained.
        gradient: Its gradient.
        mean: Of gradients so far.
        square: Of their squares.
        betas: How much of both is kept.
        epsilon: What is added to the root of the squares.
        roots: Of the share of the squares' mean that is no zero of its beginning, ``(K, 1)``.
        sizes: What each row's step is multiplied by, ``(K, 1)``.
    """
    roots, sizes = roots.contiguous(), sizes.contiguous()
    tensors = [t.data_ptr() for t in (weights, gradient, mean, square)]
    _function(weights.dtype)(*weights.shape, *tensors, *betas, epsilon, roots.data_ptr(), sizes.data_ptr())


@functools.cache
def _function(dtype: torch.dtype) -> Any:
    function = library_of(dtype).lstmreg_adam
    pointers, numbers = [ctypes.c_void_p] * 4, [ctypes.c_double] * 3
    function.argtypes = [ctypes.c_int64, ctypes.c_int64, *pointers, *numbers, ctypes.c_void_p, ctypes.c_void_p]
    function.restype = None
    return function
