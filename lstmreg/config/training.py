"""How one model is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lstmreg.rules import NOT_NEGATIVE, POSITIVE, RATE, SEED, between, check_section, require, ruled


@dataclass(frozen=True)
class TrainingConfig:
    """How one model is trained.

    Args:
        learning_rate: Step size of the optimizer.
        optimizer: Which of torch's optimizers.
        weight_decay: The optimizer's weight decay.
        gradient_clip: Largest norm of the whole gradient, or null for none.
        loss: What is minimized on the data: mean squared, mean absolute or Huber error, of scaled targets; or the cross
            entropy of classes. Null: what suits the task, mse where it predicts numbers and cross_entropy where it
            predicts classes.
        batch_size: Cases in a batch, B: windows, or sequences.
        max_epochs: Where training ends at the latest.
        patience: Epochs in a row without a lower validation loss (the mean over all of its windows) after which
            training stops, or null for never.
        min_delta: By how much a validation loss must be lower to count as better.
        seed: Decides initial weights, batch order and masks, each from a stream of its own.
        keep: Whose weights remain: those of the epoch with the lowest validation loss, or of the last one.
        label_smoothing: Of cross_entropy, in [0, 1): the part of a target that is shared by all classes.
        class_weight: Of cross_entropy: balanced, so that rare classes count as much as frequent ones, or null.
        proximal: Whether the L1 on weights is done by a step of its own after each step of the optimizer, so that
            weights become exactly zero, and not by the gradient.
        precision: What steps of training and validation compute in: 32-true, the network's own type, or bf16-mixed,
            bfloat16 where torch's autocast has it (as Lightning names them). Weights stay in their own type.
    """

    learning_rate: float = field(default=0.003, metadata=ruled(POSITIVE))
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: float = field(default=0.0, metadata=ruled(NOT_NEGATIVE))
    gradient_clip: float | None = field(default=None, metadata=ruled(POSITIVE))
    loss: Literal["mse", "mae", "huber", "cross_entropy"] | None = None
    batch_size: int = field(default=32, metadata=ruled(between(1)))
    max_epochs: int = field(default=200, metadata=ruled(between(1)))
    patience: int | None = field(default=20, metadata=ruled(between(1)))
    min_delta: float = field(default=0.0, metadata=ruled(NOT_NEGATIVE))
    seed: int = field(default=0, metadata=ruled(SEED, is_searchable=False))
    keep: Literal["best", "last"] = "best"
    label_smoothing: float = field(default=0.0, metadata=ruled(RATE))
    class_weight: Literal["balanced"] | None = None
    proximal: bool = False
    precision: Literal["32-true", "bf16-mixed"] = "32-true"

    def __post_init__(self) -> None:
        check_section(self, "training.")
        if self.loss in (None, "cross_entropy"):
            return
        for name, off in (("label_smoothing", 0.0), ("class_weight", None)):
            value = getattr(self, name)
            shown = "null" if off is None else "0"
            require(value == off, f"training.{name}", f"{shown} where training.loss is {self.loss}", value)
