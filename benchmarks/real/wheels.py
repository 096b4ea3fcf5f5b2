"""Takes data out of wheels of well-known packages: downloaded once, never installed, never imported."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

#: The folder that keeps what was downloaded, where the environment names one.
VARIABLE = "LSTMREG_REAL_DATA"


def cache() -> Path:
    """Return the folder that keeps what was downloaded."""
    return Path(os.environ.get(VARIABLE) or Path.home() / ".cache" / "lstmreg" / "real-data")


def contents(requirement: str, members: Iterable[str]) -> list[bytes]:
    """Return files of a wheel.

    Args:
        requirement: As pip takes it, such as ``aeon==1.6.0``.
        members: Their paths in the wheel.

    Raises:
        subprocess.CalledProcessError: If the package index has no such wheel, or cannot be reached.
        KeyError: If the wheel has no such file.
    """
    with zipfile.ZipFile(_wheel(requirement)) as wheel:
        return [wheel.read(member) for member in members]


def _wheel(requirement: str) -> Path:
    pattern, folder = f"{requirement.replace('==', '-')}-*.whl", cache()
    if not list(folder.glob(pattern)):
        print(f"  downloading {requirement} into {folder}", file=sys.stderr, flush=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--no-deps", "--only-binary=:all:", "--dest", str(folder), requirement], check=True)
    return next(folder.glob(pattern))
