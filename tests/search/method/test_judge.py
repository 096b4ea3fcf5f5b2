"""The judge by hand, and every reason for which it does not recommend."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from lstmreg.search.method import BASELINE, Arm, Candidate, Cell, Interval, LogLosses, Plan, Stability, judgement, picks

from .world import ARMS, PLAN, World, played

L1, L2 = Arm("model.kernel_l1", (0.01, 0.1), place="kernel"), Arm("model.kernel_l2", (0.01,), place="kernel")
DECAY = Arm("training.weight_decay", (0.1,), is_rival=True)
SMALL = Plan((L1, L2, DECAY), blocks=4, budget=500, baseline_seeds=2, judge_seeds=3)
EFFECTS = {L1.at(0.01): -0.1, L1.at(0.1): -0.4, L2.at(0.01): 0.0, DECAY.at(0.1): -0.2}


def made(effects: dict[Candidate, float] = EFFECTS, noise: float = 0.01) -> LogLosses:
    """Everything with two choosing seeds, and everything with three fresh ones, which is more than the judge needs."""
    random, known = np.random.default_rng(0), LogLosses(4)
    for candidate, effect in {BASELINE: 0.0, **effects}.items():
        for block in range(4):
            for seed in (0, 1, 8, 9, 10):
                known.add(Cell(candidate, block, seed), block + effect + noise * random.normal())
    return known


def test_an_effect_is_the_mean_of_pairs_on_each_block_and_its_interval_students() -> None:
    known = made()
    found = judgement(SMALL, known)
    assert found is not None
    best = L1.at(0.1)
    assert found.picks.of_blocks == (best,) * 4

    def means(candidate: Candidate) -> np.ndarray:
        return np.array([np.mean([known[Cell(candidate, b, s)] for s in (8, 9, 10)]) for b in range(4)])

    for interval, side in [(found.effect, best), (found.rival_effect, DECAY.at(0.1))]:
        by_hand = Interval.over(means(side) - means(BASELINE), 0.97)
        assert interval is not None
        assert (interval.mean, interval.low, interval.high) == pytest.approx((by_hand.mean, by_hand.low, by_hand.high))
    assert found.beyond_rival is not None
    assert found.beyond_rival.mean == pytest.approx((means(best) - means(DECAY.at(0.1))).mean())
    assert found.is_recommended
    assert (found.seeds, found.agreed) == (3, "value")


def test_the_seeds_that_chose_have_no_say() -> None:
    known, other = made(), LogLosses(4)
    for cell, loss in known.items():
        other.add(cell, loss - (0.01 if cell.seed < 8 and cell.candidate == L1.at(0.1) else 0.0))
    one, two = judgement(SMALL, known), judgement(SMALL, other)
    assert one is not None
    assert two is not None
    assert one.effect == two.effect


def test_before_the_judge_has_run_there_is_no_judgement() -> None:
    early = LogLosses(4, {cell: loss for cell, loss in made().items() if cell.seed < 10})
    assert judgement(SMALL, early) is None
    for missing in (Cell(BASELINE, 3, 10), Cell(L1.at(0.1), 0, 8), Cell(DECAY.at(0.1), 2, 9)):
        early = LogLosses(4, {cell: loss for cell, loss in made().items() if cell != missing})
        assert judgement(SMALL, early) is None


def test_a_floor_must_be_beaten() -> None:
    known = made()
    easy, hard = [b + 0.1 for b in range(4)], [b - 0.5 for b in range(4)]
    beats, loses = judgement(SMALL, known, easy), judgement(SMALL, known, hard)
    assert beats is not None
    assert loses is not None
    assert beats.is_recommended
    assert beats.against_floor is not None
    assert beats.against_floor.mean == pytest.approx(-0.5, abs=0.02)
    assert beats.baseline_against_floor is not None
    assert beats.baseline_against_floor.mean == pytest.approx(-0.1, abs=0.02)
    assert loses.against == ("floor",)
    with pytest.raises(ValueError, match="each of 4 blocks, got 3"):
        judgement(SMALL, known, easy[:3])


def test_an_effect_that_is_certain_and_tiny_is_not_worth_having() -> None:
    found = judgement(SMALL, made(dict.fromkeys(EFFECTS, 0.0) | {L1.at(0.1): -0.012}, noise=1e-4))
    assert found is not None
    assert found.against == ("smallest effect",)


def test_an_effect_that_is_not_certain_is_not_recommended() -> None:
    found = judgement(SMALL, made(dict.fromkeys(EFFECTS, 0.0), noise=0.5))
    assert found is not None
    assert "interval" in found.against
    assert found.resolution.half_width == pytest.approx(found.effect.half_width, rel=0.01)


def test_who_fails_more_often_than_the_baseline_is_not_recommended() -> None:
    """What is left of it looks far better, and is not all of it."""
    known = made(EFFECTS | {L1.at(0.1): -1.5})
    failing = LogLosses(4, {c: None if (c.candidate, c.seed) == (L1.at(0.1), 9) else x for c, x in known.items()})
    found = judgement(SMALL, failing)
    assert found is not None
    assert found.failures == 4
    assert found.against == ("failures",)
    assert found.effect.mean == pytest.approx((-1.5 * 2 + math.log(2)) / 3, abs=0.02)
    both = LogLosses(4, {c: None if (c.candidate, c.seed) == (BASELINE, 8) else x for c, x in failing.items()})
    as_often = judgement(SMALL, both)
    assert as_often is not None
    assert as_often.is_recommended


def test_a_failure_of_the_pick_counts_as_twice_the_loss() -> None:
    known = LogLosses(4, {c: None if c == Cell(L1.at(0.1), 2, 9) else x for c, x in made(noise=0.0).items()})
    found = judgement(SMALL, known)
    assert found is not None
    assert found.effect.mean == pytest.approx((-0.4 * 11 + math.log(2)) / 12)


def test_agreement_is_on_the_value_or_the_knob_or_the_place() -> None:
    one, two, other, decay = L1.at(0.01), L1.at(0.1), L2.at(0.01), DECAY.at(0.1)
    arms = SMALL.arms
    assert Stability.of(one, [one, two, other, decay], arms) == Stability(0.25, 0.5, 0.75)
    assert Stability.of(one, [one] * 4, arms) == Stability(1, 1, 1)


def test_a_pick_on_which_nothing_agrees_is_not_recommended() -> None:
    """On each block a knob of its own fails to help, so that the other blocks pick just that one."""
    arms = tuple(Arm(f"model.k{n}", (0.1,), place=f"place {n}") for n in range(4))
    plan = dataclasses.replace(SMALL, arms=arms)
    random, known = np.random.default_rng(0), LogLosses(4)
    for n, candidate in enumerate([BASELINE, *(arm.at(0.1) for arm in arms)]):
        for block in range(4):
            for seed in (0, 1, 8, 9, 10):
                effect = 0.0 if n == 0 else -0.5 + (0.4 if n - 1 == block else 0.0)
                known.add(Cell(candidate, block, seed), effect + 0.001 * n + 0.001 * random.normal())
    found = judgement(plan, known)
    assert found is not None
    assert found.picks.of_blocks == tuple(arm.at(0.1) for arm in arms)
    assert found.picks.stability == Stability(0.25, 0.25, 0.25)
    assert found.agreed == "nothing"
    assert "unstable" in found.against


@pytest.mark.parametrize("seed", range(3))
def test_picks_of_a_block_do_not_know_it(seed: int) -> None:
    log_losses, _ = played(World({"model.kernel_l1": {0.01: -0.2}}, seed=seed))
    turned = LogLosses(PLAN.blocks)
    for cell, loss in log_losses.items():
        turned.add(
            cell, loss + (5.0 * (cell.candidate != BASELINE) - 3.0 * len(cell.candidate.key)) * (cell.block == 2)
        )
    one, two = picks(log_losses, PLAN), picks(turned, PLAN)
    assert one is not None
    assert two is not None
    assert one[0].of_blocks[2] == two[0].of_blocks[2]


def test_recommendations_are_rarely_false_and_find_what_is_there() -> None:
    """Forty worlds in which nothing helps, and as many in which a knob lowers the loss by a quarter."""
    nothing = [judgement(PLAN, played(World(seed=seed))[0]) for seed in range(40)]
    assert sum(found is not None and found.is_recommended for found in nothing) <= 4
    something = {ARMS[0].path: {0.001: -0.1, 0.01: -0.29, 0.1: -0.15}}
    helped = [judgement(PLAN, played(World(something, seed=seed))[0]) for seed in range(40)]
    assert sum(found is not None and found.is_recommended for found in helped) >= 30
    covered = [
        f.effect.low <= np.mean([World(something).effect(p) for p in f.picks.of_blocks]) <= f.effect.high
        for f in helped
        if f
    ]
    assert sum(covered) >= 35
