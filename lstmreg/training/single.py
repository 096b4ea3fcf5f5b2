"""One training as a configuration describes it: network, data and seeds from a ``Config`` and a split."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lstmreg.config import Config
from lstmreg.data.module import WindowsDataModule
from lstmreg.data.splits import Split
from lstmreg.data.table import Series
from lstmreg.models import Network

from .fit import FitResult, fit


@dataclass(frozen=True)
class Trained:
    """A trained network, the data it saw, and how its training went."""

    network: Network
    data: WindowsDataModule
    result: FitResult

    def forecast(self, start: int, stop: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Forecast each window with targets in rows ``[start, stop)``, in the target's own units.

        Returns:
            Predictions ``(N, O)`` and the true values ``(N, O)``.
        """
        windows = self.data.windower.cut(self.data.series, start, stop)
        device = next(self.network.parameters()).device
        with torch.no_grad():
            scaled = self.network(torch.from_numpy(windows.inputs).to(device)).cpu().numpy()
        unscaled = self.data.windower.target.unscaled
        return unscaled(scaled), unscaled(windows.targets)


def train_single(config: Config, series: Series, split: Split) -> Trained:
    """Train one network from ``config.training.seed``.

    Initial weights, the order of the batches and the masks come from three streams of that seed, so that
    turning a knob moves none of the others.

    Raises:
        DivergedError: As :func:`lstmreg.fit`.
    """
    weights, order, masks = (int(s) for s in np.random.SeedSequence(config.training.seed).generate_state(3))
    data = WindowsDataModule(
        series,
        split,
        window=config.data.window,
        horizon=config.data.horizon,
        batch_size=config.training.batch_size,
        seed=order,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights)
        network = Network(config.model, len(series.features), config.data.horizon)
    result = fit(network, data, dataclasses.replace(config.training, seed=masks))
    return Trained(network, data, result)
