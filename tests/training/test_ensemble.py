"""An ensemble is trained at once, is what its members are, and is saved wherever a single network would be."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from lstmreg import Config, DivergedError, Ensemble, ModelConfig, Network, TrainingConfig, cli, models, search
from lstmreg.tasks import read_task
from lstmreg.training import single
from lstmreg.training.single import Trained, fit_held_out, train_configured, train_single
from tests.tiny import smallest_config, tiny_config

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),  # Lightning's own affair
]


def configured(folder: Path, members: int, **training) -> Config:
    model = ModelConfig(hidden_size=4, dropout=0.2, members=members)
    training = {"max_epochs": 6, "patience": 3, "learning_rate": 0.03} | training
    return dataclasses.replace(tiny_config(folder), model=model, training=TrainingConfig(**training))


def train(config: Config) -> Trained:
    task = read_task(config)
    return train_configured(config, task, task.hold_out())


def test_an_ensemble_is_the_mean_of_networks_that_differ_in_their_seed(tmp_path):
    config = configured(tmp_path, 3)
    trained = train(config)
    assert isinstance(trained.network, Ensemble)
    assert not trained.network.training
    alone = train_single(config, trained.lesson.task, trained.lesson.split)
    first, *others = trained.network.members
    torch.testing.assert_close(first.state_dict(), alone.network.state_dict(), rtol=1e-4, atol=1e-5)
    assert trained.results[0].val_loss == pytest.approx(alone.result.val_loss, rel=1e-4)
    for other in others:
        assert float((other.head.weight - first.head.weight).detach().abs().max()) > 0.01
    split, cases = trained.lesson.split, trained.lesson.cases
    for numbers, told in [(split.train, trained.train_loss), (split.validation, trained.val_loss)]:
        with torch.no_grad():
            x, y = torch.from_numpy(cases.inputs[numbers]), torch.from_numpy(cases.targets[numbers])
            error = sum(member(x) for member in trained.network.members) / 3 - y
        assert told == pytest.approx(float(error.square().mean()), rel=1e-5)
    assert trained.val_loss < np.mean([result.val_loss for result in trained.results])  # of a convex loss, always
    assert trained.predictor().about()["val_loss"] == trained.val_loss


def test_one_member_is_a_network_as_before(tmp_path):
    trained = train(configured(tmp_path, 1))
    assert type(trained.network) is Network
    assert (trained.val_loss, trained.train_loss) == (trained.result.val_loss, trained.result.train_loss)


@pytest.mark.parametrize("diverging", [1, 2])
def test_members_that_diverge_are_left_out_while_two_are_left(diverging, tmp_path, monkeypatch):
    fitted = single.fit_population

    def some_diverge(*arguments, **options):
        results = fitted(*arguments, **options)
        failure = DivergedError(3, "training", float("nan"))
        return [dataclasses.replace(r, failure=failure) for r in results[:diverging]] + results[diverging:]

    monkeypatch.setattr(single, "fit_population", some_diverge)
    if diverging == 2:
        with pytest.raises(DivergedError, match="at step 3"):
            train(configured(tmp_path, 3))
        return
    trained = train(configured(tmp_path, 3))
    assert len(trained.network.members) == len(trained.results) == trained.network.config.members == 2


def test_it_is_held_against_the_test_rows_as_one(tmp_path):
    config = configured(tmp_path, 2)
    task = read_task(config)
    held = fit_held_out(config, task=task)
    test = task.hold_out().judged
    prediction, truth = held.trained.predict(test), task.truth(test)
    assert held.test_error == pytest.approx(np.sqrt(np.square(prediction - truth).mean()), rel=1e-6)


def test_the_command_line_trains_and_converts_it(tmp_path, capsys):
    config = configured(tmp_path, 3)
    settings = [f"--data.path={config.data.path}", "--data.target=wave", "--data.time=day", "--data.window=6"]
    settings += ["--model.hidden_size=4", "--training.max_epochs=2", f"--runs={tmp_path / 'runs'}"]
    assert cli.main(["fit", *settings, "--model.members=3"]) == 0
    shown = capsys.readouterr().out
    assert "3 networks, at epochs" in shown
    assert "These are losses of their mean; alone" in shown
    network, _ = models.load(tmp_path / "runs" / "waves" / "fit")
    assert isinstance(network, Ensemble)
    for kind in ("torch", "keras"):
        converted = ["convert", str(tmp_path / "runs" / "waves" / "fit"), "-o", str(tmp_path / kind), "--to", kind]
        assert cli.main(converted) == 0
    assert "Average" in capsys.readouterr().out


def test_a_search_compares_single_networks_and_saves_an_ensemble(tmp_path):
    config = smallest_config(tmp_path)
    evidence = search.run(dataclasses.replace(config, model=dataclasses.replace(config.model, members=2)))
    alone = search.run(dataclasses.replace(config, name="alone"))
    for stage in ("rates", "choose", "judge", "test"):
        ours, theirs = ([r.result.loss for r in found.records[stage]] for found in (evidence, alone))
        assert ours == theirs
    network, about = models.load(evidence.config.directory)
    single_network, _ = models.load(alone.config.directory)
    assert isinstance(network, Ensemble)
    torch.testing.assert_close(network.members[0].state_dict(), single_network.state_dict(), rtol=1e-4, atol=1e-5)
    assert about["target"] == "wave"
