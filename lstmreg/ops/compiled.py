"""Compiles the C++ source on first use, keeps the result in a cache, and loads it.

A library in the cache is found by its source, flags, processor and compiler, so that a folder which machines or
versions share never serves the wrong one.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
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
            if _is_trusted(path) and (loaded := _open(path)) is not None:
                return loaded
    if compiler is None:
        raise CompileError("it needs a C++ compiler and found none. Install g++ or clang++")
    path = _compile(compiler, real, stem + suffix)
    loaded = _open(path)
    if loaded is None:
        raise CompileError(f"what {compiler} made at {path} cannot be loaded")
    return loaded


def _compiler() -> str | None:
    named = os.environ.get("CXX")
    return next(filter(None, map(shutil.which, [named] if named else ["g++", "clang++", "c++"])), None)


def _version(compiler: str) -> str:
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False, timeout=PATIENCE)
    return compiler + done.stdout


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
    """Yield where libraries are kept: ``LSTMREG_CACHE``, or the user's cache, and last this process' own folder."""
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


@functools.cache
def _own_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="lstmreg-")


def _is_trusted(path: Path) -> bool:
    """Tell whether a library was put there by this user or the machine's administrator."""
    return os.name != "posix" or path.stat().st_uid in (os.geteuid(), 0)


def _open(path: Path) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        return None  # a damaged file: it is made anew


def _compile(compiler: str, real: str, name: str) -> Path:
    failed = ""
    for folder in (*_folders(), Path(_own_folder().name)):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, unfinished = tempfile.mkstemp(dir=folder, suffix=".so")
        except OSError:
            continue  # read-only
        os.close(handle)
        try:
            failed = _run_compiler(compiler, real, unfinished)
            if not failed:
                os.chmod(unfinished, 0o755)
                # Whoever compiles the same at this moment writes another file; the last to rename it wins.
                os.replace(unfinished, folder / name)
                return folder / name
        finally:
            Path(unfinished).unlink(missing_ok=True)
        break
    raise CompileError(f"{compiler} failed:\n{failed or 'no folder can be written'}\n")


def _run_compiler(compiler: str, real: str, target: str) -> str:
    """Compile the source; return what the compiler said if it failed."""
    said = ""
    for tuning in TUNING:
        command = [compiler, f"-DREAL={real}", *FLAGS, *filter(None, [tuning]), str(SOURCE), "-o", target]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        if done.returncode == 0:
            return ""
        said = said or done.stderr.strip() or f"exit code {done.returncode}"
    return said
