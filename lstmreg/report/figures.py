"""The report's pictures, each a function from numbers to an SVG text."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lstmreg.config import Scalar
from lstmreg.search.space import short
from lstmreg.tasks import task_named

from .numbers import Answer, Curve, Knob

_TRAIN, _VAL, _GREY, _GOOD = "#8a9ba8", "#c2410c", "#94a3b8", "#0f766e"

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

_WIDTH = 8.2


def figures(answer: Answer) -> dict[str, str]:
    """Draw every picture of the report, by name."""
    drawn = {
        "curves": learning_curves(answer),
        "effects": effects_alone(answer),
        "doses": dose_response(answer),
        "history": search_history(answer),
        "predictions": predictions(answer),
    }
    return {name: svg for name, svg in drawn.items() if svg}


def learning_curves(answer: Answer) -> str:
    """Draw training and validation loss of the baseline and the candidate, the best epoch, and the gap."""
    named = [("no regularization", answer.baseline_curve)]
    if answer.candidate_curve is not None:
        named.append(("best setting" if answer.is_confirmed else "best candidate", answer.candidate_curve))
    with canvas(1, len(named), 3.0) as (figure, axes):
        for ax, (title, curve) in zip(axes, named, strict=True):
            _draw_curve(ax, curve)
            ax.set_title(f"{title} (gap ×{curve.gap:.1f})", loc="left", fontsize=9.5)
        low = min(min(c.train + c.val) for _, c in named)
        high = max(max(c.train + c.val) for _, c in named)
        for ax in axes:
            ax.set_ylim(low / 1.2, high * 1.2)
            ax.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
            ax.yaxis.set_minor_formatter(lambda y, _: f"{y:g}" if f"{y:e}"[0] in "235" else "")
        axes[0].set_ylabel("loss (log scale)")
        legend(figure, axes[0])
        return _svg(figure)


def _draw_curve(ax: Axes, curve: Curve) -> None:
    epochs = range(len(curve.val))
    ax.plot(epochs, curve.train, color=_TRAIN, label="training (in training mode)")
    ax.plot(epochs, curve.val, color=_VAL, label="validation")
    best = curve.best_epoch
    ax.plot([best], [curve.val[best]], "o", color=_VAL, markersize=6, label="best epoch, kept")
    ax.axvline(best, color=_VAL, linewidth=0.7, linestyle=":")
    ax.set_yscale("log")
    ax.set_xlabel("epoch, counted from 0")


def effects_alone(answer: Answer) -> str:
    """Draw each knob's effect alone with its interval."""
    knobs = [k for k in answer.knobs if k.alone is not None and math.isfinite(k.alone.high)]
    if not knobs:
        return ""
    worth = answer.smallest_effect
    with canvas(1, 1, 0.8 + 0.36 * len(knobs)) as (figure, (ax,)):
        for row, knob in enumerate(reversed(knobs)):
            assert knob.alone is not None
            color = _GOOD if knob.verdict == "use" else "#475569"
            ax.plot([100 * knob.alone.low, 100 * knob.alone.high], [row, row], color=color, linewidth=1.6)
            ax.plot([100 * knob.alone.mean], [row], "o", color=color)
        ax.axvline(0, color="black", linewidth=0.8)
        ax.axvspan(-100 * worth, 100 * worth, color=_GREY, alpha=0.18, linewidth=0)
        widest = max(abs(x) for k in knobs if k.alone for x in (k.alone.low, k.alone.mean))
        ax.set_xlim(right=min(100 * max(k.alone.high for k in knobs if k.alone), 250 * widest) * 1.05)
        ax.set_yticks(range(len(knobs)), [k.name for k in reversed(knobs)])
        ax.set_xlabel("change of the validation loss, % (left is better; grey: too small to matter)")
        return _svg(figure)


def dose_response(answer: Answer) -> str:
    """Draw for each knob what each of its values did alone, on average and on each split."""
    knobs = [k for k in answer.knobs if k.doses]
    if not knobs:
        return ""
    columns = min(3, len(knobs))
    rows = -(-len(knobs) // columns)
    with canvas(rows, columns, 2.1 * rows + 0.3) as (figure, axes):
        for ax, knob in itertools.zip_longest(axes, knobs):
            if knob is None:
                ax.set_visible(False)
            else:
                _draw_doses(ax, knob)
        for ax in axes[::columns]:
            ax.set_ylabel("change of loss, %")
        return _svg(figure)


def _draw_doses(ax: Axes, knob: Knob) -> None:
    positions = range(1, len(knob.doses) + 1)
    for split in range(max(len(d.per_split) for d in knob.doses)):
        ys = [100 * d.per_split[split] if split < len(d.per_split) else math.nan for d in knob.doses]
        ax.plot([0, *positions], [0, *ys], color=_GREY, linewidth=0.7, alpha=0.8)
    color = _GOOD if knob.verdict == "use" else "#334155"
    ax.plot([0, *positions], [0, *(100 * d.effect for d in knob.doses)], "o-", color=color, markersize=4)
    ax.axhline(0, color="black", linewidth=0.8)
    labels = ["off", *(_as_label(d.value) for d in knob.doses)]
    is_tight = sum(len(label) + 2 for label in labels) > _LETTERS
    ax.set_xticks([0, *positions], labels, rotation=60 if is_tight else 0)
    ax.set_title(knob.name, loc="left", fontsize=9.5)


#: So many letters stand beside each other below a panel of the doses.
_LETTERS = 38


def _as_label(value: Scalar) -> str:
    """Write a value as short as can be: 1e-4."""
    if isinstance(value, float) and 0 < abs(value) < 0.01:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return short(value)


def search_history(answer: Answer) -> str:
    """Draw the sampled settings in their order, and the best so far."""
    values = answer.history
    if not any(math.isfinite(v) for v in values):
        return ""
    best, so_far = [], math.inf
    for value in values:
        so_far = min(so_far, value) if math.isfinite(value) else so_far
        best.append(so_far if math.isfinite(so_far) else math.nan)
    with canvas(1, 1, 2.4) as (figure, (ax,)):
        ax.plot(range(1, len(values) + 1), values, "o", color=_GREY, markersize=4, label="a setting, on every split")
        ax.step(range(1, len(values) + 1), best, where="post", color=_GOOD, label="best so far")
        ax.axhline(1, color="black", linewidth=0.8)
        ax.set_ylim(top=min(max(v for v in values if math.isfinite(v)) * 1.05, 3.0))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("proposal")
        ax.set_ylabel("loss / baseline's")
        legend(figure, ax)
        return _svg(figure)


def predictions(answer: Answer) -> str:
    """Draw truth and forecasts on the test rows at the first and the last step ahead, and the error at each step."""
    if not answer.test.predictions or not task_named(answer.task).columns_are:
        return ""
    horizon = len(next(iter(answer.test.error_by_step.values())))
    steps = sorted({0, horizon - 1})
    panels = len(steps) + (horizon > 1)
    with canvas(panels, 1, 2.2 * panels + 0.4) as (figure, axes):
        for ax, step in zip(axes, steps, strict=False):
            _draw_forecasts(ax, answer, step)
            if horizon > 1:
                ax.set_title(f"{step + 1} step{'s' if step else ''} ahead", loc="left", fontsize=9.5)
        if horizon > 1:
            _draw_error_by_step(axes[-1], answer)
        legend(figure, axes[0])
        return _svg(figure)


def _draw_forecasts(ax: Axes, answer: Answer, step: int) -> None:
    predictions = next(iter(answer.test.predictions.values()))
    shown = len(predictions)
    places = range(shown)
    # Of several targets, the first one's forecasts are drawn: each step has all of them.
    targets = len(predictions[0]) // len(next(iter(answer.test.error_by_step.values())))
    column = step * targets
    truth = [steps[column] for steps in answer.data.test_truth[-shown:]]
    ax.plot(places, truth, color="black", linewidth=1.4, label="truth")
    for name, color in _forecast_colors(answer):
        values = [steps[column] for steps in answer.test.predictions[name]]
        ax.plot(places, values, color=color, linewidth=1.1, label=_forecast_label(answer, name))
    every = max(1, shown // 6)
    # A case is known by its first step; the time of this one is the first step of a later case.
    times = [*answer.data.test_labels[len(answer.data.test_labels) - shown + step :], *[""] * step]
    ax.set_xticks(list(places)[::every], [t[:19] for t in times[::every]])
    ax.set_ylabel((answer.data.target if targets == 1 else answer.data.target.split(", ")[0])[:40])


def _draw_error_by_step(ax: Axes, answer: Answer) -> None:
    for name, color in _forecast_colors(answer):
        errors = answer.test.error_by_step[name]
        ax.plot(range(1, len(errors) + 1), errors, "o-", color=color, markersize=4)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylim(bottom=0)
    ax.set_xlabel("steps ahead")
    ax.set_ylabel(answer.test.metric)
    ax.set_title("error at each step", loc="left", fontsize=9.5)


def _forecast_colors(answer: Answer) -> Iterator[tuple[str, str]]:
    return zip(answer.test.predictions, (_TRAIN, _GOOD), strict=False)


def _forecast_label(answer: Answer, name: str) -> str:
    return "best setting" if name == "candidate" and answer.is_confirmed else name


def legend(figure: Figure, ax: Axes) -> None:
    """Put the legend above everything, where it covers no curve."""
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=len(labels))


@contextmanager
def canvas(rows: int, columns: int, height: float) -> Iterator[tuple[Figure, list[Axes]]]:
    """Make a figure without pyplot's global state."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        yield figure, list(axes.flat)


def _svg(figure: Figure) -> str:
    """Render to an ``<svg>`` element that scales with the page."""
    text = image(figure, "svg").decode()
    return text[text.index("<svg") :]


def image(figure: Figure, kind: str) -> bytes:
    """Render to a file of a kind, ``svg`` or ``png``; the same picture gives the same bytes."""
    buffer = io.BytesIO()
    dated = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    figure.savefig(buffer, format=kind, metadata=dated, dpi=150)
    return buffer.getvalue()
