"""Opens a file that a setting names; says what is wrong where there is none, or none that ends."""

from __future__ import annotations

from pathlib import Path

from lstmreg.errors import DataError, did_you_mean
from lstmreg.files import read_file


def file_bytes(path: str, setting: str = "data.path") -> bytes:
    """Return what a file holds.

    Raises:
        DataError: If there is no such file on this machine, or it cannot be read.
    """
    check_place(path, setting)
    try:
        return read_file(Path(path)) if not Path(path).is_dir() else Path(path).read_bytes()
    except FileNotFoundError:
        raise missing_file(path, setting) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or 'not a regular file'}.") from None


def check_place(path: str, setting: str = "data.path") -> None:
    """See that a path could be one of this machine.

    Raises:
        DataError: If it is an address, or no file's name.
    """
    if "://" in path:
        raise DataError(f"{setting} must be a file on this machine, got {path!r}. Download it first.")
    if "\0" in path:
        raise DataError(f"{path!r}: cannot be read: that is no file's name ({setting}).")


def missing_file(path: str, setting: str) -> DataError:
    """Return the error that says which file is not there, and which one is."""
    folder = Path(path).parent
    near = did_you_mean(Path(path).name, [p.name for p in folder.iterdir()] if folder.is_dir() else [])
    return DataError(f"{path}: no such file in {folder.resolve()} ({setting}).{near}")
