"""How far a fit or a search is: a bar in a terminal, elsewhere a line now and then; and a line for each trial."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from lstmreg.errors import printable

from .console import Console, say, say_unbroken
from .pulse import Pulse

if TYPE_CHECKING:
    from lstmreg.search import Progress, Shown


class _Lines:
    """A bar where there is a terminal; elsewhere a line now and then.

    Args:
        out: Where to.
        what: What stands before the bar.
        total: How much there is to do, where that is known.
        bound: What stands before the time left in a line: ``about``, or ``at most``.
    """

    def __init__(self, out: Console, what: str, total: int | None, bound: str) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        self.bar = Bar(*columns, console=out, disable=not out.is_terminal, transient=True)
        self.task = self.bar.add_task(what, total=total)
        self.pulse = Pulse(None if out.is_terminal else lambda line: say_unbroken(out, f"  {line}"), bound=bound)

    def __enter__(self) -> Self:
        self.bar.start()
        self.pulse.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.pulse.__exit__()
        self.bar.stop()


class FitLines(_Lines):
    """A bar for the epochs of a fit, or a line now and then."""

    def __init__(self, out: Console, epochs: int) -> None:
        super().__init__(out, "training", epochs, "at most")
        self.epochs, self.done = epochs, 0

    def show(self, epochs: float) -> None:
        """Show how many epochs are done, which need not be whole."""
        whole = int(epochs)
        if whole > self.done:  # drawing is slow beside a small batch
            self.done = whole
            self.bar.update(self.task, completed=whole)
        self.pulse.heard(f"Training, epoch {min(whole + 1, self.epochs)} of at most {self.epochs}", epochs, self.epochs)


_TITLES = {
    "learning rate": "No regularization, at each learning rate",
    "screen": "Every value alone, on every block",
    "grow": "Further values, beyond the best",
    "propose": "Proposals of all settings together",
    "race": "More seeds for those about whom they may decide",
    "combine": "Combinations of the best",
    "judge": "The judge: fresh seeds for the pick",
    "test": "The test, once",
    "explain": "What explains the answer: without a column, without early stopping",
}

#: So many settings of a step are shown, the best first.
_SHOWN = 8


class TrialLines(_Lines):
    """The best settings of each step, as soon as it is done, below a bar for the whole study."""

    def __init__(self, out: Console) -> None:
        super().__init__(out, "starting", None, "about")
        self.title = ""

    def show(self, progress: Progress) -> None:
        """Show what to know before it starts, that a step has begun, an epoch or a training ended, or a step did."""
        for note in progress.notes:
            say(self.bar.console, printable(note))
        if progress.role == "plan":
            return
        from lstmreg.search.planning import duration

        title = _TITLES[progress.role]
        epoch = f", epoch {progress.epoch}" if progress.epoch else ""
        left = "" if progress.seconds_left is None else f"{duration(progress.seconds_left)} left"
        description = ", ".join([title + epoch, left] if left else [title + epoch])
        self.bar.update(self.task, description=description, completed=progress.done, total=progress.planned)
        where = f"{title}{epoch}, {progress.done} of {progress.planned} trainings"
        self.pulse.heard(where, progress.done, progress.planned, progress.seconds_left)
        if progress.shown:
            self._show_settings(progress)
        elif progress.record is None and progress.epoch == 0 and title != self.title:
            self.title = title
            said = "; ".join(part for part in (f"{progress.together} trained at once", left) if part)
            say(self.bar.console, f"{title} ({said})", "bold")
            self.pulse.spoke()

    def _show_settings(self, progress: Progress) -> None:
        ranked = sorted(progress.shown, key=_rank)
        if progress.role == "race":  # of which there are many steps
            ranked = ranked[:1]
        for shown in ranked[:_SHOWN]:
            line = f"  {progress.done:>4}/{progress.planned}  {_named(shown):<44} {_outcome(shown)}"
            say_unbroken(self.bar.console, line.rstrip())
        if len(ranked) > _SHOWN:
            say(self.bar.console, f"             and {len(ranked) - _SHOWN} that did worse")
        self.pulse.spoke()


def _rank(shown: Shown) -> float:
    value = shown.loss if shown.ratio is None else shown.ratio
    return math.inf if value is None else value


def _named(shown: Shown) -> str:
    from lstmreg.search.space import describe

    return describe(shown.setting)


def _outcome(shown: Shown) -> str:
    """Say what a setting has shown; one block and seed alone may just be lucky, so there is no line for these."""
    said = []
    if shown.ratio is not None:
        said.append(f"loss ×{shown.ratio:.2f} of the baseline, better on {shown.better} of {shown.blocks} blocks")
    elif shown.loss is not None:
        said.append(f"{shown.loss:.4g}")
    if shown.failed:
        said.append(f"{shown.failed} failed: {printable(shown.failure or '')}")
    return "; ".join(said)
