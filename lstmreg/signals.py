"""The signals that end the program: the first in order, the second at once, both with the same exit code.

It imports nothing heavy, so that a signal is answered from the first moment on.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

#: Whoever takes longer to end in order is ended: what was told before is kept.
_SECONDS_TO_END = 8.0

#: So many seconds later what the interpreter swallowed is raised again, outside of what swallowed it.
_AGAIN = 0.02

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived."""


class _Ending:
    """How the program ends.

    Attributes:
        code: The exit code, 128 and the number of the signal; ``None`` while none has arrived.
        is_said: Whether the user knows.
        is_swallowed: Whether what was raised came to nothing and will be raised again.
        ask: Called at the first Ctrl-C in place of ending, for what can end in order by itself.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self.is_said = False
        self.is_swallowed = False
        self.ask: Callable[[], None] | None = None

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_swallowed:
            self.is_swallowed = False
            self.raise_for(number)
        if self.code is not None:
            self.end_now()
        self.code = 128 + number
        if self.ask is not None and number == signal.SIGINT:
            self.ask()
            return
        threading.Thread(target=self._end_later, daemon=True).start()
        self.raise_for(number)

    def raise_for(self, number: int) -> NoReturn:
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    def see_unraisable(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Have what a signal raised raised again if it met a ``__del__``, out of which nothing can be raised."""
        if self.code is None or unraisable.exc_type not in (KeyboardInterrupt, Terminated):
            sys.__unraisablehook__(unraisable)
            return
        self.is_swallowed = True
        again = threading.Timer(_AGAIN, os.kill, (os.getpid(), self.code - 128))
        again.daemon = True
        again.start()

    def say(self) -> None:
        """Say that it was interrupted, once."""
        if not self.is_said:
            self.is_said = True
            os.write(2, b"Interrupted.\n")

    def end_now(self) -> None:
        self.say()
        os._exit(self.code or 0)

    def _end_later(self) -> None:
        time.sleep(_SECONDS_TO_END)
        self.end_now()


_ending = _Ending()


def answer_signals() -> None:
    """Answer the signals from now on; one that is ignored, as by ``nohup``, stays so."""
    for name in _NAMES:
        number = getattr(signal, name, None)  # not every system has each
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _ending.handle)
    sys.unraisablehook = _ending.see_unraisable


@contextmanager
def first_interrupt_asks(ask: Callable[[], None]) -> Iterator[None]:
    """Have the first Ctrl-C call ``ask`` in place of ending, as long as this lasts; the second ends at once."""
    _ending.ask = ask
    try:
        yield
    finally:
        _ending.ask = None


def exit_code() -> int | None:
    """Return the code with which the program ends because of a signal; ``None`` if none has arrived."""
    return _ending.code


def is_said() -> bool:
    """Tell whether the user knows that it was interrupted, and take it that they know from now on."""
    known, _ending.is_said = _ending.is_said, True
    return known


def exit_now(code: int) -> None:
    """End the program; after a signal without the interpreter's own end, in which another would be another end."""
    if _ending.code is None:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads any more
            stream.flush()
    _ending.end_now()
