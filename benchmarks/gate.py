"""Is the layer still correct, and is it slower than it was? Against another commit, at the five sizes.

    python benchmarks/gate.py            against where this branch left main; there, against the commit before
    python benchmarks/gate.py HEAD~3     against another one

Outputs and gradients are compared with the reference first. Then two processes, one of each commit, take turns; fresh
ones take their place a few times, because two processes of the same code differ by some percent. It exits with 1 if the
layer is not correct, or if something is slower for certain.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))  # for whoever imports it
from child import Child

ROOT = Path(__file__).resolve().parents[1]

#: How long a process goes on in its turn, and how sure the intervals are.
_TURN, _LEVEL = 0.03, 0.95

#: Which share of the machine others may use without a warning.
_BUSY = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", nargs="?", help="the commit to compare with")
    parser.add_argument("--tolerance", type=float, default=5.0, help="percent that it may be slower; default: 5")
    parser.add_argument("--starts", type=int, default=5, help="pairs of processes, at least 2; default: 5")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each process with each size; default: 5")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of each; with 1, the default, time is processor time"
    )
    parser.add_argument("--sizes", nargs="+", metavar="B,T,D,H", default=[], help="default: the five sizes")
    parser.add_argument(
        "--types", nargs="+", choices=["float32", "bfloat16"], help="default: what the processor multiplies"
    )
    options = parser.parse_args()
    if options.starts < 2 or options.rounds < 1:
        parser.error(f"it needs 2 starts and 1 round, got {options.starts} and {options.rounds}.")
    try:
        base = _git("rev-parse", "--verify", "--quiet", f"{options.base or _base()}^{{commit}}").strip()
    except (OSError, subprocess.CalledProcessError):
        parser.error(f"git knows no commit {options.base or 'to compare with'}. Name one, as git log shows them.")
    with tempfile.TemporaryDirectory(prefix="lstmreg-gate-") as folder:
        with tarfile.open(fileobj=io.BytesIO(_archive(base))) as files:
            files.extractall(folder, filter="data")
        sys.exit(gate(Path(folder), base, options))


def gate(base: Path, commit: str, options: argparse.Namespace) -> int:
    """Check the working tree, time it against another, say how they compare; return the exit code."""
    times: dict[str, list[list[Pair]]] = {}
    for start in range(options.starts):
        with contextlib.ExitStack() as stack:
            here = stack.enter_context(layer_of(ROOT, options))
            if start == 0:
                say("Comparing the working tree with the reference …")
                if (wrong := here.ask(check=True)) is not None:
                    print(f"Not correct: {wrong}")
                    return 1
                if (busy := here.ask(busy=True)) > _BUSY:
                    say(f"WARNING: other programs use {busy:.0%} of this machine. Intervals will be wide.")
                say(f"Correct. Timing it against {commit[:9]}, {options.starts} pairs of processes …")
            there = stack.enter_context(layer_of(base, options))
            for case in here.ask(cases=True):
                times.setdefault(case, []).append(list(turns(there, here, case, options.rounds)))
            say(f"  {start + 1} of {options.starts}")
    found = {case: moved(starts) for case, starts in times.items()}
    return report(found, times, commit, options.tolerance)


# ---------------------------------------------------------------------- the other commit


def _git(*command: str) -> str:
    return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def _base() -> str:
    """Return where this branch left main; the commit before, if this is main and as it was committed."""
    for main in ("main", "origin/main"):
        with contextlib.suppress(subprocess.CalledProcessError):
            left = _git("merge-base", "HEAD", main)
            break
    else:
        return "HEAD~1"
    is_main = left == _git("rev-parse", "HEAD")
    return "HEAD~1" if is_main and not _git("status", "--porcelain", "--", "lstmreg") else left.strip()


def _archive(commit: str) -> bytes:
    """Return the package as a commit has it.

    A worktree of git's would stay in its list if this is killed.
    """
    command = ["git", "archive", "--format=tar", commit, "lstmreg"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout


# ---------------------------------------------------------------------- taking turns


def layer_of(tree: Path, options: argparse.Namespace) -> Child:
    """Return a process that has the layer of one tree."""
    command = [sys.executable, str(Path(__file__).parent / "gate_child.py"), str(options.threads)]
    command += ["--sizes", *options.sizes] if options.sizes else []
    command += ["--types", *options.types] if options.types else []
    return Child(str(tree), command, {"OMP_NUM_THREADS": str(options.threads), "PYTHONPATH": str(tree)})


class Pair(NamedTuple):
    """Seconds of a step, in neighbouring turns."""

    base: float
    here: float

    @property
    def change(self) -> float:
        """The logarithm of their ratio."""
        return math.log(self.here / self.base)


def turns(base: Child, here: Child, case: str, rounds: int) -> Iterator[Pair]:
    """Yield what both take, in turns; each begins as often as the other."""
    once = max(child.ask(make=case) for child in (base, here))
    times = max(1, math.ceil(_TURN / once))
    for index in range(rounds):
        order = (base, here) if index % 2 == 0 else (here, base)
        seconds = {child: child.ask(times=times) for child in order}
        yield Pair(seconds[base], seconds[here])


# ---------------------------------------------------------------------- what it says


class Moved(NamedTuple):
    """By how much the time of a step changed, as logarithms, with an interval."""

    change: float
    low: float
    high: float

    def is_slower(self, tolerance: float) -> bool:
        """Tell whether it is slower for certain, by more than so many percent."""
        return self.low > math.log1p(tolerance / 100)

    def __str__(self) -> str:
        change, low, high = (f"{100 * math.expm1(x):+.1f}" for x in self)
        return f"{change} % ({low} to {high})"


def moved(starts: Sequence[Sequence[Pair]]) -> Moved:
    """Return the mean over pairs of processes with Student's interval; of each pair, the median of its turns counts.

    That two processes differ is noise as well, and turns of the same two say nothing of it.
    """
    from scipy import stats  # not for --help

    changes = [statistics.median(pair.change for pair in pairs) for pairs in starts]
    mean, count = statistics.fmean(changes), len(changes)
    wide = stats.t.ppf((1 + _LEVEL) / 2, count - 1) * statistics.stdev(changes) / math.sqrt(count)
    return Moved(mean, mean - wide, mean + wide)


def report(
    found: Mapping[str, Moved], times: Mapping[str, Sequence[Sequence[Pair]]], commit: str, tolerance: float
) -> int:
    """Print a table and the verdict; return the exit code."""
    print(f"{'':<42} {commit[:9]:>12} {'here':>12}   change, {_LEVEL:.0%} interval")
    for case, change in found.items():
        pairs = [pair for start in times[case] for pair in start]
        base, here = (f"{1e3 * statistics.median(seconds):.3f} ms" for seconds in zip(*pairs, strict=True))
        mark = "   slower" if change.is_slower(tolerance) else ""
        print(f"{case:<42} {base:>12} {here:>12}   {change}{mark}")
    slower = [case for case, change in found.items() if change.is_slower(tolerance)]
    print(f"Slower for certain by more than {tolerance:g} %: {len(slower)} of {len(found)}.")
    return 1 if slower else 0


def say(text: str) -> None:
    """Report progress, beside the results and not among them."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
