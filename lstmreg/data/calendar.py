"""What a time stamp says of its moment, as numbers; and the stamps that follow those of a table."""

from __future__ import annotations

import re
from calendar import isleap, monthrange
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lstmreg.errors import DataError

from .ahead import times_ahead, written_like


def calendar_names(parts: Sequence[str]) -> tuple[str, ...]:
    """Return what the columns of parts of a time are called."""
    return tuple(f"{part} ({wave})" for part in parts for wave in ("sine", "cosine"))


def calendar_columns(path: str, stamps: Sequence[str], parts: Sequence[str]) -> NDArray[np.float64]:
    r"""Return sine and cosine of how much of a day, week, month or year has passed at each moment.

    .. math:: \sin 2\pi\varphi, \quad \cos 2\pi\varphi

    with :math:`\varphi` the hour and its parts by 24, the weekday by 7 (Monday is 0), the days before this one by those
    of its month or of its year, the month by 12 (January is 0). Of a time with a time zone, what its clock shows.

    Args:
        path: Where the stamps stand, for messages.
        stamps: Of ISO 8601, N.
        parts: Those of :data:`lstmreg.config.CALENDAR`, in this order.

    Shape:
        ``(N, 2 * len(parts))``.

    Raises:
        DataError: If a stamp is no date.
    """
    if not parts:
        return np.empty((len(stamps), 0))
    moments: dict[str, datetime] = {}
    for stamp in stamps:
        if stamp not in moments:
            moments[stamp] = _moment(path, stamp)
    phases = {stamp: [_PHASES[part](moment) for part in parts] for stamp, moment in moments.items()}
    angles = 2 * np.pi * np.array([phases[stamp] for stamp in stamps])
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(stamps), -1)


_PHASES = {
    "hour": lambda t: (t.hour + t.minute / 60 + t.second / 3600) / 24,
    "weekday": lambda t: t.weekday() / 7,
    "day": lambda t: (t.day - 1) / monthrange(t.year, t.month)[1],
    "month": lambda t: (t.month - 1) / 12,
    "yearday": lambda t: (t.timetuple().tm_yday - 1) / (366 if isleap(t.year) else 365),
}

_MONTH = re.compile(r"\d{4}-\d\d", re.ASCII)


def _moment(path: str, stamp: str) -> datetime:
    try:
        if "-" not in stamp and "T" not in stamp:
            raise ValueError("a number")
        return datetime.fromisoformat(f"{stamp}-01" if _MONTH.fullmatch(stamp) else stamp)
    except ValueError:
        raise DataError(
            f"{path}: data.calendar needs dates in the time column, such as 2024-03-31 or 2024-03-31T14:00, got "
            f"{stamp!r}. Write them so, or leave data.calendar out."
        ) from None


def following(path: str, stamps: Sequence[str], count: int) -> list[str]:
    """Return the stamps of the next moments after a table's: regular ones go on, others at their median step.

    Raises:
        DataError: If there are fewer than two, or one is no date.
    """
    if len(stamps) < 2:
        raise DataError(f"{path}: one time alone does not say which the next one is. Give more rows.")
    moments = [_moment(path, stamp) for stamp in stamps]
    if (ahead := times_ahead(stamps, count)) is not None:
        return ahead
    steps = sorted(b - a for a, b in pairwise(moments))
    later = [moments[-1] + (k + 1) * steps[len(steps) // 2] for k in range(count)]
    return [written_like(stamps[-1], moment) for moment in later]
