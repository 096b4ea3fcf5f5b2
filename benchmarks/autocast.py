"""What does an LSTM layer with all six knobs cost under autocast to bfloat16, against torch.nn.LSTM with none?"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from harness import STANDARD, Results, arguments, compare, say
from rivals import checked_step

SHORT = torch.bfloat16
RIVALS = ["nn.LSTM", "lstmreg", "lstmreg tied mask", "lstmreg six"]
IN_FLOAT32 = ["nn.LSTM", "lstmreg six"]


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(threads=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = Results(options.results / "autocast.jsonl")
    for size in STANDARD:
        say(f"autocast: {size}")
        steps = {name: checked_step(name, size, SHORT) for name in RIVALS}
        steps |= {f"{name} in float32": checked_step(name, size) for name in IN_FLOAT32}
        compare(steps, options, results, _processor_clock, size=size._asdict())


def _processor_clock(rival: Callable[[], Any]) -> float:
    """Return the seconds that the processor worked, which neighbours disturb less than those that went by."""
    start = time.process_time()
    rival()
    return time.process_time() - start


if __name__ == "__main__":
    main()
