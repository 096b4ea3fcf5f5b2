"""The gate: it lets pass what changes nothing, stops what is wrong before any timing, and knows its arithmetic."""

from __future__ import annotations

import math
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from scipy import stats

from benchmarks import gate
from benchmarks.gate import Moved, Pair

ROOT = Path(__file__).parents[2]
TINY = ("--sizes", "3,4,2,5", "--types", "float32", "--starts", "2", "--rounds", "2")
CHANGE = r"[+-]\d+\.\d % \([+-]\d+\.\d to [+-]\d+\.\d\)"

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")

#: Outputs stay as they are, and all gradients are a thousandth too large.
BROKEN = """
_right = penalised


def penalised(call: Call, strengths: Strengths | None) -> tuple[Result, Costs | None]:
    (output, h_n, c_n), costs = _right(call, strengths)
    return (output + 1e-3 * (output - output.detach()), h_n, c_n), costs
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One that has this package as its only commit."""
    for name in ("lstmreg", "benchmarks"):
        ignored = shutil.ignore_patterns("__pycache__", "results", "evidence", "real", "worlds", "scaling")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    commit(tmp_path)
    return tmp_path


def git(folder: Path, *command: str) -> str:
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    return subprocess.run(["git", *who, *command], cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(folder: Path) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "One more")
    return git(folder, "rev-parse", "HEAD").strip()


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "benchmarks" / "gate.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=os.environ)


@needs_git
def test_a_commit_against_itself_passes_and_every_case_has_an_interval(repository):
    before = git(repository, "status", "--porcelain"), git(repository, "worktree", "list")
    done = run(repository, "HEAD", *TINY, "--tolerance", "1000")  # a busy machine decides nothing here
    assert done.returncode == 0, done.stderr
    _, *rows, verdict = done.stdout.splitlines()
    assert verdict == "Slower for certain by more than 1000 %: 0 of 2."
    for row, name in zip(rows, ("no knob", "all six"), strict=True):
        assert row.startswith(f"float32, 3 4 2 5, {name} ")
        assert re.search(CHANGE, row)
    assert (git(repository, "status", "--porcelain"), git(repository, "worktree", "list")) == before


@needs_git
def test_a_wrong_gradient_ends_it_before_anything_is_timed(repository):
    with (repository / "lstmreg" / "ops" / "fused_cpu.py").open("a") as file:
        file.write(BROKEN)
    done = run(repository, *TINY)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("Not correct: lstmreg six at Size(B=3, T=4, D=2, H=5): gradient of x")
    assert "Timing" not in done.stderr
    assert len(done.stdout.splitlines()) == 1


@needs_git
def test_an_unknown_commit_is_a_mistake_of_whoever_asks():
    done = run(ROOT, "no-such-commit")
    assert done.returncode == 2
    assert "git knows no commit no-such-commit. Name one" in done.stderr


@needs_git
def test_without_a_name_the_base_is_where_the_branch_left_main(tmp_path, monkeypatch):
    monkeypatch.setattr(gate, "ROOT", tmp_path)
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    (tmp_path / "lstmreg").mkdir()
    file = tmp_path / "lstmreg" / "a.py"
    file.write_text("")
    commit(tmp_path)
    left = commit(tmp_path)
    assert gate._base() == "HEAD~1"  # this is main
    file.write_text("changed")
    assert gate._base() == left  # what is not committed is what is measured
    git(tmp_path, "checkout", "--quiet", "-b", "branch")
    commit(tmp_path)
    commit(tmp_path)
    assert gate._base() == left


# ------------------------------------------------------------------ what it says


def made_up(change: float, between: float, within: float, seed: int = 0) -> list[list[Pair]]:
    """Return turns of five pairs of processes that differ by chance, as do the turns of each."""
    generator = random.Random(seed)

    def pair(of_start: float) -> Pair:
        base = generator.uniform(1.0, 2.0)
        return Pair(base, base * math.exp(of_start + generator.gauss(0.0, within)))

    starts = [change + generator.gauss(0.0, between) for _ in range(5)]
    return [[pair(of_start) for _ in range(5)] for of_start in starts]


def test_the_interval_is_students_over_the_pairs_of_processes():
    starts = made_up(0.1, between=0.02, within=0.01)
    medians = [sorted(math.log(pair.here / pair.base) for pair in pairs)[2] for pairs in starts]
    expected = stats.ttest_1samp(medians, 0.0).confidence_interval(0.95)
    found = gate.moved(starts)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.change == pytest.approx(sum(medians) / 5)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    found = [gate.moved(made_up(0.05, between=0.02, within=0.02, seed=seed)) for seed in range(400)]
    assert 0.92 < sum(one.low <= 0.05 <= one.high for one in found) / 400 < 0.98


SURELY, PERHAPS, FASTER = (Moved(0.10, 0.07, 0.13), Moved(0.10, 0.02, 0.18), Moved(-0.30, -0.31, -0.29))


@pytest.mark.parametrize(
    ("found", "tolerance", "code"),
    [([FASTER, PERHAPS], 5, 0), ([FASTER, SURELY], 5, 1), ([SURELY], 10, 0), ([PERHAPS], 1, 1), ([FASTER], 0, 0)],
)
def test_only_what_is_slower_for_certain_by_more_than_is_tolerated_ends_in_failure(found, tolerance, code, capsys):
    times = {str(one): [[Pair(1e-3, 2e-3)]] for one in found}
    assert gate.report({str(one): one for one in found}, times, "0" * 40, tolerance) == code
    _, *rows, verdict = capsys.readouterr().out.splitlines()
    assert verdict.endswith(f"by more than {tolerance} %: {code} of {len(found)}.")
    assert [row.endswith("slower") for row in rows] == [one.is_slower(tolerance) for one in found]
    assert all("1.000 ms" in row and "2.000 ms" in row for row in rows)
    assert f"{SURELY}" == "+10.5 % (+7.3 to +13.9)"


class Clock:
    """A process that takes as long as is said, and notes when it is its turn."""

    def __init__(self, name: str, seconds: float, log: list[str]) -> None:
        self.name, self.seconds, self.log = name, seconds, log

    def ask(self, make: str | None = None, times: int = 0) -> float:
        if make is None:
            self.log.append(f"{self.name} {times}")
        return self.seconds


def test_both_take_turns_do_as_many_steps_and_begin_as_often() -> None:
    log: list[str] = []
    pairs = [*gate.turns(Clock("base", 2e-3, log), Clock("here", 3e-3, log), "case", 4)]
    assert pairs == [Pair(2e-3, 3e-3)] * 4
    assert log == ["base 10", "here 10", "here 10", "base 10"] * 2
