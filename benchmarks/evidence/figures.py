"""The two pictures of ``docs/evidence.md``: what each knob does on each set, and what each value does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import comparing, settings
from .comparing import compared
from .measured import Measured, measured
from .results import Line
from .settings import LADDERS, alone, name

sys.path.insert(0, str(Path(__file__).parents[1]))
from draw import STYLE, save

_GREY, _DARK, _RED, _GREEN = "#94a3b8", "#1e293b", "#c2410c", "#0f766e"


def draw(lines: Sequence[Line], folder: Path) -> None:
    """Write both pictures into a folder."""
    sets = compared(measured(lines))
    with matplotlib.rc_context(STYLE):
        save(knobs(sets), folder / "evidence-knobs.svg")
        save(doses(sets), folder / "evidence-doses.svg")


def _percent(log: float) -> float:
    return float(100 * np.expm1(log))


def _signed(value: float, place: object = None) -> str:
    return f"{value:+.0f} %".replace("-", "−").replace("+0", "0")


def knobs(sets: Sequence[Measured]) -> Figure:
    """Draw a row for each knob, tuned: a dot for each set, the mean with its interval, and that of another set."""
    figure = Figure(figsize=(8.2, 0.9 + 0.36 * (len(LADDERS) + 1)), layout="constrained")
    ax = figure.subplots()
    rows = {name(path): comparing.tuned(sets, path) for path in LADDERS}
    rows = dict(sorted(rows.items(), key=lambda row: row[1].pooled.mean))
    rows["best of all values"] = comparing.best_of_all(sets)
    for y, found in enumerate(rows.values()):
        mean, low, high = (_percent(x) for x in (found.pooled.mean, found.pooled.low, found.pooled.high))
        ends = [_percent(x) for x in found.pooled.predicted]
        ax.plot(ends, [y, y], color=_GREY, linewidth=1, label="another set, 95 %" if y == 0 else None)
        ax.plot([low, high], [y, y], color=_DARK, linewidth=4, alpha=0.55, label="mean, 95 %" if y == 0 else None)
        dots = [_percent(family.estimate.mean) for family in found.families]
        ax.plot(dots, [y] * len(dots), "o", color=_GREEN, markersize=4, alpha=0.7, label="a set" if y == 0 else None)
        ax.plot([mean], [y], "D", color=_RED, markersize=5, label="mean over sets" if y == 0 else None)
    ax.axvline(0, color="#475569", linewidth=1)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.tick_params(axis="y", length=0)
    ax.invert_yaxis()
    shown = [_percent(f.estimate.mean) for o in rows.values() for f in o.families]
    ax.set_xlim(min(shown) - 8, max(shown) + 8)
    ax.xaxis.set_major_formatter(_signed)
    ax.set_xlabel("change of the loss against no knob, value chosen on the other half of the blocks (left is better)")
    figure.legend(loc="outside upper center", ncols=4, fontsize=8)
    return figure


def doses(sets: Sequence[Measured]) -> Figure:
    """Draw the effect of each value of each knob: a line for each set, and the mean over sets."""
    columns = 4
    figure = Figure(figsize=(8.2, 6.2), layout="constrained")
    axes = figure.subplots(-(-len(LADDERS) // columns), columns, sharey=True).ravel()
    for ax, path in zip(axes, LADDERS, strict=False):
        _dose(ax, sets, path)
    for ax in axes[len(LADDERS) :]:
        ax.axis("off")
    figure.supylabel("change of the loss against no knob", fontsize=9)
    return figure


def _dose(ax: Axes, sets: Sequence[Measured], path: str) -> None:
    values = LADDERS[path]
    found = [comparing.at(sets, alone(path, value)) for value in values]
    places = range(len(values))
    for number in range(len(found[0].families)):
        own = [_percent(over.families[number].estimate.mean) for over in found]
        ax.plot(places, own, color=_GREY, linewidth=0.7)
    low, mean, high = ([_percent(getattr(o.pooled, part)) for o in found] for part in ("low", "mean", "high"))
    ax.fill_between(places, low, high, color=_RED, alpha=0.15, linewidth=0)
    ax.plot(places, mean, "o-", color=_RED, markersize=3)
    if settings.COPIED[path] in values:
        ax.axvline(values.index(settings.COPIED[path]), color=_DARK, linewidth=0.8, linestyle=":")
    ax.axhline(0, color="#475569", linewidth=1)
    ax.set_ylim(-45, 85)
    ax.set_xticks(list(places), [f"{value:g}" for value in values], fontsize=6.5, rotation=45)
    ax.yaxis.set_major_formatter(_signed)
    ax.tick_params(axis="y", labelsize=7)
    ax.set_title(name(path), loc="left", fontsize=9)
