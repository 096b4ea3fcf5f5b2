"""``training.precision``: what it means to torch."""

from __future__ import annotations

import torch

from lstmreg.config import TrainingConfig


def is_mixed(training: TrainingConfig) -> bool:
    """Tell whether steps are computed in bfloat16 where that will do."""
    return training.precision == "bf16-mixed"


def autocast(training: TrainingConfig, device: torch.device) -> torch.autocast:
    """Return the context of a step, as Lightning makes it of the same name."""
    return torch.autocast(device.type, torch.bfloat16, enabled=is_mixed(training))
