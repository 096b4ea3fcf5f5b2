"""A table that somebody gives to have it forecast, as the series that a network reads."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstmreg.config import DataConfig
from lstmreg.errors import DataError, did_you_mean

from .calendar import calendar_columns, calendar_names, following
from .groups import Groups
from .sources.given import table_given
from .table import Series, read_series

#: A CSV file by its path; columns by their names, as in a dict or a data frame; or an array ``(N, columns)``.
Table = str | os.PathLike[str] | Mapping[str, ArrayLike] | ArrayLike


@dataclass(frozen=True)
class Question:
    """What of a table a forecast reads beside inputs and targets.

    Attributes:
        known_future: Columns that are known in advance.
        calendar: Parts of the time, which is known in advance too.
        group: The column that tells several series apart.
    """

    known_future: tuple[str, ...] = ()
    calendar: tuple[str, ...] = ()
    group: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is nothing but numbers of one series."""
        return self == Question()

    @property
    def future(self) -> bool:
        """Whether something is known in advance."""
        return bool(self.known_future or self.calendar)

    @property
    def width(self) -> int:
        """How many inputs are known in advance, A."""
        return len(self.known_future) + 2 * len(self.calendar)

    @property
    def names_ahead(self) -> tuple[str, ...]:
        """Names of the inputs that are known in advance, A."""
        return (*self.known_future, *calendar_names(self.calendar))


@dataclass(frozen=True)
class Reader:
    """Makes a series of a given table.

    Attributes:
        features: The inputs, D.
        targets: The targets as far as they are needed: as a past that changes are added to, or because they tell which
            rows are to be forecast.
        past: How many rows must lie before a forecast.
        horizon: Steps ahead.
        question: What is read beside.
        reading: How a file is read.
        tokens: Which of the inputs are tokens.
    """

    features: tuple[str, ...]
    targets: tuple[str, ...]
    past: int
    horizon: int
    question: Question = field(default_factory=Question)
    reading: Mapping[str, Any] = field(default_factory=dict)
    tokens: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of numbers and of tokens, in the order of an array's."""
        return tuple(dict.fromkeys([*self.features, *self.targets, *self.question.known_future]))

    def config(self, path: str) -> DataConfig:
        """Return the settings by which a table is read."""
        question = self.question
        calendar: Any = list(question.calendar) or None
        return DataConfig(
            path,
            list(self.targets) or self.columns[0],
            list(self.features),
            window=max(self.past, self.horizon),
            horizon=self.horizon,
            known_future=list(question.known_future) or None,
            calendar=calendar,
            group=question.group,
            tokens=list(self.tokens) or None,
            **self.reading,
        )

    def series(self, table: Table, needed: str) -> Series:
        """Return a table as a series; the targets are those of the model only as far as they are needed.

        Args:
            table: The table.
            needed: What the rows before a forecast are for, in words.

        Raises:
            DataError: If a column is missing, a value is not finite, or the rows are too few for a window.
        """
        series = self._read(table)
        groups = series.groups
        short = groups.lacking(self.past)
        if short:
            rows = int((groups.ends - groups.starts[:-1])[groups.names.index(short[0])])
            which = "" if self.question.group is None else f"group {short[0]!r}: "
            raise DataError(
                f"{series.path}: {which}{rows} rows are too few; the model needs {self.past} to forecast the "
                f"next ({needed})."
            )
        return series

    def _read(self, table: Table) -> Series:
        if isinstance(table, (str, os.PathLike)):
            return read_series(self.config(os.fspath(table)))
        if not self.question.is_plain or self.tokens or self._is_read_like_a_file(table):
            return self._read_columns(table)
        values = self._values(table)
        columns = self.columns
        places = [columns.index(name) for name in self.targets or columns[:1]]
        inputs = values[:, : len(self.features)]
        targets = tuple(self.targets or columns[:1])
        return Series("the table", "", self.features, targets, inputs, values[:, places], (), ())

    def _is_read_like_a_file(self, table: Any) -> bool:
        """Tell whether a table with named columns has times that order it, or gaps that the settings fill."""
        names = list(table) if isinstance(table, Mapping) else list(map(str, getattr(table, "columns", [])))
        has_all = set(self.columns) <= set(names)
        is_told = self.reading.get("time") in names or self.reading.get("missing", "error") != "error"
        return has_all and is_told

    def _read_columns(self, table: Any) -> Series:
        config = self.config("the table")
        names: Any = table if isinstance(table, Mapping) else getattr(table, "columns", None)
        if names is not None and config.time not in list(names) and not config.calendar:
            config = dataclasses.replace(config, time=None, sort=False)
        if names is None:
            if self.question.group is not None or self.question.calendar:
                raise DataError(
                    "the table must have columns by name, such as a data frame: an array has no group or time."
                )
            config = dataclasses.replace(config, time=None, sort=False)
            values = self._shaped(_numbers(table))
            table = {name: values[:, k] for k, name in enumerate(self.columns)}
        return read_series(config, table_given(table, config))

    def _values(self, table: Mapping[str, ArrayLike] | ArrayLike) -> NDArray[np.float64]:
        """Return the columns ``(N, columns)`` of a table that is no file."""
        names = table if isinstance(table, Mapping) else getattr(table, "columns", None)  # those of a data frame
        values = self._shaped(_numbers(table) if names is None else self._by_name(table, list(names)))
        too_large = ~(np.abs(values) <= np.finfo(np.float32).max)
        if too_large.any():
            row, column = np.argwhere(too_large)[0]
            raise DataError(
                f"the table must be finite in float32, got {values[row, column]} in row {row}, column "
                f"{self.columns[column]!r}. Fill it, or leave the row out."
            )
        return values

    def _shaped(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if values.ndim == 1 and len(self.columns) == 1:
            values = values[:, None]
        if values.ndim != 2 or values.shape[1] != len(self.columns):
            expected = f"(N, {len(self.columns)}), the columns {', '.join(self.columns)}"
            raise DataError(f"the table must have shape {expected}, got {values.shape}.")
        return values

    def _by_name(self, table: Any, names: list[Any]) -> NDArray[np.float64]:
        for column in self.columns:
            if column not in names:
                known = [str(name) for name in names]
                raise DataError(
                    f"the table has no column {column!r}, which the model reads; columns: "
                    f"{', '.join(known)}.{did_you_mean(column, known)}"
                )
        columns = [_numbers(table[name]) for name in self.columns]
        if len({column.shape for column in columns}) > 1:
            lengths = ", ".join(f"{name} {column.shape}" for name, column in zip(self.columns, columns, strict=True))
            raise DataError(f"the columns must be equally long, got {lengths}.")
        return np.stack(columns, axis=-1)

    def with_future(self, series: Series) -> Series:
        """Return a series in which what is known in advance is there for the steps after each group's last known row.

        The calendar goes on by itself, at the usual step of time.

        Raises:
            DataError: If the table has not the rows for it.
        """
        groups, question = series.groups, self.question
        missing = self.horizon - (groups.starts[1:] - groups.ends)
        if not question.future or (missing <= 0).all():
            return series
        if not question.known_future:
            return _gone_on(series, np.maximum(missing, 0), question)
        k = int(missing.argmax())
        which = "" if question.group is None else f" of group {groups.names[k]!r}"
        raise DataError(
            f"{series.path}: the model needs {', '.join(map(repr, question.known_future))} of the {self.horizon} rows "
            f"after the last known one{which}, got {self.horizon - missing[k]}. Add these rows, with the target left "
            f"empty."
        )


def _gone_on(series: Series, missing: NDArray[np.int64], question: Question) -> Series:
    """Add rows at the end of each group, of which nothing but the calendar is known."""
    groups = series.groups
    rows: list[NDArray[np.int64]] = []
    labels: list[str] = []
    moments: list[NDArray[np.int64]] = []
    for a, b, more in zip(groups.starts.tolist(), groups.starts[1:].tolist(), missing.tolist(), strict=False):
        rows += [np.arange(a, b), np.full(more, -1)]
        labels += [*series.labels[a:b], *(following(series.path, series.labels[a:b], more) if more else [])]
        moments += [groups.moments[a:b], groups.moments[b - 1] + 1 + np.arange(more)]
    taken = np.concatenate(rows)
    starts = groups.starts + np.concatenate([[0], np.cumsum(missing)])
    ends = groups.ends + starts[:-1] - groups.starts[:-1]

    def longer(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where((taken < 0)[:, None], np.nan, values[taken])

    return dataclasses.replace(
        series,
        inputs=longer(series.inputs),
        targets=longer(series.targets),
        labels=tuple(labels),
        parts=Groups(groups.names, starts, ends, np.concatenate(moments)),
        ahead=calendar_columns(series.path, labels, question.calendar),
    )


def _numbers(values: Any) -> NDArray[np.float64]:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"the table must hold numbers, got {str(values)[:80]!r}.") from None
