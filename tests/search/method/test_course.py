"""What runs next follows from what is known, and from nothing else."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstmreg.errors import ConfigError
from lstmreg.search.method import (
    BASELINE,
    Arm,
    Candidate,
    Cell,
    LogLosses,
    Plan,
    Step,
    arms_of,
    judgement,
    picks,
    steps,
)
from lstmreg.search.method.candidates import parts
from lstmreg.search.method.effects import Tables, effects

from .world import ARMS, PLAN, World, played

HELPS = {"model.kernel_l1": {0.01: -0.25, 0.1: -0.15}, "model.dropout": {0.1: -0.15, 0.3: -0.1}}


def at_hand(plan: Plan, known: LogLosses) -> list[Cell]:
    """Return what a new sitting would run first: the rest of the step at which the last one was interrupted."""
    left = ([cell for cell in step.cells if cell not in known] for step in steps(plan, known))
    return next(filter(None, left), [])


@given(seed=st.integers(0, 3), random=st.randoms(use_true_random=False))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_an_interruption_anywhere_changes_no_cell(seed: int, random: object) -> None:
    plan = Plan(ARMS[:3], blocks=4, budget=200)
    world = World(HELPS, seed=seed)
    whole, _ = played(world, plan)
    rest = LogLosses(plan.blocks)
    while wanted := at_hand(plan, rest):
        count = random.randint(len(wanted) // 3 + 1, len(wanted))  # type: ignore[attr-defined]
        for cell in random.sample(wanted, count):  # type: ignore[attr-defined]
            rest.add(cell, world.log_loss(cell))
    assert dict(rest) == dict(whole)


def test_what_is_known_beyond_the_step_at_hand_is_not_looked_at() -> None:
    """The cells of all later steps stand there already, and the first step is still the first step."""
    whole, taken = played(World(HELPS))
    first = set(taken[0].cells)
    later = LogLosses(PLAN.blocks, {cell: loss for cell, loss in whole.items() if cell not in first})
    assert set(at_hand(PLAN, later)) == first


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


@pytest.mark.parametrize("more", range(8))
def test_what_is_too_little_for_all_that_race_goes_to_the_first_of_them(more: int) -> None:
    plan = dataclasses.replace(PLAN, budget=PLAN.least_budget + more * PLAN.blocks)
    assert len(played(World(HELPS), plan)[0]) == plan.budget


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


@pytest.mark.parametrize("seed", [0, 2, 11, 14])
def test_no_ladder_grows_from_a_value_that_was_measured_to_be_no_better_than_off(seed: int) -> None:
    """Where all others help and noise is large, what looks worse is believed to help too."""
    helps = {arm.path: dict.fromkeys(map(float, arm.ladder), -0.6) for arm in ARMS[:2]}  # type: ignore[arg-type]
    plan = Plan(ARMS[:3], blocks=4, budget=300)
    _, taken = played(World(helps, seed=seed, noise=1.5, shared=0.0), plan)
    log_losses, seeds = LogLosses(plan.blocks), {BASELINE: 0}
    for step in taken:
        if step.stage == "grow":
            others = {candidate: count for candidate, count in seeds.items() if candidate != BASELINE}
            known = effects(Tables.of(log_losses, others, seeds[BASELINE]))
            for path, value in {c.candidate.values[0] for c in step.cells if c.candidate not in seeds}:
                measured = {
                    float(c.setting[path]): float(mean)
                    for c, mean in zip(known.candidates, known.means, strict=True)
                    if path in c.setting and parts(c, ARMS) == 1
                }
                edge = max(measured) if float(value) > max(measured) else min(measured)
                assert measured[edge] < math.log1p(-plan.smallest_effect), (path, value)
        for cell in step.cells:
            seeds[cell.candidate] = max(seeds.get(cell.candidate, 0), cell.seed + 1)
            log_losses.add(cell, World(helps, seed=seed, noise=1.5, shared=0.0).log_loss(cell))


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


# ---------------------------------------------------------------------- choices, and candidates that are proposed

SIZES = Arm("model.hidden_size", (16, 2, 8), kind="choice")
WITH_SIZES = Plan((SIZES, ARMS[1]), blocks=4, budget=200)


def test_a_choice_is_tried_and_found_and_asks_for_nothing_beyond() -> None:
    world = World({"model.hidden_size": {16: -0.6}}, noise=0.05, arms=WITH_SIZES.arms)
    log_losses, taken = played(world, WITH_SIZES)
    tried = {c.candidate.setting.get("model.hidden_size") for step in taken for c in step.cells}
    assert tried == {None, 16, 2, 8}
    picked = picks(log_losses, WITH_SIZES)
    assert picked is not None
    assert picked[0].overall.setting["model.hidden_size"] == 16


def test_a_ladder_that_may_not_grow_stays_as_it_is() -> None:
    fixed = dataclasses.replace(ARMS[0], may_grow=False)
    plan = Plan((fixed,), blocks=4, budget=300)
    _, taken = played(World({"model.kernel_l1": {0.1: -0.6}}, noise=0.05, arms=plan.arms), plan)
    assert {c.candidate.setting.get("model.kernel_l1") for s in taken for c in s.cells} == {None, 0.001, 0.01, 0.1}


class Proposing:
    """Proposes what is asked for, one candidate that is known, and one of them twice; and remembers its calls."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[tuple[Candidate, float]], int, int]] = []

    def __call__(self, known: object, first: int, count: int) -> list[Candidate]:
        self.asked.append((list(known), first, count))  # type: ignore[call-overload]
        fresh = [
            Candidate.of({"model.kernel_l1": 0.002 + n / 1000, "model.dropout": 0.3})
            for n in range(first, first + count)
        ]
        return [ARMS[0].at(0.01), fresh[0], *fresh][: count + 2]


PROPOSED = dataclasses.replace(PLAN, blocks=4, budget=420, trials=5, batch=2)


def proposed(world: World, log_losses: LogLosses, proposer: Proposing, stop_after: int | None = None) -> list[Step]:
    """Go through an experiment, or a part of it, from what is known."""
    taken: list[Step] = []
    for step in steps(PROPOSED, log_losses, proposer):
        taken.append(step)
        missing = [cell for cell in step.cells if cell not in log_losses]
        for cell in missing:
            if stop_after is not None and len(log_losses) >= stop_after:
                return taken
            log_losses.add(cell, world.log_loss(cell))
    return taken


def test_proposals_join_the_race_with_the_screens_seed_and_none_of_them_twice() -> None:
    proposer, known = Proposing(), LogLosses(PROPOSED.blocks)
    world = World({"model.kernel_l1": {0.004: -0.6}, "model.dropout": {0.3: -0.3}}, noise=0.2)
    taken = proposed(world, known, proposer)
    assert [(first, count) for _, first, count in proposer.asked] == [(0, 2), (2, 2), (4, 1)]
    joined = [step for step in taken if step.stage == "propose"]
    cells = [cell for step in joined for cell in step.cells]
    assert len(cells) == len(set(cells)) == 5 * PROPOSED.blocks
    assert {cell.seed for cell in cells} == {0}
    assert ARMS[0].at(0.01) not in {cell.candidate for cell in cells}
    assert len({cell for step in taken for cell in step.cells}) == sum(len(step.cells) for step in taken) == len(known)
    best = Candidate.of({"model.kernel_l1": 0.004, "model.dropout": 0.3})
    assert any(best in {cell.candidate for cell in step.cells} for step in taken if step.stage == "race")
    found = picks(known, PROPOSED)
    assert found is not None
    assert found[0].overall == best


def test_a_proposer_is_told_all_that_is_known_and_learns_from_it() -> None:
    proposer = Proposing()
    proposed(World(HELPS), LogLosses(PROPOSED.blocks), proposer)
    first, second = ({candidate for candidate, _ in known} for known, _, _ in proposer.asked[:2])
    assert {arm.at(value) for arm in ARMS for value in arm.ladder} <= first
    assert second - first == {Candidate.of({"model.kernel_l1": 0.002 + n / 1000, "model.dropout": 0.3}) for n in (0, 1)}
    effects = dict(proposer.asked[-1][0])
    assert effects[ARMS[0].at(0.01)] < effects[ARMS[0].at(0.001)]


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
def test_an_interrupted_experiment_asks_for_the_same_proposals_again(share: float) -> None:
    world, whole, asked = World(HELPS), LogLosses(PROPOSED.blocks), Proposing()
    proposed(world, whole, asked)
    rest = LogLosses(PROPOSED.blocks)
    proposed(world, rest, Proposing(), stop_after=int(share * len(whole)))
    again = Proposing()
    proposed(world, rest, again)
    assert dict(rest) == dict(whole)
    assert again.asked == asked.asked


def test_without_trials_nobody_is_asked() -> None:
    proposer, plan = Proposing(), dataclasses.replace(PROPOSED, trials=0)
    known, world = LogLosses(plan.blocks), World(HELPS)
    for step in steps(plan, known, proposer):
        for cell in step.cells:
            known.add(cell, world.log_loss(cell))
    assert proposer.asked == []


def test_proposals_leave_the_judge_what_it_needs() -> None:
    plan = dataclasses.replace(PROPOSED, budget=PROPOSED.least_budget + PROPOSED.blocks, trials=50, batch=10)
    known, world = LogLosses(plan.blocks), World(HELPS)
    for step in steps(plan, known, Proposing()):
        for cell in step.cells:
            known.add(cell, world.log_loss(cell))
    assert len(known) <= plan.budget
    assert judgement(plan, known) is not None


def test_without_a_screen_what_is_proposed_is_raced_and_judged() -> None:
    plan = dataclasses.replace(PLAN, tries_alone=False, trials=12, batch=4)
    pairs = [Candidate.of({"model.kernel_l1": 0.01 * k, "model.dropout": 0.1}) for k in range(1, 13)]
    asked: list[tuple[int, int, int]] = []

    def proposer(known, first, count):  # type: ignore[no-untyped-def]
        asked.append((len(known), first, count))
        return pairs[first : first + count]

    world = World(HELPS)
    known = LogLosses(plan.blocks)
    stages = []
    for step in steps(plan, known, proposer):
        stages.append(step.stage)
        for cell in step.cells:
            known.add(cell, world.log_loss(cell))
    assert stages[:4] == ["screen", "propose", "propose", "propose"]
    assert stages[-1] == "judge"
    assert asked == [(0, 0, 4), (4, 4, 4), (8, 8, 4)]
    assert {cell.candidate for cell in known} == {BASELINE, *pairs}
    assert judgement(plan, known) is not None


def test_where_nothing_is_tried_alone_and_nothing_proposed_nothing_is_judged() -> None:
    plan = dataclasses.replace(PLAN, tries_alone=False, trials=4)
    known = LogLosses(plan.blocks)
    stages = []
    for step in steps(plan, known, lambda known, first, count: []):
        stages.append(step.stage)
        for cell in step.cells:
            known.add(cell, 0.0)
    assert stages == ["screen"]
    assert judgement(plan, known) is None


def test_a_size_goes_up_until_it_no_longer_helps() -> None:
    path = "model.hidden_size"
    arms = (Arm(path, (10,), "size"), *ARMS[:2])
    world = World({path: {10: -0.2, 20: -0.4, 40: -0.6, 80: -0.5}}, arms=arms, noise=0.05)
    known, _ = played(world, dataclasses.replace(PLAN, arms=arms))
    assert {cell.candidate.setting[path] for cell in known if path in cell.candidate.setting} == {10, 20, 40, 80}
