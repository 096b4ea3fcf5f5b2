"""Looks at a table: what its columns hold, what orders and parts its rows, and what could be predicted from it."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import DataConfig
from lstmreg.data.sources.columns import Table
from lstmreg.errors import ConfigError, did_you_mean

from .clock import Stamps, clock_of, stamps_of
from .fields import Field, fields_of, range_of
from .parts import is_owner, is_sequence, parts_by, sequences_of, series_of
from .season import season_of
from .sighting import Clock, ColumnKind, Parts, SeenColumn, Sighting, Wish

#: Names of columns of numbers that order rows.
_TIMES = frozenset(
    ("time", "timestamp", "t", "date", "datetime", "year", "ds", "step", "index", "day", "week", "month", "frame")
)

#: Names of columns that are to be predicted.
_TARGETS = frozenset(("target", "y", "label", "labels", "class"))

#: Text with more values than this share of the rows, or than this many, is no category.
_FEW, _FEW_ROWS = 1000, 0.2

#: A column in which more is missing is no input.
_MOST_MISSING = 0.5

#: Fewer sequences are no set to learn from, unless somebody says that they are.
_LEAST_SEQUENCES = 10

#: Whole numbers with more values are no classes.
_MOST_CLASSES = 20

#: So much of the series is looked at for its trend, as the test will be.
_LAST = 0.15


def look_at(table: Table, wish: Wish, config: DataConfig | None = None) -> Sighting:
    """Look at a table.

    Args:
        table: The table.
        wish: What is known of it.
        config: By which signs its numbers are written. Default: points.

    Raises:
        ConfigError: If a column that is wished for is not there.
        DataError: If the table is damaged.
    """
    for setting in ("target", "time", "sequence", "group"):
        name = getattr(wish, setting)
        if name is not None and name not in table.header:
            columns = ", ".join(table.header)
            raise ConfigError(
                f"--{setting}: unknown column {name!r} in {table.path}; columns: {columns}."
                f"{did_you_mean(name, table.header)}"
            )
    config = config if config is not None else DataConfig(table.path, "")
    fields = fields_of(table, config)
    return _Looking(table, fields, wish, config).sighting()


@dataclass
class _Looking:
    """What is found on the way from a table to a sighting."""

    table: Table
    fields: list[Field]
    wish: Wish
    config: DataConfig

    def __post_init__(self) -> None:
        self.by_name = {field.name: field for field in self.fields}
        self.rows = len(self.fields[0].codes)
        self.times = {f.name: stamps for f in self.fields if (stamps := stamps_of(f, self.table)) is not None}
        self.notes: list[str] = []

    def sighting(self) -> Sighting:
        time, series, sequences = self._ordered()
        parts = series if series is not None else sequences
        codes = None if parts is None else self.by_name[parts.name].codes
        clock = None if time is None else clock_of(self.by_name[time], self.times[time], codes, self._place)
        seen = Sighting(self.table.path, "table", self.rows, (), clock, series, sequences)
        columns = self._columns(seen)
        targets = self._targets(seen, columns)
        target, why = self._target(seen, targets)
        seen = dataclasses.replace(
            seen,
            columns=columns,
            targets=tuple(targets),
            target=target,
            target_why=why,
            groups=() if sequences is None else self._owners(sequences, target),
        )
        task, task_why = self._task(seen)
        if task in ("classify", "regress", "label") and sequences is not None:
            seen = dataclasses.replace(seen, series=None)
        elif task == "forecast":
            seen = dataclasses.replace(
                seen, series=series or sequences if self._is_by_part(seen) else series, sequences=None
            )
        seen = dataclasses.replace(
            seen, task=task, task_why=task_why, could_be_sequences=self._could_be_sequences(target)
        )
        if task != "forecast" and target is not None:
            seen = dataclasses.replace(seen, columns=self._without_echoes(columns, target, (series, sequences)))
        if {"year", "month", "day"} <= {name.strip().lower() for name in self.by_name} and not self._has_dates(seen):
            self.notes.append("The time stands in several columns; one with ISO 8601 (2024-03-31T14:00) would be read")
        return self._with_details(seen)

    def _place(self, row: int) -> str:
        return f"{self.table.unit} {self.table.read(self.config, []).lines[row]}"

    # ---------------------------------------------------------------- order and parts

    def _ordered(self) -> tuple[str | None, Parts | None, Parts | None]:
        """Return the column of times, that of several series, and that of sequences."""
        others = [f for f in self.fields if f.name not in self.times]
        time = self._time()
        if self.wish.sequence is not None:
            named = parts_by(self.by_name[self.wish.sequence], others)
            return time or self._counter(named), None, named
        if time is not None:
            stamps = self.times[time].values
            if self.wish.group is not None:
                return time, parts_by(self.by_name[self.wish.group], others), sequences_of(others)
            if len(np.unique(stamps)) == self.rows:
                return time, None, None
            return time, series_of(others, stamps), sequences_of(others)
        sequences = sequences_of(others)
        if sequences is None and self.wish.group is not None:
            return self._counter(None), parts_by(self.by_name[self.wish.group], others), None
        return self._counter(sequences), None, sequences

    def _time(self) -> str | None:
        """Return the column of time stamps that tells most rows apart."""
        if self.wish.time is not None:
            name = self.wish.time
            field = self.by_name[name]
            if name not in self.times and field.values is not None and not field.missing:
                self.times[name] = Stamps(field.values, "numbers")
            if name not in self.times:
                raise ConfigError(f"--time: column {name!r} of {self.table.path} holds no times, nor numbers.")
            return name
        read = [name for name, stamps in self.times.items() if stamps.is_read] or list(self.times)
        return max(read, key=lambda name: len(self.by_name[name].words), default=None)

    def _counter(self, parts: Parts | None) -> str | None:
        """Return a column of whole numbers that rises by equal steps, or has the name of a time, in each part."""
        which = None if parts is None else self.by_name[parts.name].codes
        order = np.arange(self.rows) if which is None else np.argsort(which, kind="stable")
        inside = slice(None) if which is None else np.diff(which[order]) == 0
        for field in self.fields:
            if field.values is None or field.missing or (parts is not None and field.name == parts.name):
                continue
            steps = np.diff(field.values[order])[inside]
            is_named = field.name.strip().lower() in _TIMES
            is_even = field.is_whole and len(steps) > 1 and len(set(steps.tolist())) == 1
            if len(steps) and (steps > 0).all() and (is_named or is_even):
                self.times[field.name] = Stamps(field.values, "numbers")
                return field.name
        return None

    def _is_by_part(self, seen: Sighting) -> bool:
        """Tell whether somebody wants forecasts of what looks like sequences."""
        return self.wish.task == "forecast" and (seen.clock is None or seen.sequences is not None)

    def _could_be_sequences(self, target: str | None) -> tuple[str, ...]:
        """Return the columns that might tell sequences apart, first those in which the target does not change."""
        found = []
        for field in self.fields:
            is_name = field.values is None or field.is_whole
            if field.missing or not is_name or field.name in (target, *self.times):
                continue
            if 2 <= len(field.words) <= self.rows / 2:
                is_constant = target is not None and target in parts_by(field, [self.by_name[target]]).labels
                found.append((not is_constant, field.values is not None, -len(field.words), field.name))
        return tuple(name for *_, name in sorted(found))

    def _owners(self, sequences: Parts, target: str | None) -> tuple[str, ...]:
        if self.wish.group is not None:
            return (self.wish.group,)
        return tuple(name for name in sequences.labels if is_owner(name) and name != target)

    # ---------------------------------------------------------------- columns

    def _columns(self, seen: Sighting) -> tuple[SeenColumn, ...]:
        sums: dict[str, str] = {}
        clock, columns = seen.clock, []
        for field in self.fields:
            kind = self._kind(field, clock)
            digest = hashlib.sha256(
                field.codes.tobytes() + "\0".join(field.words).encode("utf-8", "replace")
            ).hexdigest()
            same_as = sums.setdefault(digest, field.name)
            note, is_input = self._note(field, kind, None if same_as == field.name else same_as, clock)
            is_faulty = kind in ("category", "text") and same_as == field.name and note != ""
            columns.append(
                SeenColumn(
                    name=field.name,
                    kind=kind,
                    missing=field.missing,
                    distinct=len(field.words),
                    examples=_examples(field),
                    is_whole=field.is_whole,
                    same_as=None if same_as == field.name else same_as,
                    note=note,
                    is_input=is_input,
                    is_faulty=is_faulty,
                )
            )
        return tuple(columns)

    def _kind(self, field: Field, clock: Clock | None) -> ColumnKind:
        if not field.words:
            return "empty"
        if field.name in self.times and (field.values is None or (clock is not None and field.name == clock.name)):
            return "time"
        if len(field.words) == 1 and self.rows > 1 and not field.missing:
            return "constant"
        if field.values is not None:
            return "number"
        return "category" if len(field.words) <= max(2, min(_FEW, _FEW_ROWS * self.rows)) else "text"

    def _note(self, field: Field, kind: ColumnKind, same_as: str | None, clock: Clock | None) -> tuple[str, bool]:
        """Say what is to be known of a column, and whether it can be an input as it is."""
        if kind == "empty":
            return "has no value", False
        if kind == "constant":
            return "tells a model nothing", False
        if kind == "time":
            if not self.times[field.name].is_read:
                return "is not read: write times as ISO 8601, such as 2024-03-31, or as 31.03.2024", False
            if clock is None or clock.name != field.name:
                return "another time", False
            is_bare = field.values is not None and self.times[field.name].kind != "numbers"
            return "orders the rows" + (", but is read as numbers: write 2024-03-31" if is_bare else ""), False
        if same_as is not None:
            return f"is the same as {same_as!r}", False
        if field.values is None:
            return self._note_on_text(field)
        if field.missing > _MOST_MISSING * self.rows:
            return f"{field.missing / self.rows:.0%} is missing", False
        steps = np.diff(field.values)
        if field.is_whole and self.rows > 2 and not field.missing and (steps == 1).all():
            return "counts the rows", False
        return "", True

    def _note_on_text(self, field: Field) -> tuple[str, bool]:
        counts = np.bincount(field.codes[field.codes >= 0], minlength=len(field.words))
        numbers = np.array([_reads_as_number(word) for word in field.words])
        if field.fault is not None and counts[numbers].sum() > 0.5 * counts.sum():
            count, where = int(counts[~numbers].sum()), f"{self.table.unit} {field.fault.row}"
            those = "1 cell is no number, on" if count == 1 else f"{count} cells are no numbers, the first on"
            return f"{those} {where}: {field.fault.cell!r}", False
        return "", False

    def _without_echoes(
        self, columns: Sequence[SeenColumn], target: str, parts: Sequence[Parts | None]
    ) -> tuple[SeenColumn, ...]:
        """Take columns out of the inputs that say what the target says, such as the name of a class for its number."""
        codes, size = self.by_name[target].codes, len(self.by_name[target].words)
        roles = {target, *(part.name for part in parts if part is not None)}
        found = []
        for column in columns:
            own = self.by_name[column.name]
            pairs = len(np.unique(own.codes * (size + 1) + codes)) if len(own.words) == size > 1 else 0
            is_echo = column.name not in roles and pairs == size and not own.missing
            found.append(
                dataclasses.replace(column, note="says what the target says", is_input=False, is_echo=True)
                if is_echo
                else column
            )
        return tuple(found)

    # ---------------------------------------------------------------- target and task

    def _targets(self, seen: Sighting, columns: Sequence[SeenColumn]) -> list[str]:
        """Return the columns that could be predicted."""
        taken = {part.name for part in (seen.series, seen.sequences) if part is not None} | {self.wish.group}
        labels = seen.sequences.labels if seen.sequences is not None else ()
        numbers = [c.name for c in columns if c.is_input and c.name not in taken and not is_owner(c.name)]
        texts = [c.name for c in columns if c.name in labels and c.kind in ("category", "text") and c.name not in taken]
        found = [c for c in columns if c.name in {*numbers, *texts} and not is_owner(c.name)]
        # Numbers of few values, such as the weekday, are seldom what is asked for.
        return [c.name for c in sorted(found, key=lambda c: c.kind == "number" and c.distinct <= _MOST_CLASSES)]

    def _target(self, seen: Sighting, targets: Sequence[str]) -> tuple[str | None, str]:
        if self.wish.target is not None:
            return self.wish.target, "as you said"
        labels = [] if seen.sequences is None else [name for name in seen.sequences.labels if name in targets]
        is_panel = seen.series is not None
        if self._is_set(seen) and not is_panel and len(labels) == 1 and self.wish.task in (None, "classify", "regress"):
            return labels[0], "the only column that has one value in each sequence"
        named = [name for name in targets if name.strip().lower() in _TARGETS]
        if len(named) == 1:
            return named[0], "by its name"
        if len(targets) == 1:
            return targets[0], "the only column that could be"
        return None, ""

    def _is_set(self, seen: Sighting) -> bool:
        """Tell whether there are sequences beyond doubt: somebody says so, their column does, or each counts its steps.

        Twelve shops in twelve runs of rows, each in a region, look the same but for that.
        """
        if seen.sequences is None or self.wish.sequence is not None:
            return seen.sequences is not None
        is_counted = seen.clock is not None and not self._has_dates(seen)
        return seen.sequences.count >= _LEAST_SEQUENCES and (is_counted or is_sequence(seen.sequences.name))

    def _task(self, seen: Sighting) -> tuple[str | None, str]:
        if self.wish.task is not None:
            return self.wish.task, "as you said"
        if seen.target is None:
            return None, ""
        field = self.by_name[seen.target]
        if seen.sequences is not None and seen.target in seen.sequences.labels:
            if field.values is None:
                return "classify", "the target is text, one for each sequence"
            if field.is_whole and len(field.words) <= min(_MOST_CLASSES, seen.sequences.count / 2):
                return "classify", f"the target has {len(field.words)} whole numbers, one for each sequence"
            return "regress", "the target is a number, one for each sequence"
        if field.values is None:
            return ("label", "the target is text and changes within a sequence") if seen.sequences else (None, "")
        if seen.sequences is not None and seen.series is None and not self._has_dates(seen):
            return None, ""
        return "forecast", "the target is a number, and its rows follow each other"

    def _has_dates(self, seen: Sighting) -> bool:
        return seen.clock is not None and seen.clock.is_date

    # ---------------------------------------------------------------- what follows from the task

    def _with_details(self, seen: Sighting) -> Sighting:
        parts = seen.series if seen.series is not None else seen.sequences
        codes = np.zeros(self.rows, dtype=np.int64) if parts is None else self.by_name[parts.name].codes
        keys = [codes] if seen.clock is None or seen.clock.doubled else [self.times[seen.clock.name].values, codes]
        order = np.lexsort(keys)
        starts = np.concatenate([[0], np.flatnonzero(np.diff(codes[order])) + 1, [self.rows]])
        used = [c.name for c in seen.columns if c.is_input or c.name == seen.target]
        first = order[starts[:-1]]
        at_start = any((self.by_name[name].codes[first] < 0).any() for name in used)
        seen = dataclasses.replace(seen, has_gaps_at_start=at_start, notes=tuple(self.notes))
        if seen.target is None or seen.task is None:
            return seen
        field = self.by_name[seen.target]
        if seen.task == "forecast" and field.values is not None:
            longest = int(np.diff(starts).argmax())
            series = field.values[order[starts[longest] : starts[longest + 1]]]
            lags = () if seen.clock is None else seen.clock.lags
            return dataclasses.replace(seen, season=season_of(series, lags), has_trend=has_trend(series))
        if seen.task in ("classify", "label") and seen.sequences is not None:
            labels = field.codes if seen.task == "label" else field.codes[first]
            return dataclasses.replace(seen, balance=balance(field.words, labels))
        return seen


def has_trend(series: NDArray[np.float64]) -> bool:
    """Tell whether a tenth of the last rows lies above, or below, all that is trained on."""
    rows = len(series)
    test = round(_LAST * rows)
    seen, last = series[: rows - 2 * test], series[rows - test :]
    seen, last = seen[~np.isnan(seen)], last[~np.isnan(last)]
    if not len(seen) or not len(last):
        return False
    return max(int((last > seen.max()).sum()), int((last < seen.min()).sum())) > max(1.0, 0.1 * len(last))


def balance(words: Sequence[str], codes: NDArray[np.int64]) -> Mapping[str, int]:
    """Return how often each class comes, the most frequent first."""
    counts = np.bincount(codes[codes >= 0], minlength=len(words))
    return {words[k]: int(counts[k]) for k in np.argsort(-counts, kind="stable") if counts[k]}


def _examples(field: Field) -> tuple[str, ...]:
    if field.values is None:
        return tuple(field.words[:3])
    return range_of(field)


def _reads_as_number(word: str) -> bool:
    try:
        return "_" not in word and math.isfinite(float(word))
    except ValueError:
        return False
