"""``TrainingModule``: any network, trained on its data loss plus the penalties inside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from lstmreg.layers import LSTM, apply_constraints, penalties
from lstmreg.layers.penalty import KINDS, begin_activity
from lstmreg.layers.proximal import proximal_step, smooth_penalties
from lstmreg.losses import Criterion
from lstmreg.models import predicted

from .criteria import loss_of
from .described import Described, describe
from .finite import fault_of_step
from .means import EpochMean

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class DivergedError(ArithmeticError):
    """A loss stopped being finite.

    Args:
        step: Number of optimizer steps taken before.
        which: Of the losses.
        loss: Its value.
        fault: Which number of the data is not finite, if one is: then the training is not to blame.
    """

    def __init__(self, step: int, which: str, loss: float, fault: str = "") -> None:
        super().__init__(
            f"the {which} loss is {loss} at step {step}, and the data are to blame: {fault}. Fill such values, or "
            f"leave them out, before training."
            if fault
            else f"diverged: the {which} loss is {loss} at step {step}. Lower the learning rate, clip the gradient, "
            f"or look for extreme values in the data."
        )
        self.step = step


def _name_of(kind: str) -> str:
    return f"penalty/{kind}"


def reset_states(network: nn.Module) -> None:
    """Let every stateful layer inside ``network`` begin with zeros again."""
    for module in network.modules():
        if isinstance(module, LSTM):
            module.reset_state()


class TrainingModule(pl.LightningModule):
    r"""A network with its criterion and its optimizer, for ``lightning.Trainer``.

    What is minimized is the data loss plus :func:`lstmreg.penalties` of the network, wherever in it the
    layers are. Logged are ``train_loss`` and ``val_loss``, both the bare data loss, and apart from them
    ``penalty/kernel``, ``penalty/recurrent``, ``penalty/bias``, ``penalty/activity``. So early stopping on
    ``val_loss`` compares models of different penalties fairly (Keras' ``val_loss`` contains them).

    A checkpoint carries the weights and, of an :class:`lstmreg.Network`, an :class:`lstmreg.Ensemble` or a model from
    :func:`lstmreg.interop.load_model`, how to make it: ``TrainingModule.load_from_checkpoint(path)`` is all. Of any
    other module give one: ``load_from_checkpoint(path, network=Own())``. Criterion and optimizer are functions, which
    no checkpoint carries: give them again to go on.

    Args:
        network: Maps the first part of a batch to a prediction; or what a checkpoint says of one.
        criterion: ``(prediction, y) -> scalar``. Default: mean squared error.
        optimizer: ``parameters -> Optimizer``. Default: Adam with ``learning_rate``.
        learning_rate: For the default optimizer.
        proximal: Whether the L1 on the weights of each :class:`lstmreg.LSTM` has no gradient, and is done right after
            each step of the optimizer instead, before constraints:
            :math:`w \leftarrow \operatorname{sign}(w) \max(\lvert w \rvert - \eta \, l_1, 0)`, with that step's
            learning rate :math:`\eta`. So weights become exactly zero. The logged penalties are the whole ones.
            Default: ``False``.

    Shape:
        A batch is ``(x, y)``; ``x`` goes into the network as it is, and a tuple ``(x, lengths)`` as its arguments.

    Raises:
        TypeError: If ``criterion`` or ``optimizer`` is no function, or ``network`` is not given, and a checkpoint does
            not say how to make it.
        ValueError: If ``y`` has another shape than the prediction where the criterion compares number by number.
        DivergedError: In training, at the step whose loss is NaN or infinite.
    """

    def __init__(
        self,
        network: nn.Module | Mapping[str, Any],
        *,
        criterion: Criterion = nn.functional.mse_loss,
        optimizer: OptimizerFactory | None = None,
        learning_rate: float = 1e-3,
        proximal: bool = False,
    ) -> None:
        super().__init__()
        if not callable(criterion) or isinstance(criterion, type):
            raise TypeError(
                f"criterion must be a function of prediction and y, such as torch.nn.functional.l1_loss or "
                f"torch.nn.CrossEntropyLoss(), got {criterion!r}."
            )
        if optimizer is not None and not callable(optimizer):
            raise TypeError(f"optimizer must be a function of parameters, such as torch.optim.SGD, got {optimizer!r}.")
        self.network = network if isinstance(network, nn.Module) else Described(network)
        self.criterion = criterion
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.proximal = proximal
        # Lightning knows those alone that are there when the first is logged.
        self._means = nn.ModuleDict({name: EpochMean() for name in ("train_loss", *map(_name_of, KINDS))})
        self._before: tuple[Any, Any] | None = None  # the last batch; it may have spoilt the weights

    def forward(self, x: Any) -> Tensor:
        """Predict."""
        prediction: Tensor = predicted(self.network, x)
        return prediction

    def training_step(self, batch: tuple[Any, Tensor], batch_idx: int) -> Tensor:
        """Return data loss plus penalties, and log them apart."""
        begin_activity(self.network)
        x, y = batch
        prediction = self(x)
        data_loss = loss_of(self.criterion, prediction, y)
        terms = smooth_penalties(self.network) if self.proximal else penalties(self.network)
        total = data_loss + sum(terms.values())
        if not math.isfinite(value := self._in_all_processes(total.detach())):
            fault = self._of_any_process(fault_of_step((x, y), prediction, self._before))
            raise DivergedError(self.global_step, "training", value, fault)
        self._before = (x, y)
        with torch.no_grad():
            self._add("train_loss", data_loss, len(y), prog_bar=True)
            for kind, term in terms.items():
                self._add(_name_of(kind), term, len(y))
        return total

    def validation_step(self, batch: tuple[Any, Tensor], batch_idx: int) -> None:
        """Log the bare data loss."""
        self._log("val_loss", self._data_loss(batch), batch, prog_bar=True)

    def test_step(self, batch: tuple[Any, Tensor], batch_idx: int) -> None:
        """Log the bare data loss."""
        self._log("test_loss", self._data_loss(batch), batch)

    def _data_loss(self, batch: tuple[Any, Tensor]) -> Tensor:
        x, y = batch
        return loss_of(self.criterion, self(x), y)

    def _add(self, name: str, value: Tensor, size: int, *, prog_bar: bool = False) -> None:
        """Add to a mean over the epoch, and log that with the epoch's first batch."""
        mean: Any = self._means[name]
        if mean.update_called:
            mean.add(value, size)
            return
        mean.update(value, size)
        self.log(name, mean, on_step=False, on_epoch=True, prog_bar=prog_bar, batch_size=size)

    def _log(self, name: str, value: Tensor, batch: tuple[Any, Tensor], *, prog_bar: bool = False) -> None:
        """Log the mean over an epoch and, where several processes share the data, over all of them."""
        size = len(batch[1])
        self.log(name, value, on_step=False, on_epoch=True, prog_bar=prog_bar, batch_size=size, sync_dist=True)

    def _in_all_processes(self, loss: Tensor) -> float:
        """Return the mean over processes: if one alone ended, the others would wait for it for ever."""
        return float(self.trainer.strategy.reduce(loss) if self._has_company else loss)

    def _of_any_process(self, fault: str) -> str:
        """Return the fault of the first process that has one; all of them must ask."""
        if not self._has_company:
            return fault
        faults = [""] * self.trainer.world_size
        torch.distributed.all_gather_object(faults, fault)
        return next((each for each in faults if each), "")

    @property
    def _has_company(self) -> bool:
        return self._trainer is not None and self._trainer.world_size > 1

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Predict for a batch ``(x, y)``, or ``x`` alone; where that is ``(x, lengths)``, for ``((x, lengths),)``."""
        prediction: Tensor = self(batch[0] if isinstance(batch, (tuple, list)) else batch)
        return prediction

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the optimizer over all trainable parameters."""
        trainable = [p for p in self.parameters() if p.requires_grad]
        if self.optimizer is not None:
            return self.optimizer(trainable)
        return torch.optim.Adam(trainable, lr=self.learning_rate)

    # A stateful layer carries its state from batch to batch; each pass over the data begins with zeros.

    def on_fit_start(self) -> None:
        """Train a network that is in eval mode as a whole, as one that was just loaded is; leave any other as it is."""
        if not any(module.training for module in self.network.modules()):
            self.network.train()

    def on_train_end(self) -> None:
        """Let go of the last batch."""
        self._before = None

    def on_train_epoch_start(self) -> None:
        """Reset stateful layers, and the means, of which an epoch that was interrupted has left something."""
        reset_states(self.network)
        means: Any = self._means.values()
        for mean in means:
            mean.reset()

    def on_validation_epoch_start(self) -> None:
        """Reset stateful layers."""
        reset_states(self.network)

    def on_test_epoch_start(self) -> None:
        """Reset stateful layers."""
        reset_states(self.network)

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        """Take a step, do the L1 if that is a step of its own, and project the constrained weights, as Keras does."""
        super().optimizer_step(epoch, batch_idx, optimizer, *args, **kwargs)
        if self.proximal:
            proximal_step(self.network, optimizer)
        apply_constraints(self.network)

    # Seeded masks depend on how many were drawn. That is no weight, so it has no place in the state_dict,
    # but a resumed training must go on where it was.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store how many masks each layer has drawn, and how the network is made."""
        # Where somebody saves hyperparameters of their own, those are what their class is made with.
        checkpoint.setdefault(
            self.CHECKPOINT_HYPER_PARAMS_KEY,
            {"network": describe(self.network), "learning_rate": self.learning_rate, "proximal": self.proximal},
        )
        checkpoint["lstmreg_draws"] = {name: lstm.draws.tolist() for name, lstm in self._lstms()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the network if it is only described; go on with the masks where the checkpoint was."""
        if isinstance(self.network, Described):
            prefix = "network."
            self.network = self.network.rebuilt(
                {n.removeprefix(prefix): w for n, w in checkpoint["state_dict"].items() if n.startswith(prefix)}
            )
        stored = checkpoint.get("lstmreg_draws", {})
        for name, lstm in self._lstms():
            lstm.draws.copy_(torch.tensor(stored.get(name, lstm.draws.tolist())))

    def _lstms(self) -> Iterable[tuple[str, LSTM]]:
        return [(name, m) for name, m in self.named_modules() if isinstance(m, LSTM)]
