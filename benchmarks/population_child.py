"""A process with JAX, the population's rival: ``jax.vmap`` over an LSTM of ``lax.scan``, told on stdin what to train.

Each line of stdin is a request, each line of stdout its answer, in JSON: ``{"make": path, "rate": 0.3, "strength":
1e-4}`` makes a step of what the arrays in the file say, ``{"save": path}`` saves the gradients of one, and
``{"time": 0.1}`` answers the processor's seconds for one step, having run for about so long.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Arrays = dict[str, Any]

RATE = 1e-3
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class Step:
    """A training step of K members, each with a batch, masks and moments of its own."""

    def __init__(self, arrays: Arrays, rate: float, strength: float) -> None:
        given = {name: jnp.asarray(array) for name, array in arrays.items()}
        self.x, self.y = given.pop("x"), given.pop("y")  # (K, B, T, D) and (K, B, 1)
        self.weights = given
        self.moments = [jax.tree.map(jnp.zeros_like, given) for _ in range(2)]
        self.keys = jax.random.split(jax.random.key(0), len(self.x))
        self.count = jnp.zeros(())

        def loss(weights: Arrays, x: Any, y: Any, key: Any) -> Any:
            return member_loss(weights, x, y, key, rate, strength)

        self.gradients = jax.jit(jax.vmap(jax.grad(loss)))

        def step(weights: Arrays, moments: list[Arrays], keys: Any, count: Any) -> Any:
            keys, own = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
            found = jax.vmap(jax.grad(loss))(weights, self.x, self.y, own)
            mean = jax.tree.map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, moments[0], found)
            square = jax.tree.map(lambda m, g: BETA_2 * m + (1 - BETA_2) * g * g, moments[1], found)
            count = count + 1
            size, root = RATE / (1 - BETA_1**count), jnp.sqrt(1 - BETA_2**count)
            weights = jax.tree.map(lambda w, m, s: w - size * m / (jnp.sqrt(s) / root + EPSILON), weights, mean, square)
            return weights, [mean, square], keys, count

        self._step = jax.jit(step, donate_argnums=(0, 1, 2, 3))

    def __call__(self) -> None:
        state = self._step(self.weights, self.moments, self.keys, self.count)
        self.weights, self.moments, self.keys, self.count = jax.block_until_ready(state)


def member_loss(weights: Arrays, x: Any, y: Any, key: Any, rate: float, strength: float) -> Any:
    """Return what one member minimizes: its squared error, and its penalties.

    Shape:
        ``x`` is ``(B, T, D)``; ``kernel``, ``recurrent`` and ``bias`` have an axis of gates (i, f, g, o) in front.
    """
    batch, _, features = x.shape
    hidden = weights["recurrent"].shape[-1]
    keys = jax.random.split(key)
    x_mask, h_mask = (mask(k, rate, (batch, 4, n)) for k, n in zip(keys, (features, hidden), strict=True))
    inputs = jnp.einsum("tbd,bgd,ghd->tbgh", x.swapaxes(0, 1), x_mask, weights["kernel"]) + weights["bias"]

    def one(state: Any, z: Any) -> Any:
        h, c = state
        z = z + jnp.einsum("bgk,ghk->bgh", h[:, None] * h_mask, weights["recurrent"])
        i, f, o = (jax.nn.sigmoid(z[:, gate]) for gate in (0, 1, 3))
        c = f * c + i * jnp.tanh(z[:, 2])
        h = o * jnp.tanh(c)
        return (h, c), None

    zeros = jnp.zeros((batch, hidden))
    (h, _), _ = jax.lax.scan(one, (zeros, zeros), inputs)
    penalty = sum(jnp.sum(weights[name] ** 2) for name in ("kernel", "recurrent", "bias"))
    penalty = penalty + jnp.sum(h**2) / batch  # of the last output, which is what the network reads
    return jnp.mean((h @ weights["head"].T + weights["head_bias"] - y) ** 2) + strength * penalty


def mask(key: Any, rate: float, shape: tuple[int, ...]) -> Any:
    return jax.random.bernoulli(key, 1 - rate, shape) / (1 - rate)


def clock(step: Step, seconds: float) -> float:
    """Return the processor's seconds for a step."""
    start, until, count = time.process_time(), time.perf_counter() + seconds, 0
    while count == 0 or time.perf_counter() < until:
        step()
        count += 1
    return (time.process_time() - start) / count


def main() -> None:
    step: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        answer: Any = None
        if "make" in request:
            with np.load(request["make"]) as arrays:
                step = Step(dict(arrays), request["rate"], request["strength"])
            answer = {"jax": jax.__version__}
        elif "save" in request:
            np.savez(request["save"], **step.gradients(step.weights, step.x, step.y, step.keys))
        else:
            answer = clock(step, request["time"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
