"""The door: which form data have follows from the ending of their file, or from how it begins."""

from __future__ import annotations

from pathlib import Path

from lstmreg.config import DataConfig
from lstmreg.errors import DataError

from .columns import Table
from .csv_file import open_csv
from .folder import sequences_of_folder
from .long_table import sequences_of_table
from .numpy_file import open_npy, sequences_of_npz
from .opening import check_place
from .parquet_file import open_parquet
from .raw import Kind, Raw
from .ts_file import pair_of, sequences_of_ts

_ENDINGS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".txt": "csv",
    ".gz": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".npy": "npy",
    ".npz": "npz",
    ".ts": "ts",
}

#: How files begin whose ending says nothing.
_BEGINNINGS = {b"PAR1": "parquet", b"\x93NUMPY": "npy"}


def open_table(config: DataConfig) -> Table:
    """Open the table that ``data.path`` names.

    Raises:
        DataError: If it cannot be read as one.
    """
    form = _form(config.path)
    if form in ("npz", "ts"):
        raise DataError(f"{config.path}: holds sequences, and a table is needed. Give .csv, .tsv, .parquet or .npy.")
    if form == "parquet":
        return open_parquet(config)
    if form == "npy":
        return open_npy(config)
    return open_csv(config.path, config.delimiter)


def open_sequences(config: DataConfig, kind: Kind, table: Table | None = None, *, is_labelled: bool = True) -> Raw:
    """Read the sequences of what ``data.path`` names, or of the table that is given.

    Of arrays and ``.ts`` files, labels need not be there where ``is_labelled`` is false, and are not looked at.

    Raises:
        WithoutTargetsError: If arrays or a ``.ts`` file have none.
        DataError: If it cannot be read as such.
    """
    if table is not None:
        return sequences_of_table(config, kind, table)
    form = _form(config.path)
    if form == "folder":
        pair = pair_of(Path(config.path))
        if not pair:
            return sequences_of_folder(config, kind)
        return sequences_of_ts(config, kind, pair, is_labelled=is_labelled)
    if config.labels is not None:
        raise DataError(f"{config.path}: is no folder; data.labels is for a folder of files. Leave it out.")
    if form == "ts":
        return sequences_of_ts(config, kind, [Path(config.path)], is_labelled=is_labelled)
    if form == "npz":
        return sequences_of_npz(config, kind, is_labelled=is_labelled)
    return sequences_of_table(config, kind, open_table(config))


def _form(path: str) -> str:
    """Return of which form a file is; what is of no known one is taken for CSV, and refused there if it is none."""
    check_place(path)
    if Path(path).is_dir():
        return "folder"
    form = _ENDINGS.get(Path(path).suffix.lower())
    if form is None and Path(path).is_file():
        with Path(path).open("rb") as file:
            beginning = file.read(8)
        form = next((form for start, form in _BEGINNINGS.items() if beginning.startswith(start)), None)
    return form or "csv"
