"""The compiled code from source to library: the cache, compilers that are missing or fail, processes, processors."""

from __future__ import annotations

import ctypes
import fnmatch
import grp
import hashlib
import os
import platform
import pwd
import shutil
import subprocess
import sys
import tempfile
import threading
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lstmreg import ops
from lstmreg.ops import cache as keeping
from lstmreg.ops import compiled, dispatch, fused_cpu
from tests.ops.arguments import Kind, assert_close, assert_loses_little, make_call, results, true_results
from tests.program import Program

ROOT = Path(__file__).parents[2]
DROPPED = Kind(4, 4)


def forget() -> None:
    """Make this process as one that has not asked for a library yet."""
    for cached in (compiled.library, fused_cpu.library_of, dispatch._say_once):
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
    return compiled.library("float").path


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
    return compiled.library("float").path


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def copied(code: str) -> Program:
    """Run code in a copy of a process that has loaded torch, and no library."""
    return Program(ROOT, code=f"import os\nos.environ.update({dict(os.environ)!r})\n{code}")


def says(process: subprocess.Popen[str] | Program) -> str:
    with process:
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
    # A loader that took the one for the other would compute rubbish.
    assert compiled.library("double")._handle != compiled.library("float")._handle
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
print(library.path, library.lstmreg_lanes())
"""


def test_half_a_library_does_not_end_the_process(cache, compiler, built):
    library = load()
    library.unlink()
    library.write_bytes(built.read_bytes()[: built.stat().st_size // 2])
    assert says(copied(LANES)).startswith(str(library))
    assert library.read_bytes().startswith(built.read_bytes())


def test_a_library_of_another_user_is_not_loaded(cache, compiler, monkeypatch):
    library = load()
    if os.geteuid() == 0:
        os.chown(library, 4711, -1)
    else:  # who I am changes, and not whose it is
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
    load()
    assert calls(compiler) == 2


# ------------------------------------------------------------------ what others put there


PLANTED = """
#include <cstdio>
#include <cstdlib>
__attribute__((constructor)) static void runs() { std::fclose(std::fopen(std::getenv("CANARY"), "w")); }
"""


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there as soon as planted code has run."""
    monkeypatch.setenv("CANARY", str(tmp_path / "canary"))
    return tmp_path / "canary"


@pytest.fixture
def planted(tmp_path: Path, canary: Path) -> Path:
    """A library with a right seal that does harm when it is loaded."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    (tmp_path / "planted.cpp").write_text(PLANTED)
    target = tmp_path / "planted.so"
    subprocess.run([compiler, "-shared", "-fPIC", tmp_path / "planted.cpp", "-o", target], check=True, timeout=60)
    content = target.read_bytes()
    target.write_bytes(content + seal(content))
    return target


def seal(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def test_what_is_planted_does_harm_where_it_is_loaded(planted, canary):
    ctypes.CDLL(str(planted))
    assert canary.exists()


def linked(path: Path, target: Path) -> None:
    path.unlink()
    path.symlink_to(target)


def renamed(path: Path, target: Path) -> None:
    os.replace(shutil.copy(target, target.with_suffix(".copy")), path)


def moved(library: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep a library in another folder: this process has loaded none of that name, and would look at its file."""
    folder = library.parent / "elsewhere"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("LSTMREG_CACHE", str(folder))
    return Path(shutil.copy(library, folder))


@pytest.mark.parametrize("exchange", [linked, renamed])
@pytest.mark.parametrize("moment", ["opened", "checked"])
@pytest.mark.parametrize("has_proc", [True, False])
def test_what_is_exchanged_after_it_was_looked_at_is_not_loaded(
    cache, compiler, planted, canary, monkeypatch, exchange, moment, has_proc
):
    library = moved(load(), monkeypatch)
    if not has_proc:
        monkeypatch.setattr(keeping, "_OPEN_FILES", "/nowhere")
    exchanged = []

    def exchange_now() -> None:
        if not exchanged:
            exchange(library, planted)
            exchanged.append(moment)

    if moment == "opened":
        real_open = os.open

        def opening(path: Any, *arguments: Any, **options: Any) -> int:
            descriptor = real_open(path, *arguments, **options)
            if path == library:
                exchange_now()
            return descriptor

        monkeypatch.setattr(os, "open", opening)
    else:
        real_init = ctypes.CDLL.__init__

        def loading(self: Any, *arguments: Any, **options: Any) -> None:
            exchange_now()
            real_init(self, *arguments, **options)

        monkeypatch.setattr(ctypes.CDLL, "__init__", loading)
    forget()
    assert compiled.library("float").lstmreg_lanes() > 0
    assert exchanged == [moment]
    assert not canary.exists()


def test_a_link_in_place_of_a_library_is_not_followed(cache, compiler, planted, canary, monkeypatch):
    library = moved(load(), monkeypatch)
    linked(library, planted)
    assert load() == library
    assert not canary.exists()
    assert not library.is_symlink()
    assert calls(compiler) == 2


def test_a_pipe_in_place_of_a_library_keeps_nobody_waiting(cache, compiler):
    library = load()
    library.unlink()
    os.mkfifo(library)
    assert load() == library
    assert calls(compiler) == 2


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_library_that_others_may_write_to_is_not_loaded(cache, compiler, mode):
    library = load()
    library.chmod(mode)
    assert load() == library
    assert library.stat().st_mode & 0o777 == 0o755
    assert calls(compiler) == 2


def reason() -> str:
    forget()
    with pytest.raises(compiled.CompileError) as refused:
        compiled.library("float")
    return str(refused.value)


#: Nobody's number.
STRANGER = 4711

only_root_gives_away = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
@pytest.mark.parametrize("above", [False, True])
@only_root_gives_away
def test_a_folder_that_others_may_write_to_is_refused_with_the_remedy(cache, compiler, monkeypatch, mode, above):
    load()
    place = cache.parent if above else cache
    os.chown(place, -1, STRANGER)
    place.chmod(mode)
    if above and mode & 0o1000:  # like /tmp: nobody puts another folder in place of mine
        load()
        assert calls(compiler) == 1
        return
    assert f"other users may write to {place}. Run 'chmod go-w {place}'" in reason()
    place.chmod(mode & ~0o022)  # as it says
    load()
    assert calls(compiler) == 1


def test_a_folder_for_all_is_refused_before_anything_is_made_in_it(cache, compiler, tmp_path):
    tmp_path.chmod(0o777)
    try:
        assert f"other users may write to {tmp_path}" in reason()
        assert not cache.exists()
        assert calls(compiler) == 0
    finally:
        tmp_path.chmod(0o700)


def test_where_the_folder_is_refused_eager_serves_with_one_warning_and_by_name_it_is_an_error(cache, compiler):
    cache.mkdir()
    cache.chmod(0o777)
    (warning,) = served_by_eager((torch.float32,))
    assert "could be changed by others" in warning
    assert "chmod go-w" in warning
    assert "chmod go-w" in refusal()


@only_root_gives_away
def test_the_folder_of_another_user_is_refused(cache, compiler):
    load()
    os.chown(cache, STRANGER, -1)
    assert f"{cache} belongs to another user (number {STRANGER}). Set LSTMREG_CACHE" in reason()


def test_a_link_as_the_folder_is_refused(cache, compiler, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    cache.symlink_to(tmp_path / "elsewhere")
    assert f"{cache} is a link. Set LSTMREG_CACHE to the folder itself" in reason()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_link_above_the_folder_leads_where_the_same_is_asked(cache, compiler, tmp_path, monkeypatch):
    (tmp_path / "there" / "deep").mkdir(parents=True)
    (tmp_path / "home").symlink_to("there/deep")
    monkeypatch.setenv("LSTMREG_CACHE", str(tmp_path / "home" / "cache"))
    assert load().parent == tmp_path / "home" / "cache"
    (tmp_path / "there").chmod(0o777)
    assert f"other users may write to {tmp_path / 'there'}" in reason()


def test_a_group_that_is_the_users_alone_is_nobody_else(cache, compiler, monkeypatch):
    user = pwd.getpwuid(os.geteuid())
    if grp.getgrgid(user.pw_gid).gr_name != user.pw_name:
        pytest.skip("here the user has no group of his own")
    load()
    os.chown(cache, -1, user.pw_gid)
    cache.chmod(0o770)
    load()
    assert calls(compiler) == 1


def test_the_folders_that_are_made_are_the_users_alone_whatever_the_umask(cache, compiler, monkeypatch):
    monkeypatch.setenv("LSTMREG_CACHE", str(cache / "above" / "below"))
    before = os.umask(0)
    try:
        load()
    finally:
        os.umask(before)
    assert [place.stat().st_mode & 0o777 for place in (cache, cache / "above", cache / "above" / "below")] == [
        0o700
    ] * 3


@only_root_gives_away
def test_what_the_administrator_has_compiled_serves_another_user(cache, compiler, tmp_path):
    load()
    code = """
import importlib.util, os, pathlib, sys
found = importlib.util.spec_from_file_location("keeping", sys.argv[1])
keeping = importlib.util.module_from_spec(found)
found.loader.exec_module(keeping)
os.setgroups([]); os.setgid(4711); os.setuid(4711)
path = pathlib.Path(sys.argv[2])
print(keeping.why_unsafe(path.parent), keeping.load(path).lstmreg_lanes() > 0)
"""
    with tempfile.TemporaryDirectory() as shared:  # pytest's folders are closed to others
        os.chmod(shared, 0o755)
        library = shutil.copy(load(), shared)
        assert says(python(code, keeping.__file__, library)) == "None True"


@pytest.mark.parametrize("place", ["/proc/nowhere", "file/cache"])
def test_where_the_cache_cannot_be_written_the_process_has_its_own(compiler, monkeypatch, tmp_path, place):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LSTMREG_CACHE", str(tmp_path / place))
    library = load()
    assert not library.is_relative_to(tmp_path / place)
    assert compiled.library("float").path == library
    assert calls(compiler) == 1
    folder = "from lstmreg.ops import compiled; print(compiled.library('float').path)"
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
    first, second = [copied(LANES) for _ in range(2)]
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
        _fields_ = fused_cpu.Problem._fields_[:-1]

    monkeypatch.setattr(fused_cpu, "Problem", Shorter)
    with pytest.raises(AssertionError, match="a field is on one side alone"):
        fused_cpu.library_of(torch.float32)


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
    monkeypatch.setattr(fused_cpu, "parallel", lambda: None)
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


def processor_flags() -> set[str]:
    told = Path("/proc/cpuinfo")
    return set(told.read_text().split()) if told.exists() else set()


def other_builds() -> list[tuple[str, str]]:
    """Compilers and instruction sets that this machine has, besides what it uses anyway."""
    builds = [("clang++", "-march=native")] if shutil.which("clang++") else []
    if platform.machine() == "x86_64":
        flags = processor_flags()
        builds += [("c++", "-march=x86-64-v3")] if {"avx2", "fma", "bmi2"} <= flags else []
        builds += [("c++", "-march=x86-64")]
        builds += [("c++ -mno-amx-tile", "-march=native")] if "amx_tile" in flags else []
    return [build for build in builds if shutil.which(build[0].split()[0])]


@pytest.mark.parametrize(("name", "tuning"), other_builds())
def test_other_compilers_and_processors_get_the_same_results(cache, monkeypatch, name, tuning):
    monkeypatch.setenv("CXX", name)
    monkeypatch.setattr(compiled, "TUNING", (tuning,))
    for size in [(7, 70, 5, 17), (9, 7, 33, 1), (3, 33, 65, 64), (40, 130, 2, 3), (1, 8, 9, 130)]:
        for kind in (Kind(), Kind(1, 1, "holes"), Kind(4, 4, "prefix", reverse=True, K=2)):
            arguments, options = make_call(size, kind, torch.float32)
            true = true_results(arguments, **options)
            for threads in (1, 3):
                torch.set_num_threads(threads)
                assert_close(results(ops.lstm, arguments, backend="fused_cpu", **options), true)
                with torch.autocast("cpu", torch.bfloat16):
                    in_half = results(ops.lstm, arguments, backend="fused_cpu", **options)
                assert_loses_little(in_half, true)
    library = compiled.library("float")
    assert library.path.parent == cache
    if tuning != "-march=native":
        assert library.lstmreg_short() == 0
    elif "-mno-amx-tile" in name:
        assert library.lstmreg_short() == 1


@pytest.mark.skipif(platform.machine() != "x86_64", reason="elsewhere the compiler may have another word for it")
@pytest.mark.parametrize("real", ["float", "double"])
def test_it_compiles_for_this_very_processor(real):
    """What the compiler refuses here would be compiled for any processor, and be slower without a word."""
    command = [*compiled._compiler(), f"-DREAL={real}", *compiled.FLAGS, compiled.TUNING[0], "-fsyntax-only"]
    done = subprocess.run([*command, str(compiled.SOURCE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif("avx512_bf16" not in processor_flags(), reason="this processor has no products of bfloat16")
def test_bfloat16_is_multiplied_by_the_processor_where_it_can():
    assert compiled.library("float").lstmreg_short() > 0
    assert compiled.library("double").lstmreg_short() == 0
