"""What is minimized and what is logged, and whose weights remain however a fit ends."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import signal
import time
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lstmreg import (
    L1,
    L1L2,
    L2,
    LSTM,
    BestWeights,
    DivergedError,
    FitResult,
    ModelConfig,
    Network,
    Population,
    TrainingConfig,
    TrainingModule,
    fit,
    fit_population,
)
from lstmreg.training.finite import not_finite
from tests.program import Program

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),  # Lightning's own affair
]

mse = nn.functional.mse_loss


class Own(nn.Module):
    """A user's own network, with the layer somewhere inside."""

    def __init__(self, **knobs) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"memory": LSTM(2, 4, batch_first=True, **knobs), "head": nn.Linear(4, 1)})
        nn.init.uniform_(self.parts["head"].weight, -0.1, 0.1)
        nn.init.constant_(self.parts["head"].bias, -0.2)

    def forward(self, x: Tensor) -> Tensor:
        output, _ = self.parts["memory"](x)
        return self.parts["head"](output[:, -1])


class Overshooting(pl.LightningDataModule):
    """Training pulls the prediction up to 2 and, on its way, past what validation wants."""

    def __init__(self, shuffle: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.x, self.x_val = (torch.randn(n, 5, 2, generator=generator) for n in (22, 9))
        self.y, self.y_val = 2 + 0.1 * self.x[:, 0, :1], 0.7 + 0.1 * self.x_val[:, 0, :1]
        self.shuffle = shuffle

    def train_dataloader(self) -> DataLoader:
        return DataLoader(TensorDataset(self.x, self.y), batch_size=8, shuffle=self.shuffle)  # 8, 8 and 6

    def val_dataloader(self) -> DataLoader:
        return DataLoader(TensorDataset(self.x_val, self.y_val), batch_size=5)


class At(pl.Callback):
    """Does something in one hook of one epoch, and remembers every validation loss."""

    def __init__(self, hook: str = "", epoch: int = 7, action=None) -> None:
        self.losses: list[float] = []
        if hook:
            setattr(self, hook, lambda trainer, *_, **__: action() if trainer.current_epoch == epoch else None)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.losses.append(float(trainer.callback_metrics["val_loss"]))


def plain_trainer(max_epochs: int, *callbacks: pl.Callback, **options) -> pl.Trainer:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return pl.Trainer(max_epochs=max_epochs, callbacks=list(callbacks), accelerator="cpu", devices=1, **quiet | options)


def overshoot(network: nn.Module, *callbacks: pl.Callback, criterion=None, **settings) -> FitResult:
    training = TrainingConfig(**{"learning_rate": 0.03, "max_epochs": 10} | settings)
    return fit(network, Overshooting(), training, criterion=criterion, callbacks=callbacks)


def validated(network: nn.Module, criterion=mse) -> float:
    data = Overshooting()
    with torch.no_grad():
        return float(criterion(network.eval()(data.x_val), data.y_val))


# ---------------------------------------------------------------------- what is minimized, and what is logged


class Steps(pl.Callback):
    """Repeats every training step by hand."""

    def __init__(self) -> None:
        self.data_losses: list[float] = []
        self.penalties: list[dict[str, float]] = []
        self.sizes: list[int] = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        x, y = batch
        self.twin = copy.deepcopy(module.network)
        memory, head = self.twin.parts["memory"], self.twin.parts["head"]
        output, _ = memory(x)
        data_loss = (head(output[:, -1]) - y).abs().mean()
        w_ih, w_hh, b_ih, b_hh = memory.all_weights[0]
        bias = b_ih + b_hh
        penalties = {
            "kernel": 0.5 * w_ih.square().sum(),
            "recurrent": 0.25 * w_hh.abs().sum(),
            "bias": 0.5 * bias.abs().sum() + 2.0 * bias.square().sum(),
            "activity": 0.125 * output.square().sum() / len(x),
        }
        self.total = data_loss + sum(penalties.values())
        self.total.backward()
        self.data_losses.append(data_loss.item())
        self.penalties.append({kind: penalty.item() for kind, penalty in penalties.items()})
        self.sizes.append(len(x))

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        torch.testing.assert_close(outputs["loss"], self.total, rtol=1e-6, atol=0)
        for ours, theirs in zip(module.network.parameters(), self.twin.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs - 0.01 * theirs.grad, rtol=1e-5, atol=1e-6)


def test_what_is_minimized_is_the_data_loss_plus_the_penalties_and_they_are_logged_apart():
    network = Own(
        kernel_regularizer=L2(0.5),
        recurrent_regularizer=L1(0.25),
        bias_regularizer=L1L2(0.5, 2.0),
        activity_regularizer=L2(0.125),
    )
    module = TrainingModule(
        network, criterion=nn.functional.l1_loss, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.01)
    )
    steps = Steps()
    trainer = plain_trainer(1, steps)
    trainer.fit(module, datamodule=Overshooting())
    assert steps.sizes == [8, 8, 6]
    expected = {"train_loss": np.average(steps.data_losses, weights=steps.sizes)}
    for kind in ("kernel", "recurrent", "bias", "activity"):
        expected[f"penalty/{kind}"] = np.average([p[kind] for p in steps.penalties], weights=steps.sizes)
    expected["val_loss"] = validated(network, nn.functional.l1_loss)
    assert {name: float(value) for name, value in trainer.callback_metrics.items()} == pytest.approx(expected, rel=1e-6)


def test_a_stateful_layer_carries_its_state_through_a_pass_and_begins_each_with_zeros():
    """Batches that follow each other in time, without shuffling: the end of one is where the next begins."""

    class Stateful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = LSTM(1, 3, batch_first=True, stateful=True), nn.Linear(3, 1)
            self.began: list[bool] = []

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.began.append(self.lstm._carried is None)
            return self.head(self.lstm(x)[0][:, -1])

    series = torch.randn(24, 1)
    windows = series.view(2, 3, 4, 1).transpose(0, 1).reshape(6, 4, 1)
    data = TensorDataset(windows, torch.zeros(6, 1))
    network = Stateful()
    loaders = DataLoader(data, batch_size=2), DataLoader(TensorDataset(*data[:4]), batch_size=2)
    fit(network, loaders, TrainingConfig(max_epochs=2, patience=2))
    passes = [True, False, False, True, False]  # three batches of training, two of validation
    assert network.began[:10] == 2 * passes


def test_testing_and_predicting_use_the_network_alone():
    data, module = Overshooting(), TrainingModule(Own(activity_regularizer=L2(0.5), dropout=0.5))
    (tested,) = plain_trainer(1).test(module, data.val_dataloader(), verbose=False)
    assert tested == {"test_loss": pytest.approx(validated(module.network), rel=1e-6)}
    for batches in (data.val_dataloader(), DataLoader(data.x_val, batch_size=5)):  # with targets and without
        predictions = torch.cat(plain_trainer(1).predict(module, batches))
        torch.testing.assert_close(predictions, module.network(data.x_val))


def test_the_optimizer_gets_what_is_trainable():
    network = Own()
    network.parts["head"].requires_grad_(False)
    (group,) = TrainingModule(network, learning_rate=0.5).configure_optimizers().param_groups
    assert group["lr"] == 0.5
    assert [id(p) for p in group["params"]] == [id(p) for p in network.parts["memory"].parameters()]


def test_a_resumed_training_goes_on_with_the_masks_where_it_was(tmp_path):
    class Saving(pl.Callback):
        def on_train_epoch_end(self, trainer, module) -> None:
            if trainer.current_epoch == 1:
                trainer.save_checkpoint(tmp_path / "a.ckpt")

    def module() -> TrainingModule:
        torch.manual_seed(3)
        return TrainingModule(Own(dropout=0.4, recurrent_dropout=0.4, seed=7), learning_rate=0.02)

    straight, resumed = module(), module()
    plain_trainer(4, BestWeights(), Saving()).fit(straight, datamodule=Overshooting())
    best = BestWeights()
    trainer = plain_trainer(4, best)
    trainer.fit(resumed, datamodule=Overshooting(), ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert trainer.global_step == 12
    draws = straight.network.parts["memory"].draws
    assert resumed.network.parts["memory"].draws.tolist() == draws.tolist()
    assert draws.tolist() == [4 * 2 * 12]  # a mask per gate and kind and step
    torch.testing.assert_close(resumed.state_dict(), straight.state_dict(), rtol=0, atol=0)
    assert validated(resumed.network) == pytest.approx(best.best_value, rel=1e-6)


# ---------------------------------------------------------------------- whose weights remain


def assert_best(network: nn.Module, losses: list[float], criterion=mse) -> None:
    finite = [loss for loss in losses if math.isfinite(loss)]
    best = min(finite)
    assert finite[-1] > best + 0.01  # or the last weights would do as well
    assert validated(network, criterion) == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize(
    ("stopped", "settings"), [("patience", {"patience": 2, "max_epochs": 50}), ("max_epochs", {"max_epochs": 8})]
)
def test_the_best_weights_remain_when_a_fit_ends(stopped, settings):
    network, seen = Own(), At()
    result = overshoot(network, seen, **settings)
    assert_best(network, seen.losses)
    assert [epoch.val_loss for epoch in result.history] == seen.losses
    assert result.stopped == stopped
    assert 0 < result.best_epoch == int(np.argmin(seen.losses))
    assert result.val_loss == min(seen.losses)
    assert len(seen.losses) == (result.best_epoch + 3 if stopped == "patience" else 8)
    assert not network.training


def test_an_epoch_is_better_only_by_min_delta_but_the_best_is_the_best():
    network, seen = Own(), At()
    result = overshoot(network, seen, patience=2, min_delta=10.0)
    assert len(seen.losses) == 3  # none is better by 10 than the first
    assert result.best_epoch == 2
    assert validated(network) == pytest.approx(seen.losses[2], rel=1e-6)


HOOKS = ["on_train_epoch_start", "on_train_batch_end", "on_validation_start", "on_validation_end", "on_train_epoch_end"]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_the_best_weights_remain_when_a_fit_is_broken_off(error, hook):
    def break_off() -> None:
        raise error

    handler = signal.getsignal(signal.SIGINT)
    network, seen, breaking = Own(), At(), At(hook, 7, break_off)
    random = torch.get_rng_state()
    with pytest.raises(BaseException) as caught:
        overshoot(network, seen, breaking)
    assert repr(caught.value) == repr(error)
    assert len(seen.losses) in (7, 8)
    assert_best(network, seen.losses)
    assert signal.getsignal(signal.SIGINT) is handler
    assert torch.equal(torch.get_rng_state(), random)


def test_ctrl_c_before_the_first_epoch_leaves_ctrl_c_as_it_was():
    def interrupt() -> None:
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        overshoot(Own(), At("setup", 0, interrupt))
    assert signal.getsignal(signal.SIGINT) is handler


def fit_until_interrupted() -> None:
    """Fit, wait for a signal in the epoch after the seventh, and tell what came of it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job does not have
    network, seen = Own(), At("on_train_batch_start", 7, lambda: (print("ready", flush=True), time.sleep(60)))
    try:
        overshoot(network, seen)
    except KeyboardInterrupt:
        restored = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        print(json.dumps({"losses": seen.losses, "validated": validated(network), "restored": restored}))


def test_the_best_weights_remain_after_ctrl_c():
    code = "import warnings; warnings.simplefilter('ignore'); "
    code += f"from {__name__} import fit_until_interrupted as fit; fit()"
    with Program(Path(__file__).parent, code=code) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        told = json.loads(process.communicate(timeout=60)[0])
    assert process.returncode == 0
    assert told["restored"]
    assert told["losses"][-1] > min(told["losses"]) + 0.01
    assert told["validated"] == pytest.approx(min(told["losses"]), rel=1e-6)


class Spoilt(pl.Callback):
    """A criterion that, in some validations or from some training step on, gives something else."""

    def __init__(self, epochs=(), step: float = math.inf, value: float = math.nan) -> None:
        self.epochs, self.step, self.value, self.spoils, self.seen = epochs, step, value, False, 0

    def on_validation_start(self, trainer, module) -> None:
        self.spoils = trainer.current_epoch in self.epochs

    def on_validation_end(self, trainer, module) -> None:
        self.spoils = False

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        self.spoils = trainer.global_step >= self.step

    def __call__(self, prediction: Tensor, y: Tensor) -> Tensor:
        return mse(prediction, y) * (self.value if self.spoils else 1.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("epochs", [(0,), (9,), (0, 3, 9)])
def test_a_validation_that_is_not_finite_is_never_the_best(epochs, value):
    network, seen, criterion = Own(), At(), Spoilt(epochs, value=value)
    result = overshoot(network, seen, criterion, criterion=criterion)
    assert [epoch for epoch, loss in enumerate(seen.losses) if not math.isfinite(loss)] == list(epochs)
    assert len(seen.losses) == 10
    assert result.val_loss == min(loss for loss in seen.losses if math.isfinite(loss))
    assert_best(network, seen.losses)


def test_a_fit_without_a_finite_validation_has_diverged():
    criterion = Spoilt(range(10))
    with pytest.raises(DivergedError, match="diverged"):
        overshoot(Own(), criterion, criterion=criterion, patience=3)


def test_a_loss_that_stops_being_finite_ends_the_fit_at_that_step_with_the_best_weights():
    network, seen, criterion = Own(), At(), Spoilt(step=22)  # in epoch 7
    with pytest.raises(DivergedError, match="the training loss is nan at step 22") as caught:
        overshoot(network, seen, criterion, criterion=criterion)
    assert caught.value.step == 22
    assert all(w.isfinite().all() for w in network.state_dict().values())
    assert_best(network, seen.losses)


def test_a_step_size_beyond_reason_diverges():
    network = Own()
    random = torch.get_rng_state()
    with pytest.raises(DivergedError, match="Lower the learning rate") as caught:
        overshoot(network, optimizer="sgd", learning_rate=1e6, max_epochs=100, patience=100)
    assert 0 < caught.value.step < 300
    assert torch.equal(torch.get_rng_state(), random)


def damaged_batches(place: str, value: float) -> tuple[list, list, str]:
    """Return batches for training and validation with one number that is not finite, and how it is called."""
    torch.manual_seed(0)
    batches = [(torch.randn(4, 6, 3), torch.randn(4, 1)) for _ in range(5)]
    if place == "x":
        batches[2][0][3, 5, 1] = value
    elif place == "y":
        batches[2][1][3, 0] = value
    return (
        batches[:2],
        batches[2:],
        f"{place}[3, 5, 1] is {value} (column 1)" if place == "x" else (f"y[3, 0] is {value} (column 0)"),
    )


@pytest.mark.parametrize(
    ("is_trained", "place", "value"),
    [
        *((True, place, value) for place in "xy" for value in (math.nan, math.inf, -math.inf)),
        *((False, "x", math.nan), (False, "y", math.nan), (False, "y", -math.inf)),  # gates take infinite inputs
    ],
)
def test_data_that_are_not_finite_are_blamed_and_not_the_learning_rate(is_trained, place, value):
    good, bad, called = damaged_batches(place, value)
    parts = (bad, good) if is_trained else (good, bad)
    with pytest.raises(DivergedError) as caught:
        fit(Network(ModelConfig(hidden_size=4), 3, 1), parts, TrainingConfig(max_epochs=2))
    said = str(caught.value)
    assert f"the data are to blame: {called}" in said
    assert ("in batch 0. Fill" in said) == (not is_trained)
    is_later = is_trained and place == "x" and math.isinf(value)  # only its gradient is not finite
    assert ("in the batch before. Fill" in said) == is_later
    assert f"at step {int(is_later)}, " in said or not is_trained
    assert "learning rate" not in said


def test_what_stands_behind_the_end_of_a_sequence_is_not_blamed():
    network = Network(ModelConfig(hidden_size=4), 3, 1)
    x, lengths = torch.randn(4, 6, 3), torch.tensor([6, 2, 6, 4])
    x[1, 2:] = math.nan
    y = torch.full((4, 1), 1e30)
    settings = TrainingConfig(optimizer="sgd", learning_rate=1e20, max_epochs=3)
    with pytest.raises(DivergedError, match="Lower the learning rate"):
        fit(network, (((x, lengths), y), ((x, lengths), y)), settings)
    assert not_finite((x, lengths), y, y) == ""
    x[3, 3, 0] = math.inf
    assert not_finite((x, lengths), y, y) == "x[3, 3, 0] is inf (column 0)"
    assert not_finite(x, y, y) == "x[1, 2, 0] is nan (column 0)"


def test_a_misspelt_monitor_is_refused_at_the_first_validation():
    module = TrainingModule(Own())
    trainer = plain_trainer(5, BestWeights(monitor="val_los"))
    with pytest.raises(ValueError, match=r"got 'val_los'; logged: .*val_loss\. Did you mean 'val_loss'\?"):
        trainer.fit(module, datamodule=Overshooting())
    assert trainer.current_epoch == 0


def test_validating_without_a_fit_touches_nothing():
    best, module = BestWeights(), TrainingModule(Own())
    plain_trainer(1, best).validate(module, datamodule=Overshooting(), verbose=False)
    assert (best.best_epoch, best.best_value) == (None, math.inf)


# ---------------------------------------------------------------------- chance, and what lies around


@pytest.mark.parametrize("knob", ["dropout", "recurrent_dropout"])
def test_every_epoch_and_seed_has_masks_of_its_own(knob):
    data = Overshooting()
    whole = DataLoader(TensorDataset(data.x, data.y), batch_size=len(data.x))

    def losses(seed: int, rate: float) -> list[float]:
        """Train at a rate at which the weights stand still, so that what moves the loss are the masks."""
        torch.manual_seed(3)
        training = TrainingConfig(learning_rate=1e-30, max_epochs=3, seed=seed)
        return [epoch.train_loss for epoch in fit(Own(**{knob: rate}), (whole, whole), training).history]

    assert len({*losses(0, 0.5), *losses(1, 0.5)}) == 6
    assert len({*losses(0, 0.0), *losses(1, 0.0)}) == 1


def test_a_pair_of_loaders_is_as_good_as_a_data_module():
    data, training, results = Overshooting(), TrainingConfig(max_epochs=3), []
    for loaders in (data, (data.train_dataloader(), data.val_dataloader())):
        torch.manual_seed(3)
        results.append(dataclasses.replace(fit(Own(dropout=0.3), loaders, training), seconds=0))
    assert results[0] == results[1]


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_fit_leaves_the_global_generator_as_it_was(shuffle):
    network = Own(dropout=0.5)
    random = torch.get_rng_state()
    fit(network, Overshooting(shuffle), TrainingConfig(max_epochs=2))
    assert torch.equal(torch.get_rng_state(), random)


def test_a_fit_is_quiet(capfd, caplog):
    overshoot(Own(), max_epochs=1)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@pytest.mark.filterwarnings("ignore:Found 1 module")  # Lightning tells of it, too
def test_a_network_in_eval_mode_is_trained_and_one_that_is_so_in_part_is_left_as_it_is() -> None:
    class Modes(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, pl_module: TrainingModule, *_: object) -> None:
            self.seen = [module.training for module in pl_module.network.children()]

    for frozen, expected in ((None, [True, True]), (1, [True, False])):
        network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        if frozen is None:
            network.eval()
        else:
            network[frozen].eval()
        modes = Modes()
        data = DataLoader(TensorDataset(torch.randn(8, 3), torch.randn(8, 2)), 4)
        plain_trainer(1, modes).fit(TrainingModule(network), data, data)
        assert modes.seen == expected


# ---------------------------------------------------------------------- what can be watched, and what is refused


class Classifying(TrainingModule):
    """As somebody would watch the accuracy."""

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        self.log("val_accuracy", (self(x).argmax(1) == y).float().mean(), batch_size=len(y))


def test_an_accuracy_can_be_watched():
    """Labels depend on the first step; what the training rows add of their own is learnt later, and does harm."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 4, 2, generator=generator)
    y = (x[:, 0, 0] > 0).long()
    noisy = torch.where(torch.rand(30, generator=generator) < 0.3, 1 - y[:30], y[:30])
    train, val = TensorDataset(x[:30], noisy), TensorDataset(x[30:], y[30:])

    class Seen(pl.Callback):
        def __init__(self) -> None:
            self.accuracies: list[float] = []

        def on_validation_end(self, trainer, module) -> None:
            self.accuracies.append(float(trainer.callback_metrics["val_accuracy"]))

    network = nn.Sequential(LSTM(2, 16, batch_first=True), Last(), nn.Linear(16, 2))
    module = Classifying(network, criterion=nn.functional.cross_entropy, learning_rate=0.03)
    best, seen = BestWeights("val_accuracy", mode="max"), Seen()
    stopping = EarlyStopping("val_accuracy", mode="max", patience=15)
    trainer = plain_trainer(200, best, stopping, seen, num_sanity_val_steps=0)
    trainer.fit(module, DataLoader(train, 10), DataLoader(val, 30))
    assert len(seen.accuracies) < 200
    assert best.best_value == max(seen.accuracies) > seen.accuracies[-1]
    assert best.best_epoch == int(np.argmax(seen.accuracies))
    with torch.no_grad():
        assert float((network.eval()(x[30:]).argmax(1) == y[30:]).float().mean()) == pytest.approx(best.best_value)


class Last(nn.Module):
    def forward(self, x) -> Tensor:
        return x[0][:, -1]


def test_a_mode_that_is_neither_is_refused():
    with pytest.raises(ValueError, match="mode must be 'min' or 'max', got 'mx'"):
        BestWeights(mode="mx")


#: A criterion that is a module is made anew: the fit that is refused in a validation leaves it in eval mode.
ELEMENTWISE = [dict, *(lambda f=f: {"criterion": f} for f in (nn.functional.l1_loss, nn.functional.smooth_l1_loss))]
ELEMENTWISE += [lambda made=made: {"criterion": made()} for made in (nn.MSELoss, nn.HuberLoss)]


@pytest.mark.parametrize("chosen", ELEMENTWISE)
@pytest.mark.parametrize("rows", ["training", "validation"])
def test_targets_without_the_predictions_second_axis_are_refused_and_not_broadcast(chosen, rows):
    data = Overshooting()
    if rows == "training":
        data.y = data.y.squeeze(1)
    else:
        data.y_val = data.y_val.squeeze(1)
    message = r"y must have the prediction's shape, \((8|5), 1\), got \((8|5),\)\. Use y\.unsqueeze\(-1\)"
    with pytest.raises(ValueError, match=message):
        fit(Own(), data, TrainingConfig(max_epochs=1), **chosen())
    with pytest.raises(ValueError, match=message):
        plain_trainer(1, num_sanity_val_steps=0).fit(TrainingModule(Own(), **chosen()), data)


def test_targets_of_another_shape_are_the_criterions_affair_where_that_is_not_elementwise():
    data = Overshooting()
    network = nn.Sequential(LSTM(2, 4, batch_first=True), Last(), nn.Linear(4, 3))
    loaders = [DataLoader(TensorDataset(x, (x[:, 0, 0] > 0).long()), 8) for x in (data.x, data.x_val)]
    result = fit(network, tuple(loaders), TrainingConfig(max_epochs=2), criterion=nn.functional.cross_entropy)
    assert math.isfinite(result.val_loss)


def test_a_forward_before_the_training_costs_nothing():
    """The activity penalty is that of the step's own forward, whatever the network was called for before."""
    losses = []
    for calls in (0, 3):
        torch.manual_seed(3)
        network = Own(activity_regularizer=L2(0.5))
        for _ in range(calls):
            network(torch.randn(2, 5, 2)).sum().backward()  # its graph is gone, too
        network.zero_grad()
        losses.append([epoch.penalties for epoch in overshoot(network, max_epochs=2).history])
    assert losses[0] == losses[1]


# ---------------------------------------------------------------------- what data can be


def whole(network_seed: int, data, **settings) -> FitResult:
    torch.manual_seed(network_seed)
    return dataclasses.replace(
        fit(Own(dropout=0.3), data, TrainingConfig(batch_size=8, max_epochs=3, **settings)), seconds=0
    )


def test_pairs_of_arrays_of_tensors_and_of_datasets_are_trained_alike():
    data = Overshooting()
    tensors = (data.x, data.y), (data.x_val, data.y_val)
    arrays = tuple(tuple(t.numpy() for t in pair) for pair in tensors)
    lists = tuple(list(pair) for pair in tensors)
    datasets = tuple(TensorDataset(*pair) for pair in tensors)
    expected = whole(3, tensors)
    assert all(whole(3, given) == expected for given in (arrays, lists, datasets, (tensors[0], datasets[1])))
    assert whole(3, tensors, seed=1) != expected
    assert len(expected.history) == 3


def test_arrays_in_double_precision_are_what_numpy_makes_and_become_the_networks_type():
    data = Overshooting()
    doubles = tuple(
        tuple(t.numpy().astype(np.float64) for t in p) for p in ((data.x, data.y), (data.x_val, data.y_val))
    )
    assert whole(3, doubles) == whole(3, ((data.x, data.y), (data.x_val, data.y_val)))


def test_a_population_takes_arrays_and_datasets_as_a_single_fit_does():
    data = Overshooting()
    config, training = ModelConfig(hidden_size=4), TrainingConfig(batch_size=8, max_epochs=3, learning_rate=0.03)
    tensors = (data.x, data.y), (data.x_val, data.y_val)
    population = Population.of([config] * 2, 2, 1, seeds=[0, 1])
    network = Population.of([config], 2, 1)[0]
    alone = fit(network, tensors, training)
    for given in (tensors, [tensors, tuple(TensorDataset(*p) for p in tensors)]):
        together = fit_population(Population.of([config] * 2, 2, 1, seeds=[0, 1]), given, training)
        assert together[0].val_loss == pytest.approx(alone.val_loss, rel=1e-5)
    assert len(population) == 2


ONE_PART = {
    "arrays": lambda d: (d.x.numpy(), d.y.numpy()),
    "tensors": lambda d: (d.x, d.y),
    "a loader": lambda d: d.train_dataloader(),
    "a dataset": lambda d: TensorDataset(d.x, d.y),
    "three loaders": lambda d: (d.train_dataloader(),) * 3,
    "an array": lambda d: d.x.numpy(),
    "a path": lambda d: "table.csv",
}


@pytest.mark.parametrize("kind", ONE_PART)
def test_data_without_a_validation_part_are_refused_with_what_would_do(kind):
    given = ONE_PART[kind](Overshooting())
    with pytest.raises(TypeError) as caught:
        fit(Own(), given)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert "data must be a LightningDataModule or a pair (training, validation)" in message
    assert ("((x, y), (x_val, y_val))" in message) == (kind in ("arrays", "tensors"))
    assert ("random_split" in message) == (kind in ("a loader", "a dataset"))
    with pytest.raises(TypeError, match="data must be a LightningDataModule or a pair"):
        fit_population(Population.of([ModelConfig(hidden_size=4)], 2, 1), given)


def test_arrays_that_do_not_belong_together_are_refused():
    data = Overshooting()
    with pytest.raises(ValueError, match=r"x and y must have the same number of rows, got 22 and 9"):
        fit(Own(), ((data.x, data.y_val), (data.x_val, data.y_val)))


# ---------------------------------------------------------------------- keeping the last epoch, and going on for ever


def test_without_patience_every_epoch_is_trained_and_the_best_is_kept():
    network, seen = Own(), At()
    result = overshoot(network, seen, patience=None, max_epochs=40)
    assert len(result.history) == 40
    assert result.stopped == "max_epochs"
    assert result.kept_epoch == result.best_epoch == int(np.argmin(seen.losses)) < 30
    assert_best(network, seen.losses)


@pytest.mark.parametrize("patience", [None, 2])
def test_the_last_epoch_is_kept_where_that_is_asked_for(patience):
    network, seen = Own(), At()
    result = overshoot(network, seen, patience=patience, keep="last", max_epochs=20)
    assert len(result.history) == (20 if patience is None else result.best_epoch + 3)
    assert result.kept_epoch == len(result.history) - 1 > result.best_epoch == int(np.argmin(seen.losses))
    assert result.val_loss == seen.losses[-1] == result.history[result.kept_epoch].val_loss > min(seen.losses) + 0.01
    assert validated(network) == pytest.approx(seen.losses[-1], rel=1e-6)
    data = Overshooting()
    assert result.train_loss == pytest.approx(float(mse(network(data.x), data.y).detach()), rel=1e-6)


def test_keeping_the_last_trains_as_keeping_the_best_does():
    histories = []
    for keep in ("best", "last"):
        torch.manual_seed(3)
        histories.append(overshoot(Own(dropout=0.3), keep=keep, patience=None).history)
    assert histories[0] == histories[1]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError("mine")], ids=repr)
def test_the_last_whole_epoch_remains_of_a_fit_that_is_broken_off(error):
    def break_off() -> None:
        raise error

    network, seen = Own(), At()
    with pytest.raises(type(error)):
        overshoot(network, seen, At("on_train_batch_end", 7, break_off), keep="last", patience=None)
    assert len(seen.losses) == 7
    assert validated(network) == pytest.approx(seen.losses[6], rel=1e-6)


def test_the_last_epoch_that_is_kept_has_a_finite_validation_loss():
    network, seen, criterion = Own(), At(), Spoilt((9,))
    result = overshoot(network, seen, criterion, criterion=criterion, keep="last", patience=None)
    assert result.kept_epoch == 8
    assert validated(network) == pytest.approx(result.val_loss, rel=1e-6)
    with pytest.raises(DivergedError):
        overshoot(Own(), spoilt := Spoilt(range(10)), criterion=spoilt, keep="last", patience=None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"criterion": "mse"}, r"criterion must be a function .*torch.nn.CrossEntropyLoss\(\), got 'mse'"),
        ({"criterion": nn.MSELoss}, r"criterion must be a function .*, got <class"),
        ({"optimizer": "adam"}, r"optimizer must be a function of parameters, such as torch.optim.SGD, got 'adam'"),
    ],
)
def test_what_is_no_function_is_refused_when_it_is_given(given, said):
    with pytest.raises(TypeError, match=said):
        TrainingModule(nn.Linear(2, 1), **given)
