"""The tables of ``docs/scale.md``, from what was measured."""

from __future__ import annotations

from typing import Any

Line = dict[str, Any]


def tables(lines: list[Line]) -> str:
    """Return all tables that there is something for, as Markdown."""
    of = {part: [line for line in lines if line["part"] == part] for part in ("trainings", "dispatch", "study")}
    simulated = [line for line in lines if line["part"] == "simulate"]
    found = [
        _table(
            "| H | who trains | trainings per second | least to most | processor time per training | start-up |\n"
            "|--:|---|--:|--:|--:|--:|",
            [_training(line) for line in of["trainings"]],
        ),
        _table(
            "| what | takes | of which the deciding process computes |\n|---|--:|--:|",
            [f"| {line['what']} | {_ms(line['seconds'])} | {_ms(line['decider'])} |" for line in of["dispatch"]],
        ),
        _table("| what | seconds | processor time |\n|---|--:|--:|", _study(of["study"])),
        _table(
            "| H | workers | trainings per second | if deciding cost nothing | who decides is busy |\n"
            "|--:|--:|--:|--:|--:|",
            [
                f"| {line['H']} | {line['workers']} | {line['rate']:.0f} | {line['ideal']:.0f} | "
                f"{line['busy_decider']:.0%} |"
                for line in simulated
                if "workers" in line
            ],
        ),
        _table(
            "| search | trainings | steps | pieces | in the screen | in a step of the race | of use | faster by |\n"
            "|---|--:|--:|--:|--:|--:|--:|--:|",
            [
                f"| {line['search']} | {line['trainings']} | {line['steps']} | {line['pieces']} | {line['screen']} | "
                f"{line['race']} | {line['useful']} | {line['speedup']:.1f} |"
                for line in simulated
                if "search" in line
            ],
        ),
    ]
    return "\n\n".join(table for table in found if table)


def _table(header: str, rows: list[str]) -> str:
    return "\n".join([header, *rows]) if rows else ""


def _training(line: Line) -> str:
    slowest, fastest = (line["trainings"] / wall for wall in reversed(line["walls"]))
    return (
        f"| {line['H']} | {line['way']} | {line['trainings'] / line['wall']:.1f} | {slowest:.1f} to {fastest:.1f} | "
        f"{_ms(line['processor'] / line['trainings'])} | {line['start']:.1f} s |"
    )


def _study(lines: list[Line]) -> list[str]:
    named = {
        "open": "open it: look at the file, read all, check each seal",
        "go on": "go on with it: that, read the data, decide each step again, save the model",
        "report": "`lstmreg report`: a process that reads, concludes, draws and writes",
    }
    rows = [
        f"| {named[line['what']]} | {line['seconds']:.1f} | {line['processor']:.1f} |"
        for line in lines
        if line["what"] in named
    ]
    told = [line for line in lines if line["what"] == "tell"]
    return [*rows, *(f"| tell one more trial | {line['seconds']:.3f} | {line['decider']:.3f} |" for line in told)]


def _ms(seconds: float) -> str:
    """Write a time; what is left of a difference that is below zero was not seen in the noise."""
    return f"{1e3 * seconds:.1f} ms" if seconds >= 0 else "lost in the noise"
