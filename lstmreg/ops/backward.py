"""The gradients of the recurrence with tanh and sigmoid, written by hand, for where autograd does not reach.

It goes forward once more to have every step's gates, and then backward through time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .call import Call
from .reference import input_gates


@dataclass(frozen=True)
class Step:
    """One step of the forward pass: ``gates`` i, f, g, o ``(4, B, H)`` after their activations, and the rest."""

    gates: Tensor
    h_before: Tensor
    c_before: Tensor
    tanh_c: Tensor


def gradients(call: Call, grads: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
    """Return the gradients of ``x, h_0, c_0, w_ih, w_hh`` and, if there is one, ``bias``.

    Args:
        call: The call; tanh and sigmoid, no projection.
        grads: Gradients of ``output (T, B, H)``, ``h_n`` and ``c_n (B, H)``.
    """
    weights = call.w_hh.reshape(4, -1, call.w_hh.shape[1])  # (4, H, H)
    steps = _forward(call, weights)
    d_output, d_h, d_c = grads
    d_held = torch.zeros_like(d_h)  # what later steps that hold an output pass back to it
    d_gates = torch.zeros(len(call.x), 4, *call.c_0.shape, dtype=call.x.dtype, device=call.x.device)
    for t in reversed(call.order):
        step = steps[t]
        d_held = d_held + d_output[t]
        now = torch.ones_like(d_h, dtype=torch.bool) if call.valid is None else call.valid[t].unsqueeze(-1)
        d_z, d_c_before = _step_backward(step, (d_h + d_held) * now, d_c * now)
        d_gates[t] = d_z
        d_masked = torch.bmm(d_z, weights)  # (4, B, H)
        if call.recurrent_mask is not None:
            d_masked = d_masked * call.recurrent_mask
        d_h = torch.where(now, d_masked.sum(0), d_h)
        d_c = torch.where(now, d_c_before, d_c)
        d_held = torch.where(now, 0.0, d_held)
    return [_input_gradient(call, d_gates), d_h, d_c, *_weight_gradients(call, d_gates, steps)]


def _forward(call: Call, weights: Tensor) -> dict[int, Step]:
    gates_x = input_gates(call)
    h, c = call.h_0, call.c_0
    steps: dict[int, Step] = {}
    for t in call.order:
        masked = h.expand(4, *h.shape) if call.recurrent_mask is None else call.recurrent_mask * h
        z = torch.baddbmm(gates_x[t].transpose(0, 1), masked.expand(4, *h.shape), weights.mT)
        gates = torch.stack([z[0].sigmoid(), z[1].sigmoid(), z[2].tanh(), z[3].sigmoid()])
        c_next = gates[1] * c + gates[0] * gates[2]
        steps[t] = Step(gates, h, c, c_next.tanh())
        h_next = gates[3] * steps[t].tanh_c
        if call.valid is None:
            h, c = h_next, c_next
        else:
            now = call.valid[t].unsqueeze(-1)
            h, c = torch.where(now, h_next, h), torch.where(now, c_next, c)
    return steps


def _step_backward(step: Step, d_h: Tensor, d_c: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of the gates before their activations, and of the cell state before."""
    i, f, g, o = step.gates
    d_c = d_c + d_h * o * (1 - step.tanh_c.square())
    d_z = torch.stack(
        [
            d_c * g * i * (1 - i),
            d_c * step.c_before * f * (1 - f),
            d_c * i * (1 - g.square()),
            d_h * step.tanh_c * o * (1 - o),
        ]
    )
    return d_z, d_c * f


def _input_gradient(call: Call, d_gates: Tensor) -> Tensor:
    """Return the gradient of ``x``, in one product over all steps."""
    d_masked = torch.einsum("tkbh,khd->ktbd", d_gates, call.w_ih.reshape(4, -1, call.w_ih.shape[1]))
    if call.input_mask is not None:
        d_masked = d_masked * call.input_mask.unsqueeze(1)
    return d_masked.sum(0)


def _weight_gradients(call: Call, d_gates: Tensor, steps: dict[int, Step]) -> list[Tensor]:
    """Return the gradients of ``w_ih``, ``w_hh`` and, if there is one, ``bias``."""
    x = call.x.unsqueeze(0)  # (1 or 4, T, B, D), masked
    h = torch.stack([steps[t].h_before for t in range(len(call.x))]).unsqueeze(0)
    if call.input_mask is not None:
        x = x * call.input_mask.unsqueeze(1)
    if call.recurrent_mask is not None:
        h = h * call.recurrent_mask.unsqueeze(1)
    found = [
        torch.einsum("tkbh,ktbd->khd", d_gates, rows.expand(4, *rows.shape[1:])).reshape(like.shape)
        for rows, like in ((x, call.w_ih), (h, call.w_hh))
    ]
    return found if call.bias is None else [*found, d_gates.sum((0, 2)).reshape(call.bias.shape)]
