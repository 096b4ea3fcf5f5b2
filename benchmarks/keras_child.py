"""One process with one library: makes the step of training that it is told on stdin, and runs it when asked.

Each line of stdin is a request, each line of stdout its answer, in JSON: ``{"make": [B, T, D, H], "rate": 0.3,
"strength": 1e-4}`` makes a step, ``{"save": path}`` saves the numbers of one and answers its loss, and
``{"time": 0.03}`` answers how long one takes, having run for about so long.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

#: ``x, cotangent, kernel, recurrent, bias``, batch first and as Keras has the weights.
Problem = Sequence[np.ndarray]

#: Computes output, loss, and the gradients of x, kernel, recurrent and bias, in the library's own types.
Step = Callable[[], tuple[Any, Any, list[Any]]]


def problem(B: int, T: int, D: int, H: int) -> Problem:
    """Draw the same numbers in every process."""
    random = np.random.default_rng(0)
    shapes = (B, T, D), (B, T, H), (D, 4 * H), (H, 4 * H), (4 * H,)
    spreads = 1.0, 1.0, H**-0.5, H**-0.5, H**-0.5
    return [random.standard_normal(s, dtype=np.float32) * np.float32(d) for s, d in zip(shapes, spreads, strict=True)]


# ---------------------------------------------------------------------- torch


def nn_lstm(given: Problem, rate: float, strength: float) -> Step:
    from torch import nn

    return _torch_step(nn.LSTM(*_widths(given), batch_first=True), given)


def lstmreg_six(given: Problem, rate: float, strength: float) -> Step:
    from lstmreg import L2, LSTM

    layer = LSTM(
        *_widths(given),
        batch_first=True,
        dropout=rate,
        recurrent_dropout=rate,
        kernel_regularizer=L2(strength),
        recurrent_regularizer=L2(strength),
        bias_regularizer=L2(strength),
        activity_regularizer=L2(strength),
    )
    return _torch_step(layer, given)


def _widths(given: Problem) -> tuple[int, int]:
    return given[0].shape[2], given[1].shape[2]


def _torch_step(layer: Any, given: Problem) -> Step:
    import torch

    x, cotangent, *weights = map(torch.from_numpy, given)
    x.requires_grad_()
    parameters = list(layer.parameters())
    with torch.no_grad():
        for parameter, weight in zip(parameters, (*weights, torch.zeros(())), strict=False):
            parameter.copy_(weight.T if weight.dim() == 2 else weight)

    def step() -> tuple[Any, Any, list[Any]]:
        layer.zero_grad(set_to_none=True)
        x.grad = None
        output, _ = layer(x)
        loss = (output * cotangent).sum()
        if hasattr(layer, "penalty"):
            loss = loss + layer.penalty()
        loss.backward()
        w_ih, w_hh, bias = (p.grad for p in parameters[:3])
        return output, loss, [x.grad, w_ih.T, w_hh.T, bias]

    return step


# ---------------------------------------------------------------------- Keras


def _keras_layer(given: Problem, rate: float, strength: float) -> Any:
    import keras

    layer = keras.layers.LSTM(
        given[1].shape[2],
        return_sequences=True,
        dropout=rate,
        recurrent_dropout=rate,
        kernel_regularizer=keras.regularizers.L2(strength),
        recurrent_regularizer=keras.regularizers.L2(strength),
        bias_regularizer=keras.regularizers.L2(strength),
        activity_regularizer=keras.regularizers.L2(strength),
    )
    layer.build(given[0].shape)
    layer.set_weights(given[2:])
    return layer


def keras_torch(given: Problem, rate: float, strength: float) -> Step:
    layer = _keras_layer(given, rate, strength)
    import torch

    x, cotangent = map(torch.from_numpy, given[:2])
    x.requires_grad_()
    leaves = [x, *(weight.value for weight in layer.trainable_weights)]

    def step() -> tuple[Any, Any, list[Any]]:
        for leaf in leaves:
            leaf.grad = None
        output = layer(x, training=True)
        loss = (output * cotangent).sum() + sum(layer.losses)
        loss.backward()
        return output, loss, [leaf.grad for leaf in leaves]

    return step


def keras_jax(given: Problem, rate: float, strength: float) -> Step:
    layer = _keras_layer(given, rate, strength)
    import jax
    import keras

    # Of a bare layer, stateless_call forgets the activity regularizer.
    model = keras.Sequential([keras.Input(given[0].shape[1:], given[0].shape[0]), layer])
    x, cotangent = map(jax.numpy.asarray, given[:2])
    weights = [weight.value for weight in model.trainable_variables]
    others = [variable.value for variable in model.non_trainable_variables]  # the state of the random numbers

    @jax.jit
    def gradients(x, weights, others):
        def loss_of(x, weights):
            output, after, losses = model.stateless_call(weights, others, x, training=True, return_losses=True)
            return (output * cotangent).sum() + sum(losses), (output, after)

        return jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True)(x, weights)

    def step() -> tuple[Any, Any, list[Any]]:
        nonlocal others
        (loss, (output, others)), (dx, dweights) = jax.block_until_ready(gradients(x, weights, others))
        return output, loss, [dx, *dweights]

    return step


def keras_tensorflow(given: Problem, rate: float, strength: float) -> Step:
    import tensorflow as tf

    threads = len(os.sched_getaffinity(0))
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    layer = _keras_layer(given, rate, strength)
    x, cotangent = map(tf.constant, given[:2])

    @tf.function
    def gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = layer(x, training=True)
            loss = tf.reduce_sum(output * cotangent) + sum(layer.losses)
        return output, loss, tape.gradient(loss, [x, *layer.trainable_weights])

    def step() -> tuple[Any, Any, list[Any]]:
        output, loss, grads = gradients(x)
        loss.numpy()  # waits until it is done
        return output, loss, grads

    return step


RIVALS = {
    "nn.LSTM": nn_lstm,
    "lstmreg six": lstmreg_six,
    "keras torch": keras_torch,
    "keras jax": keras_jax,
    "keras tensorflow": keras_tensorflow,
}


# ---------------------------------------------------------------------- answering


def save(step: Step, path: str) -> float:
    """Write output and gradients of a step, and return its loss."""
    output, loss, gradients = step()
    names = "output", "x", "kernel", "recurrent", "bias"
    np.savez(path, **{name: _numpy(value) for name, value in zip(names, (output, *gradients), strict=True)})
    return float(_numpy(loss))


def _numpy(value: Any) -> np.ndarray:
    return value.detach().numpy() if hasattr(value, "detach") else np.asarray(value)


def seconds(step: Step, at_least: float) -> float:
    """Return the median time of as many steps as ``at_least`` seconds hold, of one where a step takes longer.

    So the first ones may warm up what other processes have cooled down.
    """
    times: list[float] = []
    while sum(times) < at_least:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def serve(rival: str) -> None:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the libraries print is no answer
    step: Step | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if "make" in request:
            step = RIVALS[rival](problem(*request["make"]), request["rate"], request["strength"])
            answer: Any = None
        else:
            answer = save(step, request["save"]) if "save" in request else seconds(step, request["time"])
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
