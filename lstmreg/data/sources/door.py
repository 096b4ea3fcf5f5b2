"""The door for tables: which form a file has follows from its ending, or from how it begins."""

from __future__ import annotations

from lstmreg.config import DataConfig

from .columns import Table
from .csv_file import open_csv


def open_table(config: DataConfig) -> Table:
    """Open the table that ``data.path`` names.

    Raises:
        DataError: If it cannot be read as one.
    """
    return open_csv(config.path, config.delimiter)
