"""Says how far a long piece of work is, where no bar can move: in a log, or behind a pipe."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: Nobody who reads a log should wonder for longer whether anything still happens.
_SILENCE = 30.0


class Pulse:
    """Says a line whenever half a minute went by without one: where the work is, and how long it may still take.

    A thread of its own watches the clock, since a single step of the work may take longer than that.

    Args:
        say: Prints a line; ``None`` for no lines at all, as beside a bar.
        bound: What stands before the time left: ``about``, or ``at most`` where work may end sooner.
        clock: Seconds that only rise.
        ended: Waits between two looks at the clock, and is set at the end.

    Example:
        >>> seconds = iter([0.0, 0.0, 40.0, 40.0, 40.0])
        >>> pulse = Pulse(print, clock=lambda: next(seconds))
        >>> pulse.heard("Training, epoch 1 of 4", 1, 4)
        >>> wait = pulse.tick()
        Training, epoch 1 of 4; 40 s so far, time left not known yet.
    """

    def __init__(
        self,
        say: Callable[[str], None] | None,
        *,
        bound: str = "about",
        clock: Callable[[], float] = time.monotonic,
        ended: threading.Event | None = None,
    ) -> None:
        self._say, self._bound, self._clock = say, bound, clock
        self._ended = threading.Event() if ended is None else ended
        self._thread = threading.Thread(target=self._watch, name="pulse", daemon=True)
        self._begun = self._spoken = clock()
        self._what = "Starting"
        self._first: tuple[float, float] | None = None  # when it was first heard how much was done, and how much
        self._left: float | None = None

    def __enter__(self) -> Pulse:
        if self._say is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def heard(self, what: str, done: float, planned: float, seconds_left: float | None = None) -> None:
        """Take note of where the work is.

        Args:
            what: In words, as a line begins.
            done: How much of it is done, in any unit.
            planned: How much there is, in the same.
            seconds_left: How long it will take from here, where that is known better than by the pace so far.
        """
        now = self._clock()
        self._first = (now, done) if self._first is None else self._first
        begun, before = self._first
        self._what, self._left = what, seconds_left
        if seconds_left is None and done > before:
            self._left = (now - begun) / (done - before) * (planned - done)

    def spoke(self) -> None:
        """Take note that somebody else has said a line."""
        self._spoken = self._clock()

    def tick(self) -> float:
        """Say a line if it is time for one; return in how many seconds it will be."""
        now = self._clock()
        if now - self._spoken >= _SILENCE and self._say is not None:
            left = "time left not known yet" if self._left is None else f"{self._bound} {duration(self._left)} left"
            self._say(f"{self._what}; {duration(now - self._begun)} so far, {left}.")
            self._spoken = now
        return self._spoken + _SILENCE - now

    def _watch(self) -> None:
        while not self._ended.wait(self.tick()):
            pass


def duration(seconds: float) -> str:
    """Say a time in words, no more exactly than it is worth."""
    if seconds < 60:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
