"""Sequences of unequal lengths in one tensor: how many steps of each are there, and which."""

from __future__ import annotations

import torch
from torch import Tensor

from lstmreg.errors import InputError


def check_lengths(lengths: Tensor, x: Tensor) -> None:
    """Raise an ``InputError`` if ``lengths`` are not those of the sequences in a padded tensor.

    Args:
        lengths: ``(B)``, or ``(K, B)``; whole numbers.
        x: ``(B, T, D)``, or ``(K, B, T, D)``.

    On a GPU their values are not looked at, since that would make the host wait.

    Raises:
        TypeError: If one is no tensor.
    """
    for name, value in (("x", x), ("lengths", lengths)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(value).__name__}.")
    batch, steps = x.shape[-3:-1] if x.dim() > 2 else (None, None)
    if steps is None or lengths.shape[-1:] != (batch,):
        raise InputError(
            f"lengths must be one for each sequence of x (B, T, D), got shape {tuple(lengths.shape)} "
            f"for x of shape {tuple(x.shape)}."
        )
    if lengths.is_floating_point() or lengths.dtype == torch.bool:
        raise InputError(f"lengths must be whole numbers, got {lengths.dtype}. Use lengths.long().")
    if lengths.numel() > 0 and not lengths.is_cuda:
        least, most = (int(n) for n in torch.aminmax(lengths))
        if least < 1 or most > steps:
            raise InputError(
                f"lengths must be between 1 and the {steps} steps of x, got {least if least < 1 else most}."
            )


def steps_within(lengths: Tensor, steps: int, device: torch.device) -> Tensor:
    """Return which of ``steps`` steps are there, ``(..., B, T)`` bool."""
    return torch.arange(steps, device=device) < lengths.to(device).unsqueeze(-1)
