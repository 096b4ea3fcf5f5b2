"""``status.json``: what a search that runs tells of itself; and how far it is, as one sees it from outside."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

from lstmreg.files import read_file, write_atomically
from lstmreg.search import Progress, Shown

#: How a sitting of a search is, as it says itself: at work, or how it ended.
State = Literal["running", "ended", "interrupted", "failed"]

#: By this its readers know what stands in the file.
SCHEMA = 1

#: In seconds: news are written no sooner after others; and without news so often a sign of life.
OFTEN, SELDOM = 1.0, 20.0

#: Over so many seconds the pace is taken.
_PACE = 300.0

#: No such file is larger, whatever it holds.
_LARGEST = 1 << 22


@dataclass(frozen=True)
class AtWork:
    """A worker: its name, how many trainings go on there, and how many of their epochs have ended."""

    name: str
    trainings: int
    epoch: int


@dataclass(frozen=True)
class News:
    """What a search told last.

    Attributes:
        run: Name of the run.
        state: How it is.
        host: The machine of the process that decides.
        pid: Its number there.
        begun: When this sitting began; as all times, in seconds since 1970.
        heard: When it told this.
        written: When it gave the last sign of life.
        stage: What it trains for; ``plan`` before the first training.
        done: Trainings done, earlier sittings included.
        planned: Trainings in all, at most.
        step: Trainings that this step began with.
        ended: How many of them have ended.
        alive: How many trainings go on.
        epoch: The epoch that ended last.
        pace: Trainings a second, lately; ``None`` before the first has ended.
        seconds_left: How long it will take from then on, about; ``None`` where that is not known.
        workers: Who trains.
        notes: What happened to them, the last few sentences.
    """

    run: str
    state: State
    host: str
    pid: int
    begun: float
    heard: float
    written: float
    stage: str
    done: int
    planned: int
    step: int = 0
    ended: int = 0
    alive: int = 0
    epoch: int = 0
    pace: float | None = None
    seconds_left: float | None = None
    workers: tuple[AtWork, ...] = ()
    notes: tuple[str, ...] = ()


#: What is going on: a process of this machine is at work (``starting`` before its study is there), or a machine that
#: cannot be asked told so last; it has come to its end; or it has not, and ended in order, by a failure, or without a
#: word (``gone``), or nothing is known of how (``stopped``).
Going = Literal["starting", "running", "elsewhere", "ended", "interrupted", "failed", "gone", "stopped"]


@dataclass(frozen=True)
class Known:
    """What the study says of a search.

    Attributes:
        stage: What the next trainings are for; ``None`` of a search that has come to its end.
        done: Trainings that have ended.
        planned: Trainings in all, at most; 0 where that is not known.
        go_on: The line that goes on with it; empty at its end.
        headline: The answer, or that there is none yet, or why there will be none.
        best: What has shown the best so far with the seeds that choose; ``None`` before, and when the judge has judged.
        failures: How many trainings failed, by reason.
    """

    stage: str | None
    done: int
    planned: int
    go_on: str = ""
    headline: str = ""
    best: Shown | None = None
    failures: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Status:
    """How far a search is.

    Attributes:
        directory: The run's folder.
        going: What is going on.
        pid: The process that works on it, if that is known.
        news: What it told last; ``None`` if it told nothing.
        age: How many seconds ago its last sign of life is; ``None`` likewise.
        known: What its study says; ``None`` if there is nothing in it yet.
        trouble: Why the study cannot be read, or has nothing to say.
    """

    directory: Path
    going: Going
    pid: int | None
    news: News | None
    age: float | None
    known: Known | None
    trouble: str = ""


class StatusFile:
    """Listens to a search, and keeps ``status.json`` in its folder as long as it lasts.

    Whoever tells it something never waits: a thread of its own writes, at most once a second. Where it cannot be
    written, it is tried again later.

    Args:
        run: The run's name.
        directory: Its folder.
        clock: Seconds since 1970.

    Example:
        >>> from pathlib import Path; from lstmreg.search import Progress, Shown
        >>> Path("runs").mkdir()
        >>> with StatusFile("waves", Path("runs")) as status:
        ...     status.show(Progress("screen", None, done=3, planned=12))
        >>> news = read_news(Path("runs"))
        >>> news.state, news.stage, news.done
        ('ended', 'screen', 3)
    """

    def __init__(self, run: str, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._run, self._path, self._clock = run, directory / "status.json", clock
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="status", daemon=True)
        self._begun = clock()
        self._ended: deque[tuple[float, int]] = deque()
        self._notes: deque[str] = deque(maxlen=5)
        self._told: News | None = None
        self._written = (-math.inf, -math.inf)  # when, and of which news

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._told is not None:  # or this process was not allowed to work on the run
            is_failure = kind is not None and issubclass(kind, Exception)
            state: State = "ended" if kind is None else "failed" if is_failure else "interrupted"
            self._told = dataclasses.replace(self._told, state=state, heard=self._clock(), alive=0, workers=())
            self._write()

    def show(self, progress: Progress) -> None:
        """Take in what a search tells."""
        now = self._clock()
        with self._lock:
            self._notes.extend(progress.notes if progress.role != "plan" else ())
            self._told = News(
                run=self._run,
                state="running",
                host=socket.gethostname(),
                pid=os.getpid(),
                begun=self._begun,
                heard=now,
                written=now,
                stage=progress.role,
                done=progress.done,
                planned=progress.planned,
                step=progress.step,
                ended=progress.ended,
                alive=progress.alive,
                epoch=progress.epoch,
                pace=self._pace(now, progress.done),
                seconds_left=progress.seconds_left,
                workers=tuple(AtWork(w.name, w.trainings, w.epoch) for w in progress.workers),
                notes=tuple(self._notes),
            )

    def _pace(self, now: float, done: int) -> float | None:
        """Return how many trainings have ended a second, lately."""
        if not self._ended or done > self._ended[-1][1]:
            self._ended.append((now, done))
        while len(self._ended) > 2 and self._ended[1][0] < now - _PACE:
            self._ended.popleft()
        (then, before) = self._ended[0]
        return (done - before) / (now - then) if done > before and now > then else None

    def tick(self) -> None:
        """Write if there are news, or it is time for a sign of life."""
        now = self._clock()
        when, of = self._written
        told = self._told
        if told is not None and now - when >= OFTEN and (told.heard > of or now - when >= SELDOM):
            self._write()

    def _watch(self) -> None:
        while not self._over.wait(OFTEN):
            self.tick()

    def _write(self) -> None:
        with self._lock:
            told = self._told
        assert told is not None
        now = self._clock()
        content = {"schema": SCHEMA, **dataclasses.asdict(dataclasses.replace(told, written=now))}
        with contextlib.suppress(OSError):  # the study says what is wrong with the folder, if that matters
            write_atomically(self._path, json.dumps(content, indent=1) + "\n")
        self._written = (now, told.heard)


def read_news(directory: Path) -> News | None:
    """Return what a search told last in its folder; ``None`` if it told nothing, or nothing that can be understood."""
    try:
        content = json.loads(read_file(directory / "status.json", _LARGEST))
        return _news(content) if content["schema"] == SCHEMA else None
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None


def _news(content: dict[str, Any]) -> News:
    """Rebuild news.

    Raises:
        ValueError: If something is not what it must be.
    """
    fields = {field.name: content[field.name] for field in dataclasses.fields(News)}
    workers = tuple(AtWork(**worker) for worker in fields.pop("workers"))
    notes = tuple(fields.pop("notes"))
    words = [fields[name] for name in ("run", "host", "stage")] + [worker.name for worker in workers] + list(notes)
    counts = [fields[name] for name in ("pid", "done", "planned", "step", "ended", "alive", "epoch")]
    counts += [number for worker in workers for number in (worker.trainings, worker.epoch)]
    times = [fields[name] for name in ("begun", "heard", "written")]
    times += [fields[name] for name in ("pace", "seconds_left") if fields[name] is not None]
    is_sound = (
        fields["state"] in get_args(State)
        and all(isinstance(word, str) for word in words)
        and all(type(count) is int and count >= 0 for count in counts)
        and all(type(each) in (int, float) and math.isfinite(each) for each in times)
    )
    if not is_sound:
        raise ValueError("these are no news of a search")
    return News(**fields, workers=workers, notes=notes)
