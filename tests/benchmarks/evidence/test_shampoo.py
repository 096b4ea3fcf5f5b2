"""A published experiment again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.evidence import (
    shampoo,
)
from lstmreg import ModelConfig, Network


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
