"""What the study says, on known effects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.evidence import (
    choosing,
    comparing,
    figures,
    page,
    results,
    running,
    searches,
    settings,
    summary,
    tables,
)
from benchmarks.evidence.measured import measured
from benchmarks.evidence.searches import Searched
from lstmreg.knobs import KNOBS

from .made_up import BLOCKS, SUBJECTS, Effect, known, made_up, with_together


def test_the_summary_finds_the_knob_its_value_and_the_set_without_it() -> None:
    compared = comparing.compared(measured(made_up(known, SUBJECTS)))
    tuned = comparing.tuned(compared, "model.kernel_l1")
    assert (tuned.helped, tuned.helped_for_certain, len(tuned.families)) == (6, 6, 7)
    assert tuned.pooled.mean == pytest.approx(6 / 7 * -0.2, abs=0.01)
    assert comparing.best_value(compared, "model.kernel_l1") == 0.03
    assert comparing.at(compared, {"model.dropout": 0.2}).harmed == 7
    assert comparing.tuned_beyond(compared, "model.dropout", 0.2).pooled.mean == pytest.approx(-0.05, abs=0.01)
    assert [each.proposal for each in comparing.left_out(compared)] == [{"model.kernel_l1": 0.03}] * 7
    few = {each.family: each.careful for each in comparing.left_out(compared[-4:])}
    # Of three others one is unlike, so that nothing is certain; the one that is unlike sees three that agree.
    assert few == {"bike": {}, "sunspots": {"model.kernel_l1": 0.03}, "traffic": {}, "walmart": {}}
    harm = comparing.over(compared, lambda one: one.change({"model.kernel_l1": 0.03}))
    assert [f.name for f in harm.families if f.estimate.mean > 0] == ["sunspots"]
    said = "\n".join(summary.summary(made_up(known, SUBJECTS)))
    assert "`kernel_l1` has the best mean" in said
    assert "worth having in 6 of 7 sets, for certain in 6" in said


def test_kinds_of_sets_are_told_apart_where_there_are_some_of_each() -> None:
    subjects = (*SUBJECTS, "arrowhead")
    said = "\n".join(summary.summary(made_up(known, subjects, noise=1e-6)))
    of_forecasts = "forecasts from several columns (walmart, traffic, bike): +5 % (+5 to +5)"
    assert f"by kinds of sets**: {of_forecasts}; one column (tecator, sunspots, arrowhead): +5 % (+5 to +5)." in said
    assert "other questions" not in said  # of which there are two


def test_a_pair_that_adds_up_is_told_from_one_that_does_not() -> None:
    def overlapping(subject: str, turned: dict[str, float]) -> float:
        good = {("model.kernel_l1", 0.03): -0.2, ("model.dropout", 0.2): -0.2, ("model.recurrent_l2", 0.01): -0.2}
        found = [good.get(each, 0.1) for each in turned.items()]
        return min(found) if {"model.dropout", "model.kernel_l1"} <= set(turned) else sum(found)

    compared = comparing.compared(measured(made_up(overlapping, SUBJECTS, noise=1e-6)))
    effects = [effect for one in compared for effect in comparing.pair_effects(one)]
    beyond = {
        (paths, round(e.together - e.better, 3), round(e.together - e.sum, 3))
        for e in effects
        if (paths := tuple(map(settings.name, e.paths)))
    }
    assert beyond == {
        (("dropout", "kernel_l1"), 0.0, 0.2),
        (("dropout", "recurrent_l2"), -0.2, 0.0),
        (("kernel_l1", "recurrent_l2"), -0.2, 0.0),
    }


def test_all_knobs_at_once_are_told_from_the_best_one_and_tied_masks_from_those_of_each_gate() -> None:
    chosen = {"model.kernel_l1": 0.1, "model.kernel_l2": 0.1, "model.dropout": 0.3}

    def effect(subject: str, turned: dict[str, float]) -> float:
        """Each of them does a little, and so does recurrent dropout; but the copied rate of dropout harms much."""
        good = sum(-0.1 for path, value in turned.items() if chosen.get(path) == value)
        good -= 0.5 * (settings.WEIGHT_DECAY in turned)  # which is no knob
        return good + 0.3 * (turned.get("model.dropout") == 0.2) - 0.05 * ("model.recurrent_dropout" in turned)

    lines = with_together(made_up(effect, SUBJECTS, noise=0.0), effect, 0.04, chosen)
    everything = measured(lines)
    sets = comparing.with_together(comparing.compared(everything))
    assert len(sets) == len(SUBJECTS)
    assert everything[0].trainings == 17
    assert sets[0].together == pytest.approx([-0.3] * BLOCKS)
    found = {words: comparing.over(sets, of_set).pooled.mean for words, of_set in comparing.all_at_once().items()}
    assert list(found.values()) == pytest.approx([0.3 - 0.05, -0.05, -0.3])
    said = " ".join(summary.at_once(sets))
    assert "each at its best by other blocks −26 % (−26 to −26)" in said
    assert "The last turns 3.0 of the six on average" in said
    assert "and is −18 % (−18 to −18) against the best value of one knob alone" in said
    assert "tuned: −1 % (−1 to −1) against none, +4 % (+4 to +4) against a mask for each gate" in said
    assert "| 0.3 | −5 % (−5 to −5) | −1 % (−1 to −1) | +4 % (+4 to +4) |" in tables.tied_table(sets)
    # Where nothing was trained together, nothing is said.
    alone = comparing.compared(measured(made_up(effect, SUBJECTS)))
    assert list(summary.at_once(comparing.with_together(alone))) == []


def test_all_knobs_at_once_are_judged_on_blocks_that_can_be_compared_at_all() -> None:
    """The network without a knob failed on block 2: what was chosen for it, and judged there, is left out."""
    chosen = {"model.kernel_l1": 0.1, "model.dropout": 0.3}
    lines = with_together(made_up(lambda *_: -0.1, ("walmart",)), lambda *_: -0.1, 0.0, chosen)
    for line in lines:
        if line.get("setting") == {running.RATE: 0.01}:
            line["loss"] = [None if block == 2 else loss for block, loss in enumerate(line["loss"])]
    (one,) = measured(lines)
    assert [blocks for _, blocks in one.chosen_together] == [(1, 2, 4, 6), (0, 3, 5)]
    assert one.together == pytest.approx([-0.2] * 7)


def test_the_staged_size_is_the_last_that_lowers_the_loss_that_ends_trainings() -> None:
    lines: list[results.Line] = []
    falls = {"walmart": (3.0, 2.0, 1.0), "bike": (3.0, 2.0, 2.5), "traffic": (1.0, 2.0, 0.5), "sunspots": (3.0, 2.0)}
    for subject, losses in falls.items():
        for hidden, loss in zip((8, 16, 32), losses, strict=False):
            own = made_up(lambda *_: 0.0, (subject,), hidden=hidden)
            for line in own:
                if line.get("setting") == {running.RATE: 0.01}:
                    line["stopping"] = [loss] * BLOCKS
            lines += own
    everything = measured(lines)
    found = comparing.staged(everything)
    assert {one.condition.subject: one.condition.hidden for one in found} == {
        "walmart": 32,
        "bike": 16,
        "traffic": 8,
        "sunspots": 16,
    }
    assert "8 units in 1, 16 units in 2, 32 units in 1 of 4 sets" in " ".join(summary.staged_sizes(everything))


def test_ladders_of_the_others_find_the_value_that_helps_and_not_that_of_the_left_out_set() -> None:
    def effect(subject: str, turned: dict[str, float]) -> float:
        helps = {"walmart": 0.0003, "sunspots": 0.01}.get(subject, 0.3)
        return -0.3 if turned.get("model.recurrent_l1") == helps else 0.1

    sets = comparing.compared(measured(made_up(effect, SUBJECTS)))
    found = comparing.ladders_of_others(sets)
    assert found["walmart"]["model.recurrent_l1"] == (0.01, 0.3)
    assert found["sunspots"]["model.recurrent_l1"] == (0.0003, 0.3)
    of_set = comparing.best_of(sets, lambda one: {"model.recurrent_l1": (0.3,)})
    assert {each.name: round(each.estimate.mean, 1) for each in of_set.families} == {
        comparing.family(one): 0.0 if one.condition.subject in ("walmart", "sunspots") else -0.3 for one in sets
    }


def test_a_search_begins_with_values_that_the_study_has_tried() -> None:
    for path, values in comparing.begun_with().items():
        assert values == KNOBS[path].ladder


def test_a_whole_search_is_told_by_the_blocks_that_chose_and_by_the_test_that_did_not() -> None:
    def searched(subject: str, pick: float, test: float, recommends: bool, metric: str = "log loss") -> Searched:
        root = test ** (0.5 if metric == "root mean square error" else 1.0)
        line = {"set": subject, "candidate": {"model.dropout": 0.3} if pick != 1 else {}, "is_confirmed": recommends}
        losses = {"no regularization": [2.0] * 4, "pick": [2.0 * pick] * 4}
        tests = {"no regularization": {metric: 1.0}, "candidate": {metric: root}}
        return Searched.of(line | {"loss": losses, "test": tests})

    several = [
        searched("digits", 0.5, 0.8, True),
        searched("watch", 0.5, 1.25, False),
        searched("appliances", 0.64, 0.9, True, "root mean square error"),
        searched("appliances-2", 1.0, 1.0, False, "root mean square error"),
    ]
    found = comparing.searched(several)
    assert {name: np.exp(each.of_blocks) for name, each in found.items()} == pytest.approx(
        {"digits": 0.5, "watch": 0.5, "appliances": 0.8}
    )
    assert [np.exp(each.of_test) for each in found.values()] == pytest.approx([0.8, 1.25, 0.9**0.5])
    assert [np.exp(each.followed) for each in found.values()] == pytest.approx([0.8, 1.0, 0.9**0.5])
    said = " ".join(summary.whole_searches(several))
    assert "on 4 of the sets, 3 families: its picks change the loss by −42 % (" in said
    assert "It recommends its pick in 2; who follows that, and else turns no knob, has −9 % (" in said
    assert "| appliances-2 | nothing | no | 0 % (0 to 0) | 0 % |" in tables.searches_table(several)
    assert list(summary.whole_searches(several[:2])) == []
    assert searches.read(Path("nowhere.jsonl")) == []
    kept = searches.read(results.PATH.with_name(searches.NAME))
    assert {"digits", "sunspots"} < {one.subject for one in kept}
    assert not {"noise", "returns"} & {one.subject for one in kept}


def test_knobs_are_told_from_weight_decay_that_was_tuned_likewise() -> None:
    helps = {"model.activity_l2": (0.1, -0.2), settings.WEIGHT_DECAY: (0.3, -0.1)}

    def effect(subject: str, turned: dict[str, float]) -> float:
        ((path, value),) = list(turned.items())[:1]
        at, change = helps.get(path, (None, 0.0))
        return change if value == at else 0.05

    sets = comparing.compared(measured(made_up(effect, SUBJECTS, noise=0.0)))
    said = summary.beyond_weight_decay(sets, ["model.activity_l2", "model.recurrent_dropout"])
    assert "the best value of any knob −10 % (−10 to −10), `activity_l2` −10 % (−10 to −10)" in said
    assert "`recurrent_dropout` +11 % (+11 to +11)." in said


def test_of_a_pair_that_both_halves_try_the_better_one_is_chosen_on_the_other_half() -> None:
    """On even blocks the first of two knobs is good, on odd ones the second: judged, each is taken where it is bad."""
    both = {"model.kernel_l1": 0.1, "model.dropout": 0.3}
    lines = made_up(lambda *_: 0.0, ("walmart",))
    (level,) = [line["loss"] for line in lines if line.get("setting") == {running.RATE: 0.01}]
    lines = [line for line in lines if not choosing.is_pair(line)]
    for line in lines:
        for parity, path in enumerate(both):
            if line.get("setting") == {path: both[path]}:
                line["loss"] = [x - 0.5 * (block % 2 == parity) for block, x in enumerate(level)]
    of = {name: lines[0][name] for name in ("set", "cases", "hidden", "layers", "seed")}
    lines.append(of | {"setting": both, "blocks": [*range(BLOCKS)], "loss": [x - 0.3 for x in level], "failures": 0})
    (found,) = comparing.pair_effects(measured(lines)[0])
    assert (found.together, found.better, found.sum) == pytest.approx((-0.3, 0.0, -0.5))


def test_conditions_of_one_set_are_told_apart() -> None:
    lines = [*made_up(known, ("walmart",)), *made_up(known, ("walmart",), layers=2)]
    rows = tables.sets_table(measured(lines)).splitlines()[2:]
    assert [row.split(" | ")[1:4] for row in rows] == [["16", "1", "1"], ["16", "2", "1"]]


def test_less_with_fewer_cases_is_told_from_more_and_from_what_cannot_be_told() -> None:
    def times(factor: float, jitter: float = 0.0) -> Effect:
        return lambda subject, turned: (factor + jitter * (-1) ** SUBJECTS.index(subject)) * known(subject, turned)

    for few, verdict in ((times(0.5), "No, less"), (times(1.5), "Yes:"), (times(1.0, 0.3), "It cannot be told")):
        lines = made_up(known, SUBJECTS, noise=1e-6) + made_up(few, SUBJECTS, noise=1e-6, cases=100)
        (said,) = summary.amounts(measured(lines))
        assert verdict in said
        assert f"on {len(SUBJECTS)} sets" in said
    assert list(summary.amounts(measured(made_up(known, SUBJECTS)))) == []


def test_sizes_are_compared_on_the_same_sets_with_the_same_cases() -> None:
    def twice(subject: str, turned: dict[str, float]) -> float:
        return 2 * known(subject, turned)

    lines = made_up(known, SUBJECTS, noise=1e-6) + made_up(twice, SUBJECTS[:4], noise=1e-6, hidden=32)
    lines += made_up(known, SUBJECTS[:2], hidden=8) + made_up(known, SUBJECTS, hidden=64, cases=100)
    header, _, *rows = tables.sizes_table(measured(lines)).splitlines()
    cells = [dict(zip(header.split(" | "), row.split(" | "), strict=True)) for row in rows]
    assert [row["| units"] for row in cells] == ["| 16", "| 32"]  # 8 on too few sets, 64 with other cases
    assert [row["sets"] for row in cells] == ["7", "4"]
    assert cells[1]["kernel_l1"] == "−33 % (−33 to −33)"
    assert cells[1]["no knob against 16 units"].startswith("0 % (")


def test_stretches_of_one_set_count_once() -> None:
    stretches = ("appliances", "appliances-2", "appliances-3", "digits", "sunspots")
    compared = comparing.compared(measured(made_up(known, stretches)))
    found = comparing.at(compared, {"model.kernel_l1": 0.03})
    assert [family.name for family in found.families] == ["appliances", "digits", "sunspots"]
    assert found.pooled.mean == pytest.approx((-0.2 - 0.2 + 0.05) / 3, abs=0.01)


def test_what_is_made_up_is_in_no_summary() -> None:
    compared = comparing.compared(measured(made_up(known, ("noise", "digits"))))
    assert [one.condition.subject for one in compared] == ["digits"]


def test_a_training_that_failed_counts_as_worse_than_none() -> None:
    lines = made_up(known, ("digits",))
    line = next(line for line in lines if line.get("setting") == {"model.dropout": 0.2})
    line["loss"][3], line["failures"] = None, 1
    (one,) = measured(json.loads(json.dumps(lines)))
    assert one.change({"model.dropout": 0.2})[3] == pytest.approx(np.log(2))
    assert one.failures == 1


def test_with_few_sets_nothing_is_said_of_all() -> None:
    assert list(summary.summary(made_up(known, ("digits", "watch")))) == [
        "Too few sets have been measured to say anything of all."
    ]


def test_both_pictures_are_drawn(tmp_path: Path) -> None:
    figures.draw(made_up(known, SUBJECTS[:3]), tmp_path)
    knobs, doses = ((tmp_path / f"evidence-{name}.svg").read_text() for name in ("knobs", "doses"))
    assert "best of all values" in knobs
    assert all(settings.name(path) in knobs and settings.name(path) in doses for path in settings.LADDERS)


def test_the_notebook_runs_from_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(page.PAGE.parent)
    notebook = json.loads(page.PAGE.with_suffix(".ipynb").read_text())
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert len(names["sets"]) >= 3


def test_a_page_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="one part <!-- summary -->, got 0"):
        page.filled("nothing")
