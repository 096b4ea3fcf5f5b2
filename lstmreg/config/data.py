"""Which data to read, and what to predict from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from lstmreg.rules import ONE_CHARACTER, Rule, between, check_section, require, ruled

#: What may stand between groups of three digits.
THOUSANDS = (",", ".", " ", "'")

_LAG = Rule("1, 'season' or null", lambda value: (value, type(value)) in ((1, int), ("season", str)))

#: What of a time may go in.
CALENDAR = ("hour", "weekday", "day", "month", "yearday")
_CALENDAR = Rule("one of " + ", ".join(CALENDAR), lambda value: value in CALENDAR, CALENDAR)
_TEST_FRACTION = Rule(
    "above 0 and below 0.5 (a single fit validates on as many rows, and trains on the others; the default is 0.15)",
    lambda value: math.isfinite(value) and 0 < value < 0.5,
)


@dataclass(frozen=True)
class DataConfig:
    """Which table to read, and what to predict from it.

    Args:
        path: A table with one row per time step, oldest first (CSV or TSV with one header row, also gzipped, Parquet,
            NPY); of sequences also a long table, a .ts or .npz file, or a folder of files.
        target: The column to predict; to forecast also a list of such, and each step ahead has a number for each.
        features: The input columns. Default: every column but ``time`` and ``group``, the target's own past included.
        time: The column with time stamps (ISO 8601) or other rising numbers; it orders the rows and is
            never an input.
        window: How many past steps the model sees, T.
        horizon: How many steps ahead it forecasts, each one an output.
        season: Length of the season in steps, for the floor "the same as one season ago".
        missing: What to do with a missing cell: refuse, fill from the row before, or drop its row.
        sort: Whether to sort the rows by ``time`` where they are out of order.
        delimiter: The character between two cells.
        decimal: The decimal sign.
        test_fraction: The last part of the rows, of several series that of their common times; touched once, at the
            end.
        difference: Whether the network learns the target's change rather than its level: from one step before
            (``1``), or from one season before (``season``). For a target with a trend. Forecasts and errors stay
            in the target's own units.
        thousands: The character between groups of three digits, as in ``1,188``.
        sequence: The column that says which sequence a row belongs to; of a table of labels, that with the files'
            names. Where a case is a whole sequence.
        group: The column that says what a row or a sequence belongs to. Of a forecast: which series, such as a shop;
            one network learns all of them, and no window has rows of two. Of sequences: such as a subject; one group
            is never on both sides of a split.
        labels: A CSV file with a row for each file of the folder ``path``: its name, its target, perhaps its group.
        tokens: The input columns whose cells are no numbers but tokens or categories.
        known_future: Columns whose values are known in advance, such as promotions or prices: each step of the window
            also sees the value ``horizon`` steps after it. To forecast, the table must go on with them for
            ``horizon`` rows, whose target is empty. Such a column is also a past input if ``features`` has it.
        calendar: What of the time column goes in, as sine and cosine, of the moment ``horizon`` steps ahead. For time
            stamps of ISO 8601.
        scale: Of several series: whether one scale serves all, or each group has its own, from its training rows.
        weight: The column that says how much a row counts, or a sequence: positive numbers, of which only the ratios
            matter.
        split_by: How sequences are divided into those that train, validate and test: random, with its share of each
            class in every part; group, so that no group is on two sides; time, so that what begins earlier trains.
            Null: group where there are groups, else random.
    """

    path: str
    target: str | list[str] = field(metadata=ruled(filled="a column or a list of columns"))
    features: list[str] | None = field(default=None, metadata=ruled(filled="a list of columns"))
    time: str | None = None
    window: int = field(default=24, metadata=ruled(between(1)))
    horizon: int = field(default=1, metadata=ruled(between(1)))
    season: int | None = field(default=None, metadata=ruled(between(1)))
    missing: Literal["error", "ffill", "drop"] = "error"
    sort: bool = False
    delimiter: str = field(default=",", metadata=ruled(ONE_CHARACTER))
    decimal: Literal[".", ","] = "."
    test_fraction: float = field(default=0.15, metadata=ruled(_TEST_FRACTION))
    difference: int | str | None = field(default=None, metadata=ruled(_LAG))
    thousands: str | None = None
    sequence: str | None = None
    group: str | None = None
    labels: str | None = None
    tokens: list[str] | None = field(default=None, metadata=ruled(filled="a list of columns"))
    known_future: list[str] | None = field(default=None, metadata=ruled(filled="a list of columns"))
    calendar: list[Literal["hour", "weekday", "day", "month", "yearday"]] | None = field(
        default=None, metadata=ruled(_CALENDAR, filled="a list of parts of a time")
    )
    scale: Literal["together", "by_group"] = "together"
    weight: str | None = None
    split_by: Literal["random", "group", "time"] | None = None

    def __post_init__(self) -> None:
        if self.delimiter in ("\\t", "tab"):  # as people write it on a command line
            object.__setattr__(self, "delimiter", "\t")
        check_section(self, "data.")
        require(
            self.difference != "season" or self.season is not None,
            "data.season",
            "set where data.difference is 'season'",
            self.season,
        )
        require(
            self.thousands is None or (self.thousands in THOUSANDS and self.thousands != self.decimal),
            "data.thousands",
            f"one of {', '.join(map(repr, THOUSANDS))}, and not data.decimal",
            self.thousands,
        )
        require(not self.sort or self.time is not None, "data.time", "set where data.sort is", self.time)
        for name in ("target", "known_future", "calendar"):
            values = getattr(self, name)
            once = not isinstance(values, list) or len(set(values)) == len(values)
            require(once, f"data.{name}", "a list in which each name stands once", values)
        self._check_forecast()

    def _check_forecast(self) -> None:
        """See that what concerns several series and their future fits together."""
        by_group = self.scale == "by_group"
        require(not by_group or self.group is not None, "data.group", "set where data.scale is by_group", self.group)
        require(not self.calendar or self.time is not None, "data.time", "set where data.calendar is", self.time)
        require(
            not (self.known_future or self.calendar) or self.window >= self.horizon,
            "data.window",
            "data.horizon or more where data.known_future or data.calendar is set (its last steps see them)",
            self.window,
        )
        both = [name for name in self.known_future or [] if name in self.targets]
        require(not both, "data.known_future", "columns that are not data.target, which nobody knows in advance", both)

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns to forecast."""
        return (self.target,) if isinstance(self.target, str) else tuple(self.target)

    @property
    def one_target(self) -> str:
        """The column of classes, which must be a single one.

        Raises:
            ConfigError: If there are several.
        """
        require(len(self.targets) == 1, "data.target", "one column where it holds classes", self.target)
        return self.targets[0]

    @property
    def future(self) -> bool:
        """Whether a window sees something of the steps that are forecast."""
        return bool(self.known_future or self.calendar)

    @property
    def lag(self) -> int:
        """How many rows back the target is differenced; 0 for not."""
        return {None: 0, 1: 1, "season": self.season or 0}[self.difference]

    @property
    def past(self) -> int:
        """How many rows must lie before a forecast's first step."""
        return self.window + self.lag
