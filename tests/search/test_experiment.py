"""A whole search, small but real, checked against the Optuna studies that it left."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
import shutil
import sqlite3
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest

import lstmreg
from lstmreg import models, report, search
from lstmreg.config import PLANNED, PLANS, Config, Plan, with_settings
from lstmreg.data.blocks import make_blocks
from lstmreg.data.table import read_series
from lstmreg.errors import ConfigError, CorruptFileError, DataError, NoUsableTrialError
from lstmreg.report import words
from lstmreg.search import decisions, planning
from lstmreg.search.config_file import settle, write_config
from lstmreg.search.evidence import Evidence
from lstmreg.search.records import STAGES, Record, Replicate
from lstmreg.search.space import baseline_config, key
from lstmreg.tasks import read_task
from lstmreg.training import trainer
from lstmreg.training.population.together import Assignment, train_together
from lstmreg.training.single import Trained, train_single
from tests.search.made_up import gave
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
            assert record.result.to_attribute() == trial.user_attrs["result"]
            expected = {"together": "relative", "test": "test_error"}.get(stage, "val_loss")
            assert trial.value == getattr(record.result, expected)


def test_a_trials_value_is_its_best_epoch_and_not_its_last(evidence: Evidence) -> None:
    for stage in STAGES:
        for record in evidence.records[stage]:
            curve = record.result.val
            assert record.result.best_epoch == int(np.argmin(curve))
            assert record.result.val_loss == pytest.approx(min(curve), rel=1e-4)


def test_every_knob_and_value_ran_alone_on_every_replicate_of_the_baseline(evidence: Evidence) -> None:
    replicates = {Replicate(0, 0), Replicate(1, 0)}
    ran = Counter((key(r.setting), r.replicate) for r in evidence.records["alone"])
    wanted = [{"model.kernel_l2": 1e-4}, {"model.kernel_l2": 1e-2}, {"model.dropout": 0.2}]
    wanted += [{"model.recurrent_dropout": 0.1}, {"model.recurrent_dropout": 0.3}]
    assert ran == Counter({(key(s), r): 1 for s in wanted for r in replicates})
    assert set(decisions.baseline_results(evidence)) == replicates


def test_the_baseline_has_the_learning_rate_with_the_least_mean_log_loss(evidence: Evidence) -> None:
    by_rate: dict[float, list[float]] = {}
    for record in evidence.records["baseline"]:
        by_rate.setdefault(record.setting["training.learning_rate"], []).append(record.result.val_loss)
    best = min(by_rate, key=lambda rate: float(np.prod(by_rate[rate])))
    assert decisions.chosen_learning_rate(evidence) == best


def test_every_proposal_is_new_and_runs_on_the_same_replicates(evidence: Evidence) -> None:
    sampled = [r for r in evidence.records["together"] if r.role == "sampled"]
    cells = Counter((r.position, r.replicate) for r in sampled)
    assert cells == {(n, Replicate(split, 0)): 1 for n in range(5) for split in range(2)}
    settings = {r.position: key(r.setting) for r in sampled}
    assert len(set(settings.values())) == 5
    assert not set(settings.values()) & {key({}), *(key(r.setting) for r in evidence.records["alone"])}


def test_the_shortlist_compares_proposals_on_the_same_replicates(evidence: Evidence) -> None:
    """A proposal that met the easy split alone would look best, whatever it is worth."""
    baseline = decisions.baseline_results(evidence)
    by_hand = {}
    for record in evidence.records["together"]:
        if record.role == "sampled":
            ratio = math.log(record.result.val_loss / baseline[record.replicate].val_loss)
            by_hand.setdefault(key(record.setting), []).append(ratio)
    best = min(by_hand, key=lambda setting: float(np.mean(by_hand[setting])))
    assert [key(s) for s in decisions.shortlist(evidence)] == [best]
    assert all(len(ratios) == 2 for ratios in by_hand.values())


def test_a_record_can_be_trained_again_from_its_setting_alone(evidence: Evidence, folder: Path) -> None:
    record = next(r for r in evidence.records["alone"] if "model.recurrent_dropout" in r.setting)
    twin = next(r for r in evidence.records["baseline"] if r.replicate == record.replicate)
    config = evidence.config
    task = read_task(config)
    split = task.splits(config.search).choose[record.replicate.split]
    base = baseline_config(config, decisions.chosen_learning_rate(evidence), len(task.features))
    assert record.split == split.key
    seed = np.random.SeedSequence((config.search.seed, 0, *split.key, record.replicate.seed))
    config = with_settings(base, record.setting)
    config = dataclasses.replace(
        config, training=dataclasses.replace(config.training, seed=int(seed.generate_state(1)[0]))
    )
    told: list[Trained] = []
    train_together([Assignment(config, split)], task, lambda number, outcome: told.append(outcome))
    assert told[0].result.val_loss == record.result.val_loss  # to the last bit, whoever trained beside it
    alone = train_single(config, task, split).result
    assert alone.val_loss == pytest.approx(record.result.val_loss, rel=1e-5)
    assert record.result.val_loss != twin.result.val_loss


def test_winner_baseline_and_what_is_left_out_are_confirmed_on_splits_that_chose_nothing(evidence: Evidence) -> None:
    winner = decisions.winner(evidence)
    splits = read_task(evidence.config).splits(evidence.config.search)
    assert not {s.key for s in splits.choose} & {s.key for s in splits.confirm}
    for setting in ({}, winner):
        assert set(evidence.results(setting, ["confirm"])) == {Replicate(0, 0), Replicate(1, 0)}
        assert len(evidence.results(setting, ["test"])) == 2
    for setting in decisions.left_out_settings(evidence):
        assert set(evidence.results(setting, ["confirm"])) == {Replicate(0, 0), Replicate(1, 0)}


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
    test = make_blocks(len(series), evidence.config.data, evidence.config.search).test
    inputs, outputs = (Scaler(*(np.array(about[k][n]) for n in ("mean", "scale"))) for k in ("inputs", "outputs"))
    windows = Windower(about["window"], about["horizon"], inputs, outputs).cut(series, test.origin, test.end)
    with torch.no_grad():
        predicted = outputs.unscaled(network(torch.from_numpy(windows.inputs)).numpy())
    tested = evidence.results(decisions.recommended(evidence), ["test"]).values()
    best = min(tested, key=lambda result: result.val_loss)
    np.testing.assert_allclose(predicted, best.predictions, rtol=1e-6)

    forecaster = lstmreg.load(evidence.config.directory)
    assert isinstance(forecaster, lstmreg.Forecaster)
    rows, forecasts = forecaster.historical_forecasts(evidence.config.data.path, test.origin, test.end)
    assert list(rows) == list(range(test.origin, test.end))
    np.testing.assert_allclose(forecasts, best.predictions, rtol=1e-6)


def test_a_single_column_is_searched_for_input_dropout_with_a_mask_for_each_gate(folder: Path) -> None:
    space = {"model.dropout": [0.3], "model.kernel_l2": [0.01]}
    config = dataclasses.replace(tiny_config(folder, space=space, trials=1), name="single")
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, features=["wave"]))
    found = search.run(config)
    assert {"model.dropout": 0.3} in [r.setting for r in found.records["alone"]]
    answer = report.answer(found)
    assert next(k for k in answer.knobs if k.name == "dropout").alone is not None
    assert any("dropout draws a mask for each gate" in sentence for sentence in words.sentences(answer))


def test_reading_a_run_gives_the_same_evidence_wherever_its_folder_lies(evidence: Evidence, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / evidence.config.run_name
    shutil.copytree(evidence.config.directory, moved)
    again = search.read(moved)
    assert again.records == evidence.records
    assert again.card == evidence.card
    assert decisions.winner(again) == decisions.winner(evidence)


# ---------------------------------------------------------------------- going on


def trainings(evidence: Evidence) -> list[tuple[object, ...]]:
    """What ran, on which rows, and what came out."""

    def loss(record: Record) -> float | None:
        return None if record.result is None else record.result.val_loss

    return sorted(
        (stage, key(r.setting), r.split, r.replicate.seed, str(r.position), loss(r), str(r.failure))
        for stage in STAGES
        for r in evidence.records[stage]
    )


def test_a_finished_search_run_again_trains_nothing(folder: Path) -> None:
    config = dataclasses.replace(tiny_config(folder), name="again")
    before = search.run(config)
    heard: list[str] = []
    same = search.run(config, lambda p: heard.append(p.role) if p.record else None)
    assert heard == []
    assert same.records == before.records
    assert same.looks == 1


WIDER = {
    "trials": {"trials": 8},
    "seeds": {"seeds": 2},
    "confirming seeds": {"confirm_seeds": 2},
    "test seeds": {"test_seeds": 3},
    "shortlist": {"shortlist": 2, "seeds": 2},
    "rates": {"learning_rates": [0.01, 0.03, 0.0001]},
    "splits": {"splits": 3},
    "confirming splits": {"confirm_splits": 3},
}


@pytest.mark.parametrize("name", WIDER)
def test_a_run_that_is_widened_ends_as_one_that_was_wide_from_the_beginning(
    folder: Path, evidence: Evidence, name: str
) -> None:
    wider = tiny_config(folder, **WIDER[name])
    if not (folder / "runs" / "narrow").exists():
        search.run(dataclasses.replace(tiny_config(folder), name="narrow"))
    widened = dataclasses.replace(wider, name=f"widened by {name}")
    shutil.copytree(folder / "runs" / "narrow", widened.directory)
    rename_studies(widened.directory, "narrow", widened.run_name)
    heard: list[search.Progress] = []
    after = search.run(widened, heard.append)
    fresh = search.run(dataclasses.replace(wider, name=f"wide by {name}"))
    assert trainings(after) == trainings(fresh)
    ran = sum(p.record is not None for p in heard)
    if "splits" not in name:  # which move the edges of all blocks
        assert ran < len(trainings(fresh))
    confirmed = len(fresh.records["confirm"]) != len(evidence.records["confirm"])
    assert (fresh.looks, after.looks) == (1, 2) if confirmed else (1, 1)
    assert trainings(search.read(widened.directory)) == trainings(after)


def rename_studies(directory: Path, old: str, new: str) -> None:
    """Give a copied run's studies the copy's name."""
    url = f"sqlite:///{directory / 'study.db'}"
    for stage in STAGES:
        optuna.copy_study(
            from_study_name=f"{old}/{stage}", from_storage=url, to_storage=url, to_study_name=f"{new}/{stage}"
        )


def test_a_run_whose_space_is_widened_keeps_what_it_has_tried(folder: Path) -> None:
    config = dataclasses.replace(tiny_config(folder), name="more values")
    before = search.run(config)
    space = dict(config.search.space or {}) | {"model.dropout": [0.2, 0.4], "model.bias_l2": [0.01]}
    after = search.run(dataclasses.replace(config, search=dataclasses.replace(config.search, space=space)))
    assert set(trainings(before)) <= set(trainings(after)) | {
        t for t in trainings(before) if t[0] in ("confirm", "test")
    }
    alone = {key(r.setting) for r in after.records["alone"]}
    assert alone - {key(r.setting) for r in before.records["alone"]} == {
        '{"model.dropout": 0.4}',
        '{"model.bias_l2": 0.01}',
    }


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
            [r.stage, r.role, r.setting, r.replicate, r.result.val_loss]
            for stage in STAGES
            for r in records.records[stage]
        ]

    assert outcome(cut) == outcome(evidence)


def test_ctrl_c_within_a_training_leaves_no_trial_open_and_the_proposals_come_again(
    folder: Path, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(tiny_config(folder), name="within")
    run, calls = trainer._fit, []

    def interrupted(*arguments: object) -> None:
        calls.append(1)
        if len(calls) == 4:  # after the measurement, the baseline and the knobs alone
            raise KeyboardInterrupt
        run(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer, "_fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search.run(config)
    found = studies(config.directory)
    assert found["together"].trials == []
    assert {t.state.name for study in found.values() for t in study.trials} == {"COMPLETE"}
    assert trainings(search.run(config)) == trainings(evidence)


def test_a_trial_that_a_dead_process_left_running_is_no_evidence(folder: Path, evidence: Evidence) -> None:
    config = dataclasses.replace(tiny_config(folder), name="dead")
    shutil.copytree(evidence.config.directory, config.directory)
    # The copied studies bear the old run's name: the new run begins its own beside them.
    study = optuna.create_study(storage=f"sqlite:///{config.directory / 'study.db'}", study_name="dead/baseline")
    study.ask()
    assert trainings(search.run(config)) == trainings(evidence)


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


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"learning_rates": [0.01]}, r"search\.learning_rates: \[0.01, 0.03\] then, \[0.01\] now"),
        ({"smallest_effect": 0.05}, r"search\.smallest_effect: 0.02 then, 0.05 now"),
        ({"space": {"model.kernel_l2": [1e-4]}}, r"search\.space\.model\.kernel_l2"),
        ({"confidence": 0.9}, r"search\.confidence"),
    ],
)
def test_what_narrows_or_changes_the_question_is_refused_with_the_difference(
    evidence: Evidence, folder: Path, settings: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        search.run(tiny_config(folder, **settings))


def test_fewer_splits_than_a_run_has_are_refused(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, splits=3)
    config.directory.mkdir(parents=True)
    write_config(config)
    assert settle(config, read_task(config)) == config
    with pytest.raises(ConfigError, match=r"search\.splits: 3 then, 2 now"):
        settle(tiny_config(tmp_path), read_task(tiny_config(tmp_path)))


def test_a_knob_that_is_configured_cannot_be_searched_later(tmp_path: Path) -> None:
    """The baseline turns off what is searched, so that all that was measured would be relative to another one."""
    config = with_settings(tiny_config(tmp_path), {"model.bias_l2": 0.1})
    config.directory.mkdir(parents=True)
    write_config(config)
    space = dict(config.search.space or {}) | {"model.bias_l2": [0.01]}
    with pytest.raises(ConfigError, match=r"search\.space\.model\.bias_l2: None then"):
        settle(dataclasses.replace(config, search=dataclasses.replace(config.search, space=space)), read_task(config))


def test_a_knob_that_is_searched_is_off_in_the_baseline_whatever_is_configured(tmp_path: Path) -> None:
    losses = []
    for dropout in (0.0, 0.5):
        config = tiny_config(tmp_path, trials=1, space={"model.dropout": [0.2]}, learning_rates=[0.03])
        config = dataclasses.replace(
            config, name=f"from-{dropout}", model=dataclasses.replace(config.model, dropout=dropout)
        )
        evidence = search.run(config)
        losses.append({r.replicate: r.result.val_loss for r in evidence.records["baseline"]})
    assert losses[0] == losses[1]


# ---------------------------------------------------------------------- the plan


def open_config(folder: Path, **search_settings: object) -> Config:
    return tiny_config(folder, **dict.fromkeys(PLANNED) | search_settings)


@pytest.mark.parametrize(("seconds", "plan"), [(1e-9, PLANS[-1]), (1e9, PLANS[0])])
def test_a_quick_search_is_the_largest_that_its_time_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, plan: Plan
) -> None:
    monkeypatch.setattr(planning, "seconds_a_step", lambda config, task: seconds)
    write_series(tmp_path / "waves.csv", rows=900)
    config = open_config(tmp_path)
    task = read_task(config)
    assert planning.Planner(config, task).choose() == plan
    given = open_config(tmp_path, splits=3)
    assert planning.Planner(given, task).choose() == dataclasses.replace(plan, splits=3)
    thorough = open_config(tmp_path, effort="thorough")
    assert planning.Planner(thorough, task).choose() == PLANS[-1]


def test_a_plan_has_no_blocks_that_are_too_short_to_judge_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "seconds_a_step", lambda config, task: 1e-9)
    write_series(tmp_path / "waves.csv", rows=200)
    config = open_config(tmp_path)
    task = read_task(config)
    chosen = planning.Planner(config, task).choose()
    splits = task.splits(dataclasses.replace(config.search, **dataclasses.asdict(chosen)))
    assert min(len(s.validation) for s in (*splits.choose, *splits.confirm)) >= 12
    assert chosen != PLANS[-1]


def test_a_plan_is_kept_with_the_run_and_never_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "waves.csv", rows=300)
    config = open_config(tmp_path, learning_rates=[0.03], space={"model.kernel_l2": [1e-2]})
    monkeypatch.setattr(planning, "seconds_a_step", lambda config, task: 1e9)
    said: list[str] = []
    before = search.run(config, lambda progress: said.extend(progress.notes))
    assert re.search(r"about \d+ trainings, about \S+ hours.*--search\.effort=thorough about \d+, ", said[0])
    assert before.config.search.plan == PLANS[0]
    monkeypatch.setattr(planning, "seconds_a_step", lambda config, task: 1e-9)
    again = search.run(config)
    assert again.config.search == before.config.search
    assert trainings(again) == trainings(before)
    thorough = dataclasses.replace(config, search=dataclasses.replace(config.search, effort="thorough"))
    task = read_task(config)
    assert settle(task.completed(thorough), task).search.plan == planning.possible_plans(config, task)[-1] != PLANS[0]


def test_a_step_is_measured_and_the_time_left_falls_as_trainings_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, now = tiny_config(folder), [1000.0]
    epochs = itertools.count(step=3.0)  # each takes three seconds
    monkeypatch.setattr(planning, "time", SimpleNamespace(perf_counter=lambda: next(epochs), monotonic=lambda: now[0]))
    step = planning.seconds_a_step(config, read_task(config))
    members = min(planning._MEMBERS, planning.members_at_once(config))
    assert step == pytest.approx(3 / members / (planning._BATCHES + planning._EVALUATION))
    clock = planning.Clock(2.0)
    assert clock.seconds_left(10) == 20
    now[0] += 1.5
    assert clock.seconds_left(10) == 18.5
    ended = Record(0, "alone", {}, Replicate(0, 0), gave(1.0, seconds=0.5))
    clock.heard(ended)
    assert clock.seconds_left(10) == 5
    assert planning.Clock(None).seconds_left(10) is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(3, "about 10 seconds"), (71, "about 70 seconds"), (290, "about 5 minutes"), (7200, "about 2.0 hours")],
)
def test_durations_are_said_as_one_says_them(seconds: float, said: str) -> None:
    assert planning.duration(seconds) == said


def test_changed_data_under_the_same_name_are_refused(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    directory = config.directory
    search.run(config)
    write_series(tmp_path / "waves.csv", seed=1)
    with pytest.raises(DataError, match="not what run 'waves' began with"):
        search.run(config)
    assert search.read(directory).card.size == 120


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


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("result", {"val_loss": 0.5}, "its result has no train_loss"),
        ("result", [0.5], "its result is no mapping: [0.5]"),
        ("role", "confirm", "its role is 'confirm'"),
        ("role", ["alone"], "its role is ['alone']"),
    ],
)
def test_a_damaged_trial_is_refused_by_its_number(
    evidence: Evidence, tmp_path: Path, name: str, value: object, said: str
) -> None:
    directory = tmp_path / evidence.config.run_name
    shutil.copytree(evidence.config.directory, directory)
    study = studies(directory)["alone"]
    with sqlite3.connect(directory / "study.db") as database:
        database.execute(
            "UPDATE trial_user_attributes SET value_json = ? WHERE trial_id = ? AND key = ?",
            (json.dumps(value), study.trials[3]._trial_id, name),
        )
    with pytest.raises(CorruptFileError) as caught:
        search.read(directory)
    reason = f"the study is damaged (trial 3 of stage 'alone': {said}). Move the file aside and run the search again."
    assert str(caught.value) == f"{directory / 'study.db'}: {reason}"


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="no run here"):
        search.read(tmp_path)
