"""Weights as Keras 1 and cuDNN kept them, turned into those of today; and what a weight is, by its name."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from lstmreg.errors import CorruptFileError

from ..file.container import Array

#: Weights of a layer: Keras' name of each, with its path, and its values.
Named = list[tuple[str, Array]]

#: What Keras 1 called a weight, for what it is called now.
ALIASES = {
    ("kernel", "W"): "kernel",
    ("embeddings", "W"): "embeddings",
    ("recurrent_kernel", "U"): "recurrent_kernel",
    ("bias", "b"): "bias",
    ("moving_mean", "running_mean"): "moving_mean",
    ("moving_variance", "running_std"): "moving_variance",
}

_NAMES = [
    "recurrent_kernel",
    "kernel",
    "bias",
    "embeddings",
    "gamma",
    "beta",
    "moving_mean",
    "moving_variance",
    "running_mean",
    "running_std",
    "W",
    "U",
    "b",
]


def plain_name(name: str) -> str:
    """Return what a weight is, of its path and its number: ``kernel`` of ``lstm_1/lstm_cell/kernel:0``."""
    last = re.sub(r":\d+$", "", name.replace("\\", "/").split("/")[-1])
    last = re.sub(r"(?<=[a-z])_\d+$", "", last)
    return next((known for known in _NAMES if last == known or last.endswith(f"_{known}")), last)


def modern_weights(weights: Named) -> Named:
    """Return weights as Keras 2 and 3 keep them: an LSTM's gates in one array, in the order i, f, c, o."""
    return _from_cudnn(_from_gates(weights))


def _from_gates(weights: Named) -> Named:
    """Join the gates that Keras 1 kept apart, each run of twelve arrays in the order of their names."""
    found: Named = []
    index = 0
    while index < len(weights):
        run = weights[index : index + 12]
        gates = {}
        for name, array in run:
            if match := re.search(r"(?:^|_)([WUb])_([ifco])(?::\d+)?$", name):
                gates[match[1], match[2]] = array
        if len(gates) == 12:
            stem = re.sub(r"_W_[ifco](:\d+)?$", "", run[0][0])
            for kind in "WUb":
                found.append((f"{stem}_{kind}", _joined([gates[kind, gate] for gate in "ifco"])))
            index += 12
        else:
            found.append(weights[index])
            index += 1
    return found


def _joined(gates: Sequence[Array]) -> Array:
    if len({gate.shape for gate in gates}) != 1 or gates[0].ndim not in (1, 2):
        raise CorruptFileError(f"the gates of an LSTM do not fit together: {[gate.shape for gate in gates]}.")
    return np.concatenate(gates, axis=-1)


def _from_cudnn(weights: Named) -> Named:
    """Turn what a ``CuDNNLSTM`` kept, with two biases and transposed gates, into an LSTM's weights."""
    found = list(weights)
    for index in range(len(weights) - 2):
        (_, kernel), (_, recurrent), (name, bias) = weights[index : index + 3]
        if [plain_name(n) for n, _ in weights[index : index + 3]] != ["kernel", "recurrent_kernel", "bias"]:
            continue
        if kernel.ndim != 2 or recurrent.ndim != 2 or 0 in (*kernel.shape, *recurrent.shape):
            continue
        units = recurrent.shape[0]
        if kernel.shape[1] == recurrent.shape[1] == 4 * units and bias.shape == (8 * units,):
            turned = [gate.reshape(units, -1).T for gate in np.split(kernel, 4, axis=1)]
            found[index] = (weights[index][0], np.concatenate(turned, axis=1))
            found[index + 1] = (
                weights[index + 1][0],
                np.concatenate([gate.T for gate in np.split(recurrent, 4, axis=1)], axis=1),
            )
            found[index + 2] = (name, bias[: 4 * units] + bias[4 * units :])
    return found
