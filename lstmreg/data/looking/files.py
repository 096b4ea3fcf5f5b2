"""Looks at what holds sequences by itself: a .ts or .npz file, or a folder of files with a table that labels them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lstmreg.config import DataConfig
from lstmreg.data.sources.csv_file import open_csv, open_labels
from lstmreg.data.sources.door import open_sequences
from lstmreg.data.sources.opening import file_bytes
from lstmreg.data.sources.raw import Kind, Raw
from lstmreg.data.sources.ts_file import pair_of
from lstmreg.errors import DataError

from .fields import Field, field_of_cells, field_of_numbers, fields_of, range_of
from .parts import is_owner
from .question import QuestionError, command
from .sighting import Parts, SeenColumn, Sighting, Wish
from .signs import delimiter_of, first_lines
from .table import balance, look_at

_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")

#: Whole numbers with more values are no classes.
_MOST_CLASSES = 20

#: So many files beside a folder are looked into for its labels, and none that is larger.
_MOST_FILES, _LARGEST = 50, 10_000_000


def look_at_file_of_sequences(path: str, wish: Wish) -> Sighting:
    """Look at a .ts or an .npz file, or at a folder with a pair of .ts files.

    Raises:
        DataError: If it cannot be read.
    """
    target = wish.target if wish.target is not None else "label"
    config = DataConfig(path, target)
    raw, kind = _raw(config, wish)
    if wish.task is not None:
        return _sighting(path, raw, wish.task, "as you said", target)
    if not path.lower().endswith(".npz"):
        return _sighting(path, raw, kind, "the file says so", target)
    if kind == "label" or len(raw.targets) == int(np.diff(raw.starts).max()) > 1:
        each = open_sequences(config, "label")
        return _sighting(path, each, "label", "there is a target for each step", target)
    if len(raw.targets) > 1:
        why = f"each sequence has {len(raw.targets)} numbers to predict"
        return _sighting(path, raw, "regress", why, target)
    task, why = _task(_field(target, raw), len(raw.names), is_text=True)
    return _sighting(path, raw, task, why, target)


def _raw(config: DataConfig, wish: Wish) -> tuple[Raw, Kind]:
    """Read sequences for the first task for which they can be read, or for the one that is wished for."""
    kinds: list[Kind] = ["classify", "regress", "label"]
    errors = []
    for kind in [kind for kind in kinds if kind == wish.task] or kinds:
        try:
            return open_sequences(config, kind), kind
        except DataError as error:
            errors.append(error)
    # That a file is for another task is no news where its real fault is known.
    raise next((error for error in errors if "Label true)" not in str(error)), errors[0])


def _field(name: str, raw: Raw) -> Field:
    target = raw.targets[0]
    return field_of_cells(name, target) if isinstance(target, list) else field_of_numbers(name, target)


def _task(field: Field, count: int, is_text: bool = False) -> tuple[str, str]:
    """Say what is to be done with targets of sequences; whole numbers that stand as text are looked at as numbers."""
    whole = field.is_whole or (is_text and all(word.lstrip("+-").isdecimal() for word in field.words))
    if field.values is None and not whole:
        return "classify", "the labels are text"
    if whole and len(field.words) <= min(_MOST_CLASSES, count / 2):
        return "classify", f"the labels are {len(field.words)} whole numbers"
    return "regress", "the labels are numbers, and many differ"


def _sighting(path: str, raw: Raw, task: str, why: str, target: str) -> Sighting:
    columns = [_seen(field_of_numbers(name, raw.values[:, k])) for k, name in enumerate(raw.features)]
    lengths = np.diff(raw.starts)
    counts = {}
    if task == "classify" or (task == "label" and isinstance(raw.targets[0], list)):
        field = _field(target, raw)
        counts = dict(balance(field.words, field.codes))
    return Sighting(
        path=path,
        form=f"sequences ({Path(path).suffix.removeprefix('.') or 'folder'})",
        rows=len(raw.values),
        columns=tuple(columns),
        sequences=Parts("", len(raw.names), int(lengths.min()), int(lengths.max())),
        target=target,
        target_why="what the file gives beside its sequences",
        task=task,
        task_why=why,
        balance=counts,
        notes=raw.notes,
        has_gaps_at_start=bool(np.isnan(raw.values[raw.starts[:-1]]).any()),
    )


def _seen(field: Field) -> SeenColumn:
    """Return what is seen in a column of inputs that are numbers by their form."""
    is_empty, is_constant = not field.words, len(field.words) == 1 and not field.missing
    return SeenColumn(
        name=field.name,
        kind="empty" if is_empty else "constant" if is_constant else "number",
        missing=field.missing,
        distinct=len(field.words),
        examples=range_of(field),
        is_whole=field.is_whole,
        note="has no value" if is_empty else "tells a model nothing" if is_constant else "",
        is_input=not is_empty and not is_constant,
    )


# ---------------------------------------------------------------------- folders


def look_at_folder(path: str, wish: Wish) -> Sighting:
    """Look at a folder with a file for each sequence.

    Raises:
        QuestionError: If it is not clear which table labels the files, or which column of it is to be predicted.
        DataError: If it has no such files, or one cannot be read.
    """
    folder = Path(path)
    if pair_of(folder):
        return look_at_file_of_sequences(path, wish)
    files = sorted(p for p in folder.iterdir() if p.name.lower().endswith(_ENDINGS))
    labels = wish.labels if wish.labels is not None else _labels_of(folder, files)
    files = [file for file in files if labels is None or file.resolve() != Path(labels).resolve()]
    if not files:
        raise DataError(f"{path}: no CSV file in this folder. Give one file for each sequence.")
    inside = _inside(str(files[0]), wish)
    if labels is None:
        return _labelled_by_step(path, wish, files, inside)
    return _labelled_by_table(path, wish, labels, files, inside)


def _inside(path: str, wish: Wish) -> Sighting:
    """Look at the first of the files."""
    delimiter = delimiter_of(first_lines(file_bytes(path))) if wish.delimiter is None else wish.delimiter
    seen = look_at(open_csv(path, delimiter), Wish(time=wish.time))
    return dataclasses.replace(seen, settings={} if delimiter == "," else {"delimiter": delimiter})


def _labelled_by_table(path: str, wish: Wish, labels: str, files: Sequence[Path], inside: Sighting) -> Sighting:
    table = open_labels(labels, ",")
    fields = fields_of(table, DataConfig(labels, ""))
    which = wish.sequence if wish.sequence is not None else _names_files(fields, files)
    owners = [wish.group] if wish.group is not None else [f.name for f in fields if is_owner(f.name)]
    others = [f for f in fields if f.name not in (which, *owners) and len(f.words) > 1]
    named = [f for f in others if f.name == wish.target or (wish.target is None and len(others) == 1)]
    if len(named) != 1:
        commands = [command(path, labels=wish.labels, target=field.name) for field in others]
        raise QuestionError(f"{path}: which column of {labels} is to be predicted?", commands)
    (target,) = named
    task, why = _task(target, len(target.codes))
    task, why = (wish.task, "as you said") if wish.task is not None else (task, why)
    config = _config(path, target.name, inside, labels=labels)
    raw = open_sequences(config, "regress" if task == "regress" else "classify")
    seen = _sighting(path, raw, task, why, target.name)
    return dataclasses.replace(
        _with_columns(seen, inside, config),
        target_why=f"a column of {labels}",
        labels=labels,
        beside=tuple(f.name for f in fields if f.name not in (which, target.name, *owners[:1])),
        groups=tuple(name for name in owners if name is not None),
    )


def _labelled_by_step(path: str, wish: Wish, files: Sequence[Path], inside: Sighting) -> Sighting:
    texts = [c.name for c in inside.columns if c.kind in ("category", "text")]
    target = wish.target if wish.target is not None else texts[0] if len(texts) == 1 else None
    if target is None:
        steps = [command(path, target=c.name) for c in inside.columns if c.kind in ("category", "text", "number")]
        raise QuestionError(
            f"{path}: no table labels its {len(files)} files. Is one elsewhere, or is a column of the files to be "
            f"predicted at every step?",
            [command(path, labels="labels.csv"), *steps],
        )
    config = _config(path, target, inside)
    raw = open_sequences(config, "label")
    seen = _sighting(path, raw, "label", "no table labels the files, and each of their rows has a label", target)
    return dataclasses.replace(_with_columns(seen, inside, config), target_why="a column of the files")


def _config(path: str, target: str, inside: Sighting, labels: str | None = None) -> DataConfig:
    features = [c.name for c in inside.columns if c.kind in ("number", "constant") and c.name != target]
    is_timed = inside.clock is not None and not inside.clock.doubled
    time = inside.clock.name if is_timed and inside.clock is not None else None
    features = [name for name in features if name != time]
    delimiter = inside.settings.get("delimiter", ",")
    if not features:
        raise DataError(
            f"{path}: the files have no column of numbers beside {target!r}; there is nothing to learn from."
        )
    return DataConfig(path, target, features=features, time=time, labels=labels, delimiter=delimiter)


def _with_columns(seen: Sighting, inside: Sighting, config: DataConfig) -> Sighting:
    """Add the columns of the files that are no inputs."""
    known = {column.name: column for column in seen.columns}
    # What is wrong in it is wrong in the file that was looked at, and perhaps in others.
    notes = {c.name: _in_file(c.note, Path(inside.path).name) for c in inside.columns}
    columns = tuple(
        known.get(c.name, dataclasses.replace(c, is_input=False, note=notes[c.name])) for c in inside.columns
    )
    clock = inside.clock if config.time is not None else None
    return dataclasses.replace(seen, columns=columns, clock=clock, form="folder of sequences", settings=inside.settings)


def _in_file(note: str, name: str) -> str:
    """Return what was noticed with the name of the file behind the number of a line."""
    return re.sub(r"line \d+", lambda found: f"{found[0]} of {name}", note, count=1)


def _labels_of(folder: Path, files: Sequence[Path]) -> str | None:
    """Return the table, in the folder or beside it, of which a column names all other files."""
    beside = [p for p in folder.resolve().parent.iterdir() if p.name.lower().endswith(_ENDINGS) and p.is_file()]
    inside = sorted(files, key=lambda file: ("label" not in file.name.lower(), file.name))
    for place in [*inside[:_MOST_FILES], *sorted(beside)[:_MOST_FILES]]:
        if place.stat().st_size > _LARGEST:
            continue
        others = [file for file in files if file != place]
        try:
            fields = fields_of(open_labels(str(place), ","), DataConfig(str(place), ""))
        except DataError:
            continue
        if others and _names_files(fields, others) is not None:
            return str(place if place in files else folder.parent / place.name)
    return None


def _names_files(fields: Sequence[Field], files: Sequence[Path]) -> str | None:
    """Return the column whose cells are all names of files, with or without their ending."""
    names = {file.name for file in files} | {_stem(file.name) for file in files}
    return next((f.name for f in fields if f.words and not f.missing and set(f.words) <= names), None)


def _stem(name: str) -> str:
    ending = next((e for e in sorted(_ENDINGS, key=len, reverse=True) if name.lower().endswith(e)), "")
    return name[: len(name) - len(ending)]
