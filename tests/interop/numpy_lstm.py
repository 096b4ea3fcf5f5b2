"""An LSTM in NumPy, from Keras' equations and in Keras' layout: another way to the same numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray
Activation = Callable[[Array], Array]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def hard_sigmoid_of_keras_2(x: Array) -> Array:
    return np.clip(0.2 * x + 0.5, 0, 1)


def lstm(
    x: Array,
    kernel: Array,
    recurrent: Array,
    bias: Array | None = None,
    *,
    activation: Activation = np.tanh,
    recurrent_activation: Activation = sigmoid,
    mask: Array | None = None,
    zero_output_for_mask: bool = False,
    go_backwards: bool = False,
    initial_state: tuple[Array, Array] | None = None,
) -> tuple[Array, Array, Array]:
    """Return the output of each step as Keras orders it, and the last states.

    Args:
        x: ``(B, T, D)``.
        kernel: ``(D, 4H)``, the gates i, f, c, o side by side.
        recurrent: ``(H, 4H)``.
        bias: ``(4H)``.
        activation: Of the candidate and of the cell.
        recurrent_activation: Of the gates.
        mask: ``(B, T)``: at a step that is false the states stay.
        zero_output_for_mask: Whether the output is zero there; else it is the one before.
        go_backwards: Whether to begin with the last step; the outputs are in the order in which they were made.
        initial_state: ``h`` and ``c``, each ``(B, H)``.
    """
    batch, steps, _ = x.shape
    units = recurrent.shape[0]
    x = x.astype(np.float64)
    h, c = (np.zeros((batch, units)), np.zeros((batch, units))) if initial_state is None else initial_state
    previous = np.zeros((batch, units))
    outputs = []
    for t in reversed(range(steps)) if go_backwards else range(steps):
        z = x[:, t] @ kernel + h @ recurrent + (0 if bias is None else bias)
        i, f, candidate, o = np.split(z, 4, axis=1)
        c_new = recurrent_activation(f) * c + recurrent_activation(i) * activation(candidate)
        h_new = recurrent_activation(o) * activation(c_new)
        if mask is None:
            h, c, previous = h_new, c_new, h_new
        else:
            seen = mask[:, t, None]
            h, c = np.where(seen, h_new, h), np.where(seen, c_new, c)
            previous = np.where(seen, h_new, 0 if zero_output_for_mask else previous)
        outputs.append(previous)
    return np.stack(outputs, axis=1), h, c
