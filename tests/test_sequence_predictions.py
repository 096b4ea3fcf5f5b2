"""Classes, numbers and labels come out with names, probabilities, sets and intervals, by the same verb."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lstmreg
from lstmreg.cli import main
from lstmreg.errors import ConfigError, CorruptFileError
from lstmreg.intervals import Calibration, Scores
from tests.interop.test_raw import sequence_predictor, sequences


def calibrated(task: str, scores: np.ndarray) -> Any:
    return sequence_predictor(task).calibrated(Calibration(Scores.of(scores), Scores.of(scores[:10])))


def test_a_set_holds_the_classes_whose_score_is_allowed_and_the_best_in_any_case(tmp_path: Path) -> None:
    scores = np.linspace(0.3, 0.68, 39)[:, None]  # at 0.5 the 20th of 40: 0.49
    calibrated("classify", scores).save(tmp_path)
    made = lstmreg.load(tmp_path)
    arrays = sequences(made, [5, 3, 8, 1, 9], seed=1)
    found = made.predictions(arrays, confidence=0.5)
    chances = made.predict_proba(arrays)
    assert list(found.columns) == ["t", "t_set", "P(a)", "P(b)", "P(c)"]
    assert found.columns["t"].tolist() == list(made.predict(arrays))
    np.testing.assert_array_equal(np.stack([found.columns[name] for name in found.shares], axis=1), chances)
    for held, row in zip(found.columns["t_set"], chances, strict=True):
        expected = [n for n, p in zip("abc", row, strict=True) if 1 - p <= scores[19, 0] + 1e-9 or p == row.max()]
        assert held == " | ".join(expected)
    assert "covered 100 % of 10 test cases (50 % was asked for)" in " ".join(found.notes)


def test_numbers_have_an_interval_for_each_target(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).exponential(size=(29, 2))
    calibrated("regress", scores).save(tmp_path)
    made = lstmreg.load(tmp_path)
    arrays = sequences(made, [5, 3, 8], seed=1)
    found = made.predictions(arrays, confidence=0.8)
    assert list(found.columns) == ["t", "t_low", "t_high", "u", "u_low", "u_high"]
    radius = np.sort(scores, axis=0)[23]  # ceil(30 * 0.8) = 24
    for k, name in enumerate("tu"):
        np.testing.assert_array_equal(found.columns[name], made.predict(arrays)[:, k])
        np.testing.assert_allclose(found.columns[f"{name}_high"] - found.columns[name], radius[k], rtol=1e-6)


def test_of_labels_every_step_has_a_row_and_no_padding_has() -> None:
    made = sequence_predictor("label")
    arrays = sequences(made, [5, 3, 8], seed=1)
    found = made.predictions(arrays)
    assert found.columns["step"].tolist() == [*range(1, 6), *range(1, 4), *range(1, 9)]
    assert found.columns["t"].tolist() == [label for each in made.predict(arrays) for label in each]
    chances = np.concatenate(made.predict_proba(arrays))
    np.testing.assert_array_equal(np.stack([found.columns[name] for name in found.shares], axis=1), chances)


def test_what_cannot_be_asked_of_sequences_is_refused(tmp_path: Path) -> None:
    made = sequence_predictor("classify")
    with pytest.raises(ConfigError, match="--history is of forecasts; to classify, leave it out"):
        made.predictions(sequences(made, [3], seed=0), history=True)
    with pytest.raises(ConfigError, match="needs a model with dropout"):
        made.predictions(sequences(made, [3], seed=0), samples=5)
    with pytest.raises(ValueError, match="must have 1 scores of a case, got 2"):
        made.calibrated(Calibration(Scores.of(np.ones((9, 2)))))
    calibrated("classify", np.full((9, 1), 0.5)).save(tmp_path)
    whole = json.loads((tmp_path / "model.json").read_text())
    whole["about"]["calibration"]["scores"]["values"][0] = [1e400]
    (tmp_path / "model.json").write_text(json.dumps(whole))
    with pytest.raises(CorruptFileError):
        lstmreg.load(tmp_path)


@pytest.mark.parametrize(("task", "target"), [("classify", "kind"), ("regress", "size")])
def test_the_verb_serves_every_task(task: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    generator, rows = np.random.default_rng(0), []
    for n in range(60):
        size = round(n % 3 + 0.1 * generator.normal(), 3)
        rows += [
            (f"=s{n}", *generator.normal(n % 3, 1, 2), "abc"[n % 3], size) for _ in range(int(generator.integers(3, 7)))
        ]
    pd.DataFrame(rows, columns=["id", "x", "y", "kind", "size"]).to_csv("seq.csv", index=False)
    settings = [f"--task={task}", "--data.path=seq.csv", "--data.sequence=id", f"--data.target={target}", "--name=s"]
    small = ["--model.hidden_size=4", "--training.max_epochs=2", '--data.features=["x","y"]', "--model.dropout=0.2"]
    assert main(["fit", *settings, *small]) == 0
    for more in ([], ["--samples=9"]):
        assert main(["predict", "runs/s", "seq.csv", "-o", "out.csv", "--plot", "out.svg", *more]) == 0
        written = pd.read_csv("out.csv")
        assert written["name"].tolist() == [f"'=s{n}" for n in range(60)]
        assert f"{target}_low" in written or f"{target}_set" in written or "P(a)_low" in written
    assert Path("out.svg").stat().st_size > 1_000
