"""A program that searches, and is killed again and again: ``python -m tests.search.killed FOLDER KILLS SEED``.

What takes long to load is loaded once; each search is a copy of this process, which has computed nothing yet.
"""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import sys
import time
from pathlib import Path

from lstmreg import search
from lstmreg.config import Config
from tests.tiny import tiny_config


def configured(folder: Path, name: str) -> Config:
    return dataclasses.replace(tiny_config(folder, trials=4, batch=2, race=5), name=name)


def begun(config: Config) -> int:
    """Begin a search in a copy of this process, which writes down each training that it tells; return its number."""
    if process := os.fork():
        return process
    told = os.open(Path(config.runs) / f"{config.name}.told", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def tell(progress: search.Progress) -> None:
        if progress.record is not None:
            os.write(told, f"{progress.record.stage} {progress.record.identity}\n".encode())

    code = 1
    try:
        search.run(config, tell)
        code = 0
    finally:
        os._exit(code)


def main(folder: Path, kills: int, seed: int) -> None:
    """Search undisturbed, then killed at random moments, and print how many kills met a search."""
    whole, killed = configured(folder, "whole"), configured(folder, "killed")
    Path(whole.runs).mkdir(parents=True)
    began = time.monotonic()
    assert os.waitpid(begun(whole), 0)[1] == 0
    longest = (time.monotonic() - began) / 8
    chance, met = random.Random(seed), 0
    for _ in range(kills):
        process = begun(killed)
        time.sleep(chance.uniform(0, longest))
        os.kill(process, signal.SIGKILL)
        met += os.WIFSIGNALED(os.waitpid(process, 0)[1])
    assert os.waitpid(begun(killed), 0)[1] == 0
    print(met)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
