"""The answer in its four forms: words, table, JSON and page say the same, and no more than is known."""

from __future__ import annotations

import ast
import dataclasses
import functools
import html
import io
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
from typing import Any, get_args

import numpy as np
import pytest
import rich.console
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

import lstmreg
from lstmreg import report, search
from lstmreg.config import ModelConfig
from lstmreg.models import Network
from lstmreg.report import diagnosis, documents, figures, numbers, tested, words
from lstmreg.report.answers import Answer, Columns, Dose, Trials, Verdict
from lstmreg.report.code import saved_model, snippets
from lstmreg.report.words.writing import bounds
from lstmreg.search.card import DataCard, make_card
from lstmreg.search.evidence import Effect, Resolution
from lstmreg.search.method import judge
from lstmreg.tasks import task_named
from lstmreg.terminal import show_answer
from tests.report import answers
from tests.report.answers import (
    ANSWERS,
    BLOCKS,
    JUDGED,
    OPEN,
    judged,
    made,
    nothing_shown,
    use,
    with_data,
    with_test,
    with_verdicts,
)
from tests.search import made_up
from tests.search.made_up import FRESH, KNOB, ran, whole
from tests.tiny import tiny_config

PAGE = Path(__file__).parents[2] / "docs" / "report.md"

each_answer = pytest.mark.parametrize("kind", ANSWERS)


@functools.cache
def drawn(kind: str) -> dict[str, str]:
    return figures.figures(ANSWERS[kind]())


def page_of(kind: str) -> str:
    return documents.as_page(ANSWERS[kind](), drawn(kind))


def page_of_words(kind: str) -> str:
    """Return the page with frames in place of its pictures, which take seconds to draw."""
    answer = ANSWERS[kind]()
    return documents.as_page(answer, dict.fromkeys(["losses"] if answer.judged else [], "<svg></svg>"))


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


def markdown_tables(text: str) -> list[list[list[str]]]:
    """Return the cells of each table."""
    found = itertools.groupby(text.splitlines(), key=lambda line: line[:1] == "|")
    return [
        [[c.strip() for c in line.strip("| ").split(" | ")] for line in lines] for is_table, lines in found if is_table
    ]


# ---------------------------------------------------------------------- all forms


@each_answer
def test_all_forms_say_the_same(kind: str) -> None:
    answer = ANSWERS[kind]()
    page, text, content = page_of_words(kind), documents.as_markdown(answer), json.loads(documents.as_json(answer))
    table, plain = words.table(answer), html.unescape(page).replace("\N{NO-BREAK SPACE}", " ")
    assert content["headline"] == words.headline(answer)
    assert words.headline(answer) in text
    assert words.headline(answer) in plain
    assert content["sentences"] == words.sentences(answer)
    for sentence in words.sentences(answer):
        assert sentence in text
        assert sentence in plain
    assert page_table(page, "knobs") == table
    written = [[rows[0], *rows[2:]] for rows in markdown_tables(text)]
    assert written == [table, *([worst] if (worst := words.worst_cases(answer)) else [])]
    assert page_table(page, "worst") == words.worst_cases(answer)
    for row, knob in zip(table[1:], content["knobs"], strict=True):
        assert (row[0].removesuffix(" (the rival)"), row[-1]) == (knob["name"], knob["verdict"])
        assert (row[0] != knob["name"]) == (knob["role"] == "rival")
        assert row[3] == words.change(knob["alone"]["mean"])
    used = {k["path"] for k in content["knobs"] if k["verdict"] == "use"}
    assert used == {path for path in content["recommended"] if path in {k["path"] for k in content["knobs"]}}
    assert bool(used) == content["is_confirmed"]
    assert page_table(page, "test")[1][:2] == ["no regularization", words.number(content["test"]["baseline"])]


def test_the_json_says_its_version_first_and_the_page_on_it_names_every_key() -> None:
    content = json.loads(documents.as_json(made()))
    assert next(iter(content.items())) == ("schema", 4)
    described = PAGE.read_text()
    kinds = [content, content["judged"], content["judged"]["effect"], content["judged"]["resolution"], content["test"]]
    assert content["knobs"][0]["doses"][0]["start"] == 0.09
    kinds += [content["knobs"][0], content["knobs"][0]["doses"][0], content["baseline_curve"], content["data"]]
    kinds += [content["test"]["averaging"]["candidate"], content["columns"], content["diagnosis"]]
    kinds += [content["left_out"], content["unstopped"], content["unstopped"]["ends"][0]]
    kinds += [content["other_sets"], content["other_sets"]["knobs"][0]]
    kinds += [content["where"], content["where"]["worst"][0], content["where"]["parts"]["step"][0]]
    for key in {key for kind in kinds for key in kind}:
        assert f"`{key}`" in described, key


@each_answer
def test_the_code_of_the_page_on_it_reads_it(kind: str, tmp_path: Path) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.S | re.M)
    names: dict[str, Any] = {}
    exec(block, names)
    (tmp_path / "answer.json").write_text(documents.as_json(ANSWERS[kind]()))
    assert names["advice"](tmp_path) == ANSWERS[kind]().recommended


def test_the_page_on_it_explains_every_verdict_and_every_reason() -> None:
    for word in get_args(diagnosis.Word):
        assert f"| {word} |" in PAGE.read_text()
    for verdict in get_args(Verdict):
        assert f"| {verdict} |" in PAGE.read_text()
    for reason in get_args(judge.Reason):
        assert f"`{reason}`" in PAGE.read_text()


def test_an_unbounded_end_of_an_interval_is_null() -> None:
    shown = made(judged=judged(effect=Effect(-0.2, -1.0, math.inf, 1)))
    assert json.loads(documents.as_json(shown))["judged"]["effect"]["high"] is None


@each_answer
def test_the_terminal_shows_it(kind: str) -> None:
    answer, out = ANSWERS[kind](), io.StringIO()
    show_answer(answer, Path("runs/it"), rich.console.Console(file=out, width=200))
    assert out.getvalue().strip().startswith(words.headline(answer))
    assert "Report: runs/it/report.html" in out.getvalue()
    for knob in answer.knobs:
        assert re.search(rf"^{knob.name} .*{knob.verdict}", out.getvalue(), re.MULTILINE)


# ---------------------------------------------------------------------- the words


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("a yes", "Use kernel_l1 = 0.03; leave the others off."),
        (
            "blocks differ on the value",
            "Use kernel_l1, at about 0.03 (blocks differ on the value); leave the others off.",
        ),
        (
            "blocks differ on the norm",
            "Use a penalty on the input weights, such as kernel_l1 = 0.03 (blocks differ on which); leave the others "
            "off.",
        ),
        (
            "two knobs at another rate",
            "Use kernel_l1 = 0.03 and recurrent_dropout = 0.3 (at learning_rate = 0.01); leave the others off.",
        ),
        ("weight decay", "Use weight_decay = 0.3 with AdamW; leave every knob off."),
        ("a classification", "Use dropout = 0.2; leave the others off."),
        ("nothing shown", "Nothing could be shown: no knob helps for certain beyond early stopping."),
        ("ruled out", "Leave every knob off: none brings 2 % beyond early stopping."),
        (
            "failures",
            "Nothing is recommended: kernel_l1 = 0.03 helps, but training fails more often with it than without.",
        ),
        ("a floor", "Use persistence (the last value again): this model is worse."),
        (
            "a simple model",
            "Use a ridge regression on the window until a network beats it: kernel_l1 = 0.03 helps this one, but not "
            "enough.",
        ),
        (
            "cut short",
            "Nothing could be shown, because training was cut short: raise training.max_epochs and ask again.",
        ),
    ],
)
def test_a_headline_says_what_is_known_and_no_more(kind: str, said: str) -> None:
    assert words.headline(ANSWERS[kind]()) == said


def test_several_knobs_help_where_one_helps() -> None:
    two = {"model.kernel_l1": 0.03, "model.recurrent_dropout": 0.3}
    simple = dataclasses.replace(answers.simple_model_wins(), candidate=two)
    assert "kernel_l1 = 0.03 and recurrent_dropout = 0.3 help this one, but not enough." in words.headline(simple)
    failing = dataclasses.replace(answers.failing(), candidate=two)
    assert words.headline(failing).endswith(
        "recurrent_dropout = 0.3 help, but training fails more often with them than without."
    )


@pytest.mark.parametrize(
    ("setting", "agreed", "said"),
    [
        (
            {"model.kernel_l1": 0.01, "model.kernel_l2": 0.1},
            "places",
            "Use a penalty on the input weights, such as kernel_l1 = 0.01 and kernel_l2 = 0.1 (blocks differ on which)",
        ),
        (
            {"model.kernel_l1": 0.01, "model.recurrent_dropout": 0.1},
            "places",
            "Use a penalty on the input weights and dropout of the state, such as",
        ),
        (
            {"model.kernel_l1": 0.01, "model.recurrent_dropout": 0.1},
            "knobs",
            "Use kernel_l1 and recurrent_dropout, at about 0.01 and 0.1 (blocks differ on the values)",
        ),
        (
            {"model.kernel_l1": 0.01, "training.weight_decay": 0.3, "training.optimizer": "adamw"},
            "value",
            "Use kernel_l1 = 0.01 and weight_decay = 0.3 with AdamW; leave the others off.",
        ),
        ({"model.hidden_size": 32}, "value", "Use hidden_size = 32; leave every knob off."),
    ],
)
def test_a_recommendation_is_as_exact_as_the_blocks_agree(setting: dict[str, Any], agreed: str, said: str) -> None:
    assert words.headline(use(setting, agreed)).startswith(said)


def test_a_recommendation_of_all_knobs_leaves_none_off() -> None:
    one = [k for k in made().knobs if k.name == "kernel_l1"]
    assert words.headline(made(knobs=one)) == "Use kernel_l1 = 0.03."


def test_a_network_that_goes_from_behind_to_ahead_is_said_first() -> None:
    said = words.summary(made())
    assert said[0] == (
        "Without a knob the network loses to persistence (loss +19 %, +9.0 % to +30 %); with kernel_l1 = 0.03 its loss "
        "is 13 % lower than that of persistence (97 % interval −18 % to −8.0 %)."
    )
    level = made(judged=judged(baseline_against_floor=Effect(0.01, -0.05, 0.07, BLOCKS)))
    assert words.summary(level)[0].startswith("Without a knob the network does not beat persistence for certain (")
    for other in (
        made(judged=judged(baseline_against_floor=Effect(-0.1, -0.15, -0.05, BLOCKS))),
        made(judged=judged(baseline_against_floor=None, against_floor=None), best_floor=None),
        nothing_shown(judged=dataclasses.replace(JUDGED, against=["unstable"])),
    ):
        assert "Without a knob" not in " ".join(words.sentences(other))


def test_what_it_is_worth_beyond_weight_decay_stands_beside_what_it_is_worth() -> None:
    assert words.summary(made())[1] == (
        "kernel_l1 = 0.03: −27 % against nothing (97 % interval −34 % to −19 %), −18 % against the best weight decay, "
        "of 0.3 (−25 % to −11 %); 8 blocks with 8 fresh seeds each."
    )
    (by_itself,) = [s for s in words.details(made()) if s.startswith("Weight decay is")]
    assert "the best, 0.3, by itself changes the loss by −11 % (97 % interval −16 % to −6.0 %)." in by_itself
    alike = made(judged=judged(beyond_rival=Effect(-0.02, -0.1, 0.07, BLOCKS)))
    assert any("not shown that kernel_l1 = 0.03 is worth more than that" in s for s in words.details(alike))
    itself = " ".join(words.sentences(answers.weight_decay_wins()))
    assert "against the best weight decay" not in itself
    assert "no knob was picked over it" in itself
    alone = " ".join(words.sentences(made(judged=judged(rival=None, rival_effect=None, beyond_rival=None))))
    assert "best weight decay" not in alone


WORSE, UNSURE, BETTER = (Effect(m, m - 0.1, m + 0.1, BLOCKS) for m in (0.3, 0.0, -0.3))


@pytest.mark.parametrize(
    ("against", "changes", "said"),
    [
        (["interval"], {"kept_on": {"model.dropout": 0.2}}, "beyond early stopping and the configured dropout = 0.2."),
        (["interval"], {"floor_effect": UNSURE}, "Nothing could be shown, not even that the model beats persistence"),
        (["interval"], {"floor_effect": None}, "Nothing could be shown, not even that the model beats persistence"),
        (
            ["floor"],
            {"floor_effect": UNSURE},
            "until a model beats it: kernel_l1 = 0.03 helps this one, but not enough",
        ),
        (["floor"], {"floor_effect": WORSE}, "Use persistence (the last value again): this model is worse."),
        (["unstable"], {}, "Nothing is recommended: regularization helps, but the blocks do not agree on which."),
        (["unstable", "floor"], {"floor_effect": WORSE}, "this model is worse."),
        (["failures"], {"diagnosis": answers.cut_short().diagnosis}, "training was cut short"),
        (["interval"], {"best_floor": None, "floor_effect": None}, "Nothing could be shown: no knob helps for certain"),
    ],
)
def test_a_headline_without_a_knob_says_why(against: list[str], changes: dict[str, Any], said: str) -> None:
    shown = nothing_shown(**changes)
    assert shown.judged is not None
    shown = dataclasses.replace(shown, judged=dataclasses.replace(shown.judged, against=against))
    assert said in words.headline(shown)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("interval", "its interval does not leave zero out"),
        ("smallest effect", "it brings less than 2 %"),
        ("unstable", "the blocks do not agree on it (75 % do)"),
        ("floor", "it is not shown to beat persistence"),
        ("simple model", "a ridge regression on the window is better for certain"),
        ("failures", "its training fails more often than that without it"),
    ],
)
def test_why_a_candidate_is_not_recommended_is_said(reason: str, said: str) -> None:
    assert f"It is not recommended, because {said}." in words.summary(nothing_shown(judged=judged(against=[reason])))[0]


def test_how_it_compares_with_a_simple_model_is_said() -> None:
    said = "Against the best simple model, a ridge regression on the window, the loss is −8.0 % (97 % interval −14 % to"
    assert any(s.startswith(said) and s.endswith("−2.0 %).") for s in words.details(made()))
    unsure = made(simple_model_effect=UNSURE)
    assert any(
        s.endswith("which of them is better is not shown, and the other is simpler.") for s in words.summary(unsure)
    )
    worse = nothing_shown(simple_model_effect=WORSE)
    assert words.headline(worse) == "Use a ridge regression on the window: this model is worse."
    assert words.summary(worse)[1].endswith(": use that instead.")


def test_only_bands_that_rule_effects_out_say_that_every_knob_is_of_no_use() -> None:
    shown = answers.ruled_out()
    knobs = with_verdicts(shown, "off for certain", "harms", "not searched")
    assert words.headline(dataclasses.replace(shown, knobs=knobs)).startswith("Leave every knob off: none brings 2 %")
    knobs[0] = dataclasses.replace(knobs[0], verdict="cannot tell")
    assert words.headline(dataclasses.replace(shown, knobs=knobs)).startswith("Nothing could be shown")
    assert words.headline(dataclasses.replace(shown, knobs=[])).startswith("Nothing could be shown")


def test_the_rules_of_the_answer_are_its_own_and_every_word_follows_them() -> None:
    stricter = made(confidence=0.9, table_confidence=0.8, smallest_effect=0.125)
    assert "−27 % against nothing (90 % interval" in words.summary(stricter)[1]
    assert "hold together (80 %)" in words.table_note(stricter)
    assert "rule out an improvement of 12.5 %" in words.table_note(stricter)


# ---------------------------------------------------------------------- what would decide


def open_with(**changes: Any) -> Answer:
    return nothing_shown(judged=judged(against=["interval"], resolution=dataclasses.replace(OPEN, **changes)))


def test_where_more_computing_cannot_decide_it_is_said_and_no_line_is_given() -> None:
    (said,) = [s for s in words.sentences(open_with()) if s.startswith("With 8 blocks")]
    # 14 blocks like the eight, which judge 106 or 107 windows each
    assert said == (
        "With 8 blocks and 8 seeds on each, effects within ±11 % cannot be told from none; with unlimited seeds within "
        "±9.0 %. To decide takes about 14 more blocks like these (about 1,500 more rows) or a third of the noise. More "
        "computing cannot decide: blocks cut from the same rows would only be shorter."
    )


def test_where_more_seeds_decide_the_line_asks_for_enough_of_them_under_a_new_name() -> None:
    found = Resolution(0.2, 0.02, 0.1, more_blocks=9, noise=0.5, seeds_suffice=True, blocks=8, seeds=8.0)
    shown = nothing_shown(judged=judged(against=["interval"], resolution=found))
    (said,) = [s for s in words.sentences(shown) if s.startswith("With 8 blocks")]
    line = re.search(
        r"lstmreg search -c runs/appliances/config.yaml --search.judge_seeds=(\d+) --name=(\S+) \(another look", said
    )
    assert line is not None
    assert line[2] != shown.run
    # The variance of a block's mean is one of blocks and one of seeds over their number.
    now, unlimited, wanted = (math.log1p(x) ** 2 for x in (0.2, 0.02, 0.1))
    of_seeds = (now - unlimited) * 8
    assert unlimited + of_seeds / int(line[1]) <= wanted < unlimited + of_seeds / (int(line[1]) - 1)


def test_few_blocks_are_to_be_more_where_the_data_allow_it() -> None:
    few = dataclasses.replace(open_with(blocks=3), most_blocks=6)
    (said,) = [s for s in words.sentences(few) if s.startswith("With 3 blocks")]
    assert "--search.blocks=6 --name=appliances-6-blocks (another look at the same data" in said
    in_memory = dataclasses.replace(few, data=dataclasses.replace(few.data, is_in_memory=True))
    (said,) = [s for s in words.sentences(in_memory) if s.startswith("With 3 blocks")]
    assert "SearchConfig(blocks=6) in a Config of another name (another look" in said
    (said,) = [s for s in words.sentences(dataclasses.replace(few, most_blocks=3)) if s.startswith("With 3 blocks")]
    assert "More computing cannot decide" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"noise": 0.5}, "or half of the noise"),
        ({"noise": 0.41}, "or 41 % of the noise"),
        ({"more_blocks": None}, "To decide takes a third of the noise."),
        ({"more_blocks": 1}, "about 1 more block like these (about 110 more rows)"),
        ({"half_width": 1.5}, "hardly any effect can be told from none"),
        ({"half_width": math.inf}, "hardly any effect can be told from none"),
    ],
)
def test_what_would_decide_is_said_in_words(changes: dict[str, Any], said: str) -> None:
    assert any(said in sentence for sentence in words.sentences(open_with(**changes)))


@pytest.mark.parametrize("kind", ["a yes", "ruled out", "cut short", "failures"])
def test_where_nothing_is_open_nothing_would_decide(kind: str) -> None:
    assert not any(s.startswith("With 8 blocks") for s in words.sentences(ANSWERS[kind]()))


def test_rows_of_which_nothing_can_be_told_say_which_would_be_decided_first() -> None:
    rows = made().knobs
    nearer = dataclasses.replace(OPEN, more_blocks=3, noise=0.75)
    rows = [dataclasses.replace(k, resolution=nearer) if k.name == "activity_l1" else k for k in rows]
    (said,) = [s for s in words.details(made(knobs=rows)) if s.startswith("Of recurrent_l1,")]
    assert "activity_l1 would be decided first, by about 3 more blocks like these" in said
    assert "or three quarters of the noise" in said


# ---------------------------------------------------------------------- the rest of the words


@each_answer
def test_the_page_begins_with_two_paragraphs_and_a_picture(kind: str) -> None:
    answer, page = ANSWERS[kind](), page_of_words(kind)
    before = page[page.index("</h1>") : page.index("<table" if answer.judged is None else "<figure")]
    assert before.count("<p>") == 2
    assert all(len(paragraph) < 320 for paragraph in words.summary(answer))
    assert words.sentences(answer) == words.summary(answer) + words.details(answer)
    assert len(set(words.sentences(answer))) == len(words.sentences(answer))


def test_a_search_that_was_cut_short_says_how_to_ask_again() -> None:
    shown = answers.cut_short()
    assert words.summary(shown)[1].endswith(
        "lstmreg search -c runs/appliances/config.yaml --training.max_epochs=600 --name=appliances-600"
    )


def test_the_test_is_told_with_its_interval_beside_weight_decay_and_floors() -> None:
    (said,) = [s for s in words.details(made()) if s.startswith("On the test rows")]
    for part in (
        "the root mean square error is 66.1 without regularization, 54.9 with kernel_l1 = 0.03, 60.3 with weight_decay",
        "the loss changes by −31 % (97 % interval −40 % to −21 %), and by −17 % (−26 % to −7.0 %) against weight "
        "decay, on this one test of 240 windows.",
        "Without a network: persistence (the last value again) 61.2, seasonal",
    ):
        assert part in said


def test_averaging_is_an_answer_with_its_cost() -> None:
    (said,) = [s for s in words.details(made()) if s.startswith("Averaging")]
    for part in (
        "mean prediction of 5 networks",
        "60.2 instead of 66.1 without regularization, −17 % of the loss",
        "53.8 instead of 54.9 with kernel_l1 = 0.03, −4.0 % of the loss",
        "56 instead of 60.3 with weight decay, −14 % of the loss",
        "costs 5 times the time and the memory",
    ):
        assert part in said
    assert not any(s.startswith("Averaging") for s in words.details(with_test(made(), averaging={})))


def test_failures_are_counted() -> None:
    said = " ".join(words.sentences(answers.failing()))
    assert "Training failed with kernel_l1 = 0.3 in 2 trainings and kernel_l1 = 0.03 in 5 trainings before" in said
    assert "Training failed" not in " ".join(words.sentences(made()))


def test_how_large_a_penalty_is_at_the_start_is_said_and_more_of_one_that_drowns_the_data() -> None:
    note = words.starts_note(made())
    assert "kernel_l1 = 0.001 to 0.3 starts at 0.09 to 27; kernel_l2 = 0.001 to 0.1 starts at 0.03 to 3;" in note
    assert html.escape(note) in page_of_words("a yes")
    (said,) = [s for s in words.details(made()) if "starts at" in s]
    assert said.startswith(
        "kernel_l1 = 0.3 starts at 27 times the data loss: such a training first shrinks the weights"
    )
    rates = [k for k in made().knobs if k.name.endswith("dropout")]
    assert words.starts_note(made(knobs=rates)) == ""
    assert not any("starts at" in s for s in words.details(made(knobs=rates)))


def test_that_changes_are_learned_is_said() -> None:
    assert not any("data.difference" in said for said in words.sentences(made()))
    differenced = made(settings=answers.SETTINGS | {"data.difference": "season"})
    assert any("from one season before (data.difference: season)" in said for said in words.sentences(differenced))


def test_configured_knobs_are_said_and_stay_in_the_code() -> None:
    shown = made(kept_on={"model.dropout": 0.2})
    assert words.headline(shown) == "Use kernel_l1 = 0.03 beside the configured dropout = 0.2; leave the others off."
    assert "dropout=0.2" in snippets(shown)[0].code
    off = made(turned_off={"model.kernel_l2": 0.1})
    (said,) = [s for s in words.sentences(off) if "The configured kernel_l2 = 0.1 was turned off" in s]
    assert said.endswith("no regularization means without it. It is among the values that were tried.")
    (said,) = [s for s in words.sentences(made(turned_off={"model.kernel_l2": 0.2})) if "kernel_l2 = 0.2" in s]
    assert said.endswith("kernel_l2 = 0.2 itself was not tried.")
    for of_layers, was_tried in (([0.1, 0.1], True), ([0.1, 0.01], False)):
        (said,) = [s for s in words.sentences(made(turned_off={"model.kernel_l2": of_layers})) if "turned off" in s]
        assert said.endswith("It is among the values that were tried.") == was_tried


def test_that_every_block_judges_what_the_others_picked_is_said() -> None:
    assert any(
        s.endswith("which is kernel_l1 = 0.03 on 6 and kernel_l1 = 0.1 on 2 of 8 blocks.")
        for s in words.details(made())
    )


def test_a_learning_rate_at_the_edge_of_what_was_tried_is_pointed_out() -> None:
    assert not any("at the edge" in s for s in words.details(made()))
    assert any("at the edge" in s for s in words.details(made(learning_rate=0.01)))


def test_several_kinds_of_machines_are_said_and_one_is_not() -> None:
    one = {"Xeon, torch 2.13": 300}
    assert not [s for s in words.sentences(nothing_shown(machines=one)) if "machine" in s]
    said = words.sentences(nothing_shown(machines=one | {"EPYC, torch 2.13": 1}))
    assert (
        "Not all trainings ran on the same kind of machine, so that last digits may differ: 300 trainings on Xeon, "
        "torch 2.13 and 1 training on EPYC, torch 2.13."
    ) in said


@pytest.mark.parametrize(
    ("relative", "text"),
    [(-0.123, "−12 %"), (0.031, "+3.1 %"), (0.0, "+0.0 %"), (math.inf, "unbounded"), (-1.0, "−100 %"), (99.0, "×100")],
)
def test_changes_are_written_in_percent_with_their_sign(relative: float, text: str) -> None:
    assert words.change(relative) == text


# ---------------------------------------------------------------------- the page


@pytest.mark.parametrize(
    ("kind", "pictures"),
    [
        ("a yes", ["losses", "doses", "columns", "curves", "predictions", "course"]),
        ("a classification", ["losses", "doses", "curves", "confusion", "course"]),
        ("ruled out", ["doses", "columns", "curves", "predictions", "course"]),
    ],
)
def test_the_page_is_one_file_that_loads_and_runs_nothing(kind: str, pictures: list[str]) -> None:
    page = page_of(kind)
    assert list(drawn(kind)) == pictures
    assert re.findall(r'<figure id="(\w+)"', page) == pictures
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="(?!#)([^"]*)"', page) == []
    assert "Content-Security-Policy" in page
    assert "@media print" in page


def test_hostile_names_stay_inert() -> None:
    name = '<img src=x onerror="alert(1)">|=cmd()\n$\\x$'
    data = dataclasses.replace(answers.digits().data, target=name, features=[name], notes=[name], classes=[name] * 10)
    where = answers.digits().where
    assert where is not None
    worst = [dataclasses.replace(where.worst[0], name=name, group=name, truth=name, predicted={"candidate": name})]
    parts = {"class": [dataclasses.replace(part, name=name) for part in where.parts["class"]]}
    where = dataclasses.replace(where, worst=worst, parts=parts)
    hostile = dataclasses.replace(answers.digits(), run=name, data=data, where=where)
    page = documents.as_page(hostile, figures.figures(hostile))
    assert "<img" not in page
    assert "&lt;img" in page
    tame = with_data(
        dataclasses.replace(answers.digits(), where=dataclasses.replace(where, worst=where.worst[:1])), notes=["fine"]
    )
    assert len(documents.as_markdown(hostile).splitlines()) == len(documents.as_markdown(tame).splitlines())
    shown = with_data(answers.panel(), test_labels=[f"{name}, {k}" for k in range(60)], target=name)
    assert "<img" not in tested.predictions(shown)


MEASURING = """<!doctype html><title>measuring</title><iframe src="report.html" width="{width}" height="800"
style="border: 0"></iframe><script>
window.onload = () => {{
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
  const right = element => element.getBoundingClientRect().right;
  const cells = [...page.querySelectorAll("#knobs td, .stacked td")].filter(cell => cell.offsetWidth > 0);
  const texts = [...page.querySelectorAll("figure svg text")].map(text => text.getBoundingClientRect().height);
  document.title = JSON.stringify({{
    width: root.clientWidth, needed: root.scrollWidth, headline: page.querySelector("h1").textContent,
    cells: cells.map(cell => [cell.dataset.label, right(cell)]), smallest: Math.min(...texts),
  }});
}};
</script>"""


@pytest.mark.parametrize("width", [375, 1600])
@pytest.mark.parametrize("kind", ["a yes", "a classification", "a panel"])
def test_a_browser_shows_the_page_at_any_width(kind: str, tmp_path: Path, width: int) -> None:
    """A second page measures the report in a frame, since the report itself runs nothing."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        assert os.environ.get("CI") != "true", "Chromium is missing, and nothing may be skipped here"
        pytest.skip("no Chromium on this machine")
    shown = ANSWERS[kind]()
    (tmp_path / "report.html").write_text(page_of(kind))
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
    tables = [words.table(shown), words.worst_cases(shown), *(part.rows for part in words.parts_tables(shown))]
    assert {label for label, _ in measured["cells"]} == {cell for rows in tables for cell in rows[0]}
    assert max(right for _, right in measured["cells"]) <= width
    assert measured["smallest"] > 9  # figures are readable, if need be by scrolling within them


# ---------------------------------------------------------------------- what a sampler proposed


def test_how_many_proposals_were_asked_for_and_how_many_were_new_is_said() -> None:
    """A sampler that finds nothing new gives less than was asked for."""
    found = whole(np.full((5, 4), 0.5), np.ones((5, 4)), trials=6)
    for value in (0.03, 0.1):
        for block in range(5):
            ran(found, "propose", {KNOB: value}, block, 0, 0.9)
    shown = report.answer(found)
    assert shown.trials == Trials(asked=6, new=2)
    (said,) = [sentence for sentence in words.sentences(shown) if "search.trials" in sentence]
    assert said.startswith("search.trials asks tpe for 6 more settings, and 2 new ones were tried")
    assert "had nothing new" in said
    (said,) = [s for s in words.sentences(dataclasses.replace(shown, trials=Trials(2, 2))) if "search.trials" in s]
    assert said == "search.trials asks tpe for 2 more settings, and 2 new ones were tried."
    with_trials = made(trials=shown.trials, settings=made().settings | {"search.sampler": "tpe"})
    assert "settings proposed</dt><dd>2 new ones of 6 that were asked for" in documents.as_page(with_trials, {})
    assert made().trials is None
    assert report.answer(whole(np.full((5, 4), 0.5), np.ones((5, 4)))).trials is None


# ---------------------------------------------------------------------- the curves


def with_gaps(gaps: np.ndarray, setting: dict[str, Any], found: search.Evidence) -> search.Evidence:
    """Return evidence in which a setting's trainings with the seeds that judge have these gaps ``(blocks, seeds)``."""
    records = [
        dataclasses.replace(
            record,
            result=dataclasses.replace(
                record.result,
                train_loss=record.result.val_loss / gaps[record.replicate.block, record.replicate.seed - FRESH],
            ),
        )
        if record.setting == setting and record.result is not None
        else record
        for record in found.records["judge"]
    ]
    return dataclasses.replace(found, records=found.records | {"judge": records})


def test_the_curves_are_of_a_typical_training_and_say_on_which_block() -> None:
    """On the last block, and with the first seed of the third, networks overfit far more than elsewhere."""
    judged, plain = np.full((5, 4), 0.5), np.ones((5, 4))
    scale = np.array([1.1, 1.2, 1.4, 3.0, 9.0])
    gaps = scale[:, None] * np.array([5.0, 1.1, 1.0, 1.1])
    found = with_gaps(gaps, {}, whole(judged, plain))
    found = with_gaps(gaps[::-1], {KNOB: 0.01}, found)
    shown = report.answer(found)
    assert shown.candidate_curve is not None
    assert (shown.baseline_curve.block, shown.candidate_curve.block) == (3, 3)
    assert shown.baseline_curve.gap == pytest.approx(1.4 * 1.1)
    # Of what each is typical: the pick's gaps have another block in their middle, and are shown on the same one.
    other = report.answer(with_gaps(gaps[[2, 3, 4, 0, 1]], {KNOB: 0.01}, found))
    assert other.candidate_curve is not None
    assert (other.candidate_curve.block, other.candidate_curve.gap) == (3, pytest.approx(9.0 * 1.1))


def test_the_picture_of_the_curves_says_which_block_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    axes = drawn_figure(monkeypatch, figures.learning_curves, made()).axes
    assert [ax.get_title(loc="left") for ax in axes] == [
        "no regularization, block 5 (gap ×3.1)",
        "recommended, block 5 (gap ×1.2)",
    ]
    first, last = made().data.blocks[4]
    assert f"On block 5 of 8 ({first}–{last})" in html.unescape(page_of("a yes"))


# ---------------------------------------------------------------------- the pictures


def drawn_figure(monkeypatch: pytest.MonkeyPatch, draw: Callable[[Answer], str], answer: Answer) -> Figure:
    """Return the figure itself instead of its SVG, laid out."""
    kept: list[Figure] = []

    def keep(figure: Figure) -> str:
        FigureCanvasAgg(figure).draw()
        kept.append(figure)
        return "<svg"

    for drawing in (figures, tested):
        monkeypatch.setattr(drawing, "svg", keep)
    draw(answer)
    return kept[0]


def test_the_first_picture_has_each_side_on_each_block_and_the_means_that_are_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (ax,) = drawn_figure(monkeypatch, figures.losses, made()).axes
    sides = [label.get_text().replace("\n", " ") for label in ax.get_yticklabels()]  # long ones wrap
    assert sides[:3] == ["kernel_l1 = 0.03", "weight_decay = 0.3 with AdamW", "no regularization"]
    assert sides[3:] == ["a ridge regression on the window", "persistence"]
    dots = [line for line in ax.get_lines() if line.get_marker() == "o"]
    for line, name in zip(dots, ("pick", "weight decay", "no regularization", "simple model", "floor"), strict=True):
        ratios = np.array(JUDGED.losses[name]) / np.array(JUDGED.losses["floor"])
        np.testing.assert_allclose(line.get_xdata(), ratios)
    means = [line.get_xdata()[0] for line in ax.get_lines() if line.get_marker() == "D"]
    ratios = np.log(np.array(JUDGED.losses["weight decay"]) / np.array(JUDGED.losses["floor"]))
    assert means[:3] == pytest.approx([1 - 0.13, np.exp(ratios.mean()), 1 + 0.19])
    ends = [line.get_xdata() for line in ax.get_lines() if line.get_marker() == "None" and len(line.get_xdata()) == 2]
    by_scipy = stats.t.interval(0.97, BLOCKS - 1, ratios.mean(), stats.sem(ratios))
    np.testing.assert_allclose(ends[1], np.exp(by_scipy))


def test_without_a_floor_losses_are_relative_to_no_regularization(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {name: values for name, values in JUDGED.losses.items() if name not in ("floor", "simple model")}
    found = judged(losses=losses, against_floor=None, baseline_against_floor=None)
    shown = made(judged=found, best_floor=None, best_simple_model=None)
    (ax,) = drawn_figure(monkeypatch, figures.losses, shown).axes
    means = [line.get_xdata()[0] for line in ax.get_lines() if line.get_marker() == "D"]
    np.testing.assert_allclose(means, [1 - 0.27, 1 - 0.11])
    assert "no regularization" in ax.get_xlabel()


def test_a_block_of_no_loss_can_be_drawn() -> None:
    exact = {name: [0.0, *values[1:]] for name, values in JUDGED.losses.items()}
    assert figures.losses(made(judged=judged(losses=exact))).startswith("<svg")


def test_doses_show_the_bands_that_hold_together_and_which_values_grew(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawn_figure(monkeypatch, figures.dose_response, made())
    panel = next(ax for ax in figure.axes if ax.get_title(loc="left").startswith("kernel_l1: use"))
    knob = next(k for k in made().knobs if k.name == "kernel_l1")
    (band,) = panel.collections
    edges = band.get_paths()[0].vertices
    for place, dose in enumerate(knob.doses, start=1):
        ys = edges[edges[:, 0] == place, 1]
        assert (min(ys), max(ys)) == pytest.approx((100 * dose.effect.low, 100 * dose.effect.high))
    grown = [line for line in panel.get_lines() if line.get_label() == "a value that the ladder grew to"]
    assert [list(line.get_xdata()) for line in grown] == [[6]]
    sizes = next(ax for ax in figure.axes if ax.get_title(loc="left").startswith("hidden_size"))
    assert [label.get_text() for label in sizes.get_xticklabels()] == ["8", "32"]


def test_columns_are_ranked_along_the_values_of_a_knob(monkeypatch: pytest.MonkeyPatch) -> None:
    (ax,) = drawn_figure(monkeypatch, figures.columns, made()).axes
    found = answers.columns()
    assert [label.get_text() for label in ax.get_yticklabels()] == found.names
    assert [label.get_text() for label in ax.get_xticklabels()][:2] == ["off", "1e-3"]
    places = np.array([int(text.get_text()) for text in ax.texts]).reshape(28, 7)
    for column, weights in enumerate(found.weights.values()):
        np.testing.assert_array_equal(places[:, column], stats.rankdata(-np.array(weights), method="ordinal"))
    (said,) = [s for s in words.details(made()) if "listens most to" in s]
    assert said.startswith(
        "At kernel_l1 = 0.3 the network listens most to Appliances and lights (all others have less than"
    )
    assert "of that), and least to rv1 and rv2" in said
    place = {name: int(places[found.names.index(name), 0]) for name in ("rv1", "rv2")}
    assert said.endswith(f"those were number {place['rv1']} and {place['rv2']} of 28.")


def test_the_code_says_where_its_l1_was_no_part_of_the_loss() -> None:
    plain = made(settings=answers.SETTINGS)
    proximal = made(settings=answers.SETTINGS | {"training.proximal": True})
    for before, after in zip(snippets(plain), snippets(proximal), strict=True):
        assert after.code.endswith(before.code)
        assert "training.proximal: true" in after.code.removesuffix(before.code)
    other = made(settings=answers.SETTINGS | {"training.proximal": True}, recommended={"model.kernel_l2": 0.1})
    assert not any("proximal" in snippet.code for snippet in snippets(other))


def test_the_share_of_networks_that_switch_a_column_off_is_counted() -> None:
    evidence = whole(np.full((6, 2), 0.5), np.ones((6, 2)))
    evidence = dataclasses.replace(evidence, card=dataclasses.replace(evidence.card, features=["a", "b", "c"]))
    for stage, columns in (("rates", lambda k: [0.5, 1.0, 0.25]), ("choose", lambda k: [0.0, 2.0, 0.5 * (k % 3 > 0)])):
        records = evidence.records[stage]
        records[:] = [
            dataclasses.replace(record, result=dataclasses.replace(record.result, columns=columns(k)))
            for k, record in enumerate(records)
        ]
    found = numbers.answer(evidence).columns
    assert found is not None
    assert found.names == ["b", "c", "a"]
    assert (found.off_on, found.blocks) == ([0, 2, 6], 6)  # one network on each block
    assert found.zero == {"off": [0.0, 0.0, 0.0], "0.01": [0.0, pytest.approx(1 / 3), 1.0]}
    assert found.weights == {"off": [1.0, 0.25, 0.5], "0.01": [1.0, pytest.approx(1 / 6), 0.0]}


@pytest.mark.parametrize("proximal", [False, True])
def test_an_l1_that_is_a_step_of_its_own_starts_nowhere_in_the_loss(
    monkeypatch: pytest.MonkeyPatch, *, proximal: bool
) -> None:
    monkeypatch.setattr(made_up, "KNOB", "model.kernel_l1")
    evidence = whole(np.full((6, 2), 0.5), np.ones((6, 2)), space={"model.kernel_l1": [0.01]})
    card = dataclasses.replace(evidence.card, initial_penalties={"model.kernel_l1": 300.0})
    training = dataclasses.replace(evidence.config.training, proximal=proximal)
    config = dataclasses.replace(evidence.config, training=training)
    shown = numbers.answer(dataclasses.replace(evidence, card=card, config=config))
    (dose,) = next(knob for knob in shown.knobs if knob.path == "model.kernel_l1").doses
    # A training loss of 2 in the first epoch.
    assert dose.start == (None if proximal else pytest.approx(0.01 * 300.0 / 2))


def test_columns_that_are_switched_off_are_empty_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = answers.columns()
    shares = [0.0] * 25 + [0.5, 1.0, 1.0]  # of the last value, in the order of the names
    off = dataclasses.replace(found, zero=found.zero | {"0.3": shares}, off_on=[0] * 25 + [3, 8, 8], blocks=8)
    (ax,) = drawn_figure(monkeypatch, figures.columns, made(columns=off)).axes
    written = np.array([int(text.get_text()) for text in ax.texts]).reshape(28, 7)
    assert np.argwhere(written == 0).tolist() == [[26, 6], [27, 6]]
    (mesh,) = ax.collections
    np.testing.assert_array_equal(np.ma.getmaskarray(mesh.get_array()).reshape(28, 7), written == 0)
    (said,) = [s for s in words.details(made(columns=off)) if "switches columns off" in s]
    assert said == (
        "At kernel_l1 = 0.3 input weights are exactly zero, which switches columns off: in every network 2 (rv2 and "
        "rv1) and in some networks 1 of 28."
    )
    assert not [s for s in words.details(made()) if "switches columns off" in s]
    (right,) = ax.child_axes
    assert [label.get_text() for label in right.get_yticklabels()] == ["3/8", "8/8", "8/8"]
    assert right.get_yticks().tolist() == [25, 26, 27]
    (sometimes,) = [s for s in words.details(made(columns=off)) if "blocks alone" in s]
    assert sometimes == f"On some of the 8 blocks alone every network switches a column off: {found.names[25]} on 3."


def test_of_many_columns_both_ends_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"c{k}" for k in range(100)]
    weights = {"off": [1 - k / 100 for k in range(100)], "0.1": [1.0] * 100}
    many = Columns(names, "model.kernel_l1", weights, {value: [0.0] * 100 for value in weights})
    (ax,) = drawn_figure(monkeypatch, figures.columns, made(columns=many)).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == names[:20] + names[80:]


def test_the_labels_of_doses_do_not_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    ladders = {
        "kernel_l2": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2],
        "dropout": [0.1, 0.2, 0.3, 0.4, 0.5],
        "recurrent_dropout": [0.05 * k for k in range(1, 13)],
    }
    knobs = [
        dataclasses.replace(
            k, doses=[Dose(v, answers.effect(0.1), [0.1] * BLOCKS, 1, is_grown=False) for v in ladders[k.name]]
        )
        for k in made().knobs
        if k.name in ladders
    ]
    figure = drawn_figure(monkeypatch, figures.dose_response, made(knobs=knobs))
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


@pytest.mark.parametrize("name", ["losses", "learning_curves", "predictions", "dose_response"])
def test_legends_cover_no_curve(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    figure = drawn_figure(monkeypatch, getattr(figures, name), made())
    legend = figure.legends[0].get_window_extent()
    for ax in figure.axes:
        assert not ax.get_window_extent().overlaps(legend)


def test_forecasts_are_shown_at_the_first_and_last_step_with_the_error_at_each(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = [[float(n + step) for step in range(7)] for n in range(14)]
    late = [[float(n + step) + step for step in range(7)] for n in range(14)]  # off by the number of steps
    shown = with_test(
        made(), predictions={"no regularization": late}, error_by_step={"no regularization": list(range(7))}
    )
    shown = with_data(shown, test_truth=truth, test_labels=[str(k) for k in range(14)])
    first, last, errors = drawn_figure(monkeypatch, tested.predictions, shown).axes
    for ax, step in ((first, 0), (last, 6)):
        true, predicted = (np.array(line.get_ydata()) for line in ax.get_lines())
        np.testing.assert_array_equal(predicted - true, step)
    np.testing.assert_array_equal(errors.get_lines()[0].get_ydata(), range(7))


def test_times_below_forecasts_do_not_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    for ax in drawn_figure(monkeypatch, tested.predictions, made()).axes[:2]:
        boxes = [label.get_window_extent() for label in ax.get_xticklabels() if label.get_text()]
        assert len(boxes) > 2
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_a_panel_is_shown_group_by_group(monkeypatch: pytest.MonkeyPatch) -> None:
    axes = drawn_figure(monkeypatch, tested.predictions, answers.panel()).axes
    assert [ax.get_title(loc="left") for ax in axes] == ["north", "south, old", "west"]
    for k, ax in enumerate(axes):
        np.testing.assert_array_equal(ax.get_lines()[0].get_ydata(), 100.0 * (k + 1) + np.arange(20))
        assert ax.get_xticklabels()[0].get_text() == "2012-W01"
    # Only the last cases are kept: what is left of the second group, and the third.
    few = with_test(
        answers.panel(), predictions={name: p[-25:] for name, p in answers.panel().test.predictions.items()}
    )
    axes = drawn_figure(monkeypatch, tested.predictions, few).axes
    assert [ax.get_title(loc="left") for ax in axes] == ["south, old", "west"]
    assert [len(ax.get_lines()[0].get_ydata()) for ax in axes] == [5, 20]


def test_too_many_classes_are_no_picture() -> None:
    shown = answers.digits()
    assert tested.confusion(shown).startswith("<svg")
    assert tested.confusion(with_data(shown, classes=[str(k) for k in range(21)])) == ""
    assert tested.confusion(made()) == ""


def test_how_it_was_found_counts_every_training() -> None:
    said = re.findall(r">([\d,]+) trainings?<", figures.course(made()))
    assert [int(n.replace(",", "")) for n in said] == [24, 264, 8, 144, 192, 15, 88]
    assert sum(count for count, _ in made().course.values()) == 24 + 264 + 8 + 144 + 192 + 15 + 88
    assert "2 failed" in figures.course(made(course=made().course | {"race": [96, 2]}))
    assert "not needed" in figures.course(answers.ruled_out())


def test_names_and_the_axis_of_the_losses_are_whole_and_within_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    swapped = with_data(made(), floors={"a ridge regression": JUDGED.losses["floor"]}, simple_models=[])
    name = "a ridge regression on the window and on all"
    monkeypatch.setattr(figures, "short_floor_name", lambda answer, of: name)
    figure = drawn_figure(monkeypatch, figures.losses, swapped)
    FigureCanvasAgg(figure).draw()
    (ax,) = figure.axes
    whole = figure.bbox
    texts = [ax.xaxis.label, *ax.get_yticklabels()]
    for text in texts:
        extent = text.get_window_extent()
        assert whole.x0 <= extent.x0 <= extent.x1 <= whole.x1 + 1, text.get_text()
        assert whole.y0 <= extent.y0, text.get_text()
    said = [text.get_text().replace("\n", " ") for text in texts]
    assert said[0] == f"loss / that of {name} (left is better)"
    assert name in said[1:]


def test_lines_and_bands_of_the_doses_end_at_the_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawn_figure(monkeypatch, figures.dose_response, nothing_shown())
    for ax in (ax for ax in figure.axes if ax.get_visible()):
        low, high = ax.get_ylim()
        drawn = [np.asarray(line.get_ydata(), float) for line in ax.lines if line.get_label() == "a block"]
        drawn += [path.vertices[:, 1] for band in ax.collections for path in band.get_paths()]
        for ys in drawn:
            known = ys[np.isfinite(ys)]
            assert low <= known.min() <= known.max() <= high
    first = figure.axes[0]
    assert any(first.get_ylim()[1] in np.asarray(line.get_ydata()) for line in first.lines)  # they reach it


# ---------------------------------------------------------------------- plain words


def test_an_effect_that_the_judge_rules_out_is_said_to_be_ruled_out() -> None:
    plain = nothing_shown()
    assert plain.judged is not None
    words_of = {}
    for high in (0.015, 0.025):
        found = dataclasses.replace(plain.judged, effect=Effect(-0.001, -0.012, high, BLOCKS))
        words_of[high] = [words.headline(one := dataclasses.replace(plain, judged=found)), *words.sentences(one)]
    assert words_of[0.015][0] == (
        "Nothing worth having was found: of kernel_l1 = 0.03, which looked best, an effect of 2 % beyond early "
        "stopping is ruled out."
    )
    assert any(sentence.endswith("An effect of 2 % is ruled out.") for sentence in words_of[0.015])
    assert not any("To decide takes" in sentence for sentence in words_of[0.015][1:3])
    assert words_of[0.025][0].startswith("Nothing could be shown")
    assert not any("ruled out" in sentence for sentence in words_of[0.025])


def test_what_is_one_is_spoken_of_as_one() -> None:
    plain = nothing_shown()
    (first, *others) = [knob for knob in plain.knobs if knob.resolution is not None]
    shut = [dataclasses.replace(knob, verdict="off for certain") for knob in others]
    said = words.sentences(dataclasses.replace(plain, knobs=[first, *shut]))
    assert any(f"Of {first.name} nothing can be told by itself" in sentence for sentence in said)
    assert any("nothing can be told by themselves" in sentence for sentence in words.sentences(plain))
    assert plain.where is not None
    few = dataclasses.replace(plain, where=dataclasses.replace(plain.where, cases=20, worst_twentieth=0.2))
    assert any("of the 20 windows; the worst one carries 20 %." in sentence for sentence in words.sentences(few))


def test_an_interval_that_rounds_to_nothing_is_said_to_be_small() -> None:
    assert bounds(Effect(0.0, -0.0002, 0.0004, 8)) == "less than 0.05 % either way"
    assert bounds(Effect(0.0, -0.0002, 0.0006, 8)) == "+0.0 % to +0.1 %"


# ---------------------------------------------------------------------- the code


def with_knobs(answer: Answer, **knobs: float) -> Answer:
    """Return an answer that recommends some knobs."""
    return dataclasses.replace(answer, recommended={f"model.{name}": value for name, value in knobs.items()})


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
def test_pasted_code_runs_and_has_the_recommended_knobs(knobs: dict[str, float], sizes: dict[str, object]) -> None:
    shown = with_knobs(made(settings=answers.SETTINGS | sizes), **knobs)
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
    assert model.output_shape == (None, 4)
    assert model.loss == "mse"
    keras_layer = model.layers[-2]
    keras_layer = getattr(keras_layer, "forward_layer", keras_layer)
    assert keras_layer.recurrent_dropout == knobs.get("recurrent_dropout", 0)
    assert (keras_layer.kernel_regularizer is not None) == ("kernel_l2" in knobs)


@pytest.mark.parametrize(
    ("loss", "in_torch", "in_keras"),
    [("mse", "mse_loss", '"mse"'), ("mae", "l1_loss", '"mae"'), ("huber", "huber_loss", "keras.losses.Huber()")],
)
def test_pasted_code_has_the_configured_loss(loss: str, in_torch: str, in_keras: str) -> None:
    shown = with_knobs(made(settings=answers.SETTINGS | {"training.loss": loss}), kernel_l2=0.01)
    lstmreg_code, torch_code, keras_code = (s.code for s in snippets(shown))
    assert f"functional.{in_torch}(" in lstmreg_code
    assert f"functional.{in_torch}(" in torch_code
    assert f"model.compile(loss={in_keras})" in keras_code
    for code in (lstmreg_code, keras_code):
        exec(code, {})


@pytest.mark.parametrize("sizes", [[4, 4], [4, 3]])
def test_pasted_code_keeps_a_configured_knob_layer_by_layer(sizes: list[int]) -> None:
    settings = answers.SETTINGS | {"model.num_layers": 2, "model.hidden_size": sizes}
    kept = {"model.dropout": [0.0, 0.2], "model.kernel_l2": [0.1, 0.3]}
    shown = made(recommended={}, settings=settings, kept_on=kept)
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


def test_pasted_code_has_what_was_found_for_single_layers() -> None:
    setting: dict[str, Any] = {
        "model.num_layers": 3,
        "model.hidden_size[1]": 5,
        "model.dropout[1]": 0.2,
        "model.kernel_l1[0]": 0.01,
        "model.activation[2]": "relu",
    }
    shown = use(setting)
    lstmreg_code, torch_code, keras_code = (s.code for s in snippets(shown))
    usual = int(shown.settings["model.hidden_size"])  # type: ignore[arg-type]
    ours: dict[str, Any] = {}
    exec(lstmreg_code, ours)
    config = ModelConfig(
        usual, 3, dropout=[0.0, 0.2, 0.0], kernel_l1=[0.01, 0.0, 0.0], activation=["tanh", "tanh", "relu"]
    )
    network = Network(dataclasses.replace(config, hidden_size=[usual, 5, usual]), len(shown.data.features), 1)
    wanted = [repr(layer).replace("activity_steps='last', ", "") for layer in network.layers]  # it penalises none
    assert [repr(layer) for layer in ours["layers"]] == wanted
    assert '# torch.nn.LSTM knows no activation="relu": use lstmreg.LSTM, or Keras.' in torch_code
    exec(torch_code, {})
    keras_model: dict[str, Any] = {}
    exec(keras_code, keras_model)
    layers = keras_model["model"].layers[:3]
    assert [layer.units for layer in layers] == [usual, 5, usual]
    assert [layer.dropout for layer in layers] == [0.0, 0.2, 0.0]
    assert [layer.activation.__name__ for layer in layers] == ["tanh", "tanh", "relu"]
    assert [layer.kernel_regularizer is not None for layer in layers] == [True, False, False]


def test_pasted_code_says_how_a_single_column_was_dropped() -> None:
    settings = answers.SETTINGS | {"model.per_gate_input_masks": True}
    single = with_data(made(settings=settings), features=["wave"])
    shown = with_knobs(single, dropout=0.3)
    lstmreg_code, _, keras_code = (s.code for s in snippets(shown))
    ours: dict[str, object] = {}
    exec(lstmreg_code, ours)
    assert ours["layers"][0].per_gate_input_masks is True
    assert "Keras 3 draws only where" in keras_code
    other = with_knobs(single, kernel_l2=0.01)
    assert all("per_gate" not in s.code and "Keras 3" not in s.code for s in snippets(other))


def test_pasted_code_ties_the_masks_of_the_state_where_they_were() -> None:
    tied = with_knobs(made(settings=answers.SETTINGS | {"model.per_gate_masks": False}), recurrent_dropout=0.3)
    lstmreg_code, _, keras_code = (s.code for s in snippets(tied))
    ours: dict[str, Any] = {}
    exec(lstmreg_code, ours)
    assert ours["layers"][0].per_gate_masks is False
    assert "draws one for each" in keras_code
    usual = with_knobs(made(), recurrent_dropout=0.3)
    assert all("per_gate_masks" not in s.code and "tied" not in s.code for s in snippets(usual))


def test_pasted_code_has_weight_decay_and_the_optimizer_that_knows_it() -> None:
    setting = {"model.kernel_l1": 0.01, "training.weight_decay": 0.3, "training.optimizer": "adamw"}
    ran: list[dict[str, Any]] = [{}, {}, {}]
    for snippet, names in zip(snippets(use(setting)), ran, strict=True):
        exec(snippet.code, names)
    for names in ran[:2]:
        assert isinstance(names["optimizer"], torch.optim.AdamW)
        (group,) = names["optimizer"].param_groups
        assert (group["lr"], group["weight_decay"]) == (0.003, 0.3)
    theirs = ran[2]["model"].optimizer
    assert type(theirs).__name__ == "AdamW"
    assert (float(theirs.learning_rate), theirs.weight_decay) == (pytest.approx(0.003), 0.3)
    assert all("optim" not in s.code for s in snippets(made()))


def test_pasted_code_has_a_learning_rate_that_was_found() -> None:
    setting = {"model.dropout": 0.2, "training.learning_rate": 0.01}
    assert "torch.optim.Adam([*layers.parameters(), *head.parameters()], lr=0.01)" in snippets(use(setting))[0].code


@pytest.mark.parametrize("size", [None, 3])
@pytest.mark.parametrize("alone", [False, True])
def test_pasted_code_embeds_tokens_as_the_saved_network_does(size: int | None, alone: bool) -> None:
    features, counts = (["word"], {0: 12}) if alone else (["wave", "day", "load", "shop"], {1: 7, 3: 12})
    setting = {"model.dropout": 0.2, "training.learning_rate": 0.01, "model.embedding_dropout": 0.1}
    answer = use(setting)
    answer = dataclasses.replace(answer, settings=answer.settings | {"model.embedding_size": size})
    by_name = {features[column]: count for column, count in counts.items()}
    shown = with_data(answer, features=features, vocabularies=by_name)
    lstmreg_code, torch_code, keras_code = (s.code for s in snippets(shown))
    config = ModelConfig(16, dropout=0.2, embedding_size=size, embedding_dropout=0.1)
    network = Network(config, len(features), 4, vocabularies=counts)

    ours: dict[str, Any] = {}
    exec(lstmreg_code, ours)
    assert repr(ours["embeddings"]) == repr(network.embeddings)
    wanted = [repr(layer).replace(", activity_steps='last'", "") for layer in network.layers]  # it penalises none
    assert [repr(layer) for layer in ours["layers"]] == wanted
    ours["loss"].backward()
    assert sum(len(group["params"]) for group in ours["optimizer"].param_groups) == len(list(network.parameters()))

    plain: dict[str, Any] = {}
    exec(torch_code, plain)
    x = torch.rand(5, 24, len(features))
    for column, count in counts.items():
        x[..., column] = torch.randint(count + 1, (5, 24)).float()
        with torch.no_grad():
            plain["embeddings"][str(column)].weight[1:] = network.embeddings.table(column)
    torch.testing.assert_close(plain["embedded"](x), network.eval().embeddings(x))
    assert plain["lstm"](plain["embedded"](x))[0].shape == (5, 24, 16)

    names: dict[str, Any] = {}
    exec(keras_code, names)
    (lstm,) = (layer for layer in names["model"].layers if type(layer).__name__ == "LSTM")
    assert lstm.cell.kernel.shape[0] == network.layers[0].input_size
    assert names["model"](x).shape == (5, 4)


def test_the_card_of_a_run_says_how_many_tokens_its_columns_have(tmp_path: Path) -> None:
    days = ["mon", "tue", "wed", "thu", "fri"]
    rows = [f"{math.sin(k / 3):.4f},{days[k % 5]}" for k in range(200)]
    (tmp_path / "days.csv").write_text("\n".join(["wave,day", *rows]))
    config = tiny_config(tmp_path)
    data = dataclasses.replace(config.data, path=str(tmp_path / "days.csv"), target="wave", time=None, tokens=["day"])
    config = dataclasses.replace(config, data=data)
    task = task_named(config.task).read(config.data)
    config = task.completed(config)
    card = make_card(config, task, task.splits(config.search), 8)
    assert card.vocabularies == {"day": 5}
    assert DataCard.from_kept(json.loads(json.dumps(dataclasses.asdict(card)))) == card


@each_answer
def test_pasted_code_of_any_answer_runs(kind: str) -> None:
    for snippet in snippets(ANSWERS[kind]()):
        exec(snippet.code, {})


def test_the_code_of_the_saved_model_is_code_whatever_its_folder_is_called() -> None:
    folder, path = 'runs/a "b"\n\\', "été.csv"
    tree = ast.parse(saved_model(with_data(made(directory=folder), path=path)).code)
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    assert sorted(texts) == sorted([folder, path])


# ---------------------------------------------------------------------- from a search


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> search.Evidence:
    return search.run(tiny_config(tmp_path_factory.mktemp("report")))


def test_the_answer_of_a_search_is_written_in_all_forms(evidence: search.Evidence) -> None:
    answer, directory = report.answer(evidence), evidence.config.directory
    report.write(answer, directory)
    content = json.loads((directory / "answer.json").read_text())
    assert content["headline"] == words.headline(answer)
    assert words.headline(answer) in html.unescape((directory / "report.html").read_text())
    assert page_table((directory / "report.html").read_text(), "knobs") == words.table(answer)
    assert words.headline(answer) in (directory / "answer.md").read_text()
    assert words.sentences(answer) == words.summary(answer) + words.details(answer)


def test_the_code_of_the_saved_model_predicts_the_file_of_the_run(
    evidence: search.Evidence, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = report.answer(evidence)
    code = saved_model(answer).code
    assert f"<code>{html.escape(code, quote=False)}" in documents.as_page(answer, {}).replace("&#34;", '"')
    assert f"```python\n{code}\n```" in documents.as_markdown(answer)
    exec(code, {})
    model = lstmreg.load(evidence.config.directory)
    assert isinstance(model, lstmreg.Forecaster)
    assert capsys.readouterr().out == f"{model.predict(evidence.config.data.path)}\n"


def test_what_a_search_cost_is_what_its_studies_hold(evidence: search.Evidence) -> None:
    counted = sum(count for count, _ in report.answer(evidence).course.values())
    assert counted == sum(len(records) for records in evidence.records.values())
    assert set(report.answer(evidence).course) <= set(made().course)


def test_a_dose_starts_at_its_strength_times_the_norm_over_the_first_loss(evidence: search.Evidence) -> None:
    """Of Keras' initializers the Glorot limit decides the kernel, and an orthogonal matrix has as many ones as rows."""
    units, columns = 4, 2
    costs = evidence.card.initial_penalties
    # A uniform number within the limit is half of it in the mean, and its square a third of the limit's.
    limit = math.sqrt(6 / (columns + 4 * units))
    assert costs["model.kernel_l1"] == pytest.approx(4 * units * columns * limit / 2, rel=0.3)
    assert costs["model.kernel_l2"] == pytest.approx(4 * units * columns * limit**2 / 3, rel=0.5)
    assert costs["model.recurrent_l2"] == pytest.approx(units, rel=1e-5)
    assert costs["model.bias_l1"] == costs["model.bias_l2"] == units  # the forget gate's, which start at one
    assert set(costs) == {f"model.{place}_{norm}" for place in ("kernel", "recurrent", "bias") for norm in ("l1", "l2")}
    shown = report.answer(evidence)
    (knob,) = [k for k in shown.knobs if k.path == "model.kernel_l2"]
    baseline = list(evidence.results({}, "judge").values())
    first = np.exp(np.mean([np.log(result.train[0]) for result in baseline]))
    for dose in knob.doses:
        assert dose.start == pytest.approx(dose.value * costs["model.kernel_l2"] / first, rel=1e-6)
    (dropped,) = [k for k in shown.knobs if k.path == "model.dropout"]
    assert {dose.start for dose in dropped.doses} == {None}
