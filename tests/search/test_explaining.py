"""What is trained after the test explains the answer, is what it says it is, and decides nothing."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lstmreg import search
from lstmreg.config import AMOUNTS, Amount, Config, with_settings
from lstmreg.data.cases import Cases
from lstmreg.search import explaining, planning
from lstmreg.search.decisions import Conclusion
from lstmreg.search.evidence import Evidence
from lstmreg.search.explaining import FIRST_SEED, WITHOUT, Extent
from lstmreg.search.records import Record, Replicate
from lstmreg.tasks import read_task
from lstmreg.training.population.together import Assignment, train_together
from lstmreg.training.single import Lesson, Trained
from tests.tiny import smallest_config, tiny_config, write_series


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    config = tiny_config(tmp_path_factory.mktemp("explained"), explain=True)
    return search.run(with_settings(config, {"training.max_epochs": 24, "training.patience": 2}))


def explained(evidence: Evidence, *, is_end: bool) -> list[Record]:
    return [r for r in evidence.records["explain"] if ("training.keep" in r.setting) == is_end]


# ---------------------------------------------------------------------- without a column


@pytest.mark.parametrize("is_view", [True, False])
def test_cases_without_a_column_have_zeros_there_and_take_no_more_memory(*, is_view: bool) -> None:
    series = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    inputs = np.lib.stride_tricks.sliding_window_view(series, 7, axis=0).transpose(0, 2, 1)
    cases = Cases(inputs if is_view else inputs.copy(), np.zeros(len(inputs)))
    before = cases.inputs.copy()
    found = cases.without(1).inputs
    expected = before.copy()
    expected[:, :, 1] = 0
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(cases.inputs, before)
    assert found.strides == cases.inputs.strides
    assert np.shares_memory(found[0], found[1]) == is_view


def test_a_network_without_a_column_is_one_of_data_that_are_constant_there(tmp_path: Path) -> None:
    config = smallest_config(tmp_path)
    lines = Path(config.data.path).read_text().splitlines()
    constant = [lines[0], *(line.rsplit(",", 1)[0] + ",5.0" for line in lines[1:])]
    (tmp_path / "constant.csv").write_text("\n".join(constant) + "\n")
    other = dataclasses.replace(config, data=dataclasses.replace(config.data, path=str(tmp_path / "constant.csv")))

    def trained(config: Config, *without: int | None) -> list[Trained]:
        task = read_task(config)
        split = task.splits(config.search).blocks[0]
        told: dict[int, Trained] = {}
        assignments = [Assignment(task.completed(config), split, column) for column in without]
        train_together(assignments, task, lambda number, outcome: told.update({number: outcome}))
        return [told[number] for number in range(len(without))]

    noise = read_task(config).features.index("noise")
    (flat,), (whole,), together = trained(other, None), trained(config, None), trained(config, None, noise, None)
    assert together[1].judged_losses().tolist() == pytest.approx(flat.judged_losses().tolist(), rel=1e-5)
    for beside in (together[0], together[2]):  # nobody else misses the column
        assert beside.judged_losses().tolist() == pytest.approx(whole.judged_losses().tolist(), rel=1e-5)
    assert abs(math.log(together[1].val_loss / whole.val_loss)) > 1e-3


def test_each_column_is_left_out_on_every_block_beside_the_same_seeds_with_it(evidence: Evidence) -> None:
    pick = Conclusion.of(evidence).recommended
    found = {(r.setting.get(WITHOUT), r.replicate) for r in explained(evidence, is_end=False)}
    replicates = [Replicate(block, FIRST_SEED + seed) for block in range(3) for seed in range(2)]
    assert found == {(column, r) for column in (None, "wave", "noise") for r in replicates}
    assert all(explaining.apart(r.setting)[0] == pick for r in explained(evidence, is_end=False))
    seen = {r.replicate for stage in ("rates", "choose", "judge") for r in evidence.records[stage]}
    assert not seen & set(replicates)


def test_what_leaving_a_column_out_does_is_a_mean_of_pairs_with_students_interval(evidence: Evidence) -> None:
    told = explaining.about_columns(evidence, Conclusion.of(evidence))
    assert told is not None
    assert (told.seeds, told.columns, set(told.effects)) == (2, 2, {"wave", "noise"})
    loss = {(r.setting.get(WITHOUT), r.replicate): r.result.loss for r in explained(evidence, is_end=False)}
    for column, effect in told.effects.items():
        blocks = [
            np.mean([np.log(loss[column, r] / loss[None, r]) for r in {r for _, r in loss} if r.block == block])
            for block in range(3)
        ]
        half = stats.t.ppf(1 - 0.025 / 2, 2) * np.std(blocks, ddof=1) / math.sqrt(3)
        mean = np.mean(blocks)
        expected = np.expm1([mean, mean - half, mean + half])
        np.testing.assert_allclose([effect.mean, effect.low, effect.high], expected, rtol=1e-9)
    assert told.effects["wave"].mean > told.effects["noise"].mean  # it is forecast from itself


def test_of_many_columns_those_at_either_end_are_left_out(evidence: Evidence) -> None:
    names = [f"c{k}" for k in range(9)]
    heard = [0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.4, 0.6, 0.5]
    many = dataclasses.replace(evidence, card=dataclasses.replace(evidence.card, features=names))

    def told(record: Record) -> Record:
        return dataclasses.replace(record, result=dataclasses.replace(record.result, columns=heard))

    many = dataclasses.replace(
        many, records={stage: [told(r) for r in of_stage] for stage, of_stage in evidence.records.items()}
    )
    found = Conclusion.of(many)
    assert explaining.left_out(many, found, 6) == ["c1", "c3", "c5", "c4", "c2", "c0"]
    assert explaining.left_out(many, found, 3) == ["c1", "c3", "c0"]
    assert explaining.left_out(many, found, 0) == []
    unknown = dataclasses.replace(evidence, card=many.card)  # networks of other columns say nothing of these
    assert explaining.left_out(unknown, found, 6) == []
    assert explaining.left_out(unknown, found, 9) == names


# ---------------------------------------------------------------------- without early stopping


def test_a_training_that_is_not_stopped_is_the_same_one_trained_on(evidence: Evidence) -> None:
    found = Conclusion.of(evidence)
    lengths = [len(r.val) for r in explaining.stopped(evidence, {}).values()]
    count = explaining.epochs(evidence)
    assert count == min(24, math.ceil(2 * np.median(lengths))) > np.median(lengths)
    ends = explained(evidence, is_end=True)
    settings = explaining.unstopped(found)
    assert settings[0] == {}
    assert len(ends) == 3 * len(settings)
    assert {path for setting in settings for path in setting} >= {
        "model.kernel_l2",
        "model.dropout",
        "model.recurrent_dropout",
        "training.weight_decay",
    }
    longer = 0
    for setting in settings:
        last = evidence.results(explaining.to_the_end(evidence, setting), "explain")
        assert set(last) == {Replicate(block, 0) for block in range(3)}
        for replicate, result in last.items():
            twin = explaining.stopped(evidence, setting)[replicate]
            common = min(len(twin.val), count)
            assert result.val[:common] == twin.val[:common]
            assert result.train[:common] == twin.train[:common]
            assert (len(result.val), result.stopped) == (count, "max_epochs")
            assert result.val_loss == pytest.approx(result.val[-1], rel=1e-4)
            longer += count > len(twin.val)
    assert longer > len(ends) / 3


def test_what_not_stopping_costs_is_told_against_itself_and_against_none(evidence: Evidence) -> None:
    told = explaining.about_unstopped(evidence, Conclusion.of(evidence))
    assert told is not None
    assert told.epochs == explaining.epochs(evidence)
    assert [end.effect is None for end in told.ends] == [True] + [False] * (len(told.ends) - 1)
    plain = evidence.results(explaining.to_the_end(evidence, {}), "explain")
    for end in told.ends:
        last = evidence.results(explaining.to_the_end(evidence, end.setting), "explain")
        first = explaining.stopped(evidence, end.setting)
        cost = np.expm1(np.mean([np.log(last[r].loss / first[r].loss) for r in last]))
        assert end.cost.mean == pytest.approx(cost)
        scatter = np.std([np.log(last[r].loss / first[r].loss) for r in last], ddof=1) / math.sqrt(3)
        quantile = stats.t.ppf(1 - 0.025 / len(told.ends), 2)
        assert math.log1p(end.cost.high) - math.log1p(end.cost.mean) == pytest.approx(quantile * scatter)
        if end.effect is not None:
            assert end.effect.mean == pytest.approx(
                np.expm1(np.mean([np.log(last[r].loss / plain[r].loss) for r in last]))
            )


# ---------------------------------------------------------------------- how much


def test_an_answer_is_the_same_without_what_explains_it(evidence: Evidence) -> None:
    bare = dataclasses.replace(evidence, records=evidence.records | {"explain": []})
    one, two = Conclusion.of(evidence), Conclusion.of(bare)
    assert (one.judged, one.rows, one.tested) == (two.judged, two.rows, two.tested)
    assert explaining.about_columns(bare, two) is None
    assert explaining.about_unstopped(bare, two) is None


@pytest.mark.parametrize("amount", AMOUNTS)
@pytest.mark.parametrize("columns", [0, 2, 28])
def test_by_default_a_search_becomes_little_longer(tmp_path: Path, amount: Amount, columns: int) -> None:
    search = dataclasses.asdict(amount)
    found = planning.trainings(tiny_config(tmp_path, **search), columns)
    assert found["explain"] <= 0.15 * (sum(found.values()) - found["explain"])
    assert found["explain"] > 0
    assert planning.trainings(tiny_config(tmp_path, effort="quick", **search), columns)["explain"] == 0
    assert planning.trainings(tiny_config(tmp_path, explain=False, **search), columns)["explain"] == 0
    whole = planning.trainings(tiny_config(tmp_path, effort="thorough", **search), columns)
    # None, what was judged, and four arms; some columns and none, with two seeds.
    assert whole["explain"] == amount.blocks * (6 + (0 if columns == 0 else 2 * (1 + min(columns, 6))))


def test_room_is_shared_between_columns_and_knobs() -> None:
    whole = Extent(columns=6, seeds=2, unstopped=13)
    assert [explaining._within(room, whole) for room in (0, 1, 2, 5, 6, 11, 30)] == [
        Extent(0, 1, 0),
        Extent(0, 1, 0),
        Extent(0, 1, 2),
        Extent(0, 1, 5),
        Extent(2, 1, 3),
        Extent(4, 1, 6),
        Extent(6, 1, 13),
    ]
    for room in range(40):
        assert explaining._within(room, whole).trainings <= room


def test_what_never_stops_has_nothing_to_compare_with(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, explain=True)
    endless = dataclasses.replace(config.training, patience=None, keep="last")
    config = dataclasses.replace(config, training=endless)
    assert explaining.extent(config, 2).unstopped == 0


def test_a_single_column_is_not_left_out(tmp_path: Path) -> None:
    write_series(tmp_path / "waves.csv")
    config = tiny_config(tmp_path)
    single = dataclasses.replace(config, data=dataclasses.replace(config.data, features=["wave"]))
    assert explaining.columns(read_task(single)) == 0
    assert explaining.columns(read_task(config)) == 2


def test_an_answer_stands_where_nothing_can_explain_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(lesson: Lesson, column: int) -> Lesson:
        raise RuntimeError("no memory left")

    monkeypatch.setattr(Lesson, "without", broken)
    found = search.run(smallest_config(tmp_path, explain=True))
    assert {r.failure for r in found.records["explain"] if WITHOUT in r.setting} == {"RuntimeError: no memory left"}
    assert {} in Conclusion.of(found).tested
    assert explaining.about_columns(found, Conclusion.of(found)) is None
    assert (found.config.directory / "model.safetensors").exists()
