"""The definition: plain PyTorch, one step after the other, gradients by autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear


def why_not(x: Tensor, **arguments: Any) -> str | None:
    """Return ``None``: the reference serves every argument."""
    return None


def lstm(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor | None,
    *,
    w_hr: Tensor | None,
    input_mask: Tensor | None,
    recurrent_mask: Tensor | None,
    valid: Tensor | None,
    reverse: bool,
    activations: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what :func:`lstmreg.ops.lstm` defines."""
    activation, recurrent_activation = activations
    steps = len(x)
    if steps == 0:
        return x.new_zeros(0, *h_0.shape), h_0, c_0
    gates_x = input_gates(x, w_ih, bias, input_mask)
    recurrent_gates = _RecurrentProduct(w_hh, recurrent_mask)

    h, c = h_0, c_0
    held = torch.zeros_like(h_0)
    outputs: list[Tensor] = [held] * steps
    for t in reversed(range(steps)) if reverse else range(steps):
        i, f, g, o = recurrent_gates.add_to(gates_x[t], h)
        c_next = recurrent_activation(f) * c + recurrent_activation(i) * activation(g)
        h_next = recurrent_activation(o) * activation(c_next)
        if w_hr is not None:
            h_next = linear(h_next, w_hr)
        if valid is None:
            h, c, held = h_next, c_next, h_next
        else:
            now = valid[t].unsqueeze(-1)
            h, c = torch.where(now, h_next, h), torch.where(now, c_next, c)
            held = torch.where(now, h_next, held)
        outputs[t] = held
    return torch.stack(outputs), h, c


def input_gates(x: Tensor, w_ih: Tensor, bias: Tensor | None, mask: Tensor | None) -> tuple[Tensor, ...]:
    """Compute the part of the gates that needs no recurrence, in one product; ``(B, 4, H)`` for each step."""
    steps, batch, features = x.shape
    hidden = len(w_ih) // 4
    if mask is not None and len(mask) == 4:
        masked = (x.unsqueeze(0) * mask.unsqueeze(1)).flatten(1, 2)  # (4, T*B, D)
        weight = w_ih.reshape(4, hidden, features).mT
        gates = torch.bmm(masked, weight) if bias is None else torch.baddbmm(bias.view(4, 1, hidden), masked, weight)
        return gates.view(4, steps, batch, hidden).permute(1, 2, 0, 3).unbind(0)
    return linear(x if mask is None else x * mask, w_ih, bias).reshape(steps, batch, 4, hidden).unbind(0)


class _RecurrentProduct:
    """Adds ``R (m_h * h)`` to a step's gates; the weights are laid out once for the whole pass."""

    def __init__(self, w_hh: Tensor, mask: Tensor | None) -> None:
        self.mask = mask
        self.per_gate = mask is not None and len(mask) == 4
        self.weight = w_hh.reshape(4, -1, w_hh.shape[1]).mT.contiguous() if self.per_gate else w_hh.t()

    def add_to(self, gates_x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        """Return the gates i, f, g, o of a step, ``(B, H)`` each, before their activations."""
        masked = h if self.mask is None else self.mask * h  # (G, B, H), or (B, H) without a mask
        if self.per_gate:
            return torch.baddbmm(gates_x.transpose(0, 1), masked, self.weight).unbind(0)
        return torch.addmm(gates_x.flatten(1), masked.view_as(h), self.weight).chunk(4, dim=1)
