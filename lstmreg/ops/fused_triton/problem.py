"""A call as the kernels here read it."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from lstmreg.ops.call import Call

#: What ``valid`` is read as.
_BYTES = torch.uint8


class Problem(NamedTuple):
    """A call of K models, of which a single model is one; all tensors but ``x`` are contiguous."""

    x: Tensor  #: (K, T, B, D), or (1, T, B, D) of models that share it; numbers of a row beside each other
    h_0: Tensor  #: (K, B, H)
    c_0: Tensor  #: (K, B, H)
    w_ih: Tensor  #: (K, 4H, D)
    w_hh: Tensor  #: (K, 4H, H)
    bias: Tensor | None  #: (K, 4H)
    input_mask: Tensor | None  #: (K, G, B, D)
    recurrent_mask: Tensor | None  #: (K, G, B, H)
    valid: Tensor | None  #: (K, T, B), or (1, T, B); bytes
    reverse: bool
    precision: str  #: of products of float32, in Triton's words: "tf32" or "ieee"

    @classmethod
    def of(cls, call: Call) -> Problem:
        """Return that of a call without a projection, whose tensors have one type."""
        one = call.models is None

        def laid(t: Tensor | None) -> Tensor | None:
            return None if t is None else (t.unsqueeze(0) if one else t).resolve_neg().contiguous()

        x = (call.x if call.x.dim() == 4 else call.x.unsqueeze(0)).resolve_neg()
        valid = call.valid if call.valid is None or call.valid.dim() == 3 else call.valid.unsqueeze(0)
        own = (laid(t) for t in (*call.differentiable[1:], call.input_mask, call.recurrent_mask))
        h_0, c_0, w_ih, w_hh, bias, input_mask, recurrent_mask = own
        assert h_0 is not None
        assert c_0 is not None
        assert w_ih is not None
        assert w_hh is not None
        return cls(
            x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous(),
            h_0,
            c_0,
            w_ih,
            w_hh,
            bias,
            input_mask,
            recurrent_mask,
            None if valid is None else valid.contiguous().view(_BYTES),
            call.reverse,
            _precision(),
        )

    @property
    def models(self) -> int:
        """K."""
        return self.w_hh.shape[0]

    @property
    def steps(self) -> int:
        """T."""
        return self.x.shape[1]

    @property
    def batch(self) -> int:
        """B."""
        return self.x.shape[2]

    @property
    def features(self) -> int:
        """D."""
        return self.x.shape[3]

    @property
    def hidden(self) -> int:
        """H."""
        return self.w_hh.shape[2]

    @property
    def x_model(self) -> int:
        """How far the data of a model are from those of the one before."""
        return self.x.stride(0) if len(self.x) > 1 else 0

    @property
    def valid_model(self) -> int:
        """The same of what is valid."""
        return 0 if self.valid is None or len(self.valid) == 1 else self.valid.stride(0)

    @property
    def order(self) -> list[int]:
        """The steps in the order of the pass."""
        return list(reversed(range(self.steps)) if self.reverse else range(self.steps))

    def states_before(self, output: Tensor) -> Tensor:
        """Return ``h`` before each step, ``(K, T, B, H)``, from what was shown after it."""
        shown = output.flip(1) if self.reverse else output
        before = torch.cat([self.h_0.unsqueeze(1), shown[:, :-1]], dim=1)
        if self.valid is not None:  # until the first valid step nothing is shown, and the state is the one before all
            valid = self.valid.flip(1) if self.reverse else self.valid
            has_begun = (valid.cumsum(1) - valid > 0).unsqueeze(-1)
            before = torch.where(has_begun, before, self.h_0.unsqueeze(1))
        return before.flip(1) if self.reverse else before


class Forward(NamedTuple):
    """What a forward pass gives; all of K models."""

    output: Tensor  #: (K, T, B, H)
    h_n: Tensor  #: (K, B, H)
    c_n: Tensor  #: (K, B, H)
    gates: Tensor  #: (K, T, B, 4, W), if they are kept; rows have some numbers more, which are nothing
    cells: Tensor  #: (K, T, B, W), likewise


class Backward(NamedTuple):
    """What a backward pass through time gives."""

    gates: Tensor  #: (K, T, B, 4, W), before their activations
    h_0: Tensor
    c_0: Tensor


def groups(mask: Tensor | None) -> int:
    """Return the number of masks of a sequence: 0, 1 or 4."""
    return 0 if mask is None else mask.shape[1]


def width(hidden: int) -> int:
    """Return the length of a row of gates, or of cell states: whole pieces of memory, of 16 bytes at least."""
    return -(-hidden // 8) * 8


def new_cells(problem: Problem) -> Tensor:
    """Return room for cell states."""
    p = problem
    return p.x.new_empty(p.models, p.steps, p.batch, width(p.hidden))


def tiles(total: int, size: int) -> int:
    """Return how many tiles of a size cover a total; Triton's own function of this takes some microseconds."""
    return -(-total // size)


def padded(size: int) -> int:
    """Return the length of a tile for so many numbers; a product takes no fewer than 16."""
    return max(16, 1 << (size - 1).bit_length())


def _precision() -> str:
    """Return how float32 is multiplied: as torch's own LSTM does it on the same device."""
    asked = torch.backends.cudnn.rnn.fp32_precision  # type: ignore[attr-defined]
    return "tf32" if asked == "tf32" else "ieee"


@functools.cache
def most_shared(device: torch.device) -> int:
    """Return how much shared memory a program can have on a device, in bytes."""
    if device.type != "cuda":  # interpreted
        return 1 << 30
    return int(torch.cuda.get_device_properties(device).shared_memory_per_block_optin)  # type: ignore[attr-defined]
