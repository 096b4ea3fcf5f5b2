"""A Keras layer beside one of ours: the same weights, the same call, and every number compared."""

from __future__ import annotations

import itertools

import keras
import torch
from torch import Tensor, nn

from lstmreg import (
    LSTM,
)

B, T, D, H = 4, 6, 3, 5
KINDS = ("kernel", "recurrent", "bias")


def assert_close(got, expected, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


def make_lstm(*args, **options) -> LSTM:
    lstm = LSTM(*(args or (D, H)), batch_first=True, **options)
    for parameter in lstm.parameters():
        nn.init.normal_(parameter, std=0.4)
    return lstm


def make_twin(ours: LSTM, layer: int = 0, bidirectional: bool = False, **options) -> keras.layers.Layer:
    """Keras' layer with the weights of one layer of ``ours``; it returns sequences and states."""
    lstm = keras.layers.LSTM(H, **{"return_sequences": True, "return_state": True} | options)
    whole = keras.layers.Bidirectional(lstm) if bidirectional else lstm
    whole.build((B, T, getattr(ours, f"weight_ih_l{layer}").shape[1]))
    cells = ours.all_weights[layer * (1 + bidirectional) :]
    for rnn, weights in zip(rnns_of(whole), cells, strict=False):
        rnn.set_weights([w.detach().numpy().T for w in weights[:3]])
    return whole


def rnns_of(layer: keras.layers.Layer) -> list[keras.layers.LSTM]:
    return [layer.forward_layer, layer.backward_layer] if hasattr(layer, "forward_layer") else [layer]


def keras_penalty(layers: list[keras.layers.Layer]) -> Tensor:
    """Keras' losses without those on the two returned states, which it penalises too."""
    total = torch.zeros(())
    for rnn in itertools.chain.from_iterable(map(rnns_of, layers)):
        losses = list(rnn.losses)
        if rnn.activity_regularizer is not None and rnn.return_state:
            del losses[1:3]
        total = total + sum(losses)
    return total


def assert_equal(
    ours: LSTM, layers: list, *, mask=None, masks_of_keras=None, with_states: bool = True, steps: int = T
) -> None:
    """One training call of both: outputs at all steps, states, the penalty, and all gradients."""
    x = torch.randn(B, steps, D, requires_grad=True)
    cells = len(ours.all_weights)
    states = [torch.randn(cells, B, H, requires_grad=True) for _ in range(2)] if with_states else []
    cotangents: list[Tensor] = []

    def measure(results, penalty, parameters) -> list[Tensor]:
        if not cotangents:
            cotangents.extend(torch.randn_like(r) for r in results)
        loss = penalty + sum((r * c).sum() for r, c in zip(results, cotangents, strict=True))
        gradients = torch.autograd.grad(loss, [x, *states, *parameters], allow_unused=True, materialize_grads=True)
        return [*results, penalty, *gradients]

    output, (h_n, c_n) = ours(x, tuple(states) or None, mask=mask)
    got = measure((output, h_n, c_n), ours.penalty(), list(ours.parameters()))

    y, finals = x, []
    theirs_mask = mask if masks_of_keras is None else masks_of_keras
    for layer in layers:
        done = len(finals) // 2
        initial = [s[cell] for cell in range(done, done + len(rnns_of(layer))) for s in states]
        y, *last = layer(y, initial_state=initial or None, mask=theirs_mask, training=True)
        finals += last
    parameters = [v.value for layer in layers for v in layer.trainable_variables]
    results = (y, torch.stack(finals[::2]), torch.stack(finals[1::2]))
    expected = measure(results, keras_penalty(layers), parameters)
    expected = [e if g.shape == e.shape else e.T for g, e in zip(got, expected, strict=True)]
    # No shape is symmetric here, so a transposition would show.
    assert_close(got, expected)
