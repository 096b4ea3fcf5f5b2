"""How far a search is, as one sees it from outside: of made-up news, and of real searches that run, die and end."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import pytest

from lstmreg import search
from lstmreg.cli import main
from lstmreg.config import Config
from lstmreg.executors import Worker
from lstmreg.report import Status, StatusFile, Watcher, words
from lstmreg.report.news import OFTEN, SELDOM, AtWork, Known, News, read_news
from lstmreg.search import Progress, Shown
from lstmreg.signals import Terminated
from lstmreg.terminal import Console, watch_status
from lstmreg.yaml_file import write_yaml
from tests.program import Program
from tests.tiny import smallest_config, tiny_config

BUSY = Progress(
    "race", None, done=40, planned=90, step=12, ended=3, epoch=7, seconds_left=50.0, workers=(Worker("vm/12", 8, 7),)
)


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


# ---------------------------------------------------------------------- what a search tells of itself


def test_what_is_told_is_what_is_read(tmp_path: Path, clock: Clock) -> None:
    status = StatusFile("waves", tmp_path, clock)
    status.show(BUSY)
    clock.now += 10
    status.show(dataclasses.replace(BUSY, done=45, ended=8, notes=("vm/13 is gone.",)))
    status.tick()
    news = read_news(tmp_path)
    assert news is not None
    assert (news.run, news.state, news.host, news.pid) == ("waves", "running", socket.gethostname(), os.getpid())
    assert (news.begun, news.heard, news.written) == (1_000.0, 1_010.0, 1_010.0)
    assert (news.stage, news.done, news.planned, news.step, news.ended) == ("race", 45, 90, 12, 8)
    assert (news.alive, news.epoch, news.workers) == (8, 7, (AtWork("vm/12", 8, 7),))
    assert (news.pace, news.seconds_left) == ((45 - 40) / 10, 50.0)
    assert news.notes == ("vm/13 is gone.",)


def test_it_writes_at_most_once_a_second_and_gives_a_sign_of_life_without_news(tmp_path: Path, clock: Clock) -> None:
    status, path = StatusFile("waves", tmp_path, clock), tmp_path / "status.json"

    def is_written() -> bool:
        path.unlink(missing_ok=True)
        status.tick()
        return path.exists()

    assert not is_written()  # nothing was told
    status.show(BUSY)
    assert is_written()
    clock.now += OFTEN / 2
    status.show(dataclasses.replace(BUSY, done=41))
    assert not is_written()
    clock.now += OFTEN / 2
    assert is_written()
    assert json.loads(path.read_text())["done"] == 41  # it was not lost
    clock.now += SELDOM - 0.1
    assert not is_written()
    clock.now += 0.1
    assert is_written()
    content = json.loads(path.read_text())
    assert (content["heard"], content["written"]) == (1_000.0 + OFTEN / 2, clock.now)


@pytest.mark.parametrize(
    ("raised", "state"),
    [(None, "ended"), (KeyboardInterrupt, "interrupted"), (Terminated, "interrupted"), (OSError, "failed")],
)
def test_it_says_how_the_search_ended(tmp_path: Path, raised: type[BaseException] | None, state: str) -> None:
    def sit() -> None:
        with StatusFile("waves", tmp_path) as status:
            status.show(BUSY)
            if raised is not None:
                raise raised

    if raised is None:
        sit()
    else:
        with pytest.raises(raised):
            sit()
    news = read_news(tmp_path)
    assert news is not None
    assert (news.state, news.alive, news.workers, news.done) == (state, 0, (), 40)
    assert threading.active_count() == len([t for t in threading.enumerate() if t.name != "status"])


def test_who_was_told_nothing_leaves_the_news_of_others(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text("another's")
    with pytest.raises(ValueError, match="busy"), StatusFile("waves", tmp_path):
        raise ValueError("busy")
    assert (tmp_path / "status.json").read_text() == "another's"


def test_a_file_that_cannot_be_written_does_not_stop_the_search(tmp_path: Path) -> None:
    config = smallest_config(tmp_path)
    blocked = config.directory / "status.json"
    blocked.mkdir(parents=True)
    with StatusFile(config.run_name, config.directory) as status:
        evidence = search.run(config, status.show)
    assert evidence.records["test"]
    assert list(blocked.iterdir()) == []
    assert [path for path in config.directory.iterdir() if path.name.startswith(".status")] == []


@pytest.mark.parametrize(
    "change",
    [
        {"state": "well"},
        {"done": -1},
        {"done": True},
        {"heard": float("nan")},
        {"pace": "fast"},
        {"workers": [{"name": "x"}]},
        {"workers": [{"name": 3, "trainings": 1, "epoch": 1}]},
        {"notes": 7},
        {"notes": [7]},
        {"stage": None},
        {"schema": 2},
    ],
    ids=str,
)
def test_news_that_are_damaged_or_of_another_version_are_none(tmp_path: Path, change: dict[str, Any]) -> None:
    status = StatusFile("waves", tmp_path)
    status.show(BUSY)
    status.tick()
    path = tmp_path / "status.json"
    assert read_news(tmp_path) is not None
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert read_news(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[", "[]", "3", '{"schema": 1}', "[" * 100_000, "\udcff"])
def test_what_is_no_news_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "status.json").write_text(text, errors="surrogateescape")
    assert read_news(tmp_path) is None
    assert read_news(tmp_path / "nowhere") is None


# ---------------------------------------------------------------------- in words


def seen(going: str = "running", age: float = 2.0, **more: Any) -> Status:
    news = News("waves", "running", "far", 12, 0.0, 5.0, 5.0, "race", 40, 90, 12, 3, 8, 7, 0.5, 100.0)
    news = dataclasses.replace(news, workers=(AtWork("far/12", 8, 7),))
    best = Shown({"model.kernel_l2": 0.01}, 0.5, 0.88, better=2, blocks=3)
    known = Known("race", 40, 90, "lstmreg search -c x", "Nothing yet.", best, {"diverged.": 3, "out of memory.": 1})
    return Status(Path("runs/waves"), going, 12, news, age, known, **more)  # type: ignore[arg-type]


def test_a_running_search_says_who_is_alive_how_fast_it_goes_and_what_failed() -> None:
    rows = words.rows_of_status(seen())
    said = dict(rows)
    assert said["state"] == "process 12 on far is at work"
    assert said["stage"] == "race: giving more seeds to those about whom they may decide"
    assert said["trainings"] == "40 of at most 90"
    assert said["this step"] == "8 alive, epoch 7, 3 stopped, 1 waiting, of 12"
    assert said["pace"] == "0.5 trainings a second"
    assert said["time left"] == "about 2 minutes"  # 100 seconds when it was said, 2 seconds ago
    assert said["at work"] == "far/12: 8 trainings, epoch 7"
    assert said["best so far"] == "kernel_l2=0.01: −12 %, better on 2 of 3 blocks; not judged"
    assert [text for name, text in rows if name == "failed"] == ["3: diverged.", "1: out of memory."]
    assert "go on with" not in said


@pytest.mark.parametrize(
    ("going", "age", "expected"),
    [
        ("elsewhere", 59.0, "process 12 on far gave the last sign of life 59 s ago, and is at work"),
        ("elsewhere", 61.0, "process 12 on far gave the last sign of life 61 s ago: it may be dead, or cut off"),
        ("gone", 600.0, "process 12 on far is gone without a word; its last sign of life was 10 min ago"),
        ("interrupted", 7200.0, "it was interrupted 2 h ago, and has not ended"),
        ("failed", 3.0, "it ended by an error 3 s ago, before its end"),
        ("stopped", 3.0, "nobody is at work on it, and it has not ended"),
    ],
)
def test_each_state_has_its_words(going: str, age: float, expected: str) -> None:
    said = dict(words.rows_of_status(seen(going, age)))
    assert said["state"] == expected
    assert ("go on with" in said) == (going != "elsewhere")
    assert ("pace" in said) == (going == "elsewhere")


def test_what_others_wrote_stays_on_its_line() -> None:
    out = io.StringIO()
    news = dataclasses.replace(seen().news, workers=(AtWork("evil\x1b[2J\nhost [bold]", 1, 1),))  # type: ignore[type-var]
    watch_status(lambda: dataclasses.replace(seen("gone"), going="gone", news=news), Console(file=out, width=120))
    watch_status(
        iter([dataclasses.replace(seen(), news=news), seen("ended")]).__next__, Console(file=out), lambda s: None
    )
    assert "\x1b" not in out.getvalue()


# ---------------------------------------------------------------------- watching


def test_watching_says_a_line_where_a_stage_begins_and_ends_with_the_search() -> None:
    out, clock = io.StringIO(), Clock()
    stages = ["screen", "screen", "race", "race", "race"]
    news = [dataclasses.replace(seen().news, stage=stage) for stage in stages]  # type: ignore[type-var]
    looks = iter([*(dataclasses.replace(seen(), news=each) for each in news), seen("ended")])

    def wait(seconds: float) -> None:
        clock.now += 11.0

    watch_status(looks.__next__, Console(file=out, width=150), wait, clock)
    lines = [line for line in out.getvalue().splitlines() if " trainings, 8 alive" in line]
    assert [line.split(":")[0] for line in lines] == ["screen", "race"]
    assert next(looks, None) is None  # it looked until the end, and no longer
    assert re.search(r"^state +the search has ended", out.getvalue(), flags=re.M)


def test_watching_is_drawn_again_in_a_terminal() -> None:
    out = io.StringIO()
    looks = iter([seen(), seen(), seen("ended")])
    watch_status(looks.__next__, Console(file=out, width=100, force_terminal=True), lambda seconds: None)
    assert out.getvalue().count("\x1b[1A") > 10  # it goes up to draw over what it drew
    assert "the search has ended" in out.getvalue()


def test_ctrl_c_ends_the_watching() -> None:
    def wait(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch_status(seen, Console(file=io.StringIO()), wait)


# ---------------------------------------------------------------------- real searches


def test_a_folder_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path / "nowhere")]) == 4
    assert "no run here" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


def test_a_study_that_is_not_there_yet_is_a_beginning_and_one_that_is_damaged_is_said(tmp_path: Path) -> None:
    config = smallest_config(tmp_path)
    config.directory.mkdir(parents=True)
    (config.directory / "owner.pid").write_text("77\n")
    with filelock.FileLock(config.directory / ".lock"):
        status = Watcher(config.directory).look()
        assert (status.going, status.pid, status.known) == ("starting", 77, None)
        write_yaml(config, config.directory / "config.yaml")
        (config.directory / "study.db").touch()
        status = Watcher(config.directory).look()
        assert status.going == "starting"
        assert "it is empty" in status.trouble
    assert main(["status", str(config.directory)]) == 4


def test_a_run_that_told_nothing_is_known_by_its_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As one that Python ran without a listener, or an earlier version."""
    config = smallest_config(tmp_path)

    def stop(progress: Progress) -> None:
        if progress.role == "judge":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search.run(config, stop)
    before = written(config.directory)
    status = Watcher(config.directory).look()
    assert (status.going, status.news, status.known.stage) == ("stopped", None, "judge")  # type: ignore[union-attr]
    assert written(config.directory) == before
    search.run(config)
    assert main(["status", str(config.directory), "--watch"]) == 0
    said = capsys.readouterr().out
    assert "the search has ended" in said
    assert "Nothing could be shown" in said or "Use " in said


def written(directory: Path) -> dict[str, int]:
    """Return when each file of a run was written last; not of the lock, which some versions write to ask for it."""
    return {path.name: path.stat().st_mtime_ns for path in directory.iterdir() if path.name != ".lock"}


def searching(config: Config, folder: Path) -> Program:
    write_yaml(config, folder / "lstmreg.yaml")
    return Program(folder, "search", "-c", "lstmreg.yaml")


def until(process: Program, directory: Path, done: int) -> News:
    """Look until a search has told that so much is done; one before it may have told as much."""
    while process.poll() is None:
        news = read_news(directory)
        if news is not None and (news.pid, news.state) == (process.pid, "running") and news.done >= done:
            return news
        time.sleep(0.02)
    raise AssertionError(process.communicate()[1])


@pytest.fixture
def long_config(tmp_path: Path) -> Iterator[Config]:
    config = tiny_config(tmp_path, race=4)
    return dataclasses.replace(config, training=dataclasses.replace(config.training, max_epochs=40, patience=40))


def said_of(directory: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, str]:
    """What the command line says, by the names of the rows."""
    assert main(["status", str(directory), *more]) == 0
    rows = re.findall(
        r"^(state|stage|trainings|answer|at work|go on with) {2,}(.*?) *$", capsys.readouterr().out, flags=re.M
    )
    return dict(rows)


def test_a_search_is_seen_at_work_killed_and_at_its_end(
    tmp_path: Path, long_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = long_config.directory
    with searching(long_config, tmp_path) as process:
        until(process, directory, 18)
        said = said_of(directory, capsys)
        assert said["state"] == f"process {process.pid} on {socket.gethostname()} is at work"
        process.send_signal(signal.SIGKILL)
    told = read_news(directory)
    assert told is not None
    assert told.state == "running"  # it could not say better
    said = said_of(directory, capsys, "--watch")  # which ends at once
    assert re.fullmatch(
        rf"process {process.pid} on \S+ is gone without a word; its last sign of life was \d+ s ago", said["state"]
    )
    with sqlite3.connect(directory / "study.db") as database:
        ((count,),) = database.execute("SELECT count(*) FROM trials WHERE state = 'COMPLETE'")
    assert said["trainings"].startswith(f"{count} of at most ")
    assert count >= 18
    assert said["answer"] == "Nothing is recommended yet: the search has not ended."
    assert said["go on with"].startswith("lstmreg search -c ")
    with searching(long_config, tmp_path) as process:
        until(process, directory, 19)
        said = said_of(directory, capsys, "--watch")  # which ends with the search
        process.wait()
    assert process.returncode == 0
    assert said["state"] == "the search has ended"
    assert said["answer"] == json.loads((directory / "answer.json").read_text())["headline"][: len(said["answer"])]
    assert len(said["answer"]) > 30
