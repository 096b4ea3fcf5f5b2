"""What does a training step of a population cost, beside its arithmetic and beside JAX's vmap?

A step of all six knobs, with batches of each member's own: forward, backward and Adam. JAX is a process of its own, in
this Python or in the one that ``--jax`` names; where it is not installed there is no row of it. All work on as many
threads and cores as ``--threads`` says, and the processor's time is counted.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from child import Child
from harness import Results, arguments, busy_share, say

from lstmreg import ModelConfig, Population, TrainingConfig
from lstmreg.losses import Regression
from lstmreg.training.population.formation import Formation
from lstmreg.training.population.lockstep import Part
from lstmreg.training.population.losses import Sums
from lstmreg.training.population.member import Member
from lstmreg.training.population.optimizers import MemberOptimizer
from lstmreg.training.population.workers import Workers
from lstmreg.training.trainer import Precision

RATE, STRENGTH = 0.3, 1e-3


class Size(NamedTuple):
    """How many models, sequences, steps, features and hidden units."""

    K: int
    B: int
    T: int
    D: int
    H: int

    @property
    def operations(self) -> int:
        """Of a model's products: of inputs and states with their weights, and back to both weights and the states."""
        return 8 * self.H * (3 * self.H + 2 * self.D) * self.B * self.T


SIZES = [Size(256, 32, 24, D, H) for D in (1, 11) for H in (8, 16, 32, 64)]

#: Of the square matrices whose product says how fast the machine multiplies.
GEMM = 512


class Ours:
    """A step of ``fit_population``, without a trainer around it."""

    def __init__(
        self, size: Size, rate: float, strength: float, threads: int, precision: Precision = "32-true"
    ) -> None:
        penalties = {f"{kind}_l2": strength for kind in ("kernel", "recurrent", "bias", "activity")}
        config = ModelConfig(hidden_size=size.H, dropout=rate, recurrent_dropout=rate, **penalties)
        population = Population.of([config] * size.K, size.D, 1, seeds=range(size.K))
        trainings = [TrainingConfig(learning_rate=1e-3, seed=k, precision=precision) for k in range(size.K)]
        members = [
            Member(
                number=k,
                training=training,
                source=k,
                criterion=Regression("mse"),
                masks=population.kinds_of_masks(k),
                kinds=population.kinds_of_penalties(k),
                generator=torch.Generator().manual_seed(training.seed),
            )
            for k, training in enumerate(trainings)
        ]
        self.population = population
        self.workers = Workers(threads)
        self.formation = Formation(population, members, self.workers)
        self.weights = torch.nn.Parameter(population.weights.detach().clone())
        self.weights.grad = torch.zeros_like(self.weights)
        self.optimizer = MemberOptimizer(self.weights, trainings)
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(size.K, size.B, size.T, size.D, generator=generator)
        self.batch = Part(0, size.K, x, torch.randn(size.K, size.B, 1, generator=generator))
        self.sums = Sums(size.K, self.weights.device)

    def learn(self) -> None:
        self.formation.learn([self.batch], self.weights, self.sums)

    def step(self) -> None:
        self.learn()
        self.optimizer.step()

    def evaluate(self) -> None:
        self.formation.evaluate([self.batch], self.weights.detach(), self.sums)

    def arrays(self, rows: torch.Tensor) -> dict[str, np.ndarray]:
        """Return rows of weights, or of their gradients, as JAX's process names and shapes them."""
        shapes = [p.shape for p in self.population.networks[0].parameters()]
        parts = torch.split(rows.detach(), [shape.numel() for shape in shapes], dim=1)
        hidden, features = shapes[1][1], shapes[0][1]
        named = {
            "kernel": parts[0].view(-1, 4, hidden, features),
            "recurrent": parts[1].view(-1, 4, hidden, hidden),
            "bias": parts[2].view(-1, 4, hidden),
            "head": parts[3].view(-1, 1, hidden),
            "head_bias": parts[4],
        }
        return {name: tensor.numpy() for name, tensor in named.items()}


class Jax(Child):
    """The process that serves JAX."""

    def __init__(self, python: str) -> None:
        settings = {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        super().__init__("JAX", [python, str(Path(__file__).parent / "population_child.py")], settings)

    def make(self, ours: Ours, rate: float, strength: float) -> Any:
        """Give it the weights and batches of a population."""
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/arrays.npz"
            batch = {"x": ours.batch.x.numpy(), "y": ours.batch.y.numpy()}
            np.savez(path, **ours.arrays(ours.weights), **batch)
            return self.ask(make=path, rate=rate, strength=strength)

    def check(self, size: Size) -> None:
        """Stop unless it computes our gradients where nothing is dropped."""
        ours = Ours(size, 0.0, 0.1, 1)
        self.make(ours, 0.0, 0.1)
        ours.learn()
        with tempfile.TemporaryDirectory() as folder:
            self.ask(save=f"{folder}/gradients.npz")
            with np.load(f"{folder}/gradients.npz") as found:
                for name, wanted in ours.arrays(ours.weights.grad).items():
                    error, scale = np.abs(found[name] - wanted).max(), np.abs(wanted).max()
                    if not error <= 1e-4 * scale:
                        sys.exit(f"JAX at {size}: the gradient of {name} is not ours, by {error:.1e} of {scale:.1e}.")


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(rounds=7, threads=1)
    parser.add_argument("--jax", default=sys.executable, help="a Python that has JAX")
    options = parser.parse_args()
    torch.set_num_threads(1)  # the population's workers are its threads
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    results = Results(options.results / "population_steps.jsonl")
    has_jax = subprocess.run([options.jax, "-c", "import jax"], capture_output=True, check=False).returncode == 0
    if not has_jax:
        say(f"{options.jax} has no JAX, so there is no row of it.")
    jax = Jax(options.jax) if has_jax else None
    if jax is not None:
        say("checking JAX")
        jax.check(Size(3, 5, 7, 2, 6))
    for size in SIZES:
        measure(size, jax, options, results)


def measure(size: Size, jax: Jax | None, options: Any, results: Results) -> None:
    """Time a step, its evaluation, its arithmetic, and the steps of others in turn, and record each for one model."""
    say(f"population's step: {size}")
    ours, shorter = (Ours(size, RATE, STRENGTH, options.threads, p) for p in ("32-true", "bf16-mixed"))
    versions = {} if jax is None else {"jax": jax.make(ours, RATE, STRENGTH)["jax"]}
    square = torch.randn(GEMM, GEMM)
    share = size.operations / (2 * GEMM**3)
    rivals: dict[str, Callable[[], float]] = {
        "arithmetic": lambda: clock(lambda: square @ square, 8) * share * size.K,
        "population": lambda: clock(ours.step),
        "evaluation": lambda: clock(ours.evaluate),
        "bfloat16": lambda: clock(shorter.step),
    }
    if jax is not None:
        rivals["jax.vmap"] = lambda: jax.ask(time=0.1)
    busy = busy_share()
    for rival in rivals.values():
        rival()
    rounds = [{name: rival() for name, rival in rivals.items()} for _ in range(options.rounds)]
    for name in rivals:
        micros = statistics.median(one[name] for one in rounds) / size.K * 1e6
        times = statistics.median(one[name] / one["arithmetic"] for one in rounds)
        beside = statistics.median(one[name] / one["population"] for one in rounds)
        measured = {"rival": name, "microseconds": micros, "of_arithmetic": times, "of_population": beside}
        results.add(
            **size._asdict(), **measured, rounds=options.rounds, threads=options.threads, busy=busy, versions=versions
        )
        say(f"  {name:<11} {micros:8.1f} µs a model   {times:6.2f}× the arithmetic   {beside:6.2f}× the population")


def clock(action: Callable[[], object], times: int = 1) -> float:
    """Return the processor's seconds for an action, which neighbours disturb less than those that went by."""
    start = time.process_time()
    for _ in range(times):
        action()
    return (time.process_time() - start) / times


if __name__ == "__main__":
    main()
