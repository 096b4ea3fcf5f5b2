"""The definition: plain PyTorch, one step after the other, gradients by autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from .call import Call, Result


def why_not(call: Call) -> str | None:
    """Return ``None``: the reference serves every call."""
    return None


def lstm(call: Call) -> Result:
    """Compute what :func:`lstmreg.ops.lstm` defines."""
    if call.models is not None:
        output, h_n, c_n = zip(*(lstm(_member(call, k)) for k in range(call.models)), strict=True)
        return torch.stack(output), torch.stack(h_n), torch.stack(c_n)
    activation, recurrent_activation = call.activations
    if len(call.x) == 0:
        return call.x.new_zeros(0, *call.h_0.shape), call.h_0, call.c_0
    gates_x = input_gates(call)
    recurrent_gates = _RecurrentProduct(call.w_hh, call.recurrent_mask)

    h, c = call.h_0, call.c_0
    held = torch.zeros_like(h)
    outputs = [held] * len(call.x)
    for t in call.order:
        i, f, g, o = recurrent_gates.add_to(gates_x[t], h)
        c_next = recurrent_activation(f) * c + recurrent_activation(i) * activation(g)
        h_next = recurrent_activation(o) * activation(c_next)
        if call.w_hr is not None:
            h_next = linear(h_next, call.w_hr)
        if call.valid is None:
            h, c, held = h_next, c_next, h_next
        else:
            now = call.valid[t].unsqueeze(-1)
            h, c = torch.where(now, h_next, h), torch.where(now, c_next, c)
            held = torch.where(now, h_next, held)
        outputs[t] = held
    return torch.stack(outputs), h, c


def _member(call: Call, k: int) -> Call:
    """Return the call of one model of a population; data that all share have no axis of models."""
    shared = {"x"} if call.x.dim() == 3 else set()
    if call.valid is not None and call.valid.dim() == 2:
        shared.add("valid")
    tensors = {name: t for name, t in call._asdict().items() if isinstance(t, Tensor) and name not in shared}
    own: dict[str, Any] = {name: t[k] for name, t in tensors.items()}
    return call._replace(**own)


def input_gates(call: Call) -> tuple[Tensor, ...]:
    """Compute the part of the gates that needs no recurrence, in one product; ``(B, 4, H)`` for each step."""
    steps, batch, features = call.x.shape
    hidden = len(call.w_ih) // 4
    mask, bias = call.input_mask, call.bias
    if mask is not None and len(mask) == 4:
        masked = (call.x.unsqueeze(0) * mask.unsqueeze(1)).flatten(1, 2)  # (4, T*B, D)
        weight = call.w_ih.reshape(4, hidden, features).mT
        gates = torch.bmm(masked, weight) if bias is None else torch.baddbmm(bias.view(4, 1, hidden), masked, weight)
        return gates.view(4, steps, batch, hidden).permute(1, 2, 0, 3).unbind(0)
    x = call.x if mask is None else call.x * mask
    return linear(x, call.w_ih, bias).reshape(steps, batch, 4, hidden).unbind(0)


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
