"""No stretch overlaps another, no window sees its future, and every floor is what a loop makes of it."""

from __future__ import annotations

import dataclasses
import math
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lstmreg import DataConfig, SearchConfig
from lstmreg.data.blocks import Block, Blocks, hold_out, make_blocks, rows_needed
from lstmreg.data.cases import Cases
from lstmreg.data.floors import floor_predictions
from lstmreg.data.module import CasesDataModule
from lstmreg.data.table import Series
from lstmreg.data.windows import Scaler, Windower
from lstmreg.errors import DataError, LstmregError

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")

questions = st.builds(
    DataConfig,
    path=st.just("table.csv"),
    target=st.just("y"),
    window=st.integers(1, 30),
    horizon=st.integers(1, 9),
    test_fraction=st.floats(0.02, 0.49),
    season=st.just(9),
    difference=st.sampled_from([None, 1, "season"]),
)
searches = st.builds(SearchConfig, blocks=st.integers(3, 14))
seeds = st.integers(0, 2**32 - 1)
moderate = st.floats(-1e9, 1e9)


def make_series(rows: int, D: int = 2, seed: int = 0) -> Series:
    values = np.random.default_rng(seed).normal(5.0, 3.0, (rows, D))
    names = tuple(f"x{k}" for k in range(D))
    labels = tuple(map(str, range(rows)))
    return Series("table.csv", "", names, ("x0",), values, values[:, :1].copy(), labels, ())


def make_cases(window: int = 4) -> Cases:
    """The windows of forty rows, scaled by the first thirty."""
    series = make_series(40)
    windows = Windower.fit(series, 30, window, 2).cut(series, 0, 40)
    return Cases(windows.inputs, windows.targets)


def make_module(seed: int = 0) -> CasesDataModule:
    return CasesDataModule(make_cases(), np.arange(25), np.arange(26, 33), batch_size=5, seed=seed)


# ---------------------------------------------------------------------- splits


def assert_has_windows(split: Block, data: DataConfig) -> None:
    assert split.origin - data.window - data.lag - data.horizon >= 0  # at least one to train on
    assert split.end - split.origin >= data.horizon  # and one to judge by


@given(questions, searches, st.integers(0, 500))
def test_stretches_are_equal_and_follow_each_other_up_to_the_test(data, search, spare):
    rows = rows_needed(data, search) + spare
    found = make_blocks(rows, data, search)
    assert len(found.stretches) == search.blocks + 1  # the first judges none, and ends the first block's trainings
    for before, after in pairwise([*found.stretches, found.test]):
        assert before.end == after.origin
    assert len({stretch.end - stretch.origin for stretch in found.stretches}) == 1
    assert found.test == Block(rows - round(rows * data.test_fraction), rows)
    assert found.stretches[0].origin >= math.floor(0.4 * found.test.origin)
    for stretch in [*found.stretches, found.test]:
        assert_has_windows(stretch, data)


@given(questions, searches)
def test_the_rows_needed_are_enough_and_one_fewer_is_not(data, search):
    needed = rows_needed(data, search)
    assert isinstance(make_blocks(needed, data, search), Blocks)
    for too_few in (needed - 1, needed // 2, 0):
        with pytest.raises(DataError, match=rf"table.csv: {too_few} rows .* at least {needed} are needed") as caught:
            make_blocks(too_few, data, search)
        assert caught.value.exit_code == 3
        assert ("fewer search.blocks" in str(caught.value)) == (search.blocks > 3)  # there are no fewer than three


def test_blocks_by_hand():
    data, search = DataConfig("table.csv", "y", window=5, test_fraction=0.2), SearchConfig(blocks=3)
    found = make_blocks(103, data, search)  # 21 test, 82 before it, of which 33 only train, and 12 are in each stretch
    assert found.stretches == (Block(34, 46), Block(46, 58), Block(58, 70), Block(70, 82))
    assert found.test == Block(82, 103)


@given(questions, st.integers(1, 200))
def test_what_is_held_out_is_two_equal_parts_behind_the_training(data, rows):
    try:
        validation, test = hold_out(rows, data)
    except DataError as error:
        needed = int(re.search(r"at least (\d+) are needed", str(error))[1])
        hold_out(needed, data)
        with pytest.raises(DataError, match=f"at least {needed} "):
            hold_out(needed - 1, data)
        return
    assert test == Block(rows - round(rows * data.test_fraction), rows)
    assert validation.end == test.origin
    assert validation.end - validation.origin == test.end - test.origin
    assert_has_windows(validation, data)


@pytest.mark.parametrize("fraction", [0.0001, 0.4999])
def test_a_test_fraction_that_leaves_nothing_to_hold_out_is_refused(fraction):
    with pytest.raises(LstmregError, match=r"test_fraction|rows are too few"):
        hold_out(30, DataConfig("table.csv", "y", window=5, test_fraction=fraction))


# ---------------------------------------------------------------------- windows


@given(st.integers(1, 6), st.integers(1, 5), st.data())
def test_windows_are_those_that_a_loop_cuts(window, horizon, data):
    N = data.draw(st.integers(window + horizon, 25))
    start, stop = sorted(data.draw(st.tuples(st.integers(0, N), st.integers(0, N))))
    train = data.draw(st.integers(2, N))
    series = make_series(N, D=3)
    windows = Windower.fit(series, train, window, horizon).cut(series, start, stop)

    def scaled(column) -> list[float]:
        mean = math.fsum(column[:train]) / train
        scale = math.sqrt(math.fsum((v - mean) ** 2 for v in column[:train]) / train)
        return [(v - mean) / scale for v in column]

    x, y = [scaled(column) for column in series.inputs.T], scaled(series.target)
    rows = [n for n in range(N) if n - window >= 0 and n >= start and n + horizon <= stop]
    assert windows.rows.tolist() == rows
    assert len(windows) == len(rows)
    assert windows.inputs.shape == (len(rows), window, 3)
    assert windows.targets.shape == (len(rows), horizon)
    assert windows.inputs.dtype == windows.targets.dtype == np.float32
    for n, inputs, targets in zip(rows, windows.inputs, windows.targets, strict=True):
        expected = [[column[t] for column in x] for t in range(n - window, n)]
        np.testing.assert_allclose(inputs, expected, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(targets, y[n : n + horizon], rtol=1e-6, atol=1e-6)


lags = st.integers(0, 7)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 7), st.booleans(), st.data())
def test_windows_of_changes_are_those_that_a_loop_cuts(window, horizon, lag, reads_own_past, data):
    N = data.draw(st.integers(window + horizon + lag, 25))
    start, stop = sorted(data.draw(st.tuples(st.integers(0, N), st.integers(0, N))))
    train = data.draw(st.integers(lag + horizon, N))
    series = make_series(N, D=3)
    if not reads_own_past:
        series = dataclasses.replace(series, target_names=("y",), targets=series.targets**2)
    windower = Windower.fit(series, train, window, horizon, lag)
    windows = windower.cut(series, start, stop)

    def known(row: int, step: int) -> float:
        at = row + step - lag
        while at >= row:
            at -= lag
        return y[at]

    y = series.target.tolist()
    columns = [column.tolist() for column in series.inputs.T]
    if reads_own_past:
        columns[0] = [math.nan] * lag + [y[t] - y[t - lag] for t in range(lag, N)]

    def scaled(values, seen) -> list[float]:
        mean = math.fsum(seen) / len(seen)
        scale = math.sqrt(math.fsum((v - mean) ** 2 for v in seen) / len(seen))
        return [(v - mean) / (scale if scale > 1e-9 else 1.0) for v in values]

    columns = [scaled(column, column[lag:train]) for column in columns]
    changes = {n: [y[n + h] - known(n, h) for h in range(horizon)] for n in range(lag, N - horizon + 1)}
    seen = [change for n in range(lag, train - horizon + 1) for change in changes[n]]
    rows = [n for n in range(N) if n - window >= lag and n >= start and n + horizon <= stop]
    assert windows.rows.tolist() == rows
    assert windows.inputs.shape == (len(rows), window, 3)
    assert windows.targets.shape == (len(rows), horizon)
    for n, inputs, targets in zip(rows, windows.inputs, windows.targets, strict=True):
        np.testing.assert_allclose(
            inputs, [[c[t] for c in columns] for t in range(n - window, n)], rtol=1e-5, atol=1e-5
        )
        np.testing.assert_allclose(targets, scaled(changes[n], seen), rtol=1e-5, atol=1e-5)
    if rows:
        truth = np.array([y[n : n + horizon] for n in rows])
        np.testing.assert_allclose(
            windower.unscaled(series, windows.rows, windows.targets), truth, rtol=1e-4, atol=1e-4
        )
        np.testing.assert_array_equal(windower.scaled(series, windows.rows, truth), windows.targets)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(2, 30), lags, st.data())
def test_what_happens_from_a_row_on_changes_nothing_before_it(window, horizon, row, lag, data):
    series = make_series(30)
    row = max(row, lag + horizon)
    origin = data.draw(st.integers(lag + horizon if lag else 2, max(row, 2)))
    row = max(row, origin)
    inputs, target = series.inputs.copy(), series.targets.copy()
    inputs[row:], target[row:] = data.draw(st.sampled_from([math.nan, 1e9, 0.0])), math.nan
    changed = dataclasses.replace(series, inputs=inputs, targets=target)

    ours, theirs = (Windower.fit(s, origin, window, horizon, lag) for s in (series, changed))
    for name in ("inputs", "target"):
        for part in ("mean", "scale"):
            np.testing.assert_array_equal(*(getattr(getattr(w, name), part) for w in (ours, theirs)), strict=True)
    before, after = ours.cut(series, 0, 30), theirs.cut(changed, 0, 30)
    np.testing.assert_array_equal(before.rows, after.rows)
    for n, x, x_changed, y, y_changed in zip(
        before.rows, before.inputs, after.inputs, before.targets, after.targets, strict=True
    ):
        if n <= row:  # all of its past is before the change
            np.testing.assert_array_equal(x, x_changed)
            np.testing.assert_array_equal(y[: row - n], y_changed[: row - n])
            outputs = np.zeros((1, horizon), np.float32)  # what a forecast is added to is known when it is made
            np.testing.assert_array_equal(
                *(w.unscaled(s, np.array([n]), outputs) for w, s in ((ours, series), (theirs, changed)))
            )


@pytest.mark.parametrize("lag", [1, 3])
def test_the_changes_of_a_straight_line_are_scaled_to_zero_and_not_its_rounding_blown_up(lag):
    y = 0.1 * np.arange(40) + 1e6
    series = Series("table.csv", "", ("y",), ("y",), y[:, None], y[:, None], tuple(map(str, range(40))), ())
    windower = Windower.fit(series, 30, 4, 1, lag)
    windows = windower.cut(series, 30, 40)
    assert np.abs(windows.inputs).max() < 1e-8
    assert np.abs(windows.targets).max() < 1e-8
    forecast = windower.unscaled(series, windows.rows, np.zeros((len(windows), 1), np.float32))
    np.testing.assert_allclose(forecast[:, 0], y[windows.rows], rtol=1e-15)


def test_neighbouring_windows_share_the_rows_that_they_have_in_common():
    cases = make_cases()
    assert np.shares_memory(cases.inputs[0, 1:], cases.inputs[1, :-1])
    assert np.shares_memory(cases.targets[0, 1:], cases.targets[1, :-1])


@given(st.integers(1, 40), moderate)
@example(7, 0.1)  # whose mean is not 0.1
def test_a_column_that_is_constant_in_training_is_scaled_to_zero_and_not_blown_up(count, constant):
    scaler = Scaler.fit(np.full((count, 1), constant))
    np.testing.assert_array_equal(scaler.scale, [1.0])
    rounding = 1e-12 * abs(constant)
    assert np.abs(scaler.scaled(np.full((3, 1), constant))).max() <= rounding
    later = np.array([[constant + 1.0], [-2.0]])  # what it does afterwards stays finite
    np.testing.assert_allclose(scaler.scaled(later), later - constant, rtol=1e-6, atol=rounding)


@given(st.lists(moderate, min_size=2, max_size=20))
def test_unscaling_gives_back_what_was_scaled(values):
    rows = np.array(values)
    scaler = Scaler.fit(rows)
    back = scaler.unscaled(scaler.scaled(rows))
    np.testing.assert_allclose(back, rows, rtol=1e-6, atol=1e-6 * float(scaler.scale + abs(scaler.mean)))


# ---------------------------------------------------------------------- floors


@given(st.integers(1, 9), st.none() | st.integers(1, 40), st.integers(1, 20), st.data())
def test_floors_are_those_that_a_loop_finds(horizon, season, first, data):
    N = 30
    rows = np.arange(first, data.draw(st.integers(first, N - horizon)) + 1)
    train = data.draw(st.integers(1, first))
    series = make_series(N)
    y = series.target.tolist()
    floors = floor_predictions(series, train, rows, horizon, season)

    def one_season_ago(row: int, step: int) -> int:
        at = row + step
        while at >= row:  # the first season back that is known when the forecast is made
            at -= season
        return at

    expected = {
        "mean": [[math.fsum(y[:train]) / train] * horizon for _ in rows],
        "persistence": [[y[row - 1]] * horizon for row in rows],
        "drift": [
            [y[row - 1] + (step + 1) * (y[row - 1] - y[0]) / max(row - 1, 1) for step in range(horizon)] for row in rows
        ],
    }
    if season is not None and one_season_ago(first, 0) >= 0:  # a season too long is left out
        expected["seasonal"] = [[y[one_season_ago(row, step)] for step in range(horizon)] for row in rows]
    assert set(floors) == set(expected)
    for name, predictions in expected.items():
        np.testing.assert_allclose(floors[name], predictions, rtol=1e-12, err_msg=name)


# ---------------------------------------------------------------------- batches


def order(module: CasesDataModule, epochs: int = 2) -> list[list[float]]:
    """Return which windows came in each epoch, known by their first target."""
    loader = module.train_dataloader()
    return [[float(y) for _, targets in loader for y in targets[:, 0]] for _ in range(epochs)]


@given(seeds, seeds)
def test_the_order_of_batches_is_the_seeds_alone(seed, world):
    torch.manual_seed(world)
    before = torch.get_rng_state()
    found = order(make_module(seed=seed))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(world + 1)
    again = make_module(seed=seed)
    next(iter(again.val_dataloader()))
    assert order(again) == found


def test_another_seed_or_epoch_is_another_order_of_the_same_windows():
    orders = [epoch for seed in (0, 1) for epoch in order(make_module(seed=seed))]
    assert len({tuple(epoch) for epoch in orders}) == 4
    for epoch in orders:
        assert sorted(epoch) == sorted(make_cases().targets[:25, 0].tolist())


def test_batches_hold_every_window_of_their_part_once():
    module = make_module()
    sizes = [(len(x), len(y)) for x, y in module.train_dataloader()]
    assert sizes == [(5, 5)] * 5
    (x, y), *more = module.val_dataloader()
    assert not more
    cases = make_cases()
    np.testing.assert_array_equal(x, cases.inputs[26:33])
    np.testing.assert_array_equal(y, cases.targets[26:33])
