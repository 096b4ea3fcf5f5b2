"""torch's own LSTM (oneDNN, cuDNN), for calls in which nothing is dropped inside the loop."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lstmreg.tracing import is_compiling

from .call import Call, Result


def why_not(call: Call) -> str | None:
    """Return why torch's LSTM cannot serve a call, or ``None`` if it can."""
    if call.recurrent_mask is not None:
        return "it has no recurrent dropout"
    if call.input_mask is not None and len(call.input_mask) != 1:
        return "it has one product for all gates, so no input mask per gate"
    if not call.is_standard:
        return "its activations are tanh and sigmoid"
    if call.x.shape[0] == 0 or call.x.shape[1] == 0:
        return "it needs at least one step and one sequence"
    if call.models is not None:
        return "it trains one model at a time"
    if call.valid is not None and is_compiling():
        return "it looks at what is valid, which is not known while compiling"
    if call.valid is not None and not (call.valid[0].all() and (call.valid[1:] <= call.valid[:-1]).all()):
        return "it skips steps only at the end of a sequence"
    return None


def lstm(call: Call) -> Result:
    """Compute what :func:`lstmreg.ops.lstm` defines, for a call that ``why_not`` admits."""
    x = call.x if call.input_mask is None else call.x * call.input_mask
    if call.valid is None:
        output, h_n, c_n = _run(call, x.flip(0) if call.reverse else x, call.h_0, call.c_0)
        return (output.flip(0) if call.reverse else output), h_n, c_n
    return _over_prefixes(call, x, call.valid)


def stack(x: Tensor, states: tuple[Tensor, Tensor], weights: list[list[Tensor]], *, bias: bool, layers: int) -> Result:
    """Run all layers and directions in one call, of a layer that asks for nothing that torch's LSTM has not.

    Args:
        x: Input ``(T, B, D)``.
        states: ``h_0`` and ``c_0``, ``(layers * directions, B, H)`` each.
        weights: Those of each cell, as ``nn.LSTM.all_weights`` lists them.
        bias: Whether there are biases among them.
        layers: Number of layers.

    Returns:
        ``output (T, B, directions * H)``, ``h_n`` and ``c_n`` as ``states``.
    """
    flat = [weight for cell in weights for weight in cell]
    two_ways = len(weights) > layers
    result: Result = torch._VF.lstm(x, states, flat, bias, layers, 0.0, torch.is_grad_enabled(), two_ways, False)
    return result


def _run(call: Call, x: Tensor, h_0: Tensor, c_0: Tensor, batch_sizes: Tensor | None = None) -> Result:
    """Run torch's LSTM over ``x (T, B, D)``, or over packed rows."""
    weights = [call.w_ih, call.w_hh]
    if call.bias is not None:
        weights += [call.bias, torch.zeros_like(call.bias)]  # torch adds two biases; ours is one
    if call.w_hr is not None:
        weights.append(call.w_hr)
    states = [h_0.unsqueeze(0), c_0.unsqueeze(0)]
    # cuDNN keeps what its backward needs only if it is told that it trains.
    settings = (weights, call.bias is not None, 1, 0.0, torch.is_grad_enabled(), False)
    if batch_sizes is None:
        output, h_n, c_n = torch._VF.lstm(x, states, *settings, False)
    else:
        output, h_n, c_n = torch._VF.lstm(x, batch_sizes, states, *settings)
    return output, h_n[0], c_n[0]


def _over_prefixes(call: Call, x: Tensor, valid: Tensor) -> Result:
    """Run sequences that are valid up to some step, by packing them."""
    lengths = valid.sum(0)
    if call.reverse:
        x = _reverse_prefixes(x, lengths)
    packed = pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
    order, back = packed.sorted_indices, packed.unsorted_indices
    assert order is not None
    assert back is not None
    data, h_n, c_n = _run(call, packed.data, call.h_0[order], call.c_0[order], packed.batch_sizes)
    output, _ = pad_packed_sequence(packed._replace(data=data), total_length=len(x))
    h_n, c_n = h_n[back], c_n[back]
    if call.reverse:
        # In reversed time the steps after the end come first, and an output before the first valid step is zero.
        return _reverse_prefixes(output, lengths), h_n, c_n
    return torch.where(valid.unsqueeze(-1), output, h_n), h_n, c_n


def _reverse_prefixes(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse the first ``lengths[b]`` steps of each sequence and leave the rest in place."""
    t = torch.arange(len(x), device=x.device).unsqueeze(1)
    source = torch.where(t < lengths, lengths - 1 - t, t)
    return x.gather(0, source.unsqueeze(-1).expand_as(x))
