"""Penalties on a tensor, as Keras defines them: ``callable(w) -> scalar``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Regularizer = Callable[[Tensor], Tensor]


def _check_strength(name: str, value: float) -> None:
    if not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be finite and not negative, got {value!r}.")


@dataclass(frozen=True)
class L1:
    r"""Penalty on absolute values, :math:`l_1 \sum |w|`. It drives single weights to zero.

    Args:
        l1: Strength, ``>= 0``. Default: ``0.01``.

    Raises:
        ValueError: If ``l1`` is negative or not finite.

    References:
        ``keras.regularizers.L1``.

    Example:
        >>> import torch
        >>> L1(0.5)(torch.tensor([1.0, -3.0]))
        tensor(2.)
    """

    l1: float = 0.01

    def __post_init__(self) -> None:
        _check_strength("l1", self.l1)

    def __call__(self, w: Tensor) -> Tensor:
        """Return the penalty of ``w``, a scalar."""
        return self.l1 * w.abs().sum()


@dataclass(frozen=True)
class L2:
    r"""Penalty on squares, :math:`l_2 \sum w^2`; no factor ½, so its gradient is :math:`2 l_2 w`.

    It equals a coupled ``weight_decay=2 * l2`` of ``torch.optim.SGD`` and ``Adam`` (not of ``AdamW``).

    Args:
        l2: Strength, ``>= 0``. Default: ``0.01``.

    Raises:
        ValueError: If ``l2`` is negative or not finite.

    References:
        ``keras.regularizers.L2``.

    Example:
        >>> import torch
        >>> L2(0.5)(torch.tensor([1.0, -3.0]))
        tensor(5.)
    """

    l2: float = 0.01

    def __post_init__(self) -> None:
        _check_strength("l2", self.l2)

    def __call__(self, w: Tensor) -> Tensor:
        """Return the penalty of ``w``, a scalar."""
        return self.l2 * w.square().sum()


@dataclass(frozen=True)
class L1L2:
    r"""Elastic net, :math:`l_1 \sum |w| + l_2 \sum w^2`.

    Args:
        l1: Strength on absolute values, ``>= 0``. Default: ``0.0``.
        l2: Strength on squares, ``>= 0``. Default: ``0.0``.

    Raises:
        ValueError: If a strength is negative or not finite.

    References:
        ``keras.regularizers.L1L2``.

    Example:
        >>> import torch
        >>> L1L2(l1=1.0, l2=0.5)(torch.tensor([1.0, -3.0]))
        tensor(9.)
    """

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        _check_strength("l1", self.l1)
        _check_strength("l2", self.l2)

    def __call__(self, w: Tensor) -> Tensor:
        """Return the penalty of ``w``, a scalar."""
        # Both terms always: a strength of zero costs nothing that matters and keeps one graph for all.
        return self.l1 * w.abs().sum() + self.l2 * w.square().sum()
