"""What the predictions of a step cost each member, and the sums of that over an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from lstmreg.losses import CRITERIA, Criterion, CrossEntropy, Loss, Regression
from lstmreg.ops import lesson
from lstmreg.training.criteria import check_targets, require_shape_of, settled

from .lockstep import Part


def member_losses(criteria: Sequence[Criterion], prediction: Tensor, piece: Part) -> Tensor:
    """Return the loss ``(K)`` of each member's prediction ``(K, B, O)``, by the criterion of each.

    Targets of floating point have the prediction's shape; whole numbers, such as the indices of classes, have the shape
    that the criterion wants.
    """
    y = piece.y
    own = y if piece.is_shared else y[0]
    losses, first = [], 0
    for criterion, alike in groupby(settled(criterion, prediction[0], own) for criterion in criteria):
        check_targets(criterion, prediction[0], own)
        rows = slice(first, first + len(list(alike)))
        losses.append(_losses(criterion, prediction[rows], y if piece.is_shared else y[rows], own))
        first = rows.stop
    return losses[0] if len(losses) == 1 else torch.cat(losses)


def number_of(criterion: Criterion, outputs: int, y: Tensor) -> int | None:
    """Return the number that ``lstmreg.ops.lesson`` has for what a criterion is; ``None`` if none.

    Args:
        criterion: That of one member.
        outputs: How many numbers it predicts.
        y: Its targets.
    """
    criterion = _settled(criterion, outputs, y)
    if not y.is_floating_point():
        is_known = type(criterion) is CrossEntropy and criterion.steps == "last" and criterion.classes == outputs
        return lesson.CROSS_ENTROPY if is_known and y.dim() == 1 else None
    if type(criterion) is Regression and criterion.steps == "last":
        return lesson.CRITERIA[criterion.kind] + lesson.MAY_LACK
    return next((lesson.CRITERIA[name] for name, known in CRITERIA.items() if criterion is known), None)


def targets_of(criteria: Sequence[Criterion], outputs: int, piece: Part) -> Tensor:
    """Return the targets of members whose criteria have a number, as ``lstmreg.ops.lesson`` takes them."""
    if piece.y.is_floating_point():
        return piece.y
    own = piece.y if piece.is_shared else piece.y[0]
    kinds = groupby(_settled(criterion, outputs, own) for criterion in criteria)
    runs = [(criterion, len(list(alike))) for criterion, alike in kinds]
    if piece.is_shared and len(runs) == 1:
        return _soft(runs[0][0], piece.y, piece.x.dtype)
    y = piece.y.expand(len(criteria), *own.shape)
    parts = torch.split(y, [count for _, count in runs])
    return torch.cat([_soft(criterion, part, piece.x.dtype) for (criterion, _), part in zip(runs, parts, strict=True)])


def _soft(criterion: Criterion, y: Tensor, dtype: torch.dtype) -> Tensor:
    assert isinstance(criterion, CrossEntropy)
    return criterion.soft_targets(y, dtype)


def _settled(criterion: Criterion, outputs: int, y: Tensor) -> Criterion:
    """Return what a criterion is for targets whose predictions are not there yet."""
    prediction = y if y.is_floating_point() else y.new_empty(()).expand(*y.shape, outputs)
    return settled(criterion, prediction, y)


def _losses(criterion: Criterion, prediction: Tensor, y: Tensor, own: Tensor) -> Tensor:
    """Return the losses of members with one criterion; ``own`` are the targets of one of them."""
    if isinstance(criterion, Loss):
        return criterion.each(prediction, y).mean(-1)
    if own.is_floating_point():
        require_shape_of(prediction[0], own)
    if criterion in CRITERIA.values():  # whose means can be taken apart, which is faster
        each: Tensor = criterion(prediction, y.expand_as(prediction), reduction="none")  # type: ignore[call-arg]
        return each.flatten(1).mean(1)
    try:
        losses: Tensor = torch.vmap(criterion, in_dims=(0, None if y is own else 0))(prediction, y)
    except RuntimeError as error:
        if "vmap" not in str(error):
            raise
        raise ValueError(
            "criterion must be made of operations on tensors, without .item() and branches, to be mapped over members: "
            f"{str(error).splitlines()[0]} Change it, or train one by one with lstmreg.fit."
        ) from error
    if losses.shape != prediction.shape[:1]:
        raise ValueError(f"criterion must return a scalar, got shape {tuple(losses.shape[1:])}. Use its mean.")
    return losses


class Sums:
    """Sums over batches, for each row, of losses and penalties."""

    def __init__(self, rows: int, device: torch.device) -> None:
        self._rows, self._device = rows, device
        self._counts = [0] * rows
        self._sums: dict[str, Tensor] = {}

    def add(self, rows: slice, size: int, values: dict[str, Tensor]) -> None:
        """Add values ``(K)``, means over a batch of ``size``, by name."""
        for name, value in values.items():
            if name not in self._sums:
                self._sums[name] = torch.zeros(self._rows, dtype=torch.float64, device=self._device)
            self._sums[name][rows] += value.detach() * size
        self._counts[rows] = [count + size for count in self._counts[rows]]

    def means(self) -> dict[str, list[float]]:
        """Return the means over all batches, by name and row; NaN where there was none."""
        counts = torch.tensor(self._counts, dtype=torch.float64)
        return {name: (total.cpu() / counts).tolist() for name, total in self._sums.items()}
