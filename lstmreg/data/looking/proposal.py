"""Proposes settings for what was seen, each with its reason; or asks what only the user knows."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstmreg.config import Config, DataConfig, ModelConfig, SearchConfig, TrainingConfig, from_dict
from lstmreg.data.blocks import rows_needed
from lstmreg.errors import ConfigError

from .question import QuestionError, command
from .sighting import Season, SeenColumn, Sighting, Wish, counted, rows_and_columns

_TASKS = ("forecast", "classify", "regress", "label")

#: A longer window is slow, and seldom better.
_LONGEST_WINDOW = 200

#: Where there is no season.
_WINDOW = 24

#: Hidden units by how much there is to learn from: rows to forecast, or sequences.
_SIZES = ((300, 8), (3_000, 16))
_SIZES_OF_SEQUENCES = ((100, 8), (1_000, 16))
_LARGEST_SIZE = 32

#: Classes of which one is so many times as frequent as another are weighted.
_UNEQUAL = 3


#: What else a whole number can be, by the task.
_OTHERWISE = {
    "regress": "if the labels are numbers, such as ratings: 4 is nearer to 5 than to 1",
    "classify": "if each number is the name of a class",
}

#: So many columns are shown as examples of those that are known in advance.
_MOST_KNOWN = 5

#: What of a date says something, by its step.
_CALENDARS = {"day": ["weekday", "yearday"], "month": ["month"]}


@dataclass(frozen=True)
class Setting:
    """A line of the configuration.

    Attributes:
        name: Path of the setting.
        value: What it is set to.
        why: The reason, a short one.
        is_on: Whether it holds, or is only shown as another way.
    """

    name: str
    value: Any
    why: str
    is_on: bool = True


@dataclass(frozen=True)
class Proposal:
    """A configuration, setting by setting.

    Attributes:
        path: What it is for.
        about: What was seen, in a sentence.
        settings: All of them, in the order in which they are written.
        left_out: What is not used though it might be of use, with the reason and how to bring it in, a sentence each.
    """

    path: str
    about: str
    settings: tuple[Setting, ...]
    left_out: tuple[str, ...] = ()

    def config(self, instead: Setting | None = None) -> Config:
        """Return the configuration, or that in which one other way is taken.

        Raises:
            ConfigError: If a value breaks its rule.
        """
        plain: dict[str, Any] = {"data": {}, "model": {}, "training": {}, "search": {}}
        for setting in [s for s in self.settings if s.is_on] + ([instead] if instead is not None else []):
            section, _, name = setting.name.rpartition(".")
            (plain[section] if section else plain)[name] = setting.value
        return from_dict(plain)


def propose(seen: Sighting, wish: Wish) -> Proposal:
    """Propose a configuration that runs as it is.

    Args:
        seen: What was seen.
        wish: What was known before; the questions repeat it.

    Raises:
        QuestionError: If the target or the task cannot be known.
        ConfigError: If what is wished for cannot be.
    """
    if wish.task is not None and wish.task not in _TASKS:
        raise ConfigError(f"--task must be one of {', '.join(_TASKS)}, got {wish.task!r}.")
    _ask(seen, wish)
    settings = tuple(_Proposing(seen).settings())
    return Proposal(seen.path, _about(seen), settings, tuple(_left_out(seen, settings)))


def _about(seen: Sighting) -> str:
    if seen.sequences is not None:
        return f"{counted(seen.sequences.count, 'sequence')}, {rows_and_columns(seen)}"
    return rows_and_columns(seen)


def _left_out(seen: Sighting, settings: Sequence[Setting]) -> Iterator[str]:
    """Say what a reader of the settings might miss in them: a time that cannot order, a column with a bad cell."""
    clock = seen.clock
    if clock is not None and not any(s.is_on and s.name == "data.time" for s in settings):
        if clock.doubled:
            many = f"{clock.doubled:,} times twice, the first of them " if clock.doubled > 1 else ""
            series = " If these are several series, name their column with --group." if clock.doubled > 1 else ""
            yield (
                f"data.time, for column {clock.name!r} has {many}{clock.first_doubled}. Keep one row for each time, "
                f"and run init again.{series}"
            )
        if not _is_read(seen):
            yield (
                f"data.time, for dates such as {clock.first} in column {clock.name!r} may be read in two ways. Write "
                f"them as 2024-03-31, and run init again."
            )
    if seen.beside:
        which = f"{'columns' if len(seen.beside) > 1 else 'column'} {_listed(list(seen.beside))} of {seen.labels}"
        yield (
            f"{which}, for inputs are columns of the files. Write such values into every row of a file, and run init "
            f"again."
        )
    used = {seen.target, *(name for s in settings if isinstance(s.value, list) for name in s.value)}
    for column in seen.columns:
        if column.is_faulty and column.name not in used:
            yield (
                f"column {column.name!r}, for {column.note}. Correct such cells or leave them empty, and run "
                f"init again."
            )


# ---------------------------------------------------------------------- questions


def _ask(seen: Sighting, wish: Wish) -> None:
    if seen.target is None:
        _ask_for_target(seen, wish)
    assert seen.target is not None
    clock = seen.clock
    if clock is not None and clock.name == seen.target:
        raise ConfigError(f"{seen.path}: column {seen.target!r} orders the rows, so it can be no target.")
    column = next((c for c in seen.columns if c.name == seen.target), None)
    if column is not None and column.is_faulty and seen.task in (None, "forecast"):
        raise ConfigError(
            f"{seen.path}: column {seen.target!r} is to be predicted, and {column.note}. Correct such cells, or leave "
            f"them empty."
        )
    is_text = column is not None and column.kind in ("category", "text", "time")
    if seen.task == "forecast" and is_text:
        raise ConfigError(f"{seen.path}: column {seen.target!r} is no number, and forecasts are of numbers.")
    if seen.task is None and seen.sequences is not None:
        raise QuestionError(
            f"{seen.path}: column {seen.target!r} is a number that changes within what {seen.sequences.name!r} tells "
            f"apart. Is it to be predicted at every step of a sequence, or forecast, each sequence a series?",
            [command(seen.path, **said(wish) | {"task": task}) for task in ("label", "forecast")],
        )
    if seen.sequences is None and seen.task != "forecast":
        _ask_for_sequences(seen, wish)
    if clock is not None and not clock.is_sorted and (clock.doubled or not _is_read(seen)):
        reason = f"{clock.doubled} rows have a time that comes twice" if clock.doubled else "they are not ISO 8601"
        raise ConfigError(
            f"{seen.path}: the rows are out of order, and cannot be sorted by column {clock.name!r}: {reason}. "
            f"Sort the table, or write the times as ISO 8601 (2024-03-31T14:00), one row for each."
        )


def _ask_for_target(seen: Sighting, wish: Wish) -> None:
    if not seen.targets:
        what = ", ".join(f"{c.name} ({c.kind})" for c in seen.columns)
        raise ConfigError(f"{seen.path}: no column of numbers that could be predicted; columns: {what}.")
    raise QuestionError(
        f"{seen.path}: which of {len(seen.targets)} columns is to be predicted?",
        [command(seen.path, **said(wish) | {"target": name}) for name in seen.targets],
    )


def _ask_for_sequences(seen: Sighting, wish: Wish) -> None:
    what = "to be predicted of whole sequences" if seen.task else "text, and text is predicted of sequences"
    asked = f"{seen.path}: column {seen.target!r} is {what}. Which column tells these apart?"
    if not seen.could_be_sequences:
        raise ConfigError(f"{asked} None does: add a column with the name of the sequence that a row belongs to.")
    raise QuestionError(
        asked, [command(seen.path, **said(wish) | {"sequence": name}) for name in seen.could_be_sequences]
    )


def said(wish: Wish) -> dict[str, str | None]:
    """Return what was said on the command line, as options."""
    return {name: value for name, value in dataclasses.asdict(wish).items() if isinstance(value, str)}


def _is_read(seen: Sighting) -> bool:
    """Tell whether the clock's column is written as it is read."""
    assert seen.clock is not None
    return not seen.column(seen.clock.name).note.startswith("is not read")


# ---------------------------------------------------------------------- settings


class _Proposing:
    def __init__(self, seen: Sighting) -> None:
        self.seen = seen
        self.known = {field.name for field in dataclasses.fields(DataConfig)}

    def settings(self) -> Iterator[Setting]:
        seen = self.seen
        yield Setting("task", seen.task, seen.task_why)
        others = {"classify": "regress", "regress": "classify"}
        if seen.task in others and self._could_be(others[seen.task]):
            yield Setting("task", others[seen.task], _OTHERWISE[others[seen.task]], is_on=False)
        if (name := _run_name(seen.path)) is not None:
            yield Setting("name", name, "of the run's folder; the file's own name cannot be one")
        data = list(self._data())
        yield from [s for s in data if s.name.removeprefix("data.") in self.known]
        yield from self._model()
        yield from self._training()
        yield Setting("search.effort", "default", "what takes about five minutes")
        yield Setting("search.effort", "quick", "the least, in about a minute", is_on=False)
        yield Setting("search.effort", "thorough", "more blocks and seeds; takes as long as it takes", is_on=False)

    def _could_be(self, task: str) -> bool:
        """Tell whether the target would do for another task: numbers for regression, few for classes."""
        column = next((c for c in self.seen.columns if c.name == self.seen.target), None)
        if column is None:
            return (
                task == "regress"
                and bool(self.seen.balance)
                and not self.seen.path.endswith(".ts")
                and all(re.fullmatch(r"[+-]?\d+", label) for label in self.seen.balance)
            )
        return column.kind == "number" and (task == "regress" or column.is_whole)

    # ---------------------------------------------------------------- data

    def _data(self) -> Iterator[Setting]:
        seen = self.seen
        yield Setting("data.path", seen.path, _about(seen))
        yield Setting("data.target", seen.target, seen.target_why)
        if seen.labels is not None:
            yield Setting("data.labels", seen.labels, "names the files and their targets")
        for name, value in seen.settings.items():
            yield Setting(f"data.{name}", value, "as the file is written")
        yield from self._order()
        if seen.series is not None:
            yield Setting("data.group", seen.series.name, _how_many("series", seen.series.count))
            for other in seen.series.others[:3]:
                yield Setting("data.group", other, "would tell them apart as well", is_on=False)
            yield Setting("data.scale", "by_group", "each series by its own training rows", is_on=False)
        if seen.sequences is not None and seen.sequences.name:
            yield Setting("data.sequence", seen.sequences.name, _how_many("sequences", seen.sequences.count))
            for other in seen.sequences.others[:3]:
                yield Setting("data.sequence", other, "would tell them apart as well", is_on=False)
        if seen.sequences is not None:
            for k, owner in enumerate(seen.groups):
                yield Setting("data.group", owner, "its sequences are never on both sides of a split", is_on=k == 0)
            if seen.clock is not None and seen.clock.is_date and self._is_ordered_by_time():
                yield Setting("data.split_by", "time", "train on what begins earlier, test on the rest", is_on=False)
        yield from self._inputs()
        yield from self._missing()
        if seen.task == "forecast":
            yield from self._forecast()
        part = "rows" if seen.task == "forecast" else "sequences"
        which = "the last 15 %" if seen.task == "forecast" else "15 %"
        yield Setting("data.test_fraction", 0.15, f"{which} of the {part} are touched once, at the end")

    def _is_ordered_by_time(self) -> bool:
        """Tell whether there is a column of times that the reader takes."""
        return self.seen.clock is not None and not self.seen.clock.doubled and _is_read(self.seen)

    def _order(self) -> Iterator[Setting]:
        clock = self.seen.clock
        if clock is None:
            return
        step = f"step {clock.step}, {_gaps(clock.gaps, clock.longest_gap)}"
        if not _is_read(self.seen):
            return
        if clock.doubled:
            yield Setting(
                "data.time", clock.name, f"left out: {counted(clock.doubled, 'time')} twice; see above", False
            )
            return
        yield Setting("data.time", clock.name, step)
        if not clock.is_sorted:
            yield Setting("data.sort", True, "the rows are out of order")

    def _inputs(self) -> Iterator[Setting]:
        seen = self.seen
        is_forecast = seen.task == "forecast"
        parts = [part.name for part in (seen.series, seen.sequences) if part is not None]
        clock = [seen.clock.name] if seen.clock is not None and self._is_ordered_by_time() else []
        roles = {*parts, *clock, *seen.groups} | (set() if is_forecast else {seen.target})
        names = [c.name for c in seen.columns if c.name not in roles]
        wanted = [
            c.name for c in seen.columns if (c.is_input or (is_forecast and c.name == seen.target)) and c.name in names
        ]
        texts = [c.name for c in seen.columns if self._is_token(c) and c.name in names]
        if texts:
            wanted = [c.name for c in seen.columns if c.name in {*wanted, *texts}]
            yield Setting("data.tokens", texts, "categories: a network learns a vector for each of their values")
        if wanted != names:
            left = [name for name in names if name not in wanted]
            yield Setting("data.features", wanted, f"the inputs; left out: {_listed(left)}")
        elif is_forecast and len(names) > 1:
            yield Setting("data.features", [seen.target], "the target's past alone", is_on=False)

    def _is_token(self, column: SeenColumn) -> bool:
        is_whole = not (column.missing or column.same_as or column.is_echo or column.is_faulty)
        return column.kind == "category" and column.name != self.seen.target and is_whole

    def _missing(self) -> Iterator[Setting]:
        seen = self.seen
        used = [c for c in seen.columns if c.is_input or c.name == seen.target]
        count = sum(c.missing for c in used)
        if not count:
            yield Setting("data.missing", "error", "no cell is missing; one that is would be refused")
        elif seen.has_gaps_at_start:
            yield Setting(
                "data.missing", "drop", f"missing: {counted(count, 'cell')}, some where nothing stands before"
            )
        else:
            yield Setting("data.missing", "ffill", f"missing: {counted(count, 'cell')}; take the value before")
            yield Setting("data.missing", "drop", "leave their rows out", is_on=False)

    # ---------------------------------------------------------------- forecasts

    def _forecast(self) -> Iterator[Setting]:
        seen, season = self.seen, self.seen.season
        lag = season.lag if season is not None else None
        rows = seen.rows if seen.series is None else seen.rows // seen.series.count
        window = _window(rows, lag, bool(seen.has_trend))
        why = "one season" if window == lag else "past steps that the model sees"
        yield Setting("data.window", window, why)
        yield Setting("data.horizon", 1, "steps ahead")
        yield from self._season(season, rows)
        if seen.has_trend:
            yield Setting("data.difference", 1, "learn changes: the last rows leave the range of those before")
        else:
            yield Setting("data.difference", 1, "learn changes: for a target with a trend", is_on=False)
        if lag is not None and 4 * lag < rows:
            yield Setting("data.difference", "season", "learn the change from one season before", is_on=False)
        yield from self._known_in_advance()

    def _known_in_advance(self) -> Iterator[Setting]:
        """Show what is for columns whose future is known, and for the calendar, which of all columns is so."""
        seen = self.seen
        names = [
            c.name
            for c in seen.columns
            if (c.is_input and c.name != seen.target and c.kind == "number") or self._is_token(c)
        ]
        parts = [part.name for part in (seen.series, seen.sequences) if part is not None]
        names = [name for name in names if name not in parts]
        if names:
            why = "of these, the columns that are known before they come, such as promotions or holidays"
            yield Setting("data.known_future", names[:_MOST_KNOWN], why, is_on=False)
        clock = seen.clock
        if clock is None or not self._is_ordered_by_time() or not any(sign in clock.first for sign in "-./"):
            return
        unit = clock.step.split()[-1].removesuffix("s")
        calendar = ["hour", "weekday"] if ":" in clock.first else _CALENDARS.get(unit)
        if calendar is not None:
            yield Setting("data.calendar", calendar, "the time as an input, known in advance too", is_on=False)

    def _season(self, season: Season | None, rows: int) -> Iterator[Setting]:
        lags = self.seen.clock.lags if self.seen.clock is not None else ()
        if season is not None:
            yield Setting("data.season", season.lag, season.in_words)
            for other, value in season.others.items():
                yield Setting("data.season", other, f"correlation {value:.2f}", is_on=False)
        else:
            for lag in [lag for lag in lags if 2 * lag < rows][:2]:
                few = f"too few rows to tell: {rows / lag:.1f} seasons" if rows < 3 * lag else "no such season shows"
                yield Setting("data.season", lag, few, is_on=False)

    # ---------------------------------------------------------------- model and training

    def _model(self) -> Iterator[Setting]:
        seen = self.seen
        if seen.sequences is not None:
            count, sizes, what = seen.sequences.count, _SIZES_OF_SEQUENCES, "sequences"
        else:
            count, sizes, what = seen.rows, _SIZES, "rows"
        size = next((size for most, size in sizes if count < most), _LARGEST_SIZE)
        yield Setting("model.hidden_size", size, f"for {count:,} {what}")
        yield Setting("model.num_layers", 2, "a second layer", is_on=False)

    def _training(self) -> Iterator[Setting]:
        counts = list(self.seen.balance.values())
        yield Setting("training.learning_rate", 0.003, "a search tries 0.001 and 0.01 too")
        yield Setting("training.max_epochs", 200, "ends earlier where the validation loss no longer falls")
        yield Setting("training.patience", 20, "epochs without a lower validation loss")
        if self.seen.task == "forecast" or self.seen.task == "regress":
            yield Setting("training.loss", "mae", "instead of mse: large errors count less", is_on=False)
        ratio = counts[0] / counts[-1] if len(counts) > 1 else 1.0
        if ratio > 1:
            yield Setting(
                "training.class_weight",
                "balanced",
                f"the most frequent class comes {ratio:.1f} times as often as the rarest",
                is_on=ratio >= _UNEQUAL,
            )


def _how_many(what: str, count: int) -> str:
    return f"tells {count:,} {what} apart"


def _gaps(gaps: int, longest: float) -> str:
    return f"{counted(gaps, 'gap')}, the longest of {longest:.0f} steps" if gaps else "no gaps"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _window(rows: int, lag: int | None, is_differenced: bool) -> int:
    """Return one season, or 24 steps; less where the rows do not suffice for a search."""
    window = lag if lag is not None and 4 <= lag <= _LONGEST_WINDOW else _WINDOW
    difference = 1 if is_differenced else None
    while window > 1:
        data = DataConfig("", "", window=window, season=lag, difference=difference)
        if rows_needed(data, SearchConfig()) <= rows:
            break
        window = window // 2
    return window


def _run_name(path: str) -> str | None:
    """Return a name for the run where the file's own cannot be one."""
    try:
        Config(DataConfig(path, ""))
    except ConfigError:
        stem = Path(path.removesuffix(".gz")).resolve().stem if "\0" not in path else ""
        name = re.sub(r"[^A-Za-z0-9._ -]+", "-", stem).strip("-. ")[:100].strip()
        return name if re.match(r"[A-Za-z0-9_]", name) else "run"
    return None


#: The sections of the file, in order; that of the settings without a section is the first.
SECTIONS = {"": Config, "data": DataConfig, "model": ModelConfig, "training": TrainingConfig, "search": SearchConfig}
