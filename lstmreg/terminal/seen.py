"""What was seen in data, as a table and some sentences; and what is asked about them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from lstmreg.errors import printable

from .console import Console, say, say_unbroken

if TYPE_CHECKING:
    from lstmreg.data.looking import QuestionError, Sighting

#: So many columns are shown, and so much of a cell or a name.
_MOST_COLUMNS, _LONGEST = 40, 40


def show_sighting(seen: Sighting, out: Console) -> None:
    """Show columns, order, parts, task and season.

    Args:
        seen: What was seen.
        out: Where to.
    """
    size = f"{_counted(seen.rows, 'row')}, {_counted(len(seen.columns), 'column')}"
    say(out, f"{printable(seen.path)}: {seen.form}, {size}.", "bold")
    table = Table("column", "holds", "values", "missing", "from, to, or such as", "", box=None, pad_edge=False)
    for column in seen.columns[:_MOST_COLUMNS]:
        cells = (
            column.name,
            column.kind,
            f"{column.distinct:,}",
            f"{column.missing:,}" if column.missing else "",
            ", ".join(_short(example) for example in column.examples[: 2 if column.kind == "time" else 3]),
            column.note,
        )
        table.add_row(*(Text(_short(printable(cell)) if k < 1 else printable(cell)) for k, cell in enumerate(cells)))
    out.print(table)
    if len(seen.columns) > _MOST_COLUMNS:
        say(out, f"and {len(seen.columns) - _MOST_COLUMNS:,} columns more.")
    for name, text in _facts(seen):
        say(out, printable(f"{name}: {text}."))


def _facts(seen: Sighting) -> Iterator[tuple[str, str]]:
    if seen.settings:
        yield "Written with", ", ".join(f"{name} {value!r}" for name, value in seen.settings.items())
    if (clock := seen.clock) is not None:
        longest = f", the longest of {clock.longest_gap:.0f} steps"
        gaps = f"{_counted(clock.gaps, 'gap')}{longest}" if clock.gaps else "no gaps"
        zone = f", time zone {clock.zone}" if clock.zone else ""
        order = "" if clock.is_sorted else ", out of order"
        doubled = f", {_counted(clock.doubled, 'time')} twice" if clock.doubled else ""
        yield "Time", f"{clock.name}, {clock.first} to {clock.last}, step {clock.step}, {gaps}{zone}{order}{doubled}"
    if seen.series is not None:
        parts = seen.series
        yield "Series", f"{parts.count:,} by column {parts.name}, of {_between(parts.shortest, parts.longest)} rows"
    if seen.sequences is not None:
        parts = seen.sequences
        by = f" by column {parts.name}" if parts.name else ""
        yield "Sequences", f"{parts.count:,}{by}, of {_between(parts.shortest, parts.longest)} rows"
    if seen.groups:
        yield "Groups", f"sequences belong to {', '.join(seen.groups)}"
    if seen.target is not None:
        yield "Target", f"{seen.target} ({seen.target_why})"
    if seen.task is not None:
        yield "Task", f"{seen.task} ({seen.task_why})"
    if seen.task == "forecast":
        yield "Season", f"{seen.season.lag} steps ({seen.season.in_words})" if seen.season is not None else "none shows"
        if seen.has_trend:
            yield "Trend", "the last rows of the target leave the range of those before"
    if seen.balance:
        shown = [f"{_short(label)} {count:,}" for label, count in list(seen.balance.items())[:10]]
        more = f" and {len(seen.balance) - 10} more" if len(seen.balance) > 10 else ""
        yield "Classes", f"{len(seen.balance)}: {', '.join(shown)}{more}"
    for note in seen.notes:
        yield "Note", note.removesuffix(".")


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _between(shortest: int, longest: int) -> str:
    return f"{shortest:,}" if shortest == longest else f"{shortest:,} to {longest:,}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def show_question(question: QuestionError, out: Console) -> None:
    """Show the commands among which to choose, a line for each."""
    for command in question.commands:
        say_unbroken(out, f"  {command}")
    if question.more:
        say(out, f"  and {question.more} more.")
