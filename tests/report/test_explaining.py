"""What explains an answer is said as it was measured, and no more of it than is known."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest

from lstmreg.report import documents, words
from lstmreg.report.answers import Answer
from lstmreg.search.evidence import Effect
from lstmreg.search.explaining import LeftOut, Unstopped
from tests.report import answers
from tests.report.answers import BLOCKS, made


def said(answer: Answer, part: str) -> str:
    (sentence,) = [sentence for sentence in words.sentences(answer) if part in sentence]
    return sentence


def test_what_leaving_a_column_out_does_is_said_and_who_is_needed_and_who_is_not_missed() -> None:
    assert said(made(), "left out") == (
        "Of 28 columns the 2 that are heard most and the 2 that are heard least were left out, one at a time, with "
        "kernel_l1 = 0.03 and 1 fresh seed on each block. Without it the loss changes by: "
        "Appliances +31 % (+20 % to +43 %), lights +3.0 % (−2.0 % to +8.0 %), rv2 −0.2 % (−1.2 % to +0.8 %) and "
        "rv1 +0.1 % (−1.0 % to +1.2 %). Appliances is needed for certain. rv2 and rv1 are not missed: left out alone, "
        "each costs less than 2 % for certain."
    )
    wide = Effect(0.05, -0.3, 0.6, BLOCKS)
    open_ = made(left_out=LeftOut({}, 2, {"a": wide, "b": wide}, 2))
    assert said(open_, "left out") == (
        "Each column was left out, one at a time, with no regularization and 2 fresh seeds on each block. Without it "
        "the loss changes by: a +5.0 % (−30 % to +60 %) and b +5.0 % (−30 % to +60 %)."
    )


def test_without_early_stopping_each_setting_stands_beside_itself_and_the_best_is_named() -> None:
    # 1.38 times 0.6 of the loss with early stopping.
    assert said(made(), "Without early stopping") == (
        "Without early stopping, after 96 epochs: no knob +38 % (+20 % to +60 %) and kernel_l1 = 0.03 +4.0 % (−1.0 % "
        "to +9.0 %), each against itself with it. If you cannot spare validation data, kernel_l1 = 0.03 "
        "does best: its last loss is 40 % lower than that of no knob (−50 % to −28 %), which is −17 % against no knob "
        "with early stopping. Its value was chosen by the same seeds, so expect a little less."
    )


@pytest.mark.parametrize(
    ("plain", "best", "advice"),
    [
        ((0.38, 0.2, 0.6), (-0.1, -0.3, 0.1), "No knob replaces early stopping for certain"),
        ((0.05, -0.1, 0.2), (-0.1, -0.3, 0.1), "it is not known that early stopping matters here"),
        ((0.05, -0.1, 0.2), (-0.2, -0.3, -0.1), "If you cannot spare validation data, kernel_l1 = 0.03 does best"),
    ],
)
def test_advice_is_given_where_something_is_known(plain: Any, best: Any, advice: str) -> None:
    found = answers.unstopped()
    ends = [
        dataclasses.replace(found.ends[0], cost=Effect(*plain, BLOCKS)),
        dataclasses.replace(found.ends[1], effect=Effect(*best, BLOCKS)),
    ]
    assert advice in said(made(unstopped=Unstopped(96, ends)), "Without early stopping")


def test_where_nothing_was_explained_nothing_is_said_and_the_curves_tell_what_they_know() -> None:
    bare = made(left_out=None, unstopped=None)
    assert not [sentence for sentence in words.sentences(bare) if "left out" in sentence]
    assert "the last epoch would have cost" in said(bare, "Without early stopping")
    page = documents.as_page(bare, {})
    assert 'id="left-out"' not in page
    assert 'id="unstopped"' not in page


def test_where_training_is_cut_short_nothing_is_said_of_its_end() -> None:
    short = answers.ANSWERS["cut short"]()
    assert short.unstopped is not None
    assert not [sentence for sentence in words.sentences(short) if "Without early stopping" in sentence]
    assert 'id="unstopped"' not in documents.as_page(short, {})


def rows(page: str, identity: str) -> list[list[str]]:
    table = page.replace("\N{NO-BREAK SPACE}", " ").partition(f'<table id="{identity}"')[2].partition("</table>")[0]
    return [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>.*?</tr>", table)]


def test_the_page_has_a_table_of_each_and_the_json_the_numbers() -> None:
    heard = dataclasses.replace(answers.columns(), off_on=[0] * 26 + [5, 8], blocks=8)
    answer = made(columns=heard)
    page, content = documents.as_page(answer, {}), json.loads(documents.as_json(answer))
    assert rows(page, "left-out") == words.left_out_table(answer)
    assert [row[-1] for row in words.left_out_table(answer)] == [
        "switched off on",
        "0 of 8 blocks",
        "0 of 8 blocks",
        "5 of 8 blocks",
        "8 of 8 blocks",
    ]
    assert [len(row) for row in words.left_out_table(made())] == [2] * 5
    assert rows(page, "unstopped") == words.unstopped_table(answer)
    assert words.unstopped_table(answer)[-1] == [
        "dropout = 0.1",
        "+10 % (+2.0 % to +18 %, 1 failed)",
        "−10 % (−25 % to +6.0 %, 1 failed)",
    ]
    assert content["left_out"]["effects"]["rv1"] == dataclasses.asdict(answers.left_out().effects["rv1"])
    assert content["unstopped"]["ends"][1]["setting"] == {"model.kernel_l1": 0.03}
    for note in (words.left_out_note(answer), words.unstopped_note(answer)):
        assert note in page.replace("&#39;", "'")
    assert "Without early stopping, after 96 epochs" in documents.as_markdown(answer)
