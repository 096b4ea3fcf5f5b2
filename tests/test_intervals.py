"""Intervals are as wide as split conformal prediction says, hold as often as promised, and say how often they did."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import lstmreg
from lstmreg import DataConfig, Ensemble, Forecaster, ModelConfig, Network, models
from lstmreg.config import Config, TrainingConfig
from lstmreg.errors import ConfigError, CorruptFileError
from lstmreg.intervals import MOST_SCORES, Calibration, Scores, bounds_of, levels_of, needed_cases
from lstmreg.tasks import read_task
from lstmreg.training.single import HeldOut, fit_held_out
from tests.tiny import write_series


@pytest.mark.parametrize("count", [1, 19, 20, 46, 1000])
@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95])
def test_the_radius_is_the_score_at_the_corrected_rank(count: int, confidence: float) -> None:
    scores = np.random.default_rng(count).exponential(size=(count, 2))
    calibration = Calibration(Scores.of(scores))
    rank = math.ceil(round((count + 1) * confidence, 9))
    if rank > count:
        with pytest.raises(ConfigError, match=f"at least {needed_cases(confidence)} validation cases"):
            calibration.radius(confidence)
        assert calibration.radius(calibration.most_confidence) == pytest.approx(scores.max(axis=0))
    else:
        np.testing.assert_array_equal(calibration.radius(confidence), np.sort(scores, axis=0)[rank - 1])


def test_intervals_hold_as_often_as_they_promise_on_average_over_calibrations() -> None:
    """With n + 1 scores in random order the last is within the quantile with probability ceil((n + 1) c) / (n + 1)."""
    generator, within, trials, n = np.random.default_rng(0), 0, 4_000, 9
    for scores in generator.exponential(size=(trials, n + 1, 1)):
        found = Scores.of(scores[:n])
        within += scores[n, 0] <= found.quantile(0.75)[0]
    assert abs(within / trials - 0.8) < 3 * math.sqrt(0.16 / trials)  # 8 of 10


def test_of_many_scores_so_many_are_kept_that_no_interval_is_too_narrow() -> None:
    scores = np.random.default_rng(1).exponential(size=(12_345, 1))
    thinned = Scores.of(scores)
    assert len(thinned.ranks) == MOST_SCORES
    ordered = np.sort(scores[:, 0])
    for confidence in (0.1, 0.5, 0.9, 0.95, 0.999):
        exact = math.ceil(12_346 * confidence)
        kept = int(np.searchsorted(ordered, thinned.quantile(confidence)[0])) + 1
        assert exact <= kept <= exact + 13
    assert abs(thinned.share_within(np.array([1.0])) - (scores <= 1.0).mean()) < 1e-3


@pytest.mark.parametrize("samples", [2, 3, 10, 101])
def test_a_level_is_the_least_confidence_whose_bounds_cover_the_truth(samples: int) -> None:
    generator = np.random.default_rng(samples)
    drawn = generator.integers(0, 6, size=(samples, 40)).astype(float)  # with ties
    truth = np.concatenate([generator.integers(0, 6, 20), generator.uniform(-1, 7, 20)]).astype(float)
    levels = levels_of(drawn, truth)
    for confidence in np.linspace(0.01, 0.99, 25):
        _, low, high = bounds_of(drawn, confidence)
        covered = (low <= truth + 1e-9) & (truth - 1e-9 <= high)
        clear = np.abs(levels - confidence) > 1e-6
        np.testing.assert_array_equal(covered[clear], (levels <= confidence)[clear])


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> HeldOut:
    path = tmp_path_factory.mktemp("series") / "waves.csv"
    write_series(path, rows=200)
    data = DataConfig(str(path), "wave", time="day", window=6, horizon=2)
    model = ModelConfig(hidden_size=4, recurrent_dropout=0.3)
    return fit_held_out(Config(data, model, TrainingConfig(max_epochs=3, seed=1)))


def test_a_fit_is_calibrated_by_the_validation_cases_and_judged_by_the_test(fitted: HeldOut, tmp_path: Path) -> None:
    trained = fitted.trained
    task, split = trained.lesson.task, trained.lesson.split
    errors = {
        name: np.abs(trained.predict(cases) - task.truth(cases))
        for name, cases in (("validation", split.validation), ("judged", split.judged))
    }
    trained.predictor().save(tmp_path)
    forecaster = lstmreg.load(tmp_path)
    radius = forecaster.calibration.radius(0.8)
    n = len(split.validation)
    expected = np.sort(errors["validation"], axis=0)[math.ceil((n + 1) * 0.8) - 1]
    np.testing.assert_allclose(radius, expected, rtol=1e-6)
    coverage = forecaster.calibration.coverage(0.8)
    assert coverage.cases == len(split.judged)
    assert coverage.share == pytest.approx((errors["judged"] <= radius).mean())
    found = forecaster.predictions(task.path, confidence=0.8)
    np.testing.assert_array_equal(found.columns["wave"], forecaster.predict(task.path))
    np.testing.assert_allclose(found.columns["wave_high"] - found.columns["wave_low"], 2 * radius)
    assert str(coverage) in " ".join(found.notes)


def test_nothing_but_the_judged_cases_says_how_often_intervals_held(fitted: HeldOut) -> None:
    """Change what the test rows say: the radius is the same to the last bit, and only the coverage has changed."""
    before = fitted.trained.predictor().about()["calibration"]
    lines = Path(fitted.trained.lesson.task.path).read_text().splitlines()
    judged = len(fitted.trained.lesson.split.judged)
    changed = [f"{line.split(',')[0]},{99 + k},0" for k, line in enumerate(lines[-judged:])]
    other = Path(fitted.trained.lesson.task.path).with_name("other.csv")
    other.write_text("\n".join([*lines[:-judged], *changed]))
    config = Config(
        DataConfig(
            str(Path(fitted.trained.lesson.task.path).with_name("other.csv")), "wave", time="day", window=6, horizon=2
        ),
        ModelConfig(hidden_size=4, recurrent_dropout=0.3),
        TrainingConfig(max_epochs=3, seed=1),
    )
    after = fit_held_out(config, task=read_task(config)).trained.predictor().about()["calibration"]
    assert after["scores"] == before["scores"]
    assert after["judged"] != before["judged"]


def test_samples_are_those_of_the_seed_and_their_spread_that_of_the_masks(fitted: HeldOut) -> None:
    forecaster, path = fitted.trained.predictor(), fitted.trained.lesson.task.path
    state = torch.get_rng_state()
    once = forecaster.predictions(path, samples=64, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    again, other = (forecaster.predictions(path, samples=64, seed=seed) for seed in (3, 4))
    assert once.csv() == again.csv()
    assert once.csv() != other.csv()
    assert not forecaster.network.training
    assert (once.columns["wave_low"] < once.columns["wave_high"]).all()
    # By hand: the same masks, drawn by running the network in training mode.
    windows = torch.zeros(3, 6, 2)
    seeded = models.sampled_outputs(forecaster.network, windows, samples=2, seed=9)
    torch.manual_seed(9)
    with torch.no_grad():
        by_hand = torch.stack([forecaster.network.train()(windows) for _ in range(2)])
    forecaster.network.eval()
    torch.testing.assert_close(seeded, by_hand, rtol=0, atol=0)
    assert not torch.equal(seeded[0, 0], seeded[0, 1])  # each sequence has masks of its own


def test_samples_of_an_ensemble_come_from_its_members_in_turn() -> None:
    networks = [Network(ModelConfig(hidden_size=3, recurrent_dropout=0.2), 1, 1) for _ in range(2)]
    for value, network in enumerate(networks):
        torch.nn.init.zeros_(network.head.weight)
        torch.nn.init.constant_(network.head.bias, float(value))
    found = models.sampled_outputs(Ensemble(networks), torch.zeros(2, 4, 1), samples=5, seed=0)
    assert found[:, 0, 0].tolist() == [0, 1, 0, 1, 0]


def test_samples_of_a_model_without_dropout_are_refused_with_the_remedy(fitted: HeldOut) -> None:
    forecaster = fitted.trained.predictor()
    plain = Forecaster(
        Network(ModelConfig(hidden_size=4), 2, 2), forecaster.features, "wave", forecaster.windower, forecaster.reading
    )
    path = fitted.trained.lesson.task.path
    with pytest.raises(ConfigError, match=r"--samples needs a model with dropout.*model\.recurrent_dropout"):
        plain.predictions(path, samples=10)
    for wrong in ({"samples": 1}, {"samples": -3}, {"seed": -1}, {"confidence": 1.0}, {"confidence": float("nan")}):
        with pytest.raises(ConfigError, match="must"):
            plain.predictions(path, **wrong)
    assert list(plain.predictions(path).columns) == ["step", "wave"]  # of an old file: nothing is known of intervals


def test_a_hostile_calibration_is_refused(fitted: HeldOut, tmp_path: Path) -> None:
    fitted.trained.predictor().save(tmp_path)
    path = tmp_path / "model.json"
    whole = json.loads(path.read_text())
    good = whole["about"]["calibration"]["scores"]
    wrong = [
        {"cases": -1},
        {"cases": 10**400},
        {"cases": True},
        {"cases": "9"},
        {"ranks": []},
        {"ranks": [1] * len(good["ranks"])},
        {"ranks": [10**30] * len(good["ranks"])},
        {"ranks": "1" * len(good["ranks"])},
        {"values": [[float("nan"), 1.0] for _ in good["values"]]},
        {"values": [[float("inf"), 1.0] for _ in good["values"]]},
        {"values": [[-1.0, 1.0] for _ in good["values"]]},
        {"values": good["values"][::-1]},
        {"values": [["a", "b"] for _ in good["values"]]},
        {"values": [[[[1.0]]]] * len(good["values"])},
        {"values": [row[:1] for row in good["values"]]},
        {"values": None},
    ]
    for change in wrong:
        whole["about"]["calibration"]["scores"] = {**good, **change}
        path.write_text(json.dumps(whole))
        with pytest.raises(CorruptFileError):
            lstmreg.load(tmp_path)
    for calibration in ([], "x", 3, {}, {"scores": []}, {"scores": good, "judged": 7}):
        whole["about"]["calibration"] = calibration
        path.write_text(json.dumps(whole))
        with pytest.raises(CorruptFileError):
            lstmreg.load(tmp_path)
