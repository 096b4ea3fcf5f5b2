"""Compiles the C++ source on first use, keeps the result in a cache, and loads it.

A library in the cache is found by its source, flags, processor and compiler, so that a folder which machines or
versions share never serves the wrong one.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

SOURCE = Path(__file__).parent / "csrc" / "lstm.cpp"
FLAGS = ("-std=c++17", "-O2", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC", "-pthread")
TUNING = ("-march=native", "-mcpu=native", "")  # the first that the compiler knows
PATIENCE = 300  # seconds


class CompileError(RuntimeError):
    """There is no library, and the message says why."""


@functools.cache
def library(real: str) -> ctypes.CDLL:
    """Return the library for one type, compiling it if no cache has it.

    Args:
        real: ``"float"`` or ``"double"``.

    Raises:
        CompileError: If there is no compiler, or it fails (with its words).
    """
    try:
        return _load(real)
    except CompileError as error:
        _failures[real] = error
        raise


#: Why there is none, by type: what failed once is not tried again and again.
_failures: dict[str, CompileError] = {}


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def why_not(real: str) -> str | None:
    """Return why there is no library for a type, or ``None`` if there is one; compiles it if need be."""
    if real not in _failures:
        try:
            library(real)
        except CompileError:
            pass
        else:
            return None
    return str(_failures[real])


def _load(real: str) -> ctypes.CDLL:
    compiler = _compiler()
    stem = f"lstm-{real}-{_digest(SOURCE.read_text(), *FLAGS, *TUNING, _processor())}"
    suffix = f"-{_digest(_version(compiler))}.so" if compiler else "-*.so"
    for folder in _folders():
        for path in sorted(folder.glob(stem + suffix)):
            if _is_whole(path) and (loaded := _open(path)) is not None:
                return loaded
    if not compiler:
        raise CompileError("it needs a C++ compiler and found none. Install g++ or clang++")
    path = _compile(compiler, real, stem + suffix)
    loaded = _open(path)
    if loaded is None:
        raise CompileError(f"what {' '.join(compiler)} made at {path} cannot be loaded")
    return loaded


def _compiler() -> list[str]:
    """Return the command that compiles, from ``CXX`` or whatever is installed; empty if there is none."""
    named = os.environ.get("CXX")
    commands = [shlex.split(named)] if named else [["g++"], ["clang++"], ["c++"]]
    return next(([found, *rest] for name, *rest in filter(None, commands) if (found := shutil.which(name))), [])


def _version(compiler: list[str]) -> str:
    done = _run(*compiler, "--version")
    return " ".join(compiler) + done.stdout


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False, timeout=PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompileError(f"{command[0]} failed:\n{error}\n") from None


def _processor() -> str:
    """Return what names the processor's abilities."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    told = {line.partition(":")[0].strip(): line for line in lines}
    return platform.machine() + "".join(told.get(key, "") for key in ("model name", "model", "flags", "Features"))


def _digest(*texts: str) -> str:
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=8).hexdigest()


def _folders() -> Iterator[Path]:
    """Yield where libraries are kept: ``LSTMREG_CACHE``, or the user's cache."""
    named = os.environ.get("LSTMREG_CACHE")
    if named:
        yield Path(named)
    elif (home := os.environ.get("XDG_CACHE_HOME") or _home()) is not None:
        yield Path(home) / "lstmreg"


def _home() -> str | None:
    try:
        return str(Path.home() / ".cache")
    except RuntimeError:  # a user without a home
        return None


def _own_folder() -> Path:
    """Make a folder for this process alone, which ends with it."""
    folder = tempfile.mkdtemp(prefix="lstmreg-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _is_whole(path: Path) -> bool:
    """Tell whether a library is all there, and was put there by this user or the machine's administrator.

    Loading half a file would end the process.
    """
    try:
        owner, content = path.stat().st_uid, path.read_bytes()
    except OSError:
        return False
    trusted = os.name != "posix" or owner in (os.geteuid(), 0)
    return trusted and content[-_SEAL:] == _seal(content[:-_SEAL])


_SEAL = 16


def _seal(content: bytes) -> bytes:
    """Return what stands after a library's content; a loader does not look that far."""
    return hashlib.blake2b(content, digest_size=_SEAL).digest()


def _open(path: Path) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        return None  # a damaged file: it is made anew


def _compile(compiler: list[str], real: str, name: str) -> Path:
    for place in (*_folders(), None):
        try:
            folder = _own_folder() if place is None else place
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, unfinished = tempfile.mkstemp(dir=folder, suffix=".so")
        except OSError:
            continue  # read-only
        os.close(handle)
        try:
            _run_compiler(compiler, real, unfinished)
            content = Path(unfinished).read_bytes()
            Path(unfinished).write_bytes(content + _seal(content))
            os.chmod(unfinished, 0o755)
            # Whoever compiles the same at this moment writes another file; the last to rename it wins.
            os.replace(unfinished, folder / name)
        except OSError as error:
            raise CompileError(f"{' '.join(compiler)} left nothing that can be used: {error}") from None
        finally:
            Path(unfinished).unlink(missing_ok=True)
        return folder / name
    raise CompileError("no folder can be written for what it compiles. Set LSTMREG_CACHE to one that can")


def _run_compiler(compiler: list[str], real: str, target: str) -> None:
    said = ""
    for tuning in TUNING:
        options = [f"-DREAL={real}", *FLAGS, *filter(None, [tuning])]
        done = _run(*compiler, *options, str(SOURCE), "-o", target)
        if done.returncode == 0:
            return
        said = said or done.stderr.strip() or f"exit code {done.returncode}"
    raise CompileError(f"{' '.join(compiler)} failed:\n{said}\n")
