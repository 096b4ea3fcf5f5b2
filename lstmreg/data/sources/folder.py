"""Reads a folder with a CSV file for each sequence, and the table that labels them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lstmreg.config import DataConfig
from lstmreg.data.cells import checked
from lstmreg.data.times import time_stamps
from lstmreg.errors import DataError, did_you_mean

from .columns import Columns, Table
from .csv_file import open_csv, open_labels
from .long_table import chosen_features, targets_of
from .raw import Kind, Raw

_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")


@dataclass(frozen=True)
class _Labels:
    """Which files are sequences, and what a table says of each.

    Attributes:
        files: Their names, N.
        columns: Of the table, by name, N cells each.
        sha256: Of the table.
        notes: What was noticed.
        where: Says where the row of a file stands.
    """

    files: list[str]
    columns: Mapping[str, list[str]]
    sha256: str = ""
    notes: tuple[str, ...] = ()
    where: Callable[[int], str] | None = None


def sequences_of_folder(config: DataConfig, kind: Kind) -> Raw:
    """Read the sequences of a folder of CSV files.

    Args:
        config: ``path`` is the folder, ``labels`` the table with the names of the files and their targets; of
            ``label`` the target stands in the files, and the table may be left out.
        kind: What the targets belong to.

    Raises:
        DataError: If there is no such file, or the table names none of them; if a file has other columns than the
            first one, or is refused as a CSV file is; if time does not rise in one.
    """
    files = sorted(p.name for p in Path(config.path).iterdir() if p.name.lower().endswith(_ENDINGS))
    if config.labels is not None:
        files = [name for name in files if not _is_same(Path(config.path) / name, Path(config.labels))]
    if not files:
        raise DataError(f"{config.path}: no CSV file in this folder. Give one file for each sequence.")
    labels = _labels(config, kind, files)
    named = (config.sequence, *targets_of(config, kind), config.group, config.weight)
    beside = [name for name in named if name is not None and name in labels.columns]
    parts: list[Columns] = []
    features: list[str] = []
    for file in labels.files:
        table = open_csv(str(Path(config.path) / file), config.delimiter)
        given = _features(config, kind, table, beside)
        if parts and sorted(given) != sorted(features):
            other = ", ".join(sorted(set(given) ^ set(features)))
            raise DataError(
                f"{table.path}: other columns than in {parts[0].table.path} ({other}). Name the inputs of all files "
                f"under data.features."
            )
        features = features or given
        parts.append(_part(config, kind, table, features, beside))
    return _joined(config, kind, labels, features, parts)


def _is_same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _labels(config: DataConfig, kind: Kind, files: Sequence[str]) -> _Labels:
    if config.labels is None:
        if kind != "label":
            raise DataError(
                f"{config.path}: is a folder; data.labels must name a CSV file with a row for each file of it: its "
                f"name, and its {', '.join(map(repr, config.targets))}."
            )
        return _Labels(list(files), {})
    table = open_labels(config.labels, config.delimiter)
    wanted = [*(config.targets if kind != "label" else ())] + [name for name in (config.sequence,) if name is not None]
    for name in wanted:
        if name not in table.header:
            raise DataError(
                f"unknown column {name!r} in {config.labels}; columns: {', '.join(table.header)}."
                f"{did_you_mean(name, table.header)}"
            )
    columns = table.read(config, [], table.header)
    which = config.sequence if config.sequence is not None else _column_of_files(config, columns, files)
    found = _found(columns, which, files, config.path)
    left = sorted(set(files) - set(found))
    notes = [f"{len(left)} file(s) of {config.path} have no row in {config.labels} and are left out."] if left else []
    kept = {
        name: cells
        for name, cells in columns.texts.items()
        if name in (*config.targets, config.group, config.weight) or name == which
    }
    if unread := [name for name in table.header if name not in (*kept, *config.targets)]:
        those = f"{', '.join(unread[:8])}{' and others' if len(unread) > 8 else ''} of {config.labels}"
        notes.append(f"Not read: {those}. Inputs are columns of the files.")
    if kind == "label":
        kept = {name: cells for name, cells in kept.items() if name not in config.targets}
    return _Labels(
        found, kept, table.sha256, tuple(notes), lambda n: f"{config.labels}, {table.unit} {columns.lines[n]}"
    )


def _column_of_files(config: DataConfig, columns: Columns, files: Sequence[str]) -> str:
    known = {_stem(file) for file in files} | set(files)
    likely = {name: sum(cell in known for cell in cells) for name, cells in columns.texts.items()}
    best = max(likely, key=lambda name: likely[name])
    if likely[best] == 0:
        raise DataError(
            f"{config.labels}: no column has the names of the files in {config.path} (such as {files[0]!r}). Write "
            f"one, or name it as data.sequence."
        )
    return best


def _found(columns: Columns, name: str, files: Sequence[str], folder: str) -> list[str]:
    """Return the file that each row of the table of labels names."""
    by_name = {_stem(file): file for file in files} | {file: file for file in files}
    found: list[str] = []
    seen: set[str] = set()
    for row, cell in enumerate(columns.texts[name]):
        if cell not in by_name:
            raise DataError(f"{columns.where(row, name)}: no file {cell!r} in {folder}.{did_you_mean(cell, by_name)}")
        if by_name[cell] in seen:
            raise DataError(f"{columns.where(row, name)}: {cell!r} a second time. Keep one of the rows.")
        seen.add(by_name[cell])
        found.append(by_name[cell])
    return found


def _stem(file: str) -> str:
    """Return a file's name without its ending."""
    ending = next((e for e in sorted(_ENDINGS, key=len, reverse=True) if file.lower().endswith(e)), "")
    return file[: len(file) - len(ending)]


def _features(config: DataConfig, kind: Kind, table: Table, beside: Sequence[str]) -> list[str]:
    names = [*beside, config.sequence, *(config.targets if kind != "label" else [])]
    return chosen_features(config, table, names)


def _part(config: DataConfig, kind: Kind, table: Table, features: Sequence[str], beside: Sequence[str]) -> Columns:
    tokens = [name for name in config.tokens or [] if name in features]
    texts = [config.time, *(config.targets if kind == "label" else []), config.group, config.weight]
    wanted = [name for name in texts if name is not None and name not in beside]
    columns = table.read(config, [name for name in features if name not in tokens], [*wanted, *tokens])
    checked(config, columns, columns.names)
    if config.time is not None:
        falls = np.flatnonzero(np.diff(time_stamps(columns, config.time)) <= 0)
        if len(falls):
            raise DataError(
                f"{columns.where(int(falls[0]) + 1, config.time)}: not later than the row before. Sort the rows of the "
                f"file, and keep one of each time."
            )
    return columns


def _joined(config: DataConfig, kind: Kind, labels: _Labels, features: Sequence[str], parts: list[Columns]) -> Raw:
    starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    tokens = [name for name in config.tokens or [] if name in features]
    values = np.full((int(starts[-1]), len(features)), np.nan)
    numbers = [k for k, name in enumerate(features) if name not in tokens]
    for part, start, stop in zip(parts, starts[:-1], starts[1:], strict=True):
        values[start:stop, numbers] = part.values
    digest = hashlib.sha256(labels.sha256.encode())
    for file, part in zip(labels.files, parts, strict=True):
        digest.update(f"{file}\0{part.table.sha256}\0".encode("utf-8", "surrogateescape"))

    def where(row: int) -> str:
        n = int(np.searchsorted(starts, row, side="right")) - 1
        return f"{parts[n].table.path}, line {parts[n].lines[row - starts[n]]}"

    def together(name: str) -> list[str]:
        return [cell for part in parts for cell in part.texts[name]]

    return Raw(
        path=config.path,
        sha256=digest.hexdigest(),
        features=tuple(features),
        values=values,
        starts=starts,
        names=tuple(map(_stem, labels.files)),
        targets=[together(name) if kind == "label" else labels.columns[name] for name in config.targets],
        target_names=config.targets,
        groups=None if config.group is None else tuple(_of_each(config.group, labels, parts)),
        weights=None if config.weight is None else _of_each(config.weight, labels, parts),
        times=None if config.time is None else tuple(part.texts[config.time][0] for part in parts),
        texts={name: together(name) for name in tokens},
        where=where,
        where_target=None if kind == "label" else labels.where,
        notes=labels.notes,
    )


def _of_each(name: str, labels: _Labels, parts: Sequence[Columns]) -> list[str]:
    """Return a cell for each sequence: of the table of labels, or else of its file, in which all rows have the same."""
    if name in labels.columns:
        return list(labels.columns[name])
    for part in parts:
        cells = part.texts[name]
        other = next((row for row, cell in enumerate(cells) if cell != cells[0]), None)
        if other is not None:
            raise DataError(
                f"{part.where(other, name)}: {cells[other]!r} here and {cells[0]!r} in the first row. Write "
                f"the same value in every row of a sequence."
            )
    return [part.texts[name][0] for part in parts]
