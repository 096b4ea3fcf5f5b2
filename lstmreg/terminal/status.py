"""How far a search is: a small table, drawn again and again in a terminal, elsewhere a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.live import Live
from rich.table import Table
from rich.text import Text

from lstmreg.errors import printable

from .console import Console, say_unbroken

if TYPE_CHECKING:
    from lstmreg.report import Status

#: In seconds: a terminal is drawn again so often, and elsewhere a line comes so often if nothing new begins.
REFRESH, _SILENCE = 1.0, 30.0


def show_status(status: Status, out: Console) -> None:
    """Show how far a search is, a line for each thing, of which none is broken: one is there to be pasted."""
    rows = list(_rows(status))
    width = max(len(name) for name, _ in rows)
    for name, said in rows:
        say_unbroken(out, f"{name:<{width}}  {said}")


def _table(status: Status) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, said in _rows(status):
        table.add_row(name, Text(said))
    return table


def _rows(status: Status) -> Iterator[tuple[str, str]]:
    """Yield what there is to say; a name that stood in the line above is not said again."""
    from lstmreg.report import words

    before = ""
    for name, said in words.rows_of_status(status):
        yield "" if name == before else name, printable(said)
        before = name


def watch_status(
    looks: Callable[[], Status],
    out: Console,
    wait: Callable[[float], object] = time.sleep,
    timer: Callable[[], float] = time.monotonic,
) -> None:
    """Show how far a search is until nobody is at work on it.

    Args:
        looks: Looks at the search.
        out: Where to show it: a terminal is drawn again every second; elsewhere there is a line where something new
            begins, and now and then.
        wait: Waits so many seconds.
        timer: Seconds that only rise.
    """
    watched = _until_its_end(looks, wait)
    if out.is_terminal:
        with Live(console=out, auto_refresh=False) as live:
            for status in watched:
                live.update(_table(status), refresh=True)
        return
    from lstmreg.report import words

    shown, spoken, last = "", -float("inf"), None
    for status in watched:
        news, last = status.news, status
        stage = f"{status.going} {'' if news is None else news.stage}"
        if stage != shown or timer() - spoken >= _SILENCE:
            say_unbroken(out, printable(words.line_of_status(status)))
            shown, spoken = stage, timer()
    if last is not None:
        show_status(last, out)


def _until_its_end(looks: Callable[[], Status], wait: Callable[[float], object]) -> Iterator[Status]:
    while True:
        status = looks()
        yield status
        if status.going not in ("starting", "running", "elsewhere"):
            return
        wait(REFRESH)
