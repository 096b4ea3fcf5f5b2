"""The compiled code from source to library: the cache, compilers that are missing or fail, processes, processors."""

from __future__ import annotations

import ctypes
import fnmatch
import os
import platform
import shutil
import subprocess
import sys
import threading
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lstmreg import ops
from lstmreg.ops import compiled, dispatch, fused_cpu
from tests.ops.arguments import Kind, assert_close, make_call, results, true_results

ROOT = Path(__file__).parents[2]
DROPPED = Kind(4, 4)


def forget() -> None:
    """Make this process as one that has not asked for a library yet."""
    for cached in (compiled.library, fused_cpu._library, dispatch._say_once):
        cached.cache_clear()
    compiled._failures.clear()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "cache"
    monkeypatch.setenv("LSTMREG_CACHE", str(folder))
    forget()
    yield folder
    forget()


@pytest.fixture(scope="module")
def built() -> Path:
    """A library that was compiled in earnest."""
    return Path(compiled.library("float")._name)


@pytest.fixture
def compiler(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Something that looks like a compiler, takes no time, and notes each call in a file beside it."""
    return make_compiler(tmp_path / "c++", f'[ -n "$target" ] && cp {built} "$target"', monkeypatch)


def make_compiler(path: Path, does: str, monkeypatch: pytest.MonkeyPatch | None = None) -> Path:
    path.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo one; exit; }\n'
        f'echo "$@" >> {path}.log\n'
        'while [ $# -gt 0 ]; do [ "$1" = -o ] && target=$2; shift; done\n'
        f"{does}\n"
    )
    path.chmod(0o755)
    if monkeypatch is not None:
        monkeypatch.setenv("CXX", str(path))
    return path


def calls(compiler: Path) -> int:
    log = Path(f"{compiler}.log")
    return len(log.read_text().splitlines()) if log.exists() else 0


def load() -> Path:
    """Ask for the library as a new process would; return its place."""
    forget()
    return Path(compiled.library("float")._name)


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def says(process: subprocess.Popen[str]) -> str:
    said, complaint = process.communicate(timeout=120)
    assert process.returncode == 0, complaint
    return said.strip()


# ------------------------------------------------------------------ the cache


def test_the_library_is_compiled_once_and_then_found(cache, compiler):
    first = load()
    assert first.parent == cache
    assert load() == first
    assert calls(compiler) == 1
    assert [first] == list(cache.iterdir())  # and nothing is left lying about


def test_a_library_in_a_shared_folder_can_be_loaded_by_all(cache, compiler):
    assert load().stat().st_mode & 0o777 == 0o755


def test_each_type_has_its_library(cache, compiler):
    load()
    compiled.library("double")
    assert calls(compiler) == 2
    assert len(list(cache.iterdir())) == 2


def other_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = tmp_path / "other.cpp"
    source.write_text(compiled.SOURCE.read_text() + "// another\n")
    monkeypatch.setattr(compiled, "SOURCE", source)


def other_flags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiled, "FLAGS", (*compiled.FLAGS, "-O1"))


def other_tuning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiled, "TUNING", ("-march=other",))


def other_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiled, "_processor", lambda: "other")


def other_version_of_the_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = Path(os.environ["CXX"])
    compiler.write_text(compiler.read_text().replace("echo one", "echo two"))


@pytest.mark.parametrize(
    "change", [other_source, other_flags, other_tuning, other_processor, other_version_of_the_compiler]
)
def test_whatever_the_library_depends_on_makes_another(cache, compiler, monkeypatch, tmp_path, change):
    first = load()
    change(monkeypatch, tmp_path)
    assert load() != first
    assert calls(compiler) == 2


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: b"no library", lambda data: data[:64]], ids=["empty", "text", "beginning"]
)
def test_a_damaged_library_is_made_anew(cache, compiler, built, damage, monkeypatch):
    library = load()
    # A process that has a library open does not look at its file again, so the damage is done where none was loaded.
    damaged = cache / "elsewhere" / library.name
    damaged.parent.mkdir()
    damaged.write_bytes(damage(built.read_bytes()))
    monkeypatch.setenv("LSTMREG_CACHE", str(damaged.parent))
    assert load() == damaged
    assert damaged.read_bytes().startswith(built.read_bytes())
    assert calls(compiler) == 2


LANES = """
import sys
from lstmreg.ops import compiled
library = compiled.library("float")
print(library._name, library.lstmreg_lanes())
"""


def test_half_a_library_does_not_end_the_process(cache, compiler, built):
    library = load()
    library.unlink()
    library.write_bytes(built.read_bytes()[: built.stat().st_size // 2])
    assert says(python(LANES)).startswith(str(library))
    assert library.read_bytes().startswith(built.read_bytes())


def test_a_library_of_another_user_is_not_loaded(cache, compiler, monkeypatch):
    library = load()
    if os.geteuid() == 0:
        os.chown(library, 4711, -1)
    else:  # who I am changes, and not whose it is
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
    load()
    assert calls(compiler) == 2


@pytest.mark.parametrize("place", ["/proc/nowhere", "file/cache"])
def test_where_the_cache_cannot_be_written_the_process_has_its_own(compiler, monkeypatch, tmp_path, place):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LSTMREG_CACHE", str(tmp_path / place))
    library = load()
    assert not library.is_relative_to(tmp_path / place)
    assert compiled.library("float")._name == str(library)
    assert calls(compiler) == 1
    folder = "from lstmreg.ops import compiled; print(compiled.library('float')._name)"
    assert not Path(says(python(folder))).exists()  # nor is that left lying about when the process ends


def test_without_a_name_the_cache_is_the_users(compiler, monkeypatch, tmp_path):
    monkeypatch.delenv("LSTMREG_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert load().parent == tmp_path / "home" / ".cache" / "lstmreg"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert load().parent == tmp_path / "xdg" / "lstmreg"
    forget()


def test_two_processes_that_compile_at_once_both_succeed_and_leave_one_library(cache, built, tmp_path, monkeypatch):
    compiler = make_compiler(tmp_path / "c++", f'sleep 3; cp {built} "$target"', monkeypatch)
    first, second = [python(LANES) for _ in range(2)]
    assert says(first) == says(second)
    assert calls(compiler) == 2
    assert len(list(cache.iterdir())) == 1


# ------------------------------------------------------------------ no compiler, or one that fails


def served_by_eager(dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.float64)) -> list[str]:
    """Run calls that ask for no backend and drop inside the loop; return what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for dtype in (*dtypes, *dtypes):
            arguments, options = make_call((7, 3, 2, 5), DROPPED, dtype)
            assert dispatch.choose(ops.call.Call(*arguments, None, *options.values()), "auto") == "eager"
            assert_close(results(ops.lstm, arguments, **options), true_results(arguments, **options))
    return [str(warning.message) for warning in caught]


def refusal() -> str:
    arguments, options = make_call((7, 3, 2, 5), DROPPED, torch.float32)
    with pytest.raises(ValueError, match="'fused_cpu' cannot serve this call") as refused:
        ops.lstm(*arguments, backend="fused_cpu", **options)
    return str(refused.value)


def test_without_a_compiler_eager_serves_with_one_warning_and_by_name_it_is_an_error(cache, monkeypatch):
    monkeypatch.setenv("CXX", "/nonexistent/c++")
    (warning,) = served_by_eager()
    assert "Install g++ or clang++" in warning
    assert "Install g++ or clang++. Use backend='auto'." in refusal()
    assert not cache.exists()


def test_what_torchs_own_lstm_serves_warns_of_nothing(cache, monkeypatch):
    monkeypatch.setenv("CXX", "/nonexistent/c++")
    arguments, options = make_call((7, 3, 2, 5), Kind())
    ops.lstm(*arguments, **options)  # a warning would be an error


def test_without_a_compiler_a_library_in_the_cache_serves(cache, compiler, monkeypatch):
    library = load()
    monkeypatch.setenv("CXX", "/nonexistent/c++")
    assert load() == library
    arguments, options = make_call((7, 3, 2, 5), DROPPED, torch.float32)
    found = results(ops.lstm, arguments, backend="fused_cpu", **options)
    assert_close(found, true_results(arguments, **options))


def test_the_words_of_a_compiler_that_fails_are_handed_on(cache, tmp_path, monkeypatch):
    compiler = make_compiler(tmp_path / "c++", "echo 'out of cheese' >&2; exit 1", monkeypatch)
    (warning,) = served_by_eager((torch.float32,))
    assert "out of cheese" in warning
    assert "out of cheese" in refusal()
    assert calls(compiler) == len(compiled.TUNING)  # tried once, and not again for every call
    assert list(cache.iterdir()) == []


def test_tuning_that_the_compiler_does_not_know_is_left_out(cache, built, tmp_path, monkeypatch):
    does = f'case "$all" in *native*) exit 1;; esac; cp {built} "$target"'
    compiler = make_compiler(tmp_path / "c++", does, monkeypatch)
    compiler.write_text(compiler.read_text().replace("while", 'all="$*"; while'))
    assert load().read_bytes().startswith(built.read_bytes())
    assert calls(compiler) == 3


NOT_COMPILERS = {
    "speaks latin-1": b"#!/bin/sh\n[ \"$1\" = --version ] && exit; printf 'gr\\374\\337e' >&2; exit 1\n",
    "has a version in latin-1": b"#!/bin/sh\nprintf 'gr\\374\\337e'; exit 1\n",
    "cannot be executed": b"no program",
    "does nothing": b"#!/bin/sh\n",
    "hangs": b"#!/bin/sh\nexec sleep 20\n",
    "removes what it shall write": b'#!/bin/sh\nfor last; do :; done; rm -f "$last"\n',
}


@pytest.mark.parametrize("what", list(NOT_COMPILERS))
def test_whatever_a_compiler_does_eager_serves(cache, tmp_path, monkeypatch, what):
    compiler = tmp_path / "c++"
    compiler.write_bytes(NOT_COMPILERS[what])
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr(compiled, "PATIENCE", 0.5)
    (warning,) = served_by_eager((torch.float32,))
    assert "compiled LSTM is not used" in warning
    assert "fused_cpu" in refusal()


def test_the_name_of_a_compiler_may_bring_arguments(cache, compiler, monkeypatch):
    monkeypatch.setenv("CXX", f"{compiler} -m64")
    load()
    assert "-m64" in Path(f"{compiler}.log").read_text()


def test_arguments_that_are_mirrored_in_part_are_noticed_when_the_library_is_loaded(cache, compiler, monkeypatch):
    class Shorter(ctypes.Structure):
        _fields_ = fused_cpu._Problem._fields_[:-1]

    monkeypatch.setattr(fused_cpu, "_Problem", Shorter)
    with pytest.raises(AssertionError, match="a field is on one side alone"):
        fused_cpu._library(torch.float32)


def test_the_source_is_shipped():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["lstmreg"]
    source = str(compiled.SOURCE.relative_to(ROOT / "lstmreg"))
    assert any(fnmatch.fnmatch(source, pattern) for pattern in patterns)


# ------------------------------------------------------------------ threads and processes


def test_two_threads_may_call_at_once(cache, compiler):
    arguments, options = make_call((20, 33, 5, 17), DROPPED, torch.float32)
    expected = true_results(arguments, **options)
    torch.set_num_threads(3)
    begin = threading.Barrier(4)
    found: list[Any] = []

    def work() -> None:
        begin.wait()
        for _ in range(20):
            found.append(results(ops.lstm, arguments, backend="fused_cpu", **options))

    forget()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    for one in found:
        assert_close(one, expected)


def test_where_torch_has_no_openmp_the_code_starts_its_own_threads(monkeypatch):
    monkeypatch.setattr(fused_cpu, "_parallel", lambda: None)
    torch.set_num_threads(3)
    for kind in (DROPPED, Kind(1, 1, "holes", K=3)):
        arguments, options = make_call((20, 33, 5, 17), kind)
        assert_close(results(ops.lstm, arguments, backend="fused_cpu", **options), true_results(arguments, **options))


FORK = """
import os, torch
from lstmreg import ops
from tests.ops.arguments import Kind, make_call, results
arguments, options = make_call((20, 33, 5, 17), Kind(4, 4))

def go():
    return results(ops.lstm, arguments, backend="fused_cpu", **options)

torch.set_num_threads(2)
expected = go()
if (child := os.fork()) == 0:
    torch.set_num_threads(1)  # GNU's OpenMP has no others after a fork; a DataLoader's workers do the same
    found = go()
    os._exit(0 if all(torch.allclose(found[name], expected[name], rtol=1e-12) for name in found) else 1)
assert os.waitpid(child, 0)[1] == 0

class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, i):
        return go()["output"].detach()

loader = torch.utils.data.DataLoader(Data(), batch_size=None, num_workers=2, multiprocessing_context="fork")
for output in loader:
    torch.testing.assert_close(output, expected["output"].detach())
print("done")
"""


def test_it_works_after_a_fork_and_in_the_workers_of_a_loader():
    assert says(python(FORK)) == "done"


# ------------------------------------------------------------------ other processors and compilers


def other_builds() -> list[tuple[str, str]]:
    """Compilers and instruction sets that this machine has, besides what it uses anyway."""
    builds = [("clang++", "-march=native")] if shutil.which("clang++") else []
    if platform.machine() == "x86_64":
        flags = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []
        builds += [("c++", "-march=x86-64-v3")] if {"avx2", "fma", "bmi2"} <= set(flags) else []
        builds += [("c++", "-march=x86-64")]
    return [build for build in builds if shutil.which(build[0])]


@pytest.mark.parametrize(("name", "tuning"), other_builds())
def test_other_compilers_and_processors_get_the_same_results(cache, monkeypatch, name, tuning):
    monkeypatch.setenv("CXX", name)
    monkeypatch.setattr(compiled, "TUNING", (tuning,))
    for size in [(7, 70, 5, 17), (9, 7, 33, 1), (3, 33, 65, 64), (40, 130, 2, 3), (1, 8, 9, 130)]:
        for kind in (Kind(), Kind(1, 1, "holes"), Kind(4, 4, "prefix", reverse=True, K=2)):
            for threads in (1, 3):
                torch.set_num_threads(threads)
                arguments, options = make_call(size, kind, torch.float32)
                found = results(ops.lstm, arguments, backend="fused_cpu", **options)
                assert_close(found, true_results(arguments, **options))
    assert Path(compiled.library("float")._name).parent == cache
