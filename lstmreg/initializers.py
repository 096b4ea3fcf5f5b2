"""Initial weights by Keras' names, with Keras' distributions; any function of ``torch.nn.init`` will do too.

An initializer fills a tensor in place, in torch's layout: ``(4H, D)``, ``(4H, H)``, ``(4H)``, gates in the order
i, f, g, o. Keras' matrices are the transposes, and each of its distributions is the same for both. One with a
``seed`` fills every tensor alike, as an instance does in Keras; without one each call draws anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lstmreg.identifiers import resolve
from lstmreg.identifiers import serialize as _serialize

Initializer = Callable[[Tensor], object]

#: The standard deviation of a unit normal that is cut off at ±2.
_CUT_NORMAL = 0.87962566103423978


def _generator(seed: int | None, device: torch.device) -> torch.Generator | None:
    return None if seed is None else torch.Generator(device).manual_seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw initial weights from ``seed``, and leave torch's generator on the CPU as it was."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)  # torch.manual_seed is ten times as slow: it tells all devices
    try:
        yield
    finally:
        torch.set_rng_state(before)


@torch.no_grad()
def _fill(tensor: Tensor, draw: Callable[[Tensor, torch.Generator | None], object], seed: int | None) -> None:
    """Fill ``tensor`` by ``draw``, at least in float32: half precision has no QR, and coarse quantiles."""
    wide = torch.empty_like(tensor, dtype=torch.promote_types(tensor.dtype, torch.float32))
    draw(wide, _generator(seed, tensor.device))
    tensor.copy_(wide)


@dataclass(frozen=True)
class Constant:
    """Fill with ``value``."""

    value: float = 0.0

    def __call__(self, tensor: Tensor) -> None:
        """Fill ``tensor``."""
        nn.init.constant_(tensor, self.value)


@dataclass(frozen=True)
class Zeros:
    """Fill with zeros."""

    def __call__(self, tensor: Tensor) -> None:
        """Fill ``tensor``."""
        nn.init.zeros_(tensor)


@dataclass(frozen=True)
class Ones:
    """Fill with ones."""

    def __call__(self, tensor: Tensor) -> None:
        """Fill ``tensor``."""
        nn.init.ones_(tensor)


@dataclass(frozen=True)
class RandomNormal:
    """Draw from a normal distribution."""

    mean: float = 0.0
    stddev: float = 0.05
    seed: int | None = None

    def __call__(self, tensor: Tensor) -> None:
        """Fill ``tensor``."""
        _fill(tensor, lambda t, g: nn.init.normal_(t, self.mean, self.stddev, generator=g), self.seed)


@dataclass(frozen=True)
class TruncatedNormal:
    """Draw from a normal distribution without what lies beyond two standard deviations."""

    mean: float = 0.0
    stddev: float = 0.05
    seed: int | None = None

    def __call__(self, tensor: Tensor) -> None:
        """Fill ``tensor``."""
        low, high = self.mean - 2 * self.stddev, self.mean + 2 * self.stddev
        _fill(tensor, lambda t, g: nn.init.trunc_normal_(t, self.mean, self.stddev, low, high, generator=g), self.seed)


@dataclass(frozen=True)
class RandomUniform:
    """Draw uniformly."""

    minval: float = -0.05
    maxval: float = 0.05
    seed: int | None = None

    def __call__(self, tensor: Tensor) -> None:
        """Fill ``tensor``."""
        _fill(tensor, lambda t, g: nn.init.uniform_(t, self.minval, self.maxval, generator=g), self.seed)


@dataclass(frozen=True)
class VarianceScaling:
    r"""Draw with variance ``scale / n``, where ``n`` counts inputs, outputs, or their mean.

    The counts are those of the whole matrix, ``D`` (or ``H``) in and ``4H`` out, not of one gate.
    """

    scale: float = 1.0
    mode: str = "fan_in"
    distribution: str = "truncated_normal"
    seed: int | None = None
    input_axes: None = None  # of newer Keras configs; only None is known here
    output_axes: None = None

    def __post_init__(self) -> None:
        _check_choice("mode", self.mode, ("fan_in", "fan_out", "fan_avg"))
        _check_choice(
            "distribution", self.distribution, ("normal", "truncated_normal", "untruncated_normal", "uniform")
        )
        if self.input_axes is not None or self.output_axes is not None:
            raise ValueError("input_axes and output_axes must be None.")

    def __call__(self, tensor: Tensor) -> None:
        """Fill ``tensor``."""
        fan_out, fan_in = (tensor.shape[0], tensor.shape[-1])
        fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
        variance = self.scale / max(1.0, fans[self.mode])
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            RandomUniform(-limit, limit, self.seed)(tensor)
        elif self.distribution == "untruncated_normal":
            RandomNormal(0.0, math.sqrt(variance), self.seed)(tensor)
        else:
            TruncatedNormal(0.0, math.sqrt(variance) / _CUT_NORMAL, self.seed)(tensor)


@dataclass(frozen=True)
class _Fan:
    """A named case of :class:`VarianceScaling`."""

    seed: int | None = None
    input_axes: None = None
    output_axes: None = None

    case: ClassVar[tuple[float, str, str]]

    def __call__(self, tensor: Tensor) -> None:
        """Fill ``tensor``."""
        VarianceScaling(*self.case, self.seed, self.input_axes, self.output_axes)(tensor)


class GlorotUniform(_Fan):
    """Uniform in ±sqrt(6 / (in + out)): Keras' default for the kernel."""

    case = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Fan):
    """Truncated normal with variance 2 / (in + out)."""

    case = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Fan):
    """Uniform in ±sqrt(6 / in)."""

    case = (2.0, "fan_in", "uniform")


class HeNormal(_Fan):
    """Truncated normal with variance 2 / in."""

    case = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Fan):
    """Uniform in ±sqrt(3 / in)."""

    case = (1.0, "fan_in", "uniform")


class LecunNormal(_Fan):
    """Truncated normal with variance 1 / in."""

    case = (1.0, "fan_in", "truncated_normal")


@dataclass(frozen=True)
class Orthogonal:
    """Draw a matrix whose columns (Keras: rows) are orthonormal, times ``gain``: the default for the recurrence.

    They are orthonormal over all four gates at once; the block of a gate is not orthogonal.
    """

    gain: float = 1.0
    seed: int | None = None

    def __call__(self, tensor: Tensor) -> None:
        """Fill ``tensor``."""
        _fill(tensor, lambda t, g: nn.init.orthogonal_(t, self.gain, generator=g), self.seed)


@dataclass(frozen=True)
class Identity:
    """Fill with ``gain`` on the diagonal and zeros elsewhere."""

    gain: float = 1.0

    def __call__(self, tensor: Tensor) -> None:
        """Fill ``tensor``."""
        nn.init.eye_(tensor)
        with torch.no_grad():
            tensor.mul_(self.gain)


#: Keras' names.
INITIALIZERS: dict[str, Callable[..., Initializer]] = {
    "zeros": Zeros,
    "ones": Ones,
    "constant": Constant,
    "random_normal": RandomNormal,
    "random_uniform": RandomUniform,
    "truncated_normal": TruncatedNormal,
    "variance_scaling": VarianceScaling,
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
    "lecun_uniform": LecunUniform,
    "lecun_normal": LecunNormal,
    "orthogonal": Orthogonal,
    "identity": Identity,
}
INITIALIZERS |= {made.__name__: made for made in list(INITIALIZERS.values())}
INITIALIZERS |= {"zero": Zeros, "one": Ones, "normal": RandomNormal, "uniform": RandomUniform}
INITIALIZERS |= {"OrthogonalInitializer": Orthogonal, "IdentityInitializer": Identity}


def get(identifier: Any, what: str = "initializer") -> Initializer:
    """Return the initializer that ``identifier`` names: an instance, a function of ``torch.nn.init``, a name or a dict.

    Raises:
        ValueError: If the name is unknown, or its config does not fit.
        TypeError: If it is none of these.
    """
    made: Initializer | None = resolve(identifier, INITIALIZERS, what, "Orthogonal()")
    if made is None:
        raise TypeError(f"{what} must be an initializer, such as 'zeros', got None.")
    return made


def serialize(initializer: Initializer) -> dict[str, Any] | None:
    """Write an initializer as Keras does.

    Example:
        >>> serialize(Orthogonal(gain=2.0))["config"]
        {'gain': 2.0, 'seed': None}
    """
    return _serialize(initializer, "keras.initializers")


def torch_(weights: Iterable[Tensor], hidden_size: int) -> None:
    """Fill as ``torch.nn.LSTM`` does: everything uniform in ``±1/sqrt(H)``, in the order of ``nn.LSTM``'s parameters.

    Args:
        weights: All weights and biases, both biases of a cell among them.
        hidden_size: ``H``.
    """
    limit = 1.0 / math.sqrt(hidden_size)
    for weight in weights:
        nn.init.uniform_(weight, -limit, limit)


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}.")
