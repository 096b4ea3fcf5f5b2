"""Chooses what is tried together: on one half of the blocks, for the other half, so that nothing judges its own choice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import settings
from .results import Line
from .settings import Setting

#: Of each half of the blocks so many knobs are tried in pairs on the other half.
_PAIRED = 3


def is_pair(line: Mapping[str, Any]) -> bool:
    """Tell whether a line is of two knobs together."""
    return len(settings.turned(line.get("setting", {}))) == 2


def pairs(baseline: Line, singles: Sequence[Line]) -> list[tuple[Setting, tuple[int, ...]]]:
    """Return pairs of the best knobs by one half of the blocks, with the other half to train them on, both ways.

    So no pair is judged on a block that had a say in choosing it.
    """
    count = len(baseline["blocks"])
    halves = tuple(range(0, count, 2)), tuple(range(1, count, 2))
    found = []
    for choosing, judging in (halves, halves[::-1]):
        best: dict[str, tuple[float, Setting]] = {}
        for line in singles:
            (path,) = settings.turned(line["setting"])
            worth = _mean_change(line, baseline, choosing), line["setting"]
            place = settings.place(path)
            if place not in best or worth[0] < best[place][0]:
                best[place] = worth
        three = [setting for _, setting in sorted(best.values(), key=lambda worth: worth[0])[:_PAIRED]]
        found += [(three[i] | three[k], judging) for i in range(len(three)) for k in range(i + 1, len(three))]
    return found


def _mean_change(line: Line, baseline: Line, blocks: Sequence[int]) -> float:
    changes = [
        math.inf if line["loss"][b] is None else line["loss"][b] - baseline["loss"][b]
        for b in blocks
        if baseline["loss"][b] is not None
    ]
    return float(np.mean(changes)) if changes else math.inf
