"""torch's own LSTM (oneDNN, cuDNN), for calls in which nothing is dropped inside the loop."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lstmreg.tracing import in_forward_mode, in_vmap, is_compiling, is_recorded

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
    if in_vmap() or in_forward_mode():
        return "it has no rule for torch.vmap and no forward derivatives"
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


def stack(
    x: Tensor,
    states: tuple[Tensor, Tensor],
    weights: list[list[Tensor]],
    *,
    bias: bool,
    layers: int,
    batch_sizes: Tensor | None = None,
) -> Result:
    """Run all layers and directions in one call, of a layer that asks for nothing that torch's LSTM has not.

    Args:
        x: Input ``(T, B, D)``, or the rows of a ``PackedSequence``.
        states: ``h_0`` and ``c_0``, ``(layers * directions, B, H)`` each.
        weights: Those of each cell, as ``nn.LSTM.all_weights`` lists them.
        bias: Whether there are biases among them.
        layers: Number of layers.
        batch_sizes: Those of the ``PackedSequence``; the states are then in its order.

    Returns:
        ``output (T, B, directions * H)``, or rows as packed, ``h_n`` and ``c_n`` as ``states``.
    """
    flat = [weight for cell in weights for weight in cell]
    return _torchs_lstm(x, batch_sizes, states, (flat, bias, layers, 0.0, _keeps(), len(weights) > layers))


def _keeps() -> bool:
    """Tell torch's LSTM whether it "trains", that is, whether it keeps what a backward pass needs.

    On the CPU it always does, and nothing depends on this. cuDNN does if it is told so, and its backward pass refuses
    to run after a forward pass that was not; ``nn.LSTM`` says ``self.training``, so that in eval mode its gradients
    cannot be had on a GPU. Here they are kept wherever somebody may ask for them. A recorded trace is one of these
    places, and it may not depend on who records it: ``torch.jit.trace`` does it again without gradients and compares.
    """
    return torch.is_grad_enabled() or is_recorded()


def _torchs_lstm(
    x: Tensor,
    batch_sizes: Tensor | None,
    states: tuple[Tensor, Tensor],
    settings: tuple[list[Tensor], bool, int, float, bool, bool],
) -> Result:
    result: Result
    if batch_sizes is None:
        result = torch._VF.lstm(x, states, *settings, False)
    else:
        result = torch._VF.lstm(x, batch_sizes, states, *settings)
    return result


def _run(call: Call, x: Tensor, h_0: Tensor, c_0: Tensor, batch_sizes: Tensor | None = None) -> Result:
    """Run torch's LSTM over ``x (T, B, D)``, or over packed rows."""
    weights = [call.w_ih, call.w_hh]
    if call.bias is not None:
        weights += [call.bias, torch.zeros_like(call.bias)]  # torch adds two biases; ours is one
    if call.w_hr is not None:
        weights.append(call.w_hr)
    states = h_0.unsqueeze(0), c_0.unsqueeze(0)
    settings = (weights, call.bias is not None, 1, 0.0, _keeps(), False)
    output, h_n, c_n = _torchs_lstm(x, batch_sizes, states, settings)
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
