"""What runs next follows from what is known, and from nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstmreg.errors import ConfigError
from lstmreg.search.method import BASELINE, Arm, Candidate, LogLosses, Plan, arms_of, judgement, next_cells, picks
from lstmreg.search.method.candidates import parts

from .world import ARMS, PLAN, World, played

HELPS = {"model.kernel_l1": {0.01: -0.25, 0.1: -0.15}, "model.dropout": {0.1: -0.15, 0.3: -0.1}}


@given(seed=st.integers(0, 3), random=st.randoms(use_true_random=False))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_an_interruption_anywhere_changes_no_cell(seed: int, random: object) -> None:
    plan = Plan(ARMS[:3], blocks=4, budget=200)
    world = World(HELPS, seed=seed)
    whole, _ = played(world, plan)
    rest = LogLosses(plan.blocks)
    while wanted := next_cells(plan, rest):
        count = random.randint(len(wanted) // 3 + 1, len(wanted))  # type: ignore[attr-defined]
        for cell in random.sample(wanted, count):  # type: ignore[attr-defined]
            rest.add(cell, world.log_loss(cell))
    assert dict(rest) == dict(whole)


def test_what_is_known_beyond_the_step_at_hand_is_not_looked_at() -> None:
    """The cells of all later steps stand there already, and the first step is still the first step."""
    whole, taken = played(World(HELPS))
    first = set(taken[0].cells)
    later = LogLosses(PLAN.blocks, {cell: loss for cell, loss in whole.items() if cell not in first})
    assert set(next_cells(PLAN, later)) == first


def test_neither_blocks_nor_arms_nor_levels_have_an_order() -> None:
    world, order = World(HELPS), np.random.default_rng(0).permutation(PLAN.blocks)
    whole, _ = played(world)

    class Turned(World):
        def log_loss(self, cell):  # type: ignore[no-untyped-def]
            return 7.0 + super().log_loss(dataclasses.replace(cell, block=int(order[cell.block])))

    turned, _ = played(Turned(HELPS), dataclasses.replace(PLAN, arms=ARMS[::-1]))
    assert {dataclasses.replace(cell, block=int(order[cell.block])) for cell in turned} == set(whole)
    one, two = judgement(PLAN, whole), judgement(PLAN, turned)
    assert one is not None
    assert two is not None
    assert one.effect.mean == pytest.approx(two.effect.mean)
    assert one.picks.overall == two.picks.overall


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("budget", [PLAN.least_budget, 420, 700])
def test_no_budget_is_overdrawn_and_the_judge_always_sits(seed: int, budget: int) -> None:
    plan = dataclasses.replace(PLAN, budget=budget)
    log_losses, taken = played(World(HELPS, seed=seed, noise=0.3), plan)
    assert len(log_losses) <= budget
    assert taken[0].stage == "screen"
    assert taken[-1].stage == "judge"
    assert judgement(plan, log_losses) is not None


def test_a_budget_without_an_answer_is_refused() -> None:
    with pytest.raises(ConfigError, match=f"at least {PLAN.least_budget} trainings, got 100"):
        dataclasses.replace(PLAN, budget=100)
    with pytest.raises(ConfigError, match="at least 3 blocks"):
        dataclasses.replace(PLAN, blocks=2)
    with pytest.raises(ConfigError, match=r"baseline_seeds must be in \[2, most_seeds\], got 1 and 8"):
        dataclasses.replace(PLAN, baseline_seeds=1)
    with pytest.raises(ConfigError, match="judge_seeds must be at least 2"):
        dataclasses.replace(PLAN, judge_seeds=1)
    with pytest.raises(ConfigError, match="each of them once"):
        dataclasses.replace(PLAN, arms=(*ARMS, ARMS[0]))


def test_the_screen_pairs_every_value_with_the_baseline() -> None:
    _, taken = played(World())
    cells = taken[0].cells
    assert {(c.block, c.seed) for c in cells if c.candidate == BASELINE} == {(b, s) for b in range(6) for s in range(3)}
    values = {arm.at(value) for arm in ARMS for value in arm.ladder}
    assert {c.candidate for c in cells} - {BASELINE} == values
    assert all(c.seed == 0 for c in cells if c.candidate != BASELINE)


def test_the_judges_seeds_were_never_seen() -> None:
    log_losses, taken = played(World(HELPS))
    choosing = {c.seed for step in taken if step.stage != "judge" for c in step.cells}
    judging = [c for step in taken if step.stage == "judge" for c in step.cells]
    assert max(choosing) < PLAN.most_seeds <= min(c.seed for c in judging)
    picked = picks(log_losses, PLAN)
    assert picked is not None
    assert picked[1] is not None
    for block in range(PLAN.blocks):
        for side in (BASELINE, picked[0].of_blocks[block], picked[1].of_blocks[block]):
            seeds = [c.seed for c in judging if c.block == block and c.candidate == side]
            assert len(seeds) >= PLAN.judge_seeds


def test_the_baseline_keeps_pace_and_nobody_has_too_many_seeds() -> None:
    known: dict[Candidate, int] = {}
    for step in played(World(HELPS), dataclasses.replace(PLAN, budget=900))[1]:
        if step.stage != "judge":
            for cell in step.cells:
                known[cell.candidate] = max(known.get(cell.candidate, 0), cell.seed + 1)
            assert max(known.values()) == known[BASELINE] <= PLAN.most_seeds


def test_a_ladder_grows_until_the_best_is_inside() -> None:
    further = {0.001: -0.02, 0.01: -0.1, 0.1: -0.3, 0.3: -0.45, 0.9: -0.6, 2.7: -0.1}
    log_losses, taken = played(World({"model.kernel_l1": further}, noise=0.05))
    grown = [c.candidate.setting.get("model.kernel_l1") for s in taken if s.stage == "grow" for c in s.cells[::6]]
    assert [value for value in grown if value is not None] == [0.3, 0.9, 2.7]
    picked = picks(log_losses, PLAN)
    assert picked is not None
    assert picked[0].overall.setting["model.kernel_l1"] == 0.9


def test_a_ladder_grows_downwards_too_and_no_farther_than_it_may() -> None:
    weaker = {0.001: -0.3, 0.000333: -0.4, 0.000111: -0.5, 3.7e-05: -0.6, 1.23e-05: -0.7}
    taken = played(World({"model.kernel_l1": weaker}, noise=0.05), dataclasses.replace(PLAN, budget=900))[1]
    tried = {c.candidate.setting.get("model.kernel_l1") for step in taken for c in step.cells}
    assert {0.000333, 0.000111, 3.7e-05} <= tried
    assert 1.23e-05 not in tried


def test_knobs_that_help_together_are_found_together() -> None:
    helps = {"model.kernel_l1": {0.01: -0.3}, "model.dropout": {0.3: -0.3}}
    log_losses, taken = played(World(helps, noise=0.1), dataclasses.replace(PLAN, budget=600))
    assert "combine" in {step.stage for step in taken}
    picked = picks(log_losses, PLAN)
    assert picked is not None
    assert {arm.path for arm in arms_of(picked[0].overall, ARMS)} >= {"model.kernel_l1", "model.dropout"}


def test_a_combination_is_picked_only_with_as_many_seeds_as_the_best_single() -> None:
    log_losses, taken = played(World({"model.kernel_l1": {0.01: -0.3}}, noise=0.3))
    counts: dict[Candidate, set[int]] = {}
    for cell in (c for step in taken if step.stage != "judge" for c in step.cells):
        counts.setdefault(cell.candidate, set()).add(cell.seed)
    picked = picks(log_losses, PLAN)
    assert picked is not None
    for pick in picked[0].of_blocks:
        if parts(pick, ARMS) > 1:
            assert len(counts[pick]) >= 2


def test_it_ends_after_the_screen_where_nothing_can_be_worth_having() -> None:
    harms = {arm.path: dict.fromkeys(arm.ladder, 0.4) for arm in ARMS}
    log_losses, taken = played(World(harms, noise=0.02, between_blocks=0.01))
    assert [step.stage for step in taken] == ["screen"]
    assert judgement(PLAN, log_losses) is None


def test_a_candidate_that_fails_is_left_behind() -> None:
    class Failing(World):
        def log_loss(self, cell):  # type: ignore[no-untyped-def]
            fails = cell.candidate == ARMS[0].at(0.1) and cell.block % 2
            return float("nan") if fails else super().log_loss(cell)

    log_losses, _ = played(Failing({"model.kernel_l1": {0.1: -0.5}}, noise=0.05))
    picked = picks(log_losses, PLAN)
    assert picked is not None
    assert ARMS[0].at(0.1) not in {picked[0].overall, *picked[0].of_blocks}


def test_one_arm_of_one_value_is_an_experiment() -> None:
    plan = Plan((Arm("model.dropout", (0.3,), kind="rate"),), blocks=3, budget=200)
    log_losses, _ = played(World({"model.dropout": {0.3: -0.5}}, noise=0.05, arms=plan.arms), plan)
    found = judgement(plan, log_losses)
    assert found is not None
    assert found.is_recommended
    assert found.rivals is None
