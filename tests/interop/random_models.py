"""Random models of Keras, of the layers that LSTM models are made of."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

STEPS, FEATURES = 6, 3
ACTIVATIONS = ["tanh", "sigmoid", "relu", "hard_sigmoid", "softsign", "elu", "linear"]


def options(draw: random.Random) -> dict[str, Any]:
    """Settings of an LSTM that do something."""
    knobs: dict[str, Any] = {
        "units": draw.randint(2, 5),
        "activation": draw.choice(ACTIVATIONS),
        "recurrent_activation": draw.choice(["sigmoid", "hard_sigmoid", "relu"]),
        "use_bias": draw.random() < 0.8,
        "dropout": draw.choice([0.0, 0.3]),
        "recurrent_dropout": draw.choice([0.0, 0.4]),
        "seed": draw.randint(0, 99),
    }
    for place in ("kernel", "recurrent", "bias", "activity"):
        if draw.random() < 0.3:
            knobs[f"{place}_regularizer"] = draw.choice(
                ["l1", keras.regularizers.L2(0.02), keras.regularizers.L1L2(0.01, 0.03)]
            )
        if place != "activity" and draw.random() < 0.3:
            knobs[f"{place}_constraint"] = draw.choice(
                ["non_neg", keras.constraints.MaxNorm(0.7), keras.constraints.MinMaxNorm(0.2, 0.9, 0.5)]
            )
    return knobs


def recurrent(draw: random.Random, *, sequences: bool) -> layers.Layer:
    """An LSTM, one of both directions, or cells in an RNN."""
    kind = draw.choice(["lstm", "lstm", "bidirectional", "rnn", "cells"])
    common = {"return_sequences": sequences, "go_backwards": draw.random() < 0.2}
    if kind == "lstm":
        return layers.LSTM(**options(draw), **common, zero_output_for_mask=draw.random() < 0.3)
    if kind == "bidirectional":
        one = layers.LSTM(**options(draw), return_sequences=sequences)
        return layers.Bidirectional(one, merge_mode=draw.choice(["concat", "sum", "ave", "mul"]))
    cells = [_cell(draw) for _ in range(1 if kind == "rnn" else 2)]
    return layers.RNN(cells[0] if kind == "rnn" else cells, **common)


def _cell(draw: random.Random) -> layers.Layer:
    return layers.LSTMCell(**{k: v for k, v in options(draw).items() if k != "activity_regularizer"})


def between(draw: random.Random) -> layers.Layer:
    """A layer from sequences to sequences, or from vectors to vectors."""
    return draw.choice(
        [
            lambda: layers.Dropout(0.4),
            lambda: layers.Dense(draw.randint(2, 4), activation=draw.choice(ACTIVATIONS), kernel_regularizer="l2"),
            lambda: layers.BatchNormalization(momentum=0.8, epsilon=0.01, scale=draw.random() < 0.7),
            lambda: layers.LayerNormalization(center=draw.random() < 0.7),
            lambda: layers.Activation(draw.choice(ACTIVATIONS)),
            lambda: layers.LeakyReLU(negative_slope=0.1),
        ]
    )()


def steps_only(draw: random.Random) -> layers.Layer:
    """A layer from sequences to sequences."""
    makers: list[Callable[[], layers.Layer]] = [
        lambda: layers.TimeDistributed(layers.Dense(draw.randint(2, 4), activation="tanh")),
        lambda: layers.SpatialDropout1D(0.3),
        lambda: layers.Conv1D(draw.randint(2, 4), 3, padding=draw.choice(["same", "causal"]), dilation_rate=2),
        lambda: layers.MaxPooling1D(2, strides=1, padding="same"),
        lambda: layers.AveragePooling1D(3, strides=1, padding="same"),
    ]
    return draw.choice(makers)()


def ending(draw: random.Random) -> layers.Layer:
    """A layer from sequences to vectors."""
    makers: list[Callable[[], layers.Layer]] = [
        lambda: recurrent(draw, sequences=False),
        lambda: layers.GlobalAveragePooling1D(),
        lambda: layers.GlobalMaxPooling1D(),
        lambda: layers.Flatten(),
    ]
    return draw.choice(makers)()


def chain(draw: random.Random) -> list[layers.Layer]:
    """Layers from a sequence to a vector."""
    found = [recurrent(draw, sequences=True)]
    for _ in range(draw.randint(0, 3)):
        found.append(draw.choice([between, between, steps_only, lambda d: recurrent(d, sequences=True)])(draw))
    found.append(ending(draw))
    if draw.random() < 0.5:
        found += [layers.RepeatVector(4), recurrent(draw, sequences=False)]
    return [*found, layers.Dense(2, activation=draw.choice(["linear", "softmax"]))]


def random_model(seed: int, *, drops: bool = True) -> tuple[keras.Model, list[np.ndarray]]:
    """A model and a batch of inputs; half of them have masked steps."""
    model, inputs = _random_model(seed)
    for layer in model._flatten_layers():
        for rate in ("rate", "dropout", "recurrent_dropout"):
            if not drops and hasattr(layer, rate) and not isinstance(layer, layers.RNN):
                setattr(layer, rate, 0.0)
    return model, inputs


def _random_model(seed: int) -> tuple[keras.Model, list[np.ndarray]]:
    draw = random.Random(seed)
    rng = np.random.default_rng(seed)
    with_words = draw.random() < 0.3
    if with_words:
        inputs = [rng.integers(0, 7, (4, STEPS))]
        entry = [layers.Embedding(7, FEATURES, mask_zero=draw.random() < 0.6)]
    else:
        x = rng.normal(size=(4, STEPS, FEATURES)).astype(np.float32)
        x[rng.random((4, STEPS)) < 0.3] = 0.0
        inputs, entry = [x], [layers.Masking(0.0)] if draw.random() < 0.5 else []
    given = keras.Input(inputs[0].shape[1:])
    is_sequential = draw.random() < 0.5
    model = keras.Sequential([given, *entry, *chain(draw)]) if is_sequential else _functional(draw, given, entry)
    for weight in model.weights:
        if "seed_generator" not in weight.path:
            values = rng.normal(scale=0.4, size=weight.shape)
            weight.assign(np.abs(values) + 0.3 if weight.name == "moving_variance" else values)
    return model, inputs


def _functional(draw: random.Random, given: Any, entry: list[layers.Layer]) -> keras.Model:
    x = given
    for layer in entry:
        x = layer(x)
    shared = layers.LSTM(3, return_sequences=True, return_state=True)
    y, h, c = shared(x)
    z = layers.LSTM(3, return_sequences=True)(y, initial_state=[h, c])
    inner = keras.Sequential([layers.LSTM(2, return_sequences=True), layers.Dense(3)], name="inner")
    merged = draw.choice(
        [layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Concatenate]
    )()
    together = merged([inner(y), inner(z)])
    for layer in chain(draw):
        together = layer(together)
    return keras.Model(given, [together, layers.Concatenate()([h, c])])
