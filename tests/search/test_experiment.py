"""A whole search, small but real, checked against the Optuna studies that it left."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import itertools
import json
import math
import os
import re
import resource
import shutil
import socket
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import filelock
import numpy as np
import optuna
import pytest
import torch

import lstmreg
from lstmreg import models, search
from lstmreg.config import AMOUNTS, PLANNED, Config, with_settings
from lstmreg.data.blocks import make_blocks
from lstmreg.data.table import read_series
from lstmreg.data.windows import Scaler, Windower
from lstmreg.errors import ConfigError, CorruptFileError, DataError, NoUsableTrialError
from lstmreg.report import numbers
from lstmreg.search import Progress, decisions, method, planning
from lstmreg.search.config_file import read_config
from lstmreg.search.decisions import Conclusion
from lstmreg.search.evidence import Evidence
from lstmreg.search.method import BASELINE, Candidate
from lstmreg.search.records import ROLES, STAGES, Record, Replicate, Stage
from lstmreg.search.space import baseline_config, key
from lstmreg.tasks import read_task
from lstmreg.training import trainer
from lstmreg.training.population.together import Assignment, train_together
from lstmreg.training.single import Trained, train_single
from tests.tiny import smallest_config, tiny_config, write_series

WEIGHT_DECAY = {"training.optimizer": "adamw", "training.weight_decay": 0.1}
VALUES = [
    *({"model.kernel_l2": value} for value in (1e-4, 1e-2)),
    {"model.dropout": 0.2},
    *({"model.recurrent_dropout": value} for value in (0.1, 0.3)),
    WEIGHT_DECAY,
]

#: Of the trainings that explain: no search tries them.
NOT_SHOWN = ("keep", "max_epochs", "patience", "without")


class Searched(NamedTuple):
    """A search that has come to its end, and all that it told."""

    evidence: Evidence
    told: list[Progress]


def the_config(folder: Path) -> Config:
    return tiny_config(folder, trials=4, batch=2, race=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def searched(folder: Path) -> Searched:
    told: list[Progress] = []
    return Searched(search.run(the_config(folder), told.append), told)


@pytest.fixture(scope="module")
def evidence(searched: Searched) -> Evidence:
    return searched.evidence


def studies(directory: Path) -> dict[str, optuna.Study]:
    url = f"sqlite:///{directory / 'study.db'}"
    return {
        name.split("/")[1]: optuna.load_study(storage=url, study_name=name) for name in optuna.get_all_study_names(url)
    }


def all_records(evidence: Evidence) -> Iterator[Record]:
    for stage in STAGES:
        yield from evidence.records[stage]


def trainings(evidence: Evidence) -> list[tuple[object, ...]]:
    """What ran, on which rows, and what came out, to the last digit."""

    def given(record: Record) -> str:
        kept = {} if record.result is None else record.result.to_attribute()
        return json.dumps({name: value for name, value in kept.items() if name != "seconds"})

    return [
        (r.stage, r.role, key(r.setting), r.replicate, r.split, r.learning_rate, given(r), r.failure)
        for r in all_records(evidence)
    ]


# ---------------------------------------------------------------------- what the studies hold


def test_there_is_one_study_per_stage_and_no_trial_is_left_open(evidence: Evidence) -> None:
    found = studies(evidence.config.directory)
    assert tuple(found) == STAGES
    assert {t.state.name for study in found.values() for t in study.trials} == {"COMPLETE"}


def test_the_card_says_that_the_data_are_a_file(evidence: Evidence) -> None:
    assert evidence.card.is_in_memory is False


def test_records_are_what_the_studies_hold(evidence: Evidence) -> None:
    for stage, study in studies(evidence.config.directory).items():
        assert sorted(r.number for r in evidence.records[stage]) == list(range(len(study.trials)))
        for record in evidence.records[stage]:
            trial = study.trials[record.number]
            assert record.result.to_attribute() == trial.user_attrs["result"]
            assert trial.value == (record.result.test_error if stage == "test" else record.result.loss)


def test_what_was_tried_stands_in_optunas_own_parameters_with_one_distribution_each(evidence: Evidence) -> None:
    for stage, study in studies(evidence.config.directory).items():
        known: dict[str, set[str]] = {}
        for trial in study.trials:
            tried = {path: v for path, v in trial.user_attrs["setting"].items() if path.split(".")[1] not in NOT_SHOWN}
            assert trial.params == tried, stage
            for path, distribution in trial.distributions.items():
                known.setdefault(path, set()).add(repr(distribution))
        assert all(len(of_path) == 1 for of_path in known.values())


def test_a_training_ends_by_its_best_epoch_and_not_its_last(evidence: Evidence) -> None:
    for record in all_records(evidence):
        curve = record.result.val
        assert record.result.best_epoch == int(np.argmin(curve))
        kept = curve[-1] if "training.keep" in record.setting else min(curve)  # but for what explains
        assert record.result.val_loss == pytest.approx(kept, rel=1e-4)
        assert record.result.loss != record.result.val_loss


def test_nothing_was_trained_twice(evidence: Evidence) -> None:
    for stage in STAGES:
        assert set(Counter(r.identity for r in evidence.records[stage]).values()) == {1}


# ---------------------------------------------------------------------- what is trained


def test_the_baseline_has_three_seeds_on_each_block_at_each_learning_rate(evidence: Evidence) -> None:
    ran = Counter((r.setting["training.learning_rate"], r.replicate) for r in evidence.records["rates"])
    assert ran == {(rate, Replicate(b, s)): 1 for rate in (0.01, 0.03) for b in range(3) for s in range(3)}
    by_rate = {
        rate: [r.result.loss for r in evidence.records["rates"] if r.setting["training.learning_rate"] == rate]
        for rate in (0.01, 0.03)
    }
    best = min(by_rate, key=lambda rate: float(np.prod(by_rate[rate])))
    assert decisions.chosen_learning_rate(evidence) == best
    assert {r.learning_rate for stage in STAGES[1:] for r in evidence.records[stage]} == {best}


def test_every_value_ran_alone_on_every_block_with_the_baselines_first_seed(evidence: Evidence) -> None:
    ran = Counter((key(r.setting), r.replicate) for r in evidence.records["choose"] if r.role == "screen")
    assert ran == {(key(setting), Replicate(block, 0)): 1 for setting in VALUES for block in range(3)}


def test_every_proposal_is_new_and_joins_on_all_blocks(evidence: Evidence) -> None:
    proposed = [r for r in evidence.records["choose"] if r.role == "propose"]
    settings = {key(r.setting) for r in proposed}
    assert len(settings) == 4
    assert not settings & {key({}), *(key(setting) for setting in VALUES)}
    assert Counter(r.replicate for r in proposed) == {Replicate(block, 0): 4 for block in range(3)}
    for record in proposed:  # what must stand beside weight decay does, and nowhere else
        assert ("training.weight_decay" in record.setting) == ("training.optimizer" in record.setting)


def test_no_more_is_trained_than_was_planned(evidence: Evidence) -> None:
    ran = Counter(r.role for r in all_records(evidence))
    assert (ran["learning rate"], ran["screen"], ran["propose"]) == (2 * 3 * 3, 6 * 3, 4 * 3)
    # The pick, the baseline and weight decay with two fresh seeds, or more if some of the race's were left.
    assert ran["judge"] >= 2 * 3 * 2
    chosen = sum(ran[role] for role in ("screen", "grow", "propose", "race", "combine"))
    assert chosen + ran["judge"] <= 3 * (6 + 4 + 5 + 3 * 2)
    assert ran["test"] == 2 * len(Conclusion.of(evidence).tested)


def seed_of(evidence: Evidence, record: Record) -> int:
    """The seed of a training, by hand."""
    kind = 2 if record.stage == "test" else 0
    entropy = np.random.SeedSequence((evidence.config.search.seed, kind, *record.split, record.replicate.seed))
    return int(entropy.generate_state(1)[0])


def test_no_seed_that_chose_judges_and_none_of_both_meets_the_test(evidence: Evidence) -> None:
    seeds: dict[str, set[int]] = {"choosing": set(), "judge": set(), "test": set()}
    for record in all_records(evidence):
        part = record.stage if record.stage in ("judge", "test") else "choosing"
        seeds[part].add(seed_of(evidence, record))
    assert len(set.union(*seeds.values())) == sum(len(found) for found in seeds.values())
    judging = {r.replicate.seed for r in evidence.records["judge"]}
    assert min(judging) == 8 > max(r.replicate.seed for s in ("rates", "choose") for r in evidence.records[s])
    # All sides of a pair share a seed, and no two blocks do.
    by_block = [{seed_of(evidence, r) for r in all_records(evidence) if r.split == split} for split in splits(evidence)]
    assert len(set.union(*by_block)) == sum(len(found) for found in by_block)


def splits(evidence: Evidence) -> set[tuple[int, ...]]:
    return {r.split for r in all_records(evidence)}


def test_each_block_is_judged_by_the_pick_of_the_others(evidence: Evidence) -> None:
    """By hand: with a block's own losses taken away, or turned into anything, its pick is the same."""
    found = Conclusion.of(evidence)
    assert found.judged is not None
    assert found.judged.rivals is not None
    choosing = {cell: loss for cell, loss in found.log_losses.items() if cell.seed < found.plan.most_seeds}
    chance = np.random.default_rng(0)
    for block in range(3):
        other = {cell: chance.normal() if cell.block == block else loss for cell, loss in choosing.items()}
        picked = method.picks(method.LogLosses(3, other), found.plan)
        assert picked is not None
        assert picked[1] is not None
        pick, rival = picked[0].of_blocks[block], picked[1].of_blocks[block]
        judged = {Candidate.of(r.setting) for r in evidence.records["judge"] if r.replicate.block == block}
        assert judged == {BASELINE, pick, rival}


def test_judged_cases_neither_train_nor_end_a_training(evidence: Evidence) -> None:
    task = read_task(evidence.config)
    found = task.splits(evidence.config.search)
    assert {split.key for split in (*found.blocks, found.final)} == splits(evidence)
    for split in (*found.blocks, found.final):
        parts = [set(part.tolist()) for part in (split.train, split.validation, split.judged)]
        assert len(set.union(*parts)) == sum(len(part) for part in parts)
        assert max(parts[0]) < min(parts[1]) <= max(parts[1]) < min(parts[2])  # in the order of time
    tested = set(found.final.judged.tolist())
    for split in found.blocks:
        assert not tested & {*split.train.tolist(), *split.validation.tolist(), *split.judged.tolist()}
    judged = [n for split in found.blocks for n in split.judged.tolist()]
    assert len(judged) == len(set(judged))


def again(evidence: Evidence, record: Record) -> tuple[Config, object, object]:
    """Return the configuration, the task and the split of a training, from its record alone."""
    task = read_task(evidence.config)
    split = task.splits(evidence.config.search).blocks[record.replicate.block]
    assert record.split == split.key
    base = baseline_config(evidence.config, decisions.chosen_learning_rate(evidence), len(task.features))
    return with_settings(base, record.setting | {"training.seed": seed_of(evidence, record)}), task, split


def test_a_record_can_be_trained_again_from_its_setting_alone(evidence: Evidence) -> None:
    record = next(r for r in evidence.records["judge"] if r.setting)
    twin = next(r for r in evidence.records["judge"] if not r.setting and r.replicate == record.replicate)
    config, task, split = again(evidence, record)
    told: list[Trained] = []
    train_together([Assignment(config, split)], task, lambda number, outcome: told.append(outcome))
    assert told[0].result.val_loss == record.result.val_loss  # to the last bit, whoever trained beside it
    assert float(told[0].judged_losses().mean()) == record.result.loss
    alone = train_single(config, task, split)
    assert alone.val_loss == pytest.approx(record.result.val_loss, rel=1e-5)
    assert record.result.loss != twin.result.loss

    # The judged loss by hand: squared errors on the judged rows, in units of what trained.
    values = read_series(evidence.config.data).targets[:, 0]
    first = evidence.config.data.window
    trained_on = values[: split.train.max() + first + 1]
    errors = alone.predict(split.judged)[:, 0] - values[split.judged + first]
    assert record.result.loss == pytest.approx(float(np.mean((errors / trained_on.std()) ** 2)), rel=1e-4)


def test_any_other_setting_is_an_arm_and_weight_decay_beside_it_another(tmp_path: Path) -> None:
    space = {"model.hidden_size": [4, 6], "training.optimizer": ["sgd", "adamw"]}
    found = search.run(smallest_config(tmp_path, space=space, weight_decay=[0.1]))
    screened = {key(r.setting) for r in found.records["choose"] if r.role == "screen"}
    optimizers = [{"training.optimizer": name} for name in ("sgd", "adamw")]
    assert screened == {key(setting) for setting in ({"model.hidden_size": 6}, *optimizers, WEIGHT_DECAY)}
    rows = {row.arm.path: [dose.value for dose in row.doses] for row in Conclusion.of(found).rows}
    assert rows == {"model.hidden_size": [6], "training.optimizer": ["sgd", "adamw"], "training.weight_decay": [0.1]}
    roles = {knob.path: knob.role for knob in numbers.answer(found).knobs}
    assert roles["model.hidden_size"] == roles["training.optimizer"] == "setting"
    assert roles["training.weight_decay"] == "rival"


# ---------------------------------------------------------------------- the model that is saved


def predicted(evidence: Evidence) -> np.ndarray:
    """What the saved network predicts on the test rows, by hand."""
    network, about = models.load(evidence.config.directory)
    series = read_series(evidence.config.data)
    test = make_blocks(len(series), evidence.config.data, evidence.config.search).test
    inputs, outputs = (Scaler(*(np.array(about[k][n]) for n in ("mean", "scale"))) for k in ("inputs", "outputs"))
    windows = Windower(about["window"], about["horizon"], inputs, outputs).cut(series, test.origin, test.end)
    with torch.no_grad():
        found = outputs.unscaled(network(torch.from_numpy(windows.inputs)).numpy())
    forecaster = lstmreg.load(evidence.config.directory)
    assert isinstance(forecaster, lstmreg.Forecaster)
    rows, forecasts = forecaster.historical_forecasts(evidence.config.data.path, test.origin, test.end)
    assert list(rows) == list(range(test.origin, test.end))
    np.testing.assert_allclose(forecasts, found, rtol=1e-6)
    return found


def test_the_saved_model_gives_the_tested_predictions(evidence: Evidence) -> None:
    tested = evidence.results(Conclusion.of(evidence).recommended, "test").values()
    best = min(tested, key=lambda result: result.val_loss)
    np.testing.assert_allclose(predicted(evidence), best.predictions, rtol=1e-6)


def test_where_something_is_recommended_its_model_is_saved(tmp_path: Path) -> None:
    """A baseline that hardly learns, and a learning rate with which it does."""
    space = {"training.learning_rate": [0.05], "model.kernel_l2": [1e-6]}
    config = smallest_config(tmp_path, space=space, learning_rates=[1e-6], judge_seeds=3)
    config = with_settings(config, {"training.max_epochs": 25, "training.patience": 25, "model.hidden_size": 8})
    found = search.run(dataclasses.replace(config, data=dataclasses.replace(config.data, season=None)))
    conclusion = Conclusion.of(found)
    assert conclusion.judged is not None
    assert conclusion.is_confirmed, conclusion.judged.against
    assert conclusion.recommended["training.learning_rate"] == 0.05
    best = min(found.results(conclusion.recommended, "test").values(), key=lambda result: result.val_loss)
    assert best.test_error < 0.9 * min(result.test_error for result in found.results({}, "test").values())
    np.testing.assert_allclose(predicted(found), best.predictions, rtol=1e-6)
    assert numbers.answer(found).recommended == conclusion.recommended


def test_reading_a_run_gives_the_same_evidence_wherever_its_folder_lies(evidence: Evidence, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / evidence.config.run_name
    shutil.copytree(evidence.config.directory, moved)
    found = search.read(moved)
    assert found.records == evidence.records
    assert found.card == evidence.card
    assert found.config.search == evidence.config.search
    assert Conclusion.of(found).tested == Conclusion.of(evidence).tested


# ---------------------------------------------------------------------- what is told


def test_progress_never_exceeds_its_total_and_ends_at_it(searched: Searched) -> None:
    told = searched.told
    assert all(p.done <= p.planned for p in told)
    assert [p.done for p in told] == sorted(p.done for p in told)
    assert told[0].role == "plan"
    assert {p.planned for p in told[1:]} <= set(range(told[0].planned + 1))
    assert told[-1].done == told[-1].planned == sum(len(records) for records in searched.evidence.records.values())
    assert sum(p.record is not None for p in told) == told[-1].done
    roles = [ROLES.index(p.role) for p in told[1:] if p.role not in ("grow", "race", "combine")]
    assert roles == sorted(roles)


def test_each_step_tells_what_its_settings_have_shown(searched: Searched) -> None:
    evidence = searched.evidence
    shown = {role: [s for p in searched.told if p.role == role for s in p.shown] for role in ROLES}
    assert [key(s.setting) for s in shown["screen"]] == [key(setting) for setting in VALUES]
    for one in shown["screen"]:
        rate = decisions.chosen_learning_rate(evidence)
        baseline = {
            r.replicate: r.result
            for r in evidence.records["rates"]
            if r.setting["training.learning_rate"] == rate and r.replicate.seed == 0
        }
        own = {
            r.replicate: r.result
            for r in evidence.records["choose"]
            if r.role == "screen" and key(r.setting) == key(one.setting)
        }
        ratios = [own[replicate].loss / baseline[replicate].loss for replicate in baseline]
        assert one.ratio == pytest.approx(math.exp(np.mean(np.log(ratios))))
        assert (one.better, one.blocks, one.failed) == (sum(ratio < 1 for ratio in ratios), 3, 0)
    assert [s.setting for s in shown["test"]] == Conclusion.of(evidence).tested
    errors = [result.test_error for result in evidence.results({}, "test").values()]
    assert shown["test"][0].loss == pytest.approx(np.mean(errors))


# ---------------------------------------------------------------------- going on


def test_the_same_run_twice_gives_the_same_evidence_to_the_last_digit(folder: Path, evidence: Evidence) -> None:
    twice = search.run(dataclasses.replace(the_config(folder), name="twice"))
    assert trainings(twice) == trainings(evidence)
    assert numbers.answer(twice).judged == numbers.answer(evidence).judged
    saved = [(e.config.directory / "model.safetensors").read_bytes() for e in (twice, evidence)]
    assert saved[0] == saved[1]


def test_other_processes_give_the_same_evidence_to_the_last_digit_also_where_they_take_over(
    folder: Path, evidence: Evidence
) -> None:
    """A sitting of this process, cut in the middle, then one of two processes; each trial says where it ran."""
    config, told = dataclasses.replace(the_config(folder), name="elsewhere"), []

    def stop(progress: Progress) -> None:
        told.append(progress)
        if progress.role == "race":
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        search.run(config, stop)
    begun = len([p for p in told if p.record is not None])
    found = search.run(dataclasses.replace(config, search=dataclasses.replace(config.search, workers=2)), told.append)
    assert trainings(found) == trainings(evidence)
    assert numbers.answer(found).judged == numbers.answer(evidence).judged
    places = Counter(r.place for r in all_records(found))
    assert places[f"{socket.gethostname()}/{os.getpid()}"] == begun
    assert len(places) == 3
    assert len({r.machine for r in all_records(found)}) == 1
    assert max(p.alive for p in told) > 1
    judged = [p for p in told if p.role == "judge" and p.record is not None]
    assert [p.ended for p in judged] == list(range(1, judged[0].step + 1))


def test_a_clock_that_goes_back_changes_nothing(
    folder: Path, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look at the time of day is an hour before the last one; what only rises goes on rising."""
    looks = itertools.count()

    class Backwards(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return datetime.datetime(2030, 1, 1, tzinfo=tz) - datetime.timedelta(hours=next(looks))

    monkeypatch.setattr(optuna.trial._frozen, "datetime", SimpleNamespace(datetime=Backwards))
    monkeypatch.setattr(time, "time", lambda: Backwards.now().timestamp())
    found = search.run(dataclasses.replace(the_config(folder), name="backwards"))
    assert next(looks) > len(list(all_records(found)))
    assert trainings(found) == trainings(evidence)
    trials = studies(found.config.directory)["judge"].trials
    assert trials[0].datetime_complete > trials[-1].datetime_complete


def test_a_finished_search_run_again_trains_nothing(folder: Path, searched: Searched) -> None:
    saved = (searched.evidence.config.directory / "model.safetensors").read_bytes()
    told: list[Progress] = []
    same = search.run(the_config(folder), told.append)
    assert not [p for p in told if p.record is not None]
    assert same.records == searched.evidence.records
    assert told[0].planned == searched.told[0].planned
    assert told[-1].done == told[-1].planned == searched.told[-1].done
    assert (same.config.directory / "model.safetensors").read_bytes() == saved


#: At the first of what is told for which this holds, somebody presses Ctrl-C.
MOMENTS: list[Callable[[Progress], bool]] = [
    lambda p: p.role == "learning rate" and p.record is not None and p.done == 5,
    lambda p: p.role == "screen" and p.epoch == 2,
    lambda p: p.role == "propose" and p.record is not None and p.record.number % 2 == 1,
    lambda p: p.role == "race" and p.record is None,
    lambda p: p.role == "judge" and p.record is not None and p.done % 3 == 0,
    lambda p: p.role == "test" and p.record is not None,
    lambda p: p.role == "explain" and p.record is not None,
]


def test_a_search_cut_anywhere_goes_on_to_the_same_end(folder: Path, searched: Searched) -> None:
    """Ctrl-C in every part: no trial is left open, nothing runs twice, and the studies end up the same."""
    config = dataclasses.replace(the_config(folder), name="cut")
    most, ran, cuts = searched.told[0].planned, 0, 0
    for moment in [*MOMENTS, lambda p: False]:
        cut = False

        def stop(progress: Progress, moment: Callable[[Progress], bool] = moment) -> None:
            nonlocal cut, ran
            ran += progress.record is not None
            assert progress.done <= progress.planned <= most
            if moment(progress):
                cut = True
                raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt):
            found = search.run(config, stop)
        states = {t.state.name for study in studies(config.directory).values() for t in study.trials}
        assert states <= {"COMPLETE"}
        cuts += cut
    assert trainings(found) == trainings(searched.evidence)
    assert ran == searched.told[-1].done
    assert cuts == len(MOMENTS)


def test_ctrl_c_within_a_training_loses_that_training_alone(
    folder: Path, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(the_config(folder), name="within")
    fit, calls = trainer._fit, []

    def interrupted(*arguments: object) -> None:
        calls.append(1)
        if len(calls) == 3:  # after the measurement and the learning rates
            raise KeyboardInterrupt
        fit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer, "_fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search.run(config)
    found = studies(config.directory)
    assert found["choose"].trials == []
    assert {t.state.name for t in found["rates"].trials} == {"COMPLETE"}
    count = len(evidence.records["rates"])
    assert trainings(search.read(config.directory)) == trainings(evidence)[:count]


def test_a_trial_that_a_dead_process_left_running_is_no_evidence(evidence: Evidence, tmp_path: Path) -> None:
    directory = tmp_path / evidence.config.run_name
    shutil.copytree(evidence.config.directory, directory)
    studies(directory)["judge"].ask()
    assert search.read(directory).records == evidence.records


def test_a_full_disk_is_said_and_what_was_told_is_kept(
    folder: Path, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # Optuna tries again, later
    config = dataclasses.replace(the_config(folder), name="full")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    told: list[Record] = []

    def fill(progress: Progress) -> None:
        if progress.record is not None:
            told.append(progress.record)
        if len(told) == 4:
            size = (config.directory / "study.db").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    try:
        with pytest.raises(OSError, match="the study cannot be read or written") as caught:
            search.run(config, fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(config.directory / "study.db") in str(caught.value)
    assert "told of are kept, those of this step are lost" in str(caught.value)
    database = studies(config.directory)["rates"].trials
    assert [t.number for t in database] == [r.number for r in told]
    assert 4 <= len(told) < len(evidence.records["rates"])


# ---------------------------------------------------------------------- what goes wrong


def delete(directory: Path) -> None:
    shutil.rmtree(directory)


def replace_by_a_file(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.touch()


def delete_the_study(directory: Path) -> None:
    (directory / "study.db").unlink()


@pytest.mark.parametrize("take_away", [delete, replace_by_a_file, delete_the_study])
def test_a_folder_that_is_taken_away_in_the_middle_is_named_and_said_to_keep_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take_away: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # Optuna tries again, later
    config = smallest_config(tmp_path)
    told: list[Record] = []

    def hear(progress: Progress) -> None:
        if progress.record is not None:
            told.append(progress.record)
            if len(told) == 2:
                take_away(config.directory)

    with pytest.raises(OSError, match=r"was taken away while the search ran.*none is kept") as caught:
        search.run(config, hear)
    assert caught.value.filename == str(config.directory)
    assert len(told) == 2


def test_trainings_that_diverge_are_harm_with_their_reason_and_end_no_search(tmp_path: Path) -> None:
    """A learning rate and a penalty beyond all bounds: the one is not chosen, the other is not judged."""
    space = {"model.kernel_l2": [1e300]}
    told: list[Progress] = []
    found = search.run(smallest_config(tmp_path, learning_rates=[1e30, 0.03], space=space), told.append)
    assert decisions.chosen_learning_rate(found) == 0.03
    failed = [r for r in all_records(found) if r.failure is not None]
    assert {key(r.setting) for r in failed} == {'{"training.learning_rate": 1e+30}', '{"model.kernel_l2": 1e+300}'}
    assert all("diverged" in (r.failure or "") and r.result is None and r.traceback is None for r in failed)
    assert found.failures({"model.kernel_l2": 1e300}, "choose") == 3
    conclusion = Conclusion.of(found)
    (row,) = conclusion.rows
    assert row.verdict == "harms"
    assert row.best.band.mean == pytest.approx(math.log(2))
    assert (conclusion.judged, conclusion.recommended, found.records["judge"]) == (None, {}, [])
    # All doses are ruled out after the screen, so that no more is trained, and nothing is left of the plan.
    assert told[-1].done == told[-1].planned < told[0].planned
    assert next(s for p in told if p.role == "screen" for s in p.shown).failed == 3
    assert numbers.answer(found).is_confirmed is False
    assert search.read(found.config.directory).records == found.records


def test_a_baseline_that_always_diverges_ends_the_search_with_the_reason(tmp_path: Path) -> None:
    config = with_settings(smallest_config(tmp_path, learning_rates=[1e30]), {"training.optimizer": "sgd"})
    with pytest.raises(NoUsableTrialError, match=r"learning_rates.*diverged") as raised:
        search.run(config)
    assert raised.value.exit_code == 5
    assert {t.state.name for t in studies(config.directory)["rates"].trials} == {"FAIL"}


def test_five_errors_alike_stop_the_search_and_keep_their_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("no such device")

    monkeypatch.setattr(trainer, "_fit", broken)
    config = smallest_config(tmp_path)
    with pytest.raises(NoUsableTrialError, match="RuntimeError: no such device"):
        search.run(config)
    trials = studies(config.directory)["rates"].trials
    assert len(trials) == 5
    assert "in broken" in trials[0].user_attrs["traceback"]


def interrupted_at(config: Config, role: str) -> list[Progress]:
    """Run a search until something of a role is told."""
    told: list[Progress] = []

    def stop(progress: Progress) -> None:
        told.append(progress)
        if progress.role == role:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search.run(config, stop)
    return told


def test_what_is_searched_is_off_in_the_baseline_whatever_is_configured(folder: Path, evidence: Evidence) -> None:
    config = dataclasses.replace(the_config(folder), name="configured")
    config = with_settings(config, {"model.dropout": 0.5, "training.weight_decay": 0.3})
    told = interrupted_at(config, "screen")
    assert any("The search turns off dropout=0.5, weight_decay=0.3" in note for note in told[0].notes)
    found = search.read(config.directory)
    ours, theirs = (
        {(key(r.setting), r.replicate): r.result.loss for r in e.records["rates"]} for e in (found, evidence)
    )
    assert ours == theirs


def test_another_question_under_the_same_name_is_refused(folder: Path, evidence: Evidence) -> None:
    with pytest.raises(ConfigError, match=r"search\.trials: 4 then, 5 now"):
        search.run(tiny_config(folder, trials=5, batch=2, race=5))
    assert search.read(evidence.config.directory).records == evidence.records


def test_a_plan_is_kept_with_the_run_and_never_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "waves.csv", rows=600)
    config = tiny_config(tmp_path, **dict.fromkeys(PLANNED))
    monkeypatch.setattr(planning, "seconds_a_step", lambda config, task: 1e9)
    (plan,) = interrupted_at(config, "plan")
    assert plan.notes[0].startswith("The plan: up to ")
    assert read_config(config.directory).search.amount == AMOUNTS[0]
    monkeypatch.setattr(planning, "seconds_a_step", lambda config, task: 1e-9)
    (plan,) = interrupted_at(config, "plan")
    assert plan.notes == ()
    assert read_config(config.directory).search.amount == AMOUNTS[0]
    thorough = dataclasses.replace(config, search=dataclasses.replace(config.search, effort="thorough"))
    with pytest.raises(ConfigError, match=r"search.effort: 'default' then, 'thorough' now"):
        search.run(thorough)
    (plan,) = interrupted_at(dataclasses.replace(thorough, name="another"), "plan")
    amount = read_config(tmp_path / "runs" / "another").search.amount
    assert (amount.race, amount.judge_seeds) == (AMOUNTS[-1].race, AMOUNTS[-1].judge_seeds)


def test_changed_data_under_the_same_name_are_refused(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    interrupted_at(config, "plan")
    path, kept = tmp_path / "waves.csv", (tmp_path / "waves.csv").read_text()
    rows = kept.splitlines()
    changed = {
        "row 8 is not the same": [*rows[:8], rows[8] + "1", *rows[9:]],
        "120 rows then, 119 now": rows[:-1],
        "120 rows then, 119 now; rows 1 to 119 are not the same": [rows[0], *rows[2:]],
        "rows 3 to 4, 9 are not the same": [
            row + "1" if number in (3, 4, 9) else row for number, row in enumerate(rows)
        ],
        "other columns (gone: noise; new: din)": [rows[0].replace("noise", "din"), *rows[1:]],
        "no value of the rows in use, but how it is written, or what is not in use": [
            *rows[:8],
            rows[8] + "0",
            *rows[9:],
        ],
    }
    for said, lines in changed.items():
        path.write_text("\n".join(lines) + "\n")
        with pytest.raises(DataError, match=re.escape(f"not what run 'waves' began with ({said}). Give the run")):
            search.run(config)
    path.write_text(kept)
    assert search.read(config.directory).card.size == 120


def test_a_run_that_another_process_works_on_is_refused_with_its_pid(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    config.directory.mkdir(parents=True)
    (config.directory / "owner.pid").write_text("4711\n")
    with filelock.FileLock(config.directory / ".lock"), pytest.raises(ConfigError, match="process 4711"):
        search.run(config)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_a_damaged_study_is_refused_and_left_as_it_is(evidence: Evidence, tmp_path: Path, damage: str) -> None:
    directory = tmp_path / evidence.config.run_name
    shutil.copytree(evidence.config.directory, directory)
    path = directory / "study.db"
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        del content[len(content) // 2 :]
    elif damage == "flipped":
        content[4096:8192] = bytes(255 - b for b in content[4096:8192])
    elif damage == "empty":
        content.clear()
    else:
        content[:] = b"this is no database\n" * 100
    path.write_bytes(content)
    for go_on in (search.read, lambda place: search.run(dataclasses.replace(evidence.config, runs=str(place.parent)))):
        with pytest.raises(CorruptFileError, match=r"study\.db") as raised:
            go_on(directory)
        assert raised.value.exit_code == 4
        assert path.read_bytes() == bytes(content)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("result", {"val_loss": 0.5}, "its result has no train_loss"),
        ("result", [0.5], "its result is no mapping: [0.5]"),
        ("role", "judge", "its role is 'judge'"),
        ("role", ["screen"], "its role is ['screen']"),
    ],
)
def test_a_damaged_trial_is_refused_by_its_number(
    evidence: Evidence, tmp_path: Path, name: str, value: object, said: str
) -> None:
    directory = tmp_path / evidence.config.run_name
    shutil.copytree(evidence.config.directory, directory)
    stage: Stage = "choose"
    study = studies(directory)[stage]
    with sqlite3.connect(directory / "study.db") as database:
        database.execute(
            "UPDATE trial_user_attributes SET value_json = ? WHERE trial_id = ? AND key = ?",
            (json.dumps(value), study.trials[3]._trial_id, name),
        )
    with pytest.raises(CorruptFileError) as caught:
        search.read(directory)
    reason = f"the study is damaged (trial 3 of stage 'choose': {said}). Move the file aside and run the search again."
    assert str(caught.value) == f"{directory / 'study.db'}: {reason}"


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="no run here"):
        search.read(tmp_path)
