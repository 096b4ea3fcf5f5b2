"""The answer beside the public study: which knobs it names, what it says of them, and that it decides nothing."""

from __future__ import annotations

import dataclasses
import html
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstmreg import other_sets, report
from lstmreg.config import TrainingConfig
from lstmreg.report import documents, words
from lstmreg.report.answers import Answer, OnOtherSets, OtherSets
from lstmreg.report.beside import beside
from lstmreg.search.evidence import Effect, Evidence
from tests.report.answers import ON_OTHERS, OTHERS, made
from tests.search.made_up import KNOB, whole

HELPS, PLAIN = np.full((6, 4), 0.5), np.ones((6, 4))

#: Log ratios of tuned knobs on sets of a made-up study, by its half width.
TUNED = {
    "power": ("forecast", 3, {"model.kernel_l1": (-0.3, 0.1), "model.kernel_l2": (-0.1, 0.2)}),
    "roads": ("forecast", 5, {"model.kernel_l1": (-0.2, 0.4), "model.kernel_l2": (0.1, 0.05)}),
    "shops": ("forecast", 2, {"model.kernel_l1": (-0.019, 0.01), "model.kernel_l2": (-0.1, 0.05)}),
    "tides": ("forecast", 1, {"model.kernel_l1": (0.3, 0.4), "model.kernel_l2": (-0.3, 0.05)}),
    "notes": ("classify", 1, {"model.kernel_l1": (0.0, 0.0), "model.kernel_l2": (0.0, 0.0)}),
    "steps": ("classify", 1, {"model.kernel_l1": (0.0, 0.0), "model.kernel_l2": (0.0, 0.0)}),
    "birds": ("classify", 1, {"model.kernel_l1": (0.0, 0.0), "model.kernel_l2": (0.0, 0.0)}),
}

#: And of all other knobs on each of them.
REST = ("model.dropout", "training.weight_decay")

KINDS = {
    ("forecast", True): ["power", "roads", "shops"],
    ("forecast", None): ["power", "roads", "shops", "tides"],
    ("classify", False): ["notes", "steps", "birds"],
    (None, None): list(TUNED),
}


def ends(mean: float, half: float) -> list[float]:
    return [mean, mean - half, mean + half]


def study() -> dict[str, Any]:
    """Return a table of the made-up study."""
    knobs = {name: own | dict.fromkeys(REST, (0.01, 0.1)) for name, (_, _, own) in TUNED.items()}
    tried = {
        name: {path: {"tuned": ends(*of), "values": [0.03], "copied": ends(0.1, 0.1)} for path, of in own.items()}
        for name, own in knobs.items()
    }
    return {
        "worth": 0.02,
        "confidence": 0.95,
        "copied": dict.fromkeys(["model.kernel_l1", "model.kernel_l2", *REST], 0.01),
        "sets": [
            {"name": name, "task": task, "columns": columns, "cases": [40, 100 * columns], "knobs": tried[name]}
            for name, (task, columns, _) in TUNED.items()
        ],
        "kinds": [
            {
                "task": task,
                "has_several": several,
                "sets": names,
                "pooled": {
                    path: ends(round(float(np.mean([knobs[name][path][0] for name in names])), 6), 0.1)
                    for path in knobs["power"]
                },
            }
            for (task, several), names in KINDS.items()
        ],
    }


@pytest.fixture(autouse=True)
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "study.json"
    path.write_text(json.dumps(study()))
    monkeypatch.setattr(other_sets, "PATH", path)


def asked(columns: int = 1, task: str = "forecast", **training: Any) -> Evidence:
    """Return evidence of data with so many input columns."""
    evidence = whole(HELPS, PLAIN)
    card = dataclasses.replace(evidence.card, features=[f"x{k}" for k in range(columns)])
    config = dataclasses.replace(evidence.config, task=task, training=TrainingConfig(**training))
    return dataclasses.replace(evidence, card=card, config=config)


def said(**changes: Any) -> str:
    (passage,) = words.about_other_sets(made(other_sets=dataclasses.replace(OTHERS, **changes)))
    return passage


def found(evidence: Evidence, setting: dict[str, Any]) -> OtherSets:
    other = beside(evidence, setting)
    assert other is not None
    return other


# ---------------------------------------------------------------------- which knobs, on which sets


def test_an_answer_that_recommends_a_knob_has_its_record_on_sets_like_these() -> None:
    answer = report.answer(whole(HELPS, PLAIN))
    assert answer.recommended == {KNOB: 0.01}
    assert answer.other_sets is not None
    effect = answer.other_sets.knobs[0].effect
    assert (effect.mean, effect.low, effect.high) == pytest.approx((math.exp(-0.1) - 1, math.exp(-0.2) - 1, 0.0))
    assert answer.other_sets == OtherSets(
        sets=["power", "roads", "shops", "tides"],
        cases=[40, 500],
        task="forecast",
        has_several=None,
        is_of_the_answer=True,
        of=4,
        knobs=[
            OnOtherSets(
                path=KNOB,
                name="kernel_l2",
                helped=3,
                helped_for_certain=2,
                harmed=1,
                harmed_for_certain=1,
                values=[0.03],
                effect=dataclasses.replace(effect, blocks=4, failed=0),
                copied=0.01,
                copied_helped=0,
                copied_harmed=4,
            )
        ],
        worth=0.02,
        confidence=0.95,
    )


def test_an_answer_that_recommends_nothing_has_the_knob_with_the_best_mean_there() -> None:
    generator = np.random.default_rng(0)
    answer = report.answer(whole(1 + 0.2 * generator.normal(size=(6, 4)), PLAIN))
    assert answer.recommended == {}
    other = answer.other_sets
    assert other is not None
    assert [knob.path for knob in other.knobs] == [KNOB]  # −0.1 beside −0.055, where the sets of one column count
    assert (other.is_of_the_answer, other.of) == (False, 4)


def test_an_improvement_that_is_certain_and_small_is_not_counted() -> None:
    (knob,) = found(asked(columns=3), {"model.kernel_l1": 0.1}).knobs
    assert (knob.helped, knob.helped_for_certain) == (2, 1)  # power for certain, roads; of the shops it is 1.9 %
    (none,) = found(asked(task="classify"), {"model.kernel_l1": 0.1}).knobs
    assert (none.helped, none.harmed, none.copied_harmed) == (0, 0, 3)


@pytest.mark.parametrize(
    ("task", "columns", "kind"),
    [
        ("forecast", 2, ("forecast", True)),
        ("forecast", 1, ("forecast", None)),
        ("classify", 1, ("classify", False)),
        ("classify", 2, (None, None)),
        ("label", 1, (None, None)),
    ],
)
def test_the_sets_are_as_much_like_the_data_as_there_are(
    task: str, columns: int, kind: tuple[str | None, bool | None]
) -> None:
    other = found(asked(columns, task), {KNOB: 0.1})
    assert (other.task, other.has_several) == kind
    assert other.sets == KINDS[kind]


def test_each_knob_of_a_setting_is_looked_up_once_whatever_its_layer() -> None:
    setting = {"model.dropout[0]": 0.2, "model.dropout[1]": 0.3, "model.hidden_size": 8, "model.kernel_l1": 0.01}
    assert [knob.path for knob in found(asked(), setting).knobs] == ["model.dropout", "model.kernel_l1"]


def test_what_the_study_did_not_try_is_not_beside_it() -> None:
    assert beside(asked(), {"training.learning_rate": 0.01}) is None
    assert beside(asked(), {"training.weight_decay": 0.1}) is None  # Adam's is another thing than AdamW's
    decay = {"training.weight_decay": 0.1, "training.optimizer": "adamw"}
    assert [knob.path for knob in found(asked(), decay).knobs] == ["training.weight_decay"]
    proximal = asked(3, proximal=True)  # an L1 as a step of its own has other strengths
    assert beside(proximal, {"model.kernel_l1": 0.3}) is None
    assert [knob.path for knob in found(proximal, {KNOB: 0.3}).knobs] == [KNOB]
    assert [knob.path for knob in found(asked(3), {}).knobs] == ["model.kernel_l1"]
    assert [knob.path for knob in found(proximal, {}).knobs] == [KNOB]


def test_networks_of_ones_own_are_not_those_of_the_study() -> None:
    assert beside(asked(task="own"), {KNOB: 0.1}) is None


def test_without_a_study_there_is_an_answer_and_no_passage() -> None:
    other_sets.PATH.with_name("none.json").write_text(json.dumps(study() | {"kinds": []}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(other_sets, "PATH", other_sets.PATH.with_name("none.json"))
        answer = report.answer(whole(HELPS, PLAIN))
    assert answer.other_sets is None
    assert answer.recommended == {KNOB: 0.01}
    assert words.about_other_sets(answer) == []
    assert "Beside other data" not in documents.as_page(made(other_sets=None), {})


# ---------------------------------------------------------------------- what is said


def test_it_has_no_say_in_the_answer() -> None:
    with_it, without = made(), made(other_sets=None)
    assert words.headline(with_it) == words.headline(without)
    (passage,) = words.about_other_sets(with_it)
    assert [sentence for sentence in words.sentences(with_it) if sentence != passage] == words.sentences(without)


def test_counts_are_said_with_what_is_certain_of_them() -> None:
    assert said() == (
        "The public study (docs/evidence.md) has 5 real sets like this (forecast, several input columns): bike, solar, "
        "traffic, walmart and wind (86 to 3,000 training cases). Tuned there, kernel_l1 lowered the loss by more than "
        "2 % in 3 of 5 (for certain in 2), at 0.003 and 0.03, and raised it by as much in 1 (for certain in 0); −12 % "
        "on average, 95 % interval −21 % to +4.0 %. At 0.01, the value that is copied, it lowered it in 4 and raised "
        "it in 0. Counts are of estimates; for certain are those whose 95 % interval leaves zero out. All this had no "
        "say in the answer."
    )


def test_a_best_of_many_is_said_to_be_one() -> None:
    assert "Of the 11 knobs tuned there, kernel_l1 has the best mean, chance included. Tuned" in said(
        is_of_the_answer=False
    )
    assert "chance" not in said()


def test_how_alike_the_sets_are_is_said() -> None:
    assert "has 5 real sets like this (forecast, one input column): bike" in said(has_several=False)
    assert "has 5 real sets of the same task (forecast), of one input column or several: bike" in said(has_several=None)
    assert "has too few real sets of this task, so here are all 5, of any task (86 to" in said(
        task=None, has_several=None
    )


def test_a_knob_that_helped_nowhere_has_no_values() -> None:
    never = dataclasses.replace(ON_OTHERS, helped=0, helped_for_certain=0, harmed=0, values=[])
    assert "by more than 2 % in 0 of 5, and raised it by as much in 0; " in said(knobs=[never])


def test_each_knob_has_its_own_record() -> None:
    other = OnOtherSets("model.dropout", "dropout", 1, 0, 4, 3, [0.1], Effect(0.05, 0.01, 0.09, 5), 0.2, 0, 4)
    passage = said(knobs=[ON_OTHERS, other])
    assert passage.index("Tuned there, kernel_l1") < passage.index("Tuned there, dropout lowered the loss by more than")
    assert "in 1 of 5 (for certain in 0), at 0.1, and raised it by as much in 4 (for certain in 3); +5.0 %" in passage


def test_the_page_has_it_under_a_heading_of_its_own() -> None:
    answer: Answer = made()
    (passage,) = words.about_other_sets(answer)
    page = html.unescape(documents.as_page(answer, {})).replace("\N{NO-BREAK SPACE}", " ")
    assert f"<h2>Beside other data</h2>\n<p>{passage}</p>" in page
    assert page.count(passage) == 1
