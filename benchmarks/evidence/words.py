"""How numbers and tables are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from .settings import Setting, name, turned
from .statistics import Estimate, Pooled


def percent(log: float) -> str:
    """Write a log ratio as a change in percent."""
    whole = round(100 * math.expm1(log))
    return f"{whole:+d}".replace("-", "−") if whole else "0"


def change(found: Estimate | Pooled) -> str:
    """Write a change with its interval."""
    low, high = (percent(x) if math.isfinite(x) else "?" for x in (found.low, found.high))
    return f"{percent(found.mean)} % ({low} to {high})"


def ends(low_and_high: tuple[float, float]) -> str:
    """Write an interval."""
    return " to ".join(map(percent, low_and_high)) + " %" if all(map(math.isfinite, low_and_high)) else "?"


def listed(numbers: Sequence[int]) -> str:
    """Write one number, or from where to where."""
    return " to ".join(map(str, dict.fromkeys(numbers)))


def settings_words(setting: Setting) -> str:
    """Say a setting in a cell."""
    return ", ".join(f"{name(path)} {value:g}" for path, value in turned(setting).items()) or "nothing"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """Return a table, with some columns at the right."""
    right = set(numbers)
    marks = ["--:" if column in right else "---" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, marks, *rows])
