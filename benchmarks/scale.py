"""How far a search goes: trainings per second with workers, what each costs who decides, and a study of 100,000.

    python benchmarks/scale.py trainings     trainings per second, here, in 1 and 2 processes, with Dask
    python benchmarks/scale.py dispatch      what an order costs, and what telling a trial costs
    python benchmarks/scale.py study         a study of 100,000 trainings: its file, opened, gone on with, reported
    python benchmarks/scale.py simulate      up to 1000 workers in simulated time; needs what the first two measured
    python benchmarks/scale.py all           one after the other
    python benchmarks/scale.py --table       the tables of what was measured

The machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import HERE, machine, say
from scaling import dispatching, simulation, studies, trainings
from scaling.tables import tables

PARTS: dict[str, Callable[[argparse.Namespace, Path], list[dict[str, Any]]]] = {
    "trainings": trainings.measure,
    "dispatch": dispatching.measure,
    "study": studies.measure,
    "simulate": simulation.measure,
}


def main() -> None:
    """Measure what is asked for, in place of what was measured of it before."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=[*PARTS, "all"], help="what to measure")
    parser.add_argument("--rounds", type=int, default=5, help="of trainings and of orders (default: %(default)s)")
    parser.add_argument("--blocks", type=int, default=6, help="of the screen that is trained (default: %(default)s)")
    parser.add_argument("--every", type=int, default=1, help="train one in so many of it (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=8150, help="proposals of the large study (default: %(default)s)")
    parser.add_argument("--tells", type=int, default=300, help="trials that are told (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="for the large study, which is kept there and used again")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the measurements")
    parser.add_argument("--table", action="store_true", help="measure nothing, print what was measured")
    options = parser.parse_args()
    if not options.table and options.part is None:
        parser.error("name a part, or --table")
    path = options.results / "scale.jsonl"
    for part in [] if options.table else PARTS:
        if options.part in (part, "all"):
            say(part)
            with tempfile.TemporaryDirectory() as folder:
                measured = PARTS[part](options, Path(folder))
            others = [line for line in kept(path) if line["part"] != part]
            lines = [*others, *({"part": part} | line | machine() for line in measured)]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
            for line in measured:
                say(f"  {json.dumps(line)}")
    print(tables(kept(path)))


def kept(path: Path) -> list[dict[str, Any]]:
    """Return what was measured before."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    main()
