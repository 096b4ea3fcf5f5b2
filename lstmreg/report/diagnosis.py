"""What ails the network without regularization, in a word: a diagnosis before any cure, from its learning curves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lstmreg.search.records import Replicate, Result

#: In the order in which they are looked for: what comes first would make the others mean nothing.
Word = Literal["leak suspected", "not converged", "overfits", "underfits", "noisy", "fits"]

#: Where more trainings than this share were cut short, nothing is said of knobs, nor of overfitting.
MOSTLY = 0.5

#: A loss this many times below that of whatever else predicts is too good to be true...
_TOO_GOOD = 20.0

#: ... if the training loss is hardly lower still: learning by heart lowers that one alone, and a leak lowers both.
_HARDLY_ANY_GAP = 1.5

#: Of a target of variance one this is all but a ten-thousandth explained, of classes a certainty of 99.99 %: data that
#: were measured leave more.
_NEARLY_ZERO = 1e-4

#: Without patience nothing stops a training that is done; one whose best epoch is in this last share of them was not.
_LATE = 0.1

#: Validation that ends so many times above its best has turned up. Less is the usual unrest of Adam's steps...
_TURNS = 1.1

#: ... and so is less than this many times the scatter of single epochs: the last of some dozen epochs lies two to three
#: of them above the lowest by chance alone.
_BEYOND_SCATTER = 3.0

#: Or it did not turn, but stays that many times above training. Less than twofold may be a harder stretch of the data.
_GAP = 2.0

#: While validation turns up training falls to less than this share, or nothing was learned there by heart.
_FALLS = 0.95

#: A training loss that never falls below this share of the loss of a prediction without a model has learned hardly
#: more than that knows; where there is no such prediction, of its own first epoch.
_HARDLY_BELOW = 0.9

#: Losses below this are none.
_TINY = 1e-12


@dataclass(frozen=True)
class Diagnosis:
    """What the curves of the unregularized trainings say, over all blocks, and the numbers on which that stands.

    Means of ratios are geometric, but for ``gap`` and ``turn``.

    Attributes:
        word: ``leak suspected``, the loss is too low to be true; ``not converged``, training was ended while validation
            still fell; ``overfits``, validation turns up while training falls on, or stays far above it;
            ``underfits``, training hardly falls below what needs no model; ``noisy``, validation jumps between epochs
            by more than what separates settings; else ``fits``.
        trainings: How many.
        unfinished: Share of them that ``training.max_epochs`` ended too early.
        gap: Validation over training loss at the best epoch.
        turn: Validation loss of the last epoch over that of the best.
        fall: Training loss of the last epoch over that of the best.
        loss: On the cases that had no part in the training.
        against_floor: That loss over the one of the best prediction without a model; ``None`` without such.
        against_simple_model: Likewise of the best simple model.
        learned: The lowest training loss over the loss of the best prediction without a model, else over the first one.
        scatter: How far the validation loss of an epoch lies off its neighbours, as a relative change (one standard
            deviation); ``None`` of very short trainings.
        separates: By how much of the loss settings differ from no regularization, in the middle of all that were tried.
    """

    word: Word
    trainings: int
    unfinished: float
    gap: float
    turn: float
    fall: float
    loss: float
    against_floor: float | None
    against_simple_model: float | None
    learned: float
    scatter: float | None
    separates: float


def diagnose(
    results: Mapping[Replicate, Result],
    floor: Sequence[float] | None,
    simple_model: Sequence[float] | None,
    *,
    has_patience: bool,
    separates: float,
) -> Diagnosis:
    """Diagnose the unregularized network.

    Args:
        results: What its trainings gave, by replicate; one at least.
        floor: Of each block the loss of the best prediction without a model, if there is any.
        simple_model: Likewise of the best simple model.
        has_patience: Whether a training ends by itself when validation has not fallen for a while.
        separates: By how much of the loss settings differ.
    """
    of_all = list(results.values())
    scatters = [found for result in of_all if (found := _scatter(result.val)) is not None]
    below = [_ratio(min(r.train), r.train[0] if floor is None else floor[k.block]) for k, r in results.items()]
    numbers = {
        "trainings": len(of_all),
        "unfinished": unfinished(of_all, has_patience=has_patience),
        "gap": float(np.mean([gap(result) for result in of_all])),
        "turn": turn(of_all),
        "fall": _mean(_ratio(r.train[-1], r.train[r.best_epoch]) for r in of_all),
        "loss": _mean(max(result.loss, _TINY) for result in of_all),
        "against_floor": _against(results, floor),
        "against_simple_model": _against(results, simple_model),
        "learned": _mean(below),
        "scatter": math.expm1(float(np.mean(scatters))) if scatters else None,
        "separates": separates,
    }
    unnamed = Diagnosis("fits", **numbers)  # type: ignore[arg-type]
    return Diagnosis(_word(unnamed), **numbers)  # type: ignore[arg-type]


def gap(result: Result) -> float:
    """Return validation over training loss at the best epoch."""
    return _ratio(result.val_loss, result.train_loss)


def turn(results: Sequence[Result]) -> float:
    """Return how many times its best the validation loss of the last epoch is, as a mean over trainings."""
    return float(np.mean([_ratio(result.val[-1], result.val_loss) for result in results]))


def unfinished(results: Sequence[Result], *, has_patience: bool) -> float:
    """Return which share of trainings ``training.max_epochs`` ended too early."""
    return float(np.mean([_is_unfinished(result, has_patience=has_patience) for result in results]))


def _word(found: Diagnosis) -> Word:
    if _is_too_good(found):
        return "leak suspected"
    if found.unfinished > MOSTLY:
        return "not converged"
    if found.fall < _FALLS and _turns(found):
        return "overfits"
    if found.learned >= _HARDLY_BELOW:
        return "underfits"
    if found.gap >= _GAP:
        return "overfits"
    return "noisy" if found.scatter is not None and found.scatter > found.separates else "fits"


def _is_too_good(found: Diagnosis) -> bool:
    others = [ratio for ratio in (found.against_floor, found.against_simple_model) if ratio is not None]
    is_far_below = bool(others) and max(others) < 1 / _TOO_GOOD
    return found.loss < _NEARLY_ZERO or (is_far_below and found.gap < _HARDLY_ANY_GAP)


def _turns(found: Diagnosis) -> bool:
    by_chance = 0.0 if found.scatter is None else _BEYOND_SCATTER * math.log1p(found.scatter)
    return found.turn >= max(_TURNS, math.exp(by_chance))


def _is_unfinished(result: Result, *, has_patience: bool) -> bool:
    is_late = result.best_epoch >= (1 - _LATE) * (len(result.val) - 1)
    return result.stopped == "max_epochs" and (has_patience or is_late)


def _against(results: Mapping[Replicate, Result], others: Sequence[float] | None) -> float | None:
    if others is None:
        return None
    return _mean(_ratio(result.loss, others[replicate.block]) for replicate, result in results.items())


def _scatter(curve: Sequence[float]) -> float | None:
    """Return the standard deviation of an epoch's log loss about the curve's course, which may fall and turn.

    An epoch lies off the middle of its two neighbours by noise alone, of 1.5 times the variance; the median is not
    moved by the few epochs in which the course itself bends, and is 0.67 standard deviations.
    """
    logs = np.log(np.maximum(curve, _TINY))
    off = logs[1:-1] - (logs[:-2] + logs[2:]) / 2
    return float(np.median(np.abs(off))) / (0.6745 * math.sqrt(1.5)) if len(off) >= _FEWEST_EPOCHS else None


#: From fewer nothing is known of scatter.
_FEWEST_EPOCHS = 5


def _ratio(loss: float, other: float) -> float:
    return max(loss, _TINY) / max(other, _TINY)


def _mean(ratios: Iterable[float]) -> float:
    return float(np.exp(np.mean(np.log(list(ratios)))))
