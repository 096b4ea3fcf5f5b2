"""Penalties on a tensor, as Keras defines them: ``callable(w) -> scalar``.

A layer hands over its matrices as Keras has them, ``(D, 4H)`` and ``(H, 4H)``, so that what looks at rows or
columns means the same as there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from lstmreg.identifiers import resolve
from lstmreg.identifiers import serialize as _serialize
from lstmreg.tracing import is_transformed

#: Returns a scalar tensor. It is declared as ``Any``: what is declared to return a class counts as its factory for
#: jsonargparse, and so LightningCLI would not take ``class_path: lstmreg.L2``.
Regularizer = Callable[[Tensor], Any]


def _settle_strength(thing: Any, name: str) -> None:
    """Check a strength; ``None`` stands for the class's default, as in Keras."""
    value = getattr(thing, name)
    if value is None:
        value = type(thing).__dataclass_fields__[name].default
        object.__setattr__(thing, name, value)
    if not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be finite and not negative, got {value!r}.")


class _Elastic:
    """What :class:`L1`, :class:`L2` and :class:`L1L2` share: their strengths say all of them."""

    @property
    def strengths(self) -> tuple[float, float]:
        """Return the strengths on absolute values and on squares."""
        return getattr(self, "l1", 0.0), getattr(self, "l2", 0.0)

    def __call__(self, w: Tensor) -> Tensor:
        """Return the penalty of ``w``, a scalar."""
        return elastic_nets([self.strengths], [w], [0])[0]


@dataclass(frozen=True)
class L1(_Elastic):
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
        _settle_strength(self, "l1")


@dataclass(frozen=True)
class L2(_Elastic):
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
        _settle_strength(self, "l2")


@dataclass(frozen=True)
class L1L2(_Elastic):
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
        _settle_strength(self, "l1")
        _settle_strength(self, "l2")


@dataclass(frozen=True)
class Orthogonal:
    r"""Penalty on vectors that are not orthogonal to each other: on the mean absolute cosine of their pairs.

    .. math:: \frac{f}{n (n - 1) / 2} \sum_{j < k} |\cos(w_j, w_k)|

    Args:
        factor: Strength, :math:`f \ge 0`. Default: ``0.01``.
        mode: Whether the vectors are the ``"rows"`` or the ``"columns"`` of the matrix in Keras' layout.
            Default: ``"rows"``.

    Raises:
        ValueError: If ``factor`` is negative or not finite, ``mode`` is another word, or ``w`` is no matrix
            with at least two vectors (of one vector, Keras makes NaN).

    References:
        ``keras.regularizers.OrthogonalRegularizer``; Brock et al. (2017), arXiv:1609.07093.

    Example:
        >>> round(Orthogonal(1.0)(torch.tensor([[1.0, 0.0], [1.0, 1.0]])).item(), 4)
        0.7071
    """

    keras_name: ClassVar[str] = "OrthogonalRegularizer"

    factor: float = 0.01
    mode: str = "rows"

    def __post_init__(self) -> None:
        _settle_strength(self, "factor")
        if self.mode not in ("rows", "columns"):
            raise ValueError(f"mode must be 'rows' or 'columns', got {self.mode!r}.")

    def __call__(self, w: Tensor) -> Tensor:
        """Return the penalty of ``w``, a scalar."""
        if w.dim() != 2 or w.shape[0 if self.mode == "rows" else 1] < 2:
            raise ValueError(f"Orthogonal needs a matrix with at least two {self.mode}, got shape {tuple(w.shape)}.")
        vectors = w if self.mode == "rows" else w.t()
        # As Keras normalizes: a zero vector stays zero and costs nothing.
        unit = vectors * torch.rsqrt(vectors.square().sum(1, keepdim=True).clamp(min=1e-14))
        count = len(vectors)
        cosines = (unit @ unit.t()) * (1 - torch.eye(count, device=w.device, dtype=w.dtype))
        return self.factor * 0.5 * cosines.abs().sum() / (count * (count - 1) / 2)


def elastic_nets(
    strengths: Sequence[tuple[float, float]], tensors: Sequence[Tensor], sums: Sequence[int]
) -> list[Tensor]:
    r"""Return sums of :math:`l_1 \sum |w| + l_2 \sum w^2` over some tensors, in one step of autograd.

    For the weights of a small layer the bookkeeping of a handful of operations costs more than their arithmetic.

    Args:
        strengths: ``(l1, l2)`` for each tensor.
        tensors: What is penalised.
        sums: For each tensor the number of the sum that it enters, from 0.

    Returns:
        The sums, scalars.
    """
    if is_transformed() or not all(isinstance(s, (int, float)) for pair in strengths for s in pair):
        totals = [tensors[0].new_zeros(())] * (max(sums) + 1)
        for (l1, l2), w, i in zip(strengths, tensors, sums, strict=True):
            totals[i] = totals[i] + l1 * w.abs().sum() + l2 * w.square().sum()
        return totals
    return list(_ElasticNets.apply(strengths, sums, 0, *tensors))  # type: ignore[no-untyped-call]


#: Strengths ``(l1, l2)`` of K models, ``(K)`` each; ``None`` where no model has any.
MemberStrengths = tuple[Tensor | None, Tensor | None]


def member_nets(strengths: Sequence[MemberStrengths], tensors: Sequence[Tensor], sums: Sequence[int]) -> list[Tensor]:
    """Return what :func:`elastic_nets` does for each of K models: tensors ``(K, ...)``, sums ``(K)``."""
    return list(_ElasticNets.apply(strengths, sums, 1, *tensors))  # type: ignore[no-untyped-call]


def add_member_slopes(gradient: Tensor, tensor: Tensor, strengths: MemberStrengths) -> None:
    """Add the gradient of the elastic nets of K models to ``gradient (K, ...)``."""
    l1, l2 = strengths
    if l2 is not None:
        gradient.addcmul_(tensor, _beside(tensor, 2 * l2))
    if l1 is not None:
        gradient.addcmul_(tensor.sign(), _beside(tensor, l1))


class _ElasticNets(torch.autograd.Function):
    """The elastic nets of one model, or of K whose tensors, strengths and sums have an axis of models in front."""

    @staticmethod
    def forward(
        ctx: Any, strengths: Sequence[tuple[Any, Any]], sums: Sequence[int], axes: int, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.strengths, ctx.sums = strengths, sums
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        like = tensors[0]
        totals: list[Tensor | None] = [None] * (max(sums) + 1)
        for (l1, l2), w, i in zip(strengths, tensors, sums, strict=True):
            flat = w.flatten(axes)
            if _is_on(l2):
                totals[i] = _added(totals[i], _squares(flat) * l2, like)
            if _is_on(l1):
                totals[i] = _added(totals[i], flat.abs().sum(-1) * l1, like)
        return tuple([like.new_zeros(like.shape[:axes]) if total is None else total for total in totals])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        found: list[Tensor | None] = []
        for (l1, l2), w, i in zip(ctx.strengths, ctx.saved_tensors, ctx.sums, strict=True):
            scale, gradient = grads[i], None
            if scale is not None and l2 is not None:  # also where it is 0: what is penalised has a gradient
                gradient = w * _beside(w, scale * (2 * l2))
            if scale is not None and _is_on(l1):
                of_l1 = w.sign() * _beside(w, scale * l1)
                gradient = of_l1 if gradient is None else gradient + of_l1
            found.append(gradient)
        return None, None, None, *found


def _is_on(strength: Tensor | float | None) -> bool:
    return isinstance(strength, Tensor) or bool(strength)


def _added(total: Tensor | None, value: Tensor, like: Tensor) -> Tensor:
    """Add to a total in place; the first value is the total itself, in the type that all of them are summed in."""
    return value.to(like) if total is None else total.add_(value)


def _squares(flat: Tensor) -> Tensor:
    """Return the sum of squares ``()`` of ``(P)``, or ``(K)`` of ``(K, P)``.

    Of one model it is not that of ``(1, P)``: that takes three times as long, has other last digits, and autocast
    would compute it in a shorter type. In half precision, which the output has under autocast, it is the sum that
    would lose digits, and take ten times as long.
    """
    flat = flat.float() if flat.dtype in (torch.bfloat16, torch.float16) else flat
    return torch.dot(flat, flat) if flat.dim() == 1 else torch.linalg.vecdot(flat, flat)


def _beside(w: Tensor, values: Tensor) -> Tensor:
    """Return a value for each model, ``(K)``, so that it multiplies all of its numbers in ``w``; of one as it is."""
    return values.view(-1, *[1] * (w.dim() - 1)) if values.dim() else values


def _l1l2(**config: Any) -> L1L2:
    if not config:
        raise ValueError(
            "regularizer 'l1l2' names no strengths (in Keras it is silently 0 and 0). Write L1L2(l1=..., l2=...)."
        )
    return L1L2(**config)


#: The regularizers that :func:`elastic_nets` computes. They look at no rows and columns, so any layout will do.
ELASTIC = (L1, L2, L1L2)


def plain_strengths(regularizer: Any) -> tuple[float, float] | None:
    """Return the strengths of an elastic net, if it is one, and they are numbers and no tensors."""
    if not isinstance(regularizer, ELASTIC):
        return None
    l1, l2 = regularizer.strengths
    return (l1, l2) if isinstance(l1, (int, float)) and isinstance(l2, (int, float)) else None


#: Keras' names.
REGULARIZERS: dict[str, Callable[..., Regularizer]] = {
    "l1": L1,
    "L1": L1,
    "l2": L2,
    "L2": L2,
    "l1l2": _l1l2,
    "L1L2": _l1l2,
    "l1_l2": _l1l2,
    "orthogonal_regularizer": Orthogonal,
    "OrthogonalRegularizer": Orthogonal,
}


def get(identifier: Any, what: str = "regularizer") -> Regularizer | None:
    """Return the regularizer that ``identifier`` names: an instance, callable, name or serialized dict.

    Raises:
        ValueError: If the name is unknown, names no strengths, or its config does not fit.
        TypeError: If it is none of these.

    Example:
        >>> get({"class_name": "L2", "config": {"l2": 0.1}})
        L2(l2=0.1)
    """
    made: Regularizer | None = resolve(identifier, REGULARIZERS, what, "L2(1e-4)")
    return made


def serialize(regularizer: Regularizer | None) -> dict[str, Any] | None:
    """Write a regularizer as Keras does.

    Example:
        >>> serialize(L2(0.1))["config"]
        {'l2': 0.1}
    """
    return _serialize(regularizer, "keras.regularizers")
