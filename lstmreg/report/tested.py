"""The pictures of the test: what was predicted there, and who was taken for whom."""

from __future__ import annotations

import itertools

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lstmreg.search.card import restored
from lstmreg.tasks import task_named

from .answers import Answer
from .canvas import DARK, GOOD, GREY, LETTERS, TITLE, TRAIN, VAL, canvas, legend, svg
from .whereabouts import confusion_counts


def predictions(answer: Answer) -> str:
    """Draw truth and forecasts on the test rows: of a panel each group, else the first and the last step ahead.

    Below, the error at each step.
    """
    if not answer.test.predictions or not task_named(answer.task).columns_are:
        return ""
    horizon = len(next(iter(answer.test.error_by_step.values())))
    groups = _groups(answer)
    if len(groups) > 1:
        parts = [(places, 0, name) for name, places in groups.items()]
    else:
        (places,) = groups.values()
        titles = {step: f"{step + 1} step{'s' if step else ''} ahead" for step in sorted({0, horizon - 1})}
        parts = [(places, step, title if horizon > 1 else "") for step, title in titles.items()]
    panels = len(parts) + (horizon > 1)
    with canvas(panels, 1, (1.6 if len(groups) > 1 else 2.2) * panels + 0.4) as (figure, axes):
        for ax, (places, step, title) in zip(axes, parts, strict=False):
            _draw_forecasts(ax, answer, places, step)
            ax.set_title(title[:TITLE], loc="left", fontsize=9.5)
        if horizon > 1:
            _draw_error_by_step(axes[-1], answer)
        legend(figure, axes[0])
        return svg(figure)


#: So many groups of a panel are drawn.
_MOST_GROUPS = 6


def _groups(answer: Answer) -> dict[str, list[int]]:
    """Return which of the cases that are shown belong to each group, by name; without groups all belong to one."""
    shown, total = len(next(iter(answer.test.predictions.values()))), len(answer.data.test_labels)
    of_cases = answer.data.scales.get("group") or [0] * total
    groups: dict[int, list[int]] = {}
    for place in range(shown):
        groups.setdefault(of_cases[total - shown + place], []).append(place)
    names = {group: _label_of(answer, places[0], shown).rpartition(", ")[0] for group, places in groups.items()}
    return {names[group] or str(group): places for group, places in list(groups.items())[:_MOST_GROUPS]}


def _label_of(answer: Answer, place: int, shown: int) -> str:
    return answer.data.test_labels[len(answer.data.test_labels) - shown + place]


def _draw_forecasts(ax: Axes, answer: Answer, cases: list[int], step: int) -> None:
    predictions = next(iter(answer.test.predictions.values()))
    shown, places = len(predictions), range(len(cases))
    # Of several targets, the first one's forecasts are drawn: each step has all of them.
    targets = len(predictions[0]) // len(next(iter(answer.test.error_by_step.values())))
    column = step * targets
    truth = answer.data.test_truth[-shown:]
    ax.plot(places, [truth[case][column] for case in cases], color="black", linewidth=1.4, label="truth")
    for name in ("no regularization", "candidate"):
        if name in answer.test.predictions:
            values = [answer.test.predictions[name][case][column] for case in cases]
            ax.plot(places, values, color=_COLORS[name], linewidth=1.1, label=_label_of_side(answer, name))
    # A case is known by its first step; the time of this one is the first step of a later case.
    times = [_label_of(answer, case, shown) for case in cases]
    times = [*times[step:], *[""] * step] if answer.data.scales.get("group") is None else _times(times)
    times = [time[:19] for time in times]
    every = -(-len(times) // max(2, min(6, _LINE // (max(map(len, times)) + 3))))
    ax.set_xticks(list(places)[::every], times[::every])
    ax.set_ylabel((answer.data.target if targets == 1 else answer.data.target.split(", ")[0])[:40])


#: So many letters stand beside each other below a whole figure.
_LINE = 96


def _times(labels: list[str]) -> list[str]:
    """Return labels without the name of the group before them."""
    return [label.rpartition(", ")[2] for label in labels]


def _draw_error_by_step(ax: Axes, answer: Answer) -> None:
    for name, errors in answer.test.error_by_step.items():
        color = _COLORS.get(name, GREY)
        label = None if name in ("no regularization", "candidate") else name
        ax.plot(range(1, len(errors) + 1), errors, "o-", color=color, markersize=4, label=label)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="best")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylim(bottom=0)
    ax.set_xlabel("steps ahead")
    ax.set_ylabel(answer.test.metric)
    ax.set_title("error at each step", loc="left", fontsize=9.5)


#: Who predicted, by colour, in all pictures.
_COLORS = {"no regularization": VAL, "candidate": GOOD, "weight decay": TRAIN}


def _label_of_side(answer: Answer, name: str) -> str:
    return "recommended" if name == "candidate" and answer.is_confirmed else name


#: More classes than these are no picture.
_MOST_CLASSES = 20


def confusion(answer: Answer) -> str:
    """Draw which classes the candidate takes for which on the test, or the baseline where there is no candidate."""
    classes, predicted = answer.data.classes, answer.test.predictions
    if not predicted or not 1 < len(classes) <= _MOST_CLASSES:
        return ""
    name = "candidate" if "candidate" in predicted else next(iter(predicted))
    shown = restored(predicted[name])
    counts = confusion_counts(shown, restored(answer.data.test_truth[-len(shown) :]), len(classes))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = max(2.6, 0.9 + 0.34 * len(classes))
    with canvas(1, 1, size) as (figure, (ax,)):
        # Cells are drawn, and not an image: the page forbids itself to load any, even one that it has inside.
        edges = np.arange(len(classes) + 1) - 0.5
        ax.pcolormesh(edges, edges, shares, cmap="Greens", vmin=0, vmax=1, edgecolor="white", linewidth=0.5)
        ax.invert_yaxis()
        for row, column in itertools.product(range(len(classes)), repeat=2):
            if counts[row, column]:
                color = "white" if shares[row, column] > DARK else "#1e293b"
                ax.text(column, row, f"{counts[row, column]}", ha="center", va="center", color=color)
        names = [name[:_CLASS] for name in classes]
        is_tight = sum(len(name) + 2 for name in names) > 2 * LETTERS
        ax.set_xticks(range(len(classes)), names, rotation=60 if is_tight else 0)
        ax.set_yticks(range(len(classes)), names)
        ax.grid(visible=False)
        ax.set_xlabel("predicted")
        ax.set_ylabel("true")
        ax.set_title(_label_of_side(answer, name), loc="left", fontsize=9.5)
        return svg(figure)


#: So many letters of a class's name are shown.
_CLASS = 14
