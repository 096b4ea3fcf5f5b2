"""What do the six knobs cost in Keras, on torch, JAX and TensorFlow, against lstmreg?

Each library has a process of its own, and one of them works at a time: it is asked for one round, then the next is.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import sys
import tempfile
import time
from pathlib import Path

import keras_child
import numpy as np
import torch
from child import Child
from harness import BASELINE, STANDARD, Results, Size, arguments, compare, say
from rivals import RATE, STRENGTH
from torch import nn

#: How long a process is asked to go on, and how long its threads are left to fall asleep before the next one's turn.
_TURN, _PAUSE = 0.03, 0.01


class Library(Child):
    """A process that serves one rival."""

    def __init__(self, rival: str, threads: int) -> None:
        settings = {"OMP_NUM_THREADS": str(threads), "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}
        if rival.startswith("keras"):
            settings["KERAS_BACKEND"] = rival.removeprefix("keras ")
        super().__init__(rival, [sys.executable, keras_child.__file__, rival], settings)

    def seconds(self) -> float:
        time.sleep(_PAUSE)
        return self.ask(time=_TURN)


def main() -> None:
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(options.threads)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    results = Results(options.results / "keras.jsonl")
    versions = {name: importlib.metadata.version(name) for name in ("keras", "jax", "tensorflow-cpu")}
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(Library(rival, options.threads)) for rival in keras_child.RIVALS]
        for child in children:
            if child.name != BASELINE:  # of which the definition is made
                say(f"checking {child.name}")
                check(child, STANDARD[0])
        for size in STANDARD:
            say(f"keras: {size}")
            for child in children:
                child.ask(make=size, rate=RATE, strength=STRENGTH)
            rounds = {child.name: child.seconds for child in children}
            compare(rounds, options, results, clock=lambda turn: turn(), size=size._asdict(), versions=versions)


# ---------------------------------------------------------------------- correct first


def check(child: Child, size: Size) -> None:
    """Stop unless a child computes the definition where nothing is dropped, and else drops anew in every step."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "numbers.npz")
        child.ask(make=size, rate=0.0, strength=1.0)  # so strong that penalties show in the gradients
        loss = child.ask(save=path)
        with np.load(path) as numbers:
            found = {"loss": np.float32(loss), **numbers}
        for what, wanted in definition(size).items():
            error, scale = np.abs(found[what] - wanted).max(), np.abs(wanted).max()
            if not error <= 1e-4 * scale:
                sys.exit(f"{child.name} at {size}: {what} is not nn.LSTM's, by {error:.1e} of {scale:.1e}.")
        child.ask(make=size, rate=RATE, strength=STRENGTH)
        if child.ask(save=path) == child.ask(save=path):
            sys.exit(f"{child.name} at {size}: two steps must draw different masks, and did not.")


def definition(size: Size) -> dict[str, np.ndarray]:
    """Compute loss, output and gradients with ``nn.LSTM``, and with penalties of strength 1 written out."""
    x, cotangent, *weights = map(torch.from_numpy, keras_child.problem(*size))
    x.requires_grad_()
    lstm = nn.LSTM(size.D, size.H, batch_first=True)
    with torch.no_grad():
        for parameter, weight in zip(lstm.parameters(), (*weights, torch.zeros(())), strict=True):
            parameter.copy_(weight.T if weight.dim() == 2 else weight)
    w_ih, w_hh, bias, _ = lstm.parameters()
    output, _ = lstm(x)
    penalty = output.square().sum() / size.B + sum(w.square().sum() for w in (w_ih, w_hh, bias))
    loss = (output * cotangent).sum() + penalty
    loss.backward()
    gradients = {"x": x.grad, "kernel": w_ih.grad.T, "recurrent": w_hh.grad.T, "bias": bias.grad}
    return {name: t.detach().numpy() for name, t in ({"loss": loss, "output": output} | gradients).items()}


if __name__ == "__main__":
    main()
