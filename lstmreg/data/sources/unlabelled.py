"""Sources whose targets need not be known: a table without that column, a folder without a table of labels."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from lstmreg.config import DataConfig
from lstmreg.data.choosing import known_columns
from lstmreg.errors import ConfigError, DataError

from .columns import Columns, Table
from .csv_file import open_csv
from .door import open_table
from .memory import TableInMemory
from .ts_file import pair_of

#: What stands where a target is asked for; nobody looks at it.
_ANY_TARGET = "0"

_FILES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")

#: Endings of a table, in which the column of the target may be missing; what has another one holds targets.
_TABLES = (*_FILES, ".tab", ".txt", ".gz", ".parquet", ".pq")


class Untargeted(Table):
    """A table that need not have the column of the target, and whose targets, if it has some, are not looked at."""

    def __init__(self, table: Table, targets: Sequence[str]) -> None:
        missing = [name for name in targets if name not in table.header]
        super().__init__(table.path, table.sha256, [*table.header, *missing])
        self.unit, self.first = table.unit, table.first
        self._table, self._targets = table, targets

    def read(self, config: DataConfig, numbers: Sequence[str], texts: Sequence[str] = ()) -> Columns:
        """Read the others, and give any target."""
        columns = self._table.read(config, numbers, [name for name in texts if name not in self._targets])
        targets = {name: [_ANY_TARGET] * len(columns) for name in texts if name in self._targets}
        return dataclasses.replace(columns, table=self, texts={**columns.texts, **targets})

    def _texts(self, names: Sequence[str]) -> Mapping[str, list[str]]:
        return {name: self._table.column(name) for name in names}


def open_unlabelled(config: DataConfig) -> tuple[DataConfig, Table | None]:
    """Open a long table or a folder of CSV files without asking for targets.

    Args:
        config: Names path and columns, the features among them.

    Returns:
        The settings by which the table is to be read, and the table; none of what has targets of its own, such as
        ``.ts`` and ``.npz``.

    Raises:
        DataError: If it cannot be opened.
    """
    path = Path(config.path)
    if path.is_dir() and not pair_of(path):
        return _folder(config)
    if path.is_dir() or not config.path.lower().endswith(_TABLES):
        return config, None
    return config, Untargeted(open_table(config), config.targets)


def open_labelled(
    config: DataConfig, *, are_in_files: bool, labels: str | None = None
) -> tuple[DataConfig, Table | None] | None:
    """Open the same with its targets, if it has some.

    Args:
        config: Names path and columns, the features among them.
        are_in_files: Whether of a folder the targets stand in its files, and not in a table of labels.
        labels: The table of labels of a folder. Default: one in it that is called as that of the training.

    Returns:
        As :func:`open_unlabelled`; nothing where there are surely no targets.

    Raises:
        ConfigError: If ``labels`` are those of no folder.
        DataError: If it cannot be opened.
    """
    path = Path(config.path)
    if path.is_dir() and not pair_of(path):
        inside = None if config.labels is None else path / Path(config.labels).name
        found = labels if labels is not None or inside is None or not inside.is_file() else str(inside)
        if found is None and not (are_in_files and _has(config, path)):
            return None
        return dataclasses.replace(config, labels=found), None
    if labels is not None:
        raise ConfigError(f"--labels is the table of labels of a folder, and {config.path} is none. Leave it out.")
    config = dataclasses.replace(config, labels=None)
    if path.is_dir() or not config.path.lower().endswith(_TABLES):
        return config, None
    table = open_table(config)
    return (config, table) if set(config.targets) <= set(table.header) else None


def _has(config: DataConfig, folder: Path) -> bool:
    """Tell whether the first file of a folder has the targets."""
    files = files_of(config, folder)
    return bool(files) and set(config.targets) <= set(open_csv(str(files[0]), config.delimiter).header)


def files_of(config: DataConfig, folder: Path) -> list[Path]:
    """Return the files of a folder that are sequences."""
    beside = "" if config.labels is None else Path(config.labels).name
    return sorted(p for p in folder.iterdir() if p.name.lower().endswith(_FILES) and p.name != beside)


def _folder(config: DataConfig) -> tuple[DataConfig, Table]:
    """Put the files of a folder below each other, with a column that says in which one each row stands."""
    files = files_of(config, Path(config.path))
    if not files:
        raise DataError(f"{config.path}: no CSV file in this folder. Give one file for each sequence.")
    names = [*(config.features or []), *([] if config.time is None else [config.time])]
    sequence = next(name for name in ("sequence", "file", "name of the file", "\0") if name not in names)
    cells: dict[str, list[str]] = {name: [] for name in (*names, sequence)}
    digest = hashlib.sha256()
    for file in files:
        table = open_csv(str(file), config.delimiter)
        known_columns(config, table.header, names, table.path)
        digest.update(table.sha256.encode())
        rows = 0
        for name in names:
            column = table.column(name)
            cells[name] += column
            rows = len(column)
        cells[sequence] += [_stem(file.name)] * rows
    joined = TableInMemory(config.path, digest.hexdigest(), list(cells), len(cells[sequence]), cells.__getitem__)
    return dataclasses.replace(config, sequence=sequence, labels=None), Untargeted(joined, config.targets)


def _stem(name: str) -> str:
    ending = next(e for e in sorted(_FILES, key=len, reverse=True) if name.lower().endswith(e))
    return name[: len(name) - len(ending)]
