"""Takes a CSV file apart into cells; strictly, so that a damaged file is named and not guessed at.

The file is held as its bytes and taken apart some thousand rows at a time, so that the text of a large table never
stands in memory as a whole.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import DataConfig
from lstmreg.data.cells import converted
from lstmreg.errors import DataError

from .columns import Columns, Fault, Table
from .opening import file_bytes

#: What a gzipped table may unpack to: a few bytes can stand for terabytes.
_MOST_UNPACKED = 1 << 30

_GZIP = b"\x1f\x8b"
_MARK = b"\xef\xbb\xbf"

#: Bytes that are decoded, and cells that are converted, at once.
_BYTES_AT_ONCE = 1 << 20
_CELLS_AT_ONCE = 1 << 13

#: A text that comes often is held once, as long as so many differ.
_KNOWN_TEXTS = 10_000

#: What else than the delimiter that is set may stand between two cells.
_SEPARATORS = ";\t|,"

#: How files begin that are no table, though they may hold one.
_FOREIGN = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\xfd7zXZ\x00": "compressed (xz)",
    b"BZh91AY&SY": "compressed (bzip2)",
    b"\x28\xb5\x2f\xfd": "compressed (zstd)",
    b"PAR1": "a Parquet file",
    b"\x93NUMPY": "an array of NumPy",
    b"\x89HDF": "an HDF5 file",
}


def open_csv(path: str, delimiter: str = ",", setting: str = "data.path") -> CsvTable:
    """Open a CSV file, which may be gzipped.

    Raises:
        DataError: If it cannot be read, is no text, or has a nameless or doubled column.
    """
    raw = file_bytes(path, setting)
    content = _unpacked(path, raw)
    _check_text(path, content)
    return CsvTable(path, hashlib.sha256(raw).hexdigest(), content, _delimiter(path, content, delimiter))


def open_labels(path: str, delimiter: str) -> CsvTable:
    """Open a table of labels, which may be written with another delimiter than the files that it labels.

    Raises:
        DataError: As :func:`open_csv`.
    """
    raw = file_bytes(path, "data.labels")
    first = _unpacked(path, raw).lstrip().split(b"\n", 1)[0].decode(errors="replace")
    others = [sign for sign in _SEPARATORS if sign in first] if delimiter not in first else []
    return open_csv(path, others[0] if len(others) == 1 else delimiter, "data.labels")


def _delimiter(path: str, content: bytes, delimiter: str) -> str:
    """Return the tab for a file that says so by its ending, unless the setting or the file says otherwise."""
    is_tsv = path.lower().removesuffix(".gz").endswith((".tsv", ".tab"))
    return "\t" if is_tsv and delimiter == "," and b"\t" in content.lstrip().split(b"\n", 1)[0] else delimiter


def _unpacked(path: str, raw: bytes) -> bytes:
    for beginning, what in _FOREIGN.items():
        if raw.startswith(beginning):
            raise DataError(
                f"{path}: is {what}, no CSV file. Unpack it, or save the table as CSV (it may be .csv.gz). What is "
                f"read has one of these endings: .csv, .tsv, .csv.gz, .parquet, .npy; of sequences also .ts and .npz."
            )
    if not raw.startswith(_GZIP):
        return raw
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
            content = file.read(_MOST_UNPACKED + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: is damaged: {error}. Compress the table again, or give it unpacked.") from None
    if len(content) > _MOST_UNPACKED:
        raise DataError(f"{path}: unpacks to more than {_MOST_UNPACKED:,} bytes. Give it unpacked if that is right.")
    return content


def _check_text(path: str, raw: bytes) -> None:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\x00" in raw:
        line = raw[: raw.find(b"\x00") + 1].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: a NUL byte; UTF-16 or not text. Save the table as UTF-8.")
    if raw.isascii():
        return
    for start, stop in _pieces(raw):
        try:
            raw[start:stop].decode()
        except UnicodeDecodeError as error:
            line = raw[: start + error.start].count(b"\n") + 1
            raise DataError(f"{path}, line {line}: not UTF-8. Save the table as UTF-8.") from None


def _pieces(raw: bytes) -> Iterator[tuple[int, int]]:
    """Yield where pieces of whole lines begin and end."""
    start = len(_MARK) if raw.startswith(_MARK) else 0
    while start < len(raw):
        stop = raw.find(b"\n", start + _BYTES_AT_ONCE) + 1 or len(raw)
        yield start, stop
        start = stop


def _lines(raw: bytes) -> Iterator[str]:
    for start, stop in _pieces(raw):
        yield from io.StringIO(raw[start:stop].decode(), newline="")


@dataclass(frozen=True)
class _Part:
    """Neighbouring rows of a table, and the line of the file on which each ends."""

    rows: list[list[str]]
    lines: list[int]


def _next_part(reader: Any, rows_at_once: int, one_by_one: bool) -> _Part | None:
    """Return the next rows that are not blank, or nothing behind the last one."""
    before = reader.line_num
    if one_by_one:
        numbered = [(row, reader.line_num) for row in islice(reader, rows_at_once)]
        rows, lines = [row for row, _ in numbered], [line for _, line in numbered]
    else:
        rows = list(islice(reader, rows_at_once))
        lines = list(range(before + 1, before + 1 + len(rows)))
    if not rows:
        return None
    if not all(rows):
        lines = [line for row, line in zip(rows, lines, strict=True) if row]
        rows = [row for row in rows if row]
    return _Part(rows, lines)


class CsvTable(Table):
    """A CSV file.

    Args:
        path: The file.
        sha256: Of its bytes.
        content: What it holds, unpacked.
        delimiter: The character between two cells.
    """

    unit = "line"
    first = 1

    def __init__(self, path: str, sha256: str, content: bytes, delimiter: str) -> None:
        self._content = content
        self._delimiter = delimiter
        self._path = path
        super().__init__(path, sha256, self._read_header())

    def _read_header(self) -> list[str]:
        path = self._path
        first = next(self._parts(1), None)
        if first is None:
            raise DataError(f"{path}: the file is empty.")
        header = [name.strip() for name in first.rows[0]]
        seen: set[str] = set()
        for place, name in enumerate(header):
            if not name:
                raise DataError(f"{path}, line 1: {_about_nameless(header, place, self._delimiter)}")
            if name in seen:
                raise DataError(f"{path}, line 1: two columns named {name!r}. Rename one of them.")
            seen.add(name)
        separators = [c for c in _SEPARATORS if c in header[0]] if len(header) == 1 else []
        if separators:
            raise DataError(
                f"{path}, line 1: one column only; its cells look separated by {separators[0]!r}. "
                f"Set data.delimiter: {json.dumps(separators[0])}."
            )
        return header

    def _parts(self, rows_at_once: int) -> Iterator[_Part]:
        """Yield the file's rows, the header among them and blank lines not, so many at once."""
        reader = csv.reader(_lines(self._content), delimiter=self._delimiter, strict=True)
        one_by_one = b'"' in self._content  # a quoted cell may have several lines
        try:
            while part := _next_part(reader, rows_at_once, one_by_one):
                if part.rows:
                    yield part
        except csv.Error as error:
            raise DataError(f"{self._path}, line {reader.line_num}: {error} (an unclosed quote?).") from None

    def _body(self) -> Iterator[_Part]:
        """Yield the rows below the header, each as long as it."""
        width = len(self.header)
        is_first = True
        for part in self._parts(max(1, _CELLS_AT_ONCE // width)):
            if is_first:
                del part.rows[0], part.lines[0]
                is_first = False
            if not set(map(len, part.rows)) <= {width}:
                row = next(k for k, row in enumerate(part.rows) if len(row) != width)
                raise DataError(
                    f"{self.path}, line {part.lines[row]}: {len(part.rows[row])} cells, but the header has {width}."
                )
            if part.rows:
                yield part

    def _most_rows(self) -> int:
        """Return a number of rows that the file surely has not more of: by its lines, and by the commas they need."""
        raw = self._content
        lines = raw.count(b"\n") + raw.count(b"\r") - raw.count(b"\r\n") + 1
        return min(lines, len(raw) // len(self.header) + 1)

    def read(self, config: DataConfig, numbers: Sequence[str], texts: Sequence[str] = ()) -> Columns:
        """See :meth:`Table.read`."""
        most = self._most_rows()
        values = np.empty((most, len(numbers)))
        lines = np.empty(most, dtype=np.int64)
        places = [self.header.index(name) for name in numbers]
        faults: dict[str, Fault] = {}
        found: dict[str, _Texts] = {name: _Texts(self.header.index(name)) for name in texts}
        done = 0
        for part in self._body():
            stop = done + len(part.rows)
            lines[done:stop] = part.lines
            columns: Sequence[Sequence[str]] = list(zip(*part.rows, strict=True))
            for k, (name, place) in enumerate(zip(numbers, places, strict=True)):
                if name in faults:
                    continue
                given = converted(columns[place], config.decimal, config.thousands)
                if isinstance(given, Fault):
                    faults[name] = Fault(done + given.row, given.cell)
                else:
                    values[done:stop, k] = given
            for text in found.values():
                text.add(columns[text.place])
            done = stop
        if not done:
            raise DataError(f"{self.path}: a header, but no row below it.")
        given_texts = {name: text.cells for name, text in found.items()}
        return Columns(self, tuple(numbers), _first(values, done), given_texts, _first(lines, done), faults)

    def _texts(self, names: Sequence[str]) -> Mapping[str, list[str]]:
        found = {name: _Texts(self.header.index(name)) for name in names}
        for part in self._body():
            for text in found.values():
                text.add([row[text.place] for row in part.rows])
        return {name: text.cells for name, text in found.items()}


def _about_nameless(header: Sequence[str], place: int, delimiter: str) -> str:
    """Say what to do about a column without a name: the first one is most likely the index of a frame of pandas."""
    if place > 0 or not any(header):
        return f"a column without a name, number {place + 1} of {len(header)}. Name every column."
    beginning = delimiter.join(header[:3])
    return (
        f"the first column has no name; so pandas writes the index of a frame. Name it: write 'date{beginning}...' for "
        f"'{beginning}...' if it holds times, or save the frame with to_csv(..., index_label='date'); with index=False "
        f"if it only counts the rows."
    )


def _first(values: NDArray[Any], count: int) -> NDArray[Any]:
    """Return the first rows of an array, and give back the memory of the others where they are many."""
    return values[:count] if count > 0.9 * len(values) else values[:count].copy()


class _Texts:
    """A column of text as it grows; what comes often is held once."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.cells: list[str] = []
        self._known: dict[str, str] = {}

    def add(self, cells: Sequence[str]) -> None:
        stripped = map(str.strip, cells)
        if len(self._known) < _KNOWN_TEXTS:
            once: Callable[[str, str], str] = self._known.setdefault
            self.cells += [once(cell, cell) for cell in stripped]
        else:
            self.cells += stripped
