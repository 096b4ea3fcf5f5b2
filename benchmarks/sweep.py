"""How does the cost grow with steps, sequences, units and threads, one of them at a time?"""

from __future__ import annotations

import argparse

import torch
from harness import BASELINE, Results, Size, arguments, compare, say
from rivals import checked_step

CENTRE = Size(B=32, T=50, D=32, H=64)
AXES = {
    "T": [10, 25, 50, 100, 200, 400],
    "B": [1, 8, 32, 128, 512],
    "H": [8, 16, 32, 64, 128, 256, 512],
}
NAMES = [BASELINE, "lstmreg six", "plain loop"]


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(rounds=10, seconds=3.0)
    options = parser.parse_args()
    results = Results(options.results / "sweep.jsonl")
    torch.set_num_threads(options.threads)
    for axis, values in AXES.items():
        for value in values:
            measure(axis, value, CENTRE._replace(**{axis: value}), options, results)
    for threads in sorted({min(2**k, options.threads) for k in range(options.threads.bit_length() + 1)}):
        torch.set_num_threads(threads)
        measure("threads", threads, CENTRE, options, results)


def measure(axis: str, value: int, size: Size, options: argparse.Namespace, results: Results) -> None:
    say(f"{axis} = {value}, {torch.get_num_threads()} threads")
    steps = {name: checked_step(name, size) for name in NAMES}
    compare(steps, options, results, axis=axis, value=value, size=size._asdict())


if __name__ == "__main__":
    main()
