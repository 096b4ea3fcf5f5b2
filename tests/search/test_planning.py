"""How much a search does is measured before it starts, and how long the rest will take is told."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lstmreg.config import AMOUNTS, PLANNED, Amount, Config, SearchConfig
from lstmreg.search import explaining, planning
from lstmreg.search.records import Record, Replicate
from lstmreg.tasks import read_task
from tests.search.made_up import gave
from tests.tiny import tiny_config, write_series


def open_config(folder: Path, **search: object) -> Config:
    """A configuration that leaves open how much is done."""
    return tiny_config(folder, **dict.fromkeys(PLANNED) | search)


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long a step takes; nothing is measured."""
    seconds = [1e-9]
    monkeypatch.setattr(planning, "seconds_a_step", lambda config, task: seconds[0])
    return seconds


@pytest.mark.parametrize(("effort", "limit"), [("quick", 60), ("default", 300), ("thorough", math.inf)])
def test_a_search_is_the_largest_that_its_effort_allows(
    tmp_path: Path, step: list[float], effort: str, limit: float
) -> None:
    write_series(tmp_path / "waves.csv", rows=1500)
    config = open_config(tmp_path, effort=effort)
    task = read_task(config)
    chosen = []
    for seconds in (1e-9, 1e-5, 1e-4, 1e-3, 1e-2, 1e9):
        step[0] = seconds
        planner = planning.Planner(config, task)
        fitting = [a for a in AMOUNTS if planner.seconds(a) <= limit]
        chosen.append(planner.choose().amount)
        if fitting:
            assert chosen[-1] == fitting[-1]
            assert planner.choose().cases is None
    assert chosen[0] == AMOUNTS[-1]
    assert chosen[-1] == (AMOUNTS[-1] if effort == "thorough" else AMOUNTS[0])


@pytest.mark.parametrize("effort", ["quick", "default"])
def test_where_not_even_the_least_ends_in_time_each_network_trains_on_fewer_cases(
    tmp_path: Path, step: list[float], effort: str
) -> None:
    write_series(tmp_path / "waves.csv", rows=3000)
    config = open_config(tmp_path, effort=effort)
    task, limit = read_task(config), {"quick": 60, "default": 300}[effort]

    def planned(budget: float) -> tuple[planning.Planner, SearchConfig]:
        """Plan where the least amount of all cases takes so many times what it may."""
        step[0] = 1.0
        step[0] = budget * limit / planning.Planner(config, task).seconds(AMOUNTS[0])
        planner = planning.Planner(config, task)
        return planner, planner.choose()

    planner, search = planned(0.99)
    assert search.cases is None
    planner, search = planned(1.5)
    assert 300 <= search.cases < 1000
    assert search.amount == AMOUNTS[1]
    count = sum(planning.trainings(dataclasses.replace(config, search=search), explaining.columns(task)).values())
    seconds = planner.seconds_a_training(search) * count
    assert seconds == pytest.approx(limit, rel=0.02)
    assert f"Each network of a block trains on {search.cases} cases" in planner.describe(search)
    _, hopeless = planned(1000.0)
    assert (hopeless.cases, hopeless.amount) == (300, AMOUNTS[0])
    given = dataclasses.replace(config, search=dataclasses.replace(config.search, cases=700))
    assert planning.Planner(given, task).choose().cases == 700  # what is given stays


def test_who_says_how_much_is_done_gets_all_cases_however_slow_the_machine(tmp_path: Path, step: list[float]) -> None:
    write_series(tmp_path / "waves.csv", rows=3000)
    config = tiny_config(tmp_path)
    step[0] = 1e9
    assert planning.Planner(config, read_task(config)).choose() == config.search


def test_fewer_cases_are_evenly_chosen_and_the_test_trains_on_all(tmp_path: Path) -> None:
    write_series(tmp_path / "waves.csv", rows=1500)
    config = tiny_config(tmp_path)
    whole = read_task(config).splits(config.search)
    thin = whole.thinned(100)
    for all_cases, fewer in zip(whole.blocks, thin.blocks, strict=True):
        assert len(fewer.train) == 100
        assert set(fewer.train) <= set(all_cases.train)
        assert fewer.train[-1] == all_cases.train[-1]  # what lies next to the block is what it is like most
        assert np.ptp(np.diff(fewer.train)) <= 1
        assert np.array_equal(fewer.judged, all_cases.judged)
        assert np.array_equal(fewer.validation, all_cases.validation)
    assert thin.final is whole.final
    assert all(a is b for a, b in zip(whole.thinned(10_000).blocks, whole.blocks, strict=True))


def test_what_is_given_stays_whatever_is_planned(tmp_path: Path, step: list[float]) -> None:
    write_series(tmp_path / "waves.csv", rows=1500)
    config = open_config(tmp_path, blocks=4, judge_seeds=3)
    amounts = planning.possible_amounts(config, read_task(config))
    assert {(amount.blocks, amount.judge_seeds) for amount in amounts} == {(4, 3)}
    assert [amount.race for amount in amounts] == sorted({amount.race for amount in amounts})
    whole = tiny_config(tmp_path)
    assert planning.possible_amounts(whole, read_task(whole)) == [whole.search.amount]


def test_blocks_are_as_many_as_are_long_enough_to_judge_on(tmp_path: Path, step: list[float]) -> None:
    write_series(tmp_path / "waves.csv", rows=200)
    config = open_config(tmp_path, effort="thorough")
    task = read_task(config)
    chosen = planning.Planner(config, task).choose().amount
    most = planning.most_blocks(config, task)

    def shortest(blocks: int) -> int:
        splits = task.splits(dataclasses.replace(config.search, blocks=blocks)).blocks
        return min(min(len(split.validation), len(split.judged)) for split in splits)

    assert chosen.blocks == most < AMOUNTS[-1].blocks
    assert shortest(most) >= 12 > shortest(most + 1)
    assert chosen.race == AMOUNTS[-1].race


def test_few_rows_have_the_least_blocks_all_the_same(tmp_path: Path, step: list[float]) -> None:
    write_series(tmp_path / "waves.csv", rows=80)
    config = open_config(tmp_path)
    task = read_task(config)
    assert planning.most_blocks(config, task) == 0
    assert {amount.blocks for amount in planning.possible_amounts(config, task)} == {3}


def test_the_plan_says_what_it_does_how_long_it_takes_and_what_else_there_is(tmp_path: Path, step: list[float]) -> None:
    write_series(tmp_path / "waves.csv", rows=900)
    config = open_config(tmp_path)
    step[0] = 1e-3
    planner = planning.Planner(config, read_task(config))
    amount = Amount(blocks=3, race=4, judge_seeds=4, test_seeds=3)
    said = planner.describe(config.search.planned(amount))
    trainings = 2 * 3 * 3 + 3 * (6 + 4 + 3 * 4) + 3 * 3
    trainings += 3 * 4  # those that explain are at most 15 % of these, on 3 blocks
    assert said.startswith(f"The plan: up to {trainings} trainings, about ")
    assert "4 settings with 6 values are tried on 3 blocks" in said
    assert "judged with 4 seeds" in said
    more = re.search(r"With --search\.effort=thorough up to (\d+), about \S+ \w+\.$", said)
    assert more is not None
    assert int(more[1]) > trainings
    # In proportion to the step, and to the trainings.
    assert planner.seconds(amount) == pytest.approx(
        planner.seconds_a_training(config.search.planned(amount)) * trainings
    )
    step[0] = 2e-3
    slower = planning.Planner(config, read_task(config))
    assert slower.seconds(amount) == pytest.approx(2 * planner.seconds(amount))


def test_where_nothing_could_be_measured_the_plan_is_the_least_and_says_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(config: object, task: object) -> float:
        raise RuntimeError("no such device")

    monkeypatch.setattr(planning, "seconds_a_step", broken)
    write_series(tmp_path / "waves.csv", rows=900)
    config = open_config(tmp_path)
    planner = planning.Planner(config, read_task(config))
    assert planner.choose().amount == AMOUNTS[0]
    assert "about" not in planner.describe(planner.choose())


@pytest.mark.parametrize(("passed", "spent"), [(3.0, 6.0), (30.0, 3.0)])
def test_a_step_is_measured_and_the_time_left_falls_as_trainings_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passed: float, spent: float
) -> None:
    config, now = tiny_config(tmp_path), [1000.0]
    # Each epoch takes three seconds, of two processors, or beside others who take nine of ten.
    by_the_clock, of_processors = itertools.count(step=passed), itertools.count(step=spent)
    clocks = {"perf_counter": lambda: next(by_the_clock), "process_time": lambda: next(of_processors)}
    monkeypatch.setattr(planning, "time", SimpleNamespace(**clocks, monotonic=lambda: now[0]))
    step = planning.seconds_a_step(config, read_task(config))
    members = min(planning._MEMBERS, planning.members_at_once(config))
    task = read_task(config)
    cases = len(task.splits(config.search).blocks[0].train)
    share = min(config.training.batch_size, cases) / config.training.batch_size
    assert step == pytest.approx(3 / members / (planning._BATCHES + planning._EVALUATION) / share)
    clock = planning.Clock(2.0)
    assert clock.seconds_left(10) == 20
    now[0] += 1.5
    assert clock.seconds_left(10) == 18.5
    clock.heard(Record(0, "screen", {}, Replicate(0, 0), gave(1.0, seconds=0.5)))
    assert clock.seconds_left(10) == 5
    now[0] += 100
    assert clock.seconds_left(10) == 0
    assert planning.Clock(None).seconds_left(10) is None
    assert planning.Clock(math.nan).seconds_left(10) is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(3, "about 10 seconds"), (71, "about 70 seconds"), (290, "about 5 minutes"), (7200, "about 2.0 hours")],
)
def test_durations_are_said_as_one_says_them(seconds: float, said: str) -> None:
    assert planning.duration(seconds) == said
