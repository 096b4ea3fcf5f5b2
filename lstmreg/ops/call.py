"""One call of the recurrence: the tensors that every file here computes with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lstmreg.activations import Activation


@dataclass(frozen=True)
class Call:
    """The arguments of :func:`lstmreg.ops.lstm`, which describes them."""

    x: Tensor
    h_0: Tensor
    c_0: Tensor
    w_ih: Tensor
    w_hh: Tensor
    bias: Tensor | None
    w_hr: Tensor | None = None
    input_mask: Tensor | None = None
    recurrent_mask: Tensor | None = None
    valid: Tensor | None = None
    reverse: bool = False
    activations: tuple[Activation, Activation] = (torch.tanh, torch.sigmoid)

    @property
    def order(self) -> list[int]:
        """The steps in the order of the pass."""
        steps = range(len(self.x))
        return list(reversed(steps) if self.reverse else steps)

    @property
    def is_standard(self) -> bool:
        """Whether the activations are tanh and sigmoid."""
        return self.activations == (torch.tanh, torch.sigmoid)


#: ``output (T, B, H)``, ``h_n (B, H)``, ``c_n (B, H)``.
Result = tuple[Tensor, Tensor, Tensor]
