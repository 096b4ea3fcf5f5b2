"""The public study: its order, what is tried together, and that it goes on where it was."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest

from benchmarks.evidence import (
    choosing,
    results,
    running,
    sets,
    settings,
)
from benchmarks.evidence.conditions import Condition, Extent, conditions, is_first
from benchmarks.evidence.measured import Measured, measured
from benchmarks.evidence.running import Portion, Sitting

from .made_up import BLOCKS

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
