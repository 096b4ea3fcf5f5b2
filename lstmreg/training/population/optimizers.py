"""An optimizer for a population: a learning rate, weight decay and gradient clip for each member."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lstmreg.config import TrainingConfig
from lstmreg.layers.proximal import soft_threshold_
from lstmreg.training.optimizers import Rows, optimizer_named


class MemberOptimizer(torch.optim.Optimizer):
    """Steps each row of a tensor as an optimizer of its own would.

    torch's optimizers have one learning rate for a tensor; and they clip the norm of everything together, so that
    one member with a NaN would spoil all.

    Args:
        weights: ``(K, P)``, a row for each member.
        trainings: Their settings; the optimizer must be the same.
        l1: ``(K, P)``: after each step, weights are pulled towards zero by so many times the learning rate, and onto
            it. Default: none are.

    Raises:
        ValueError: If that is none of :data:`lstmreg.training.optimizers.OPTIMIZERS`.
    """

    def __init__(self, weights: nn.Parameter, trainings: Sequence[TrainingConfig], l1: Tensor | None = None) -> None:
        super().__init__([weights], {})
        kind = optimizer_named(trainings[0].optimizer)
        assert all(training.optimizer == trainings[0].optimizer for training in trainings)
        self._step_rows = kind.step_rows

        def column(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64, device=weights.device).unsqueeze(1)

        self._rates = column([t.learning_rate for t in trainings])
        # What no row has is settled here: to look at a tensor in each step would make a GPU wait.
        has_decays = any(t.weight_decay for t in trainings)
        has_clips = any(t.gradient_clip is not None for t in trainings)
        clips = [torch.inf if t.gradient_clip is None else t.gradient_clip for t in trainings]
        self._decays = column([t.weight_decay for t in trainings]) if has_decays else None
        self._clips = column(clips) if has_clips else None
        self._steps = torch.zeros_like(self._rates)
        self._moments = [torch.zeros_like(weights) for _ in range(kind.moments)]
        # The products are rounded once, as those of a network alone are.
        self._pulls = None if l1 is None else (self._rates * l1).to(weights.dtype)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None, rows: Sequence[slice] = (slice(None),)) -> Any:
        """Take a step with some rows; the others stay as they are.

        Args:
            closure: Called first, as torch's optimizers do.
            rows: Which.
        """
        result = None if closure is None else closure()
        (weights,) = self.param_groups[0]["params"]
        for part in rows:
            self._steps[part] += 1
            self._step_rows(
                Rows(
                    weights=weights[part],
                    gradient=_clipped(weights.grad[part], None if self._clips is None else self._clips[part]),
                    rate=self._rates[part],
                    decay=None if self._decays is None else self._decays[part],
                    steps=self._steps[part],
                    moments=[moment[part] for moment in self._moments],
                )
            )
            if self._pulls is not None:
                soft_threshold_(weights[part], self._pulls[part])
        return result

    def keep(self, rows: Tensor) -> None:
        """Forget all but some rows, by their numbers; the caller does so with the weights."""
        for name in ("_rates", "_decays", "_clips", "_steps", "_pulls"):
            kept = getattr(self, name)
            setattr(self, name, None if kept is None else kept[rows])
        self._moments = [moment[rows] for moment in self._moments]


def _clipped(gradient: Tensor, clip: Tensor | None) -> Tensor:
    """Return the gradients, each no longer than its clip."""
    if clip is None:
        return gradient
    norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
    shrink = torch.where(clip < torch.inf, (clip / (norm + 1e-6)).clamp(max=1.0), 1.0)
    return gradient * shrink.to(gradient.dtype)
