"""torch's SGD, Adam and AdamW for a population: a learning rate, weight decay and gradient clip for each member."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lstmreg.config import TrainingConfig

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8  # torch's defaults, which fit uses too


class MemberOptimizer(torch.optim.Optimizer):
    """Steps each row of a tensor as an optimizer of its own would.

    torch's optimizers have one learning rate for a tensor; and they clip the norm of everything together, so that
    one member with a NaN would spoil all.

    Args:
        weights: ``(K, P)``, a row for each member.
        trainings: Their settings; the optimizer must be the same.
    """

    def __init__(self, weights: nn.Parameter, trainings: Sequence[TrainingConfig]) -> None:
        super().__init__([weights], {})
        self._kind = trainings[0].optimizer

        def column(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64, device=weights.device).unsqueeze(1)

        self._rates = column([t.learning_rate for t in trainings])
        self._decays = column([t.weight_decay for t in trainings])
        self._clips = column([torch.inf if t.gradient_clip is None else t.gradient_clip for t in trainings])
        self._steps = torch.zeros_like(self._rates)
        self._moments = [torch.zeros_like(weights) for _ in range(0 if self._kind == "sgd" else 2)]

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
            self._step(weights[part], weights.grad[part], part)
        return result

    def keep(self, rows: Tensor) -> None:
        """Forget all but some rows, by their numbers; the caller does so with the weights."""
        for name in ("_rates", "_decays", "_clips", "_steps"):
            setattr(self, name, getattr(self, name)[rows])
        self._moments = [moment[rows] for moment in self._moments]

    def _step(self, w: Tensor, gradient: Tensor, part: slice) -> None:
        dtype = w.dtype
        rate, decay, clip = self._rates[part], self._decays[part], self._clips[part]
        if bool((clip < torch.inf).any()):
            norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
            shrink = torch.where(clip < torch.inf, (clip / (norm + 1e-6)).clamp(max=1.0), 1.0)
            gradient = gradient * shrink.to(dtype)
        if bool(decay.any()):
            if self._kind == "adamw":
                w.mul_((1 - rate * decay).to(dtype))
            else:
                gradient = torch.addcmul(gradient, w, decay.to(dtype))
        if self._kind == "sgd":
            w.addcmul_(gradient, -rate.to(dtype))
            return
        self._steps[part] += 1
        count = self._steps[part]
        mean, square = (moment[part] for moment in self._moments)
        mean.lerp_(gradient, 1 - _BETA_1)
        square.mul_(_BETA_2).addcmul_(gradient, gradient, value=1 - _BETA_2)
        root = (1 - _BETA_2**count).sqrt().to(dtype)
        denominator = square.sqrt().div_(root).add_(_EPSILON)
        size = (-rate / (1 - _BETA_1**count)).to(dtype)
        w.add_(torch.div(mean, denominator, out=denominator).mul_(size))
