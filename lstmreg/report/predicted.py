"""The picture of predictions: numbers with their intervals beside the truth, and the probabilities of classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lstmreg.errors import DataError
from lstmreg.files import write_atomically
from lstmreg.predictions import STEP, Band, Predictions

from .canvas import TITLE, canvas, image, legend

_COLOR, _TRUTH = "#0f766e", "black"

#: So many rows are drawn of names one by one, and so many of numbers; of more classes not all are named.
_MOST_NAMES, _MOST_ROWS, _MOST_CLASSES = 60, 2_000, 20

#: So many steps of a series are drawn, since more intervals would be one blob; and so many groups, a panel each.
_MOST_STEPS, _MOST_GROUPS = 200, 6


def draw(predictions: Predictions, path: Path) -> None:
    """Draw predictions into a file, whose name ends in ``.svg`` or ``.png``.

    Raises:
        DataError: If there is nothing to draw.
    """
    kinds = [*predictions.bands, *([None] if predictions.shares else [])]
    if not kinds or not len(predictions):
        raise DataError("there is nothing to draw: no row of numbers or probabilities.")
    groups = _groups(predictions)
    parts = [(band, name) for band in kinds for name in (groups if band is not None else list(groups)[:1])]
    with canvas(len(parts), 1, (2.8 if len(groups) == 1 else 2.0) * len(parts) + 0.4) as (figure, axes):
        for ax, (band, group) in zip(axes, parts, strict=True):
            if band is None and predictions.truth is not None:
                _draw_confusion(ax, predictions, predictions.truth)
            elif band is None:
                _draw_shares(ax, predictions)
            elif predictions.in_time:
                _draw_in_time(ax, predictions, band, _rows_in_time(predictions, groups[group]))
                ax.set_title(group[:TITLE], loc="left", fontsize=9.5)
            elif band.truth is not None:
                _draw_against_truth(ax, predictions, band)
            else:
                _draw_by_name(ax, predictions, band)
        if axes[0].get_legend_handles_labels()[0]:
            legend(figure, axes[0])
        if said := _left_out(predictions, groups):
            figure.supxlabel(said, fontsize=8)
        write_atomically(path, image(figure, path.suffix[1:]))


def _groups(predictions: Predictions) -> dict[str, NDArray[np.int64]]:
    """Return the rows of each of the first groups that are drawn apart, by name; without groups all rows, unnamed."""
    if predictions.group is None or not predictions.in_time:
        return {"": np.arange(len(predictions))}
    names = predictions.columns[predictions.group]
    return {name: np.flatnonzero(names == name) for name in list(dict.fromkeys(names.tolist()))[:_MOST_GROUPS]}


def _left_out(predictions: Predictions, groups: dict[str, NDArray[np.int64]]) -> str:
    """Say which groups and which steps are not drawn."""
    if not predictions.in_time:
        return ""
    said = []
    if predictions.group is not None:
        count = len(set(predictions.columns[predictions.group].tolist()))
        said += [f"The first {len(groups)} of {count} groups; {count - len(groups)} are left out."] * (
            count > len(groups)
        )
    if any(len(_rows_in_time(predictions, rows)) > _MOST_STEPS for rows in groups.values()):
        said.append(f"The last {_MOST_STEPS} steps{' of each group' if len(groups) > 1 else ''}.")
    return " ".join(said)


def _draw_in_time(ax: Axes, predictions: Predictions, band: Band, rows: NDArray[np.int64]) -> None:
    """Draw a line over the last of some rows."""
    rows = rows[-_MOST_STEPS:]
    places = np.arange(len(rows))
    values = _numbers(predictions, band.value)[rows]
    if band.truth is not None:
        ax.plot(places, _numbers(predictions, band.truth)[rows], color=_TRUTH, linewidth=1.4, label="truth")
    mark = "o-" if len(rows) < 30 else "-"
    ax.plot(places, values, mark, color=_COLOR, linewidth=1.1, markersize=3, label="forecast")
    if band.low is not None and band.high is not None:
        low, high = (_numbers(predictions, name)[rows] for name in (band.low, band.high))
        ax.fill_between(places, low, high, color=_COLOR, alpha=0.18, linewidth=0, label="interval")
    _name_places(ax, [predictions.names[row] for row in rows])
    ax.set_ylabel(band.value[:40])


def _rows_in_time(predictions: Predictions, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one of a group's rows for each time: that of the first step ahead, and of the last forecast all."""
    if STEP not in predictions.columns:
        return rows
    steps = predictions.columns[STEP][rows]
    last = len(steps) - 1 - int(np.argmax(steps[::-1] == 1))
    kept: NDArray[np.int64] = rows[(steps == 1) | (np.arange(len(steps)) >= last)]
    return kept


def _draw_against_truth(ax: Axes, predictions: Predictions, band: Band) -> None:
    assert band.truth is not None
    truth, values = _numbers(predictions, band.truth), _numbers(predictions, band.value)
    _draw_intervals(ax, predictions, band, truth, np.arange(len(values)))
    ax.plot(truth, values, "o", color=_COLOR, markersize=3, label="prediction")
    known = truth[np.isfinite(truth)]
    if len(known):
        ax.plot([known.min(), known.max()], [known.min(), known.max()], color=_TRUTH, linewidth=0.8, label="truth")
    ax.set_xlabel(f"truth, {band.value[:40]}")
    ax.set_ylabel("prediction")


def _draw_by_name(ax: Axes, predictions: Predictions, band: Band) -> None:
    shown = min(len(predictions), _MOST_ROWS)
    places, rows = np.arange(shown, dtype=np.float64), np.arange(shown)
    _draw_intervals(ax, predictions, band, places, rows)
    ax.plot(places, _numbers(predictions, band.value)[:shown], "o", color=_COLOR, markersize=3, label="prediction")
    _name_places(ax, list(predictions.names[:shown]))
    ax.set_ylabel(band.value[:40])


def _draw_intervals(
    ax: Axes, predictions: Predictions, band: Band, places: NDArray[np.float64], rows: NDArray[np.int64]
) -> None:
    if band.low is not None and band.high is not None:
        low, high = (_numbers(predictions, name)[rows] for name in (band.low, band.high))
        ax.vlines(places, low, high, color=_COLOR, alpha=0.35, linewidth=1.2, label="interval")


def _draw_shares(ax: Axes, predictions: Predictions) -> None:
    """Draw the probabilities of the classes, one upon the other, for each of the first rows."""
    names = list(predictions.names[:_MOST_NAMES])
    places, below = np.arange(len(names)), np.zeros(len(names))
    for heading in predictions.shares:
        values = _numbers(predictions, heading)[: len(names)]
        ax.bar(places, values, bottom=below, width=0.9, label=heading[:20])
        below = below + values
    _name_places(ax, names)
    ax.set_ylabel("probability")
    ax.set_ylim(0, 1)


def _draw_confusion(ax: Axes, predictions: Predictions, truth: str) -> None:
    """Draw how often each class was predicted where each was true; of rows without a known one nothing."""
    classes = [heading[2:-1] for heading in predictions.shares]
    places = {name: k for k, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    shares = np.stack([_numbers(predictions, heading) for heading in predictions.shares], axis=1)
    for true, likeliest in zip(predictions.columns[truth], shares.argmax(axis=1), strict=True):
        if true in places:
            counts[places[true], likeliest] += 1
    of_true = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(of_true, cmap="Greens", vmin=0, vmax=1, aspect="auto")
    ax.grid(False)
    if len(classes) <= _MOST_CLASSES:
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if of_true[row, column] > 0.6 else "black"
            ax.text(column, row, str(count), ha="center", va="center", color=color)
    every = max(1, -(-len(classes) // _MOST_CLASSES))
    shown = list(range(len(classes)))[::every]
    ax.set_xticks(shown, [classes[k][:12] for k in shown])
    ax.set_yticks(shown, [classes[k][:12] for k in shown])
    ax.set_xlabel("predicted")
    ax.set_ylabel("truth")


def _name_places(ax: Axes, names: list[str]) -> None:
    every = max(1, -(-len(names) // 6))
    ax.set_xticks(list(range(len(names)))[::every], [name[:19] for name in names[::every]])


def _numbers(predictions: Predictions, heading: str) -> NDArray[np.float64]:
    return np.asarray(predictions.columns[heading], dtype=np.float64)
