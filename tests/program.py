"""Runs the command line in a process of its own, which is a copy of one that has loaded what takes long."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self, TextIO

_CONTEXT = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
_CONTEXT.set_forkserver_preload(["lstmreg.cli", "lstmreg.report", "lstmreg.training.single", "matplotlib.pyplot"])


class Program:
    """The command line at work, with the words of :class:`subprocess.Popen`.

    Processes that it starts in turn are children of what it is a copy of: who tests those starts it anew.

    Args:
        folder: Where it runs, in a session of its own.
        arguments: After ``lstmreg``.
        prepare: Called in its process before it begins; a function of a module.
        code: What it runs in place of the command line, as ``python -c`` would.
    """

    def __init__(
        self, folder: Path, *arguments: str, prepare: Callable[[], None] | None = None, code: str | None = None
    ) -> None:
        ends = [_CONTEXT.Pipe(duplex=False) for _ in range(2)]
        writers = [writer for _, writer in ends]
        self._process = _CONTEXT.Process(target=_run, args=(folder, list(arguments), writers, prepare, code))
        self._process.start()
        for writer in writers:
            writer.close()
        self.stdout, self.stderr = (_file(reader) for reader, _ in ends)
        assert self._process.pid is not None
        self.pid = self._process.pid
        self.args = list(arguments)

    @property
    def returncode(self) -> int | None:
        """How it ended; ``None`` while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return how it ended; ``None`` while it runs."""
        return self.returncode

    def wait(self, timeout: float = 240) -> int:
        """Wait for its end, and return how it ended."""
        self._process.join(timeout)
        if (code := self.returncode) is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def communicate(self, timeout: float = 240) -> tuple[str, str]:
        """Wait for its end, and return what it said since it was last read."""
        with ThreadPoolExecutor(2) as both:  # either pipe may be full while the other is read
            shown, said = both.submit(self.stdout.read), both.submit(self.stderr.read)
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            return shown.result(), said.result()

    def send_signal(self, sent: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, sent)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if raised[0] is not None:
            self.kill()
        self.wait()
        for file in (self.stdout, self.stderr):
            file.close()


def completed(folder: Path, *arguments: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``lstmreg``, or some code, with these arguments in a folder; return its exit code and what it said."""
    with Program(folder, *arguments, code=code) as program:
        said = program.communicate()
        return subprocess.CompletedProcess(program.args, program.wait(), *said)


def _file(reader: Connection) -> TextIO:
    with reader:
        return os.fdopen(os.dup(reader.fileno()), encoding="utf-8", newline=None)


def _run(
    folder: Path,
    arguments: list[str],
    writers: list[Connection],
    prepare: Callable[[], None] | None,
    code: str | None,
) -> None:
    import torch

    from lstmreg.__main__ import run

    torch.set_num_threads(1)  # pytest-xdist already fills the cores
    os.chdir(folder)
    os.setsid()
    for number, writer in enumerate(writers, start=1):
        os.dup2(writer.fileno(), number)
        writer.close()
    # A background job ignores them, and its children do; a program on a terminal hears both.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if prepare is not None:
        prepare()
    sys.argv = ["lstmreg" if code is None else "-c", *arguments]
    if code is None:
        run()
    else:
        exec(code, {"__name__": "__main__"})
