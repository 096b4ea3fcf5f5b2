"""The small table of the study that ships with the package: what a report, and ``lstmreg init``, place data beside."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from . import comparing, settings
from .comparing import FEW, WORTH, Over, compared, family, picked
from .measured import Measured, measured
from .results import Line

#: Of all intervals of the study.
_CONFIDENCE = 0.95

#: So many decimals of a log ratio are kept.
_DECIMALS = 5


def shipped(lines: Iterable[Line]) -> str:
    """Return the table as JSON, a set or a kind of sets on each line.

    Args:
        lines: The results.
    """
    sets = compared(measured(lines))
    families = [(name, list(own)) for name, own in groupby(sorted(sets, key=family), key=family)]
    content = {
        "worth": round(-math.expm1(WORTH), 6),
        "confidence": _CONFIDENCE,
        "copied": settings.COPIED,
        "sets": [_set(name, own) for name, own in families],
        "kinds": [_kind(task, has_several, own) for task, has_several, own in _kinds(sets)],
    }
    return _in_lines(content)


def _set(name: str, own: Sequence[Measured]) -> dict[str, Any]:
    trained_on = [count for one in own for count in one.trained_on]
    return {
        "name": name,
        "task": own[0].task,
        "columns": own[0].columns,
        "cases": [min(trained_on), max(trained_on)],
        "knobs": {path: _knob(path, own) for path in settings.LADDERS},
    }


def _knob(path: str, own: Sequence[Measured]) -> dict[str, Any]:
    picks = [picked(one.tuned(path), path) for one in own]
    return {
        "tuned": _of_family(comparing.tuned(own, path)),
        "values": [value for value in picks if value is not None],
        "copied": _of_family(comparing.at(own, settings.alone(path, settings.COPIED[path]))),
    }


def _of_family(found: Over) -> list[float]:
    (family,) = found.families
    return _ends(family.estimate.mean, family.estimate.low, family.estimate.high)


def _kinds(sets: Sequence[Measured]) -> list[tuple[str | None, bool | None, list[Measured]]]:
    """Return the kinds of which there are enough: task and columns, task alone, all."""
    tasks = sorted({one.task for one in sets})
    kinds: list[tuple[str | None, bool | None]] = [(task, several) for task in tasks for several in (False, True, None)]
    found = [(task, several, _of_kind(sets, task, several)) for task, several in [*kinds, (None, None)]]
    return [kind for kind in found if len(set(map(family, kind[2]))) >= FEW]


def _of_kind(sets: Sequence[Measured], task: str | None, has_several: bool | None) -> list[Measured]:
    return [one for one in sets if task in (None, one.task) and has_several in (None, one.columns > 1)]


def _kind(task: str | None, has_several: bool | None, own: Sequence[Measured]) -> dict[str, Any]:
    pooled = {path: comparing.tuned(own, path).pooled for path in settings.LADDERS}
    return {
        "task": task,
        "has_several": has_several,
        "sets": sorted(set(map(family, own))),
        "pooled": {path: _ends(p.mean, p.low, p.high) for path, p in pooled.items()},
    }


def _ends(*numbers: float) -> list[float]:
    return [round(number, _DECIMALS) + 0.0 for number in numbers]


def _in_lines(content: dict[str, Any]) -> str:
    parts = []
    for key, value in content.items():
        if isinstance(value, list):
            rows = ",\n".join(f"  {json.dumps(row, allow_nan=False)}" for row in value)
            parts.append(f' "{key}": [\n{rows}\n ]')
        else:
            parts.append(f' "{key}": {json.dumps(value, allow_nan=False)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"
