"""Tells data that are not finite from a training that has diverged: only the latter is the learning rate's affair."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lstmreg.models import predicted


def fault_of_step(batch: tuple[Any, Any], prediction: Any, before: tuple[Any, Any] | None) -> str:
    """Return which number of a step's data is not finite; or of the step before, if that alone has spoilt the weights.

    An infinite input may saturate the gates: the loss is finite then, and the gradient is not.
    """
    found = not_finite(*batch, prediction)
    if found or before is None:
        return found
    found = not_finite(*before, None)
    return f"{found} in the batch before" if found else ""


def not_finite(x: Any, y: Any, prediction: Any) -> str:
    """Return which number of a batch is NaN or infinite, as in ``x[3, 0, 2] is nan (column 2)``; nothing if none is.

    Args:
        x: What the network read: a tensor, several, or ``(x, lengths)``, of which only what is there is looked at.
        y: The targets. NaN may be a missing one, so they are to blame only where the prediction itself is finite.
        prediction: Of the network.
    """
    for name, tensor in _inputs(x):
        if found := _first(name, tensor):
            return found
    if isinstance(prediction, Tensor) and bool(prediction.isfinite().all()) and isinstance(y, Tensor):
        return _first("y", y)
    return ""


def _inputs(x: Any) -> list[tuple[str, Tensor]]:
    if isinstance(x, Tensor):
        return [("x", x)]
    if not isinstance(x, (tuple, list)) or not all(isinstance(part, Tensor) for part in x):
        return []
    if len(x) == 2 and x[1].dim() == 1 and not x[1].is_floating_point():
        steps = torch.arange(x[0].shape[1], device=x[0].device)
        is_there = (steps < x[1].to(steps.device)[:, None]).reshape(*x[0].shape[:2], *[1] * (x[0].dim() - 2))
        return [("x", torch.where(is_there, x[0], torch.zeros_like(x[0])))]
    return [(f"x[{k}]", part) for k, part in enumerate(x)]


def _first(name: str, tensor: Tensor) -> str:
    bad = (~tensor.isfinite()).nonzero()
    if not len(bad):
        return ""
    place = bad[0].tolist()
    column = f" (column {place[-1]})" if len(place) > 1 else ""
    return f"{name}{place} is {float(tensor[tuple(place)])}{column}"


@torch.no_grad()
def not_finite_in(batches: Iterable[Any], network: nn.Module) -> str:
    """Return the same of the first batch that is not finite, with its number."""
    network.eval()
    for number, batch in enumerate(batches):
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            return ""
        x, y = batch
        if found := not_finite(x, y, predicted(network, x)):
            return f"{found} in batch {number}"
    return ""
