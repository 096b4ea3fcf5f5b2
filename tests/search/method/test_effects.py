"""Effects on blocks against plain loops, hand arithmetic and simulated components."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lstmreg.errors import NoUsableTrialError
from lstmreg.search.method import BASELINE, Candidate, Cell, LogLosses
from lstmreg.search.method.cells import settled
from lstmreg.search.method.effects import Tables, effects

ONE, TWO, THREE = (Candidate.of({f"model.{name}": 0.1}) for name in ("one", "two", "three"))


def drawn(
    seed: int = 0, blocks: int = 5, counts: tuple[int, ...] = (1, 3, 4), shared: float = 0.7, baseline_seeds: int = 4
) -> Tables:
    random = np.random.default_rng(seed)
    luck, level = random.normal(size=(blocks, baseline_seeds)), random.normal(size=(blocks, 1))
    losses = level + shared * luck + 0.5 * random.normal(size=(len(counts), blocks, baseline_seeds))
    for k, count in enumerate(counts):
        losses[k, :, count:] = np.nan
    names = tuple(Candidate.of({"model.x": float(k + 1)}) for k in range(len(counts)))
    return Tables(names, losses, level + luck)


def test_a_control_variate_is_that_of_plain_loops() -> None:
    """For each block the slope of the others; the candidate's own and the common one, as the docstring says."""
    tables = drawn()
    found = effects(tables)
    K, G, N = tables.losses.shape
    deviation = tables.baseline - tables.baseline.mean(axis=1, keepdims=True)
    ratios = tables.losses - tables.baseline.mean(axis=1)[:, None]
    for block in range(G):
        sums = []
        for k in range(K):
            pairs = [
                (deviation[b, s], ratios[k, b, s])
                for b in range(G)
                for s in range(N)
                if b != block and not np.isnan(ratios[k, b, s])
            ]
            x, y = np.array(pairs).T
            sums.append((((x - x.mean()) ** 2).sum(), ((x - x.mean()) * (y - y.mean())).sum(), len(x) / (G - 1)))
        squares, products, seeds = np.array(sums).T
        common, weight = products.sum() / squares.sum(), squares.sum() / seeds.sum()
        for k in range(K):
            slope = min(1.0, max(0.0, (products[k] + weight * common) / (squares[k] + weight)))
            has = ~np.isnan(ratios[k, block])
            by_hand = (ratios[k, block] - slope * deviation[block])[has].mean()
            assert found.blocks[k, block] == pytest.approx(by_hand)


def test_with_as_many_seeds_as_the_baseline_it_is_the_difference_of_means() -> None:
    tables = drawn()
    difference = tables.losses[2].mean(axis=1) - tables.baseline.mean(axis=1)
    assert effects(tables).blocks[2] == pytest.approx(difference)
    assert list(effects(tables).sloped) == [True, True, False]


def test_seeds_that_are_wholly_shared_leave_no_scatter() -> None:
    random = np.random.default_rng(3)
    baseline = random.normal(size=(6, 4))
    losses = np.where(np.arange(4) < 1, baseline - 0.2, np.nan)[None]
    assert effects(Tables((ONE,), losses, baseline)).blocks[0] == pytest.approx(np.full(6, -0.2))


def test_a_candidate_that_shares_nothing_is_not_made_worse_by_pairing() -> None:
    slopes = [effects(drawn(seed, blocks=12, counts=(4, 4), shared=0.0)).carried.mean() for seed in range(20)]
    assert np.mean(slopes) < 0.15
    slopes = [effects(drawn(seed, blocks=12, counts=(4, 4), shared=0.7)).carried.mean() for seed in range(20)]
    assert np.mean(slopes) == pytest.approx(0.7, abs=0.08)


def test_neither_order_nor_level_matters() -> None:
    tables, random = drawn(), np.random.default_rng(1)
    found = effects(tables)
    blocks, rows = random.permutation(5), random.permutation(3)
    shuffled = Tables(
        tuple(tables.candidates[k] for k in rows), tables.losses[rows][:, blocks] + 3.0, tables.baseline[blocks] + 3.0
    )
    other = effects(shuffled)
    assert other.blocks == pytest.approx(found.blocks[rows][:, blocks])
    assert other.variances == pytest.approx(found.variances[rows])
    assert other.block_variance == pytest.approx(found.block_variance)


def test_variance_components_are_found() -> None:
    """0.3 between seeds beyond what is shared, 0.2 between blocks."""
    random = np.random.default_rng(0)
    baseline = random.normal(size=(400, 6))
    effect = 0.2 * random.normal(size=(5, 400, 1))
    losses = baseline + effect + 0.3 * random.normal(size=(5, 400, 6))
    found = effects(Tables((ONE,) * 5, losses, baseline))
    assert found.common_seed_variance == pytest.approx(0.09, rel=0.05)
    assert found.block_variance == pytest.approx(0.04 * found.blocks.shape[1] / 399 / 0.907, rel=0.3)


def test_a_failure_counts_as_the_worst_that_was_seen_and_as_twice_the_loss_at_least() -> None:
    baseline = np.zeros((2, 2))
    assert settled(np.array([[-0.1, np.inf], [-0.1, np.nan]]), baseline)[0, 1] == pytest.approx(math.log(2))
    assert settled(np.array([[-0.1, np.inf], [1.5, np.nan]]), baseline)[0, 1] == pytest.approx(1.5)
    assert settled(np.array([[np.inf, np.inf]]), np.ones((1, 2)))[0] == pytest.approx([1 + math.log(2)] * 2)


def test_where_the_baseline_failed_nothing_compares() -> None:
    tables = drawn(counts=(1, 2, 2), baseline_seeds=2)
    tables.baseline[1] = np.nan
    whole, rest = effects(tables), effects(tables.without(1))
    assert whole.blocks == pytest.approx(rest.blocks)
    tables.baseline[1:] = np.nan
    with pytest.raises(NoUsableTrialError, match="1 of 5 blocks"):
        effects(tables)


def test_a_block_that_is_left_out_has_no_say() -> None:
    tables, other = drawn(), drawn()
    other.losses[:, 2] = 100.0
    other.baseline[2] = -50.0
    assert effects(tables.without(2)).blocks == pytest.approx(effects(other.without(2)).blocks)


def test_log_losses_keep_what_was_measured() -> None:
    known = LogLosses(3, {Cell(BASELINE, 0, 0): 0.5, Cell(ONE, 2, 9): None, Cell(ONE, 1, 0): math.nan})
    assert len(known) == 3
    assert dict(known) == {Cell(BASELINE, 0, 0): 0.5, Cell(ONE, 2, 9): math.inf, Cell(ONE, 1, 0): math.inf}
    assert known.failures(ONE, 10) == 2
    assert known.failures(ONE, 9) == 1
    assert Cell(ONE, 0, 0) not in known
    assert "nonsense" not in known
    with pytest.raises(KeyError):
        known[Cell(TWO, 0, 0)]
    with pytest.raises(ValueError, match="known already"):
        known.add(Cell(BASELINE, 0, 0), 0.4)
    with pytest.raises(ValueError, match="3 blocks"):
        known.add(Cell(BASELINE, 3, 0), 0.4)
    assert known.table(THREE, 2).shape == (3, 2)
