"""Takes a CSV file apart into cells; strictly, so that a damaged file is named and not guessed at."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

from lstmreg.errors import DataError, did_you_mean

#: What a gzipped table may unpack to: a few bytes can stand for terabytes.
_MOST_UNPACKED = 1 << 30

_GZIP = b"\x1f\x8b"

#: How files begin that are no table, though they may hold one.
_FOREIGN = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\xfd7zXZ\x00": "compressed (xz)",
    b"BZh91AY&SY": "compressed (bzip2)",
    b"\x28\xb5\x2f\xfd": "compressed (zstd)",
    b"PAR1\x15": "a Parquet file",
    b"\x89HDF": "an HDF5 file",
}


@dataclass(frozen=True)
class Table:
    """The cells of a file, as text.

    Attributes:
        path: The file.
        sha256: Of its bytes.
        header: Names of the columns.
        rows: One list of cells for each row, as long as the header.
        lines: The line in the file on which each row ends.
    """

    path: str
    sha256: str
    header: list[str]
    rows: list[list[str]]
    lines: list[int]

    def column(self, name: str) -> list[str]:
        """Return the cells of a column, without blanks at both ends."""
        index = self.header.index(name)
        return [row[index].strip() for row in self.rows]


def read_table(path: str, delimiter: str) -> Table:
    """Read a CSV file, which may be gzipped.

    Raises:
        DataError: If it cannot be read, is no text, or has a nameless or doubled column, a ragged row, or no row.
    """
    raw = _read_bytes(path)
    header, rows, lines = _parse(path, _unpacked(path, raw), delimiter)
    return Table(path, hashlib.sha256(raw).hexdigest(), header, rows, lines)


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


def _unpacked(path: str, raw: bytes) -> bytes:
    for beginning, what in _FOREIGN.items():
        if raw.startswith(beginning):
            raise DataError(f"{path}: is {what}, no CSV file. Unpack it, or save the table as CSV (it may be .csv.gz).")
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
