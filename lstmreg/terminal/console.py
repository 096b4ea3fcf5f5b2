"""Where a verb speaks: to a terminal, a file or a pipe, whose reader may leave at any time."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import IO, Any, cast

from rich.console import Console as Console
from rich.text import Text


def open_console(stream: Any) -> Console:
    """Return what writes to a stream: with colours and its width where it is a terminal, else plain and 120 wide."""
    wide = None if stream.isatty() else 120
    return Console(file=cast(IO[str], _Patient(stream)), highlight=False, width=wide, force_terminal=stream.isatty())


def say(out: Console, text: str, style: str = "") -> None:
    """Print a text, broken at the width of the terminal. Nothing in it is read as markup."""
    out.print(Text(text, style=style))


def say_unbroken(out: Console, text: str, style: str = "") -> None:
    """Print a text that stays on one line, however long, so that a path or a command in it can be copied."""
    out.print(Text(text, style=style), soft_wrap=True)


class _Patient(io.TextIOBase):
    """A stream that goes on in silence when its reader has left, as behind ``| head``."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        self._guarded(lambda: self.stream.write(text.encode(encoding, "replace").decode(encoding)))
        return len(text)

    def flush(self) -> None:
        self._guarded(self.stream.flush)

    def isatty(self) -> bool:
        return bool(self.stream.isatty())

    def fileno(self) -> int:
        return int(self.stream.fileno())

    def _guarded(self, action: Callable[[], object]) -> None:
        try:
            action()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())
