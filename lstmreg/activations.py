"""Activations by Keras' names, with Keras' definitions; any callable of one tensor will do as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lstmreg.identifiers import resolve

Activation = Callable[[Tensor], Tensor]


def linear(x: Tensor) -> Tensor:
    """Return ``x`` (Keras: ``None`` or ``linear``)."""
    return x


def hard_sigmoid(x: Tensor) -> Tensor:
    r"""Return :math:`\mathrm{clip}(x / 6 + 0.5, 0, 1)`, Keras 3's definition and torch's."""
    return functional.hardsigmoid(x)


def keras2_hard_sigmoid(x: Tensor) -> Tensor:
    r"""Return :math:`\mathrm{clip}(0.2 x + 0.5, 0, 1)`, the definition of Keras 1 and 2.

    It was the default ``recurrent_activation`` before Keras 2.3: at ``x = 1`` it is 0.7, where that of
    Keras 3 is 0.667.
    """
    return (0.2 * x + 0.5).clamp(0.0, 1.0)


def gelu(x: Tensor) -> Tensor:
    """Return the Gaussian error linear unit (exact, as Keras' default)."""
    return functional.gelu(x)


def leaky_relu(x: Tensor) -> Tensor:
    """Return ``x``, and 0.2 of it below zero, Keras 3's default slope (torch's is 0.01)."""
    return functional.leaky_relu(x, 0.2)


def softmax(x: Tensor) -> Tensor:
    """Return the softmax over the last axis."""
    return functional.softmax(x, dim=-1)


def log_softmax(x: Tensor) -> Tensor:
    """Return the logarithm of the softmax over the last axis."""
    return functional.log_softmax(x, dim=-1)


def squareplus(x: Tensor) -> Tensor:
    r"""Return :math:`(x + \sqrt{x^2 + 4}) / 2`."""
    return (x + torch.sqrt(x.square() + 4.0)) / 2.0


def sparse_plus(x: Tensor) -> Tensor:
    r"""Return 0 up to -1, :math:`(x + 1)^2 / 4` to 1, and ``x`` above."""
    return torch.where(x <= -1, 0.0, torch.where(x < 1, (x + 1).square() / 4, x))


def sparse_sigmoid(x: Tensor) -> Tensor:
    r"""Return :math:`\mathrm{clip}((x + 1) / 2, 0, 1)`."""
    return ((x + 1.0) / 2.0).clamp(0.0, 1.0)


#: Keras' names. Missing are those that no gate can have: ``glu`` halves the width, ``threshold`` has no default,
#: and ``sparsemax`` is wrong on Keras' torch backend.
ACTIVATIONS: dict[str, Activation] = {
    "linear": linear,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": hard_sigmoid,
    "keras2_hard_sigmoid": keras2_hard_sigmoid,
    "relu": functional.relu,
    "relu6": functional.relu6,
    "leaky_relu": leaky_relu,
    "elu": functional.elu,
    "celu": functional.celu,
    "selu": functional.selu,
    "gelu": gelu,
    "silu": functional.silu,
    "swish": functional.silu,
    "hard_silu": functional.hardswish,
    "hard_swish": functional.hardswish,
    "mish": functional.mish,
    "softplus": functional.softplus,
    "softsign": functional.softsign,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "log_sigmoid": functional.logsigmoid,
    "exponential": torch.exp,
    "hard_tanh": functional.hardtanh,
    "tanh_shrink": functional.tanhshrink,
    "hard_shrink": functional.hardshrink,
    "soft_shrink": functional.softshrink,
    "squareplus": squareplus,
    "sparse_plus": sparse_plus,
    "sparse_sigmoid": sparse_sigmoid,
}


def get(identifier: Any, what: str = "activation") -> Activation:
    """Return the activation that ``identifier`` names; ``None`` is linear, as in Keras.

    Raises:
        ValueError: If the name is unknown.
        TypeError: If it is neither a name nor a callable.
    """
    if identifier is None:
        return linear
    made: Activation = resolve(identifier, {name: lambda f=f: f for name, f in ACTIVATIONS.items()}, what, "torch.relu")
    return made


def name_of(activation: Activation) -> str | None:
    """Return the name of an activation, or ``None`` if it is a callable of somebody else's."""
    return next((name for name, known in ACTIVATIONS.items() if known is activation), None)
