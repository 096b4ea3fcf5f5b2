"""The report's pictures, each a function from numbers to an SVG text."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from numpy.typing import NDArray

from lstmreg.config import Scalar
from lstmreg.search.evidence import Effect
from lstmreg.search.method.intervals import Interval
from lstmreg.search.space import short

from .answers import Answer, Curve, Dose, Knob
from .canvas import DARK, GOOD, GREY, LETTERS, NARROW, TITLE, TRAIN, VAL, canvas, clipped, legend, svg
from .tested import confusion, predictions
from .words import ranks, short_floor_name, spoken


def figures(answer: Answer) -> dict[str, str]:
    """Draw every picture of the report, by name."""
    drawn = {
        "losses": losses(answer),
        "doses": dose_response(answer),
        "columns": columns(answer),
        "curves": learning_curves(answer),
        "predictions": predictions(answer),
        "confusion": confusion(answer),
        "course": course(answer),
    }
    return {name: svg for name, svg in drawn.items() if svg}


def learning_curves(answer: Answer) -> str:
    """Draw training and validation loss of the baseline and the candidate, the best epoch, and the gap."""
    named = [("no regularization", answer.baseline_curve)]
    if answer.candidate_curve is not None:
        named.append(("recommended" if answer.is_confirmed else "best candidate", answer.candidate_curve))
    with canvas(1, len(named), 3.0) as (figure, axes):
        for ax, (title, curve) in zip(axes, named, strict=True):
            _draw_curve(ax, curve)
            ax.set_title(f"{title}, block {curve.block} (gap ×{curve.gap:.1f})", loc="left", fontsize=9.5)
        low = min(min(c.train + c.val) for _, c in named)
        high = max(max(c.train + c.val) for _, c in named)
        for ax in axes:
            ax.set_ylim(low / 1.2, high * 1.2)
            ax.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
            ax.yaxis.set_minor_formatter(lambda y, _: f"{y:g}" if f"{y:e}"[0] in "235" else "")
        axes[0].set_ylabel("loss (log scale)")
        legend(figure, axes[0])
        return svg(figure)


def _draw_curve(ax: Axes, curve: Curve) -> None:
    epochs = range(len(curve.val))
    ax.plot(epochs, curve.train, color=TRAIN, label="training (in training mode)")
    ax.plot(epochs, curve.val, color=VAL, label="validation")
    best = curve.best_epoch
    ax.plot([best], [curve.val[best]], "o", color=VAL, markersize=6, label="best epoch, kept")
    ax.axvline(best, color=VAL, linewidth=0.7, linestyle=":")
    ax.set_yscale("log")
    ax.set_xlabel("epoch, counted from 0")


def losses(answer: Answer) -> str:
    """Draw what the judge saw: the loss of each side on every block, and its mean with the interval, on one axis."""
    sides = _sides(answer)
    if not sides:
        return ""
    below = textwrap.fill(f"loss / that of {sides[0].name} (left is better)", _LINE, max_lines=3, placeholder="…")
    with canvas(1, 1, 0.75 + 0.15 * len(below.splitlines()) + 0.42 * len(sides), NARROW) as (figure, (ax,)):
        for row, side in enumerate(reversed(sides)):
            ys = row + np.linspace(-0.16, 0.16, len(side.of_blocks))
            ax.plot(side.of_blocks, ys, "o", color=GREY, markersize=3.5, label="a block" if row == 0 else None)
            if side.effect is not None:
                ends = [1 + side.effect.low, 1 + side.effect.high]
                ax.plot(ends, [row, row], color=side.color, linewidth=2.2, label="interval" if row == 0 else None)
                mean = "mean" if row == 0 else None
                ax.plot([1 + side.effect.mean], [row], "D", color=side.color, markersize=7, label=mean)
        ax.axvline(1, color="black", linewidth=0.8)
        limits = _within(sides)
        if 0 < limits[0] < limits[1] / _FAR:
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
            ax.xaxis.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:e}"[0] in "235" else "")
        ax.set_xlim(*limits)
        ax.set_ylim(-0.5, len(sides) - 0.5)
        ax.set_yticks(range(len(sides)), [_in_two_lines(side.name) for side in reversed(sides)])
        ax.grid(visible=False, axis="y")
        ax.set_xlabel(below)
        legend(figure, ax)
        return svg(figure)


#: So many letters stand beside each other below the losses, and beside them.
_LINE, _BESIDE = 44, 24


def _in_two_lines(name: str) -> str:
    return textwrap.fill(name, _BESIDE, max_lines=2, placeholder="…")


@dataclass(frozen=True)
class _Side:
    """What predicted, its losses on the blocks relative to those of the first side, and the effect that is said."""

    name: str
    of_blocks: list[float]
    effect: Effect | None
    color: str


def _sides(answer: Answer) -> list[_Side]:
    """Return the best prediction without a model if there is one, no regularization, best weight decay, the pick."""
    judged = answer.judged
    if judged is None or "no regularization" not in judged.losses:
        return []
    floor = judged.losses.get("floor") if answer.best_floor is not None else None
    unit = np.maximum(floor if floor is not None else judged.losses["no regularization"], _TINY)
    baseline = None if floor is None else judged.baseline_against_floor
    rival = judged.rival_effect if floor is None else None
    pick = judged.effect if floor is None else judged.against_floor
    rows: list[tuple[str, str, Effect | None, str]] = [
        ("no regularization", "no regularization", baseline, VAL),
        ("weight decay", spoken(judged.rival or {}), rival, TRAIN),
        ("pick", spoken(answer.candidate), pick, GOOD),
    ]
    if answer.candidate == judged.rival:
        del rows[1]  # they are one
    found = []
    if floor is not None and answer.best_floor is not None:
        found.append(_Side(short_floor_name(answer, answer.best_floor), [1.0] * len(floor), None, "black"))
    if answer.best_simple_model is not None:
        rows.insert(0, ("simple model", short_floor_name(answer, answer.best_simple_model), None, "#475569"))
    for key, name, effect, color in rows:
        if key in judged.losses:
            ratios = np.maximum(judged.losses[key], _TINY) / unit
            is_unit = key == "no regularization" and floor is None
            shown = None if is_unit else effect or _over_blocks(ratios, answer)
            found.append(_Side(name, ratios.tolist(), shown, color))
    return found


#: Ratios that lie so far from each other are drawn on a scale of logarithms.
_FAR = 4.0

#: Below this a loss is zero but for rounding.
_TINY = 1e-12


def _over_blocks(ratios: NDArray[np.float64], answer: Answer) -> Effect:
    """Return Student's interval over the blocks, where the answer has none."""
    mean, low, high = Interval.over(np.log(ratios), answer.confidence).relative
    return Effect(mean, low, high, len(ratios))


def _within(sides: list[_Side]) -> tuple[float, float]:
    """Return limits between which means and intervals can be told apart, if need be without a dot."""
    known = [1 + x for s in sides if s.effect is not None for x in (s.effect.low, s.effect.high) if math.isfinite(x)]
    low, high = min([1.0, *known]), max([1.0, *known])
    room = max(high - low, 0.1)
    dots = [x for side in sides for x in side.of_blocks]
    low, high = max(min(low, *dots), low - room), min(max(high, *dots), high + room)
    if low > 0 and high / low > _FAR:
        return low / 1.1, high * 1.1
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def dose_response(answer: Answer) -> str:
    """Draw for each row of the table what each of its values did alone, with bands that hold together."""
    knobs = [k for k in answer.knobs if k.doses]
    if not knobs:
        return ""
    columns = min(3, len(knobs))
    rows = -(-len(knobs) // columns)
    with canvas(rows, columns, 2.1 * rows + 0.5) as (figure, axes):
        for ax, knob in itertools.zip_longest(axes, knobs):
            if knob is None:
                ax.set_visible(False)
            else:
                _draw_doses(ax, knob, answer.smallest_effect)
        for ax in axes[::columns]:
            ax.set_ylabel("change of loss, %")
        marks = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        figure.legend(marks.values(), marks.keys(), loc="outside upper left", ncols=len(marks))
        return svg(figure)


def _draw_doses(ax: Axes, knob: Knob, smallest_effect: float) -> None:
    # Nothing but the baseline is a knob that is off; of another setting each value stands by itself.
    first = 0 if knob.role == "setting" else 1
    places = list(range(first, first + len(knob.doses)))
    off = [] if knob.role == "setting" else [0.0]
    limits = _limits(knob.doses)
    for block in range(max(len(d.by_block) for d in knob.doses)):
        of_block = [100 * d.by_block[block] if block < len(d.by_block) else math.nan for d in knob.doses]
        xs, ys = _up_to_limits(range(first + len(places)), [*off, *of_block], limits)
        inside = np.where((ys >= limits[0]) & (ys <= limits[1]), ys, np.nan)
        ax.plot(xs, inside, color=GREY, linewidth=0.6, alpha=0.55, label="a block")
    color = _VERDICT_COLORS.get(knob.verdict, "#334155")
    ends = [[100 * getattr(d.effect, end) for d in knob.doses] for end in ("low", "high")]
    low, high = ([*off, *(float(np.clip(x, -1e4, 1e4)) for x in values)] for values in ends)
    of_ends = [_up_to_limits(range(first + len(places)), end, limits) for end in (low, high)]
    xs = np.union1d(of_ends[0][0], of_ends[1][0])
    below, above = (np.clip(np.interp(xs, *end), *limits) for end in of_ends)
    ax.fill_between(xs, below, above, color=color, alpha=0.18, linewidth=0, label="band")
    means = [100 * d.effect.mean for d in knob.doses]
    xs, ys = _up_to_limits(range(first + len(places)), [*off, *means], limits)
    ax.plot(xs, np.where((ys >= limits[0]) & (ys <= limits[1]), ys, np.nan), "-", color=color, linewidth=1.4)
    for is_grown, mark, label in ((False, "o", "a value"), (True, "D", "a value that the ladder grew to")):
        chosen = [n for n, d in enumerate(knob.doses) if d.is_grown == is_grown]
        if chosen:
            face = "white" if is_grown else color
            ax.plot(
                [places[n] for n in chosen],
                [means[n] for n in chosen],
                mark,
                color=color,
                markerfacecolor=face,
                markersize=5 if is_grown else 4,
                label=label,
            )
    ax.axhline(0, color="black", linewidth=0.8)
    ax.axhline(
        -100 * smallest_effect, color="black", linewidth=0.7, linestyle=":", label="smallest effect worth having"
    )
    ax.set_ylim(*limits)
    labels = [*(["off"] if off else []), *(_as_label(d.value) for d in knob.doses)]
    is_tight = sum(len(label) + 2 for label in labels) > LETTERS
    ax.set_xticks(range(first + len(places)), labels, rotation=60 if is_tight else 0)
    ax.set_title(f"{knob.name}: {knob.verdict}"[:TITLE], loc="left", fontsize=9)


def _up_to_limits(
    places: Sequence[int], values: Sequence[float], limits: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a line with further points where it crosses limits, so that it can end there in every viewer."""
    xs, ys = np.asarray(places, dtype=np.float64), np.asarray(values, dtype=np.float64)
    crossings = []
    for limit in limits:
        (begins,) = np.nonzero((ys[:-1] - limit) * (ys[1:] - limit) < 0)
        shares = (limit - ys[begins]) / (ys[begins + 1] - ys[begins])
        crossings += [(xs[k] + share * (xs[k + 1] - xs[k]), limit) for k, share in zip(begins, shares, strict=True)]
    points = sorted([*zip(xs.tolist(), ys.tolist(), strict=True), *crossings], key=lambda point: point[0])
    found = np.array(points, dtype=np.float64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _limits(doses: list[Dose]) -> tuple[float, float]:
    """Return limits in percent between which what matters can be told; a value that harms much may leave them."""
    means = [100 * d.effect.mean for d in doses if math.isfinite(d.effect.mean)]
    lows = [100 * d.effect.low for d in doses if math.isfinite(d.effect.low)]
    highs = [100 * d.effect.high for d in doses if math.isfinite(d.effect.high)]
    low, high = min([-5.0, *lows]), max([5.0, *(h for h in highs if h <= _HARM), *(m for m in means if m <= _HARM)])
    return max(low, -100.0) * 1.08, min(high, _HARM) * 1.15


#: Above so many percent a picture need not tell harm from harm.
_HARM = 60.0

_VERDICT_COLORS = {"use": GOOD, "harms": "#b91c1c"}


def columns(answer: Answer) -> str:
    """Draw to which columns the networks listen without a knob and along its values: how much, and which place.

    Where all networks have switched a column off, its cell is empty but for a 0.
    """
    found = answer.columns
    if found is None:
        return ""
    shown = list(range(len(found.names)))
    if len(shown) > _MOST_COLUMNS:
        shown = [*shown[: _MOST_COLUMNS // 2], *shown[-(_MOST_COLUMNS // 2) :]]
    weights = np.array(list(found.weights.values())).T
    places = np.array([ranks(of_value) for of_value in found.weights.values()]).T
    is_off = np.array([found.zero[value] for value in found.weights]).T == 1
    places[is_off] = 0
    with canvas(1, 1, 0.9 + 0.21 * len(shown), NARROW) as (figure, (ax,)):
        across, down = (np.arange(count + 1) - 0.5 for count in (len(found.weights), len(shown)))
        drawn = np.ma.masked_where(is_off, weights)[shown]
        ax.pcolormesh(across, down, drawn, cmap="Greens", vmin=0, vmax=1, edgecolor="white", linewidth=0.5)
        ax.invert_yaxis()
        for (row, column), place in np.ndenumerate(places[shown]):
            color = "white" if weights[shown][row, column] > DARK else "#1e293b"
            ax.text(column, row, f"{place}", ha="center", va="center", fontsize=8, color=color)
        ax.set_xticks(range(len(found.weights)), [_as_label(_number(value)) for value in found.weights])
        ax.set_yticks(range(len(shown)), [clipped(found.names[k]) for k in shown], fontsize=8)
        ax.grid(visible=False)
        ax.set_xlabel(found.path.rpartition(".")[2])
        if any(found.off_on):
            marks = [(row, found.off_on[k]) for row, k in enumerate(shown) if found.off_on[k]]
            right = ax.secondary_yaxis("right")
            right.set_yticks([row for row, _ in marks], [f"{count}/{found.blocks}" for _, count in marks], fontsize=8)
            right.set_ylabel("switched off on so many blocks", fontsize=8)
        return svg(figure)


#: So many columns are drawn, half of them from either end.
_MOST_COLUMNS = 40


def _number(text: str) -> Scalar:
    try:
        return float(text)
    except ValueError:
        return text


def _as_label(value: Scalar) -> str:
    """Write a value as short as can be: 1e-4."""
    if isinstance(value, float) and 0 < abs(value) < 0.01:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return short(value)


#: The parts of the experiment, which of the answer's counts belong to each, and what each is for.
_PARTS = (
    ("learning rate", ("learning rate",), "which one\nsuits none"),
    ("screen", ("screen",), "every value,\none seed a block"),
    ("grow", ("grow",), "on, where an\nend is best"),
    ("race and\ncombinations", ("race", "combine", "propose"), "seeds where\nthey may decide"),
    ("judge", ("judge",), "the picks, with\nfresh seeds"),
    ("test", ("test",), "once"),
)

#: What follows where it was wanted.
_EXPLAINING = ("explain", ("explain",), "no column, no\nearly stopping")


def course(answer: Answer) -> str:
    """Draw how the answer was found: the parts of the experiment in their order, with their trainings."""
    parts = [*_PARTS, *([_EXPLAINING] if "explain" in answer.course else [])]
    with canvas(1, 1, 1.75) as (figure, (ax,)):
        ax.set_axis_off()
        ax.set_xlim(0, len(parts))
        ax.set_ylim(0, 1)
        for place, (title, names, purpose) in enumerate(parts):
            count, failed = (sum(answer.course.get(name, [0, 0])[k] for name in names) for k in (0, 1))
            color = GOOD if count else GREY
            box = FancyBboxPatch(
                (place + 0.02, 0.05),
                0.88,
                0.9,
                boxstyle="round,pad=0,rounding_size=0.06",
                mutation_aspect=0.6,
                facecolor="#f0fdfa" if count else "white",
                edgecolor=color,
                linestyle="-" if count else "--",
            )
            ax.add_patch(box)
            ax.text(place + 0.46, 0.8, title, ha="center", va="center", fontsize=9, weight="bold", color=color)
            said = f"{count:,} training{'s' if count != 1 else ''}" if count else "not needed"
            said += f"\n{failed} failed" if failed else ""
            ax.text(place + 0.46, 0.51, said, ha="center", va="center", fontsize=9)
            ax.text(place + 0.46, 0.21, purpose, ha="center", va="center", fontsize=8, color="#64748b")
            if place:
                arrow = {"arrowstyle": "->", "color": GREY, "linewidth": 1.4}
                ax.annotate("", xy=(place + 0.02, 0.5), xytext=(place - 0.1, 0.5), arrowprops=arrow)
        return svg(figure)
