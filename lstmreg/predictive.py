"""What a network predicts with its intervals, of numbers and of classes, whichever task they belong to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lstmreg import models
from lstmreg.errors import ConfigError
from lstmreg.intervals import USUAL, Calibration, bounds_of, check_confidence
from lstmreg.models import Ensemble, Network
from lstmreg.predictions import Band, free_heading

#: Makes outputs ``(M, ...)`` of some of the cases values in the user's units; the slice says of which.
Meant = Callable[[NDArray[np.float32], slice], NDArray[np.float64]]

#: Samples of so many numbers are held at once.
_NUMBERS_AT_ONCE = 20_000_000


class Found(NamedTuple):
    """Values ``(N, ...)``, the bounds of their intervals, if there are some, and what must be said of these."""

    values: NDArray[np.float64]
    low: NDArray[np.float64] | None
    high: NDArray[np.float64] | None
    notes: tuple[str, ...]

    def of_rows(self, within: NDArray[np.bool_]) -> Found:
        """Return the same of those elements of the leading axes alone that ``within`` names, one after the other."""
        low, high = (None if bound is None else bound[within] for bound in (self.low, self.high))
        return Found(self.values[within], low, high, self.notes)

    def by_step(self, steps: int) -> Found:
        """Return the same with each step in a row of its own: ``(N, steps * P)`` as ``(N * steps, P)``."""
        shape = (self.values.shape[0] * steps, self.values.shape[1] // steps)
        low, high = (None if bound is None else bound.reshape(shape) for bound in (self.low, self.high))
        return Found(self.values.reshape(shape), low, high, self.notes)


def number_columns(headings: Sequence[str], found: Found) -> tuple[dict[str, NDArray[np.float64]], tuple[Band, ...]]:
    """Return values ``(N, O)`` with their bounds as columns, and which of them belong together."""
    columns, bands = {}, []
    for number, heading in enumerate(headings):
        columns[heading] = found.values[:, number]
        band = Band(heading)
        if found.low is not None and found.high is not None:
            low, high = (free_heading(f"{heading}_{bound}", headings) for bound in ("low", "high"))
            columns |= {low: found.low[:, number], high: found.high[:, number]}
            band = Band(heading, low, high)
        bands.append(band)
    return columns, tuple(bands)


#: Of so many groups whose coverage is unusual it is told.
_MOST_GROUPS = 3


@dataclass(frozen=True)
class Predictive:
    """How predictions are asked for: without masks and with calibrated intervals, or as samples under masks.

    Args:
        network: The network.
        calibration: Of its intervals, if known.
        samples: How many samples; 0 for none.
        seed: Decides their masks.
        confidence: Of the intervals; ``None`` for 0.95, and less where the validation cases are too few.

    Raises:
        ConfigError: If there is nothing to draw masks of, or a number is none.
    """

    network: Network | Ensemble
    calibration: Calibration | None
    samples: int = 0
    seed: int = 0
    confidence: float | None = None

    def __post_init__(self) -> None:
        if self.confidence is not None:
            check_confidence(self.confidence)
        if self.samples < 0 or self.samples == 1 or self.samples > 100_000:
            raise ConfigError(f"--samples must be 0, or from 2 to 100000, got {self.samples}.")
        if not 0 <= self.seed < 1 << 63:
            raise ConfigError(f"--seed must be a whole number from 0 on, below 2^63, got {self.seed}.")
        if self.samples and not models.drops(self.network):
            raise ConfigError(
                "--samples needs a model with dropout, and this one drops nothing. Train one with model.dropout or "
                "model.recurrent_dropout, or leave --samples out."
            )

    def numbers(
        self,
        inputs: Tensor,
        lengths: Tensor | None,
        meant: Meant,
        groups: Sequence[str] | None = None,
        units: NDArray[np.float64] | None = None,
    ) -> Found:
        """Predict numbers.

        Args:
            inputs: ``(N, T, D)``, as the network reads them.
            lengths: ``(N,)`` where they differ.
            meant: What the outputs mean.
            groups: Of several series, that of each case.
            units: In which scores are ``(N, O)``, where each group has its own.
        """
        if self.samples:
            return self._sampled(inputs, lengths, meant)
        values = meant(self._outputs(inputs, lengths), slice(0, len(inputs)))
        if self.calibration is None:
            self._check_nothing_is_asked()
            return Found(values, None, None, ())
        confidence = self._confidence(self.calibration)
        if groups is None:
            radius = self.calibration.radius(confidence).reshape(values.shape[1:])
        else:
            radius = self.calibration.radii(confidence, groups).reshape(values.shape)
        radius = radius if units is None else radius * units
        coverage = self.calibration.coverage(confidence)
        notes = (
            f"Intervals of {100 * confidence:g} %, from the errors on {self.calibration.scores.cases} validation "
            f"cases: they hold on average, as far as what comes is like those."
            + ("" if coverage is None else f" Measured: they {coverage}."),
            *self._about_groups(self.calibration, confidence),
        )
        return Found(values, values - radius, values + radius, notes)

    def _about_groups(self, calibration: Calibration, confidence: float) -> list[str]:
        """Say which groups have intervals of their own, and in which these hold otherwise than was asked for."""
        if not calibration.groups:
            return []
        own, count = len(calibration.own_groups(confidence)), len(calibration.groups)
        notes = [f"{own} of {count} groups have intervals by their own errors, the others by those of all."]
        if own == count:
            notes = ["Each group has intervals by its own errors."]
        elif own == 0:
            notes = ["No group has validation cases enough for intervals by its own errors: all go by those of all."]
        unusual = list(calibration.unusual_groups(confidence).items())[:_MOST_GROUPS]
        return notes + [f"In {name!r} they {coverage}." for name, coverage in unusual]

    def shares(self, inputs: Tensor, lengths: Tensor | None, meant: Meant) -> Found:
        """Predict probabilities; their bounds, of samples alone, are those of the probabilities."""
        if self.samples:
            return self._sampled(inputs, lengths, meant)
        return Found(meant(self._outputs(inputs, lengths), slice(0, len(inputs))), None, None, ())

    def least_share(self) -> tuple[float | None, tuple[str, ...]]:
        """Return how probable a class must be to belong to the set that holds the truth with the confidence.

        ``None`` without a calibration, whose score is what the probability of the true class lacks to 1.
        """
        if self.calibration is None:
            return None, ()
        confidence = self._confidence(self.calibration)
        coverage = self.calibration.coverage(confidence)
        note = (
            f"Sets hold the true class with {100 * confidence:g} % on average, by {self.calibration.scores.cases} "
            f"validation cases, as far as what comes is like those."
            + ("" if coverage is None else f" Measured: they {coverage}.")
        )
        return 1 - float(self.calibration.radius(confidence)[0]), (note,)

    def _check_nothing_is_asked(self) -> None:
        if self.confidence is not None:
            raise ConfigError(
                "--confidence is of intervals, and this model has none, as all that predict labels of steps. Leave it "
                "out, or take --samples of a model with dropout."
            )

    def _confidence(self, calibration: Calibration) -> float:
        return calibration.usual_confidence if self.confidence is None else self.confidence

    def _outputs(self, inputs: Tensor, lengths: Tensor | None) -> NDArray[np.float32]:
        outputs: NDArray[np.float32] = models.outputs(self.network, inputs, lengths).numpy()
        return outputs

    def _sampled(self, inputs: Tensor, lengths: Tensor | None, meant: Meant) -> Found:
        """Predict by samples, of some cases after the others so that no memory is too small."""
        confidence = USUAL if self.confidence is None else self.confidence
        steps = inputs.shape[1] if self.network.steps == "all" else 1
        at_once = max(1, _NUMBERS_AT_ONCE // (self.samples * self.network.output_size * steps))
        seeds = np.random.SeedSequence(self.seed)
        found = []
        for start in range(0, max(1, len(inputs)), at_once):
            part = slice(start, min(start + at_once, len(inputs)))
            (seed,) = seeds.spawn(1)[0].generate_state(1).tolist()
            some = None if lengths is None else lengths[part]
            outputs = models.sampled_outputs(self.network, inputs[part], some, samples=self.samples, seed=seed)
            values = np.stack([meant(of_all, part) for of_all in outputs.numpy()])
            found.append(bounds_of(values, confidence))
        mean, low, high = (np.concatenate(parts) for parts in zip(*found, strict=True))
        coverage = None if self.calibration is None else self.calibration.sampled_coverage(confidence)
        note = (
            f"Mean and {100 * confidence:g} % interval of {self.samples} samples under dropout: what the network does "
            f"not know of itself, without the noise of the data."
            + ("" if coverage is None else f" Measured: they {coverage}.")
        )
        return Found(mean, low, high, (note,))
