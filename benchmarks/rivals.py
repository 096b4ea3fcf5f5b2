"""The layers that are compared: torch's, lstmreg's with its knobs, and the loops that people write by hand.

Each is held to what its knobs mean before it is timed: the same masks, the same penalties, every gradient.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from harness import Size
from torch import Tensor, nn
from torch.nn import functional

from lstmreg import L2, LSTM

RATE = 0.3
STRENGTH = 1e-4

_TIED_MASK = {"recurrent_dropout": RATE, "per_gate_masks": False}
_SIX = {
    "dropout": RATE,
    "recurrent_dropout": RATE,
    "kernel_regularizer": L2(STRENGTH),
    "recurrent_regularizer": L2(STRENGTH),
    "bias_regularizer": L2(STRENGTH),
    "activity_regularizer": L2(STRENGTH),
}


class PlainLoop(nn.Module):
    """All six knobs as one writes them by hand: step by step, gate by gate, a mask for each."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden, features))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden, hidden))
        self.bias = nn.Parameter(torch.empty(4 * hidden))

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        _, batch, features = x.shape
        output, h, c = self.loop(x, _masks(4, batch, features, x), _masks(4, batch, self.weight_hh.shape[1], x))
        self.activity = STRENGTH * output.square().sum() / batch
        return output, (h, c)

    def loop(self, x: Tensor, x_masks: Tensor, h_masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        W, R, b = self.weight_ih.chunk(4), self.weight_hh.chunk(4), self.bias.chunk(4)
        h = c = x.new_zeros(h_masks.shape[1:])
        outputs = []
        for x_t in x:
            i, f, g, o = (
                functional.linear(x_t * x_masks[k], W[k], b[k]) + functional.linear(h * h_masks[k], R[k])
                for k in range(4)
            )
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        return torch.stack(outputs), h, c

    def penalty(self) -> Tensor:
        weights = self.weight_ih, self.weight_hh, self.bias
        return self.activity + sum(STRENGTH * w.square().sum() for w in weights)


class CellLoop(nn.Module):
    """Recurrent dropout as one builds it around ``nn.LSTMCell``: one mask for all gates."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(features, hidden)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        h = c = x.new_zeros(x.shape[1], self.cell.hidden_size)
        mask = _masks(1, *h.shape, x)[0]
        outputs = []
        for x_t in x:
            h, c = self.cell(x_t, (h * mask, c))
            outputs.append(h)
        return torch.stack(outputs), (h, c)


def _compiled_loop(features: int, hidden: int) -> PlainLoop:
    layer = PlainLoop(features, hidden)
    layer.loop = torch.compile(layer.loop)  # not the drawing: compiled code has other random numbers for a seed
    return layer


def _masks(groups: int, batch: int, width: int, like: Tensor) -> Tensor:
    from lstmreg.dropout import draw_mask  # here, since the gate measures older layers, which may draw otherwise

    # lstmreg's own drawing, so that a seed means the same masks to all; beside a loop it costs nothing.
    return draw_mask(RATE, groups, batch, width, device=like.device, dtype=like.dtype)


# ---------------------------------------------------------------------- all of them


class Rival(NamedTuple):
    """How to make a layer of ``D`` features and ``H`` units, and the knobs of lstmreg that it stands for."""

    make: Callable[[int, int], nn.Module]
    knobs: dict[str, Any]


def _lstmreg(**knobs: Any) -> Rival:
    return Rival(partial(LSTM, **knobs), knobs)


RIVALS = {
    "nn.LSTM": Rival(nn.LSTM, {}),
    "lstmreg": _lstmreg(),
    "lstmreg tied mask": _lstmreg(**_TIED_MASK),
    "lstmreg six tied": _lstmreg(**_SIX, per_gate_masks=False),
    "lstmreg six": _lstmreg(**_SIX),
    "LSTMCell loop": Rival(CellLoop, _TIED_MASK),
    "plain loop": Rival(PlainLoop, _SIX),
    "compiled loop": Rival(_compiled_loop, _SIX),
}


class Step:
    """A step of training without the optimizer: gradients cleared, forward, backward.

    The loss is the output's product with a fixed random cotangent, plus the penalty where there is one. With ``short``
    the forward pass runs under autocast to that type; tensors lie on ``device`` and have ``dtype``.
    """

    def __init__(
        self,
        rival: Rival,
        size: Size,
        short: torch.dtype | None = None,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.short = short
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(size.T, size.B, size.D, generator=generator).to(device, dtype).requires_grad_()
        self.cotangent = torch.randn(size.T, size.B, size.H, generator=generator).to(device, dtype)
        self.layer = rival.make(size.D, size.H).to(device, dtype)
        self.has_penalty = "kernel_regularizer" in rival.knobs
        # All name them differently and have them in one order; a second bias, where there is one, is zero.
        shapes = (4 * size.H, size.D), (4 * size.H, size.H), (4 * size.H,)
        weights = [torch.randn(shape, generator=generator) * size.H**-0.5 for shape in shapes]
        with torch.no_grad():
            for parameter in self.layer.parameters():
                parameter.copy_(weights.pop(0) if weights else torch.zeros(()))

    def __call__(self) -> tuple[Tensor, Tensor | None]:
        """Take the step and return output and penalty; gradients are where autograd leaves them."""
        self.layer.zero_grad(set_to_none=True)
        self.x.grad = None
        with torch.autocast(self.x.device.type, self.short, enabled=self.short is not None):
            output, _ = self.layer(self.x)
            penalty = self.layer.penalty() if self.has_penalty else None
        cotangent = self.cotangent.to(output.dtype)
        if penalty is None:
            output.backward(cotangent)
        else:
            torch.autograd.backward((output, penalty), (cotangent, None))
        return output, penalty


def checked_step(name: str, size: Size, short: torch.dtype | None = None) -> Step:
    """Return a rival's step, having compared all its numbers with those of lstmreg's plain reference in float32.

    The same seed gives all of them the same masks.
    """
    rival = RIVALS[name]
    definition = Rival(partial(LSTM, **rival.knobs, backend="reference"), rival.knobs)
    step = Step(rival, size, short)
    allowed = 1e-4 if short is None else 0.05
    found, expected = _numbers(step), _numbers(Step(definition, size))
    for what, wanted in expected.items():
        error, scale = float((found[what] - wanted).abs().max()), float(wanted.abs().max())
        if not error <= allowed * scale:
            sys.exit(f"{name} at {size}: {what} must be the reference's, but differs by {error:.1e} of {scale:.1e}.")
    return step


def _numbers(step: Step) -> dict[str, Tensor]:
    torch.manual_seed(0)
    cotangent, step.cotangent = step.cotangent, 1e-4 * step.cotangent  # so small that penalties show in the gradients
    output, penalty = step()
    step.cotangent = cotangent
    gradients = zip(("x", "w_ih", "w_hh", "bias"), (step.x, *step.layer.parameters()), strict=False)
    numbers = {"output": output.detach()} | {f"gradient of {what}": leaf.grad for what, leaf in gradients}
    return numbers if penalty is None else numbers | {"penalty": penalty.detach()}
