"""What was seen in data, and what somebody wished beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

#: What a column holds.
ColumnKind = Literal["number", "time", "category", "text", "constant", "empty"]


def counted(number: int, what: str) -> str:
    """Say how many of something there are."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class Wish:
    """What is known before looking; null is what is to be found.

    Attributes:
        target: The column to predict.
        task: What is to be done with it.
        time: The column that orders the rows.
        sequence: The column that tells sequences apart.
        group: The column that tells series apart, or says what a sequence belongs to.
        labels: The table of labels of a folder of files.
        delimiter: The character between two cells.
        decimal: The decimal sign.
        thousands: The character between groups of three digits.
        has_header: Whether the first line surely holds names, even if they look like numbers.
    """

    target: str | None = None
    task: str | None = None
    time: str | None = None
    sequence: str | None = None
    group: str | None = None
    labels: str | None = None
    delimiter: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    has_header: bool = False


@dataclass(frozen=True)
class SeenColumn:
    """A column, and what it holds.

    Attributes:
        name: Of the column.
        kind: What it holds.
        missing: Cells without a value.
        distinct: How many values differ.
        examples: The first of these, as they stand in the file, or the least and the greatest number.
        is_whole: Whether all are whole numbers.
        same_as: An earlier column with the same cells.
        note: What else is to be known of it: why it is no input, or how it is read.
        is_input: Whether a network can read it as it is.
        is_echo: Whether it says the same as the target, in other words.
        is_faulty: Whether most of its cells are numbers, and the note says which is the first that is none.
    """

    name: str
    kind: ColumnKind
    missing: int = 0
    distinct: int = 0
    examples: tuple[str, ...] = ()
    is_whole: bool = False
    same_as: str | None = None
    note: str = ""
    is_input: bool = True
    is_echo: bool = False
    is_faulty: bool = False


@dataclass(frozen=True)
class Clock:
    """The column that orders the rows.

    Attributes:
        name: Of the column.
        step: The usual distance of two rows, in words.
        lags: Lengths of a season that make sense for that step, the shortest first; none where nothing is known.
        first: The earliest time, as it stands in the file.
        last: The latest.
        gaps: How often more than one and a half usual steps lie between two rows.
        longest_gap: The longest of them in usual steps.
        zone: The time zone, in words; of numbers and periods nothing.
        is_sorted: Whether the rows stand in order, within each series if there are several.
        doubled: Rows with the same time as another one of their series.
        is_date: Whether it holds dates, and no mere numbers.
        first_doubled: Which time comes again, and where: of several the first such row.
    """

    name: str
    step: str
    lags: tuple[int, ...]
    first: str
    last: str
    gaps: int = 0
    longest_gap: float = 0.0
    zone: str = ""
    is_sorted: bool = True
    doubled: int = 0
    is_date: bool = True
    first_doubled: str = ""


@dataclass(frozen=True)
class Parts:
    """A column that parts the rows: into series, or into sequences.

    Attributes:
        name: Of the column.
        count: How many parts there are.
        shortest: Rows of the shortest one.
        longest: Rows of the longest one.
        labels: Columns that have one value in each part, and differ between parts.
        others: Other columns that would part the rows as well.
    """

    name: str
    count: int
    shortest: int
    longest: int
    labels: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Season:
    """A season of the target.

    Attributes:
        lag: Its length in steps.
        correlation: Of the target with itself one season ago, without its trend, in [-1, 1].
        others: Other lags that stand out, with their correlations.
    """

    lag: int
    correlation: float
    others: Mapping[int, float] = field(default_factory=dict)

    @property
    def in_words(self) -> str:
        """How sure it is."""
        sure = "clear" if self.correlation >= 0.5 else "likely" if self.correlation >= 0.3 else "weak"
        return f"{sure}: correlation {self.correlation:.2f} with the value {self.lag} steps before, without the trend"


@dataclass(frozen=True)
class Sighting:
    """All that was seen.

    Attributes:
        path: What was looked at.
        form: In words, such as ``table``.
        rows: How many rows it has, of all sequences together.
        columns: Its columns, in their order.
        clock: The column that orders the rows, if one does.
        series: The column that tells several series apart, if there are several.
        sequences: The column that tells sequences apart, or the sequences of a file that has nothing else.
        groups: Columns that say what a sequence belongs to.
        target: What is to be predicted, if that is beyond doubt.
        target_why: Why it is.
        targets: Columns that could be.
        task: What is to be done with it, if that is beyond doubt.
        task_why: Why it is.
        season: Of the target.
        has_trend: Whether the last rows of the target leave the range of those before.
        balance: Of classes their numbers of sequences, or of labelled rows, the most frequent first.
        settings: Settings by which the file is read: those that are not the default.
        notes: Whatever else is to be known, a sentence each.
        has_gaps_at_start: Whether a column that has values has none in the first row, of the table or of a sequence.
        could_be_sequences: Columns that might tell sequences apart.
        labels: Of a folder the table that labels its files.
        beside: Columns of that table that are not used.
    """

    path: str
    form: str
    rows: int
    columns: tuple[SeenColumn, ...]
    clock: Clock | None = None
    series: Parts | None = None
    sequences: Parts | None = None
    groups: tuple[str, ...] = ()
    target: str | None = None
    target_why: str = ""
    targets: tuple[str, ...] = ()
    task: str | None = None
    task_why: str = ""
    season: Season | None = None
    has_trend: bool = False
    balance: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    has_gaps_at_start: bool = False
    could_be_sequences: tuple[str, ...] = ()
    labels: str | None = None
    beside: tuple[str, ...] = ()

    def column(self, name: str) -> SeenColumn:
        """Return a column by its name."""
        return next(column for column in self.columns if column.name == name)

    @property
    def missing(self) -> int:
        """How many cells have no value."""
        return sum(column.missing for column in self.columns)


def rows_and_columns(seen: Sighting) -> str:
    """Say how large something is."""
    return f"{counted(seen.rows, 'row')}, {counted(len(seen.columns), 'column')}"
