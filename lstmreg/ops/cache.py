"""Keeps compiled libraries, and loads none that anybody but the user or the machine's administrator can have put there.

A library is code that runs as whoever loads it. So the folder and all above it are held to what ssh asks of its files:
nobody else may write there. A library is opened once, no link is followed, and what was opened is what is looked at and
what is loaded: whatever its name stands for in the next moment does not matter.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import itertools
import os
import shlex
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


class Library(ctypes.CDLL):
    """A library that is loaded.

    Attributes:
        path: Where it is kept; the loader knows it by another name.
    """

    path: Path


def folders() -> Iterator[Path]:
    """Yield where libraries are kept: ``LSTMREG_CACHE``, or the user's cache."""
    named = os.environ.get("LSTMREG_CACHE")
    if named:
        yield Path(named).absolute()
    elif (home := os.environ.get("XDG_CACHE_HOME") or _home()) is not None:
        yield Path(home).absolute() / "lstmreg"


def _home() -> str | None:
    try:
        return str(Path.home() / ".cache")
    except RuntimeError:  # a user without a home
        return None


def own_folder() -> Path:
    """Make a folder for this process alone, which ends with it."""
    folder = tempfile.mkdtemp(prefix="lstmreg-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def make(folder: Path) -> None:
    """Make a folder and what is missing above it, for this user alone whatever the umask says.

    Raises:
        OSError: If that cannot be.
    """
    for place in (*reversed(folder.parents), folder):
        if not place.is_dir():
            place.mkdir(mode=0o700, exist_ok=True)


# ---------------------------------------------------------------------- whom to trust


def why_unsafe(folder: Path) -> str | None:
    """Return why nothing in a folder is to be trusted, and the remedy; ``None`` if all is well, or it is not there.

    Nobody else may write to it. Nor to a folder above it, where he could put another in its place; but in one that is
    sticky, as ``/tmp`` is, he cannot. From above downwards: what is found safe stays so while the next is looked at.
    """
    return _why_unsafe(folder, True, _MOST_LINKS) if os.name == "posix" else None


#: More links than this the system does not follow either.
_MOST_LINKS = 40


def _why_unsafe(folder: Path, holds_libraries: bool, links: int) -> str | None:
    for place in (*reversed(folder.parents), folder):
        try:
            about = place.lstat()
        except OSError:
            return None  # it is made later, or that fails
        holds = holds_libraries and place == folder
        if about.st_uid not in (_ADMINISTRATOR, os.geteuid(), *([] if holds else [os.lstat("/").st_uid])):
            return f"{place} belongs to another user (number {about.st_uid}). {_ANOTHER}"
        if stat.S_ISLNK(about.st_mode):
            if holds or links == 0:
                return f"{place} is a link. Set LSTMREG_CACHE to the folder itself"
            if (reason := _why_unsafe(place.parent / os.readlink(place), False, links - 1)) is not None:
                return reason
        elif _is_written_by_others(place, about) and (holds or not about.st_mode & stat.S_ISVTX):
            return (
                f"other users may write to {place}. Run 'chmod go-w {shlex.quote(str(place))}', or "
                f"s{_ANOTHER.removeprefix('S')}"
            )
    return None


_ADMINISTRATOR = 0
_ANOTHER = "Set LSTMREG_CACHE to a folder that only you may write to"


def _is_written_by_others(place: Path, about: os.stat_result) -> bool:
    """Tell whether others may write; a group that is the user's alone is nobody else."""
    if about.st_mode & stat.S_IWOTH:
        return True
    return bool(about.st_mode & stat.S_IWGRP) and (_has_list(place) or not _is_private(about.st_gid))


def _has_list(place: Path) -> bool:
    """Tell whether a list says who else may do what; then the group's bits speak of all who stand in it."""
    if sys.platform != "linux":
        return False
    try:
        return "system.posix_acl_access" in os.listxattr(place)
    except OSError:
        return False


def _is_private(group: int) -> bool:
    """Tell whether a group has the user for its only member, as where each has one of his name and the umask is 002."""
    if sys.platform == "win32":
        return False
    import grp
    import pwd

    try:
        user, found = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return group == user.pw_gid and found.gr_name == user.pw_name and set(found.gr_mem) <= {user.pw_name}


# ---------------------------------------------------------------------- loading


def load(path: Path) -> Library | None:
    """Load a library of a folder that is safe; ``None`` if it is damaged, or not this user's or the administrator's."""
    try:
        descriptor = os.open(path, _READ)
    except OSError:
        return None
    try:
        content = _content(descriptor)
        if content is None:
            return None
        library = _loaded(descriptor, content, path)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    library.path = path
    return library


#: Neither through a link, nor waiting for who writes to a pipe.
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def _content(descriptor: int) -> bytes | None:
    """Return what an open library holds if it is whole, and was put there by whom one trusts.

    Loading half a file would end the process.
    """
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        return None
    if os.name == "posix" and (about.st_uid not in (_ADMINISTRATOR, os.geteuid()) or about.st_mode & _OTHERS_WRITE):
        return None
    with open(descriptor, "rb", closefd=False) as file:
        content = file.read()
    return content if content[-_SEAL:] == seal(content[:-_SEAL]) else None


_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_SEAL = 16


def seal(content: bytes) -> bytes:
    """Return what stands after a library's content; a loader does not look that far."""
    return hashlib.blake2b(content, digest_size=_SEAL).digest()


def _loaded(descriptor: int, content: bytes, path: Path) -> Library:
    """Load what a descriptor stands for, or else a copy of what was read from it.

    Raises:
        OSError: If it is no library.
    """
    if os.name != "posix":
        return Library(str(path))
    if Path(_OPEN_FILES, str(descriptor)).exists():
        # A loader takes a name that it knows for the library that it knows, and numbers are used again.
        return Library(f"{_OPEN_FILES}/{'./' * next(_loads)}{descriptor}")
    with tempfile.TemporaryDirectory(prefix="lstmreg-") as folder:
        if (reason := why_unsafe(Path(folder))) is not None:
            raise OSError(reason)
        copy = Path(folder, path.name)
        copy.write_bytes(content)
        return Library(str(copy))


#: Where a process finds its open files, where there is such a place: in Linux.
_OPEN_FILES = "/proc/self/fd"
_loads = itertools.count()
