"""Compiles the C++ source on first use, keeps the result in a cache, and loads it.

A library in the cache is found by its source, flags, processor and compiler, so that a folder which machines or
versions share never serves the wrong one.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

from . import cache
from .cache import Library

SOURCE = Path(__file__).parent / "csrc" / "lstm.cpp"
FLAGS = ("-std=c++17", "-O2", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC", "-pthread")
TUNING = ("-march=native", "-mcpu=native", "")  # the first that the compiler knows
PATIENCE = 300  # seconds


class CompileError(RuntimeError):
    """There is no library, and the message says why."""


@functools.cache
def library(real: str) -> Library:
    """Return the library for one type, compiling it if no cache has it.

    Args:
        real: ``"float"`` or ``"double"``.

    Raises:
        CompileError: If there is no compiler, or it fails (with its words), or others may write to the cache.
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


def _load(real: str) -> Library:
    compiler = _compiler()
    stem = f"lstm-{real}-{_digest(SOURCE.read_text(), *FLAGS, *TUNING, _processor())}"
    suffix = f"-{_digest(_version(compiler))}.so" if compiler else "-*.so"
    for folder in cache.folders():
        _check_safe(folder)
        for path in sorted(folder.glob(stem + suffix)):
            if (loaded := cache.load(path)) is not None:
                return loaded
    if not compiler:
        raise CompileError("it needs a C++ compiler and found none. Install g++ or clang++")
    path = _compile(compiler, real, stem + suffix)
    loaded = cache.load(path)
    if loaded is None:
        raise CompileError(f"what {' '.join(compiler)} made at {path} cannot be loaded")
    return loaded


def _check_safe(folder: Path) -> None:
    if (reason := cache.why_unsafe(folder)) is not None:
        raise CompileError(f"its cache could be changed by others: {reason}")


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


def _compile(compiler: list[str], real: str, name: str) -> Path:
    for place in (*cache.folders(), None):
        try:
            folder = cache.own_folder() if place is None else place
            cache.make(folder)
            _check_safe(folder)
            handle, unfinished = tempfile.mkstemp(dir=folder, suffix=".so")
        except OSError:
            continue  # read-only
        os.close(handle)
        try:
            _run_compiler(compiler, real, unfinished)
            content = Path(unfinished).read_bytes()
            Path(unfinished).write_bytes(content + cache.seal(content))
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
