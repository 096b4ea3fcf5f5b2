"""The public study: its order, that it goes on where it was, and the arithmetic of its summary, on known effects."""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from benchmarks.evidence import (
    choosing,
    comparing,
    figures,
    page,
    results,
    running,
    searches,
    sets,
    settings,
    shampoo,
    shipped,
    summary,
    tables,
)
from benchmarks.evidence.conditions import Condition, Extent, conditions, is_first
from benchmarks.evidence.measured import Measured, measured
from benchmarks.evidence.running import Portion, Sitting
from benchmarks.evidence.searches import Searched
from benchmarks.evidence.statistics import Estimate, choose, pooled
from lstmreg import ModelConfig, Network, other_sets
from lstmreg.knobs import KNOBS

BLOCKS = 8

# ---------------------------------------------------------------------- order

EXTENTS = {
    "big": Extent(cases=2000, steps=24, columns=10),
    "part": Extent(cases=500, steps=24, columns=10),
    "small": Extent(cases=90, steps=10, columns=1),
}
FAMILIES = {"big": "big", "part": "big", "small": "small"}


def test_every_condition_comes_once() -> None:
    order = conditions(EXTENTS, FAMILIES)
    wanted = {
        Condition(subject, cases, hidden)
        for subject, amounts in (("big", (100, 300, 1000, None)), ("part", (100, 300, None)), ("small", (None,)))
        for cases in amounts
        for hidden in (8, 16, 32)
    }
    assert len(order) == len(wanted)
    assert set(order) == wanted


def test_a_part_of_the_study_covers_all_families_and_then_varies_the_data_alone() -> None:
    order = conditions(EXTENTS, FAMILIES)
    assert order[:2] == [Condition("small", None, 16), Condition("big", 300, 16)]  # the cheaper first
    of_big = [c for c in order if c.subject in ("big", "part")]
    assert of_big[1:4] == [Condition("big", cases, 16) for cases in (100, 1000, None)]
    assert of_big[4] == Condition("part", 300, 16)
    rest = [EXTENTS[c.subject].cost(c) for c in of_big[5:]]
    assert rest == sorted(rest)


def test_each_set_has_one_condition_in_which_all_compare() -> None:
    order = conditions(EXTENTS, FAMILIES)
    first = [c for c in order if is_first(c, EXTENTS[c.subject].cases)]
    assert {c.subject: c.cases for c in first} == {"big": 300, "part": 300, "small": None}
    assert len(first) == 3


# ---------------------------------------------------------------------- running


def test_the_file_holds_whole_portions_and_all_of_them(tmp_path: Path) -> None:
    path = tmp_path / "there" / "evidence.jsonl.gz"
    assert results.read(path) == []
    results.add([{"a": 1}, {"a": 2}], path)
    results.add([{"a": 3}], path)
    assert results.read(path) == [{"a": 1}, {"a": 2}, {"a": 3}]


class _PowerCut(BaseException):
    pass


def test_an_interrupted_study_goes_on_and_ends_as_if_nothing_had_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ladders = {"model.kernel_l1": (0.01,), "model.dropout": (0.2,), "model.recurrent_dropout": (0.2,)}
    monkeypatch.setattr(settings, "LADDERS", ladders)
    config, task = sets.read("sunspots")
    brief = dataclasses.replace(config, training=dataclasses.replace(config.training, max_epochs=2))
    monkeypatch.setattr(sets, "read", lambda name: (brief, task))
    condition = Condition("sunspots", None, 2)
    wanted = [Portion(condition, seed, part) for part in ("alone", "together") for seed in (0, 1)]
    extents = {"sunspots": running.extent("sunspots")}
    whole, broken = tmp_path / "whole.gz", tmp_path / "broken.gz"
    Sitting(whole, None, 0).run(wanted, extents)

    really, calls = running.portion, itertools.count()

    def cut(*given: Any) -> Any:
        if next(calls) == 1:
            raise _PowerCut
        return really(*given)

    monkeypatch.setattr(running, "portion", cut)
    with pytest.raises(_PowerCut):
        Sitting(broken, None, 0).run(wanted, extents)
    assert {running.key(line) for line in results.read(broken)} == {wanted[0].key}
    Sitting(broken, None, 0).run(wanted, extents)
    assert next(calls) == 5  # the first portion was not trained again

    def numbers(path: Path) -> list[dict[str, Any]]:
        return [{k: v for k, v in line.items() if k != "seconds"} for line in results.read(path)]

    assert numbers(broken) == numbers(whole)
    of_seeds = [
        [line for line in numbers(whole) if line["seed"] == seed and "loss" in line and "part" not in line]
        for seed in (0, 1)
    ]
    # The second seed takes the rate and the pairs that the first has chosen.
    assert [line["setting"] for line in of_seeds[1]] == [
        line["setting"]
        for line in of_seeds[0]
        if line["setting"].get(running.RATE, numbers(whole)[0]["rate"]) == numbers(whole)[0]["rate"]
    ]
    assert of_seeds[0][-1]["loss"] != of_seeds[1][-1]["loss"]
    together = [line for line in numbers(whole) if line.get("part") == "together"]
    assert [line["setting"] for line in together if line["seed"] == 1 and "loss" in line] == [
        line["setting"] for line in together if line["seed"] == 0 and "loss" in line
    ]
    heads = [line for line in together if "loss" not in line]
    assert heads[0]["together"] == heads[1]["together"]
    several = sum(len(blocks) for setting, blocks in heads[0]["together"] if len(setting) > 1)
    done: list[Measured] = measured(results.read(whole))
    untried = 2 * 8 * len(settings.untried()) + 2 * several
    assert [(one.seeds, one.trainings, one.failures) for one in done] == [(2, 8 * (5 + 4) + 2 * 24 + untried, 0)]


def test_no_pair_is_judged_on_a_block_that_chose_it() -> None:
    """On even blocks one pair of knobs is good, on odd ones another: each is tried where it is bad."""
    baseline = {"blocks": list(range(BLOCKS)), "loss": [0.0] * BLOCKS}
    even, odd = ("model.dropout", "model.kernel_l2", "model.bias_l2"), ("model.kernel_l1", "model.recurrent_l2")
    singles = []
    for setting in settings.singles():
        (path,) = settings.turned(setting)
        losses = [0.3 - 0.5 * ((path in even and block % 2 == 0) or (path in odd and block % 2)) for block in range(8)]
        singles.append({"setting": setting, "loss": losses})
    found = choosing.pairs(choosing.Alone(baseline, singles))
    assert len(found) == 6
    for setting, judging in found[:3]:
        assert set(settings.turned(setting)) < set(even)
        assert judging == (1, 3, 5, 7)
    assert {judging for _, judging in found[3:]} == {(0, 2, 4, 6)}
    assert set(settings.turned(found[3][0])) == set(odd)


def test_all_knobs_together_are_chosen_by_one_half_of_the_blocks_and_all_seeds() -> None:
    """On even blocks two knobs are good and on odd ones another; one seed alone would take one more."""
    even, odd = ("model.dropout", "model.kernel_l2", settings.WEIGHT_DECAY), ("model.kernel_l1",)

    def seed(lucky: float) -> choosing.Alone:
        singles = []
        for setting in settings.singles():
            ((path, value),) = settings.turned(setting).items()
            of_blocks = [
                -0.2 * ((path in even and not b % 2) or (path in odd and b % 2)) + 0.1 * value for b in range(8)
            ]
            singles.append({"setting": setting, "loss": [x + lucky * (path == "model.bias_l2") for x in of_blocks]})
        return choosing.Alone({"blocks": list(range(8)), "loss": [0.0] * 8}, singles)

    (by_even, judged_by_odd), (by_odd, judged_by_even) = choosing.together([seed(-0.1), seed(0.3)])
    assert (judged_by_odd, judged_by_even) == ((1, 3, 5, 7), (0, 2, 4, 6))
    assert by_even == {"model.dropout": 0.05, "model.kernel_l2": 0.0001}  # and no weight decay
    assert by_odd == {"model.kernel_l1": 0.0003}
    assert "model.bias_l2" in choosing.together([seed(-0.1)])[0][0]


# ---------------------------------------------------------------------- statistics


def chosen_by_all_others(effects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the effect on each block of what all other blocks choose, and that."""
    others = effects.sum(axis=1, keepdims=True) - effects
    picks = others.argmin(axis=0)
    return effects[picks, np.arange(effects.shape[1])], picks


def test_a_choice_is_judged_without_a_bias_and_its_interval_covers() -> None:
    generator = np.random.default_rng(0)
    truth = np.array([0.0, -0.02, -0.05, -0.1, -0.05, 0.1, 0.4])
    misses, covered, flattered, covered_by_others = [], [], [], []
    for _ in range(2000):
        effects = truth[:, None] + generator.normal(0, 0.15, (7, BLOCKS)) + generator.normal(0, 0.15, BLOCKS)
        effects[0] = 0.0  # to leave the knob off
        chosen = choose(effects)
        true, estimate = truth[chosen.picks].mean(), Estimate.over(chosen.of_blocks)
        misses.append(estimate.mean - true)
        flattered.append(effects[chosen.overall].mean() - truth[chosen.overall])
        covered.append(estimate.low <= true <= estimate.high)
        of_blocks, picks = chosen_by_all_others(effects)
        other = Estimate.over(of_blocks)
        covered_by_others.append(other.low <= truth[picks].mean() <= other.high)
    assert abs(np.mean(misses)) < 0.005
    assert np.mean(flattered) < -0.02  # which is what the best mean of all blocks would claim
    assert 0.90 < np.mean(covered) < 0.97
    assert np.mean(covered_by_others) < np.mean(covered) - 0.02  # for which reason they do not judge


@pytest.mark.parametrize("between", [0.0, 0.1])
def test_intervals_over_sets_cover_the_mean_and_the_next_set(between: float) -> None:
    generator = np.random.default_rng(1)
    mean, count, held, next_held, spreads = -0.1, 11, [], [], []
    for _ in range(2000):
        variances = generator.uniform(0.0005, 0.01, count)
        true = generator.normal(mean, between, count)
        found = pooled(generator.normal(true, np.sqrt(variances)), variances)
        held.append(found.low <= mean <= found.high)
        next_held.append(found.predicted[0] <= generator.normal(mean, between) <= found.predicted[1])
        spreads.append(found.between**2)
    assert 0.93 < np.mean(held) < 0.97
    assert np.mean(next_held) > 0.90
    assert np.mean(spreads) == pytest.approx(between**2, abs=0.001)


def test_the_interval_over_sets_is_students() -> None:
    effects = [-0.31, -0.12, 0.02, -0.22, -0.05, 0.08]
    found = pooled(effects, [0.01] * 6)
    expected = stats.ttest_1samp(effects, 0.0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.between == pytest.approx(np.sqrt(np.var(effects, ddof=1) - 0.01))


def test_a_set_that_leaves_a_knob_off_does_not_outweigh_the_others() -> None:
    assert pooled([0.0, -0.2, -0.2, -0.2], [0.0, 0.01, 0.01, 0.01]).mean == pytest.approx(-0.15)


# ---------------------------------------------------------------------- summary

Effect = Callable[[str, dict[str, float]], float]


def made_up(
    effect: Effect, subjects: tuple[str, ...], noise: float = 0.02, seed: int = 0, **condition: int
) -> list[results.Line]:
    """Return lines of a condition of sets, the first unless it is said, on which every setting has a known effect."""
    generator = np.random.default_rng(seed)
    lines: list[results.Line] = []
    tasks = {"digits": "classify", "watch": "classify", "tecator": "regress"}
    for subject in subjects:
        of = {"set": subject, "cases": None, "hidden": 16, "layers": 1, "seed": 0} | condition
        head = {
            "rate": 0.01,
            "task": tasks.get(subject, "forecast"),
            "columns": 1 if subject in ("sunspots", "tecator", "arrowhead") else 3,
            "trained_on": [of["cases"] or 200] * BLOCKS,
            "judged_on": [50] * BLOCKS,
            "floors": {"mean": [0.0] * BLOCKS, "ridge": [-0.5] * BLOCKS},
            "simple_models": ["ridge"],
            "trainings": 10,
        }
        level = generator.normal(-0.2, 0.3, BLOCKS)
        rates = [({running.RATE: 0.01}, 0.0), ({running.RATE: 0.003}, 0.1)]
        singles = [(s, effect(subject, settings.turned(s))) for s in settings.singles()]
        own = [
            of
            | {
                "setting": setting,
                "blocks": list(range(BLOCKS)),
                "loss": (level + true + (generator.normal(0, noise, BLOCKS) if true else 0.0)).tolist(),
                "stopping": level.tolist(),
                "failures": 0,
            }
            for setting, true in [*rates, *singles]
        ]
        base = {"blocks": list(range(BLOCKS)), "loss": own[0]["loss"]}
        for setting, blocks in choosing.pairs(choosing.Alone(base, own[2:])):
            true = effect(subject, settings.turned(setting))
            own.append(
                of
                | {"setting": setting, "blocks": list(blocks), "loss": (level + true)[list(blocks)].tolist()}
                | {"failures": 0}
            )
        lines += [of | head, *own]
    return lines


SUBJECTS = ("digits", "watch", "tecator", "walmart", "traffic", "bike", "sunspots")


def known(subject: str, turned: dict[str, float]) -> float:
    """Kernel L1 of 0.03 is worth 20 % in the log on all but the sunspots, every other value and knob harms by 5 %."""
    return sum(
        -0.2 if (path, value) == ("model.kernel_l1", 0.03) and subject != "sunspots" else 0.05
        for path, value in turned.items()
    )


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


def with_together(
    lines: list[results.Line], effect: Effect, tied: float, chosen: dict[str, float]
) -> list[results.Line]:
    """Return lines with the second part: everything at once does the sum of its effects, tied masks something more."""
    heads = [line for line in lines if "setting" not in line]
    for head in heads:
        subject = head["set"]
        of_subject = [line for line in lines if line["set"] == subject]
        (level,) = [line["loss"] for line in of_subject if line.get("setting") == {running.RATE: 0.01}]
        of = {name: head[name] for name in ("set", "cases", "hidden", "layers", "seed")} | {"part": "together"}
        halves = [[*range(1, BLOCKS, 2)], [*range(0, BLOCKS, 2)]]
        own = [of | {"rate": 0.01, "together": [[chosen, half] for half in halves], "trainings": 7}]
        jobs = [(setting, [*range(BLOCKS)]) for setting in settings.untried()]
        for setting, blocks in [*jobs, *((chosen, half) for half in halves)]:
            true = sum(effect(subject, {path: value}) for path, value in settings.turned(setting).items())
            true += tied if settings.PER_GATE in setting else 0.0
            losses = [level[block] + true for block in blocks]
            own.append(of | {"setting": setting, "blocks": list(blocks), "loss": losses, "failures": 0})
        lines = [*lines, *own]
    return lines


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


# ---------------------------------------------------------------------- what ships with the package


def kind_of(lines: list[results.Line], folder: Path, task: str, columns: int) -> other_sets.Kind:
    """Write the table of some results, and return the sets in it that are like some data."""
    path = folder / "study.json"
    path.write_text(shipped.shipped(lines))
    found = other_sets.like(task, columns, path)
    assert found is not None
    return found


def test_the_table_that_ships_is_what_the_results_say() -> None:
    assert other_sets.PATH.read_text() == shipped.shipped(results.read())


def test_the_table_is_in_the_package() -> None:
    patterns = tomllib.loads((page.PAGE.parents[1] / "pyproject.toml").read_text())["tool"]["setuptools"]
    name = str(other_sets.PATH.relative_to(page.PAGE.parents[1] / "lstmreg"))
    assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns["package-data"]["lstmreg"])


def test_the_record_of_a_knob_counts_what_is_known_of_it(tmp_path: Path) -> None:
    """Kernel L1 helps in all three forecasts of several columns at 0.03, and its copied 0.01 harms in all."""
    kind = kind_of(made_up(known, SUBJECTS, noise=1e-6), tmp_path, "forecast", 3)
    assert [one.name for one in kind.sets] == ["bike", "traffic", "walmart"]
    assert [(one.task, one.columns, one.cases) for one in kind.sets] == [("forecast", 3, (200, 200))] * 3
    record = kind.record("model.kernel_l1")
    assert (record.helped, record.helped_for_certain, record.harmed, record.harmed_for_certain) == (3, 3, 0, 0)
    assert record.values == (0.03,)
    assert (record.copied, record.copied_helped, record.copied_harmed) == (0.01, 0, 3)
    assert record.pooled.mean == pytest.approx(-0.2, abs=1e-4)
    assert kind.best(kind.pooled) == "model.kernel_l1"
    assert kind.sure() == ["model.kernel_l1"]
    off = kind.record("model.dropout")  # nothing is chosen where all values harm
    assert (off.helped, off.harmed, off.values, off.pooled.mean) == (0, 0, (), 0.0)


def test_an_estimate_is_certain_only_where_its_interval_leaves_zero_out(tmp_path: Path) -> None:
    kind = kind_of(made_up(known, SUBJECTS, noise=0.4), tmp_path, "forecast", 3)
    found = [kind.record(path) for path in settings.LADDERS]
    assert sum(record.helped for record in found) > sum(record.helped_for_certain for record in found)
    assert sum(record.harmed for record in found) > sum(record.harmed_for_certain for record in found)
    for record in found:
        own = [one.knobs[record.path].tuned for one in kind.sets]
        assert record.helped == sum(np.exp(change.mean) < 0.98 for change in own)
        assert record.helped_for_certain == sum(np.exp(change.mean) < 0.98 and change.high < 0 for change in own)


def test_of_the_shipped_sets_the_counts_are_those_of_the_summary() -> None:
    for task, columns in (("forecast", 3), ("forecast", 1), ("classify", 1), ("label", 5)):
        kind = other_sets.like(task, columns)
        assert kind is not None
        names = {one.name for one in kind.sets}
        compared = comparing.compared(measured(results.read()))
        own = [one for one in compared if sets.SUBJECTS[one.condition.subject].family in names]
        for path in settings.LADDERS:
            there, tuned = kind.record(path), comparing.tuned(own, path)
            assert (there.helped, there.harmed) == (tuned.helped, tuned.harmed)
            ends = (there.pooled.mean, there.pooled.low, there.pooled.high)
            assert ends == pytest.approx((tuned.pooled.mean, tuned.pooled.low, tuned.pooled.high), abs=1e-4)


@pytest.mark.parametrize(
    ("task", "columns", "kind"),
    [
        ("forecast", 3, ("forecast", True)),
        ("forecast", 1, ("forecast", None)),  # of one column there are the sunspots alone
        ("classify", 3, ("classify", None)),  # two have several columns, one has not
        ("regress", 1, (None, None)),
        ("label", 9, (None, None)),
    ],
)
def test_sets_are_like_data_as_narrowly_as_there_are_three(
    task: str, columns: int, kind: tuple[str | None, bool | None], tmp_path: Path
) -> None:
    subjects = (*SUBJECTS, "appliances", "appliances-2", "appliances-3", "arrowhead")
    lines = made_up(known, subjects)
    for line in lines:
        if line["set"] == "arrowhead" and "task" in line:
            line["task"] = "classify"
    found = kind_of(lines, tmp_path, task, columns)
    assert (found.task, found.has_several) == kind
    assert len(found.sets) == len({one.name for one in found.sets}) >= 3


def test_of_too_few_sets_the_table_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    path.write_text(shipped.shipped(made_up(known, ("digits", "watch"))))
    assert other_sets.like("classify", 3, path) is None


# ---------------------------------------------------------------------- the published experiment


def test_the_sales_are_the_published_ones() -> None:
    """Of which the tutorials give the mean, the deviation, and persistence's RMSE on the last year."""
    assert shampoo.SALES.mean() == pytest.approx(312.6)
    assert shampoo.SALES.std(ddof=1) == pytest.approx(148.937164)
    assert np.sqrt((np.diff(shampoo.SALES)[-12:] ** 2).mean()) == pytest.approx(136.761, abs=0.001)


def test_a_month_is_predicted_from_the_months_before_it_alone() -> None:
    months = shampoo.Months(shampoo.SALES)
    network = Network(ModelConfig(hidden_size=shampoo.UNITS, stateful=True), 1, 1)
    before = months.squared_errors(network)
    changed = shampoo.SALES.copy()
    changed[-1] += 50.0  # the last month is an input of none
    after = shampoo.Months(changed).squared_errors(network)
    assert np.array_equal(before[:-1], after[:-1])
    assert before[-1] != after[-1]


def test_the_training_months_are_five_batches_in_order_of_time() -> None:
    months = shampoo.Months(shampoo.SALES)
    batches = months.batches()
    assert [x.shape for x, _ in batches] == [(4, 1, 1)] * 5
    assert torch.cat([x for x, _ in batches]).abs().max() <= 1 + 1e-6
    differences = np.diff(shampoo.SALES)
    y = torch.cat([y for _, y in batches])[:, 0].double().numpy()
    assert (y + 1) / 2 * (months.high[1] - months.low[1]) + months.low[1] == pytest.approx(differences[3:23], abs=1e-3)


def test_an_interval_over_months_covers_where_one_over_seeds_does_not() -> None:
    """Thirty networks that agree on twelve months say nothing of the next twelve."""
    generator = np.random.default_rng(2)
    over_months, over_seeds = [], []
    for _ in range(1000):
        level = generator.gamma(2.0, 1.0, 12)
        effect = np.exp(generator.normal(0.0, 0.3, 12)) / np.exp(0.045)  # of mean 1: there is none
        baseline = level * np.exp(generator.normal(0, 0.05, (30, 12)))
        own = level * effect * np.exp(generator.normal(0, 0.05, (30, 12)))
        months = shampoo.over_time(own.mean(axis=0), baseline.mean(axis=0))
        seeds = shampoo.over_seeds(own.mean(axis=1), baseline.mean(axis=1))
        over_months.append(months.low <= 0 <= months.high)
        over_seeds.append(seeds.low <= 0 <= seeds.high)
    assert 0.88 < np.mean(over_months) < 0.97
    assert np.mean(over_seeds) < 0.3
