"""What is read of a study at once is what Optuna reads of it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from lstmreg.search.evidence import Evidence
from lstmreg.search.records import Replicate
from lstmreg.search.study import kept_trials
from lstmreg.search.study.kept_trials import KeptTrial
from tests.search.made_up import KNOB, made_up, ran


def test_the_trials_of_a_study_are_those_that_optuna_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_trials, "_AT_ONCE", 2)  # so that several rounds are needed
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")
    ours, other = (optuna.create_study(storage=storage, study_name=name) for name in ("ours", "other"))
    for value in (0.5, math.inf, -math.inf, 1e-300):
        for study in (other, ours):
            attributes = {"setting": {"a": value}, "text": "ä\n\u2028", "nothing": None, "losses": [1, math.nan]}
            study.add_trial(create_trial(value=value, user_attrs=attributes))
    ours.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"failure": "diverged"}))
    ours.add_trial(create_trial(state=TrialState.FAIL))
    ours.ask()
    found = list(kept_trials.kept_trials(storage, ours))
    theirs = ours.get_trials()
    assert len(found) == len(theirs) == 7
    for trial, known in zip(found, theirs, strict=True):
        assert (trial.number, trial.state, trial.value) == (known.number, known.state, known.value)
        assert repr(trial.attributes()) == repr(known.user_attrs)  # NaN equals nothing
        assert KeptTrial.of(known.number, known) == trial


def test_a_setting_is_found_among_trainings_that_are_added_and_replaced() -> None:
    evidence: Evidence = made_up()
    assert evidence.trials({KNOB: 0.01}, "choose") == {}
    for block in range(2):
        ran(evidence, "screen", {KNOB: 0.01}, block, 0, 1.0 + block)
        ran(evidence, "screen", {KNOB: 0.03}, block, 0, 5.0)
        found = evidence.results({KNOB: 0.01}, "choose")
        assert {replicate: result.loss for replicate, result in found.items()} == {
            Replicate(b, 0): 1.0 + b for b in range(block + 1)
        }
    evidence.records["choose"] = [dataclasses.replace(record, number=7) for record in evidence.records["choose"]]
    assert {record.number for record in evidence.trials({KNOB: 0.01}, "choose").values()} == {7}
    evidence.records["choose"][:] = evidence.records["choose"][:1]
    assert list(evidence.trials({KNOB: 0.01}, "choose")) == [Replicate(0, 0)]
