"""A task of one's own data modules, network and loss: everything in it is the user's, but for the knobs."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import Config, DataConfig, ModelConfig, SearchConfig, TrainingConfig
from lstmreg.errors import ConfigError, DataError
from lstmreg.knobs import KNOBS, layer_arguments
from lstmreg.rules import require
from lstmreg.setting_path import layer_of, whole

from .task import Split, Splits, Task, Values

if TYPE_CHECKING:
    import lightning.pytorch as pl
    from torch import Tensor, nn

    from lstmreg.losses import Criterion


class Own(Task):
    """Trains networks of one's own on data modules of one's own; a case is a row of a batch.

    Of each module the training batches train, the validation batches end the training, and the loss is taken on the
    test batches. All but the last are the blocks; the last one's test batches are the test. Cases are numbered through
    each module: those that train, then those that validate, then those of the test batches.

    Args:
        modules: A data module for each split: four at least, each with training, validation and test batches
            ``(x, y)``. One whose training batches are shuffled should give its loader a generator of its own.
        network: Makes a new network, with :class:`lstmreg.LSTM` anywhere inside. What it sets of their knobs stays,
            unless a configuration turns the same one.
        loss: The mean loss of a batch, from a prediction and ``y``.

    Raises:
        TypeError: If an argument is of another kind.
        ConfigError: If there are too few modules, or the network has no layer whose knobs could be turned.
        DataError: If a module gives no batches.
    """

    name: ClassVar[str] = "own"
    cases_are: ClassVar[str] = "cases"
    parts_are: ClassVar[str] = "cases"
    losses_by_name: ClassVar[tuple[str, ...]] = ("mse",)
    has_own_networks: ClassVar[bool] = True
    no_leak: ClassVar[str] = "The data modules are the user's own: whether they leak, only the user knows."

    def __init__(
        self, modules: Sequence[pl.LightningDataModule], network: Callable[[], nn.Module], loss: Criterion
    ) -> None:
        self._modules, self._network, self._loss = list(modules), network, loss
        _check(self._modules, network, loss)
        for module in self._modules:
            module.prepare_data()
            module.setup("fit")
            module.setup("test")
        self._validation = [_batches(module, place, "val") for place, module in enumerate(self._modules)]
        self._test = [_batches(module, place, "test") for place, module in enumerate(self._modules)]
        self._train = [_count(_batches(module, place, "train")) for place, module in enumerate(self._modules)]
        self.data = DataConfig("own", "y")
        self.path, self.sha256 = "your data modules, network and loss", self._digest()
        self.size = _count(self._test[-1])
        self.features, self.target = _features(network()), "y"
        self.notes = ()

    @classmethod
    def read(cls, data: DataConfig, given: Any = None) -> Self:
        """Refuse: what is a user's own stands in no file."""
        raise ConfigError(
            "task: own is asked from Python: lstmreg.search.run(config, task=Own(modules, network, loss))."
        )

    def completed(self, config: Config) -> Config:
        """Make a block of each module but the last, where the configuration leaves open how many there are."""
        require(config.model.members == 1, "model.members", "1 for a network of your own", config.model.members)
        for path in config.search.dimensions:
            if layer_of(path) is not None:
                raise ConfigError(
                    f"search.space: {path}: single layers are searched in networks that a configuration makes. In a "
                    f"network of your own a knob is the same in all LSTM layers. "
                    f"Name it without a layer: {whole(path)}."
                )
            if path not in KNOBS and not path.startswith("training."):
                raise ConfigError(f"search.space: {path} is not known of a network of your own; its knobs are.")
        search = config.search
        if search.blocks is None:
            search = dataclasses.replace(search, blocks=len(self._modules) - 1)
        return dataclasses.replace(super().completed(config), search=search, task=self.name)

    # ---------------------------------------------------------------- splits

    def splits(self, search: SearchConfig) -> Splits:
        """Make a block of each module but the last, which is for the models that meet the test."""
        blocks, count = search.amount.blocks, len(self._modules)
        if blocks != count - 1:
            raise DataError(
                f"search.blocks must be {count - 1}, one for each of the {count} data modules but the last, got "
                f"{blocks}. Leave it null, or give {blocks + 1} modules."
            )
        return Splits(blocks=tuple(self._split(place) for place in range(blocks)), final=self.hold_out())

    def hold_out(self) -> Split:
        """Return the last module."""
        return self._split(len(self._modules) - 1)

    def _split(self, place: int) -> Split:
        counts = self._train[place], _count(self._validation[place]), _count(self._test[place])
        train, validation, judged = np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1])
        return Split((place,), (f"module {place}", f"module {place}"), train, validation, judged)

    def _digest(self) -> str:
        """Return a digest of what validates and tests, of the network and the loss, by which a run knows them again."""
        digest = hashlib.sha256()
        digest.update(_identity(self._network(), self._loss).encode())
        for batches in (*self._validation, *self._test):
            for x, y in batches:
                for part in (*x, y) if isinstance(x, (tuple, list)) else (x, y):
                    digest.update(part.numpy(force=True).tobytes())
        return digest.hexdigest()

    # ---------------------------------------------------------------- training

    def encoder(self, split: Split) -> pl.LightningDataModule:
        """Return the split's data module."""
        return self._modules[split.key[0]]

    def encoded(self, encoder: pl.LightningDataModule) -> Any:
        """Return it as it is: whatever it scales is its own affair."""
        return encoder

    def batches(
        self, encoder: pl.LightningDataModule, cases: Any, split: Split, *, batch_size: int, seed: int
    ) -> pl.LightningDataModule:
        """Return it as it is: batches and their order are its own affair."""
        return encoder

    def network(self, model: ModelConfig) -> nn.Module:
        """Make a network, and turn the knobs of its layers."""
        return turned(self._network(), model)

    def criterion(self, training: TrainingConfig, encoder: Any) -> Criterion:
        """Return the user's loss."""
        return self._loss

    # ---------------------------------------------------------------- judging

    def outputs(self, network: nn.Module, cases: Any, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the loss of each of some cases by itself, ``(M, 1)``: what a network gives is known to nobody.

        Args:
            network: The network.
            cases: The data module.
            numbers: Of cases of its validation or test batches; those that train may come in any order.
        """
        place = next(place for place, module in enumerate(self._modules) if module is cases)
        losses = np.full((len(numbers), 1), np.nan, dtype=np.float32)
        split = self._split(place)
        for part, batches in ((split.validation, self._validation[place]), (split.judged, self._test[place])):
            inside = np.isin(numbers, part)
            if inside.any():
                losses[inside, 0] = self._losses_of(network, batches)[numbers[inside] - part[0]]
        return losses

    def _losses_of(self, network: nn.Module, batches: list[Any]) -> NDArray[np.float32]:
        """Return the loss of each case of some batches, ``(M,)``."""
        import torch
        from lightning.fabric.utilities import move_data_to_device

        from lstmreg.models import predicted

        device = next(network.parameters()).device
        was_training = network.training
        network.eval()
        with torch.no_grad():
            moved = (move_data_to_device(batch, device) for batch in batches)
            found = [self._losses(predicted(network, x), y) for x, y in moved]
        network.train(was_training)
        losses: NDArray[np.float32] = torch.cat(found).numpy()
        return losses

    def _losses(self, prediction: Tensor, y: Tensor) -> Tensor:
        import torch

        return torch.stack([self._loss(prediction[[k]], y[[k]]).detach().float().cpu() for k in range(len(y))])

    def predictions(self, encoder: Any, outputs: NDArray[np.float32], cases: NDArray[np.int64]) -> Values:
        """Return the losses."""
        return outputs.astype(np.float64)

    def truth(self, cases: NDArray[np.int64]) -> Values:
        """Return what a loss should have been."""
        return np.zeros((len(cases), 1))

    def floors(self, split: Split, cases: NDArray[np.int64]) -> dict[str, Values]:
        """Return none: what predicts without a network is not known of somebody's own loss."""
        return {}

    def scales(self, encoder: Any, split: Split, cases: NDArray[np.int64]) -> dict[str, Any]:
        """Return none."""
        return {}

    @classmethod
    def losses(
        cls, training: TrainingConfig, predictions: Values, truth: Values, scales: Mapping[str, Any]
    ) -> NDArray[np.float64]:
        """Return the losses, which are the predictions."""
        return predictions[:, 0]

    @classmethod
    def errors(
        cls, training: TrainingConfig, predictions: Values, truth: Values, scales: Mapping[str, Any]
    ) -> dict[str, float]:
        """Return the mean loss."""
        return {"loss": float(predictions.mean())}

    # ---------------------------------------------------------------- out

    def labels(self, cases: NDArray[np.int64]) -> list[str]:
        """Name cases of the last module, which alone meets the test, by their place in its batches of a kind.

        Modules and cases are counted from 0, in the order in which batches come.
        """
        last = self.hold_out()
        (place,), train, known = last.key, len(last.train), len(last.train) + len(last.validation)
        kinds = [("training", 0, train), ("validation", train, known), ("test", known, known + len(last.judged))]
        return [
            f"module {place}, {kind} case {case - first}"
            for case in cases.tolist()
            for kind, first, end in kinds
            if first <= case < end
        ]

    def predictor(self, network: nn.Module, encoder: Any, val_loss: float | None = None) -> OwnWeights:
        """Return the network's weights, which are all that can be saved of it."""
        return OwnWeights(network, val_loss)


@dataclass(frozen=True, eq=False)
class OwnWeights:
    """The weights of a network of one's own, for ``network.load_state_dict(safetensors.torch.load_file(path))``.

    Args:
        network: The network.
        val_loss: Of the training, if known.
    """

    network: nn.Module
    val_loss: float | None = None

    def calibrated(self, calibration: Any) -> OwnWeights:
        """Return the same: of what the network predicts, nothing is known."""
        return self

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write ``model.safetensors``, and ``model.json``, which says whose they are."""
        from lstmreg import saved

        about = {"class": type(self.network).__name__, "val_loss": self.val_loss}
        saved.write(directory, saved.OWN_FORMAT, about, self.network.state_dict())


def _identity(network: nn.Module, loss: Any) -> str:
    """Return a text that is another for another network or loss: its code, where it can be read, and its sizes."""
    sizes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    return "\n".join([_code(type(network)), repr(network), repr(sizes), _code(loss)])


def _code(thing: Any) -> str:
    name = getattr(thing, "__qualname__", type(thing).__qualname__)
    try:
        return name + inspect.getsource(thing)
    except (OSError, TypeError):  # of what is built in, or was typed into a prompt
        return name


def _features(network: nn.Module) -> tuple[str, ...]:
    """Return names of the columns that the first layer reads."""
    from lstmreg.layers import LSTM

    first = next(module for module in network.modules() if isinstance(module, LSTM))
    return tuple(str(k) for k in range(first.input_size))


def _count(batches: list[Any]) -> int:
    return sum(len(y) for _, y in batches)


def turned(network: nn.Module, model: ModelConfig) -> nn.Module:
    """Turn the knobs of every :class:`lstmreg.LSTM` inside a network that a configuration turns; others stay."""
    from lstmreg.layers import LSTM
    from lstmreg.regularizers import L1L2

    for layer in (module for module in network.modules() if isinstance(module, LSTM)):
        for argument, value in layer_arguments(model.layer(0)).items():
            setattr(layer, argument, L1L2(**value) if isinstance(value, dict) else value)
        if not model.per_gate_masks:
            layer.per_gate_masks = False
        if model.per_gate_input_masks is not None:
            layer.per_gate_input_masks = model.per_gate_input_masks
    return network


def _check(modules: list[Any], network: Any, loss: Any) -> None:
    import lightning.pytorch as pl
    from torch import nn

    from lstmreg.layers import LSTM

    for module in modules:
        if not isinstance(module, pl.LightningDataModule):
            raise TypeError(f"modules must be LightningDataModules, one for each split, got {type(module).__name__}.")
    if len(modules) < 4:
        raise ConfigError(
            f"modules must be four or more, three for the blocks of the experiment and one for the test, got "
            f"{len(modules)}."
        )
    if isinstance(network, nn.Module):
        raise TypeError(
            f"network must make a new torch.nn.Module each time, got a {type(network).__name__}. Give its class."
        )
    for name, function in (("network", network), ("loss", loss)):
        if not callable(function):
            raise TypeError(f"{name} must be callable, got {function!r}.")
    made = network()
    if not isinstance(made, nn.Module):
        raise TypeError(f"network must make a new torch.nn.Module, got {type(made).__name__}.")
    if made is network():
        raise TypeError("network must make a new torch.nn.Module each time, got the same one twice. Give its class.")
    if not any(isinstance(module, LSTM) for module in made.modules()):
        raise ConfigError(
            f"{type(made).__name__} has no lstmreg.LSTM inside, so that there is no knob to turn. Use it in place of "
            f"torch.nn.LSTM."
        )


def _batches(module: pl.LightningDataModule, place: int, which: str) -> list[Any]:
    """Return the batches ``(x, y)`` of a module."""
    import lightning.pytorch as pl

    # Lightning's own method, which a module without such batches has, raises.
    is_there = getattr(type(module), f"{which}_dataloader") is not getattr(
        pl.LightningDataModule, f"{which}_dataloader"
    )
    batches = list(getattr(module, f"{which}_dataloader")()) if is_there else []
    if not batches or not all(isinstance(batch, (tuple, list)) and len(batch) == 2 for batch in batches):
        raise DataError(f"data module {place}: {which}_dataloader() must give batches (x, y), and at least one.")
    return batches
