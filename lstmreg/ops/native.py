"""torch's own LSTM (oneDNN, cuDNN), for calls in which nothing is dropped inside the loop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def why_not(
    x: Tensor,
    *,
    input_mask: Tensor | None,
    recurrent_mask: Tensor | None,
    valid: Tensor | None,
    activations: Any,
    **_: Any,
) -> str | None:
    """Return why torch's LSTM cannot serve these arguments, or ``None`` if it can."""
    if recurrent_mask is not None:
        return "it has no recurrent dropout"
    if input_mask is not None and len(input_mask) != 1:
        return "it has one product for all gates, so no input mask per gate"
    if activations != (torch.tanh, torch.sigmoid):
        return "its activations are tanh and sigmoid"
    if x.shape[0] == 0 or x.shape[1] == 0:
        return "it needs at least one step and one sequence"
    if valid is not None and not (valid[0].all() and (valid[1:] <= valid[:-1]).all()):
        return "it skips steps only at the end of a sequence"
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
    valid: Tensor | None,
    reverse: bool,
    **_: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what :func:`lstmreg.ops.lstm` defines, for the arguments that ``why_not`` admits."""
    if input_mask is not None:
        x = x * input_mask
    # torch adds two biases; ours is one.
    weights = [w_ih, w_hh] if bias is None else [w_ih, w_hh, bias, torch.zeros_like(bias)]
    if w_hr is not None:
        weights.append(w_hr)
    states = [h_0.unsqueeze(0), c_0.unsqueeze(0)]
    if valid is None:
        output, h_n, c_n = torch._VF.lstm(
            x.flip(0) if reverse else x,
            states,
            weights,
            bias is not None,
            1,
            0.0,
            torch.is_grad_enabled(),  # cuDNN keeps what its backward needs only if told so
            False,
            False,
        )
        return (output.flip(0) if reverse else output), h_n[0], c_n[0]
    return _lstm_over_prefixes(x, states, weights, bias is not None, valid, reverse)


def _lstm_over_prefixes(
    x: Tensor, states: list[Tensor], weights: list[Tensor], has_bias: bool, valid: Tensor, reverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Run sequences that are valid up to some step, by packing them."""
    lengths = valid.sum(0)
    if reverse:
        x = _reverse_prefixes(x, lengths)
    packed = pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
    order, back = packed.sorted_indices, packed.unsorted_indices
    assert order is not None
    assert back is not None
    data, h_n, c_n = torch._VF.lstm(
        packed.data,
        packed.batch_sizes,
        [s.index_select(1, order) for s in states],
        weights,
        has_bias,
        1,
        0.0,
        torch.is_grad_enabled(),
        False,
    )
    output, _ = pad_packed_sequence(packed._replace(data=data), total_length=len(x))
    h_n, c_n = h_n[0].index_select(0, back), c_n[0].index_select(0, back)
    if reverse:
        # In reversed time the steps after the end come first, and an output before the first valid step is zero.
        return _reverse_prefixes(output, lengths), h_n, c_n
    return torch.where(valid.unsqueeze(-1), output, h_n), h_n, c_n


def _reverse_prefixes(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse the first ``lengths[b]`` steps of each sequence and leave the rest in place."""
    t = torch.arange(len(x), device=x.device).unsqueeze(1)
    source = torch.where(t < lengths, lengths - 1 - t, t)
    return x.gather(0, source.unsqueeze(-1).expand_as(x))
