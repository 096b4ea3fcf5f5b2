"""Chooses what is tried together: on one half of the blocks for the other, so that nothing judges its own choice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import settings
from .results import Line
from .settings import Setting

#: Of each half of the blocks so many knobs are tried in pairs on the other half.
_PAIRED = 3

#: A setting, and the blocks that it is trained on.
Job = tuple[Setting, tuple[int, ...]]


class Alone(NamedTuple):
    """What one seed gave with one knob at a time.

    Attributes:
        baseline: The line of no knob.
        singles: The lines of each value of each knob, as :func:`settings.singles` has them.
    """

    baseline: Line
    singles: Sequence[Line]


def is_pair(line: Mapping[str, Any]) -> bool:
    """Tell whether a line is of two knobs together."""
    return len(settings.turned(line.get("setting", {}))) == 2


def pairs(seed: Alone) -> list[Job]:
    """Return pairs of the best knobs by one half of the blocks, with the other half to train them on, both ways.

    So no pair is judged on a block that had a say in choosing it.
    """
    found = []
    for choosing, judging in _both_ways(seed):
        best = [setting for _, setting in _best_of_places([seed], choosing)[:_PAIRED]]
        found += [(best[i] | best[k], judging) for i in range(len(best)) for k in range(i + 1, len(best))]
    return found


def together(seeds: Sequence[Alone]) -> list[Job]:
    """Return all knobs at once, each at its best value by one half of the blocks, for the other half; both ways.

    A knob whose every value raises the loss on the half that chooses is left off. Weight decay, which is the
    optimizer's, stays out.
    """
    found = []
    for choosing, judging in _both_ways(seeds[0]):
        merged: Setting = {}
        for worth, setting in _best_of_places(seeds, choosing):
            if worth < 0 and settings.WEIGHT_DECAY not in setting:
                merged |= setting
        found.append((merged, judging))
    return found


def _both_ways(seed: Alone) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """Return which half of the blocks chooses, and which is judged."""
    count = len(seed.baseline["blocks"])
    halves = tuple(range(0, count, 2)), tuple(range(1, count, 2))
    return halves, halves[::-1]


def _best_of_places(seeds: Sequence[Alone], blocks: Sequence[int]) -> list[tuple[float, Setting]]:
    """Return the best value of each part of the network by some blocks, and its mean change; the best part first."""
    best: dict[str, tuple[float, Setting]] = {}
    for number, line in enumerate(seeds[0].singles):
        (path,) = settings.turned(line["setting"])
        change = np.mean([_mean_change(seed.singles[number], seed.baseline, blocks) for seed in seeds])
        worth = float(change), line["setting"]
        place = settings.place(path)
        if place not in best or worth[0] < best[place][0]:
            best[place] = worth
    return sorted(best.values(), key=lambda worth: worth[0])


def _mean_change(line: Line, baseline: Line, blocks: Sequence[int]) -> float:
    changes = [
        math.inf if line["loss"][b] is None else line["loss"][b] - baseline["loss"][b]
        for b in blocks
        if baseline["loss"][b] is not None
    ]
    return float(np.mean(changes)) if changes else math.inf
