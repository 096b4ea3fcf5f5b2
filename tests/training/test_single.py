"""One training as it is configured: its seed decides everything, and its numbers are in the units they should be."""

from __future__ import annotations

import copy
import math
import tracemalloc

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor

from lstmreg import Config, DataConfig, DivergedError, ModelConfig, TrainingConfig
from lstmreg.config import with_settings
from lstmreg.data.blocks import Block
from lstmreg.data.table import Series
from lstmreg.knobs import KNOBS
from lstmreg.tasks import Forecast, read_task
from lstmreg.tasks.forecast import Outside, rows_outside
from lstmreg.training.single import Behind, HeldOut, Trained, fit_held_out, prepare, train_single

DROPPING = {"model.dropout": 0.3, "model.recurrent_dropout": 0.3}


class Watching(pl.Callback):
    """Keeps the initial weights, the batches and the number of threads."""

    def on_train_start(self, trainer, module) -> None:
        self.weights = copy.deepcopy(module.network.state_dict())
        self.batches: list[Tensor] = []
        self.threads = torch.get_num_threads()

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        self.batches += [part.clone() for part in batch]


def train(settings: dict | None = None, *callbacks: pl.Callback) -> Trained:
    training = TrainingConfig(learning_rate=0.01, batch_size=8, max_epochs=3)
    config = Config(DataConfig("table.csv", "y", window=3, horizon=2), ModelConfig(hidden_size=4), training)
    values = np.sin(np.arange(50.0)) * 3 + 5
    series = Series("table.csv", "", ("y",), ("y",), values[:, None], values[:, None], tuple(map(str, range(50))), ())
    task = Forecast(config.data, series)
    return train_single(with_settings(config, settings or {}), task, task.split(Block(35, 50)), callbacks)


def assert_same(one: Trained, other: Trained, *, same: bool = True) -> None:
    assert (one.result.history == other.result.history) == same
    weights = [trained.network.state_dict() for trained in (one, other)]
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items()) == same


def test_one_seed_is_one_result_bit_for_bit_whatever_was_drawn_before():
    first = train(DROPPING)
    torch.manual_seed(123)
    assert_same(train(DROPPING), first)
    assert_same(train(DROPPING | {"training.seed": 1}), first, same=False)


def test_turning_a_knob_moves_neither_the_initial_weights_nor_the_batches():
    usual = Watching()
    train({}, usual)
    for knob in KNOBS:
        turned = Watching()
        train({knob: 0.3}, turned)
        torch.testing.assert_close(turned.weights, usual.weights, rtol=0, atol=0, msg=knob)
        torch.testing.assert_close(turned.batches, usual.batches, rtol=0, atol=0, msg=knob)
    other = Watching()
    train({"training.seed": 1}, other)
    assert not torch.equal(other.batches[0], usual.batches[0])
    assert not torch.equal(other.weights["head.weight"], usual.weights["head.weight"])


@pytest.mark.parametrize(
    ("loss", "by_hand"),
    [
        ("mse", lambda e: (e * e).mean()),
        ("mae", lambda e: e.abs().mean()),
        ("huber", lambda e: torch.where(e.abs() < 1, e * e / 2, e.abs() - 0.5).mean()),
    ],
)
def test_losses_are_those_of_the_remaining_weights_without_dropout_and_penalties(loss, by_hand):
    trained = train(DROPPING | {"training.loss": loss, "model.kernel_l2": 0.1})
    split, cases = trained.lesson.split, trained.lesson.cases
    for numbers, told in [(split.train, trained.result.train_loss), (split.validation, trained.result.val_loss)]:
        x, y = torch.from_numpy(cases.inputs[numbers]), torch.from_numpy(cases.targets[numbers])
        with torch.no_grad():
            errors = trained.network(x) - y
        assert told == pytest.approx(float(by_hand(errors)), rel=1e-6)
    assert trained.result.train_loss != trained.result.history[trained.result.best_epoch].train_loss


@pytest.mark.parametrize(("hidden_size", "within"), [(4, 1), (129, 2)])
def test_a_small_network_has_one_thread_and_everybody_their_own_again(hidden_size, within):
    torch.set_num_threads(2)
    settings = {"model.hidden_size": hidden_size, "training.max_epochs": 1}
    watching = Watching()
    train(settings, watching)
    assert watching.threads == within
    assert torch.get_num_threads() == 2
    with pytest.raises(DivergedError):
        train(settings | {"training.optimizer": "sgd", "training.learning_rate": 1e30, "training.batch_size": 1})
    assert torch.get_num_threads() == 2


def test_a_forecast_is_in_the_units_of_the_target():
    trained = train()
    task, judged = trained.lesson.task, trained.lesson.split.validation
    prediction, truth, target = trained.predict(judged), task.truth(judged), task.series.target
    np.testing.assert_array_equal(truth, [target[n : n + 2] for n in range(35, 49)])
    mean, spread = target[:35].mean(), target[:35].std()
    assert np.square((prediction - truth) / spread).mean() == pytest.approx(trained.result.val_loss, rel=1e-5)
    assert trained.predictor().about()["outputs"] == {"mean": pytest.approx(mean), "scale": pytest.approx(spread)}


def test_what_is_held_out_is_compared_with_the_floors(tmp_path):
    path = tmp_path / "table.csv"
    y = np.round(np.sin(np.arange(60.0)) * 3 + 5, 3)
    path.write_text("y\n" + "\n".join(map(str, y)))
    data = DataConfig(str(path), "y", window=3, season=6, test_fraction=0.2)
    config = Config(data, ModelConfig(4), TrainingConfig(max_epochs=2, loss="mae"))
    task = read_task(config)
    held = fit_held_out(config, task=task)
    assert held.metric == "mean absolute error"
    judged = task.hold_out().judged
    prediction, truth = held.trained.predict(judged), task.truth(judged)
    assert held.test_error == pytest.approx(np.abs(prediction - truth).mean(), rel=1e-6)
    slope = {start: (y[start - 1 : start + 11] - y[0]) / np.arange(start - 1, start + 11) for start in (36, 48)}
    floors = {"mean": y[:48].mean(), "persistence": y[47:59], "drift": y[47:59] + slope[48], "seasonal": y[42:54]}
    assert without_ridge(held.test_floors) == pytest.approx(
        {k: np.abs(floor - y[48:]).mean() for k, floor in floors.items()}, rel=1e-5
    )
    naive = np.abs(np.diff(y[:36])).mean()
    assert held.errors == pytest.approx(
        {
            "mean absolute error": held.test_error,
            "root mean square error": np.sqrt(np.square(prediction - truth).mean()),
            "mean absolute scaled error": held.test_error / naive,
        }
    )
    floors = {"mean": y[:36].mean(), "persistence": y[35:47], "drift": y[35:47] + slope[36], "seasonal": y[30:42]}
    scaled = {k: np.abs(floor - y[36:48]).mean() / y[:36].std() for k, floor in floors.items()}
    assert without_ridge(held.val_floors) == pytest.approx(scaled, rel=1e-5)


def without_ridge(floors: dict[str, float]) -> dict[str, float]:
    """Return what learns nothing; the ridge regression has its own tests, in ``tasks/test_ridge_on_windows.py``."""
    assert "ridge" in floors
    return {name: error for name, error in floors.items() if name != "ridge"}


def test_all_seeds_of_a_split_read_one_scaled_series_through_their_windows():
    rows, D, window = 4000, 6, 48
    values = np.random.default_rng(0).normal(size=(rows, D))
    names, labels = tuple(f"x{k}" for k in range(D)), tuple(map(str, range(rows)))
    series = Series("table.csv", "", names, ("x0",), values, values[:, :1].copy(), labels, ())
    config = Config(DataConfig("table.csv", "x0", window=window), ModelConfig(hidden_size=2))
    task = Forecast(config.data, series)
    prepare(config, task, task.split(Block(2000, 3000)), {})  # what is loaded once
    tracemalloc.start()
    try:
        known = {}
        modules = [
            prepare(with_settings(config, {"training.seed": seed}), task, split, known).data
            for split in (task.split(Block(2000, 3000)), task.split(Block(3000, 4000)))
            for seed in range(3)
        ]
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    scaled = rows * (D + 1) * 4 + rows * 16  # float32 of each column and the target, and numbers of windows
    assert kept < 2 * scaled + 200_000  # a copy of the windows of one split alone would be 4.6 MB
    assert len({id(module) for module in modules}) == 6
    assert sum(len(module.train) for module in modules) == 3 * (2000 - window + 3000 - window)


# ---------------------------------------------------------------------- a trend, and learning changes


def write_passengers(path) -> np.ndarray:
    """Months with a season that grows with its trend, as the passengers of an airline."""
    t, noise = np.arange(144), np.random.default_rng(1).normal(size=144)
    wave = 1 + 0.2 * np.sin(2 * np.pi * t / 12) + 0.06 * np.cos(4 * np.pi * t / 12)
    y = np.round(np.exp(4.8 + 0.0095 * t + 0.02 * noise) * wave)
    path.write_text("month,y\n" + "".join(f"{1949 + k // 12}-{k % 12 + 1:02},{v:.0f}\n" for k, v in enumerate(y)))
    return y


def fit_passengers(path, **data) -> HeldOut:
    question = DataConfig(str(path), "y", time="month", window=12, season=12, test_fraction=0.2, **data)
    config = Config(question, ModelConfig(8), TrainingConfig(learning_rate=0.03, max_epochs=60))
    return fit_held_out(config)


def test_a_trend_that_a_network_cannot_follow_it_follows_by_changes(tmp_path):
    y = write_passengers(tmp_path / "p.csv")
    level = fit_passengers(tmp_path / "p.csv")
    (warning,) = level.warnings
    assert warning.startswith(f"{int((y[115:] > y[:86].max()).sum())} of 29 test rows have a target above all")
    best = min(level.test_floors, key=level.test_floors.get)
    assert level.test_behind == Behind(best, level.test_floors[best], level.test_error)
    for difference in (1, "season"):
        changes = fit_passengers(tmp_path / "p.csv", difference=difference)
        floors = without_ridge(changes.test_floors)
        assert floors == pytest.approx(without_ridge(level.test_floors), rel=1e-5)  # in the units of the target
        assert changes.test_error < min(floors.values())
        assert changes.trained.val_loss < min(without_ridge(changes.val_floors).values())
        assert changes.test_error < level.test_error / 2


@pytest.mark.parametrize(("difference", "lag"), [(1, 1), ("season", 12)])
@pytest.mark.parametrize("horizon", [1, 3])
def test_errors_of_changes_are_in_the_units_of_the_target_and_losses_in_those_of_changes(
    difference, lag, horizon, tmp_path
):
    y = write_passengers(tmp_path / "p.csv")
    held = fit_passengers(tmp_path / "p.csv", difference=difference, horizon=horizon)
    task, judged = held.trained.lesson.task, held.trained.lesson.split.judged
    prediction, truth = held.trained.predict(judged), task.truth(judged)
    np.testing.assert_array_equal(truth, [y[n : n + horizon] for n in range(115, 145 - horizon)])
    assert held.test_error == pytest.approx(math.sqrt(np.square(prediction - truth).mean()))
    about = held.trained.predictor().about()
    assert (about["difference"]["lag"], about["difference"]["inputs"]) == (lag, ["y"])
    assert str(lag) in about["difference"]["use"] or "the last known value" in about["difference"]["use"]

    # What the saved model's description says, followed by hand.
    (mean,), (scale,) = about["inputs"]["mean"], about["inputs"]["scale"]
    change = (y[lag:] - y[:-lag] - mean) / scale
    windows = np.stack([change[n - 12 - lag : n - lag] for n in range(115, 145 - horizon)])
    with torch.no_grad():
        out = held.trained.network(torch.tensor(windows[..., None], dtype=torch.float32)).double().numpy()
    known = [[y[n + h - lag] if h < lag else y[n - 1] for h in range(horizon)] for n in range(115, 145 - horizon)]
    by_hand = out * about["outputs"]["scale"] + about["outputs"]["mean"] + np.array(known)
    np.testing.assert_allclose(by_hand, prediction, rtol=1e-4)

    errors = np.array([y[n : n + horizon] for n in range(86, 116 - horizon)]) - [
        [y[n + h - 12] for h in range(horizon)] for n in range(86, 116 - horizon)
    ]
    expected = np.square(errors / about["outputs"]["scale"]).mean()
    assert held.val_floors["seasonal"] == pytest.approx(expected, rel=1e-4)


def test_what_happens_in_the_test_rows_changes_nothing_that_was_fitted_to_changes(tmp_path):
    y = write_passengers(tmp_path / "p.csv")
    before = fit_passengers(tmp_path / "p.csv", difference=1)
    lines = (tmp_path / "p.csv").read_text().splitlines()
    changed = [f"{line.split(',')[0]},{v * 7:.0f}" for line, v in zip(lines[116:], y[115:], strict=True)]
    (tmp_path / "p.csv").write_text("\n".join(lines[:116] + changed))
    after = fit_passengers(tmp_path / "p.csv", difference=1)
    assert_same(before.trained, after.trained)
    abouts = [fitted.trained.predictor().about() for fitted in (before, after)]
    judged = [about["calibration"].pop("judged") for about in abouts]  # which is what the test rows have to say
    assert judged[0] != judged[1]
    assert abouts[0] == abouts[1]
    assert before.val_floors == after.val_floors
    assert before.test_error != after.test_error


@pytest.mark.parametrize(
    ("values", "lag", "expected", "is_trend"),
    [
        ([1, 3, 2, 1, 3, 2, 1, 3, 2, 1, 3, 2], 0, (0, 0, 4), False),
        ([1, 3, 2, 1, 3, 2, 1, 3, 2, 1, 4, 2], 0, (1, 0, 4), False),  # one row may be chance
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], 0, (4, 0, 4), True),
        ([12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1], 0, (0, 4, 4), True),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], 1, (0, 0, 4), False),  # the changes are all alike
        ([1, 2, 4, 7, 11, 16, 22, 29, 37, 46, 56, 67], 1, (4, 0, 4), True),  # and here they grow
    ],
)
def test_test_rows_outside_of_what_training_has_shown_are_counted(values, lag, expected, is_trend):
    y = np.array(values, dtype=float)
    series = Series("table.csv", "", ("y",), ("y",), y[:, None], y[:, None], tuple(map(str, y)), ())
    outside = rows_outside(series, 4, np.arange(8, 12), 1, lag)
    assert outside == Outside(*expected)
    assert outside.is_trend == is_trend


@pytest.mark.parametrize(
    ("error", "floors", "behind"),
    [
        (1.0, {"mean": 2.0, "persistence": 1.5}, None),
        (1.6, {"mean": 2.0, "persistence": 1.5}, Behind("persistence", 1.5, 1.6)),
        (1.5, {"mean": 2.0, "persistence": 1.5}, Behind("persistence", 1.5, 1.5)),
        (math.nan, {"mean": 2.0}, Behind("mean", 2.0, math.nan)),
    ],
)
def test_a_network_is_behind_the_best_floor_if_it_is_no_better(error, floors, behind):
    held = HeldOut(train(), {"mean": math.inf}, {"error": error}, {name: {"error": e} for name, e in floors.items()})
    assert repr(held.test_behind) == repr(behind)
    assert held.val_behind is None
