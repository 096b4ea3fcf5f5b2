"""A whole search, small but real, checked against the Optuna studies that it left."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import optuna
import pytest

from lstmreg import models, search
from lstmreg.config import with_settings
from lstmreg.data.splits import make_splits
from lstmreg.data.table import read_series
from lstmreg.errors import ConfigError, CorruptFileError, DataError, NoUsableTrialError
from lstmreg.search import decisions
from lstmreg.search.evidence import STAGES, Evidence, Replicate
from lstmreg.search.space import baseline_config, key
from lstmreg.training import trainer
from lstmreg.training.single import Trained, train_single
from lstmreg.training.together import Task, train_together
from tests.tiny import tiny_config, write_series


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def evidence(folder: Path) -> Evidence:
    return search.run(tiny_config(folder))


def studies(directory: Path) -> dict[str, optuna.Study]:
    url = f"sqlite:///{directory / 'study.db'}"
    return {
        name.split("/")[1]: optuna.load_study(storage=url, study_name=name) for name in optuna.get_all_study_names(url)
    }


def test_there_is_one_study_per_stage_and_no_trial_is_left_open(evidence: Evidence) -> None:
    found = studies(evidence.config.directory)
    assert tuple(found) == STAGES
    states = {t.state for study in found.values() for t in study.trials}
    assert states == {optuna.trial.TrialState.COMPLETE}


def test_records_are_what_the_studies_hold(evidence: Evidence) -> None:
    for stage, study in studies(evidence.config.directory).items():
        assert sorted(r.number for r in evidence.records[stage]) == list(range(len(study.trials)))
        for record in evidence.records[stage]:
            trial = study.trials[record.number]
            assert record.result == trial.user_attrs["result"]
            expected = {"together": "relative", "test": "test_error"}.get(stage, "val_loss")
            assert trial.value == record.result[expected]


def test_a_trials_value_is_its_best_epoch_and_not_its_last(evidence: Evidence) -> None:
    for stage in STAGES:
        for record in evidence.records[stage]:
            curve = record.result["val"]
            assert record.result["best_epoch"] == int(np.argmin(curve))
            assert record.result["val_loss"] == pytest.approx(min(curve), rel=1e-4)


def test_every_knob_and_value_ran_alone_on_every_replicate_of_the_baseline(evidence: Evidence) -> None:
    replicates = {Replicate(0, 0), Replicate(1, 0)}
    ran = Counter((key(r.setting), r.replicate) for r in evidence.records["alone"])
    wanted = [{"model.kernel_l2": 1e-4}, {"model.kernel_l2": 1e-2}, {"model.dropout": 0.2}]
    wanted += [{"model.recurrent_dropout": 0.1}, {"model.recurrent_dropout": 0.3}]
    assert ran == Counter({(key(s), r): 1 for s in wanted for r in replicates})
    assert set(decisions.baseline_records(evidence)) == replicates


def test_the_baseline_has_the_learning_rate_with_the_least_mean_log_loss(evidence: Evidence) -> None:
    by_rate: dict[float, list[float]] = {}
    for record in evidence.records["baseline"]:
        by_rate.setdefault(record.setting["training.learning_rate"], []).append(record.result["val_loss"])
    best = min(by_rate, key=lambda rate: float(np.prod(by_rate[rate])))
    assert decisions.chosen_learning_rate(evidence) == best


def test_trials_count_the_sampled_settings_and_begin_with_baseline_and_singles(evidence: Evidence) -> None:
    sampled = [r for r in evidence.records["together"] if r.role == "sampled"]
    assert len(sampled) == 5
    assert sampled[0].setting == {}
    assert {len(r.setting) for r in sampled[1:4]} == {1}
    assert [r.replicate.split for r in sampled] == [0, 1, 0, 1, 0]
    assert [r.position for r in sampled] == [0, 1, 2, 3, 4]


def test_a_record_can_be_trained_again_from_its_setting_alone(evidence: Evidence, folder: Path) -> None:
    record = next(r for r in evidence.records["alone"] if "model.recurrent_dropout" in r.setting)
    twin = next(r for r in evidence.records["baseline"] if r.replicate == record.replicate)
    config = evidence.config
    series = read_series(config.data)
    split = make_splits(len(series), config.data, config.search).choose[record.replicate.split]
    base = baseline_config(config, evidence.dimensions, decisions.chosen_learning_rate(evidence))
    seed = np.random.SeedSequence((config.search.seed, 0, record.replicate.split, record.replicate.seed))
    config = with_settings(base, record.setting)
    config = dataclasses.replace(
        config, training=dataclasses.replace(config.training, seed=int(seed.generate_state(1)[0]))
    )
    told: list[Trained] = []
    train_together([Task(config, split)], series, lambda number, outcome: told.append(outcome))
    assert told[0].result.val_loss == record.result["val_loss"]  # to the last bit, whoever trained beside it
    alone = train_single(config, series, split).result
    assert alone.val_loss == pytest.approx(record.result["val_loss"], rel=1e-5)
    assert record.result["val_loss"] != twin.result["val_loss"]


def test_winner_and_baseline_are_confirmed_on_splits_that_chose_nothing(evidence: Evidence) -> None:
    winner = decisions.winner(evidence)
    series = read_series(evidence.config.data)
    splits = make_splits(len(series), evidence.config.data, evidence.config.search)
    assert not set(splits.choose) & set(splits.confirm)
    for setting in ({}, winner):
        assert set(evidence.results(setting, ["confirm"])) == {Replicate(0, 0), Replicate(1, 0)}
        assert len(evidence.results(setting, ["test"])) == 2


def test_each_knob_that_stays_in_the_winner_is_worth_having(evidence: Evidence) -> None:
    winner = decisions.winner(evidence)
    for path in winner:
        rise = decisions.score(evidence, decisions.without(winner, path)) - decisions.score(evidence, winner)
        assert rise >= -math.log1p(-evidence.config.search.smallest_effect)


def test_the_effect_alone_is_judged_where_its_value_was_not_chosen(evidence: Evidence) -> None:
    path = "model.recurrent_dropout"
    ratios = {v: decisions.ratios(evidence, {path: v}) for v in (0.1, 0.3)}
    first, second = Replicate(0, 0), Replicate(1, 0)
    judged = [
        ratios[min(ratios, key=lambda v: ratios[v][second])][first],
        ratios[min(ratios, key=lambda v: ratios[v][first])][second],
    ]
    effect = decisions.effect_alone(evidence, path, evidence.dimensions[path], 0.95)
    assert effect is not None
    assert effect.mean == pytest.approx(math.expm1(np.mean(judged)))


def test_the_saved_model_gives_the_tested_predictions(evidence: Evidence) -> None:
    import torch

    from lstmreg.data.windows import Scaler, Windower

    network, about = models.load(evidence.config.directory)
    series = read_series(evidence.config.data)
    test = make_splits(len(series), evidence.config.data, evidence.config.search).test
    inputs, outputs = (Scaler(*(np.array(about[k][n]) for n in ("mean", "scale"))) for k in ("inputs", "outputs"))
    windows = Windower(about["window"], about["horizon"], inputs, outputs).cut(series, test.origin, test.end)
    with torch.no_grad():
        predicted = outputs.unscaled(network(torch.from_numpy(windows.inputs)).numpy())[:, 0]
    tested = evidence.results(decisions.recommended(evidence), ["test"]).values()
    best = min(tested, key=lambda r: r.result["val_loss"])
    np.testing.assert_allclose(predicted, best.result["predictions"], rtol=1e-6)


def test_reading_a_run_gives_the_same_evidence_wherever_its_folder_lies(evidence: Evidence, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / evidence.config.run_name
    shutil.copytree(evidence.config.directory, moved)
    again = search.read(moved)
    assert again.records == evidence.records
    assert again.card == evidence.card
    assert decisions.winner(again) == decisions.winner(evidence)


# ---------------------------------------------------------------------- going on


def test_a_finished_search_run_again_trains_nothing_and_more_trials_train_only_those(folder: Path) -> None:
    config = dataclasses.replace(tiny_config(folder), name="again")
    before = search.run(config)
    heard: list[str] = []
    same = search.run(config, lambda p: heard.append(p.stage) if p.record else None)
    assert heard == []
    assert same.records == before.records
    more = dataclasses.replace(config, search=dataclasses.replace(config.search, trials=7))
    after = search.run(more)
    assert sum(r.role == "sampled" for r in after.records["together"]) == 7
    assert after.records["alone"] == before.records["alone"]


def test_a_search_cut_anywhere_goes_on_to_the_same_result(folder: Path, evidence: Evidence) -> None:
    """Ctrl-C at trials of every stage: the next sitting goes on, and the studies end up the same."""
    config = dataclasses.replace(tiny_config(folder), name="cut")
    total = sum(len(records) for records in evidence.records.values())
    sittings = 0
    while True:
        left = [7]

        def stop(progress: search.Progress, left: list[int] = left) -> None:
            if progress.record is not None:
                left[0] -= 1
                if left[0] <= 0:
                    raise KeyboardInterrupt

        sittings += 1
        try:
            cut = search.run(config, stop)
        except KeyboardInterrupt:
            continue
        break
    assert sittings > total / 9

    def outcome(records: Evidence) -> list[list[object]]:
        return [
            [r.stage, r.role, r.setting, r.replicate, r.result["val_loss"]]
            for stage in STAGES
            for r in records.records[stage]
        ]

    assert outcome(cut) == outcome(evidence)


def test_ctrl_c_within_a_training_closes_its_trials_and_runs_them_again(
    folder: Path, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(tiny_config(folder), name="within")
    run, calls = trainer._fit, []

    def interrupted(*arguments: object) -> None:
        calls.append(1)
        if len(calls) == 3:  # after the baseline and the knobs alone
            raise KeyboardInterrupt
        run(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer, "_fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search.run(config)
    trials = studies(config.directory)["together"].trials
    assert [t.state.name for t in trials] == ["FAIL"] * 5
    assert {t.user_attrs["failure"] for t in trials} == {"interrupted"}
    finished = search.run(config)
    again = studies(config.directory)["together"].trials[5:10]
    assert [t.params for t in again] == [t.params for t in trials]

    def sampled(e: Evidence) -> list[tuple[object, float]]:
        return [(r.setting, r.result["val_loss"]) for r in e.records["together"] if r.role == "sampled"]

    assert sampled(finished) == sampled(evidence)


def test_a_trial_that_a_dead_process_left_running_is_closed_and_run_again(folder: Path, evidence: Evidence) -> None:
    config = dataclasses.replace(tiny_config(folder), name="dead")
    shutil.copytree(evidence.config.directory, config.directory)
    url = f"sqlite:///{config.directory / 'study.db'}"
    # The copied studies bear the old run's name: the new run begins its own beside them.
    study = optuna.create_study(storage=url, study_name="dead/baseline")
    study.ask()
    search.run(config)
    states = Counter(t.state.name for t in optuna.load_study(storage=url, study_name="dead/baseline").trials)
    assert states == {"COMPLETE": 4, "FAIL": 1}


# ---------------------------------------------------------------------- what goes wrong


def test_a_diverging_value_is_a_failed_trial_with_its_reason_and_never_the_best(folder: Path) -> None:
    config = dataclasses.replace(
        tiny_config(folder, space={"model.kernel_l2": [1e-4, 1e300]}, trials=4), name="diverging"
    )
    found = search.run(config)
    failed = [r for r in found.records["alone"] if r.failure]
    assert {r.setting["model.kernel_l2"] for r in failed} == {1e300}
    assert all("diverged" in (r.failure or "") and "step" in (r.failure or "") for r in failed)
    assert decisions.best_value(found, "model.kernel_l2", [1e-4, 1e300]) == 1e-4


def test_a_baseline_that_always_diverges_ends_the_search_with_the_reason(folder: Path) -> None:
    config = dataclasses.replace(tiny_config(folder, learning_rates=[1e30]), name="hopeless")
    config = with_settings(config, {"training.optimizer": "sgd"})
    with pytest.raises(NoUsableTrialError, match=r"learning_rates.*diverged") as raised:
        search.run(config)
    assert raised.value.exit_code == 5


def test_five_errors_alike_stop_the_search_and_keep_their_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("no such device")

    monkeypatch.setattr(trainer, "_fit", broken)
    config = dataclasses.replace(tiny_config(folder, splits=6), name="broken")
    with pytest.raises(NoUsableTrialError, match="RuntimeError: no such device"):
        search.run(config)
    trials = studies(config.directory)["baseline"].trials
    assert len(trials) == 5
    assert "in broken" in trials[0].user_attrs["traceback"]


def test_another_configuration_under_the_same_name_is_refused_with_the_difference(evidence: Evidence) -> None:
    config = evidence.config
    other = dataclasses.replace(config, search=dataclasses.replace(config.search, splits=3))
    with pytest.raises(ConfigError, match=r"search\.splits: 2 then, 3 now"):
        search.run(other)


def test_changed_data_under_the_same_name_are_refused(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    directory = config.directory
    search.run(config)
    write_series(tmp_path / "waves.csv", seed=1)
    with pytest.raises(DataError, match="not the file that run 'waves' began with"):
        search.run(config)
    assert search.read(directory).card.rows == 120


def test_a_run_that_another_process_works_on_is_refused_with_its_pid(tmp_path: Path) -> None:
    import filelock

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
    with pytest.raises(CorruptFileError, match=r"study\.db") as raised:
        search.read(directory)
    assert raised.value.exit_code == 4
    assert path.read_bytes() == bytes(content)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="no run here"):
        search.read(tmp_path)
