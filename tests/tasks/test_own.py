"""A network, data modules and a loss of somebody's own go through the experiment, and nothing of them is guessed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lstmreg
from lstmreg import Config, DataConfig, ModelConfig, SearchConfig, TrainingConfig, report, search
from lstmreg.errors import ConfigError, DataError
from lstmreg.report.code import saved_model
from lstmreg.tasks import Own, read_task
from lstmreg.tasks.own import turned
from lstmreg.training.single import train_single


class Module(pl.LightningDataModule):
    """Sequences whose last step's first column is to be told, noisily."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randn(60, 5, 3, generator=generator)
        self.y = (self.x[:, -1, 0] > 0).long()

    def loader(self, start: int, stop: int, shuffle: bool = False) -> DataLoader:
        own = torch.Generator().manual_seed(1)
        return DataLoader(TensorDataset(self.x[start:stop], self.y[start:stop]), 8, shuffle=shuffle, generator=own)

    def train_dataloader(self) -> DataLoader:
        return self.loader(0, 30, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return self.loader(30, 45)

    def test_dataloader(self) -> DataLoader:
        return self.loader(45, 60)


class Net(nn.Module):
    """Two layers with something between them, which no ready network has."""

    def __init__(self) -> None:
        super().__init__()
        self.first = lstmreg.LSTM(3, 6, batch_first=True, recurrent_dropout=0.1)
        self.norm = nn.LayerNorm(6)
        self.second = lstmreg.LSTM(6, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.norm(self.first(x)[0]))[0][:, -1])


def own(count: int = 4) -> Own:
    return Own([Module(seed) for seed in range(count)], Net, nn.functional.cross_entropy)


def config(folder: Path, **settings: object) -> Config:
    return Config(
        DataConfig("mine", "y"),
        training=TrainingConfig(max_epochs=3, patience=2, learning_rate=0.02),
        search=SearchConfig(
            **{
                "weight_decay": [],
                "race": 0,
                "judge_seeds": 2,
                "test_seeds": 2,
                "learning_rates": [0.02],
                "space": {"model.kernel_l2": [0.001], "model.dropout": [0.2]},
            }
            | settings
        ),
        runs=str(folder),
    )


def test_a_network_of_ones_own_is_searched_and_its_weights_are_saved(tmp_path: Path) -> None:
    told: list[str] = []
    evidence = search.run(config(tmp_path), lambda progress: told.append(progress.role), task=own())
    assert len(evidence.results({}, "judge")) == 3 * 2  # fresh seeds on each module but the last, which is the test
    assert len(evidence.results({}, "test")) == 2
    assert told[0] == "plan"
    answer = report.answer(evidence)
    assert answer.test.floors == {}
    assert answer.test.metric == "loss"
    report.write(answer, evidence.config.directory)
    page = (evidence.config.directory / "report.html").read_text()
    assert "In your own network" in page
    assert "single input column" not in page

    # The loss of the test, by hand, of the weights that were saved.
    saved = safetensors.torch.load_file(evidence.config.directory / "model.safetensors")
    assert json.loads((evidence.config.directory / "model.json").read_text())["class"] == "Net"
    network = Net().eval()
    exec(saved_model(answer).code, {"network": network})
    assert all(torch.equal(weights, saved[name]) for name, weights in network.state_dict().items())
    module = Module(3)
    with torch.no_grad():
        loss = nn.functional.cross_entropy(network(module.x[45:]), module.y[45:])
    tested = [result.test_error for result in evidence.results(answer.recommended, "test").values()]
    assert min(abs(float(loss) - error) for error in tested) < 1e-6
    with pytest.raises(lstmreg.errors.CorruptFileError, match="Net, a network of your own"):
        lstmreg.load(evidence.config.directory)

    again = search.run(config(tmp_path), task=own())  # nothing is left to run
    assert again.records == evidence.records
    with pytest.raises(DataError, match="your data modules, network and loss: not what run"):
        search.run(config(tmp_path), task=Own([Module(s) for s in (9, 8, 7, 6)], Net, nn.functional.cross_entropy))


def test_a_network_of_ones_own_is_trained_by_other_processes_to_the_same_digits(tmp_path: Path) -> None:
    found = []
    for workers in (0, 2):
        evidence = search.run(config(tmp_path / str(workers), workers=workers), task=own())
        results = [record for records in evidence.records.values() for record in records]
        found.append([(r.role, r.identity, r.result.val, r.result.loss, r.result.test_error) for r in results])
        assert len({r.place for r in results}) == max(1, workers)
    assert found[0] == found[1]


def test_modules_that_say_what_trains_cannot_be_thinned_and_the_refusal_leaves_no_run(tmp_path: Path) -> None:
    asked = config(tmp_path)
    asked = dataclasses.replace(asked, search=dataclasses.replace(asked.search, cases=50))
    with pytest.raises(lstmreg.errors.ConfigError, match=r"search\.cases must be null where data modules"):
        search.run(asked, task=own())
    assert not (asked.directory / "config.yaml").exists()


def test_another_network_or_loss_or_case_is_another_question() -> None:
    class Wider(Net):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 3)

    modules = [Module(seed) for seed in range(4)]
    digests = {
        Own(modules, network, loss).sha256
        for network, loss in [
            (Net, nn.functional.cross_entropy),
            (Wider, nn.functional.cross_entropy),
            (Net, nn.functional.multi_margin_loss),
        ]
    }
    assert len(digests) == 3
    assert own().sha256 in digests
    for place in range(4):  # of each module it is another whether it validates, or is judged
        others = [Module(seed) for seed in range(4)]
        others[place].x = others[place].x.clone()
        others[place].x[50] += 1
        digests.add(Own(others, Net, nn.functional.cross_entropy).sha256)
    assert len(digests) == 7


def test_where_no_knob_is_searched_there_is_an_answer_too(tmp_path: Path) -> None:
    evidence = search.run(config(tmp_path, space={"training.weight_decay": [0.01]}), task=own())
    assert report.answer(evidence).knobs


def test_knobs_are_turned_in_every_layer_and_what_a_network_sets_itself_stays() -> None:
    network = turned(Net(), ModelConfig(kernel_l1=0.01, kernel_l2=0.1, dropout=0.3))
    assert [layer.dropout for layer in (network.first, network.second)] == [0.3, 0.3]
    assert [layer.recurrent_dropout for layer in (network.first, network.second)] == [0.1, 0.0]
    for layer in (network.first, network.second):
        assert (layer.kernel_regularizer.l1, layer.kernel_regularizer.l2) == (0.01, 0.1)
        assert layer.recurrent_regularizer is None
    network.first.per_gate_masks = False
    assert turned(network, ModelConfig(recurrent_dropout=0.3)).first.per_gate_masks is False
    assert network.second.per_gate_masks is True
    assert turned(network, ModelConfig(recurrent_dropout=0.3, per_gate_masks=False)).second.per_gate_masks is False


def test_every_module_is_a_block_but_the_last_which_is_the_test() -> None:
    task = own(5)
    completed = task.completed(config(Path("unused")))
    assert completed.search.blocks == 4
    assert task.completed(completed) == completed
    splits = task.splits(completed.search)
    assert [split.key for split in splits.blocks] == [(0,), (1,), (2,), (3,)]
    assert splits.final.key == task.hold_out().key == (4,)
    for split in (*splits.blocks, splits.final):
        assert [len(part) for part in (split.train, split.validation, split.judged)] == [30, 15, 15]
        assert len({*split.train, *split.validation, *split.judged}) == 60
    for wrong in (3, 5):
        with pytest.raises(
            DataError, match=rf"search.blocks must be 4, .* the 5 data modules but the last, got {wrong}"
        ):
            task.splits(dataclasses.replace(completed.search, blocks=wrong))


ONE = Net()


class NoTest(Module):
    test_dataloader = pl.LightningDataModule.test_dataloader


class Stock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((lambda: [Module(0)] * 3, Net), ConfigError, "four or more"),
        ((lambda: [1, 2, 3, 4], Net), TypeError, "must be LightningDataModules"),
        ((lambda: [NoTest(1)] + [Module(0)] * 3, Net), DataError, r"data module 0: test_dataloader\(\) must give"),
        ((lambda: [Module(0)] * 4, Stock), ConfigError, r"Stock has no lstmreg\.LSTM inside"),
        ((lambda: [Module(0)] * 4, "Net"), TypeError, "network must be callable"),
        ((lambda: [Module(0)] * 4, ONE), TypeError, "Give its class"),
        ((lambda: [Module(0)] * 4, lambda: ONE), TypeError, "the same one twice"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_runs(arguments, error, message) -> None:
    modules, network = arguments
    with pytest.raises(error, match=message):
        Own(modules(), network, nn.functional.cross_entropy)


def test_sizes_of_a_network_of_ones_own_are_not_searched_and_it_is_not_asked_for_by_name() -> None:
    with pytest.raises(ConfigError, match=r"model\.hidden_size is not known of a network of your own"):
        own().completed(config(Path("unused"), space={"model.hidden_size": [4, 8]}))
    with pytest.raises(ConfigError, match=r"dropout\[0\]: single layers .* Name it without a layer: model\.dropout\."):
        own().completed(config(Path("unused"), space={"model.dropout[0]": [0.1]}))
    with pytest.raises(ConfigError, match="asked from Python"):
        read_task(dataclasses.replace(config(Path("unused")), task="own"))


def test_a_training_that_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    calls = []

    class Sometimes(Net):
        def forward(self, x: Tensor) -> Tensor:
            if self.training and self.first.dropout == 0.2:
                calls.append(1)
                raise RuntimeError("not this one")
            return super().forward(x)

    modules = [Module(seed) for seed in range(4)]
    evidence = search.run(config(tmp_path), task=Own(modules, Sometimes, nn.functional.cross_entropy))
    assert calls
    assert evidence.failures({"model.dropout": 0.2}, "choose") == 3
    assert not evidence.failures({"model.kernel_l2": 0.001}, "choose")
    assert "model.dropout" not in search.decisions.Conclusion.of(evidence).candidate


def test_losses_of_the_test_are_case_by_case() -> None:
    task = own()
    network, module = Net().eval(), Module(3)
    split = task.hold_out()
    losses = task.outputs(network, task.encoder(split), split.judged)
    with torch.no_grad():
        expected = nn.functional.cross_entropy(network(module.x[45:]), module.y[45:], reduction="none")
    np.testing.assert_allclose(losses[:, 0], expected.numpy(), rtol=1e-6)


def test_a_case_of_the_test_is_named_by_its_module_and_its_place_in_the_test_batches() -> None:
    task = own()
    split = task.hold_out()
    named = dict(zip(task.labels(split.judged), split.judged.tolist(), strict=True))
    rows = torch.cat([y for _, y in Module(3).test_dataloader()])
    assert list(named) == [f"module 3, test case {k}" for k in range(len(rows))]
    assert task.labels(np.array([0, len(split.train)])) == ["module 3, training case 0", "module 3, validation case 0"]


def test_each_block_is_judged_on_its_own_modules_test_batches() -> None:
    task = own()
    asked = task.completed(config(Path("unused")))
    for seed, split in enumerate(task.splits(asked.search).blocks):
        trained = train_single(asked, task, split)
        module = Module(seed)
        with torch.no_grad():
            expected = nn.functional.cross_entropy(trained.network(module.x[45:]), module.y[45:], reduction="none")
        np.testing.assert_allclose(trained.judged_losses(), expected.numpy(), rtol=1e-5)
        assert trained.predict(split.validation).mean() == pytest.approx(trained.val_loss, rel=1e-5)
