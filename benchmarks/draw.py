"""Reads the measurements; prints the tables of docs/, and draws ``speed.svg`` and ``sweep.svg`` beside them."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

Line = dict[str, Any]
Size = tuple[int, int, int, int]

OURS = "lstmreg six"

#: Column by rival, of ratios to nn.LSTM.
COLUMNS = {
    "lstmreg": "no knob",
    "lstmreg tied mask": "one tied mask",
    "lstmreg six tied": "all six, tied masks",
    "lstmreg six": "**all six**",
    "LSTMCell loop": "`LSTMCell` loop, one tied mask",
    "plain loop": "plain loop, all six",
}
KERAS = {"keras torch": "Keras, torch", "keras jax": "Keras, JAX", "keras tensorflow": "Keras, TensorFlow"}

#: What speed.svg shows of each rival: name, colour, marker.
MARKS = {
    "lstmreg": ("lstmreg, no knob", "#94a3b8", "o"),
    "lstmreg six": ("lstmreg, all six knobs", "#c2410c", "o"),
    "LSTMCell loop": ("LSTMCell loop, one mask", "#64748b", "|"),
    "plain loop": ("plain loop, all six", "#1e293b", "s"),
    "keras jax": ("Keras on JAX, all six", "#0f766e", "^"),
    "keras tensorflow": ("Keras on TensorFlow, all six", "#0f766e", "D"),
    "keras torch": ("Keras on torch, all six", "#0f766e", "v"),
}

STYLE = {
    "font.size": 9.0,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "lstmreg",  # the same numbers give the same file
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    folder = parser.parse_args().results
    speed, keras, memory, sweep = (read(folder / f"{name}.jsonl") for name in ("speed", "keras", "memory", "sweep"))
    halves = autocast_table(read(folder / "autocast.jsonl"))
    for paragraph in [*tables(speed, keras, memory), *halves, *population_table(read(folder / "population.jsonl"))]:
        print(paragraph, end="\n\n")
    for paragraph in steps_table(read(folder / "population_steps.jsonl")):
        print(paragraph, end="\n\n")
    with matplotlib.rc_context(STYLE):
        if speed:
            save(draw_speed(speed, keras), folder / "speed.svg")
        if sweep:
            save(draw_sweep(sweep), folder / "sweep.svg")


def read(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def by_size(lines: Iterable[Line]) -> dict[Size, dict[str, Line]]:
    """Group measurements by size and rival, in their own order."""
    grouped: dict[Size, dict[str, Line]] = {}
    for line in lines:
        grouped.setdefault(tuple(line["size"].values()), {})[line["rival"]] = line
    return grouped


def about(lines: list[Line]) -> str:
    """Say what the measurements were taken on; where they differ, all that they were taken on."""

    def said(key: str) -> str:
        return ", ".join(dict.fromkeys(str(line[key]) for line in lines))

    versions = {name: version for line in lines for name, version in line.get("versions", {}).items()}
    others = "".join(f", {name} {version}" for name, version in versions.items())
    busy = max(line["busy"] for line in lines)
    return (
        f"{said('cpu')}, {said('cores')} cores, {said('threads')} threads, Python {said('python')}, "
        f"torch {said('torch')}{others}, lstmreg {said('lstmreg')} ({said('commit')}); "
        "float32, forward + backward, medians." + (f" OTHER PROGRAMS TOOK UP TO {busy:.0%}." if busy > 0.1 else "")
    )


# ---------------------------------------------------------------------- tables


def tables(speed: list[Line], keras: list[Line], memory: list[Line]) -> Iterator[str]:
    """Write in Markdown what was measured, and on what."""
    grids = {grid: by_size(s for s in speed if s["grid"] == grid) for grid in ("standard", "crooked", "compiled")}
    beside = by_size(keras)
    if grids["standard"]:
        header = ["B, T, D, H", "`nn.LSTM`, no knob", *COLUMNS.values(), *KERAS.values()]
        rows = [
            [*speed_cells(size, rivals), *(times(beside.get(size, {}), name, OURS) for name in KERAS)]
            for size, rivals in grids["standard"].items()
        ]
        yield markdown(header, rows)
        yield "Times `nn.LSTM`'s; Keras, with all six, times lstmreg's with all six. " + about([*speed, *keras])
    if grids["crooked"]:
        header = ["B, T, D, H", "`nn.LSTM`, no knob", *COLUMNS.values()]
        yield markdown(header, [speed_cells(size, rivals) for size, rivals in grids["crooked"].items()])
    for size, rivals in grids["compiled"].items():
        yield (
            f"The plain loop under `torch.compile`, at {words(size)}: {times(rivals, 'compiled loop')} "
            f"(not compiled {times(rivals, 'plain loop')}; lstmreg, all six, {times(rivals, OURS)})."
        )
    if memory:
        needed = ", ".join(f"{times(rivals, OURS)} at {words(size)}" for size, rivals in by_size(memory).items())
        yield f"Peak memory of training with all six, beyond weights and input, times `nn.LSTM`'s with none: {needed}."


#: Column by rival, of ratios to nn.LSTM under autocast.
SHORT_COLUMNS = {
    "lstmreg": "no knob",
    "lstmreg tied mask": "one tied mask",
    "lstmreg six": "**all six**",
    "nn.LSTM in float32": "`nn.LSTM` in float32",
    "lstmreg six in float32": "all six in float32",
}


def autocast_table(lines: list[Line]) -> Iterator[str]:
    """Write what autocast to bfloat16 costs, and what it saves."""
    if lines:
        header = ["B, T, D, H", "`nn.LSTM` under autocast", *SHORT_COLUMNS.values()]
        rows = [
            [words(size), f"{rivals['nn.LSTM']['median'] * 1e3:.3g} ms", *(times(rivals, n) for n in SHORT_COLUMNS)]
            for size, rivals in by_size(lines).items()
        ]
        yield markdown(header, rows)
        yield "Times `nn.LSTM`'s under autocast; processor time. " + about(lines).replace(
            "float32, forward", "bfloat16 under autocast, forward"
        )


#: What was trained, as the table calls it; the rest is in population.py.
TRIALS = {"Windows": "T = 24, B = 32", "Steps": "T = 1, B = 4, stateful"}


def population_table(lines: list[Line]) -> Iterator[str]:
    """Write how many trainings a population finishes in a second, and how many are finished singly."""
    grouped: dict[tuple[str, int, str], dict[str, Line]] = {}
    for line in lines:
        grouped.setdefault((line["trials"], line["H"], line["knobs"]), {})[line["way"]] = line
    if grouped:
        header = ["trainings", "knobs on", "a process per core", "a process, all cores", "K", "**population**", "times"]
        rows = []
        for (trials, hidden, knobs), ways in grouped.items():
            rates = {way: f"{line['rate']:.3g}/s" for way, line in ways.items()}
            together = ways["population"]
            rows.append(
                [f"H = {hidden}, {TRIALS[trials]}", knobs, rates["processes"], rates["threads"], str(together["K"]),
                 rates["population"], f"**{together['ratio']:.3g}×**"]
            )  # fmt: skip
        yield markdown(header, rows)
        yield "Trainings finished in a second, early stopping included. " + about(lines).replace(
            "forward + backward, ", ""
        )


def steps_table(lines: list[Line]) -> Iterator[str]:
    """Write what a population's training step costs a model, beside its arithmetic and beside JAX."""
    grouped: dict[tuple[int, int], dict[str, Line]] = {}
    for line in lines:
        grouped.setdefault((line["D"], line["H"]), {})[line["rival"]] = line
    if grouped:
        header = ["D, H", "a step of a model", "times its arithmetic", "its evaluation", "`jax.vmap`, times as long"]
        rows = []
        for (features, hidden), rivals in grouped.items():
            ours, jax = rivals["population"], rivals.get("jax.vmap")
            rows.append(
                [f"{features}, {hidden}", f"{ours['microseconds']:.0f} µs", f"{ours['of_arithmetic']:.2f}×",
                 f"{rivals['evaluation']['microseconds']:.0f} µs", f"{jax['of_population']:.1f}×" if jax else "–"]
            )  # fmt: skip
        yield markdown(header, rows)
        first = lines[0]
        yield f"All six, K = {first['K']}, B = {first['B']}, T = {first['T']}; processor time. " + about(lines).replace(
            "forward + backward, medians", "forward, backward and Adam, medians"
        )


def speed_cells(size: Size, rivals: dict[str, Line]) -> list[str]:
    ms = rivals["nn.LSTM"]["median"] * 1e3
    return [words(size), f"{ms:.3g} ms" if ms < 999.5 else f"{ms:.0f} ms", *(times(rivals, name) for name in COLUMNS)]


def words(size: Size) -> str:
    return ", ".join(map(str, size))


def times(rivals: dict[str, Line], name: str, base: str = "nn.LSTM") -> str:
    """Write how many times as much one rival takes as another."""
    if name not in rivals:
        return "–"
    ratio = rivals[name]["ratio"] / rivals[base]["ratio"]
    return f"{ratio:.2f}×" if ratio < 9.95 else f"{ratio:.0f}×"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] + ["--:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


# ---------------------------------------------------------------------- figures


def draw_speed(speed: list[Line], keras: list[Line]) -> Figure:
    """Draw the ratio of each rival to nn.LSTM, a row for each size, the standard ones apart from the crooked."""
    rows = by_size(line for line in speed if line["grid"] != "compiled")
    for size, rivals in by_size(keras).items():
        rows.setdefault(size, {}).update({name: line for name, line in rivals.items() if name in KERAS})
    standard = by_size([*(line for line in speed if line["grid"] == "standard"), *keras])
    places = [k if size in standard else k + 0.7 for k, size in enumerate(rows)]

    figure = Figure(figsize=(8.2, 1.6 + 0.27 * len(rows)), layout="constrained")
    ax = figure.subplots()
    for name, (label, colour, marker) in MARKS.items():
        points = [(rivals[name]["ratio"], y) for y, rivals in zip(places, rows.values(), strict=True) if name in rivals]
        if points:
            big = {"markersize": 8, "zorder": 3} if name == OURS else {"markersize": 5.5}
            ax.plot(*zip(*points, strict=True), marker, color=colour, markeredgewidth=1.6, label=label, **big)
    ax.axvline(1, color="#475569", linewidth=1)
    above = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    ax.annotate("nn.LSTM, no knob", (1, 1), (0, 3), ha="center", color="#475569", fontsize=8, **above)
    ax.set_yticks(places, [words(size) for size in rows])
    ax.set_ylabel("B, T, D, H")
    ax.tick_params(axis="y", length=0)
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}×")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("time of forward + backward, relative to nn.LSTM (log scale; left is faster)")
    figure.legend(loc="outside upper center", ncols=4, fontsize=8)
    sign(figure, [*speed, *keras])
    return figure


def draw_sweep(sweep: list[Line]) -> Figure:
    """Draw time over each axis, a line for each rival."""
    axes = list(dict.fromkeys(line["axis"] for line in sweep))
    titles = {"T": "T, steps", "B": "B, sequences", "H": "H, hidden units"}
    figure = Figure(figsize=(8.2, 3.2), layout="constrained")
    plots = figure.subplots(1, len(axes), sharey=True, squeeze=False)[0]
    for ax, axis in zip(plots, axes, strict=True):
        draw_axis(ax, [line for line in sweep if line["axis"] == axis])
        ax.set_xlabel(titles.get(axis, axis))
    plots[0].set_ylabel("ms, forward + backward")
    figure.legend(*plots[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=8)
    sign(figure, [line for line in sweep if line["axis"] != "threads"])
    return figure


def draw_axis(ax: Axes, lines: list[Line]) -> None:
    marks = {"nn.LSTM": ("nn.LSTM, no knob", "#94a3b8", "o"), **MARKS}
    for name in dict.fromkeys(line["rival"] for line in lines):
        label, colour, marker = marks[name]
        points = [(line["value"], line["median"] * 1e3) for line in lines if line["rival"] == name]
        ax.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=4, label=label)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.set_xticks(sorted({line["value"] for line in lines}))
    ax.tick_params(labelsize=8)


def sign(figure: Figure, lines: list[Line]) -> None:
    """Say at the foot of a figure what it was measured on."""
    figure.supxlabel(textwrap.fill(about(lines), 140), fontsize=7, color="#64748b")


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
