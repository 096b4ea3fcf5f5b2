"""Where the loss on the test is, against arithmetic by hand, and how it is said."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from lstmreg.config import with_settings
from lstmreg.report import words
from lstmreg.report.answers import Part, Whereabouts
from lstmreg.report.whereabouts import confusion_counts, whereabouts
from lstmreg.search import held_out
from lstmreg.search.evidence import Effect, Evidence
from tests.report import answers
from tests.report.answers import made
from tests.search.made_up import KNOB, made_up, ran


def evidence_of(truth: Any, plain: list[Any], ours: list[Any], task: str = "forecast", **card: Any) -> Evidence:
    """Return evidence of what was predicted by no regularization and by the candidate, with each seed."""
    evidence = made_up()
    count = len(truth)
    given: dict[str, Any] = {"test_truth": truth, "test_labels": [f"case {k}" for k in range(count)]}
    given = {"scales": {"target": 1.0}} | given | card
    config = dataclasses.replace(evidence.config, task=task)
    config = with_settings(config, {"training.loss": "cross_entropy" if given.get("classes") else "mse"})
    evidence = Evidence(config, dataclasses.replace(evidence.card, **given))
    for setting, sides in (({}, plain), ({KNOB: 0.01}, ours)):
        for seed, predictions in enumerate(sides):
            ran(evidence, "test", setting, 0, seed, 1.0, test_error=1.0, predictions=predictions)
    return evidence


def found_in(evidence: Evidence) -> Whereabouts:
    found = whereabouts(evidence, {KNOB: 0.01})
    assert found is not None
    return found


def test_the_worst_cases_carry_what_they_carry() -> None:
    """Of zeros: errors of 3, 1 and -2 beside many of a tenth, squared; the other seed errs alike."""
    errors = np.full((40, 1), 0.1)
    errors[[7, 20, 21], 0] = 3.0, 1.0, -2.0
    evidence = evidence_of([[0.0]] * 40, [(2 * errors).tolist()] * 2, [errors.tolist()] * 2)
    found = found_in(evidence)
    total = 9 + 1 + 4 + 37 * 0.01
    assert (found.of, found.cases, found.half) == ("candidate", 40, 1 / 40)
    assert found.worst_twentieth == pytest.approx((9 + 4) / total)  # the worst two
    assert [case.name for case in found.worst[:3]] == ["case 7", "case 21", "case 20"]
    worst = found.worst[0]
    assert worst.share == pytest.approx(9 / total)
    assert worst.loss == pytest.approx({"no regularization": 36.0, "candidate": 9.0})
    assert (worst.truth, worst.predicted) == (0.0, {"no regularization": 6.0, "candidate": 3.0})
    assert (worst.step, worst.target, worst.likelihood) == (None, None, {})
    assert (found.stretch, found.stretch_share) == (["case 7", "case 7"], 1 / 40)


def test_the_shortest_stretch_with_half_of_the_loss_is_the_shortest() -> None:
    for seed in range(20):
        losses = np.random.default_rng(seed).exponential(size=17)
        errors = np.sqrt(losses)[:, None].tolist()
        found = found_in(evidence_of([[0.0]] * 17, [errors], [errors]))
        lengths = [b - a + 1 for a in range(17) for b in range(a, 17) if losses[a : b + 1].sum() >= losses.sum() / 2]
        assert found.stretch_share == min(lengths) / 17
        first, last = (int(name.split()[1]) for name in found.stretch)
        assert losses[first : last + 1].sum() >= losses.sum() / 2


def test_what_is_predicted_is_a_mean_over_seeds_at_the_worst_step_of_the_worst_target() -> None:
    """Two steps of two targets, of which the second counts in tens."""
    truth = np.zeros((30, 4))
    one, two = truth + 0.1, truth + 0.1
    one[4], two[4] = [0.0, 5.0, 1.0, 40.0], [0.0, 5.0, 1.0, 60.0]
    scales = {"target": [[1.0, 10.0]], "group": [0] * 30, "names": ["heat", "light"]}
    evidence = evidence_of(
        truth.tolist(), [truth.tolist()] * 2, [one.tolist(), two.tolist()], scales=scales, targets=["heat", "light"]
    )
    found = found_in(evidence)
    worst = found.worst[0]
    assert (worst.name, worst.step, worst.target) == ("case 4", 2, "light")
    assert worst.predicted == {"no regularization": 0.0, "candidate": 50.0}
    # The mean over the seeds of (0.5² + 1² + 4²) / 4 and (0.5² + 1² + 6²) / 4, in scaled units.
    assert worst.loss["candidate"] == pytest.approx((0.25 + 1 + (16 + 36) / 2) / 4)
    assert {part.name: part.loss["candidate"] for part in found.parts["target"]} == pytest.approx(
        {
            "light": ((0.25 + 26) / 2 + 29 * 0.01**2) / 30,
            "heat": (1 / 2 + 29 * 0.1**2) / 30,
        }
    )
    for kind in ("target", "step"):
        assert sum(part.share for part in found.parts[kind]) == pytest.approx(1)
    assert [part.name for part in found.parts["step"]] == ["1", "2"]


def test_an_older_run_of_which_less_is_known_is_told_as_far_as_it_is() -> None:
    """Its card has no names of targets; of a forecast the scales have them, and of a regression nothing."""
    truth, errors = np.zeros((30, 4)), np.random.default_rng(0).normal(size=(30, 4))
    scales = {"target": [[1.0, 10.0]], "group": [0] * 30, "names": ["heat", "light"]}
    found = found_in(evidence_of(truth.tolist(), [errors.tolist()] * 2, [errors.tolist()] * 2, scales=scales))
    assert {kind: len(parts) for kind, parts in found.parts.items()} == {"target": 2, "step": 2}
    regress = evidence_of(
        truth.tolist(), [errors.tolist()] * 2, [errors.tolist()] * 2, "regress", scales={"targets": [1.0] * 4}
    )
    worst = found_in(regress).worst[0]
    assert (worst.step, worst.target, worst.truth, worst.predicted) == (None, None, None, {})


def test_a_groups_effect_is_that_of_its_cases_alone() -> None:
    generator = np.random.default_rng(1)
    errors = generator.normal(size=(2, 260, 1))
    groups = ["north"] * 100 + ["south"] * 160
    factors = np.where(np.array(groups) == "north", 0.5, 2.0)[:, None]
    zeros = [[0.0]] * 260
    ours = [(each * factors).tolist() for each in errors]
    found = found_in(evidence_of(zeros, [each.tolist() for each in errors], ours, test_groups=groups))
    assert [(part.name, part.count) for part in found.parts["group"]] == [("south", 160), ("north", 100)]
    assert found.stretch == []  # the cases of one group follow those of another
    effects = {part.name: part.effect for part in found.parts["group"]}
    assert effects["north"] is not None
    assert effects["north"].mean == pytest.approx(0.5**2 - 1)
    assert math.isfinite(effects["north"].high)
    # The same cases by themselves are a test of their own.
    alone = evidence_of(zeros[100:], [each[100:].tolist() for each in errors], [each[100:] for each in ours])
    assert effects["south"] == held_out.effect(alone, {KNOB: 0.01}, {})
    losses = (np.square(errors * factors)).mean(axis=0)[:, 0]
    assert found.parts["group"][0].share == pytest.approx(losses[100:].sum() / losses.sum())


def test_of_few_cases_there_is_an_effect_and_no_interval() -> None:
    errors = np.random.default_rng(1).normal(size=(110, 1))
    groups = ["few"] * 12 + ["many"] * 98
    evidence = evidence_of([[0.0]] * 110, [errors.tolist()] * 2, [(0.5 * errors).tolist()] * 2, test_groups=groups)
    for part in found_in(evidence).parts["group"]:
        assert part.effect is not None
        assert part.effect.mean == pytest.approx(-0.75)
        assert (part.effect.low, part.effect.high) == (-math.inf, math.inf)


def test_classes_have_their_loss_recall_and_precision() -> None:
    """Six sequences: of a, three are there and two are found; twice b is taken for a."""
    truth = [[0.0], [0.0], [0.0], [1.0], [1.0], [1.0]]
    sure = [[0.8, 0.2], [0.6, 0.4], [0.1, 0.9], [0.7, 0.3], [0.6, 0.4], [0.3, 0.7]]
    classes = {"classes": ["a", "b"], "scales": {"classes": ["a", "b"], "counts": [3, 3]}}
    found = found_in(evidence_of(truth, [[[0.5, 0.5]] * 6] * 2, [sure] * 2, "classify", **classes))
    parts = {part.name: part for part in found.parts["class"]}
    assert (parts["a"].recall["candidate"], parts["a"].precision["candidate"]) == (2 / 3, 2 / 4)
    assert (parts["b"].recall["candidate"], parts["b"].precision["candidate"]) == (1 / 3, 1 / 2)
    assert parts["b"].recall["no regularization"] == 0  # of two that are alike the first is taken
    assert parts["a"].loss["candidate"] == pytest.approx(-np.log([0.8, 0.6, 0.1]).mean())
    assert sum(part.share for part in parts.values()) == pytest.approx(1)
    worst = found.worst[0]
    assert (worst.truth, worst.predicted["candidate"], worst.likelihood["candidate"]) == ("a", "b", 0.1)
    assert worst.step is None


def test_of_classes_at_each_step_the_worst_step_is_shown_and_steps_are_counted() -> None:
    truth = [[[0.0], [1.0], [None]], [[0.0], [0.0], [1.0]], [[None], [None], [None]]]
    none = [None, None]
    ours = [[[0.9, 0.1], [0.2, 0.8], none], [[0.5, 0.5], [0.9, 0.1], [0.95, 0.05]], [none] * 3]
    classes = {"classes": ["a", "b"], "scales": {"classes": ["a", "b"], "counts": [3, 3]}, "steps": "all"}
    found = found_in(evidence_of(truth, [ours] * 2, [ours] * 2, "label", **classes))
    assert found.cases == 2  # the third has no label
    worst = found.worst[0]
    assert (worst.name, worst.step, worst.truth, worst.predicted["candidate"]) == ("case 1", 3, "b", "a")
    parts = {part.name: part for part in found.parts["class"]}
    assert {name: part.count for name, part in parts.items()} == {"a": 3, "b": 2}
    assert parts["b"].loss["candidate"] == pytest.approx(-np.log([0.8, 0.05]).mean())
    assert parts["a"].loss["candidate"] == pytest.approx(-np.log([0.9, 0.5, 0.9]).mean())
    whole = -np.log([0.9, 0.8]).mean() - np.log([0.5, 0.9, 0.05]).mean()
    assert parts["b"].share == pytest.approx((-np.log(0.8) / 2 - np.log(0.05) / 3) / whole)


def test_where_nothing_is_lost_nothing_is_said() -> None:
    zeros = [[0.0]] * 20
    assert whereabouts(evidence_of(zeros, [zeros] * 2, [zeros] * 2), {KNOB: 0.01}) is None
    said = dataclasses.replace(made(), where=None)
    assert words.about_where(said) == words.worst_cases(said) == words.parts_tables(said) == []


def test_without_a_candidate_it_is_the_loss_of_no_regularization() -> None:
    ones = [[1.0]] * 20
    found = whereabouts(evidence_of([[0.0]] * 20, [ones] * 2, []), {})
    assert found is not None
    assert (found.of, set(found.worst[0].loss)) == ("no regularization", {"no regularization"})
    assert "no regularization" in words.about_where(answers.ruled_out())[0]


def test_a_confusion_matrix_counts_cases_or_labelled_steps() -> None:
    cases = confusion_counts(np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]), np.array([[0.0], [1.0], [0.0]]), 2)
    assert cases.tolist() == [[1, 1], [0, 1]]
    none = [np.nan, np.nan]
    steps = confusion_counts(
        np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], none]]), np.array([[[0.0], [np.nan]], [[1.0], [np.nan]]]), 2
    )
    assert steps.tolist() == [[1, 0], [1, 0]]


# ---------------------------------------------------------------------- words


def test_where_the_loss_is_is_said_in_a_sentence() -> None:
    (said,) = words.about_where(made())
    assert said == (
        "Half of the loss on the test lies in 6 % of the 240 windows; the worst 12 carry 44 %. Half of it also lies "
        "between 2016-05-08T12:00 and 2016-05-09T23:00, in 15 % of the windows. This is with kernel_l1 = 0.03."
    )
    (of_panel,) = words.about_where(answers.panel())
    assert "The group north carries 70 % of it, and has 33 % of the cases." in of_panel
    (of_classes,) = words.about_where(answers.digits())
    assert "The class 0 carries 30 % of it, and has 10 % of the cases." in of_classes


def test_the_tables_name_sides_as_the_answer_does() -> None:
    header, first, *_ = words.worst_cases(made())
    assert header == ["case", "at", "truth", "no regularization", "recommended", "share of the loss"]
    assert first == ["2016-05-09T08:00", "step 4", "410", "95", "120", "9 %"]
    header, first, *_ = words.worst_cases(answers.digits())
    assert header == ["case", "truth", "no regularization", "recommended", "share of the loss"]
    assert first == ["digit 240 (a writer)", "0", "9 (truth: 2 %)", "9 (truth: 5 %)", "12 %"]
    (by_class,) = words.parts_tables(answers.digits())
    assert by_class.rows[1] == ["0", "6", "30 %", "0.375", "0.3", "−20 %", "–", "80 % → 85 %", "70 % → 75 %"]


def with_parts(kind: str, parts: list[Part]) -> Any:
    where = made().where
    assert where is not None
    return dataclasses.replace(made(), where=dataclasses.replace(where, parts={kind: parts}))


def test_of_many_parts_those_that_carry_most_are_shown_and_the_others_are_counted() -> None:
    shares = [0.3, *[0.7 / 19] * 19]
    parts = [answers.part(f"shop {k}", 50, share, 1.0, Effect(-0.1, -0.2, 0.0, 50)) for k, share in enumerate(shares)]
    (table,) = words.parts_tables(with_parts("group", parts))
    assert [row[0] for row in table.rows[1:]] == [f"shop {k}" for k in range(12)]
    assert table.note == "8 more are left out, which carry 29 % of the loss."
    (table,) = words.parts_tables(
        with_parts("step", [dataclasses.replace(p, name=str(k)) for k, p in enumerate(parts, 1)])
    )
    assert [int(row[0]) for row in table.rows[1:]] == list(range(2, 21, 2))
    assert table.note == "Of 20 steps 10 are shown."
