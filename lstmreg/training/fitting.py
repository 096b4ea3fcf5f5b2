"""``fit``: train one network to its best validation epoch, quietly and repeatably."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn

from lstmreg.config import TrainingConfig
from lstmreg.losses import Criterion
from lstmreg.models import predicted

from . import trainer
from .batches import Data, as_loaders, check_data
from .best import BestWeights
from .criteria import criterion_for, loss_of
from .finite import not_finite_in
from .module import DivergedError, TrainingModule, reset_states
from .optimizers import optimizer_named
from .precision import autocast

Stopped = Literal["patience", "max_epochs", "callback", "diverged"]


@dataclass(frozen=True)
class Epoch:
    """What one epoch showed: the bare losses, and the penalties by kind, as means over its batches.

    ``train_loss`` is that of training mode: while the weights move, and under dropout.
    """

    train_loss: float
    val_loss: float
    penalties: dict[str, float]


@dataclass(frozen=True)
class FitResult:
    """How a fit went. The network itself holds the weights of the epoch that was kept, and is in eval mode.

    Epochs count from 0, as in Lightning: ``history[kept_epoch].val_loss == val_loss``.

    Attributes:
        history: One entry per epoch.
        best_epoch: The epoch with the lowest validation loss.
        kept_epoch: The epoch whose weights the network has: the best one or, with ``training.keep="last"``, the last
            one whose validation loss is finite.
        val_loss: Validation loss of those weights.
        train_loss: Their loss on the training data in eval mode, without dropout.
        stopped: What ended the fit.
        seconds: How long it took; of a member of a population, its share.
        failure: Of a member that diverged: why. Then both losses are infinite, and its epochs are those of its finite
            validation losses, or 0.
    """

    history: tuple[Epoch, ...]
    best_epoch: int
    kept_epoch: int
    val_loss: float
    train_loss: float
    stopped: Stopped
    seconds: float
    failure: DivergedError | None = None


def fit(
    network: nn.Module,
    data: Data,
    training: TrainingConfig | None = None,
    *,
    criterion: Criterion | None = None,
    callbacks: Sequence[pl.Callback] = (),
) -> FitResult:
    """Train ``network`` until its validation loss stops falling, and leave it at its best epoch.

    ``training.patience=None`` trains to ``training.max_epochs``, and ``training.keep="last"`` leaves it at the last.

    Masks come from torch's global generator, which is seeded with ``training.seed`` for the time of the
    fit and put back afterwards; the order of the batches is the data module's affair. So turning a knob
    moves neither the initial weights nor the batches.

    Args:
        network: Any module from ``x`` to a prediction; it is trained in place.
        data: Gives training and validation batches ``(x, y)``: a data module, or a pair ``(training, validation)`` of
            loaders; of datasets; or of arrays or tensors, ``((x, y), (x_val, y_val))``. Of the last two, batches of
            ``training.batch_size`` are made, and those of training shuffled in an order that ``training.seed`` decides.
            Where sequences have unequal lengths, ``x`` is the tuple ``(x, lengths)``, also among arrays:
            ``((x, lengths), y)``; the network is called with both.
        training: Learning rate, patience and the like. Default: ``TrainingConfig()``. Without a ``training.loss``, that
            is cross entropy where the targets are classes, whole numbers without the prediction's last axis, and else
            the mean squared error.
        criterion: In place of ``training.loss``.
        callbacks: Further Lightning callbacks.

    Returns:
        A :class:`FitResult`.

    Raises:
        TypeError: If ``data`` is something else, or has no validation part.
        ConfigError: If ``training`` asks for a cross entropy of which the network or the data do not say enough.
        ValueError: If ``x`` and ``y`` differ in length, or ``y`` has another shape than the prediction where the
            criterion compares number by number.
        DivergedError: If the training loss becomes NaN or infinite, or no epoch has a finite validation
            loss. The network then has its best (or last) finite epoch's weights, if there was one.
        KeyboardInterrupt: On Ctrl-C, with those weights restored.
    """
    check_data(data)
    training = TrainingConfig() if training is None else training
    criterion = criterion_for(training, network, data) if criterion is None else criterion
    kept, curves = BestWeights() if training.keep == "best" else _LastWeights(), Curves()
    stopping = [] if training.patience is None else [_stopping(training, training.patience)]
    given = as_loaders(data, training, _dtype(network))
    loaders: dict[str, Any] = {"datamodule": given}
    if isinstance(given, tuple):
        loaders = {"train_dataloaders": given[0], "val_dataloaders": given[1]}
    module = TrainingModule(network, criterion=criterion, optimizer=_optimizer(training), proximal=training.proximal)
    started = time.perf_counter()
    with trainer.randomness(training.seed):
        ended = trainer.run(
            module,
            loaders,
            max_epochs=training.max_epochs,
            callbacks=[*stopping, kept, curves, *callbacks],
            gradient_clip=training.gradient_clip,
            precision=training.precision,
        )
        if kept.best_epoch is None:
            validating = given[1] if isinstance(given, tuple) else given.val_dataloader()
            fault = not_finite_in(validating, network)
            raise DivergedError(ended.global_step, "validation", curves.epochs[-1].val_loss, fault)
        batches = given[0] if isinstance(given, tuple) else given.train_dataloader()
        device = ended.strategy.root_device
        with autocast(training, device):  # as the validation loss beside it
            train_loss = evaluate(network.eval(), batches, criterion, device)
    return FitResult(
        history=tuple(curves.epochs),
        best_epoch=_lowest(curves.epochs),
        kept_epoch=kept.best_epoch,
        val_loss=kept.best_value,
        train_loss=train_loss,
        stopped=_what_stopped(stopping, len(curves.epochs), training),
        seconds=time.perf_counter() - started,
    )


def _dtype(network: nn.Module) -> torch.dtype:
    return next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)


def _stopping(training: TrainingConfig, patience: int) -> EarlyStopping:
    return EarlyStopping("val_loss", patience=patience, min_delta=training.min_delta, check_finite=False)


def _what_stopped(stopping: list[EarlyStopping], epochs: int, training: TrainingConfig) -> Stopped:
    if any(callback.stopped_epoch for callback in stopping):
        return "patience"
    return "max_epochs" if epochs >= training.max_epochs else "callback"


def _lowest(epochs: Sequence[Epoch]) -> int:
    """Return the epoch with the lowest finite validation loss, the first of several."""
    losses = [epoch.val_loss if math.isfinite(epoch.val_loss) else math.inf for epoch in epochs]
    return losses.index(min(losses))


class _LastWeights(BestWeights):
    """Takes each epoch whose validation loss is finite for the best."""

    def _is_better(self, value: float) -> bool:
        return True


@torch.no_grad()
def evaluate(
    network: nn.Module, batches: Iterable[Any], criterion: Criterion, device: torch.device | None = None
) -> float:
    """Return the mean loss of ``network`` over ``batches``, in eval mode; its mode is kept.

    Args:
        network: The network.
        batches: Of ``(x, y)``.
        criterion: The mean loss of a batch.
        device: Where to compute it; the network returns to where it was. Default: where it is.
    """
    home = next((p.device for p in network.parameters()), None)
    if device is not None and home is not None and device != home:
        found = evaluate(network.to(device), (move_data_to_device(batch, device) for batch in batches), criterion)
        network.to(home)
        return found
    was_training = network.training
    network.eval()
    total, count = 0.0, 0
    reset_states(network)
    for x, y in batches:
        total += float(loss_of(criterion, predicted(network, x), y)) * len(y)
        count += len(y)
    reset_states(network)
    network.train(was_training)
    return total / count


def _optimizer(training: TrainingConfig) -> Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]:
    make = optimizer_named(training.optimizer).whole
    return lambda parameters: make(parameters, lr=training.learning_rate, weight_decay=training.weight_decay)


class Curves(pl.Callback):
    """Collects the learning curves, and tells of each epoch.

    Args:
        watch: Told after each epoch of all so far; ends the fit by returning true.
    """

    def __init__(self, watch: Callable[[Sequence[Epoch]], bool] = lambda epochs: False) -> None:
        self.epochs: list[Epoch] = []
        self._watch = watch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add an epoch."""
        logged: dict[str, Tensor] = trainer.callback_metrics
        self.epochs.append(
            Epoch(
                train_loss=float(logged["train_loss"]),
                val_loss=float(logged["val_loss"]),
                penalties={
                    name.removeprefix("penalty/"): float(value)
                    for name, value in logged.items()
                    if name.startswith("penalty/")
                },
            )
        )
        trainer.should_stop = trainer.should_stop or self._watch(self.epochs)
