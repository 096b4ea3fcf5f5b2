"""That a copy of one process reads a file as one does that was started for it, and ends as one does."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lstmreg.errors import CorruptFileError
from lstmreg.interop.keras.file import container
from tests.interop.files_by_hand import good_weights, hdf5, members, write_keras, write_legacy, zipped
from tests.interop.readers import Readers, has_copies

pytestmark = pytest.mark.skipif(not has_copies(), reason="this system copies no processes")

#: What lstmreg itself calls.
started = container._run


def told(done: subprocess.CompletedProcess[bytes]) -> tuple[int, bytes, bytes]:
    return done.returncode, done.stdout, done.stderr


def many(tree: h5py.File) -> None:
    for index in range(200):
        tree[f"layers/x{index}"] = np.full((50, 50), index, np.float32)


FILES = {
    "a model": write_keras,
    "a legacy model": write_legacy,
    "more than a pipe holds": lambda path: path.write_bytes(hdf5(good_weights(), many)),
    "no model": lambda path: path.write_bytes(b"nothing"),
    "a damaged zip": lambda path: path.write_bytes(zipped(members())[:-30]),
    "damaged HDF5": lambda path: path.write_bytes(hdf5(good_weights())[:2000]),
    "more than may be unpacked": lambda path: path.write_bytes(zipped({**members(), "config.json": bytes(1 << 24)})),
}


@pytest.mark.parametrize("write", FILES.values(), ids=FILES)
def test_a_copy_finds_in_a_file_what_a_started_process_finds(write, readers, tmp_path, monkeypatch):
    found = []

    def run(*call: Any) -> subprocess.CompletedProcess[bytes]:
        found.append([started(*call), readers.run(*call)])
        return found[-1][0]

    monkeypatch.setattr(container, "_run", run)
    write(tmp_path / "a")
    with contextlib.suppress(CorruptFileError):
        container.open_container(tmp_path / "a")
    ((one, other),) = found
    assert told(one) == told(other)
    assert len(one.stdout) > 20


#: Does what the file says, as a fault in the C library would.
PROGRAM = """
import os, sys

def main(path):
    with open(path) as file:
        exec(file.read())

if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.fixture
def others(tmp_path: Path) -> Iterator[tuple[Readers, Path]]:
    """Return copies of a process with that program."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    made = Readers()
    yield made, program
    made.close()


def test_a_copy_ends_as_a_started_process_does(others, tmp_path):
    copies, program = others
    (tmp_path / "evil.py").write_text("there = 3")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "LSTMREG_SAID": "for this file"}
    command = [sys.executable, "-P", "-W", "ignore", str(program), str(tmp_path / "a")]

    def both(code: str) -> list[tuple[int, bytes, bytes]]:
        (tmp_path / "a").write_text(code)
        return [told(run(command, environment, 60)) for run in (started, copies.run)]

    one, other = both("os.kill(os.getpid(), 11)")
    assert one == other == (-11, b"", b"")
    one, other = both("import evil; print(evil.there, os.environ['LSTMREG_SAID'])")
    assert one == other == (0, b"3 for this file\n", b"")
    one, other = both("raise KeyError('broken')")
    assert one[0] == other[0] == 1
    assert one[2].splitlines()[-1] == other[2].splitlines()[-1] == b"KeyError: 'broken'"
    (tmp_path / "a").write_text("while True: pass")
    with pytest.raises(subprocess.TimeoutExpired):
        copies.run(command, environment, 0.5)
    assert both("print(1)")[1] == (0, b"1\n", b"")  # and it goes on
