"""What do all six knobs cost on a GPU, against cuDNN's LSTM with none; and a population, against one after the other?

    python benchmarks/gpu.py                 writes results/gpu.jsonl
    python benchmarks/gpu.py --table         what was measured last, as tables

lstmreg's numbers are first compared with cuDNN's and `eager`'s. `bash benchmarks/gpu.sh` tests the GPU's code before it
is timed.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import BASELINE, HERE, STANDARD, Results, Size, interleave, say
from rivals import RIVALS, Rival, Step
from torch import Tensor, nn

from lstmreg import LSTM, ModelConfig, Population, TrainingConfig, fit_population

SIZES = [*STANDARD, Size(16, 1024, 768, 768)]

#: Type of the tensors, and whether float32 is multiplied as TF32.
PRECISIONS = {
    "float32": (torch.float32, False),
    "TF32": (torch.float32, True),
    "bfloat16": (torch.bfloat16, True),
    "float16": (torch.float16, True),
}

#: How far apart two rivals' numbers may be, of the largest of them.
ALLOWED = {"float32": 1e-4, "TF32": 1e-2, "bfloat16": 5e-2, "float16": 1e-2}

OURS = "lstmreg six"
KNOBS = RIVALS[OURS].knobs
EAGER = Rival(functools.partial(LSTM, **KNOBS, backend="eager"), KNOBS)

#: torch.compile unrolls the loop over time, and takes minutes where there are many steps.
COMPILED = Size(32, 10, 8, 16)

#: Of networks that are trained beside each other: how many, with how many units.
POPULATIONS = [1, 4, 16, 64, 256, 1024, 4096]
UNITS = [8, 16, 32, 64, 128]

#: What they learn from: sequences, steps, columns; and how it is gone through.
SEQUENCES, STEPS, COLUMNS, BATCH, EPOCHS = 320, 24, 4, 32, 4


NOT_YET = "not measured yet"


# ---------------------------------------------------------------------- layers


def measure_layers(results: Results, seconds: float) -> None:
    """Time a training step of each rival at each size and precision."""
    for name, (dtype, tf32) in PRECISIONS.items():
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        for size in SIZES:
            say(f"{name}: {size}")
            steps = {key: Step(RIVALS[key], size, None, "cuda", dtype) for key in (BASELINE, "lstmreg", OURS)}
            if size.T <= 100:
                steps["eager"] = Step(EAGER, size, None, "cuda", dtype)
                check(steps[OURS], steps["eager"], name)
            check(steps["lstmreg"], steps[BASELINE], name)
            record(results, steps, seconds, grid="layers", precision=name, size=size._asdict())
    say("Compiling the plain loop, which may take minutes …")
    keys = BASELINE, OURS, "plain loop", "compiled loop"
    steps = {key: Step(RIVALS[key], COMPILED, None, "cuda") for key in keys}
    record(results, steps, seconds, grid="compiled", precision="TF32", size=COMPILED._asdict())


def check(one: Step, other: Step, precision: str) -> None:
    """Hold two rivals to the same output and gradients, and say what differs; the same seed gives the same masks."""
    found, expected = numbers(one), numbers(other)
    for what, wanted in expected.items():
        error, scale = float((found[what] - wanted).abs().max()), float(wanted.abs().max())
        if not error <= ALLOWED[precision] * scale:
            say(f"  WRONG in {precision}: {what} differs by {error:.1e} of {scale:.1e}.")


def numbers(step: Step) -> dict[str, Tensor]:
    torch.manual_seed(0)
    output, _ = step()
    leaves = zip(("x", "w_ih", "w_hh", "bias"), (step.x, *step.layer.parameters()), strict=False)
    found = {"output": output.detach().float()}
    return found | {what: leaf.grad.float() for what, leaf in leaves if leaf.grad is not None}


def record(results: Results, steps: dict[str, Step], seconds: float, **labels: Any) -> None:
    """Time rivals in turn, each until the GPU has done it, and note the memory that each takes at most."""
    times = interleave(steps, rounds_for(steps, seconds), until_done)
    base = float(np.median(times[BASELINE]))
    for name, of_rival in times.items():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        until_done(steps[name])
        peak = torch.cuda.max_memory_allocated() - before
        low, median, high = np.percentile(of_rival, [25, 50, 75])
        measured = {"rival": name, "median": median, "quartiles": [low, high], "ratio": median / base, "peak": peak}
        results.add(**labels, **measured, rounds=len(of_rival), **card())
        say(f"  {name:<14} {median * 1e3:9.3f} ms   {median / base:6.2f}×   {peak / 2**20:8.1f} MiB")


def rounds_for(steps: dict[str, Step], seconds: float) -> int:
    """Return how often each is timed; what is compiled or recorded is so before."""
    for _ in range(3):
        for step in steps.values():
            step()
    once = sum(times[0] for times in interleave(steps, 1, until_done).values())
    return max(10, min(int(seconds / once), 200))


def until_done(rival: Callable[[], Any]) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    rival()
    torch.cuda.synchronize()
    return time.perf_counter() - start


# ---------------------------------------------------------------------- populations


class Alone(nn.Module):
    """A network as one writes it with cuDNN's LSTM: no knob, since it has none."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(COLUMNS, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        _, (h_n, _) = self.lstm(x)
        return self.head(h_n[-1])


def train_alone(hidden: int, x: Tensor, y: Tensor) -> None:
    """Train one network in a bare loop, with its data on the GPU."""
    network = Alone(hidden).cuda()
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x), device=x.device).split(BATCH):
            optimizer.zero_grad()
            nn.functional.mse_loss(network(x[rows]), y[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            nn.functional.mse_loss(network(x[:BATCH]), y[:BATCH]).item()


def train_together(members: int, hidden: int, x: Tensor, y: Tensor) -> None:
    """Train a population with four knobs turned."""
    config = ModelConfig(hidden_size=hidden, dropout=0.1, recurrent_dropout=0.2, kernel_l2=1e-4, recurrent_l2=1e-4)
    population = Population.of([config] * members, COLUMNS, 1, seeds=list(range(members)))
    trainings = [TrainingConfig(seed=k, max_epochs=EPOCHS, patience=None, batch_size=BATCH) for k in range(members)]
    fit_population(population, ((x, y), (x[:BATCH], y[:BATCH])), trainings)


def measure_populations(results: Results) -> None:
    """Time whole trainings, the making of networks included."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    x, y = torch.randn(SEQUENCES, STEPS, COLUMNS), torch.randn(SEQUENCES, 1)
    for hidden in UNITS:
        on_gpu = x.cuda(), y.cuda()
        one = functools.partial(train_alone, hidden, *on_gpu)
        one()
        alone = min(until_done(one) for _ in range(3))
        results.add(grid="populations", rival="cuDNN one by one", members=1, hidden=hidden, seconds=alone, **card())
        say(f"H = {hidden}: cuDNN one by one {1 / alone:.1f} trainings a second")
        for members in POPULATIONS:
            several = functools.partial(train_together, members, hidden, x, y)
            several()
            took = until_done(several)
            measured = {"members": members, "hidden": hidden, "seconds": took, "of_one": took / alone}
            results.add(grid="populations", rival="population", **measured, **card())
            say(f"  {members:5} members: {members / took:9.1f} trainings a second, the price of {took / alone:.1f}")


def measure_demo(results: Results, members: int = 1000) -> None:
    """Train many networks on the sunspots with early stopping, as the demo does."""
    table = np.genfromtxt(HERE.parent / "lstmreg" / "data" / "sunspots.csv", delimiter=",", skip_header=1)
    values = torch.tensor((table[:, 1] - table[:, 1].mean()) / table[:, 1].std(), dtype=torch.float32)
    windows = values.unfold(0, 25, 1).unsqueeze(-1)
    x, y = windows[:, :24], windows[:, 24]
    data = (x[:200], y[:200]), (x[200:240], y[200:240])
    rates = [0.1 * (k % 5) for k in range(members)]
    configs = [ModelConfig(hidden_size=16, dropout=rate, recurrent_dropout=rate) for rate in rates]
    trainings = [TrainingConfig(seed=k) for k in range(members)]

    def train() -> None:
        found = fit_population(Population.of(configs, 1, 1, seeds=list(range(members))), data, trainings)
        assert len(found) == members

    train()
    took = until_done(train)
    results.add(grid="demo", members=members, seconds=took, **card())
    say(f"{members} early-stopped trainings on the sunspots: {took:.1f} s")


@functools.cache
def card() -> dict[str, Any]:
    """Describe the GPU."""
    import triton

    return {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda, "triton": triton.__version__}


# ---------------------------------------------------------------------- tables


def tables(path: Path) -> Iterator[str]:
    """Write what was measured in Markdown; what was not says so."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    cells = {(line["precision"], *line["size"].values()): {} for line in lines if line["grid"] == "layers"}
    for line in lines:
        if line["grid"] == "layers":
            cells[line["precision"], *line["size"].values()][line["rival"]] = line
    yield "| B, T, D, H | " + " | ".join(f"all six, {name}" for name in PRECISIONS) + " |"
    yield "| --- |" + " --: |" * len(PRECISIONS)
    for size in SIZES:
        shown = [ratio_cell(cells.get((name, *size), {})) for name in PRECISIONS]
        yield f"| {', '.join(map(str, size))} | " + " | ".join(shown) + " |"
    yield ""
    trained = {(line["members"], line["hidden"]): line for line in lines if line.get("rival") == "population"}
    yield "| trainings a second | " + " | ".join(f"H = {hidden}" for hidden in UNITS) + " |"
    yield "| --- |" + " --: |" * len(UNITS)
    for members in POPULATIONS:
        found = [trained.get((members, hidden)) for hidden in UNITS]
        shown = [NOT_YET if one is None else f"{members / one['seconds']:.0f}" for one in found]
        yield f"| {members} at once | " + " | ".join(shown) + " |"
    if lines:
        first = lines[0]
        yield ""
        yield (
            f"Measured on: {first['gpu']}, CUDA {first['cuda']}, Python {first['python']}, torch {first['torch']}, "
            f"Triton {first['triton']}, lstmreg {first['lstmreg']} ({first['commit']}); forward + backward, medians."
        )


def ratio_cell(rivals: dict[str, Any]) -> str:
    """Say what all six cost, as a ratio to cuDNN's time with no knob, and that time."""
    if OURS not in rivals:
        return NOT_YET
    return f"{rivals[OURS]['ratio']:.2f}× of {rivals[BASELINE]['median'] * 1e3:.3g} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the measurements")
    parser.add_argument("--seconds", type=float, default=1.5, help="how long each size and precision is timed")
    parser.add_argument("--parts", nargs="+", choices=["layers", "populations", "demo"], help="default: all")
    parser.add_argument("--table", action="store_true", help="print what was measured last, and measure nothing")
    options = parser.parse_args()
    if options.table:
        print("\n".join(tables(options.results / "gpu.jsonl")))
        return
    if not torch.cuda.is_available():
        sys.exit("There is no GPU that torch sees. What was measured before: python benchmarks/gpu.py --table")
    results = Results(options.results / "gpu.jsonl")
    parts = options.parts or ["layers", "populations", "demo"]
    if "layers" in parts:
        measure_layers(results, options.seconds)
    if "populations" in parts:
        measure_populations(results)
    if "demo" in parts:
        measure_demo(results)


if __name__ == "__main__":
    main()
