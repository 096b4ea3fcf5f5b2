"""Writes files so that a reader sees the old one or the new one, never half of it; and reads no pipe for a file."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write ``content`` beside ``path`` and rename it into place.

    Raises:
        OSError: If the folder cannot be written or the disk is full; ``path`` then is as it was.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))
    data = content.encode() if isinstance(content, str) else content
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def read_file(path: Path, most: int = 1 << 40) -> bytes:
    """Return what a regular file holds; a pipe or a device would keep its reader waiting, or never end.

    Raises:
        OSError: If there is no such file, it is none, or it has more than ``most`` bytes.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise OSError(f"{path} is not a regular file")
    if about.st_size > most:
        raise OSError(f"{path} is too large")
    return path.read_bytes()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
