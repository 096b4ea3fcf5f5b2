"""How far a search is, seen from outside: by what it told last, its study, and whether its process is there."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

from lstmreg.errors import CorruptFileError, NoUsableTrialError
from lstmreg.search import is_owned, read
from lstmreg.search.records import STAGES
from lstmreg.search.shown import failures_by_reason

from .answers import SoFar
from .documents import headline
from .news import Going, Known, News, Status, read_news
from .so_far import how_to_go_on, what_is_known


class Watcher:
    """Looks at a run's folder as often as one likes, and at its study as seldom as that is worth.

    Nothing is written and nothing is held.

    Args:
        directory: The run's folder.
        clock: Seconds since 1970.
        timer: Seconds that only rise.
    """

    def __init__(
        self, directory: Path, clock: Callable[[], float] = time.time, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._directory, self._clock, self._timer = directory, clock, timer
        self._known: Known | None = None
        self._trouble = ""
        self._due = -float("inf")

    def look(self) -> Status:
        """Return how far the search is.

        Raises:
            CorruptFileError: If there is no run in the folder, or its study is damaged and nobody is at work on it.
        """
        is_held = is_owned(self._directory)
        news = read_news(self._directory)
        if not is_held or self._timer() >= self._due:
            self._read(is_held=is_held)
        age = None if news is None else max(0.0, self._clock() - news.written)
        going = self._going(news, is_held=is_held)
        return Status(self._directory, going, self._pid(news), news, age, self._known, self._trouble)

    def _going(self, news: News | None, *, is_held: bool) -> Going:
        if is_held:
            return "running" if self._known is not None or news is not None else "starting"
        if self._known is not None and self._known.stage is None:
            return "ended"
        if news is None or news.state == "ended":
            return "stopped"
        if news.state == "running":
            return "gone" if news.host == socket.gethostname() else "elsewhere"
        return news.state

    def _pid(self, news: News | None) -> int | None:
        if news is not None:
            return news.pid
        try:
            return int((self._directory / "owner.pid").read_text())
        except (OSError, ValueError):
            return None

    def _read(self, *, is_held: bool) -> None:
        """Read the study; while somebody writes there, what cannot be read at this moment is read later."""
        begins = self._timer()
        try:
            self._known, self._trouble = _known(self._directory), ""
        except (CorruptFileError, OSError) as error:
            if not is_held:
                raise
            self._trouble = str(error)
        self._due = self._timer() + max(_SELDOM, _SHARE * (self._timer() - begins))


#: In seconds, and in times as long as reading it takes: so seldom the study of a search that runs is read again.
_SELDOM, _SHARE = 2.0, 20


def _known(directory: Path) -> Known:
    evidence = read(directory)
    records = [record for stage in STAGES for record in evidence.records[stage]]
    failures = failures_by_reason(records)
    try:
        known = what_is_known(evidence)
    except NoUsableTrialError as error:
        said = str(error) if records else "no training has a result yet"
        return Known("learning rate", len(records), 0, how_to_go_on(evidence), said, None, failures)
    said, unfinished = headline(known), known.unfinished
    if unfinished is None:
        return Known(None, len(records), len(records), "", said, None, failures)
    best = None
    if isinstance(known, SoFar) and known.unfinished.stage != "test":
        best = next((shown for shown in known.tried if shown.ratio is not None), None)
    return Known(unfinished.stage, unfinished.done, unfinished.planned, unfinished.go_on, said, best, failures)
