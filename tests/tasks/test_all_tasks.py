"""What holds of every task: nothing leaks, losses are those of training, and all verbs serve it."""

from __future__ import annotations

import dataclasses
import json
from itertools import combinations, pairwise, product
from pathlib import Path

import numpy as np
import pytest
import torch

import lstmreg
from lstmreg import report, search
from lstmreg.config import Config
from lstmreg.data.encoding import rows_of
from lstmreg.tasks import TASKS, Split, Task, task_named
from lstmreg.training.population.together import Assignment, train_together
from lstmreg.training.single import Lesson, Trained, fit_held_out, floor_losses, train_single

from .kinds import KINDS, SEARCH, Amount, config_of, sequences_of

each = pytest.mark.parametrize("kind", KINDS)
each_of_sequences = pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("forecast")])


@pytest.fixture(autouse=True)
def _served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "amount", Amount)


def all_splits(task: Task) -> list[Split]:
    splits = task.splits(SEARCH)
    return [*splits.blocks, splits.final, task.hold_out()]


def test_every_task_has_its_question() -> None:
    asked = {make().name for make in KINDS.values()}
    served = set(TASKS) - {"own"}  # whose data are the user's: test_own.py
    assert asked == served, "a task of TASKS has a row in KINDS (tests/tasks/kinds.py), and each row's task is in TASKS"


# ---------------------------------------------------------------------- splits


@each
def test_no_case_has_two_parts_to_play_and_none_is_judged_twice(kind: str) -> None:
    task = KINDS[kind]()
    splits = task.splits(SEARCH)
    assert len(splits.blocks) == 4
    for split in all_splits(task):
        parts = [set(split.train), set(split.validation), set(split.judged)]
        assert all(parts)
        assert not any(one & other for one, other in combinations(parts, 2))
    for split in splits.blocks:
        assert not set(splits.final.judged) & {*split.train, *split.validation, *split.judged}
    assert not any(set(one.judged) & set(other.judged) for one, other in combinations(splits.blocks, 2))


@each
def test_splits_and_their_keys_follow_from_the_data_alone(kind: str) -> None:
    once, again = (all_splits(KINDS[kind]()) for _ in range(2))
    for one, other in zip(once, again, strict=True):
        assert one.key == other.key
        assert all((getattr(one, n) == getattr(other, n)).all() for n in ("train", "validation", "judged"))
    assert len({split.key for split in once[:-1]}) == len(once) - 1


@each
def test_a_key_is_that_of_the_same_cases_and_the_test_is_the_same_whatever_is_asked_for(kind: str) -> None:
    task = KINDS[kind]()
    known: dict[tuple[int, ...], tuple[tuple[int, ...], ...]] = {}
    tests = set()
    for seed, blocks in product(range(3), (3, 4, 6)):
        splits = task.splits(dataclasses.replace(SEARCH, seed=seed, blocks=blocks))
        tests.add(tuple(splits.final.judged))
        for split in (*splits.blocks, splits.final, task.hold_out()):
            cases = tuple(split.train), tuple(split.validation), tuple(split.judged)
            assert known.setdefault(split.key, cases) == cases
    assert tests == {tuple(task.hold_out().judged)}  # nobody draws another one
    assert len(known) == len(set(known.values()))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "by group" in kind])
def test_a_group_is_on_one_side(kind: str) -> None:
    task = KINDS[kind]()
    groups = np.array(sequences_of(task).groups)
    for split in all_splits(task):
        sides = [set(groups[part]) for part in (split.train, split.validation, split.judged)]
        assert len(set.union(*sides)) == sum(map(len, sides))


@pytest.mark.parametrize("kind", ["forecast", "forecast tokens", "classify by time"])
def test_in_time_nothing_later_trains_or_ends_a_training(kind: str) -> None:
    task = KINDS[kind]()
    if kind.startswith("forecast"):
        begins = np.arange(task.size) + task.data.past
        ends = begins + task.data.horizon - 1
    else:
        begins = ends = np.array(sequences_of(task).times).astype(int)
    for split in all_splits(task):
        assert ends[split.train].max() < begins[split.validation].min()
        assert ends[split.validation].max() < begins[split.judged].min()
    blocks = task.splits(SEARCH).blocks
    for one, following in pairwise(blocks):
        assert following.validation.tolist() == one.judged.tolist()


# ---------------------------------------------------------------------- nothing leaks


def with_the_unseen_changed(task: Task, split: Split) -> Task:
    """Return the same task, in which all is different that the training cases do not show."""
    generator = np.random.default_rng(5)
    if task.name == "forecast":
        origin = split.key[0]
        inputs, targets = task.series.inputs.copy(), task.series.targets.copy()
        inputs[origin:], targets[origin:] = 9.0, generator.normal(size=(len(targets) - origin, 1)) * 50
        ahead = None if task.series.ahead is None else task.series.ahead.copy()
        for name, tokens in task.series.tokens.items():
            new = generator.integers(len(tokens), size=len(targets) - origin)
            inputs[origin:, task.series.features.index(name)] = new
            ahead[origin:, task.series.ahead_names.index(name)] = new
        return type(task)(task.data, dataclasses.replace(task.series, inputs=inputs, targets=targets, ahead=ahead))
    sequences = task.sequences
    unseen = np.setdiff1d(np.arange(len(sequences)), split.train)
    rows = rows_of(sequences, unseen)
    inputs, targets = sequences.inputs.copy(), sequences.targets.copy()
    for k, name in enumerate(sequences.features):
        tokens = len(sequences.tokens.get(name, ()))
        inputs[rows, k] = (
            generator.integers(tokens, size=rows.sum()) if tokens else 9 * generator.normal(size=rows.sum())
        )
    changed = rows if sequences.targets.shape[:1] == inputs.shape[:1] else unseen
    targets[changed] = generator.permutation(targets[changed]) if task.classes else 1 + targets[changed] * 7
    made = object.__new__(type(task))
    made.__dict__ |= {k: v for k, v in vars(task).items() if k not in ("_summaries", "_known", "_numbers", "strata")}
    made.sequences = dataclasses.replace(sequences, inputs=inputs, targets=targets)
    return made


def as_text(encoder: object) -> str:
    """Write all that an encoder holds, to the last bit."""
    plain = {name: getattr(encoder, name) for name in encoder.__dataclass_fields__}  # type: ignore[attr-defined]
    for name, value in plain.items():
        if hasattr(value, "mean") and hasattr(value, "scale"):
            plain[name] = (value.mean.tolist(), value.scale.tolist())
    return repr(sorted(plain.items()))


@each
def test_what_must_not_be_seen_changes_nothing_that_is_fitted(kind: str) -> None:
    task = KINDS[kind]()
    split = task.splits(SEARCH).blocks[-1]
    other = with_the_unseen_changed(task, split)
    ours, theirs = Lesson.of(task, split), Lesson.of(other, split)
    assert as_text(ours.encoder) == as_text(theirs.encoder)
    for name in ("inputs", "targets"):
        one, another = (getattr(lesson.cases, name) for lesson in (ours, theirs))
        assert np.array_equal(one[split.train], another[split.train], equal_nan=one.dtype.kind == "f")
        assert not np.array_equal(one, another, equal_nan=one.dtype.kind == "f")  # or nothing was tested
    alone = dataclasses.replace(split, validation=split.train)  # which may choose a floor's penalty
    for name, floor in task.floors(alone, split.train).items():
        assert np.array_equal(floor, other.floors(alone, split.train)[name], equal_nan=True), name
    config = task.completed(config_of(task, keep="last", patience=None))
    networks = [train_single(config, each, split).network.state_dict() for each in (task, other)]
    assert all(torch.equal(weight, networks[1][name]) for name, weight in networks[0].items())


# ---------------------------------------------------------------------- losses, scales, padding


@each
@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "cross_entropy", "smoothed", "balanced"])
def test_a_cases_loss_is_that_of_training(kind: str, loss: str) -> None:
    task = KINDS[kind]()
    config = config_of(task)
    settings = {"smoothed": {"label_smoothing": 0.2}, "balanced": {"class_weight": "balanced"}}.get(
        loss, {"loss": loss}
    )
    if settings.get("loss", "cross_entropy") not in task.possible_losses():
        pytest.skip("no loss of this task")
    training = dataclasses.replace(config.training, **settings)
    training = task.completed(dataclasses.replace(config, training=training)).training
    split = task.hold_out()
    lesson = Lesson.of(task, split)
    network = task.network(config.model).eval()
    cases = split.validation
    outputs = task.outputs(network, lesson.cases, cases)
    predicted = task.predictions(lesson.encoder, outputs, cases)
    ours = task.losses(training, predicted, task.truth(cases), task.scales(lesson.encoder, split, cases))
    criterion = task.criterion(training, lesson.encoder)
    targets = torch.from_numpy(lesson.cases.targets[cases])
    theirs = [float(criterion(torch.from_numpy(outputs[[n]]), targets[[n]])) for n in range(len(cases))]
    assert ours == pytest.approx(theirs, rel=2e-5, abs=1e-9)


@each
def test_the_losses_of_the_judged_cases_are_what_the_criterion_makes_of_their_inputs(kind: str) -> None:
    task = KINDS[kind]()
    settings = {"label_smoothing": 0.2} if task.possible_losses() == ("cross_entropy",) else {"loss": "mae"}
    config = task.completed(config_of(task, **settings))
    split = task.splits(SEARCH).blocks[1]
    together: list[Trained] = []
    train_together([Assignment(config, split)], task, lambda number, outcome: together.append(outcome))
    for trained in (train_single(config, task, split), *together):
        cases, judged = trained.lesson.cases, split.judged
        x = torch.from_numpy(cases.inputs[judged])
        given = (x,) if cases.lengths is None else (x, torch.from_numpy(cases.lengths[judged]))
        criterion = task.criterion(config.training, task.encoder(split))
        with torch.no_grad():
            expected = criterion(trained.network(*given), torch.from_numpy(cases.targets[judged]))
        losses = trained.judged_losses()
        assert losses.shape == (len(judged),)
        assert losses.mean() == pytest.approx(float(expected), rel=2e-5)
        assert losses.mean() != pytest.approx(trained.val_loss, rel=1e-3)  # nothing was judged that ended the training


@each_of_sequences
def test_what_is_encoded_and_decoded_is_as_it_was(kind: str) -> None:
    task = KINDS[kind]()
    if task.classes:
        pytest.skip("classes have no scale")
    split = task.hold_out()
    encoder = task.encoder(split)
    cases = np.arange(task.size)
    again = task.predictions(encoder, task.encoded(encoder).targets, cases)
    is_as_it_was = np.allclose(again, task.truth(cases), rtol=1e-5, equal_nan=True)
    assert is_as_it_was, "predictions() of the encoded targets must be the truth: encode what the network is to give"


@each_of_sequences
def test_sequences_are_padded_at_their_end_and_scaled_by_training(kind: str) -> None:
    task = KINDS[kind]()
    sequences, encoder = task.sequences, task.encoder(task.hold_out())
    cases = task.encoded(encoder)
    train = sequences.inputs[rows_of(sequences, task.hold_out().train)]
    for n in (0, 5, task.size - 1):
        own = sequences.inputs[sequences.starts[n] : sequences.starts[n + 1], 1]
        assert cases.lengths[n] == len(own)
        assert cases.inputs[n, : len(own), 1] == pytest.approx((own - train[:, 1].mean()) / train[:, 1].std(), abs=1e-5)
        assert (cases.inputs[n, len(own) :] == 0).all()


def test_tokens_that_training_has_not_seen_are_unknown() -> None:
    task = KINDS["classify tokens"]()
    split = task.hold_out()
    encoder, sequences = task.encoder(split), task.sequences
    seen = set(sequences.inputs[rows_of(sequences, split.train), 0])
    unseen = np.array([number not in seen for number in range(len(sequences.tokens["letter"]))])
    narrow = dataclasses.replace(split, train=split.train[split.train % 12 != 0])  # the rare letters are in others
    encoder = task.encoder(narrow)
    assert not unseen.all()
    rare = ~encoder.seen["letter"]
    assert rare.sum() == 2
    cases = task.encoded(encoder)
    for n in range(task.size):
        own = sequences.inputs[sequences.starts[n] : sequences.starts[n + 1], 0].astype(int)
        assert (cases.inputs[n, : len(own), 0] == np.where(rare[own], 0, own + 1)).all()


# ---------------------------------------------------------------------- floors, and what beats them


@each
def test_floors_are_predictions_of_the_same_shape(kind: str) -> None:
    task = KINDS[kind]()
    split = task.hold_out()
    encoder = task.encoder(split)
    outputs = task.outputs(task.network(config_of(task).model).eval(), task.encoded(encoder), split.judged)
    shape = task.predictions(encoder, outputs, split.judged).shape
    for name, floor in task.floors(split, split.judged).items():
        assert floor.shape == shape
        assert name in task.floor_names
        assert (np.isnan(floor) <= np.isnan(task.predictions(encoder, outputs, split.judged))).all()


@each
def test_a_network_that_learns_beats_every_floor(kind: str) -> None:
    task = KINDS[kind]()
    fitted = fit_held_out(config_of(task, max_epochs=60, patience=None), task=task)
    assert fitted.val_behind is None
    assert fitted.test_behind is None
    floors = floor_losses(task.completed(config_of(task)).training, fitted.trained.lesson)
    assert floors == pytest.approx(fitted.val_floors)


@each
def test_floors_of_judged_cases_are_those_of_the_split_on_which_they_validate(kind: str) -> None:
    task = KINDS[kind]()
    training = task.completed(config_of(task)).training
    lesson = Lesson.of(task, task.splits(SEARCH).blocks[0])
    other = dataclasses.replace(lesson, split=dataclasses.replace(lesson.split, validation=lesson.split.judged))
    ours, theirs = floor_losses(training, lesson, lesson.split.judged), floor_losses(training, other)
    if kind == "forecast tokens":  # the cases that validate choose its penalty, and here they choose another one
        del ours["ridge"], theirs["ridge"]
    assert ours == theirs
    assert floor_losses(training, lesson) != floor_losses(training, other)


# ---------------------------------------------------------------------- the verbs, and back from the disk


#: Into which parts the loss on the test of a kind of task is taken apart.
PARTS = {
    "forecast": {"step"},
    "forecast tokens": {"step"},
    "classify": {"class"},
    "classify by group": {"class"},  # of one group that is the test
    "classify by time": {"class"},
    "classify tokens": {"class"},
    "regress": {"target"},
    "regress by group": {"target"},
    "label classes": {"class"},
    "a task of one's own": {"target"},
}


@each
def test_a_search_and_its_report_serve_it(kind: str, tmp_path: Path) -> None:
    task = KINDS[kind]()
    config = config_of(task, tmp_path)
    config = dataclasses.replace(config, search=dataclasses.replace(config.search, explain=True))
    evidence = search.run(config, task=task)
    assert not [record.failure for record in evidence.records["explain"] if record.failure]
    answer = report.answer(evidence)
    assert answer.unstopped is not None
    can_be_left_out = not task.has_own_networks and 1 < len(task.features) <= 6
    assert set(answer.left_out.effects if answer.left_out else ()) == set(task.features if can_be_left_out else ())
    report.write(answer, config.directory)
    assert report.answer(search.read(config.directory)).test.errors == answer.test.errors
    written = json.loads((config.directory / "answer.json").read_text())
    assert written["test"]["metric"] in written["test"]["errors"]["no regularization"]
    for name in task.floors(task.hold_out(), task.hold_out().judged):
        assert set(written["test"]["errors"][name]) <= set(written["test"]["errors"]["no regularization"])
    page = (config.directory / "report.html").read_text()
    assert ("Forecasts on the test rows" in page) == kind.startswith("forecast")
    where = written["where"]
    assert set(where["parts"]) == PARTS.get(kind, set())
    for parts in where["parts"].values():
        assert sum(part["share"] for part in parts) == pytest.approx(1)
    assert (where["worst"][0]["truth"] is not None, "Where the loss is" in page) == (True, True)
    assert set(task_named(task.name).higher_is_better) >= set(written["test"]["errors"]["no regularization"]) & {"R²"}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith(("forecast", "a task of one's own"))])
def test_what_is_saved_predicts_as_what_was_trained(kind: str, tmp_path: Path) -> None:
    task = KINDS[kind]()
    trained = fit_held_out(config_of(task, tmp_path), task=task).trained
    trained.predictor().save(tmp_path / "it")
    loaded = lstmreg.load(tmp_path / "it")
    assert isinstance(loaded, lstmreg.SequencePredictor)
    cases = np.arange(task.size)
    assert np.array_equal(loaded.values(task.sequences), trained.predict(cases), equal_nan=True)
    predicted = loaded.predict(task.sequences)
    assert len(predicted) == task.size
    if task.classes:
        assert {str(x) for each in predicted for x in np.ravel(each)} <= set(loaded.classes)
        for probabilities in loaded.predict_proba(task.sequences):
            assert np.sum(probabilities, axis=-1) == pytest.approx(1)
    else:
        with pytest.raises(ValueError, match="is a number"):
            loaded.predict_proba(task.sequences)


@each
def test_the_configuration_is_completed_by_a_loss_that_suits(kind: str) -> None:
    task = KINDS[kind]()
    config: Config = config_of(task)
    assert task.completed(config).training.loss == task.possible_losses()[0]
    wrong = "mse" if task.possible_losses() == ("cross_entropy",) else "cross_entropy"
    with pytest.raises(ValueError, match=f"training.loss must be one of {task.possible_losses()[0]}"):
        task.completed(dataclasses.replace(config, training=dataclasses.replace(config.training, loss=wrong)))
