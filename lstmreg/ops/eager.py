"""PyTorch operations into buffers made once, and a backward pass written by hand: any device, no compiler."""

from __future__ import annotations

import torch
from torch import Tensor

from lstmreg.tracing import in_forward_mode, in_vmap

from . import recurrence
from .call import Call, Differentiable, Result
from .recurrence import Cotangents, Gradients, Kept


def why_not(call: Call) -> str | None:
    """Return why the backward pass written here cannot serve a call, or ``None`` if it can."""
    if (reason := call.why_not_by_hand()) is not None:
        return reason
    if in_vmap() or in_forward_mode():
        return "it writes into buffers, which torch.vmap cannot batch, and has no forward derivatives"
    return None


def lstm(call: Call) -> Result:
    """Compute what :func:`lstmreg.ops.lstm` defines, for a call that ``why_not`` admits."""
    result, _ = recurrence.run(call, PASSES)
    return result


class _Views:
    """A call's tensors as the passes use them: one model is a population of one, and gates are an axis.

    ``x (K, 1, T, B, D)``, states ``(K, B, H)``, weights ``(K, 4, H, D)`` and ``(K, 4, H, H)``, bias ``(K, 4, H)``,
    masks ``(K, G, B, D)`` and ``(K, G, B, H)``, valid ``(K, T, B, 1)``. Where models share data its ``K`` is 1.
    """

    def __init__(self, call: Call) -> None:
        one = call.models is None
        self.order = call.order

        def lead(tensor: Tensor | None, dims: int) -> Tensor | None:
            return tensor.unsqueeze(0) if tensor is not None and tensor.dim() < dims else tensor

        def of_models(tensor: Tensor) -> Tensor:
            return tensor.unsqueeze(0) if one else tensor

        x = call.x if call.x.dim() == 4 else call.x.unsqueeze(0)
        self.x = x.unsqueeze(1)
        self.h_0, self.c_0 = of_models(call.h_0), of_models(call.c_0)
        self.K, self.B, self.H = self.h_0.shape
        self.T, self.D = call.steps, call.x.shape[-1]
        self.w_ih = of_models(call.w_ih).reshape(self.K, 4, self.H, self.D)
        self.w_hh = of_models(call.w_hh).reshape(self.K, 4, self.H, self.H)
        self.bias = None if call.bias is None else of_models(call.bias).reshape(self.K, 4, self.H)
        self.input_mask = lead(call.input_mask, 4)
        self.recurrent_mask = lead(call.recurrent_mask, 4)
        valid = lead(call.valid, 3)
        self.valid = None if valid is None else valid.unsqueeze(-1)

    def masked_x(self) -> Tensor:
        """Return the input as the gates see it, ``(K or 1, G, T*B, D)``."""
        x = self.x if self.input_mask is None else self.x * self.input_mask.unsqueeze(2)
        return x.flatten(2, 3)

    def masked(self, h: Tensor) -> Tensor:
        """Return a state as the gates see it, ``(4K, B, H)``."""
        h = h.unsqueeze(1) if self.recurrent_mask is None else h.unsqueeze(1) * self.recurrent_mask
        return h.expand(self.K, 4, self.B, self.H).reshape(4 * self.K, self.B, self.H)


class _Passes:
    def result_type(self, call: Call) -> torch.dtype:
        return call.x.dtype

    def kept_shapes(self, call: Call) -> Kept[tuple[int, ...]]:
        steps, (batch, hidden) = call.steps, call.h_0.shape[-2:]
        lead = steps, call.models or 1
        return Kept(gates=(*lead, 4, batch, hidden), cells=(*lead, batch, hidden))

    def forward(self, call: Call, keep: bool) -> tuple[Result, Kept[Tensor] | None]:
        v = _Views(call)
        gates_x = torch.matmul(v.masked_x(), v.w_ih.mT)  # (K, 4, T*B, H)
        if v.bias is not None:
            gates_x += v.bias.unsqueeze(2)
        gates_x = gates_x.view(v.K, 4, v.T, v.B, v.H)
        weights = v.w_hh.mT.reshape(4 * v.K, v.H, v.H)
        gates_shape, cells_shape = self.kept_shapes(call)
        room = v.T if keep else 1
        gates, cells = call.x.new_empty(room, *gates_shape[1:]), call.x.new_empty(room, *cells_shape[1:])
        output = call.x.new_empty(v.T, v.K, v.B, v.H)
        h, c, held = v.h_0, v.c_0, torch.zeros_like(v.h_0)
        for t in v.order:
            z, c_next = gates[t % room], cells[t % room]
            z.copy_(gates_x[:, :, t])
            z.view(4 * v.K, v.B, v.H).baddbmm_(v.masked(h), weights)
            z[:, :2].sigmoid_()
            z[:, 2].tanh_()
            z[:, 3].sigmoid_()
            i, f, g, o = z.unbind(1)
            if v.valid is None:
                c = torch.mul(f, c, out=c_next).addcmul_(i, g)
                h = torch.mul(o, torch.tanh(c), out=output[t])
                continue
            now = v.valid[:, t]
            c_valid = (f * c).addcmul_(i, g)
            h_valid = o * torch.tanh(c_valid)
            c, h, held = torch.where(now, c_valid, c), torch.where(now, h_valid, h), torch.where(now, h_valid, held)
            c_next.copy_(c)
            output[t] = held
        result = output.transpose(0, 1), h.clone(), c.clone()
        if call.models is None:
            result = result[0][0], result[1][0], result[2][0]
        return result, Kept(gates, cells) if keep else None

    def backward(
        self, call: Call, output: Tensor, kept: Kept[Tensor], grads: Cotangents, needed: Differentiable[bool]
    ) -> Gradients:
        v, (gates, cells) = _Views(call), kept
        d_output, d_h, d_c = (None if g is None else g if call.models is not None else g.unsqueeze(0) for g in grads)
        outputs = output if call.models is not None else output.unsqueeze(0)
        d_h = torch.zeros_like(v.h_0) if d_h is None else d_h
        d_c = torch.zeros_like(v.c_0) if d_c is None else d_c
        d_held = torch.zeros_like(v.h_0)  # what later steps that hold an output pass back to it
        before = torch.empty_like(outputs)  # h before each step
        weights = v.w_hh.reshape(4 * v.K, v.H, v.H)
        d_gates = torch.empty_like(gates)
        begun = torch.zeros_like(v.h_0[..., :1], dtype=torch.bool)
        for place, t in enumerate(v.order):
            before[:, t] = v.h_0 if place == 0 else outputs[:, v.order[place - 1]]
            if v.valid is not None:  # nothing is shown before the first valid step, and the state is h_0
                before[:, t] = torch.where(begun, before[:, t], v.h_0)
                begun = begun | v.valid[:, t]
        for place, t in reversed(list(enumerate(v.order))):
            c_before = v.c_0 if place == 0 else cells[v.order[place - 1]]
            d_here = d_held if d_output is None else d_held + d_output[:, t]
            i, f, g, o = gates[t].unbind(1)
            tanh_c = torch.tanh(cells[t])
            d_h_total = d_h + d_here
            d_c_total = d_c + d_h_total * o * (1 - tanh_c.square())
            d_i, d_f, d_g, d_o = d_gates[t].unbind(1)
            torch.mul(d_c_total * g, i * (1 - i), out=d_i)
            torch.mul(d_c_total * c_before, f * (1 - f), out=d_f)
            torch.mul(d_c_total * i, 1 - g.square(), out=d_g)
            torch.mul(d_h_total * tanh_c, o * (1 - o), out=d_o)
            d_c_before = d_c_total * f
            if v.valid is not None:
                now = v.valid[:, t]
                d_gates[t].masked_fill_(~now.unsqueeze(1), 0)
                d_c_before = torch.where(now, d_c_before, d_c)
                d_held = torch.where(now, 0.0, d_here)
            d_masked = torch.bmm(d_gates[t].view(4 * v.K, v.B, v.H), weights).view(v.K, 4, v.B, v.H)
            if v.recurrent_mask is not None:
                d_masked *= v.recurrent_mask
            d_h_before = d_masked.sum(1)
            d_h = d_h_before if v.valid is None else torch.where(now, d_h_before, d_h)
            d_c = d_c_before
        return self._gradients(call, v, d_gates, before, d_h, d_c)

    def _gradients(self, call: Call, v: _Views, d_gates: Tensor, before: Tensor, d_h: Tensor, d_c: Tensor) -> Gradients:
        rows = d_gates.permute(1, 2, 0, 3, 4).reshape(v.K, 4, v.T * v.B, v.H)
        d_x = torch.matmul(rows, v.w_ih).view(v.K, 4, v.T, v.B, v.D)
        if v.input_mask is not None:
            d_x *= v.input_mask.unsqueeze(2)
        d_x = d_x.sum(1)
        if v.recurrent_mask is None:
            inputs = before.unsqueeze(1)
        else:
            inputs = before.unsqueeze(1) * v.recurrent_mask.unsqueeze(2)
        x, h = v.masked_x(), inputs.flatten(2, 3)
        if v.valid is not None:  # what is not valid may be anything, NaN too
            absent = ~v.valid.flatten(1, 2).unsqueeze(1)
            x, h = x.masked_fill(absent, 0), h.masked_fill(absent, 0)
        found = [
            d_x.sum(0) if call.x.dim() == 3 else d_x,
            d_h,
            d_c,
            torch.matmul(rows.mT, x),
            torch.matmul(rows.mT, h),
            None if call.bias is None else rows.sum(2),
        ]
        shapes = [None if t is None else t.shape for t in call.differentiable]
        return Differentiable._make(
            None if g is None or s is None else g.reshape(s) for g, s in zip(found, shapes, strict=True)
        )


PASSES = _Passes()
