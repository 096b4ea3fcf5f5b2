"""How far a fit or a search is: a bar in a terminal, elsewhere a line now and then; and a line for each trial."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from lstmreg.errors import printable

from .console import Console, say, say_unbroken
from .pulse import Pulse

if TYPE_CHECKING:
    from lstmreg.search import Progress
    from lstmreg.search.records import Record


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


_STAGE_TITLES = {
    "baseline": "No regularization, at each learning rate",
    "alone": "Each knob alone",
    "sampled": "All knobs together",
    "shortlist": "The best of them on every split",
    "leave one out": "The best without each of its knobs",
    "confirm": "Confirmation on fresh splits",
    "test": "The test, once",
}


class TrialLines(_Lines):
    """One line per setting, when all its replicates are done, below a bar for the whole study."""

    def __init__(self, out: Console) -> None:
        super().__init__(out, "starting", None, "about")
        self.ended: dict[str, list[Record]] = {}

    def show(self, progress: Progress) -> None:
        """Show what to know before it starts, that a stage has begun, or an epoch or a trial has ended."""
        for note in progress.notes:
            say(self.bar.console, printable(note))
        if progress.role == "plan":
            return
        from lstmreg.search.planning import duration

        title = _STAGE_TITLES[progress.role]
        epoch = f", epoch {progress.epoch}" if progress.epoch else ""
        left = "" if progress.seconds_left is None else f"{duration(progress.seconds_left)} left"
        description = ", ".join([title + epoch, left] if left else [title + epoch])
        self.bar.update(self.task, description=description, completed=progress.done, total=progress.planned)
        where = f"{title}{epoch}, {progress.done} of {progress.planned} trainings"
        self.pulse.heard(where, progress.done, progress.planned, progress.seconds_left)
        if progress.record is not None:
            self._show_trial(progress, progress.record)
        elif progress.epoch == 0:
            self._flush(progress)
        if progress.record is None and progress.epoch == 0 and progress.together > 0:
            at_once = f"{progress.together} trained at once" if progress.together > 1 else ""
            said = "; ".join(part for part in (at_once, left) if part)
            say(self.bar.console, f"{title} ({said})" if said else title, "bold")
            self.pulse.spoke()

    def _flush(self, progress: Progress) -> None:
        """Show the settings of which some replicates were trained elsewhere: before, or in another stage."""
        for setting, replicates in self.ended.items():
            self._print(progress, setting, self._outcome(replicates[-1], replicates))
        self.ended = {}

    def _show_trial(self, progress: Progress, record: Record) -> None:
        from lstmreg.search.space import describe

        setting = describe(record.setting)
        replicates = self.ended.setdefault(setting, [])
        replicates.append(record)
        if record.failure is not None or len(replicates) >= progress.replicates:
            self._print(progress, setting, self._outcome(record, replicates))
            self.ended.pop(setting)

    def _print(self, progress: Progress, setting: str, outcome: str) -> None:
        line = f"  {progress.done:>4}/{progress.planned}  {setting:<44} {outcome}"
        say_unbroken(self.bar.console, line.rstrip())
        self.pulse.spoke()

    def _outcome(self, record: Record, replicates: list[Record]) -> str:
        place = f"split {record.replicate.split + 1} seed {record.replicate.seed + 1}"
        if record.failure is not None:
            return f"{place}  {printable(record.failure)}"

        results = [r.result for r in replicates if r.result is not None]
        errors = [result.test_error for result in results if result.test_error is not None]
        ratios = [result.relative for result in results if result.relative is not None]
        where = place if len(replicates) == 1 else f"{len(replicates)} replicates"
        metric, values = ("test error", errors) if errors else ("loss", [result.val_loss for result in results])
        line = f"{where:<14}  {metric} {sum(values) / len(values):<8.4g}"
        if ratios and len(replicates) > 1:  # one split and seed alone may just be lucky
            better = sum(ratio < 1 for ratio in ratios)
            # As the answer has it: the mean of their logarithms.
            line += f" ×{statistics.geometric_mean(ratios):.2f} of the baseline, better on {better}"
        return line
