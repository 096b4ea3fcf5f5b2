"""The page that is there while a search runs: it grows, says that it is provisional, and never stands in the way."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lstmreg import search
from lstmreg.report import ProvisionalPage
from lstmreg.report.provisional import REFRESH
from lstmreg.search import Progress, Shown
from lstmreg.terminal import Console
from lstmreg.verbs.search import Search
from tests.tiny import smallest_config

BEGUN = Progress("screen", None, 3, 12, seconds_left=200.0)
SHOWN = Progress(
    "screen",
    None,
    6,
    12,
    shown=(
        Shown({"model.kernel_l2": 0.01}, 0.5, 0.875, better=2, blocks=3),
        Shown({"model.dropout": 0.5}, None, failed=3, failure="diverged"),
    ),
)


class Clock:
    """A clock that somebody turns."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def page(tmp_path: Path, clock: Clock) -> ProvisionalPage:
    return ProvisionalPage("waves", tmp_path, clock)


def rows(text: str) -> list[list[str]]:
    found = re.findall(r"<tr>(<td>.*?)</tr>", text)
    return [[html.unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", row)] for row in found]


def test_the_page_grows_with_what_a_search_has_shown(page: ProvisionalPage, tmp_path: Path, clock: Clock) -> None:
    page.show(BEGUN)
    text = (tmp_path / "report.html").read_text()
    assert "This page is provisional. Nothing is judged yet" in text
    assert '<progress max="12" value="3">' in text
    assert "3 of at most 12 trainings, about 3 minutes left." in text
    assert (rows(text), "No setting has shown anything yet." in text) == ([], True)
    clock.now += REFRESH
    page.show(SHOWN)
    known = [["kernel_l2=0.01", "0.5", "−12 %", "2 of 3", "–"], ["dropout=0.5", "–", "–", "–", "3"]]
    assert rows((tmp_path / "report.html").read_text()) == known
    clock.now += REFRESH
    better = Shown({"model.kernel_l2": 0.01}, 0.4, 0.8, better=3, blocks=3)
    page.show(Progress("race", None, 9, 12, shown=(better,)))  # more seeds of a setting take the place of fewer
    assert rows((tmp_path / "report.html").read_text()) == [["kernel_l2=0.01", "0.4", "−20 %", "3 of 3", "–"], known[1]]
    clock.now += REFRESH
    page.show(Progress("judge", None, 9, 12, shown=(better,)))  # those of the judge stand by themselves
    assert len(rows((tmp_path / "report.html").read_text())) == 3


def test_news_wait_until_the_page_is_due_and_none_is_lost(page: ProvisionalPage, tmp_path: Path, clock: Clock) -> None:
    page.show(BEGUN)
    clock.now += REFRESH / 2
    page.show(SHOWN)
    assert rows((tmp_path / "report.html").read_text()) == []
    clock.now += REFRESH / 2
    page.show(Progress("screen", None, 7, 12))
    assert len(rows((tmp_path / "report.html").read_text())) == 2


def test_a_page_that_takes_long_to_write_is_written_seldom(tmp_path: Path) -> None:
    def times() -> Iterator[float]:
        yield 0.0  # begins to write ...
        yield 4.0  # ... and has written
        yield from (200.0, 210.0, 211.0, 220.0)

    ticking = times()
    page, path = ProvisionalPage("waves", tmp_path, lambda: next(ticking)), tmp_path / "report.html"
    page.show(BEGUN)
    path.unlink()
    page.show(BEGUN)
    assert not path.exists()  # 196 seconds later: four of them are two in a hundred only after 200
    page.show(BEGUN)
    assert path.exists()


def test_a_run_that_trains_nothing_keeps_its_report(page: ProvisionalPage, tmp_path: Path) -> None:
    page.show(Progress("plan", None, 12, 12))
    page.show(SHOWN)  # what an earlier sitting found is told again
    assert not (tmp_path / "report.html").exists()


def test_hostile_names_stay_inert_and_the_page_loads_and_runs_nothing(tmp_path: Path, clock: Clock) -> None:
    name = '<img src=x onerror="alert(1)"><script>'
    page = ProvisionalPage(name, tmp_path, clock)
    page.show(BEGUN)
    clock.now += REFRESH
    page.show(Progress("screen", None, 1, 2, shown=(Shown({f"model.{name}": name}, 1.0, 1.0, 1, 1),)))
    text = (tmp_path / "report.html").read_text()
    assert text.count("&lt;img") == 4  # twice the run, the setting and its value
    assert not re.search(r"<(img|script)", text)
    assert re.findall(r'(?:src|href)="', text) == []
    assert "default-src 'none'" in text
    assert f'http-equiv="refresh" content="{REFRESH:.0f}"' in text


def test_a_page_that_cannot_be_written_does_not_stop_the_search(tmp_path: Path) -> None:
    config = smallest_config(tmp_path)
    blocked = config.directory / "report.html"
    blocked.mkdir(parents=True)
    evidence = search.run(config, ProvisionalPage(config.run_name, config.directory).show)
    assert evidence.records["test"]
    assert list(blocked.iterdir()) == []
    assert [path for path in config.directory.iterdir() if path.name.startswith(".report")] == []
    ProvisionalPage("waves", tmp_path / "nowhere").show(BEGUN)


class Watching(io.StringIO):
    """A terminal that looks at a file whenever something is shown."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.seen: list[str] = []

    def write(self, text: str) -> int:
        if self.path.exists():
            self.seen.append(self.path.read_text())
        return super().write(text)


def test_a_search_has_its_page_from_the_first_training_on_and_its_report_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lstmreg.report.provisional.REFRESH", 0.0)
    monkeypatch.setattr("lstmreg.report.provisional._SHARE", 0)
    config = smallest_config(tmp_path)
    path = config.directory / "report.html"
    out = Watching(path)
    Search().search(config, Console(file=out, width=200))
    grown = [page for page in out.seen if "This page is provisional" in page]
    assert ["kernel_l2=0.01"] in [[row[0] for row in rows(page)][-1:] for page in grown]
    report = path.read_text()
    assert "provisional" not in report
    assert "refresh" not in report
    again = Watching(path)
    Search().search(config, Console(file=again, width=200))  # which trains nothing
    assert set(again.seen) == {report, path.read_text()}
