"""Reads a Parquet file with pyarrow, one column after the other, and only those that are asked for."""

from __future__ import annotations

import hashlib
from typing import Any

from lstmreg.config import DataConfig
from lstmreg.errors import UNEXPECTED, DataError
from lstmreg.extras import need

from .frame import cells_of
from .memory import Column, TableInMemory
from .opening import file_bytes

#: A few bytes can stand for any number of rows that are all alike.
_MOST_ROWS = 100_000_000
_MOST_COLUMNS = 100_000


def open_parquet(config: DataConfig) -> TableInMemory:
    """Open a Parquet file.

    Raises:
        ConfigError: If pyarrow is not installed.
        DataError: If it is no such file, or damaged.
    """
    need("parquet", f"{config.path}: a Parquet file", "pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    raw = file_bytes(config.path)
    failures = (pa.ArrowException, OSError, *UNEXPECTED)
    try:
        file = pq.ParquetFile(pa.BufferReader(raw), page_checksum_verification=True)
        header = [str(name) for name in file.schema_arrow.names]
        rows = file.metadata.num_rows
    except failures as error:
        raise _damaged(config.path, error) from None
    if rows > _MOST_ROWS or len(header) > _MOST_COLUMNS:
        raise DataError(
            f"{config.path}: {rows:,} rows of {len(header):,} columns; at most {_MOST_ROWS:,} rows of "
            f"{_MOST_COLUMNS:,} columns are read. Give a part of the table."
        )
    wanted = {config.time, *config.targets, config.sequence, config.group, *(config.features or [])}
    header = [name for name in header if not _is_index(name) or name in wanted]

    def column(name: str) -> Column:
        try:
            return _column(file, name, rows, f"{config.path}, column {name!r}")
        except DataError:
            raise
        except failures as error:
            raise _damaged(config.path, error) from None

    return TableInMemory(config.path, hashlib.sha256(raw).hexdigest(), header, rows, column)


def _is_index(name: str) -> bool:
    """Tell whether a column is the nameless index of a frame of pandas, which is no input."""
    return name.startswith("__index_level_")


def _column(file: Any, name: str, rows: int, where: str) -> Column:
    import narwhals as nw

    table = file.read(columns=[name], use_threads=False)
    if table.num_rows != rows or name not in table.column_names:
        raise ValueError(f"column {name!r} has not as many rows as the file says")
    table.validate(full=True)
    return cells_of(nw.from_native(table, eager_only=True).get_column(name), where)


def _damaged(path: str, error: BaseException) -> DataError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return DataError(f"{path}: is no Parquet file, or damaged: {reason}. Write it again.")
