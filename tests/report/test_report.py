"""The answer in its four forms: words, table, JSON and page agree with each other and with the study."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch

from lstmreg import report, search
from lstmreg.report import documents, figures, words
from lstmreg.report.code import snippets
from lstmreg.report.numbers import Answer
from lstmreg.search.evidence import Effect, Evidence
from tests.tiny import tiny_config


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return search.run(tiny_config(tmp_path_factory.mktemp("report")))


@pytest.fixture(scope="module")
def answer(evidence: Evidence) -> Answer:
    return report.answer(evidence)


def confirmed(answer: Answer, **settings: object) -> Answer:
    """Return the same answer as if the search had confirmed ``settings``."""
    setting = {f"model.{name}": value for name, value in settings.items()}
    knobs = [
        dataclasses.replace(k, verdict="use", value=settings[k.name]) if k.name in settings else k for k in answer.knobs
    ]
    return dataclasses.replace(
        answer,
        recommended=setting,
        candidate=setting,
        is_confirmed=True,
        knobs=knobs,
        effect=Effect(-0.12, -0.18, -0.05, 4),
        floor_effect=Effect(-0.4, -0.5, -0.3, 4),
    )


class Cells(HTMLParser):
    """Collects the rows of the table with a given id."""

    def __init__(self, identity: str) -> None:
        super().__init__()
        self.identity, self.inside, self.rows = identity, False, []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.inside = dict(attrs).get("id") == self.identity
        elif tag == "tr" and self.inside:
            self.rows.append([])
        elif tag in ("td", "th") and self.inside:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "table"

    def handle_data(self, data: str) -> None:
        if self.inside and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip("\n")


def page_table(page: str, identity: str) -> list[list[str]]:
    parser = Cells(identity)
    parser.feed(page)
    return parser.rows


def test_numbers_in_the_answer_are_those_of_the_study(answer: Answer, evidence: Evidence) -> None:
    url = f"sqlite:///{evidence.config.directory / 'study.db'}"

    def values(stage: str, setting: dict[str, float], name: str) -> dict[tuple[int, ...], float]:
        study = optuna.load_study(storage=url, study_name=f"{evidence.config.run_name}/{stage}")
        return {
            tuple(t.user_attrs["replicate"]): t.user_attrs["result"][name]
            for t in study.trials
            if t.user_attrs["setting"] == setting
        }

    baseline = values("test", {}, "test_error")
    assert answer.test.baseline == pytest.approx(np.mean(list(baseline.values())))
    reference = values("baseline", {"training.learning_rate": answer.learning_rate}, "val_loss")
    for knob in answer.knobs:
        for dose in knob.doses:
            losses = values("alone", {f"model.{knob.name}": dose.value}, "val_loss")
            ratios = [math.log(losses[r] / reference[r]) for r in sorted(reference)]
            assert dose.effect == pytest.approx(math.expm1(np.mean(ratios)))
            assert dose.per_split == pytest.approx(np.expm1(ratios))
    if answer.effect is not None:
        ours, plain = values("confirm", answer.candidate, "val_loss"), values("confirm", {}, "val_loss")
        assert answer.effect.mean == pytest.approx(math.expm1(np.mean([math.log(ours[r] / plain[r]) for r in ours])))


def test_all_forms_say_the_same(answer: Answer, evidence: Evidence) -> None:
    directory = evidence.config.directory
    for shown in (answer, confirmed(answer, kernel_l2=0.01, recurrent_dropout=0.3)):
        report.write(shown, directory)
        page = (directory / "report.html").read_text()
        text = (directory / "answer.md").read_text()
        content = json.loads((directory / "answer.json").read_text())
        table = words.table(shown)
        assert content["headline"] == words.headline(shown)
        assert words.headline(shown) in text
        assert words.headline(shown) in page
        for sentence in words.sentences(shown):
            assert sentence in content["sentences"]
            assert sentence in text
        assert page_table(page, "knobs") == table
        rows = [[c.strip() for c in line.strip("| ").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
        assert [rows[0], *rows[2:]] == table
        for row, knob in zip(table[1:], content["knobs"], strict=True):
            assert (row[0], row[-1]) == (knob["name"], knob["verdict"])
            if knob["alone"] is not None:
                assert row[3] == words.change(knob["alone"]["mean"])
        used = {k["name"] for k in content["knobs"] if k["verdict"] == "use"}
        assert used == {p.removeprefix("model.") for p in content["recommended"]}
        assert ("No knob helped" in content["headline"]) == (not used)
        assert page_table(page, "test")[1] == ["no regularization", words.number(content["test"]["plain"])]


def test_a_confirmed_answer_names_knobs_and_values(answer: Answer) -> None:
    shown = confirmed(answer, kernel_l2=0.01, recurrent_dropout=0.3)
    assert words.headline(shown) == "Use kernel_l2 = 0.01 and recurrent_dropout = 0.3; leave the others off."
    assert "−12 % (95 % interval −18 % to −5.0 %)" in words.sentences(shown)[0]


def test_an_effect_that_does_not_beat_the_floor_is_said_to_be_worth_nothing(answer: Answer) -> None:
    shown = dataclasses.replace(confirmed(answer, kernel_l2=0.01), is_confirmed=False, recommended={})
    assert words.headline(shown).startswith("No knob helped")
    assert "does not beat" in words.sentences(shown)[0]


@pytest.mark.parametrize(
    ("relative", "text"),
    [(-0.123, "−12 %"), (0.031, "+3.1 %"), (0.0, "+0.0 %"), (math.inf, "unbounded"), (-1.0, "−100 %")],
)
def test_changes_are_written_in_percent_with_their_sign(relative: float, text: str) -> None:
    assert words.change(relative) == text


def test_a_verdict_follows_from_the_interval(answer: Answer) -> None:
    worth = -float(answer.settings["search.smallest_effect"])
    for knob in answer.knobs:
        if knob.verdict == "off":
            assert knob.alone is not None
            assert knob.alone.low > worth
        if knob.verdict == "no evidence":
            assert knob.alone is None or knob.alone.low <= worth


# ---------------------------------------------------------------------- the page


def test_the_page_is_one_file_that_loads_and_runs_nothing(answer: Answer) -> None:
    page = documents.as_page(answer, figures.figures(answer))
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="(?!#)([^"]*)"', page) == []
    assert page.count("<svg") == len(figures.figures(answer)) >= 4
    assert "Content-Security-Policy" in page


def test_hostile_names_stay_inert(answer: Answer) -> None:
    name = '<img src=x onerror="alert(1)">|=cmd()\n$\\x$'
    hostile = dataclasses.replace(
        answer, run=name, data=dataclasses.replace(answer.data, target=name, features=[name], notes=[name])
    )
    page = documents.as_page(hostile, figures.figures(hostile))
    assert "<img" not in page
    assert "&lt;img" in page
    tame = dataclasses.replace(answer, data=dataclasses.replace(answer.data, notes=["fine"]))
    assert len(documents.as_markdown(hostile).splitlines()) == len(documents.as_markdown(tame).splitlines())


def test_a_browser_shows_the_page(answer: Answer, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        assert os.environ.get("CI") != "true", "Chromium is missing, and nothing may be skipped here"
        pytest.skip("no Chromium on this machine")
    (tmp_path / "report.html").write_text(documents.as_page(answer, figures.figures(answer)))
    shown = subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--enable-logging=stderr",
            "--window-size=900,3000",
            "--hide-scrollbars",
            f"--screenshot={tmp_path / 'page.png'}",
            "--dump-dom",
            f"file://{tmp_path / 'report.html'}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert words.headline(answer) in shown.stdout
    assert "CONSOLE" not in shown.stderr  # where Chromium reports what the page's policy forbade
    assert (tmp_path / "page.png").stat().st_size > 20_000


# ---------------------------------------------------------------------- the code


ALL_KNOBS = {
    "kernel_l1": 1e-5,
    "kernel_l2": 1e-4,
    "recurrent_l2": 1e-3,
    "bias_l1": 1e-4,
    "activity_l2": 1e-2,
    "dropout": 0.2,
    "recurrent_dropout": 0.3,
}


@pytest.mark.parametrize("knobs", [{}, {"bias_l2": 0.01}, ALL_KNOBS])
@pytest.mark.parametrize("sizes", [{}, {"model.num_layers": 2, "model.bidirectional": True}])
def test_pasted_code_runs_and_has_the_recommended_knobs(
    answer: Answer, knobs: dict[str, float], sizes: dict[str, object]
) -> None:
    shown = confirmed(dataclasses.replace(answer, settings=answer.settings | sizes), **knobs)
    lstmreg_code, torch_code, keras_code = (s.code for s in snippets(shown))

    ours: dict[str, object] = {}
    exec(lstmreg_code, ours)
    ours["loss"].backward()
    layer = ours["layers"][-1]
    assert (layer.dropout, layer.recurrent_dropout) == (knobs.get("dropout", 0), knobs.get("recurrent_dropout", 0))
    for place in ("kernel", "recurrent", "bias", "activity"):
        regularizer = getattr(layer, f"{place}_regularizer")
        found = (0.0, 0.0) if regularizer is None else (regularizer.l1, regularizer.l2)
        assert found == (knobs.get(f"{place}_l1", 0), knobs.get(f"{place}_l2", 0))

    plain: dict[str, object] = {}
    exec(torch_code, plain)
    if "kernel_l2" in knobs:
        lstm = plain["lstm"]
        by_hand = torch.zeros(())
        for name, weight in lstm.named_parameters():
            if "weight_ih" in name:
                by_hand = by_hand + 1e-5 * weight.abs().sum() + 1e-4 * weight.square().sum()
            elif "weight_hh" in name:
                by_hand = by_hand + 1e-3 * weight.square().sum()
            elif "bias_ih" in name:
                by_hand = by_hand + 1e-4 * (weight + lstm.get_parameter(name.replace("_ih", "_hh"))).abs().sum()
        torch.testing.assert_close(plain["penalty"], by_hand)

    keras_model: dict[str, object] = {}
    exec(keras_code, keras_model)
    model = keras_model["model"]
    assert model.output_shape == (None, 1)
    keras_layer = model.layers[-2]
    keras_layer = getattr(keras_layer, "forward_layer", keras_layer)
    assert keras_layer.recurrent_dropout == knobs.get("recurrent_dropout", 0)
    assert (keras_layer.kernel_regularizer is not None) == ("kernel_l2" in knobs)
