"""``report.html`` while a search runs: a small page that a browser loads again by itself, until the report is there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from lstmreg.files import write_atomically
from lstmreg.search import Progress, Shown
from lstmreg.search.planning import duration
from lstmreg.search.records import STAGE_OF, Role, Stage
from lstmreg.search.space import key

from .pages import page
from .words import DOING, shown_row

#: In seconds: a page is written no sooner after another, and loaded again so often.
REFRESH = 10.0

#: Writing takes at most one part in so many of the time.
_SHARE = 50

#: What is shown of each part of the experiment; of the test nothing, since the report follows at once.
_TITLES: dict[Stage, str] = {
    "rates": "Learning rates of the network without regularization",
    "choose": "What was tried, beside no regularization",
    "judge": "The judge's fresh seeds, so far",
}


class ProvisionalPage:
    """Listens to a search, and keeps a page of what it has shown so far in its folder.

    A page is written with the first training of this sitting, and then with the news of every :data:`REFRESH` seconds.
    It never stops a search: where it cannot be written, it is tried again later.

    Args:
        run: The run's name.
        directory: Its folder.
        clock: Seconds that pass. Default: the machine's.
    """

    def __init__(self, run: str, directory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._run, self._path, self._clock = run, directory / "report.html", clock
        self._shown: dict[tuple[Stage, str], Shown] = {}
        self._has_begun = False
        self._due = -float("inf")

    def show(self, progress: Progress) -> None:
        """Take in what a search tells, and write the page if its time has come."""
        if progress.role == "plan":
            return
        stage = STAGE_OF[progress.role]
        self._shown |= {(stage, key(shown.setting)): shown for shown in progress.shown}
        # A finished run that is asked again trains nothing, and keeps its report.
        self._has_begun = self._has_begun or not progress.shown
        begins = self._clock()
        if not self._has_begun or begins < self._due:
            return
        with contextlib.suppress(OSError):  # the study says what is wrong with the folder, if that matters
            write_atomically(self._path, self._page(progress, progress.role))
        ends = self._clock()
        self._due = ends + max(REFRESH, _SHARE * (ends - begins))

    def _page(self, progress: Progress, role: Role) -> str:
        left = progress.seconds_left
        return page(
            "provisional.html.j2",
            run=self._run,
            refresh=round(REFRESH),
            doing=DOING[role],
            done=progress.done,
            planned=progress.planned,
            left="" if left is None else duration(left),
            written=f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}",
            tables=[(title, rows) for stage, title in _TITLES.items() if (rows := self._rows(stage))],
        )

    def _rows(self, stage: Stage) -> list[list[str]]:
        own = [shown for (its_stage, _), shown in self._shown.items() if its_stage == stage]
        return [shown_row(shown, is_baseline=not shown.setting and stage != "rates") for shown in own]
