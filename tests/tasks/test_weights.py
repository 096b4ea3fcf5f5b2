"""Weights of cases: one of 2 is the case twice, in training, in what is judged, and in what uses no network."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from lstmreg import search
from lstmreg.config import Config, DataConfig, TrainingConfig
from lstmreg.data.sequences import from_arrays, read_sequences
from lstmreg.data.sources.frame import from_frame
from lstmreg.data.table import read_series
from lstmreg.errors import ConfigError, DataError
from lstmreg.losses import Regression, weighted
from lstmreg.tasks import Split, Task
from lstmreg.training.population.together import Assignment, train_together
from lstmreg.training.single import Lesson, Trained, fit_held_out, train_single

from .kinds import KINDS, SEARCH, config_of

COUNTS = np.random.default_rng(11).integers(1, 4, 200).astype(np.int64)

each = pytest.mark.parametrize("kind", KINDS)


def with_weights(task: Task, weights: NDArray[Any]) -> Task:
    """Return a task whose data say how much each sequence counts, or each row."""
    name = "series" if task.name == "forecast" else "sequences"
    data = dataclasses.replace(getattr(task, name), weights=weights[: task.size].astype(np.float64))
    made = object.__new__(type(task))
    made.__dict__ |= {**vars(task), name: data}
    return made


def counts_of(task: Task, cases: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return so many whole numbers as cases, such that those of a forecast are means of the rows ahead as well."""
    return COUNTS[cases]


def weighing(kind: str) -> tuple[Task, Task]:
    """Return a task, and the same with weights whose cases have the whole numbers of ``counts_of``."""
    task = KINDS[kind]()
    if task.name != "forecast":
        return task, with_weights(task, COUNTS)
    of_rows = np.ones(task.size)  # a window counts as much as the mean of the two rows that it forecasts
    past, of_rows[task.data.past] = task.data.past, 1.0
    for case in range(task.size - past - 1):
        of_rows[case + past + 1] = 2 * COUNTS[case] - of_rows[case + past]
    other = with_weights(task, of_rows)
    assert np.allclose(other.weights(np.arange(9)), COUNTS[:9])
    return task, other


def repeated(split: Split, task: Task) -> Split:
    parts = {name: np.repeat(getattr(split, name), counts_of(task, getattr(split, name))) for name in PARTS}
    return dataclasses.replace(split, key=(*split.key, 1), **parts)


PARTS = ("train", "validation", "judged")


@each
@pytest.mark.parametrize("is_alone", [True, False])
def test_a_weight_of_two_trains_as_the_case_twice(kind: str, is_alone: bool) -> None:
    task, other = weighing(kind)
    config = config_of(task, batch_size=10_000, max_epochs=3, patience=None, keep="last", optimizer="sgd")
    config = task.completed(config)
    split = task.splits(SEARCH).blocks[1]
    scales = task.encoder(split)  # which are those of the cases, however much each counts
    task.encoder = lambda split: scales  # type: ignore[method-assign]
    found: list[Trained] = []
    for each_task, each_split in ((task, repeated(split, task)), (other, split)):
        if is_alone:
            found.append(train_single(config, each_task, each_split))
        else:
            train_together(
                [Assignment(config, each_split)] * 2, each_task, lambda number, outcome: found.append(outcome)
            )
    twice, heavy = found[0], found[-1]
    for name, weights in twice.network.state_dict().items():
        torch.testing.assert_close(weights, heavy.network.state_dict()[name], rtol=1e-4, atol=1e-6)
    assert heavy.train_loss == pytest.approx(twice.train_loss, rel=1e-4)
    of_training = counts_of(task, split.train).mean()
    for which, cases in (("val_loss", split.validation), ("judged", split.judged)):
        ours, theirs = (t.val_loss if which == "val_loss" else t.judged_losses().mean() for t in (heavy, twice))
        assert ours == pytest.approx(theirs * counts_of(task, cases).mean() / of_training, rel=1e-4)
    plain = train_single(config, task, split)
    assert plain.train_loss != pytest.approx(twice.train_loss, rel=1e-4)


@each
def test_errors_and_floors_are_those_of_the_case_twice(kind: str) -> None:
    task, other = weighing(kind)
    split = task.hold_out()
    more = repeated(split, task)
    training = task.completed(config_of(task)).training
    encoder = task.encoder(split)
    network = task.network(config_of(task).model).eval()
    judged = {}
    for each_task, each_split in ((task, more), (other, split)):
        cases = each_split.judged
        outputs = task.outputs(network, task.encoded(encoder), cases)
        predicted, truth = task.predictions(encoder, outputs, cases), task.truth(cases)
        scales = each_task.judging(encoder, each_split, cases)
        judged[each_task is task] = task.errors(training, predicted, truth, scales)
    if kind != "a task of one's own":  # whose own errors know of no weights
        assert judged[False] == pytest.approx(judged[True], rel=1e-6)
    ours, theirs = other.floors(split, split.judged), task.floors(more, split.judged)
    for name in ("mean", "majority", "ridge", "logistic"):
        # A regression that leaves out one case of two copies has not left out much: it chooses another penalty.
        if name in ours and (task.name == "forecast" or (name in ("mean", "majority") and task.name != "label")):
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-5)
    if task.name == "label":
        sequences = task.sequences
        rows = np.repeat(np.isin(np.arange(task.size), split.train) * COUNTS[: task.size], sequences.lengths)
        if task.classes:
            counts = [rows[sequences.targets == name].sum() for name in task.classes]
            np.testing.assert_allclose(ours["majority"][0, 0], np.divide(counts, np.sum(counts)))
        else:
            there = ~np.isnan(sequences.targets[:, 0])
            expected = np.average(sequences.targets[there, 0], weights=rows[there])
            np.testing.assert_allclose(ours["mean"][0, 0], expected)


@each
def test_only_ratios_count_and_those_of_the_cases_that_train(kind: str) -> None:
    task, other = weighing(kind)
    name = "series" if task.name == "forecast" else "sequences"
    split = task.splits(SEARCH).blocks[-1]
    config = task.completed(config_of(task, keep="last", patience=None, max_epochs=2))
    weights = getattr(other, name).weights
    changed = weights.copy()
    seen = np.zeros(len(weights), bool)
    seen[: split.key[0] if task.name == "forecast" else 0] = True
    if task.name != "forecast":
        seen[split.train] = True
    changed[~seen] *= np.linspace(2, 3, (~seen).sum())
    tasks = [other, with_weights(task, 7 * weights), with_weights(task, changed)]
    trained = [train_single(config, one, split) for one in tasks]
    for one in trained[1:]:
        for key, value in trained[0].network.state_dict().items():
            torch.testing.assert_close(value, one.network.state_dict()[key], rtol=1e-5, atol=1e-7)
    assert trained[1].val_loss == pytest.approx(trained[0].val_loss, rel=1e-5)
    assert trained[2].val_loss != pytest.approx(trained[0].val_loss, rel=1e-2)


def test_a_search_and_its_card_keep_the_weights(tmp_path: Path) -> None:
    _, task = weighing("classify")
    evidence = search.run(config_of(task, tmp_path), task=task)
    weights = np.array(search.read(evidence.config.directory).card.scales["weights"])
    split = task.hold_out()
    np.testing.assert_allclose(weights, COUNTS[split.judged] / COUNTS[split.train].mean())


def test_class_weights_multiply() -> None:
    task, other = weighing("classify")
    split = task.hold_out()
    training = TrainingConfig(class_weight="balanced", loss="cross_entropy")
    lesson = Lesson.of(other, split)
    batch = next(iter(lesson.module(8, 0).val_dataloader()))[1]
    outputs = torch.randn(len(batch), 2, generator=torch.Generator().manual_seed(0))
    plain = task.criterion(training, task.encoder(split))
    targets = torch.from_numpy(lesson.cases.targets[split.validation])
    weights = torch.from_numpy(COUNTS[split.validation] / COUNTS[split.train].mean())
    expected = [float(plain(outputs[[n]], targets[[n]]) * weights[n]) for n in range(len(batch))]
    np.testing.assert_allclose(lesson.criterion(training).each(outputs, batch), expected, rtol=1e-5)


def test_a_criterion_that_gives_no_loss_of_each_case_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.weight must be null where the task's criterion is a function"):
        weighted(lambda prediction, y: (prediction - y).sum(), are_classes=False)
    assert weighted(torch.nn.functional.l1_loss, are_classes=False).of == Regression("mae")


# ---------------------------------------------------------------------- where they come from


def long_table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": np.repeat(list("abcd"), 3),
            "x": np.arange(12.0),
            "y": np.repeat([1.0, 2.0, 3.0, 4.0], 3),
            "w": np.repeat([1.0, 0.5, 2.0, 1.0], 3),
        }
    )


LONG = DataConfig("long.csv", "y", sequence="id", weight="w")


def test_a_long_table_says_how_much_each_sequence_counts_and_the_column_is_no_input() -> None:
    sequences = read_sequences(LONG, "regress", from_frame(long_table(), LONG))
    assert sequences.features == ("x",)
    assert sequences.weights.tolist() == [1, 0.5, 2, 1]
    assert "What counts how much says 'w', from 0.5 to 2." in sequences.notes


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            [0.0] * 3 + [1.0] * 9,
            r"row 0: 'w' must be above 0, got 0 \(1 such in all\)\. Leave out what is not to count",
        ),
        ([1.0] * 9 + [-2.0] * 3, "row 9: 'w' must be above 0, got -2"),
        ([np.nan] * 3 + [1.0] * 9, "row 0: 'w' must be above 0, got nan"),
        ([1.0, 2.0] * 6, "sequence 'a' has '2' here and '1' in its first row"),
        (["much"] * 12, "row 0: 'w' is 'much', which is no number"),
    ],
)
def test_what_is_no_weight_is_refused(cells: list[Any], message: str) -> None:
    table = long_table()
    table["w"] = cells
    with pytest.raises(DataError, match=message):
        read_sequences(LONG, "regress", from_frame(table, LONG))


def test_a_table_of_labels_a_file_of_arrays_and_arrays_say_it_too(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for name in "abc":
        (tmp_path / "runs" / f"{name}.csv").write_text("x\n1\n2\n")
    (tmp_path / "labels.csv").write_text("file,y,w\na,1,3\nb,2,1\nc,2,2\n")
    config = DataConfig(str(tmp_path / "runs"), "y", labels=str(tmp_path / "labels.csv"), weight="w")
    assert read_sequences(config, "regress").weights.tolist() == [3, 1, 2]
    x, y = np.zeros((3, 4, 1)), [1.0, 2.0, 3.0]
    np.savez(tmp_path / "it.npz", x=x, y=y, weight=[3, 1, 2])
    assert read_sequences(DataConfig(str(tmp_path / "it.npz"), "y"), "regress").weights.tolist() == [3, 1, 2]
    made = from_arrays(x, y, kind="regress", weights=[3, 1, 2])
    assert made.weights.tolist() == [3, 1, 2]
    assert made.sha256 != from_arrays(x, y, kind="regress").sha256
    with pytest.raises(DataError, match="weights must have one number for each of 3 sequences, got shape"):
        from_arrays(x, y, kind="regress", weights=[1, 2])
    np.savez(tmp_path / "other.npz", x=x, y=y)
    with pytest.raises(DataError, match=r"has no column 'w', which is data\.weight"):
        read_sequences(DataConfig(str(tmp_path / "other.npz"), "y", weight="w"), "regress")


def test_arrays_with_weights_are_fitted_from_python() -> None:
    x, y = np.random.default_rng(0).normal(size=(40, 5, 2)), np.random.default_rng(1).normal(size=40)
    config = Config(DataConfig("arrays", "y"), training=TrainingConfig(max_epochs=1), task="regress")
    plain = fit_held_out(config, data=(x, y, None, np.ones(40)))
    heavy = fit_held_out(config, data=(x, y, None, np.arange(1.0, 41)))
    assert plain.errors == fit_held_out(config, data=(x, y)).errors
    assert heavy.errors != plain.errors


def test_a_series_says_how_much_each_row_counts() -> None:
    table = pd.DataFrame({"sales": np.arange(9.0), "w": [1.0, 2.0, 3.0] * 3, "x": np.arange(9.0)})
    config = DataConfig("shop.csv", "sales", weight="w", window=2, horizon=2)
    series = read_series(config, from_frame(table, config))
    assert series.features == ("sales", "x")
    assert series.weights.tolist() == [1, 2, 3] * 3
    table.loc[4, "w"] = 0
    with pytest.raises(DataError, match="'w' must be above 0, got 0"):
        read_series(config, from_frame(table, config))
    table.loc[4, "w"] = np.nan
    with pytest.raises(DataError, match="column 'w': a missing value"):
        read_series(config, from_frame(table, config))
    for name in ("sales", "x"):
        config = dataclasses.replace(config, weight=name, features=["sales", "x"])
        with pytest.raises(DataError, match=f"column '{name}' is data.weight, so it can be nothing else"):
            read_series(config, from_frame(table, config))
