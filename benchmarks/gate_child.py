"""Measures the layer of the tree that ``PYTHONPATH`` names, when ``gate.py`` asks for it."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from harness import STANDARD, Size, busy_share
from rivals import RIVALS, Step, checked_step
from speed import GRIDS

_LAYERS = {"no knob": "lstmreg", "all six": "lstmreg six"}

#: Sizes at which it must be correct as well, and what is held to the reference there besides it.
_ODD = [*GRIDS["crooked"], Size(5, 3, 1, 1), Size(3, 7, 17, 33)]
_BY_HAND = "plain loop"


class Case(NamedTuple):
    """What is timed."""

    layer: str
    size: Size
    short: torch.dtype | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("threads", type=int)
    parser.add_argument("--sizes", nargs="+", type=_size, default=STANDARD)
    parser.add_argument("--types", nargs="+", default=_types())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cases = {
        f"{kind}, {size.B} {size.T} {size.D} {size.H}, {name}": Case(layer, size, _short(kind))
        for kind in options.types
        for size in options.sizes
        for name, layer in _LAYERS.items()
    }
    clock = time.process_time if options.threads == 1 else time.perf_counter
    serve(cases, clock)


def _size(text: str) -> Size:
    return Size(*map(int, text.split(",")))


def _short(kind: str) -> torch.dtype | None:
    return None if kind == "float32" else torch.bfloat16


def _types() -> list[str]:
    multiplies_bfloat16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return ["float32", "bfloat16"] if multiplies_bfloat16 else ["float32"]


# ---------------------------------------------------------------------- answering


def serve(cases: Mapping[str, Case], clock: Any) -> None:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the libraries print is no answer
    step: Step | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if "check" in request:
            answer: Any = wrong(cases)
        elif "busy" in request:
            answer = busy_share()
        elif "cases" in request:
            answer = list(cases)
        elif "make" in request:
            step = None  # the large ones share no memory
            case = cases[request["make"]]
            step = Step(RIVALS[case.layer], case.size, case.short)
            answer = min(_seconds(step, 1, clock) for _ in range(3))
        else:
            answer = _seconds(step, request["times"], clock)
        print(json.dumps(answer), file=answers, flush=True)


def _seconds(step: Step, times: int, clock: Any) -> float:
    start = clock()
    for _ in range(times):
        step()
    return (clock() - start) / times


def wrong(cases: Mapping[str, Case]) -> str | None:
    """Return what is not as the reference has it, if anything."""
    shorts = {case.short for case in cases.values()}
    checked = [
        *cases.values(),
        *(Case(layer, size, short) for layer in _LAYERS.values() for size in _ODD for short in shorts),
    ]
    checked += [Case(_BY_HAND, size, None) for size in _ODD]  # which holds the reference as well
    try:
        for case in checked:
            checked_step(*case)
    except SystemExit as error:
        return str(error.code)
    return None


if __name__ == "__main__":
    main()
