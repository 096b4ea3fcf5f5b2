"""SIGKILL at random moments: the search goes on to exactly the trials asked for, none lost, doubled or left open."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import optuna
import pytest

from lstmreg import report, search

from .test_experiment import trainings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("kills", "seed"), [(20, 0), *(pytest.param(50, s, marks=pytest.mark.storm) for s in range(10))]
)
def test_killing_a_search_at_random_moments_loses_and_doubles_nothing(tmp_path: Path, kills: int, seed: int) -> None:
    program = [sys.executable, "-m", "tests.search.killed", str(tmp_path), str(kills), str(seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(program, env=environment, check=True, capture_output=True, text=True)
    assert int(ran.stdout) >= min(kills / 2, 8)  # the others came when all was done

    runs = tmp_path / "runs"
    killed, whole = search.read(runs / "killed"), search.read(runs / "whole")
    assert trainings(killed) == trainings(whole)
    told = (runs / "killed.told").read_text().splitlines()
    assert max(Counter(told).values()) == 1  # what was told once is never trained again
    kept = {f"{r.stage} {r.identity}" for records in killed.records.values() for r in records}
    assert set(told) <= kept
    url = f"sqlite:///{runs / 'killed' / 'study.db'}"
    for name in optuna.get_all_study_names(url):
        assert all(trial.state.is_finished() for trial in optuna.load_study(storage=url, study_name=name).trials)
    one, two = report.answer(killed), report.answer(whole)
    assert (one.candidate, one.recommended, one.judged) == (two.candidate, two.recommended, two.judged)
    model = [(runs / name / "model.safetensors").read_bytes() for name in ("killed", "whole")]
    assert model[0] == model[1]
