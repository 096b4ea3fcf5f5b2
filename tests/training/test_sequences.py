"""A fit of sequences of any length: alone and in a population, of numbers and of classes, once and at every step."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lstmreg import LSTM, ModelConfig, Network, Population, TrainingConfig, TrainingModule, fit, fit_population
from lstmreg.errors import ConfigError, DataError, InputError
from lstmreg.losses import NO_CLASS, CrossEntropy, Regression, balanced
from lstmreg.training.fitting import FitResult, evaluate

N, T, D, C = 14, 6, 2, 3
WAYS = ["classify", "regress", "label", "label numbers"]
each_way = pytest.mark.parametrize("way", WAYS)


def steps_of(way: str) -> str:
    return "all" if way.startswith("label") else "last"


def data_of(way: str, content: float = math.nan, more: int = 0, seed: int = 0) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return ``((x, lengths), y)``; a column holds tokens."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, T + 1, (N,), generator=generator)
    lengths[0] = T
    x = torch.randn(N, T, D, generator=generator)
    x[:, :, 1] = torch.randint(0, 5, (N, T), generator=generator).float()
    absent = torch.arange(T) >= lengths[:, None]
    classes = (x[:, :, 0].cumsum(1) > 0).long() + (x[:, :, 1] > 2).long()
    numbers = torch.stack([x[:, :, 0].cumsum(1), x[:, :, 1], x.prod(-1)], dim=-1)
    ends = torch.arange(N), lengths - 1
    y = {
        "classify": classes[ends],
        "regress": numbers[ends],
        "label": classes.masked_fill(absent, NO_CLASS),
        "label numbers": numbers.masked_fill(absent.unsqueeze(-1), math.nan),
    }[way]
    x = torch.where(absent.unsqueeze(-1), content, x)
    if more:
        x = functional.pad(x, (0, 0, 0, more), value=content)
        if way == "label":
            y = functional.pad(y, (0, more), value=NO_CLASS)
        elif way == "label numbers":
            y = functional.pad(y, (0, 0, 0, more), value=math.nan)
    return (x, lengths), y


def network_of(way: str, seed: int = 0, **config: Any) -> Network:
    torch.manual_seed(seed)
    return Network(ModelConfig(hidden_size=4, **config), D, C, steps=steps_of(way), vocabularies={1: 4})


KNOBS = {"dropout": 0.2, "recurrent_dropout": 0.2, "embedding_dropout": 0.3, "activity_l2": 0.01, "kernel_l2": 0.01}
TRAINING = TrainingConfig(learning_rate=0.02, batch_size=5, max_epochs=3, patience=None)


def fitted(way: str, part: Any, training: TrainingConfig = TRAINING, **others: Any) -> tuple[FitResult, Network]:
    network = network_of(way, **KNOBS)
    result = fit(network, (part, part), training, **others)
    return dataclasses.replace(result, seconds=0.0), network


def assert_alike(one: tuple[FitResult, Network], other: tuple[FitResult, Network], rtol: float = 1e-4) -> None:
    for a, b in zip(one[0].history, other[0].history, strict=True):
        assert a.train_loss == pytest.approx(b.train_loss, rel=rtol)
        assert a.val_loss == pytest.approx(b.val_loss, rel=rtol)
        assert a.penalties == pytest.approx(b.penalties, rel=rtol)
    assert one[0].train_loss == pytest.approx(other[0].train_loss, rel=rtol)
    torch.testing.assert_close(one[1].state_dict(), other[1].state_dict(), rtol=rtol, atol=1e-5)


# ---------------------------------------------------------------------- padding and company


@each_way
@given(content=st.sampled_from([0.0, math.nan, 1e30, -math.inf]), more=st.integers(0, 3))
@settings(max_examples=4, deadline=None)
def test_a_fit_is_the_same_whatever_and_however_much_was_padded(way, content, more):
    usual, found = fitted(way, data_of(way)), fitted(way, data_of(way, content, more))
    # Batches are cut where their longest sequence ends, so that nothing is left to differ.
    assert found[0] == usual[0]
    assert all(torch.equal(found[1].state_dict()[name], w) for name, w in usual[1].state_dict().items())
    assert math.isfinite(usual[0].val_loss)


@each_way
def test_loaders_datasets_and_arrays_are_trained_alike(way):
    class Cases(Dataset):
        def __init__(self, part):
            (self.x, self.lengths), self.y = part

        def __len__(self):
            return len(self.y)

        def __getitem__(self, n):
            return (self.x[n], self.lengths[n]), self.y[n]

    part = data_of(way)
    (x, lengths), y = part
    usual = fitted(way, part)
    assert_alike(fitted(way, Cases(part)), usual)
    assert_alike(fitted(way, ((x.numpy().astype(np.float64), lengths.numpy().astype(np.int32)), y.numpy())), usual)


@each_way
def test_the_loss_of_a_fit_is_the_mean_over_cases_whatever_the_batches(way):
    part = data_of(way)
    result, network = fitted(way, part)
    (x, lengths), y = part
    loss = CrossEntropy(C, steps=steps_of(way)) if "numb" not in way and way != "regress" else None
    loss = loss or Regression(steps=steps_of(way))
    singles = []
    for b, n in enumerate(lengths.tolist()):
        prediction = network(x[b : b + 1, :n]).detach()
        own = y[b : b + 1, :n] if way.startswith("label") else y[b : b + 1]
        singles.append(float(loss(prediction, own)))
    assert result.val_loss == pytest.approx(sum(singles) / N, rel=1e-5)
    for size in (1, 4, N):
        batches = [((x[i : i + size], lengths[i : i + size]), y[i : i + size]) for i in range(0, N, size)]
        assert evaluate(network, batches, loss) == pytest.approx(result.val_loss, rel=1e-5)


@each_way
@pytest.mark.parametrize("source", ["arrays", "loaders of their own"])
def test_a_member_of_a_population_follows_the_single_fit(way, source):
    knobs = [{}, KNOBS, KNOBS | {"embedding_dropout": 0.0}, {"recurrent_dropout": 0.5, "activity_l1": 0.01}]
    trainings = [dataclasses.replace(TRAINING, seed=k % 2, learning_rate=0.01 * (1 + k)) for k in range(4)]
    parts = [data_of(way, seed=0 if source == "arrays" else k) for k in range(4)]

    def loaders(part: Any) -> Any:
        if source == "arrays":
            return part, part
        (x, lengths), y = part
        batches = [((x[i : i + 5], lengths[i : i + 5]), y[i : i + 5]) for i in range(0, N, 5)]
        return batches, batches

    same = loaders(parts[0])
    data = [same if source == "arrays" else loaders(part) for part in parts]
    singles = []
    for own, training, given_data in zip(knobs, trainings, data, strict=True):
        network = network_of(way, **own)
        singles.append((fit(network, given_data, training), network))

    def population(members: list[int]) -> dict[int, tuple[FitResult, Network]]:
        several = Population([network_of(way, **knobs[k]) for k in members])
        results = fit_population(several, [data[k] for k in members], [trainings[k] for k in members])
        return {k: (dataclasses.replace(results[i], seconds=0.0), several[i]) for i, k in enumerate(members)}

    together = population([0, 1, 2, 3])
    for k in range(4):
        assert_alike(together[k], singles[k], rtol=1e-3)
        (alone,) = population([k]).values()
        assert alone[0] == together[k][0]
        assert all(torch.equal(alone[1].state_dict()[n], w) for n, w in together[k][1].state_dict().items())


def test_batches_with_and_without_lengths_go_side_by_side():
    (x, _), y = data_of("regress", content=0.0)
    full = torch.full((N,), T)
    plain, unequal = [(x, y)], [((x, full), y)]
    population = Population([network_of("regress") for _ in range(3)])
    results = fit_population(population, [(plain, plain), (unequal, unequal), (plain, plain)], TRAINING)
    assert results[0].val_loss == results[2].val_loss
    assert results[1].val_loss == pytest.approx(results[0].val_loss, rel=1e-5)


# ---------------------------------------------------------------------- which loss


@each_way
def test_without_a_name_classes_have_cross_entropy_and_numbers_squared_error(way):
    part = data_of(way)
    name = "mse" if way in ("regress", "label numbers") else "cross_entropy"
    usual, named = fitted(way, part), fitted(way, part, dataclasses.replace(TRAINING, loss=name))
    assert usual[0] == named[0]
    # A loader cannot be looked into beforehand; the first batch tells.
    (x, lengths), y = part
    batches = [((x, lengths), y)]
    assert fitted(way, batches)[0] == fitted(way, batches, dataclasses.replace(TRAINING, loss=name))[0]


def test_whole_numbers_of_the_predictions_shape_are_numbers_as_ever():
    x, counts = torch.randn(12, 4, D), torch.arange(12).view(12, 1)
    results = []
    for y in (counts, counts.float()):
        torch.manual_seed(0)
        network = Network(ModelConfig(hidden_size=4), D, 1)
        results.append(fit(network, ((x, y), (x, y)), TRAINING).val_loss)
    assert results[0] == results[1]


@pytest.mark.parametrize("way", ["classify", "label"])
def test_smoothing_and_weights_are_those_of_the_training_targets(way):
    part = data_of(way)
    training = dataclasses.replace(TRAINING, loss="cross_entropy", label_smoothing=0.1, class_weight="balanced")
    own = CrossEntropy(C, 0.1, balanced(part[1], C), steps=steps_of(way))
    usual = fitted(way, part, training)
    assert usual[0] == fitted(way, part, criterion=own)[0]
    assert usual[0] != fitted(way, part)[0]
    population = Population([network_of(way, **KNOBS) for _ in range(2)])
    results = fit_population(population, (part, part), training)
    assert results[1].val_loss == pytest.approx(usual[0].val_loss, rel=1e-4)


def test_each_member_has_the_weights_of_its_own_training_targets():
    parts = [data_of("classify", seed=seed) for seed in (0, 2)]
    training = dataclasses.replace(TRAINING, loss="cross_entropy", class_weight="balanced")
    assert balanced(parts[0][1], C) != balanced(parts[1][1], C)
    own = [CrossEntropy(C, class_weights=balanced(y, C)) for _, y in parts]
    found, named = (
        fit_population(
            Population([network_of("classify") for _ in range(2)]), [(part, part) for part in parts], training, **given_
        )
        for given_ in ({}, {"criterion": own})
    )
    for k, part in enumerate(parts):
        alone = fit(network_of("classify"), (part, part), training)
        assert found[k].val_loss == named[k].val_loss == pytest.approx(alone.val_loss, rel=1e-4)
    population = Population([network_of("classify") for _ in range(2)])
    with pytest.raises(ValueError, match="criterion must be one function or one for each of the 2 members, got 1"):
        fit_population(population, (parts[0], parts[0]), criterion=own[:1])


class Own(nn.Module):
    def __init__(self, classes: int | None = None) -> None:
        super().__init__()
        self.lstm, self.head = LSTM(D, 4, batch_first=True), nn.Linear(4, C)
        if classes is not None:
            self.output_size = classes

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


def test_a_network_of_your_own_says_how_many_classes_there_are_or_is_given_its_loss():
    x, y = torch.randn(12, 4, D), torch.arange(12) % C
    data = (x, y), (x, y)
    with pytest.raises(ConfigError, match=r"output_size is the number of classes, which Own.*CrossEntropy\(classes\)"):
        fit(Own(), data, TRAINING)
    torch.manual_seed(0)
    first = fit(Own(classes=C), data, TRAINING)
    torch.manual_seed(0)
    assert fit(Own(), data, TRAINING, criterion=CrossEntropy(C)).val_loss == first.val_loss


def test_what_cannot_be_weighed_is_refused():
    (x, lengths), y = data_of("classify")
    weighed = dataclasses.replace(TRAINING, loss="cross_entropy", class_weight="balanced")
    batches = [((x, lengths), y)]
    with pytest.raises(ConfigError, match=r"training.class_weight must be null where the training data are no arrays"):
        fit(network_of("classify"), (batches, batches), weighed)
    with pytest.raises(DataError, match="class 2 has no target in training"):
        fit(network_of("classify"), (((x, lengths), y.clamp(max=1)), ((x, lengths), y)), weighed)
    numbers = data_of("regress")
    with pytest.raises(ConfigError, match=r"training.class_weight is for targets that are classes"):
        fit(network_of("regress"), (numbers, numbers), dataclasses.replace(weighed, loss=None))
    with pytest.raises(ConfigError, match=r"an output for each class, at least 2, got output_size=1"):
        fit(Network(ModelConfig(3), D, 1), ((x[:, :1], y), (x[:, :1], y)), weighed)
    with pytest.raises(ValueError, match=r"y must have the prediction's shape.*Use y\.unsqueeze"):  # numbers
        fit(Network(ModelConfig(3), D, 1), ((x[:, :1], y), (x[:, :1], y)), TRAINING)
    with pytest.raises(TypeError, match=r"x must be a tensor, got list.*the tuple \(x, lengths\)"):
        fit(network_of("classify"), ([([x, lengths], y)], [([x, lengths], y)]), TRAINING)


def test_lengths_that_do_not_fit_are_refused_before_anything_is_trained():
    (x, lengths), y = data_of("classify")
    for wrong in (lengths * 0, lengths + T, lengths[1:], lengths.float()):
        with pytest.raises(InputError, match="lengths must be"):
            fit(network_of("classify"), (((x, wrong), y), ((x, lengths), y)), TRAINING)
    with pytest.raises(TypeError, match="got x and y alone"):
        fit(network_of("classify"), ((x, lengths), y), TRAINING)


# ---------------------------------------------------------------------- under a trainer of one's own


@pytest.mark.filterwarnings("ignore:::lightning")
def test_a_trainer_trains_tests_and_predicts_with_lengths():
    (x, lengths), y = data_of("label")
    batches = DataLoader(TensorDataset(x, lengths, y), 7, collate_fn=collated)
    module = TrainingModule(network_of("label"), criterion=CrossEntropy(C, steps="all"), learning_rate=0.01)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(max_epochs=1, enable_checkpointing=False, **quiet)
    trainer.fit(module, batches, batches)
    (tested,) = trainer.test(module, batches, verbose=False)
    predicted = torch.cat(trainer.predict(module, batches))
    expected = module.network.eval()(x, lengths).detach()
    torch.testing.assert_close(predicted, expected)
    assert tested["test_loss"] == pytest.approx(float(CrossEntropy(C, steps="all")(expected, y)), rel=1e-5)


def collated(cases: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[tuple[Tensor, Tensor], Tensor]:
    x, lengths, y = (torch.stack(t) for t in zip(*cases, strict=True))
    return (x, lengths), y


@pytest.mark.filterwarnings("ignore:::lightning")
def test_a_checkpoint_says_of_tokens_and_steps_what_is_needed(tmp_path):
    (x, lengths), y = data_of("label")
    module = TrainingModule(network_of("label"), criterion=CrossEntropy(C, steps="all"))
    batches = [((x, lengths), y)]
    trainer = pl.Trainer(
        max_epochs=1,
        enable_checkpointing=False,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(module, DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch))
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    again = TrainingModule.load_from_checkpoint(tmp_path / "one.ckpt", weights_only=True)
    assert torch.equal(again.network.eval()(x, lengths), module.network.eval()(x, lengths))
