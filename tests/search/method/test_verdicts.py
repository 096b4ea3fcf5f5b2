"""The table says of each knob what its bands say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lstmreg.search.method import BASELINE, Arm, Cell, LogLosses, Plan, critical_value, judgement, table

from .world import PLAN, World, played

USED, HELPS, HARMS, NOTHING, UNCLEAR = (
    Arm(f"model.{n}", (0.1, 0.3)) for n in ["used", "helps", "harms", "off", "unclear"]
)
ARMS = (USED, HELPS, HARMS, NOTHING, UNCLEAR)
FOUR = Plan(ARMS, blocks=8, budget=900)
EFFECTS = {USED: -0.5, HELPS: -0.2, HARMS: 0.3, NOTHING: 0.0, UNCLEAR: 0.0}


def made(noise: float = 0.002) -> LogLosses:
    random, known = np.random.default_rng(0), LogLosses(8)
    for candidate, effect, scatter in [
        (BASELINE, 0.0, noise),
        *((arm.at(v), EFFECTS[arm], 0.2 if arm == UNCLEAR else noise) for arm in ARMS for v in arm.ladder),
    ]:
        for block in range(8):
            for seed in (0, 1, 2, *range(8, 16)):
                known.add(Cell(candidate, block, seed), block + effect + scatter * random.normal())
    return known


def test_each_knob_has_its_verdict() -> None:
    known = made()
    rows = table(FOUR, known, judgement(FOUR, known))
    assert [row.arm for row in rows] == list(ARMS)
    assert [row.verdict for row in rows] == [
        "use",
        "helps alone, not needed",
        "harms",
        "off for certain",
        "cannot tell",
    ]
    assert [row.resolution is None for row in rows] == [True, True, True, True, False]
    resolution = rows[4].resolution
    assert resolution is not None
    assert resolution.half_width == pytest.approx(rows[4].best.band.half_width, rel=1e-6)
    assert resolution.wanted < resolution.half_width
    assert resolution.more_blocks is not None
    assert resolution.more_blocks > 0


def test_without_a_judge_nothing_is_to_be_used() -> None:
    assert [row.verdict for row in table(FOUR, made())][:2] == ["helps alone, not needed"] * 2


def test_value_and_interval_are_those_of_the_same_dose() -> None:
    known = made()
    for row in table(FOUR, known):
        assert row.best.band.mean == min(dose.band.mean for dose in row.doses)
        assert row.best in row.doses
        assert [dose.value for dose in row.doses] == [0.1, 0.3]


def test_bands_are_as_wide_as_the_largest_of_all_doses_needs() -> None:
    known = made()

    def ratios(arm: Arm, value: float) -> np.ndarray:
        seeds = range(3)
        return np.array(
            [np.mean([known[Cell(arm.at(value), b, s)] - known[Cell(BASELINE, b, s)] for s in seeds]) for b in range(8)]
        )

    of_blocks = np.array([ratios(arm, value) for arm in ARMS for value in arm.ladder])
    critical = critical_value(of_blocks, 0.95)
    doses = [dose for row in table(FOUR, known) for dose in row.doses]
    for dose, values in zip(doses, of_blocks, strict=True):
        assert dose.band.half_width == pytest.approx(critical * values.std(ddof=1) / math.sqrt(8))


def test_grown_values_and_failures_stand_in_the_table() -> None:
    further = {0.01: -0.1, 0.1: -0.3, 0.3: -0.45, 0.9: 0.3}
    log_losses, _ = played(World({"model.kernel_l1": further}, noise=0.05))
    rows = {row.arm.path: row for row in table(PLAN, log_losses)}
    grown = [dose.value for dose in rows["model.kernel_l1"].doses if dose.is_grown]
    assert grown == [0.3, 0.9]
    assert rows["model.kernel_l1"].best.value == 0.3
    known = made()
    failing = LogLosses(8, {c: None if c == Cell(HARMS.at(0.3), 1, 1) else x for c, x in known.items()})
    assert [dose.failures for dose in table(FOUR, failing)[2].doses] == [0, 1]


def test_the_doses_of_a_choice_keep_the_order_in_which_they_were_named() -> None:
    sizes, flags = Arm("model.hidden_size", (16, 2, 8), "choice"), Arm("training.optimizer", ("sgd", "adamw"), "choice")
    plan = Plan((sizes, flags), blocks=4, budget=200)
    known, _ = played(World({"model.hidden_size": {2: -0.3}}, arms=(sizes,)), plan)
    rows = table(plan, known)
    assert [[dose.value for dose in row.doses] for row in rows] == [[16, 2, 8], ["sgd", "adamw"]]
    assert rows[0].best.value == 2
    assert not any(dose.is_grown for row in rows for dose in row.doses)


def test_a_dose_has_its_effect_on_each_block() -> None:
    """With one seed for each candidate and an equal baseline: the difference of the two, block by block."""
    arm = Arm("model.dropout", (0.1, 0.3), "rate")
    plan = Plan((arm,), blocks=4, budget=200)
    effects = {0.1: [-0.3, -0.1, 0.0, 0.2], 0.3: [0.5, 0.4, 0.6, 0.5]}
    known = LogLosses(4)
    for block in range(4):
        for seed in range(3):
            known.add(Cell(BASELINE, block, seed), float(block))
        for value, of_blocks in effects.items():
            known.add(Cell(arm.at(value), block, 0), block + of_blocks[block])
    (row,) = table(plan, known)
    for dose in row.doses:
        assert dose.by_block == pytest.approx(tuple(effects[float(dose.value)]))
        assert dose.band.mean == pytest.approx(np.mean(dose.by_block))
        assert (dose.seeds, dose.failures) == (1, 0)


def test_before_anything_has_run_there_is_no_table() -> None:
    assert table(PLAN, LogLosses(PLAN.blocks)) == []
