"""What every picture is drawn on, and rendered to: a figure without pyplot's global state, in one style."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

TRAIN, VAL, GREY, GOOD = "#8a9ba8", "#c2410c", "#94a3b8", "#0f766e"

_STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: small, searchable, in the reader's own font
    "text.parse_math": False,  # a column may be named $x$
}

#: In inches: of most figures, and of one that is to be seen whole on a phone, or nearly.
_WIDTH, NARROW = 8.2, 5.6


def legend(figure: Figure, ax: Axes) -> None:
    """Put the legend above everything, where it covers no curve."""
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=len(labels))


@contextmanager
def canvas(rows: int, columns: int, height: float, width: float = _WIDTH) -> Iterator[tuple[Figure, list[Axes]]]:
    """Make a figure without pyplot's global state."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        yield figure, list(axes.flat)


def svg(figure: Figure) -> str:
    """Render to an ``<svg>`` element that scales with the page."""
    text = image(figure, "svg").decode()
    return text[text.index("<svg") :]


def image(figure: Figure, kind: str) -> bytes:
    """Render to a file of a kind, ``svg`` or ``png``; the same picture gives the same bytes."""
    buffer = io.BytesIO()
    dated = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    figure.savefig(buffer, format=kind, metadata=dated, dpi=150)
    return buffer.getvalue()


def clipped(name: str) -> str:
    """Return a name that leaves room for what stands beside it."""
    return name if len(name) <= _LONG else f"{name[: _LONG - 1]}…"


#: A longer name beside an axis would leave no room for it.
_LONG = 30

#: So many letters a panel has room for.
TITLE = 46

#: On a share above this, white letters are read better.
DARK = 0.6

#: So many letters stand beside each other below a panel of the doses.
LETTERS = 38
