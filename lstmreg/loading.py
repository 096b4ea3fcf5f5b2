"""The door to what was saved, of whichever kind it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

from lstmreg import models, saved
from lstmreg.errors import CorruptFileError
from lstmreg.forecaster import Forecaster
from lstmreg.interop import KerasModel, folder
from lstmreg.models import Ensemble, Network
from lstmreg.sequence_predictor import SequencePredictor

#: What may have been saved.
Loaded = Forecaster | SequencePredictor | Network | Ensemble | KerasModel


def load(directory: str | os.PathLike[str]) -> Loaded:
    """Load what was saved into a folder, whichever kind it is; a module is in eval mode.

    Args:
        directory: A run's folder, ``runs/NAME/fit`` of a fit and ``runs/NAME`` of a search; or a converted model's; or
            that of :func:`lstmreg.models.save`.

    Returns:
        A :class:`Forecaster` of a run that forecasts, a :class:`SequencePredictor` of one that classifies, regresses or
        labels; a ``KerasModel`` of a converted model; and of a network that was saved without columns and scales the
        network itself.

    Raises:
        CorruptFileError: If a file is missing or damaged, or the two do not belong together.
    """
    makers: dict[saved.Format, saved.Maker[Loaded]] = {
        models.FORMAT: _restore,
        folder.FORMAT: folder.restore,
        saved.OWN_FORMAT: _of_ones_own,
    }
    return saved.read(directory, makers)


def _of_ones_own(description: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> Loaded:
    """Refuse: only its user can make such a network."""
    name = f"{description['class']}"[:80]
    raise CorruptFileError(
        f"these are the weights of {name}, a network of your own: make one, and give it "
        f"safetensors.torch.load_file of model.safetensors with load_state_dict"
    )


_FORECASTERS = {"features", "target", "window", "horizon", "inputs", "outputs"}
_OF_SEQUENCES = {"task", "features", "targets", "inputs", "classes"}


def _restore(
    description: Mapping[str, Any], weights: Mapping[str, torch.Tensor]
) -> Forecaster | SequencePredictor | Network | Ensemble:
    network, about = models.restore(description, weights)
    if isinstance(about, Mapping) and about.keys() >= _OF_SEQUENCES and about["task"] != "forecast":
        return SequencePredictor.restored(network, about)
    if isinstance(about, Mapping) and about.keys() >= _FORECASTERS:
        return Forecaster.restored(network, about)
    return network
