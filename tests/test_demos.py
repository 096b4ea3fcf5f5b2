"""The demos: their data are what they say, their settings run, and the first one's answer is no accident."""

from __future__ import annotations

import csv
import dataclasses
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lstmreg import report, search
from lstmreg.cli import main, parse
from lstmreg.config import Config, from_dict
from lstmreg.report import words
from lstmreg.tasks import read_task
from lstmreg.verbs.demo import DEMOS, Demo

DATA = Path(report.__file__).parents[1] / "data"

#: The demo has images 0, 3, 6, ... of scikit-learn's.
EVERY = 3


def settings(name: str, path: Path | None = None, **changed: Any) -> Config:
    """Return the settings of a demo as the command line reads them."""
    _, arguments = parse(["demo", name])
    config = Demo().config(arguments)
    path = DATA / config.data.path if path is None else path
    return dataclasses.replace(config, data=dataclasses.replace(config.data, path=str(path)), **changed)


def write_digits(path: Path, first: int) -> None:
    """Write every third image of scikit-learn's from one on, as the demo's table has them."""
    from sklearn.datasets import load_digits

    found = load_digits()
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "row", *(f"x{k}" for k in range(8)), "digit"])
        for image in range(first, len(found.images), EVERY):
            for row in range(8):
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
        ([], "digits.csv.gz"),
        (["digits"], "digits.csv.gz"),
        (["sunspots"], "sunspots.csv"),
        (["sunspots", "--trials", "3"], "sunspots.csv"),
        (["--search.trials=3"], "digits.csv.gz"),
    ],
)
def test_the_name_behind_the_verb_says_which_settings_hold(arguments: list[str], table: str) -> None:
    _, parsed = parse(["demo", *arguments])
    assert Demo().config(parsed).data.path == table


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["moon"], "demo must be one of digits, sunspots, got 'moon'. 'lstmreg demo --list' says more."),
        (["digits", "sunspots"], "unknown argument sunspots. Name one demo at a time: digits, sunspots."),
        (["--trials", "3", "sunspots"], "its name stands first: lstmreg demo sunspots --trials=4"),
        (["--data.path", "mine.csv"], "data.path must be digits.csv.gz in this demo, got mine.csv."),
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
    assert min(len(split.validation) for split in (*splits.choose, *splits.confirm)) > 5
    assert from_dict(dataclasses.asdict(config)) == config


def test_the_digits_are_every_third_image_of_scikit_learns(tmp_path: Path) -> None:
    write_digits(tmp_path / "digits.csv", first=0)
    shipped = gzip.decompress((DATA / "digits.csv.gz").read_bytes()).decode()
    assert shipped == (tmp_path / "digits.csv").read_text()
    task = read_task(settings("digits"))
    assert (task.size, len(task.features)) == (599, 8)
    assert np.bincount(task.strata[0]).min() > 50


@pytest.mark.storm
@pytest.mark.parametrize(("first", "seed"), [(0, 1), (1, 0), (2, 2)])
def test_the_first_demo_says_yes_with_other_seeds_and_on_other_images(first: int, seed: int, tmp_path: Path) -> None:
    write_digits(tmp_path / "digits.csv", first)
    config = settings("digits", tmp_path / "digits.csv", runs=str(tmp_path / "runs"))
    config = dataclasses.replace(config, search=dataclasses.replace(config.search, seed=seed))
    answer = report.answer(search.run(config))
    assert answer.is_confirmed, words.sentences(answer)
    assert "model.dropout" in answer.recommended, words.headline(answer)
    assert answer.effect is not None
    assert answer.effect.high < -0.1
    assert answer.test.errors["candidate"]["accuracy"] > answer.test.errors["no regularization"]["accuracy"]
