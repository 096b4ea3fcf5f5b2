"""A member of a population is trained as it would be alone: the same fit, whoever is beside it and whatever befalls."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lstmreg import DivergedError, FitResult, ModelConfig, Network, Population, TrainingConfig, fit, fit_population
from lstmreg.knobs import KNOBS
from lstmreg.models import load, save
from lstmreg.ops import lesson
from lstmreg.ops.fused_cpu import library_of
from lstmreg.training.population.formation import Formation
from tests.program import Program

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),  # Lightning's own affair
]

T, D = 4, 2

#: Whether the processor multiplies bfloat16: there a whole step in one call is rounded.
HAS_SHORT = bool(library_of(torch.float32).lstmreg_short())
CPU = torch.device("cpu")


class Overshooting(pl.LightningDataModule):
    """Training pulls the prediction up to 2 and, on its way, past what validation wants."""

    def __init__(self, rows: int = 22, seed: int = 0, *, outputs: int = 1, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(100 + seed)
        self.seed, self.passes = seed, 0
        self.x, self.x_val = (torch.randn(n, T, D, generator=generator).to(dtype) for n in (rows, 9))
        self.y, self.y_val = (
            level + x[:, -1, :1] * (torch.arange(outputs) + 1) - 0.5 * x[:, 0, 1:]
            for level, x in ((2.0, self.x), (0.7, self.x_val))
        )

    def train_dataloader(self) -> DataLoader:
        generator = torch.Generator().manual_seed(self.seed)
        return DataLoader(TensorDataset(self.x, self.y), batch_size=8, shuffle=True, generator=generator)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(TensorDataset(self.x_val, self.y_val), batch_size=5, generator=torch.Generator())

    def pair(self) -> tuple[DataLoader, DataLoader]:
        return self.train_dataloader(), self.val_dataloader()


def make(config: ModelConfig, seed: int, dtype: torch.dtype = torch.float32, outputs: int = 1) -> Network:
    torch.manual_seed(seed)
    return Network(config, D, outputs).to(dtype)


def plain(results: list[FitResult]) -> list[tuple]:
    """What can be compared by ``==``: all but the seconds, and failures as text."""
    return [(*dataclasses.astuple(dataclasses.replace(r, seconds=0.0, failure=None)), str(r.failure)) for r in results]


def assert_same_bits(ours: Network, theirs: Network) -> None:
    for name, weight in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], weight), name


def validated(network: Network, data: Overshooting) -> float:
    with torch.no_grad():
        return float((network(data.x_val) - data.y_val).square().mean())


# ---------------------------------------------------------------------- a member is the single model


class Fit(NamedTuple):
    """What is trained: for each member its model, its training and its data."""

    models: list[dict]
    trainings: list[dict]
    data: Callable[[torch.dtype], list] = lambda dtype: [Overshooting(dtype=dtype)] * 3
    criterion: Callable[[Tensor, Tensor], Tensor] | None = None
    outputs: int = 1


#: Strengths are powers of two, which are exact in either float type.
SIX = [
    {
        **{
            knob.removeprefix("model."): 2.0 ** -(k + 4 + i % 3)
            for i, knob in enumerate(KNOBS)
            if "dropout" not in knob
        },
        "dropout": 0.1 + 0.2 * k,
        "recurrent_dropout": 0.5 - 0.2 * k,
    }
    for k in range(3)
]
RATES = [{"learning_rate": rate} for rate in (0.01, 0.03, 0.05)]
MIXED = [{"kernel_l2": 2**-6, "bias_l1": 2**-7}, {"dropout": 0.4, "activity_l2": 2**-5}, {"recurrent_dropout": 0.3}]

#: Of three members one has no L1 on its weights.
SPARSE = [
    {"kernel_l1": 0.5, "kernel_l2": 2**-6, "bias_l1": 0.25},
    {"recurrent_l1": 1.0, "kernel_l1": 0.25, "activity_l1": 2**-5, "dropout": 0.2},
    {"recurrent_l2": 2**-5, "recurrent_dropout": 0.3},
]


def settings(optimizer: str, rate: float) -> list[dict]:
    """Three trainings of one optimizer in which all the rest differs."""
    return [
        {"optimizer": optimizer, "learning_rate": rate, "weight_decay": 0.25, "gradient_clip": None},
        {"optimizer": optimizer, "learning_rate": 2 * rate, "weight_decay": 0.0, "gradient_clip": 0.5},
        {"optimizer": optimizer, "learning_rate": 4 * rate, "weight_decay": 0.0625, "gradient_clip": 2.0},
    ]


def own_data(dtype: torch.dtype) -> list[Overshooting]:
    return [Overshooting(rows, seed, dtype=dtype) for seed, rows in enumerate((22, 9, 33))]  # ends of 6, 1 and 1


def same_shapes(dtype: torch.dtype) -> list[Overshooting]:
    return [Overshooting(22, seed, dtype=dtype) for seed in range(3)]


def one_pair(dtype: torch.dtype) -> list[tuple[DataLoader, DataLoader]]:
    return [Overshooting(dtype=dtype).pair()] * 3


class InOrder(Overshooting):
    """Two sequences at a time, step by step: row i of a batch goes on where row i of the last one ended."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__(12, dtype=dtype)
        self.x, self.x_val = self.x[:, :1], self.x_val[:8, :1]
        self.y, self.y_val = self.x.roll(2, 0)[:, 0, :1] + 2, self.x_val.roll(2, 0)[:, 0, :1] + 0.7

    def train_dataloader(self) -> DataLoader:
        return DataLoader(TensorDataset(self.x, self.y), batch_size=2, generator=torch.Generator())

    def val_dataloader(self) -> DataLoader:
        return DataLoader(TensorDataset(self.x_val, self.y_val), batch_size=2, generator=torch.Generator())


def in_order(dtype: torch.dtype) -> list[InOrder]:
    return [InOrder(dtype)] * 3


def lopsided(prediction: Tensor, y: Tensor) -> Tensor:
    """A user's own criterion: too low costs three times as much."""
    error = y - prediction
    return torch.maximum(3 * error, -error).mean() + error.square().mean()


def stacked(knobs: list[dict], **shared: Any) -> list[dict]:
    """Two layers; of each knob the upper one has half."""
    return [
        {"hidden_size": [4, 3], "num_layers": 2} | {name: [value, value / 2] for name, value in own.items()} | shared
        for own in knobs
    ]


FITS = {
    "nothing on": Fit([{}] * 3, RATES),
    "all six knobs": Fit(SIX, RATES),
    "sgd": Fit(MIXED, settings("sgd", 0.02)),
    "adam": Fit(MIXED, settings("adam", 0.01)),
    "adamw": Fit(MIXED, settings("adamw", 0.01)),
    "two layers": Fit(stacked(SIX), RATES),
    "two-way": Fit([own | {"bidirectional": True} for own in SIX], RATES),
    "two layers, two-way, of different kinds": Fit(stacked(MIXED, bidirectional=True), settings("adam", 0.01)),
    "one mask of the state for all gates": Fit([own | {"per_gate_masks": False} for own in MIXED], RATES),
    "a mask of the input for each gate": Fit([own | {"per_gate_input_masks": True} for own in MIXED], RATES),
    "own data with ragged ends": Fit(SIX, RATES, own_data),
    "own data of one size": Fit(SIX, RATES, same_shapes),
    "one pair of loaders": Fit(MIXED, RATES, one_pair),
    "stateful": Fit([own | {"stateful": True} for own in SIX], RATES, in_order),
    "stateful, two layers": Fit(stacked(MIXED, stateful=True, bidirectional=True), RATES, in_order),
    "mae": Fit(SIX, [own | {"loss": "mae"} for own in RATES]),
    "huber": Fit(SIX, [own | {"loss": "huber"} for own in RATES]),
    "a user's criterion": Fit(SIX, RATES, criterion=lopsided),
    "three outputs": Fit(
        SIX, RATES, lambda dtype: [Overshooting(outputs=3, seed=k % 2, dtype=dtype) for k in range(3)], outputs=3
    ),
    "proximal, sgd": Fit(SPARSE, [own | {"proximal": True} for own in settings("sgd", 0.02)]),
    "proximal, adam": Fit(SPARSE, [own | {"proximal": True} for own in settings("adam", 0.01)], own_data),
    "proximal, two layers, two-way": Fit(
        stacked(SPARSE, bidirectional=True), [own | {"proximal": True} for own in settings("adamw", 0.01)]
    ),
    "proximal with nothing to do": Fit(
        [{}, {"kernel_l2": 2**-6}, {"activity_l1": 2**-6}], [own | {"proximal": True} for own in RATES]
    ),
    "patience, min_delta and max_epochs": Fit(
        MIXED,
        [
            {"learning_rate": 0.05, "patience": 2, "max_epochs": 30},
            {"learning_rate": 0.02, "patience": 4, "min_delta": 0.125, "max_epochs": 30},
            {"learning_rate": 0.01, "patience": 30, "max_epochs": 9},
        ],
    ),
    "keeping the last or the best, with patience or without": Fit(
        MIXED,
        [
            {"learning_rate": 0.05, "patience": None, "max_epochs": 14},
            {"learning_rate": 0.05, "patience": None, "max_epochs": 16, "keep": "last"},
            {"learning_rate": 0.05, "patience": 3, "max_epochs": 30, "keep": "last"},
        ],
    ),
}


Results = list[tuple[FitResult, Network]]


@functools.cache
def fitted(name: str, dtype: torch.dtype) -> tuple[Results, Results]:
    return trained(FITS[name], dtype)


def trained(case: Fit, dtype: torch.dtype) -> tuple[Results, Results]:
    """Train each alone, and all together; return their results and networks."""
    configs = [ModelConfig(**{"hidden_size": 4} | own) for own in case.models]
    trainings = [TrainingConfig(**{"max_epochs": 5, "seed": 7 * k} | own) for k, own in enumerate(case.trainings)]
    alone = []
    for k, (config, training) in enumerate(zip(configs, trainings, strict=True)):
        network = make(config, k, dtype, case.outputs)
        alone.append((fit(network, case.data(dtype)[k], training, criterion=case.criterion), network))
    population = Population([make(config, k, dtype, case.outputs) for k, config in enumerate(configs)])
    results = fit_population(population, case.data(dtype), trainings, criterion=case.criterion)
    return alone, [(result, population[k]) for k, result in enumerate(results)]


def assert_follows(ours: tuple[FitResult, Network], theirs: tuple[FitResult, Network], *, rtol: float) -> None:
    (result, network), (expected, alone) = ours, theirs
    assert len(result.history) == len(expected.history)
    for epoch, single in zip(result.history, expected.history, strict=True):
        assert epoch.train_loss == pytest.approx(single.train_loss, rel=rtol)
        assert epoch.val_loss == pytest.approx(single.val_loss, rel=rtol)
        assert epoch.penalties == pytest.approx(single.penalties, rel=rtol)
    assert (result.stopped, result.best_epoch, result.kept_epoch) == (
        expected.stopped,
        expected.best_epoch,
        expected.kept_epoch,
    )
    assert result.val_loss == pytest.approx(expected.val_loss, rel=rtol)
    assert result.train_loss == pytest.approx(expected.train_loss, rel=rtol)
    assert result.failure is None
    torch.testing.assert_close(network.state_dict(), alone.state_dict(), rtol=10 * rtol, atol=10 * rtol)
    assert not network.training


#: Lightning adds the losses of an epoch in float32.
PRECISIONS = [(torch.float64, 1e-6), (torch.float32, 2e-5)]


@pytest.mark.parametrize(("dtype", "rtol"), PRECISIONS, ids=["float64", "float32"])
@pytest.mark.parametrize("name", FITS)
def test_a_member_follows_the_fit_that_it_would_have_alone(name, dtype, rtol):
    singles, members = fitted(name, dtype)
    for ours, theirs in zip(members, singles, strict=True):
        assert_follows(ours, theirs, rtol=rtol)
    heads = [network.head.weight.detach() for _, network in members]
    for a, b in ((0, 1), (0, 2), (1, 2)):  # or one could stand for another
        assert float((heads[a] - heads[b]).abs().max()) > 0.01


@pytest.mark.parametrize("name", FITS)
def test_in_float64_the_weights_agree_to_the_last_digits(name):
    singles, members = fitted(name, torch.float64)
    for (_, ours), (_, theirs) in zip(members, singles, strict=True):
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", [name for name in FITS if name.startswith("proximal, ")])
def test_weights_that_a_proximal_step_makes_zero_are_zero_in_both(name):
    """To the last digit: of a weight that is nearly zero nobody could say that it is switched off."""
    singles, members = fitted(name, torch.float64)
    counts = []
    for (_, ours), (_, theirs) in zip(members, singles, strict=True):
        zeros = [(weight == 0).flatten() for weight in ours.state_dict().values()]
        expected = [(weight == 0).flatten() for weight in theirs.state_dict().values()]
        assert torch.equal(torch.cat(zeros), torch.cat(expected))
        counts.append(sum(int((p == 0).sum()) for p in ours.parameters()))
    assert counts[0] > 0
    assert counts[1] > 0
    assert counts[2] == 0


def test_members_stop_each_at_its_own_time():
    """Or what was compared above would be no stopping."""
    _, members = fitted("patience, min_delta and max_epochs", torch.float32)
    assert [result.stopped for result, _ in members] == ["patience", "patience", "max_epochs"]
    lengths = [len(result.history) for result, _ in members]
    assert len(set(lengths)) == 3
    assert members[1][0].best_epoch > lengths[1] - 5  # better, but not by min_delta


def test_members_keep_what_they_are_told_to():
    _, members = fitted("keeping the last or the best, with patience or without", torch.float32)
    (best, _), (last, network), (stopped, _) = members
    assert best.kept_epoch == best.best_epoch < 12
    assert last.best_epoch < last.kept_epoch == 15
    assert (stopped.stopped, stopped.kept_epoch) == ("patience", len(stopped.history) - 1)
    assert validated(network, Overshooting()) == pytest.approx(last.history[15].val_loss, rel=1e-5)


@pytest.mark.parametrize("name", ["all six knobs", "two layers, two-way, of different kinds", "stateful", "huber"])
def test_in_bfloat16_a_member_follows_the_fit_that_it_would_have_alone(name):
    """As far as that goes: what is rounded differs where one call takes the whole step."""
    case = FITS[name]
    mixed = case._replace(
        models=[own | {"hidden_size": 20} for own in case.models],
        trainings=[own | {"precision": "bf16-mixed"} for own in case.trainings],
    )
    exact = mixed._replace(trainings=case.trainings)
    singles, members = trained(mixed, torch.float32)
    for (result, network), (expected, alone), (other, _) in zip(
        members, singles, trained(exact, torch.float32)[1], strict=True
    ):
        assert [e.val_loss for e in result.history] == pytest.approx([e.val_loss for e in expected.history], rel=0.02)
        assert [e.train_loss for e in result.history] == pytest.approx(
            [e.train_loss for e in expected.history], rel=0.02
        )
        assert result.train_loss == pytest.approx(expected.train_loss, rel=0.02)
        assert result.history[0].train_loss != other.history[0].train_loss or not HAS_SHORT
        assert {weight.dtype for weight in network.parameters()} == {torch.float32}
        weights, single = (nn.utils.parameters_to_vector(n.parameters()) for n in (network, alone))
        assert (weights - single).norm() < 0.02 * single.norm()


@pytest.mark.parametrize("stateful", [False, True], ids=["in one call", "as torch has it"])
def test_training_and_validation_are_both_in_bfloat16(stateful):
    """The weights stand still, so that neither shows what the other did."""

    def losses(precision: str) -> tuple[float, float]:
        training = TrainingConfig(optimizer="sgd", learning_rate=1e-30, max_epochs=1, precision=precision)
        population = Population([make(ModelConfig(hidden_size=20, stateful=stateful), 0)])
        (result,) = fit_population(population, in_order(torch.float32)[0], training)
        return result.history[0].train_loss, result.history[0].val_loss

    (exact_train, exact_val), (train, val) = losses("32-true"), losses("bf16-mixed")
    assert (train, val) == pytest.approx((exact_train, exact_val), rel=0.02)
    assert (train != exact_train) is (val != exact_val) is (HAS_SHORT or stateful)


@pytest.mark.parametrize("min_delta", [0.0, 0.5])
def test_a_loss_that_stands_still_is_no_better(min_delta):
    training = TrainingConfig(optimizer="sgd", learning_rate=1e-30, patience=3, max_epochs=9, min_delta=min_delta)
    population, network = Population([make(ModelConfig(hidden_size=4), 0)]), make(ModelConfig(hidden_size=4), 0)
    (result,) = fit_population(population, Overshooting(), training)
    expected = fit(network, Overshooting(), training)
    assert len({epoch.val_loss for epoch in result.history}) == 1
    assert (len(result.history), result.best_epoch, result.stopped) == (4, 0, "patience")
    assert_follows((result, population[0]), (expected, network), rtol=1e-6)


@pytest.mark.parametrize("index", range(3))
def test_a_population_of_one_is_a_fit(index):
    singles, _ = fitted("all six knobs", torch.float64)
    population = Population([make(ModelConfig(hidden_size=4, **SIX[index]), index, torch.float64)])
    training = TrainingConfig(max_epochs=5, seed=7 * index, **RATES[index])
    (result,) = fit_population(population, Overshooting(dtype=torch.float64), training)
    assert_follows((result, population[0]), singles[index], rtol=1e-6)


def test_without_settings_it_trains_as_fit_does():
    population, network = Population([make(ModelConfig(hidden_size=4), 0)]), make(ModelConfig(hidden_size=4), 0)
    early = At("on_train_epoch_end", 3, stop)
    (result,) = fit_population(population, Overshooting(), callbacks=[early])
    expected = fit(network, Overshooting(), callbacks=[At("on_train_epoch_end", 3, stop)])
    assert_follows((result, population[0]), (expected, network), rtol=1e-5)


def test_over_many_seeds_the_two_ways_have_one_mean():
    """Rounding drives two trainings apart in the end, but not to another place."""
    seeds = range(12)
    config = ModelConfig(hidden_size=4, dropout=0.3, recurrent_dropout=0.3)
    trainings = [TrainingConfig(learning_rate=0.02, max_epochs=12, seed=seed) for seed in seeds]
    data = [Overshooting(22, seed) for seed in seeds]
    population = Population([make(config, seed) for seed in seeds])
    together = np.array([r.history[-1].val_loss for r in fit_population(population, data, trainings)])
    alone = np.array(
        [fit(make(config, k), data[k], training).history[-1].val_loss for k, training in enumerate(trainings)]
    )
    standard_error = alone.std(ddof=1) / len(seeds) ** 0.5
    assert standard_error > 0.01
    assert abs(together.mean() - alone.mean()) < 0.05 * standard_error
    assert np.corrcoef(together, alone)[0, 1] > 0.999


def test_a_data_module_is_prepared_and_set_up_and_the_same_one_is_read_once_for_all():
    class Told(Overshooting):
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[str] = []

        def prepare_data(self) -> None:
            self.calls.append("prepare")

        def setup(self, stage: str) -> None:
            self.calls.append(stage)
            self.ready = super().train_dataloader

        def train_dataloader(self) -> Iterator:
            outer = self

            class Loader:
                def __iter__(self) -> Iterator:
                    outer.calls.append("pass")
                    return iter(outer.ready())

            return Loader()

    data = Told()
    population = Population([make(ModelConfig(hidden_size=3), k) for k in range(5)])
    fit_population(population, [data] * 5, TrainingConfig(max_epochs=3))
    assert data.calls == ["prepare", "fit", *["pass"] * 3, "pass"]  # three epochs, and the best weights at the end


# ---------------------------------------------------------------------- company


def company(members: list[int], hidden: int = 4, **changes: Any) -> dict[int, tuple[tuple, Network]]:
    """Train some of forty members, no two alike, that read six data modules and stop at different times."""
    modules = [Overshooting(rows, seed) for seed, rows in enumerate((22, 22, 17, 22, 31, 17))]
    configs = [
        ModelConfig(
            hidden_size=hidden,
            dropout=0.1 * (k % 3),
            recurrent_dropout=0.2 * (k % 2),
            kernel_l2=1e-3 * (k % 4),
            recurrent_l1=1e-3 * (k % 2),
            bias_l2=0.01 * (k % 3),
            activity_l2=0.01 * (k % 3),
        )
        for k in members
    ]
    trainings = [
        TrainingConfig(
            learning_rate=0.01 * (1 + k % 5),
            gradient_clip=None if k % 2 else 0.5,
            weight_decay=0.01 * (k % 4),
            patience=2 + k % 3,
            max_epochs=14,
            seed=k,
        )
        for k in members
    ]
    population = Population([make(config, k) for k, config in zip(members, configs, strict=True)])
    data = [modules[k % 6] for k in members]
    results = fit_population(population, data, trainings, **changes)
    return {k: (plain([result])[0], population[i]) for i, (k, result) in enumerate(zip(members, results, strict=True))}


@functools.cache
def forty(hidden: int = 4) -> dict[int, tuple[tuple, Network]]:
    return company(list(range(40)), hidden)


def assert_as_among_forty(found: dict[int, tuple[tuple, Network]], hidden: int = 4) -> None:
    for k, (result, network) in found.items():
        assert result == forty(hidden)[k][0]
        assert_same_bits(network, forty(hidden)[k][1])


@pytest.mark.parametrize("hidden", [4, 13])
@pytest.mark.parametrize(
    "members", [[0], [23], [39], [5, 11, 17], [38, 3, 20], list(range(10, 27))], ids=lambda m: f"{m[0]}+{len(m) - 1}"
)
def test_no_bit_of_a_member_depends_on_its_company(members, hidden):
    assert_as_among_forty(company(members, hidden), hidden)


def test_members_that_are_removed_take_nothing_with_them():
    """Or what was compared above would have lived among the same forty throughout."""
    lengths = sorted(len(result[0]) for result, _ in forty().values())
    assert lengths[0] < lengths[10] < lengths[-1] == 14
    assert len({network.head.weight.detach().numpy().tobytes() for _, network in forty().values()}) == 40


def test_members_whose_batches_have_one_shape_go_together_whoever_stands_between_them(monkeypatch):
    """Or each would be a call by itself, which of few members costs as much as of many."""
    sizes = []

    def learn(given, gradient):
        sizes.append(len(given.weights))
        return real(given, gradient)

    real = lesson.learn
    monkeypatch.setattr("lstmreg.population.lesson.learn", learn)
    population = Population.of([ModelConfig(hidden_size=4)] * 6, D, 1)
    data = [Overshooting(rows, seed) for seed, rows in enumerate((22, 9, 22, 9, 22, 9))]  # ends of 6 and of 1
    fit_population(population, data, TrainingConfig(max_epochs=1))
    assert sizes == [6, 3, 3, 3]


@pytest.mark.parametrize("at_once", [1, 10_000])
def test_no_bit_depends_on_how_a_step_is_cut_into_pieces(at_once, monkeypatch):
    monkeypatch.setattr("lstmreg.training.population.formation._BYTES_AT_ONCE", at_once)
    assert_as_among_forty(company(list(range(40))))


@pytest.mark.parametrize("threads", [2, 3])
def test_no_bit_depends_on_how_many_threads_there_are_and_they_are_put_back(threads):
    expected = forty()
    torch.set_num_threads(threads)
    found = company(list(range(40)))
    assert torch.get_num_threads() == threads
    with pytest.raises(KeyboardInterrupt):
        company([1, 2, 3], callbacks=[At("on_train_batch_end", 1, interrupt)])
    assert torch.get_num_threads() == threads
    for k, (result, network) in found.items():
        assert result == expected[k][0]
        assert_same_bits(network, expected[k][1])


def test_what_is_kept_of_a_piece_for_its_backward_pass_fits_into_the_limit(monkeypatch):
    """Counted in bytes that autograd holds: no step may hold what all members together would need."""
    data = Overshooting(64)
    data.x = data.x.repeat(1, 8, 1)  # long enough for the activations to outweigh the weights
    loaders = DataLoader(TensorDataset(data.x, data.y), batch_size=64, generator=torch.Generator()), data.pair()[1]

    def most_held(limit: int) -> int:
        monkeypatch.setattr("lstmreg.training.population.formation._BYTES_AT_ONCE", limit)
        held, most = {}, 0

        class Held:
            def __init__(self, tensor: Tensor) -> None:
                nonlocal most
                self.tensor = tensor
                held[id(self)] = (tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes())
                most = max(most, sum(dict(held.values()).values()))

            def __del__(self) -> None:
                del held[id(self)]

        population = Population([make(ModelConfig(hidden_size=4, num_layers=2), k) for k in range(24)])
        with torch.autograd.graph.saved_tensors_hooks(Held, lambda kept: kept.tensor):
            fit_population(population, loaders, TrainingConfig(max_epochs=1))
        assert not held
        return most

    one = most_held(1)  # a member at a time
    assert one > 64 * 8 * T * 8 * 4  # at least its outputs
    assert most_held(10**9) > 8 * one  # or a limit would limit nothing
    assert most_held(4 * one) < 6 * one


# ---------------------------------------------------------------------- a member that diverges


class Souring(Overshooting):
    """From some pass on, one of the targets to train on is not a number."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first

    def train_dataloader(self) -> Iterator:
        return self.Loader(super().train_dataloader(), self.first)

    class Loader:
        def __init__(self, loader: DataLoader, first: int) -> None:
            self.loader, self.first, self.passes = loader, first, 0

        def __iter__(self) -> Iterator:
            self.passes += 1
            for number, (x, y) in enumerate(self.loader):
                yield x, y * math.nan if self.passes > self.first and number == 1 else y


def with_nan(name: str) -> Overshooting:
    data = Overshooting()
    getattr(data, name)[3] = math.nan
    return data


#: The model, the training, and the data of one that diverges.
DIVERGING = {
    "its step size": ({}, {"learning_rate": 1e30}, Overshooting),
    "its step size, later": ({}, {"learning_rate": 30.0}, Overshooting),
    "its penalty": ({"kernel_l2": 1e300}, {}, Overshooting),
    "its inputs": ({}, {}, lambda: with_nan("x")),
    "its targets": ({}, {}, lambda: with_nan("y")),
    "its validation": ({}, {}, lambda: with_nan("x_val")),
    "its sixth pass": ({"dropout": 0.2}, {"learning_rate": 0.1, "patience": 30}, lambda: Souring(5)),
}


def beside(count: int, model: dict, training: dict, data: Overshooting) -> tuple[Population, list[FitResult]]:
    """Train ``count`` members, the second of them with these settings."""
    models = [{"dropout": 0.1 * (k % 2), "bias_l2": 0.01 * k} for k in range(count)]
    trainings = [{"learning_rate": 0.01 * (k % 3 + 1), "patience": 30} for k in range(count)]
    modules = [Overshooting(seed=k) for k in range(count)]
    models[1], trainings[1], modules[1] = model, {"learning_rate": 0.02, "patience": 3} | training, data
    population = Population([make(ModelConfig(hidden_size=4, **own), k) for k, own in enumerate(models)])
    shared = {"optimizer": "sgd", "max_epochs": 8}
    results = fit_population(
        population, modules, [TrainingConfig(**shared | own, seed=k) for k, own in enumerate(trainings)]
    )
    return population, results


@functools.cache
def beside_a_good_one(count: int) -> tuple[Population, list[FitResult]]:
    return beside(count, {}, {}, Overshooting())


@pytest.mark.parametrize("count", [3, 24])  # of 24, one that has ended is not removed at once
@pytest.mark.parametrize("name", DIVERGING)
def test_a_member_that_diverges_fails_as_its_fit_would_and_touches_no_other(name, count):
    model, training, make_data = DIVERGING[name]
    population, results = beside(count, model, training, make_data())
    good, expected = beside_a_good_one(count)
    others = [k for k in range(count) if k != 1]
    assert plain([results[k] for k in others]) == plain([expected[k] for k in others])
    assert all(results[k].failure is None and len(results[k].history) == 8 for k in others)
    for k in others:
        assert_same_bits(population[k], good[k])

    network = make(ModelConfig(hidden_size=4, **model), 1)
    settings = {"optimizer": "sgd", "max_epochs": 8, "learning_rate": 0.02, "patience": 3, "seed": 1} | training
    with pytest.raises(DivergedError) as caught:
        fit(network, make_data(), TrainingConfig(**settings))
    failed = results[1]
    assert isinstance(failed.failure, DivergedError)
    inf_or_nan = re.compile("loss is (inf|nan)")  # of what overflows, the order of the sums says which
    assert inf_or_nan.sub("", str(failed.failure)) == inf_or_nan.sub("", str(caught.value))
    assert failed.failure.step == caught.value.step
    assert (failed.stopped, failed.val_loss, failed.train_loss) == ("diverged", math.inf, math.inf)
    if any(math.isfinite(epoch.val_loss) for epoch in failed.history):
        torch.testing.assert_close(population[1].state_dict(), network.state_dict(), rtol=1e-3, atol=1e-3)
        assert failed.best_epoch == int(np.argmin([epoch.val_loss for epoch in failed.history]))
    else:  # there is none, so it is where it began
        assert failed.best_epoch == 0
        assert_same_bits(population[1], make(ModelConfig(hidden_size=4, **model), 1))


@pytest.mark.parametrize("name", DIVERGING)
def test_where_losses_are_looked_at_when_an_epoch_ends_nothing_but_the_place_of_a_fault_is_lost(name, monkeypatch):
    """As on a GPU, which would wait for who looks at them in each step."""
    model, training, make_data = DIVERGING[name]
    usual, expected = beside(24, model, training, make_data())
    monkeypatch.setattr(Formation, "is_on_gpu", True)
    population, results = beside(24, model, training, make_data())
    assert plain([r for k, r in enumerate(results) if k != 1]) == plain([r for k, r in enumerate(expected) if k != 1])
    for k in range(24):
        assert_same_bits(population[k], usual[k])
    found, wanted = results[1], expected[1]
    assert (found.stopped, found.best_epoch, found.val_loss) == (wanted.stopped, wanted.best_epoch, wanted.val_loss)
    assert [epoch.val_loss for epoch in found.history] == pytest.approx(
        [epoch.val_loss for epoch in wanted.history], nan_ok=True
    )
    assert (found.failure is None) == (wanted.failure is None)
    if found.failure is not None and wanted.failure is not None:
        assert found.failure.step == wanted.failure.step
        # Of data, these loaders are not such that their rows could be looked at again.
        assert re.search(r"loss is (inf|nan|-inf) at step \d+", str(found.failure))


@pytest.mark.parametrize(
    ("part", "name", "told"),
    [
        ("training", "x", r"training loss is nan at step \d+, and the data are to blame: x\[3, 1, 0\] is nan"),
        ("training", "y", r"training loss is nan at step \d+, and the data are to blame: y\[3, 0\] is nan"),
        ("validation", "x", r"validation loss is nan at step \d+, and the data are to blame: x\[3, 1, 0\] is nan"),
    ],
)
def test_there_it_is_the_rows_that_tell_which_number_is_to_blame(part, name, told, monkeypatch):
    monkeypatch.setattr(Formation, "is_on_gpu", True)
    parts = {which: {"x": torch.randn(20, T, D), "y": torch.randn(20, 1)} for which in ("training", "validation")}
    parts[part][name][(3, 1, 0) if name == "x" else (3, 0)] = math.nan
    data = tuple((own["x"], own["y"]) for own in parts.values())
    (result,) = fit_population(Population([make(ModelConfig(hidden_size=4), 0)]), data, TrainingConfig(max_epochs=3))
    assert re.search(told + rf".* among the cases of {part}", str(result.failure))


def test_one_that_diverges_late_has_its_best_epochs_weights():
    population, results = beside(3, *DIVERGING["its sixth pass"][:2], Souring(5))
    losses = [epoch.val_loss for epoch in results[1].history]
    assert len(losses) == 5
    assert losses[-1] > min(losses) + 0.01  # or the last weights would do as well
    assert validated(population[1], Overshooting()) == pytest.approx(min(losses), rel=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_validation_that_is_not_finite_is_never_the_best(value):
    class Spoilt(Overshooting):
        class Loader:
            def __init__(self, loader: DataLoader) -> None:
                self.loader, self.passes = loader, 0

            def __iter__(self) -> Iterator:
                self.passes += 1
                for x, y in self.loader:
                    yield x, y + (value if self.passes in (1, 4) else 0.0)

        def val_dataloader(self) -> Iterator:
            return self.Loader(super().val_dataloader())

    settings = TrainingConfig(learning_rate=0.03, max_epochs=7)
    population = Population([make(ModelConfig(hidden_size=4), 0)])
    (result,) = fit_population(population, Spoilt(), settings)
    network = make(ModelConfig(hidden_size=4), 0)
    expected = fit(network, Spoilt(), settings)
    losses = [epoch.val_loss for epoch in result.history]
    assert [epoch for epoch, loss in enumerate(losses) if not math.isfinite(loss)] == [0, 3]
    assert (result.best_epoch, result.stopped) == (expected.best_epoch, expected.stopped)
    assert result.val_loss == min(loss for loss in losses if math.isfinite(loss))
    torch.testing.assert_close(population[0].state_dict(), network.state_dict(), rtol=1e-4, atol=1e-5)


def test_when_all_diverge_each_tells_why():
    population = Population([make(ModelConfig(hidden_size=4), k) for k in range(3)])
    told = []
    settings = TrainingConfig(optimizer="sgd", learning_rate=1e30)
    results = fit_population(population, Overshooting(), settings, listener=lambda k, result: told.append((k, result)))
    assert [result.stopped for result in results] == ["diverged"] * 3
    assert [result.history for result in results] == [()] * 3
    assert sorted(k for k, _ in told) == [0, 1, 2]
    assert all(result is results[k] for k, result in told)


# ---------------------------------------------------------------------- whose weights remain


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
def test_a_member_has_the_weights_of_its_best_epoch_and_can_be_saved(own, tmp_path):
    modules = [Overshooting(seed=k if own else 0) for k in range(4)]
    settings = [TrainingConfig(learning_rate=0.02 * (k + 1), max_epochs=12, patience=3) for k in range(4)]
    population = Population([make(ModelConfig(hidden_size=4, dropout=0.1 * k), k) for k in range(4)])
    results = fit_population(population, modules if own else modules[0].pair(), settings)
    for k, (result, data) in enumerate(zip(results, modules, strict=True)):
        losses = [epoch.val_loss for epoch in result.history]
        assert result.val_loss == min(losses) == losses[result.best_epoch]
        assert losses[-1] > min(losses) + 0.01  # or the last weights would do as well
        member = population[k]
        assert validated(member, data) == pytest.approx(result.val_loss, rel=1e-5)
        with torch.no_grad():
            assert float((member(data.x) - data.y).square().mean()) == pytest.approx(result.train_loss, rel=1e-5)
        fresh = Network(member.config, D, 1)
        fresh.load_state_dict(member.state_dict(), strict=True)
        assert type(member) is Network
        assert validated(fresh.eval(), data) == validated(member, data)
        save(tmp_path, member, {})
        assert_same_bits(load(tmp_path)[0], member)


class At(pl.Callback):
    """Does something in one hook of one epoch, at its second batch if the hook is of a batch."""

    def __init__(self, hook: str, epoch: int, action: Callable[[pl.Trainer], None]) -> None:
        def act(trainer: pl.Trainer, *rest: Any, **_: Any) -> None:
            if trainer.current_epoch == epoch and ("batch" not in hook or rest[-1] == 1):
                action(trainer)

        setattr(self, hook, act)


def stop(trainer: pl.Trainer) -> None:
    trainer.should_stop = True


def interrupt(trainer: pl.Trainer) -> None:
    raise KeyboardInterrupt


COUNT = 40  # so many that one which has ended is not removed at once


def many(pair: bool = False, **changes: Any) -> tuple[Population, list[FitResult] | None]:
    """Train members that end one after the other, from the fourth epoch on; ``None`` if they are interrupted."""
    settings = [
        TrainingConfig(learning_rate=0.01 + 0.005 * (k % 7), patience=2 + k % 4, max_epochs=16, seed=k)
        for k in range(COUNT)
    ]
    models = [ModelConfig(hidden_size=4, dropout=0.1 * (k % 2)) for k in range(COUNT)]
    population = Population([make(model, k) for k, model in enumerate(models)])
    data = Overshooting().pair() if pair else [Overshooting(seed=k % 2) for k in range(COUNT)]
    try:
        return population, fit_population(population, data, settings, **changes)
    except KeyboardInterrupt:
        return population, None


@functools.cache
def undisturbed(pair: bool = False) -> tuple[Population, list[FitResult]]:
    population, results = many(pair)
    assert results is not None
    return population, results


def data_of(member: int, pair: bool) -> Overshooting:
    return Overshooting(seed=0 if pair else member % 2)


def middle(pair: bool = False) -> int:
    """Return an epoch before which some have ended, and others have not."""
    lengths = sorted(len(result.history) for result in undisturbed(pair)[1])
    assert lengths[COUNT // 4] < lengths[-COUNT // 4]
    return lengths[COUNT // 4]


def beginning(pair: bool = False) -> int:
    """Return an epoch before which the first have ended, so few that they are still in their rows."""
    lengths = sorted(len(result.history) for result in undisturbed(pair)[1])
    assert lengths.count(lengths[0]) < (COUNT - 2) // 16
    return lengths[0]


class Remains(NamedTuple):
    """What is left of a fit that was broken off."""

    told: list[tuple[int, list[float], float]]  # member, validation losses, training loss
    validated: list[float]


def interrupted(pair: bool, callback: pl.Callback) -> Remains:
    told = []

    def listener(k: int, result: FitResult) -> None:
        told.append((k, [epoch.val_loss for epoch in result.history], result.train_loss))

    population, results = many(pair, callbacks=[callback], listener=listener)
    assert results is None
    assert not any(population[k].training for k in range(COUNT))
    return Remains(told, [validated(population[k], data_of(k, pair)) for k in range(COUNT)])


def assert_interrupted(remains: Remains, epoch: int, pair: bool) -> None:
    """Check what remains of a fit that was broken off in an epoch."""
    _, expected = undisturbed(pair)
    losses = [[seen.val_loss for seen in result.history] for result in expected]
    ended = [k for k in range(COUNT) if len(losses[k]) <= epoch]
    assert 0 < len(ended) < COUNT
    assert sorted(told[:2] for told in remains.told) == [(k, losses[k]) for k in ended]
    for (
        k,
        _,
        train_loss,
    ) in remains.told:  # a pair of loaders is at another pass, and so the sums have other last digits
        assert train_loss == pytest.approx(expected[k].train_loss, rel=1e-5 if pair else 0)
    assert remains.validated == pytest.approx([min(own[:epoch]) for own in losses], rel=1e-5)


@pytest.mark.parametrize("pair", [False, True], ids=["modules", "pair"])
@pytest.mark.parametrize("when", [beginning, middle])
@pytest.mark.parametrize("hook", ["on_train_epoch_start", "on_train_batch_end", "on_validation_end"])
def test_on_ctrl_c_those_that_have_ended_are_told_and_all_have_their_best_weights(hook, when, pair):
    handler, epoch = signal.getsignal(signal.SIGINT), when(pair)
    assert_interrupted(interrupted(pair, At(hook, epoch, interrupt)), epoch, pair)
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError("mine"), SystemExit(3)], ids=repr)
def test_a_fit_that_is_broken_off_leaves_the_global_generator_as_it_was(error):
    def break_off(trainer: pl.Trainer) -> None:
        torch.rand(3)
        raise error

    population = Population([make(ModelConfig(hidden_size=4, dropout=0.5), k) for k in range(2)])
    random, handler = torch.get_rng_state(), signal.getsignal(signal.SIGINT)
    with pytest.raises(BaseException) as caught:
        fit_population(population, Overshooting(), callbacks=[At("on_train_batch_end", 2, break_off)])
    assert repr(caught.value) == repr(error)
    assert torch.equal(torch.get_rng_state(), random)
    assert signal.getsignal(signal.SIGINT) is handler
    assert fit_population(population, Overshooting(), TrainingConfig(max_epochs=1))[1].stopped == "max_epochs"
    assert torch.equal(torch.get_rng_state(), random)


def test_ctrl_c_before_the_first_epoch_changes_nothing():
    population = Population([make(ModelConfig(hidden_size=4), 0)])
    before, told = population.weights.detach().clone(), []
    with pytest.raises(KeyboardInterrupt):
        fit_population(
            population,
            Overshooting(),
            callbacks=[At("setup", 0, interrupt)],
            listener=lambda k, result: told.append(k),
        )
    assert torch.equal(population.weights, before)
    assert told == []


@pytest.mark.parametrize("pair", [False, True], ids=["modules", "pair"])
def test_ctrl_c_while_a_result_is_told_tells_no_other_twice(pair):
    told: list[int] = []

    def listener(k: int, result: FitResult) -> None:
        told.append(k)
        if len(told) == 2:
            raise KeyboardInterrupt

    population = Population([make(ModelConfig(hidden_size=4), k) for k in range(4)])
    settings = [TrainingConfig(max_epochs=epochs) for epochs in (2, 2, 2, 4)]
    data = Overshooting().pair() if pair else Overshooting()
    with pytest.raises(KeyboardInterrupt):
        fit_population(population, data, settings, listener=listener)
    assert [k for k in range(4) if told.count(k) > 1] in ([], [told[1]])  # the one in question may come again
    assert pair or set(told) == {0, 1, 2}  # of a pair, all are told when all is over


def fit_until_interrupted(epoch: int) -> None:
    """Fit, wait for a signal, and tell what came of it."""

    def wait(trainer: pl.Trainer) -> None:
        print("ready", flush=True)
        time.sleep(60)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job does not have
    torch.set_num_threads(1)
    remains = interrupted(False, At("on_train_batch_end", epoch, wait))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    print(json.dumps(remains))


def test_ctrl_c_from_a_terminal_is_no_different():
    code = "import warnings; warnings.simplefilter('ignore'); "
    code += f"from {__name__} import fit_until_interrupted as fit; fit({middle()})"
    with Program(Path(__file__).parent, code=code) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        told, seen = json.loads(process.communicate(timeout=60)[0])
    assert process.returncode == 0
    assert_interrupted(Remains([tuple(one) for one in told], seen), middle(), pair=False)


# ---------------------------------------------------------------------- ending, and being told


@pytest.mark.parametrize("pair", [False, True], ids=["modules", "pair"])
def test_each_member_is_told_once_and_of_modules_as_soon_as_it_has_ended(pair):
    class Epochs(pl.Callback):
        ended = 0

        def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
            self.ended = trainer.current_epoch

    epochs, told = Epochs(), {}

    def listener(k: int, result: FitResult) -> None:
        assert k not in told
        told[k] = (epochs.ended, result)

    settings = [TrainingConfig(max_epochs=2 + k) for k in range(4)]
    population = Population([make(ModelConfig(hidden_size=3), k) for k in range(4)])
    data = Overshooting().pair() if pair else Overshooting()
    results = fit_population(population, data, settings, callbacks=[epochs], listener=listener)
    assert [told[k][1] for k in range(4)] == results
    assert [told[k][0] for k in range(4)] == ([4] * 4 if pair else [1, 2, 3, 4])


def test_a_member_is_at_its_best_when_it_is_told():
    seen = []
    population = Population([make(ModelConfig(hidden_size=4), k) for k in range(3)])

    def listener(k: int, result: FitResult) -> None:
        seen.append(validated(population[k].eval(), Overshooting()) / result.val_loss)

    fit_population(
        population, Overshooting(), [TrainingConfig(0.05, max_epochs=6 + k) for k in range(3)], listener=listener
    )
    assert seen == pytest.approx([1.0] * 3, rel=1e-5)


def test_one_that_is_watched_can_be_ended_and_the_others_go_on_as_before():
    seen: dict[int, list[int]] = {k: [] for k in range(COUNT)}
    ends = {3: 2, 8: 1, 9: 3}

    def watch(k: int, history: list) -> bool:
        seen[k].append(len(history))
        assert [epoch.val_loss for epoch in history] == [e.val_loss for e in expected[k].history[: len(history)]]
        return len(history) == ends.get(k)

    good, expected = undisturbed()
    population, results = many(watch=watch)
    for k in range(COUNT):
        assert seen[k] == list(range(1, len(results[k].history) + 1))
        if k in ends:
            assert results[k].stopped == "callback"
            assert results[k].history == expected[k].history[: ends[k]]
            assert validated(population[k], data_of(k, False)) == pytest.approx(results[k].val_loss, rel=1e-5)
        else:
            assert plain([results[k]]) == plain([expected[k]])
            assert_same_bits(population[k], good[k])


def test_one_that_ends_by_itself_was_not_ended_by_who_watches():
    settings = [TrainingConfig(max_epochs=2), TrainingConfig(0.1, patience=1, max_epochs=9), TrainingConfig()]
    population = Population([make(ModelConfig(hidden_size=4), 0) for _ in settings])
    ended = fit_population(population, Overshooting(), [*settings[:2], TrainingConfig(max_epochs=5)])
    lengths = [len(ended[0].history), len(ended[1].history), 3]
    population = Population([make(ModelConfig(hidden_size=4), 0) for _ in settings])
    watched = fit_population(population, Overshooting(), settings, watch=lambda k, history: len(history) == lengths[k])
    assert [result.stopped for result in watched] == ["max_epochs", "patience", "callback"]


@pytest.mark.parametrize("hook", ["on_train_epoch_end", "on_train_batch_end", "on_validation_end"])
def test_a_callback_can_end_all_and_each_has_its_result(hook):
    epoch, (_, expected) = middle(), undisturbed()
    population, results = many(callbacks=[At(hook, epoch, stop)])
    for k, result in enumerate(results):
        if len(expected[k].history) <= epoch:
            assert plain([result]) == plain([expected[k]])
        else:
            assert len(result.history) == epoch + 1
            assert result.history[:epoch] == expected[k].history[:epoch]
            assert result.stopped == ("callback" if len(expected[k].history) > epoch + 1 else expected[k].stopped) or (
                hook == "on_train_batch_end"  # the last epoch is another
            )
        losses = [seen.val_loss for seen in result.history]
        assert result.val_loss == min(losses)
        assert validated(population[k], data_of(k, False)) == pytest.approx(min(losses), rel=1e-5)


def test_a_fit_is_quiet_and_its_members_share_its_seconds(capfd, caplog):
    population = Population([make(ModelConfig(hidden_size=3), k) for k in range(3)])
    started = time.perf_counter()
    results = fit_population(population, Overshooting(), [TrainingConfig(max_epochs=k) for k in (1, 3, 3)])
    took = time.perf_counter() - started
    assert all(result.seconds > 0 for result in results)
    assert sum(result.seconds for result in results) <= took
    assert results[0].seconds < results[1].seconds
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


# ---------------------------------------------------------------------- what is refused


def three(**settings: Any) -> Population:
    return Population([make(ModelConfig(hidden_size=3, **settings), k) for k in range(3)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"training": [TrainingConfig()] * 2},
            "training must be one TrainingConfig or one for each of the 3 members, got 2.",
        ),
        ({"training": []}, "training must be one TrainingConfig or one for each of the 3 members, got 0."),
        ({"data": [Overshooting()] * 4}, "data must be for all or a list with one for each of the 3 members, got 4."),
        (
            {"training": [TrainingConfig(optimizer=o) for o in ("sgd", "adam", "sgd")]},
            "must have the same optimizer, got adam and sgd. Make a population for each.",
        ),
        (
            {"training": [TrainingConfig(loss=loss) for loss in ("mse", "mae", "huber")]},
            "must have the same loss, got huber and mae and mse. Make a population for each.",
        ),
        (
            {"training": [TrainingConfig(proximal=on) for on in (True, False, True)]},
            "must have the same proximal, got False and True. Make a population for each.",
        ),
        (
            {"training": [TrainingConfig(precision=p) for p in ("32-true", "bf16-mixed", "32-true")]},
            "must have the same precision, got 32-true and bf16-mixed. Make a population for each.",
        ),
    ],
    ids=["two trainings", "no trainings", "four data", "optimizers", "losses", "proximal steps", "precisions"],
)
def test_what_does_not_fit_together_is_refused_before_anything_is_trained(changes, message):
    population = three()
    before = population.weights.detach().clone()
    with pytest.raises(ValueError, match=re.escape(message)):
        fit_population(population, **{"data": Overshooting()} | changes)
    assert torch.equal(population.weights, before)


def test_stateful_members_may_have_batches_of_different_sizes():
    def data(size: int) -> tuple[DataLoader, DataLoader]:
        x = Overshooting(24).x[:, :1]
        batches = DataLoader(TensorDataset(x, x[:, 0, :1]), batch_size=size, generator=torch.Generator())
        return batches, batches

    population, sizes = three(stateful=True), [2, 4, 2]
    training = TrainingConfig(max_epochs=3)
    results = fit_population(population, [data(size) for size in sizes], training)
    for k, size in enumerate(sizes):
        network = make(ModelConfig(hidden_size=3, stateful=True), k)
        assert_follows((results[k], population[k]), (fit(network, data(size), training), network), rtol=1e-5)


def test_what_a_data_module_does_to_its_batches_on_their_way_is_done():
    class Scaled(Overshooting):
        def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return [batch[0] / 2, batch[1]]

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return [batch[0], batch[1] - 1]

    population, network, training = three(), make(ModelConfig(hidden_size=3), 1), TrainingConfig(max_epochs=3)
    results = fit_population(population, Scaled(), training)
    expected = fit(network, Scaled(), training)
    assert results[1].history[0].val_loss == pytest.approx(expected.history[0].val_loss, rel=1e-5)


def test_a_stateful_population_refuses_batches_of_two_sizes():
    population = Population([make(ModelConfig(hidden_size=3, stateful=True), 0)])
    with pytest.raises(ValueError, match=r"the same number of sequences each time, 8, got 6\."):
        fit_population(population, Overshooting(), TrainingConfig(max_epochs=1))


def test_a_criterion_that_cannot_be_mapped_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"criterion must be made of operations on tensors.*lstmreg\.fit"):
        fit_population(three(), Overshooting(), criterion=lambda p, y: (p - y).square().mean() * (p - y).sum().item())


def test_data_without_validation_batches_are_refused():
    batches = Overshooting().pair()[0]
    with pytest.raises(ValueError, match="training and validation batches"):
        fit_population(three(), (batches, []))


@pytest.mark.parametrize("count", [16, 19])  # of a multiple of the batch size, a sampler would be asked beyond its end
@pytest.mark.parametrize("whole", [True, False], ids=["pair", "module"])
def test_shuffled_batches_come_in_the_order_of_a_single_fit_in_every_epoch(count, whole):
    def data() -> Any:
        module = Overshooting(count)
        own = {"generator": torch.Generator().manual_seed(3)}
        train = DataLoader(TensorDataset(module.x, module.y), batch_size=8, shuffle=True, **own)
        val = DataLoader(TensorDataset(module.x_val, module.y_val), batch_size=9, generator=torch.Generator())
        if whole:
            return train, val
        module.train_dataloader, module.val_dataloader = lambda: train, lambda: val
        return module

    model, training = ModelConfig(hidden_size=3, recurrent_dropout=0.2), TrainingConfig(max_epochs=6, seed=4)
    population, network = three(recurrent_dropout=0.2), make(model, 1)
    results = fit_population(population, data(), training)
    alone = fit(network, data(), training)
    assert [epoch.val_loss for epoch in results[1].history] == pytest.approx(
        [epoch.val_loss for epoch in alone.history], rel=1e-5
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": [1, 2, 3]}, "data must be a LightningDataModule or a pair .training, validation. of loaders"),
        ({"training": {"learning_rate": 0.1}}, "training must be a TrainingConfig"),
        ({"criterion": "mse"}, "criterion must be callable"),
        ({"population": torch.nn.Linear(2, 1)}, "population must be a Population"),
    ],
)
def test_a_wrong_type_is_refused_with_what_is_expected(changes, message):
    with pytest.raises(TypeError, match=message):
        fit_population(**{"population": three(), "data": Overshooting()} | changes)


def test_targets_and_losses_of_another_shape_are_refused():
    x, y = torch.zeros(8, T, 2), torch.zeros(8)
    with pytest.raises(
        ValueError, match=r"y must have the prediction's shape, \(8, 1\), got \(8,\)\. Use y\.unsqueeze"
    ):
        fit_population(three(), ([(x, y)], [(x, y)]))
    with pytest.raises(ValueError, match="criterion must return a scalar"):
        fit_population(three(), Overshooting(), criterion=lambda p, y: p - y)
    with pytest.raises(ValueError, match=r"x must be .* with input_size=2 features"):
        fit_population(three(), ([(x[..., :1], y[:, None])], [(x[..., :1], y[:, None])]))


# ---------------------------------------------------------------------- classes, packed sequences, states


class Classes(Overshooting):
    """Labels that depend on the first step; ``seed`` and ``rows`` as before."""

    def __init__(self, rows: int = 22, seed: int = 0) -> None:
        super().__init__(rows, seed)
        self.y, self.y_val = ((x[:, 0, 0] > 0).long() + (x[:, 1, 0] > 1).long() for x in (self.x, self.x_val))


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
def test_class_indices_are_trained_with_cross_entropy_as_alone(own):
    weights = torch.tensor([1.0, 2.0, 0.5])

    def weighted(prediction: Tensor, y: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(prediction, y, weight=weights)

    for criterion in (torch.nn.functional.cross_entropy, torch.nn.CrossEntropyLoss(), weighted):
        configs = [ModelConfig(hidden_size=4), ModelConfig(hidden_size=4, dropout=0.3)]
        trainings = [TrainingConfig(learning_rate=0.03, max_epochs=4, seed=k) for k in range(2)]
        data = [Classes(22, 0), Classes(22, 1)] if own else [Classes()] * 2
        population = Population([make(config, k, outputs=3) for k, config in enumerate(configs)])
        results = fit_population(population, data, trainings, criterion=criterion)
        for k, config in enumerate(configs):
            network = make(config, k, outputs=3)
            expected = fit(network, data[k], trainings[k], criterion=criterion)
            assert_follows((results[k], population[k]), (expected, network), rtol=2e-5)


def test_batches_that_are_packed_are_refused_with_the_remedy():
    packed = torch.nn.utils.rnn.pack_sequence([torch.randn(4, D), torch.randn(2, D)])
    batches = [(packed, torch.zeros(2, 1))]
    with pytest.raises(TypeError, match=r"x as a tensor.*got PackedSequence.*padded sequences.*lstmreg\.fit"):
        fit_population(three(), (batches, batches))
    fit(make(ModelConfig(hidden_size=4), 0), (batches, batches), TrainingConfig(max_epochs=1))


def test_a_fit_leaves_a_stateful_population_at_zeros():
    data = InOrder(torch.float32)
    population = Population([make(ModelConfig(hidden_size=4, stateful=True), k) for k in range(2)])
    population(data.x_val[:2])
    fit_population(population, data, TrainingConfig(max_epochs=1))
    torch.testing.assert_close(population(data.x_val[:2])[0], population[0](data.x_val[:2]))
