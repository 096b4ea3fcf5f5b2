"""Long runs, behind the marker ``storm``: is the answer honest, and does nothing get lost?"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import pytest
import yaml

from lstmreg import report, search
from lstmreg.config import Config, DataConfig, ModelConfig, SearchConfig, TrainingConfig
from lstmreg.report import words
from lstmreg.search.decisions import Conclusion
from tests.tiny import write_series

pytestmark = pytest.mark.storm

SEARCH = SearchConfig(learning_rates=[0.01], blocks=4, race=8, judge_seeds=4, test_seeds=2)


def test_on_white_noise_at_least_nine_of_ten_reports_recommend_nothing(tmp_path: Path) -> None:
    recommended = []
    for seed in range(10):
        values = np.random.default_rng(seed).normal(size=300)
        path = tmp_path / f"noise{seed}.csv"
        path.write_text("x\n" + "\n".join(f"{v:.6f}" for v in values) + "\n")
        config = Config(
            DataConfig(str(path), "x", window=12),
            ModelConfig(hidden_size=8),
            TrainingConfig(max_epochs=40, patience=8),
            SEARCH,
            runs=str(tmp_path / "runs"),
        )
        answer = report.answer(search.run(config))
        if answer.is_confirmed:
            recommended.append(words.headline(answer))
    assert len(recommended) <= 1, recommended


def test_a_knob_that_surely_helps_is_found_and_confirmed(tmp_path: Path) -> None:
    """Thirty columns of noise and one that matters: few rows, a wide network, and no early sign of trouble."""
    generator = np.random.default_rng(0)
    rows, columns = 400, 30
    noise = generator.normal(size=(rows, columns))
    signal = generator.normal(size=rows)
    target = np.concatenate([[0.0], signal[:-1]]) + 0.2 * generator.normal(size=rows)
    header = ",".join(["y", "signal", *(f"n{k}" for k in range(columns))])
    table = np.column_stack([target, signal, noise])
    path = tmp_path / "signal.csv"
    np.savetxt(path, table, delimiter=",", header=header, comments="", fmt="%.6f")
    config = Config(
        DataConfig(str(path), "y", window=6),
        ModelConfig(hidden_size=32),
        TrainingConfig(max_epochs=60, patience=8),
        SEARCH,
        runs=str(tmp_path / "runs"),
    )
    answer = report.answer(search.run(config))
    assert answer.is_confirmed, words.sentences(answer)
    assert answer.judged is not None
    assert answer.judged.effect.high < 0
    assert answer.test.candidate is not None
    assert answer.test.candidate < answer.test.baseline


def test_killing_the_search_at_random_moments_loses_and_doubles_nothing(tmp_path: Path) -> None:
    write_series(tmp_path / "waves.csv")
    settings = {
        "data": {"path": "waves.csv", "target": "wave", "time": "day", "window": 6},
        "model": {"hidden_size": 4},
        "training": {"max_epochs": 3, "patience": 2},
        "search": {
            "trials": 20,
            "batch": 2,
            "blocks": 3,
            "race": 20,
            "judge_seeds": 2,
            "test_seeds": 2,
            "learning_rates": [0.03],
            "weight_decay": [0.1],
            "space": {"model.kernel_l2": [1e-4, 1e-2], "model.recurrent_dropout": [0.1, 0.3]},
        },
    }
    (tmp_path / "lstmreg.yaml").write_text(yaml.safe_dump(settings))
    line = [sys.executable, "-m", "lstmreg", "search", "-c", "lstmreg.yaml"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    chance = random.Random(0)
    database = tmp_path / "runs/waves/study.db"
    for _ in range(12):
        running = subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not database.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(chance.uniform(0.5, 6.0))
        running.kill()
        running.wait()
    subprocess.run(line, cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=300)
    killed = search.read(database.parent)
    (tmp_path / "whole.yaml").write_text(yaml.safe_dump(settings | {"name": "whole"}))
    subprocess.run(
        [*line[:-1], "whole.yaml"], cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=300
    )
    whole = search.read(tmp_path / "runs/whole")

    def outcome(evidence: search.Evidence) -> list[tuple[str, str, object, float]]:
        return [(r.role, str(r.setting), r.replicate, r.result.loss) for s in evidence.records.values() for r in s]

    assert outcome(killed) == outcome(whole)
    one, two = Conclusion.of(killed), Conclusion.of(whole)
    assert (one.candidate, one.recommended, one.judged) == (two.candidate, two.recommended, two.judged)
    saved = [(evidence.config.directory / "model.safetensors").read_bytes() for evidence in (killed, whole)]
    assert saved[0] == saved[1]
    for name in optuna.get_all_study_names(f"sqlite:///{database}"):
        study = optuna.load_study(storage=f"sqlite:///{database}", study_name=name)
        assert all(t.state.is_finished() for t in study.trials)  # as each is told when it has ended
