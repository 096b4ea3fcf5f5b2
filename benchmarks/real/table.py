"""Prints the table of ``docs/real-data.md``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sets import RealSet

HEADER = ["set", "best floor", "its loss", "no knob", "pick", "change", "beyond weight decay", "answer", "seconds"]


def table(sets: Sequence[RealSet], lines: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a row for each set that was measured, in Markdown."""
    rows = [HEADER, ["---", "---", *["--:"] * 5, "---", "--:"]]
    rows += [_row(each, lines[each.name]) for each in sets if each.name in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(chosen: RealSet, line: Mapping[str, Any]) -> list[str]:
    means = {name: f"{np.mean(values):.3g}" for name, values in line["loss"].items()}
    return [
        f"{chosen.name} ({chosen.task})",
        line["floor"],
        *(means.get(name, "–") for name in ("floor", "no regularization", "pick")),
        _change(line["effect"]),
        _change(line["beyond_rival"]),
        line["headline"],
        f"{line['processor_seconds']:.0f}",
    ]


def _change(effect: Sequence[float] | None) -> str:
    if effect is None:
        return "–"
    mean, low, high = (f"{100 * value:+.0f}".replace("-", "−") for value in effect)
    return f"{mean} % ({low} to {high})"
