"""Runs the command line in a process of its own, which is a copy of one that has loaded what takes long."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
_CONTEXT.set_forkserver_preload(["lstmreg.cli", "lstmreg.report", "lstmreg.training.single", "matplotlib.pyplot"])


def completed(folder: Path, *arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """Run ``lstmreg`` with these arguments in a folder to its end; return its exit code and what it said."""
    outputs = [folder / f".{os.getpid()}.{name}" for name in ("stdout", "stderr")]
    process = _CONTEXT.Process(target=_run, args=(folder, list(arguments), outputs))
    process.start()
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise subprocess.TimeoutExpired(list(arguments), timeout)
    said = [path.read_text() for path in outputs]
    for path in outputs:
        path.unlink()
    assert process.exitcode is not None
    return subprocess.CompletedProcess(list(arguments), process.exitcode, *said)


def _run(folder: Path, arguments: list[str], outputs: list[Path]) -> None:
    import torch

    from lstmreg.__main__ import run

    torch.set_num_threads(1)  # pytest-xdist already fills the cores
    os.chdir(folder)
    for number, path in enumerate(outputs, start=1):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
    sys.argv = ["lstmreg", *arguments]
    run()
