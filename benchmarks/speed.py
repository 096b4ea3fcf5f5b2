"""What does an LSTM layer with all six knobs cost, against torch.nn.LSTM with none?"""

from __future__ import annotations

import torch
from harness import STANDARD, Results, Size, arguments, compare, say
from rivals import RIVALS, checked_step

GRIDS = {
    "standard": STANDARD,
    "crooked": [
        Size(1, 100, 16, 32),
        Size(1, 100, 128, 256),
        Size(32, 1, 8, 16),
        Size(1, 1, 8, 16),
        Size(4, 1, 2, 3),
        Size(32, 50, 8, 8),
        Size(32, 50, 32, 50),
        Size(33, 37, 7, 65),
    ],
    # torch.compile unrolls the loop over time, and takes minutes where there are many steps.
    "compiled": [Size(32, 10, 8, 16)],
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--grids", nargs="+", choices=GRIDS, default=list(GRIDS), help="which sizes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = Results(options.results / "speed.jsonl")
    for grid in options.grids:
        if grid == "compiled":
            say("Compiling the plain loop, which may take minutes …")
        names = [name for name in RIVALS if grid == "compiled" or name != "compiled loop"]
        for size in GRIDS[grid]:
            say(f"{grid}: {size}")
            steps = {name: checked_step(name, size) for name in names}
            compare(steps, options, results, grid=grid, size=size._asdict())


if __name__ == "__main__":
    main()
