"""One call of the recurrence: the tensors that every file here computes with."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lstmreg.activations import Activation


class Call(NamedTuple):
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
    def models(self) -> int | None:
        """The number of models, ``K``, or ``None`` without that axis."""
        return self.w_hh.shape[0] if self.w_hh.dim() == 3 else None

    @property
    def steps(self) -> int:
        """The number of steps, ``T``."""
        return self.x.shape[-3]

    @property
    def order(self) -> list[int]:
        """The steps in the order of the pass."""
        steps = range(self.steps)
        return list(reversed(steps) if self.reverse else steps)

    @property
    def is_standard(self) -> bool:
        """Whether the activations are tanh and sigmoid."""
        return self.activations == (torch.tanh, torch.sigmoid)


#: ``output (T, B, H)``, ``h_n (B, H)``, ``c_n (B, H)``; a leading ``K`` where the weights have it.
Result = tuple[Tensor, Tensor, Tensor]
