"""The answer in its four forms: words, table, JSON and page agree with each other and with the study."""

from __future__ import annotations

import dataclasses
import html
import itertools
import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lstmreg import report, search
from lstmreg.report import documents, figures, numbers, words
from lstmreg.report.code import snippets
from lstmreg.report.numbers import Answer, Dose
from lstmreg.search.evidence import Effect, Evidence, Resolution
from lstmreg.search.held_out import Averaging
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
            assert dose.failed == 0
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
        assert content["headline"].startswith("Use ") == bool(used)
        assert page_table(page, "test")[1][:2] == ["no regularization", words.number(content["test"]["plain"])]


def test_a_confirmed_answer_names_knobs_and_values(answer: Answer) -> None:
    shown = confirmed(answer, kernel_l2=0.01, recurrent_dropout=0.3)
    assert words.headline(shown) == "Use kernel_l2 = 0.01 and recurrent_dropout = 0.3; leave the others off."
    assert "−12 % (95 % interval −18 % to −5.0 %)" in words.sentences(shown)[0]


def test_the_rules_of_the_answer_are_its_own_and_every_word_follows_them(answer: Answer) -> None:
    assert (answer.confidence, answer.smallest_effect) == (0.95, 0.02)
    content = json.loads(documents.as_json(answer))
    assert (content["confidence"], content["smallest_effect"]) == (0.95, 0.02)
    assert (content["settings"]["search.confidence"], content["settings"]["search.smallest_effect"]) == (0.95, 0.02)
    stricter = dataclasses.replace(confirmed(answer, kernel_l2=0.01), confidence=0.9, smallest_effect=0.125)
    assert "−12 % (90 % interval −18 % to −5.0 %)" in words.sentences(stricter)[0]
    assert "an improvement of 12.5 %" in words.table_note(stricter)


def unconfirmed(answer: Answer, **changes: object) -> Answer:
    """Return an answer that recommends nothing, with a model that beats the floor."""
    plain = dataclasses.replace(
        confirmed(answer, kernel_l2=0.01),
        is_confirmed=False,
        recommended={},
        cut_short=0.0,
        knobs=[dataclasses.replace(k, verdict="cannot tell") for k in answer.knobs],
        effect=Effect(-0.05, -0.2, 0.1, 4),
    )
    return dataclasses.replace(plain, **changes)


WORSE, UNSURE, BETTER = (Effect(m, m - 0.1, m + 0.1, 4) for m in (0.3, 0.0, -0.3))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Nothing could be shown: no knob helps for certain beyond early stopping."),
        ({"kept_on": {"model.dropout": 0.2}}, "for certain beyond early stopping and the configured dropout = 0.2."),
        ({"floor_effect": WORSE}, "Use seasonal persistence (the value one season ago): this model is worse."),
        # As it was reported: -26 % (-42 % to -4.6 %), in a model that loses to a prediction without one.
        (
            {"floor_effect": WORSE, "effect": Effect(-0.26, -0.42, -0.046, 4)},
            "Use seasonal persistence (the value one season ago): this model is worse.",
        ),
        ({"floor_effect": UNSURE}, "Nothing could be shown, not even that the model beats seasonal persistence"),
        (
            {"floor_effect": UNSURE, "effect": Effect(-0.26, -0.42, -0.046, 4)},
            "until a model beats it: kernel_l2 = 0.01 helps this one, but not enough.",
        ),
        ({"floor_effect": None}, "Nothing could be shown, not even that the model beats"),
        ({"cut_short": 0.9}, "because training was cut short: raise training.max_epochs"),
    ],
)
def test_a_headline_without_a_knob_says_what_is_known(answer: Answer, changes: dict[str, object], said: str) -> None:
    shown = unconfirmed(dataclasses.replace(answer, best_floor="seasonal"), **changes)
    assert said in words.headline(shown)
    everything = " ".join([words.headline(shown), *words.sentences(shown)])
    assert "no evidence" not in everything
    assert "No knob helped" not in everything


def test_only_intervals_that_rule_effects_out_say_that_a_knob_is_of_no_use(answer: Answer) -> None:
    verdicts = ["off for certain", "harms", "not searched", "off for certain", "harms", "not searched"]
    knobs = [dataclasses.replace(k, verdict=v) for k, v in zip(answer.knobs, verdicts, strict=True)]
    assert words.headline(unconfirmed(answer, knobs=knobs)).startswith("Leave every knob off: none brings 2 %")
    knobs[0] = dataclasses.replace(knobs[0], verdict="cannot tell")
    assert words.headline(unconfirmed(answer, knobs=knobs)).startswith("Nothing could be shown")


@pytest.mark.parametrize(
    ("alone", "is_confirmed", "verdict"),
    [
        (Effect(-0.40, -0.58, -0.14, 5), False, "helps alone, not confirmed"),  # as it was reported
        (Effect(-0.40, -0.58, -0.14, 5), True, "helps alone, not needed"),
        (Effect(0.0, -0.019, 0.015, 5), False, "off for certain"),
        (Effect(-0.01, -0.015, -0.005, 5), False, "off for certain"),
        (Effect(0.1, -0.01, 0.3, 5), False, "off for certain"),
        (Effect(0.1, 0.01, 0.3, 5), True, "harms"),
        (Effect(-0.1, -0.3, 0.1, 5), False, "cannot tell"),
        (None, False, "cannot tell"),
    ],
)
def test_a_verdict_follows_from_the_interval(
    evidence: Evidence, alone: Effect | None, is_confirmed: bool, verdict: str
) -> None:
    assert numbers._verdict(evidence, alone, is_confirmed=is_confirmed, is_cut_short=False) == verdict
    assert numbers._verdict(evidence, alone, is_confirmed=is_confirmed, is_cut_short=True) == "cannot tell"


def test_a_search_that_was_cut_short_says_how_to_ask_again(answer: Answer) -> None:
    (said,) = [s for s in words.details(unconfirmed(answer, cut_short=0.6)) if "training.max_epochs" in s]
    epochs = 3 * int(answer.settings["training.max_epochs"])
    assert f"runs/waves/config.yaml --training.max_epochs={epochs} --name=waves-{epochs}" in said


def test_that_changes_are_learned_is_said(answer: Answer) -> None:
    assert not any("data.difference" in said for said in words.sentences(answer))
    differenced = dataclasses.replace(answer, settings=answer.settings | {"data.difference": "season"})
    assert any("from one season before (data.difference: season)" in said for said in words.sentences(differenced))


@pytest.mark.parametrize(
    ("resolution", "said"),
    [
        (Resolution(0.18, 0.05, 4, 3), r"within ±18 % cannot.* would be ±5.0 %, so more seeds would help: LINEseeds=6"),
        (Resolution(0.18, 0.0, 4, 3), r"all of that is the spread of seeds, so more seeds would help: LINEseeds=6"),
        (Resolution(0.18, 0.17, 4, 3), r"would be ±17 %. More splits may help more: LINEsplits=8"),
        (Resolution(0.18, 0.17, 8, 3), r"only more data would show less: for effects of 2 % about 72 times"),
        (Resolution(0.18, 0.18, 4, 1), r"1 seed on each.*shows with two at least: LINEseeds=2"),
        (Resolution(0.18, 0.05, 2, 3), r"so few splits hardly agree by themselves. More of them: LINEsplits=4"),
        (Resolution(1.5, 1.2, 4, 3), r"on each, hardly any effect can be told from none"),
    ],
)
def test_where_nothing_could_be_shown_it_is_said_what_would_show_it(
    answer: Answer, resolution: Resolution, said: str
) -> None:
    line = r"lstmreg search -c \S*runs/waves/config.yaml --search.confirm_"
    shown = unconfirmed(answer, resolution=resolution, most_splits=8)
    assert re.search(said.replace("LINE", line), words.summary(shown)[1])
    alone = dataclasses.replace(shown, candidate={}, effect=None)
    assert re.search(said.replace("LINE", line.removesuffix("confirm_")), words.summary(alone)[1])
    assert words.summary(dataclasses.replace(shown, floor_effect=WORSE))[1].startswith("The model is worse")


def test_the_page_begins_with_two_paragraphs_and_a_picture(answer: Answer) -> None:
    for shown in (answer, confirmed(answer, kernel_l2=0.01), unconfirmed(answer)):
        page = documents.as_page(shown, figures.figures(shown))
        before = page[page.index("</h1>") : page.index("<figure")]
        assert before.count("<p>") == 2
        assert all(len(paragraph) < 320 for paragraph in words.summary(shown))
        assert words.sentences(shown) == words.summary(shown) + words.details(shown)


def test_configured_knobs_are_said_and_stay_in_the_code(answer: Answer) -> None:
    shown = confirmed(dataclasses.replace(answer, kept_on={"model.dropout": 0.2}), kernel_l2=0.01)
    assert words.headline(shown) == ("Use kernel_l2 = 0.01 beside the configured dropout = 0.2; leave the others off.")
    assert "Beyond early stopping and the configured dropout = 0.2, kernel_l2" in words.sentences(shown)[0]
    assert "dropout=0.2" in snippets(shown)[0].code
    off = dataclasses.replace(answer, turned_off={"model.kernel_l2": 0.1})
    assert any("The configured kernel_l2 = 0.1 was turned off" in s for s in words.sentences(off))


def test_failures_and_looks_are_counted(answer: Answer) -> None:
    knob = dataclasses.replace(answer.knobs[0], doses=[Dose(1e300, 1.0, [1.0, 1.0], 2)])
    shown = dataclasses.replace(answer, knobs=[knob, *answer.knobs[1:]], looks=3)
    said = " ".join(words.sentences(shown))
    assert "Training failed with kernel_l2 = 1e+300 in 2 trainings: each counts" in said
    assert "the fresh splits were looked at 3 times" in said
    assert "Training failed" not in " ".join(words.sentences(answer))
    assert "looked at" not in " ".join(words.sentences(answer))


def test_the_average_of_the_seeds_predictions_is_compared_with_single_networks(answer: Answer) -> None:
    averages = {"no regularization": Averaging(5, 10.0, 9.0, -0.19), "candidate": Averaging(5, 8.0, 7.9, -0.02)}
    shown = confirmed(
        dataclasses.replace(answer, test=dataclasses.replace(answer.test, averaging=averages)), kernel_l2=0.01
    )
    assert any(
        "of 5 networks" in s
        and "9 instead of 10 without regularization (−19 % of the loss)" in s
        and "7.9 instead of 8 with kernel_l2 = 0.01" in s
        and "5 times as long" in s
        for s in words.sentences(shown)
    )
    assert answer.test.averaging["no regularization"].members == 2


@pytest.mark.parametrize(
    ("relative", "text"),
    [(-0.123, "−12 %"), (0.031, "+3.1 %"), (0.0, "+0.0 %"), (math.inf, "unbounded"), (-1.0, "−100 %"), (99.0, "×100")],
)
def test_changes_are_written_in_percent_with_their_sign(relative: float, text: str) -> None:
    assert words.change(relative) == text


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


MEASURING = """<!doctype html><title>measuring</title><iframe src="report.html" width="{width}" height="800"
style="border: 0"></iframe><script>
window.onload = () => {{
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
  const right = element => element.getBoundingClientRect().right;
  const cells = [...page.querySelectorAll("#knobs td")].filter(cell => cell.offsetWidth > 0);
  const texts = [...page.querySelectorAll("figure svg text")].map(text => text.getBoundingClientRect().height);
  document.title = JSON.stringify({{
    width: root.clientWidth, needed: root.scrollWidth, headline: page.querySelector("h1").textContent,
    cells: cells.map(cell => [cell.dataset.label, right(cell)]), smallest: Math.min(...texts),
  }});
}};
</script>"""


@pytest.mark.parametrize("width", [375, 1600])
def test_a_browser_shows_the_page_at_any_width(answer: Answer, tmp_path: Path, width: int) -> None:
    """A second page measures the report in a frame, since the report itself runs nothing."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        assert os.environ.get("CI") != "true", "Chromium is missing, and nothing may be skipped here"
        pytest.skip("no Chromium on this machine")
    shown = confirmed(answer, kernel_l2=0.01, recurrent_dropout=0.3)
    (tmp_path / "report.html").write_text(documents.as_page(shown, figures.figures(shown)))
    (tmp_path / "measuring.html").write_text(MEASURING.format(width=width))
    seen = subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--allow-file-access-from-files",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--enable-logging=stderr",
            f"--window-size={width + 100},3000",
            "--dump-dom",
            f"file://{tmp_path / 'measuring.html'}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in seen.stderr  # where Chromium reports what the page's policy forbade
    title = re.search(r"<title>(.*?)</title>", seen.stdout, re.DOTALL)
    assert title is not None
    measured = json.loads(html.unescape(title[1]))
    assert measured["headline"] == words.headline(shown)
    assert (measured["width"], measured["needed"]) == (width, width)  # nothing sticks out
    assert {label for label, _ in measured["cells"]} == set(words.table(shown)[0])
    assert max(right for _, right in measured["cells"]) <= width
    assert measured["smallest"] > 9  # figures are readable, if need be by scrolling within them


def drawn_figures(monkeypatch: pytest.MonkeyPatch, draw: Callable[[Answer], str], answer: Answer) -> Figure:
    """Return the figure itself instead of its SVG, laid out."""
    kept: list[Figure] = []

    def keep(figure: Figure) -> str:
        FigureCanvasAgg(figure).draw()
        kept.append(figure)
        return "<svg"

    monkeypatch.setattr(figures, "_svg", keep)
    draw(answer)
    return kept[0]


def test_the_labels_of_doses_do_not_overlap(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    ladders = {
        "kernel_l2": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2],
        "dropout": [0.1, 0.2, 0.3, 0.4, 0.5],
        "recurrent_dropout": [0.05 * k for k in range(1, 13)],
    }
    knobs = [
        dataclasses.replace(k, doses=[Dose(v, 0.1, [0.1, 0.2], 0) for v in ladders[k.name]])
        for k in answer.knobs
        if k.name in ladders
    ]
    figure = drawn_figures(monkeypatch, figures.dose_response, dataclasses.replace(answer, knobs=knobs))
    for ax in figure.axes:
        labels = ax.get_xticklabels()
        assert labels[0].get_text() == "off"
        # A rotated label's own box is its line's; neighbours must be further apart than a line is high.
        boxes = [label.get_window_extent() for label in labels]
        rotated = any(label.get_rotation() for label in labels)
        line = labels[0].get_fontsize() * figure.dpi / 72
        for left, right in itertools.pairwise(boxes):
            if rotated:
                assert (right.x0 + right.x1 - left.x0 - left.x1) / 2 > line * math.sin(math.radians(60)) * 0.9
            else:
                assert left.x1 < right.x0


@pytest.mark.parametrize("name", ["learning_curves", "search_history", "predictions"])
def test_legends_cover_no_curve(answer: Answer, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    figure = drawn_figures(monkeypatch, getattr(figures, name), answer)
    legend = figure.legends[0].get_window_extent()
    for ax in figure.axes:
        assert ax.get_legend() is None
        assert not ax.get_window_extent().overlaps(legend)


def test_forecasts_are_shown_at_the_first_and_last_step_with_the_error_at_each(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = [[float(n + step) for step in range(7)] for n in range(14)]
    late = [[float(n + step) + step for step in range(7)] for n in range(14)]  # off by the number of steps
    test = dataclasses.replace(
        answer.test, predictions={"no regularization": late}, error_by_step={"no regularization": list(range(7))}
    )
    data = dataclasses.replace(answer.data, test_truth=truth, test_labels=[str(k) for k in range(14)])
    figure = drawn_figures(monkeypatch, figures.predictions, dataclasses.replace(answer, test=test, data=data))
    first, last, errors = figure.axes
    for ax, step in ((first, 0), (last, 6)):
        true, predicted = (np.array(line.get_ydata()) for line in ax.get_lines())
        np.testing.assert_array_equal(predicted - true, step)
    np.testing.assert_array_equal(errors.get_lines()[0].get_ydata(), range(7))
    one = drawn_figures(monkeypatch, figures.predictions, answer)
    assert len(one.axes) == 1


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
    assert model.loss == "mse"
    keras_layer = model.layers[-2]
    keras_layer = getattr(keras_layer, "forward_layer", keras_layer)
    assert keras_layer.recurrent_dropout == knobs.get("recurrent_dropout", 0)
    assert (keras_layer.kernel_regularizer is not None) == ("kernel_l2" in knobs)


@pytest.mark.parametrize(
    ("loss", "in_torch", "in_keras"),
    [("mse", "mse_loss", '"mse"'), ("mae", "l1_loss", '"mae"'), ("huber", "huber_loss", "keras.losses.Huber()")],
)
def test_pasted_code_has_the_configured_loss(answer: Answer, loss: str, in_torch: str, in_keras: str) -> None:
    shown = confirmed(dataclasses.replace(answer, settings=answer.settings | {"training.loss": loss}), kernel_l2=0.01)
    lstmreg_code, torch_code, keras_code = (s.code for s in snippets(shown))
    assert f"functional.{in_torch}(" in lstmreg_code
    assert f"functional.{in_torch}(" in torch_code
    assert f"model.compile(loss={in_keras})" in keras_code
    for code in (lstmreg_code, keras_code):
        exec(code, {})


@pytest.mark.parametrize("sizes", [[4, 4], [4, 3]])
def test_pasted_code_keeps_a_configured_knob_layer_by_layer(answer: Answer, sizes: list[int]) -> None:
    settings = answer.settings | {"model.num_layers": 2, "model.hidden_size": sizes}
    kept = {"model.dropout": [0.0, 0.2], "model.kernel_l2": [0.1, 0.3]}
    shown = dataclasses.replace(answer, recommended={}, settings=settings, kept_on=kept)
    lstmreg_code, torch_code, keras_code = (s.code for s in snippets(shown))
    ours: dict[str, object] = {}
    exec(lstmreg_code, ours)
    assert [layer.dropout for layer in ours["layers"]] == [0.0, 0.2]
    assert [layer.kernel_regularizer.l2 for layer in ours["layers"]] == [0.1, 0.3]
    plain: dict[str, object] = {}
    exec(torch_code, plain)
    weights = [w for name, w in plain["lstm"].named_parameters() if "weight_ih" in name]
    by_hand = 0.1 * weights[0].square().sum() + 0.3 * weights[1].square().sum()
    torch.testing.assert_close(plain["penalty"], by_hand)
    model: dict[str, object] = {}
    exec(keras_code, model)
    assert [round(float(layer.kernel_regularizer.l2), 6) for layer in model["model"].layers[:2]] == [0.1, 0.3]


def test_pasted_code_says_how_a_single_column_was_dropped(answer: Answer) -> None:
    settings = answer.settings | {"model.per_gate_input_masks": True}
    data = dataclasses.replace(answer.data, features=["wave"])
    shown = confirmed(dataclasses.replace(answer, settings=settings, data=data), dropout=0.3)
    lstmreg_code, _, keras_code = (s.code for s in snippets(shown))
    ours: dict[str, object] = {}
    exec(lstmreg_code, ours)
    assert ours["layers"][0].per_gate_input_masks is True
    assert "Keras 3 draws only where" in keras_code
    other = confirmed(dataclasses.replace(answer, settings=settings, data=data), kernel_l2=0.01)
    assert all("per_gate" not in s.code and "Keras 3" not in s.code for s in snippets(other))
