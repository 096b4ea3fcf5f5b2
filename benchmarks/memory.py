"""What does a training step with all six knobs need in memory, against torch.nn.LSTM's with none? Linux only."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from harness import BASELINE, STANDARD, Results, Size, arguments, say
from rivals import RIVALS, Step

STEPS = 3


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(rounds=3)
    parser.add_argument(
        "--child", nargs=5, metavar=("RIVAL", "B", "T", "D", "H"), help="measure one rival and print it"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        name, *size = options.child
        print(growth(name, Size(*map(int, size))))
        return
    results = Results(options.results / "memory.jsonl")
    for size in STANDARD:
        say(f"memory: {size}")
        # A process for each measurement: what an allocator has once got, it seldom gives back.
        grown = {
            name: [in_fresh_process(name, size, options.threads) for _ in range(options.rounds)]
            for name in (BASELINE, "lstmreg six")
        }
        for name, values in grown.items():
            low, median, high = np.percentile(values, [25, 50, 75])
            measured = {"median_bytes": median, "quartiles_bytes": [low, high], "rounds": options.rounds}
            ratio = median / np.median(grown[BASELINE])
            results.add(size=size._asdict(), rival=name, **measured, ratio=ratio, threads=options.threads)
            say(f"  {name:<18} {median / 2**20:9.2f} MiB   {ratio:6.2f}×")


def in_fresh_process(name: str, size: Size, threads: int) -> int:
    command = [sys.executable, __file__, "--threads", str(threads), "--child", name, *map(str, size)]
    return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def growth(name: str, size: Size) -> int:
    """Return by how many bytes training raises the peak of resident memory beyond weights, input and cotangent.

    A first step does not count, since it loads libraries, starts threads and makes kernels, once and for all;
    what it leaves in the allocator is given back. Then several count: what is free after one may not fit the next.
    """
    step = Step(RIVALS[name], size)
    step()
    step.layer.zero_grad(set_to_none=True)
    step.x.grad = None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # from here on, the kernel counts the peak anew
    before = _status("VmRSS")
    for _ in range(STEPS):
        step()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


if __name__ == "__main__":
    main()
