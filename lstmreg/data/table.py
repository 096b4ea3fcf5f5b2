"""Reads a CSV file strictly: every cell is a number, or the error says which is not."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import DataConfig
from lstmreg.errors import DataError, did_you_mean

#: Cells that count as missing, after blanks at both ends are removed. Anything else must be a number.
MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?"})

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Series:
    """A multivariate series, oldest row first, complete and finite.

    Attributes:
        path: The file it came from.
        sha256: Of the file's bytes.
        features: Names of the input columns, D.
        target_name: Name of the column to forecast.
        inputs: ``(N, D)`` float64.
        target: ``(N,)`` float64.
        labels: What stands in the time column, row by row; without one the row's number in the file.
        notes: What the reader did or noticed, one sentence each.
    """

    path: str
    sha256: str
    features: tuple[str, ...]
    target_name: str
    inputs: NDArray[np.float64]
    target: NDArray[np.float64]
    labels: tuple[str, ...]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.target)


def read_series(config: DataConfig) -> Series:
    """Read the table that ``config`` names.

    Raises:
        DataError: If the file cannot be read, a column is unknown or there twice, a row is ragged, a cell
            is missing (unless ``config.missing`` handles it), not a number, or not finite in float32, or
            the rows are out of order.
    """
    raw = _read_bytes(config.path)
    header, rows, lines = _parse(config.path, raw, config.delimiter)
    columns = _chosen_columns(config, header)
    cells = {name: [row[header.index(name)].strip() for row in rows] for name in columns}

    notes: list[str] = []
    keep = list(range(len(rows)))
    if config.time is not None:
        stamps = _time_stamps(config.path, config.time, cells[config.time], lines)
        if config.sort:
            keep = sorted(keep, key=stamps.__getitem__)
        _check_order(config, [stamps[k] for k in keep], [lines[k] for k in keep])
        notes += _gap_notes(config.time, [stamps[k] for k in keep])

    names = [name for name in columns if name != config.time]
    values = np.stack([_numbers(config, n, cells[n], lines)[keep] for n in names], axis=1)
    kept_lines = [lines[k] for k in keep]
    if np.isnan(values).any():
        present, note = _handle_missing(config, names, values, kept_lines)
        notes.append(note)
        values, keep = values[present], [k for k, p in zip(keep, present, strict=True) if p]
    if not keep:
        raise DataError(f"{config.path}: no row is left. Give a table with complete rows.")
    notes += [f"Column {n!r} is constant; it tells a model nothing." for n in _constant(names, values)]
    features = config.features if config.features is not None else names
    return Series(
        path=config.path,
        sha256=hashlib.sha256(raw).hexdigest(),
        features=tuple(features),
        target_name=config.target,
        inputs=values[:, [names.index(n) for n in features]],
        target=values[:, names.index(config.target)],
        labels=tuple(cells[config.time][k] if config.time else str(lines[k] - 1) for k in keep),
        notes=tuple(notes),
    )


def _read_bytes(path: str) -> bytes:
    if "://" in path:
        raise DataError(f"data.path must be a file on this machine, got {path!r}. Download it first.")
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        folder = Path(path).parent
        near = did_you_mean(Path(path).name, [p.name for p in folder.iterdir()] if folder.is_dir() else [])
        raise DataError(f"{path}: no such file in {folder.resolve()} (data.path).{near}") from None
    except ValueError:
        raise DataError(f"{path!r}: cannot be read: that is no file's name (data.path).") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None


def _parse(path: str, raw: bytes, delimiter: str) -> tuple[list[str], list[list[str]], list[int]]:
    """Return the header, the rows, and the line in the file on which each row ends."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\x00" in raw:
        line = raw[: raw.find(b"\x00") + 1].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: a NUL byte; UTF-16 or not text. Save the table as UTF-8.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8. Save the table as UTF-8.") from None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if row:  # a blank line is no row
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error} (an unclosed quote?).") from None
    if not rows:
        raise DataError(f"{path}: the file is empty.")
    header = [name.strip() for name in rows.pop(0)]
    lines.pop(0)
    for name in header:
        if not name:
            raise DataError(f"{path}, line 1: a column without a name. Name every column.")
        if header.count(name) > 1:
            raise DataError(f"{path}, line 1: two columns named {name!r}. Rename one of them.")
    separators = [c for c in ";\t|," if c in header[0]] if len(header) == 1 else []
    if separators:
        raise DataError(
            f"{path}, line 1: one column only; its cells look separated by {separators[0]!r}. "
            f"Set data.delimiter: {json.dumps(separators[0])}."
        )
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            raise DataError(f"{path}, line {line}: {len(row)} cells, but the header has {len(header)}.")
    if not rows:
        raise DataError(f"{path}: a header, but no row below it.")
    return header, rows, lines


def _chosen_columns(config: DataConfig, header: Sequence[str]) -> list[str]:
    wanted = [config.target, *(config.features or []), *([config.time] if config.time else [])]
    for name in wanted:
        if name not in header:
            columns = " ".join(", ".join(header).split())
            raise DataError(
                f"unknown column {name!r} in {config.path}; columns: {columns}.{did_you_mean(name, header)}"
            )
    if config.time in (config.target, *(config.features or [])):
        raise DataError(f"column {config.time!r} is data.time, so it can be neither target nor feature.")
    chosen = list(header) if config.features is None else wanted
    return list(dict.fromkeys(chosen))


def _numbers(config: DataConfig, name: str, cells: Sequence[str], lines: Sequence[int]) -> NDArray[np.float64]:
    """Turn a column into float64; a missing cell becomes NaN."""
    numbers = np.empty(len(cells))
    for row, cell in enumerate(cells):
        if cell in MISSING:
            numbers[row] = math.nan
            continue
        where = f"{config.path}, line {lines[row]}, column {name!r}: {cell!r}"
        number = _number(cell, config.decimal)
        if math.isnan(number):
            remedy = "Set data.decimal: ','." if config.decimal == "." and "," in cell else _text_remedy(row)
            raise DataError(f"{where} is not a number. {remedy}")
        if abs(number) > _LARGEST:
            raise DataError(f"{where} is not finite in float32. Correct it, or leave the cell empty.")
        numbers[row] = number
    return numbers


def _number(cell: str, decimal: str) -> float:
    """Return a cell's number, or NaN."""
    if "_" in cell or (decimal == "," and "." in cell):
        return math.nan
    try:
        return float(cell.replace(decimal, "."))
    except ValueError:
        return math.nan


def _text_remedy(row: int) -> str:
    if row == 0:
        return "Name the column as data.time if it orders the rows, or list the inputs in data.features."
    return "Correct it, or leave the cell empty and set data.missing."


def _time_stamps(path: str, name: str, cells: Sequence[str], lines: Sequence[int]) -> list[float]:
    """Turn a column of numbers or ISO 8601 time stamps into seconds or numbers that order the rows."""
    kinds: set[str] = set()
    stamps: list[float] = []
    for cell, line in zip(cells, lines, strict=True):
        where = f"{path}, line {line}, column {name!r}: {cell!r}"
        try:
            stamps.append(float(cell if "_" not in cell else ""))
            kinds.add("numbers")
            finite = math.isfinite(stamps[-1])
        except ValueError:
            finite = True
            try:
                moment = datetime.fromisoformat(cell)
            except ValueError:
                raise DataError(
                    f"{where} is no time stamp. Write it as ISO 8601 (2024-03-31, 2024-03-31T14:00:00+02:00)."
                ) from None
            kinds.add("dates with a time zone" if moment.tzinfo else "dates without a time zone")
            stamps.append((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
        if not finite:
            raise DataError(f"{where} is no time stamp. Give every row one.")
        if len(kinds) > 1:
            raise DataError(f"{where} mixes kinds ({' and '.join(sorted(kinds))}). Write all rows alike.")
    return stamps


def _check_order(config: DataConfig, stamps: Sequence[float], lines: Sequence[int]) -> None:
    for before, now, line in zip(stamps, stamps[1:], lines[1:], strict=False):
        if now == before:
            raise DataError(
                f"{config.path}, line {line}, column {config.time!r}: the same time twice. Keep one of the rows."
            )
        if now < before:
            raise DataError(
                f"{config.path}, line {line}, column {config.time!r}: earlier than the row before. "
                f"Sort the table, or set data.sort: true."
            )


def _gap_notes(name: str, stamps: Sequence[float]) -> list[str]:
    steps = np.diff(np.asarray(stamps))
    if len(steps) == 0:
        return []
    usual = float(np.median(steps))
    gaps = int((steps > 1.5 * usual).sum())
    if gaps == 0:
        return []
    return [f"Column {name!r} has {gaps} gap(s) of more than 1.5 usual steps; rows count as neighbours there."]


def _handle_missing(
    config: DataConfig, names: Sequence[str], values: NDArray[np.float64], lines: Sequence[int]
) -> tuple[NDArray[np.bool_], str]:
    """Fill ``values`` in place, or say which rows stay; refuse if that is what the configuration says."""
    missing = np.isnan(values)
    row, column = (int(k) for k in np.argwhere(missing)[0])
    where = f"{config.path}, line {lines[row]}, column {names[column]!r}"
    empty = [n for k, n in enumerate(names) if missing[:, k].all()]
    if empty:
        raise DataError(f"{config.path}: column {empty[0]!r} has no value at all. Leave it out of data.features.")
    count = int(missing.sum())
    if config.missing == "error":
        raise DataError(
            f"{where}: a missing value ({count} in all). Fill it, or set data.missing to 'ffill' or 'drop'."
        )
    if config.missing == "drop":
        present = np.array([not row.any() for row in missing])
        return (
            present,
            f"Dropped {int((~present).sum())} rows with missing cells; their neighbours now touch.",
        )
    if missing[0].any():
        raise DataError(f"{where}: a missing value with nothing before it to fill from. Start the table one row later.")
    for k in range(1, len(values)):
        values[k] = np.where(missing[k], values[k - 1], values[k])
    return np.ones(len(values), dtype=bool), f"Filled {count} missing cells with the value of the row before."


def _constant(names: Sequence[str], values: NDArray[np.float64]) -> list[str]:
    return [n for n, spread in zip(names, np.ptp(values, axis=0), strict=True) if spread == 0]
