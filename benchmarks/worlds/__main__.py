"""Searches in worlds whose truth can be measured; keeps a line of JSON for each search, and prints a table.

    python benchmarks/worlds                 six searches in each world; about two hours of one core
    python benchmarks/worlds b-kernel e-noise --runs 2
    python benchmarks/worlds --table         the table of docs/method.md, from what was kept

All networks are really trained. The truth of what a search says is measured by training the same on its blocks with
other seeds, and judging it on thousands of cases that are drawn anew.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from best_trial import best_trial
from generators import WORLDS, World
from harness import HERE, Results, say
from truth import Truth

from lstmreg import search
from lstmreg.search.decisions import Conclusion, chosen_learning_rate
from lstmreg.search.space import baseline_config, describe
from lstmreg.tasks import read_task

#: A setting that brings less is not worth a knob.
_SMALLEST = math.log1p(-0.02)


def measure(world: World, number: int, options: argparse.Namespace, runs: Path) -> dict[str, Any]:
    """Search once in a world, by the experiment and by the best of so many trials, and say what was true of both."""
    config, data = world.config(runs, number), world.draw(number)
    began = time.process_time()
    evidence = search.run(config, data=data)
    seconds = time.process_time() - began
    conclusion = Conclusion.of(evidence)
    task = read_task(config, data)
    base = baseline_config(evidence.config, chosen_learning_rate(evidence), len(task.features))
    judged = conclusion.judged
    began = time.process_time()
    best, promised = best_trial(base, task, options.trials)
    trial_seconds = time.process_time() - began
    truth = Truth(world, task, base, options.draws, options.seeds)
    line: dict[str, Any] = {
        "world": world.name,
        "number": number,
        "recommends": conclusion.is_confirmed,
        "pick": describe(conclusion.candidate),
        "seconds": round(seconds, 1),
        "trainings": sum(len(records) for records in evidence.records.values()),
        "best_trial": describe(best),
        "best_trial_promised": promised,
        "best_trial_true": truth.effect(best),
        "best_trial_seconds": round(trial_seconds, 1),
    }
    if judged is not None:
        line |= {
            "against": list(judged.against),
            "effect": [judged.effect.mean, judged.effect.low, judged.effect.high],
            "true": float(np.mean([truth.effect(pick.setting) for pick in judged.picks.of_blocks])),
            "pick_true": truth.effect(judged.picks.overall.setting),
        }
    return line


def table(lines: list[dict[str, Any]]) -> str:
    """Return a row of Markdown for each world."""
    rows = [
        "| world | recommends | in vain | if not, hindered by | what, mostly | it says | true | half-width | covers "
        "| best trial promises | and keeps | in vain |",
        "|---|--:|--:|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for world in WORLDS:
        own = [line for line in lines if line["world"] == world.name]
        if own:
            rows.append(_row(world, own))
    return "\n".join([*rows, "", _in_all(lines)])


def _in_all(lines: list[dict[str, Any]]) -> str:
    judged = [line for line in lines if "effect" in line]
    said = [line for line in judged if line["recommends"]]
    return (
        f"In all {len(lines)} searches: {len(said)} recommend something, {sum(map(_is_in_vain, said))} of them in "
        f"vain; {sum(map(_covers, judged))} of {len(judged)} intervals hold the truth; the best trial is in vain in "
        f"{sum(line['best_trial_true'] > _SMALLEST for line in lines)}."
    )


def _row(world: World, lines: list[dict[str, Any]]) -> str:
    judged = [line for line in lines if "effect" in line]
    said = [line for line in judged if line["recommends"]]
    picks = [line["pick"] for line in said or judged]
    mostly = max(picks, key=picks.count) if picks else "nothing"
    widths = [(line["effect"][2] - line["effect"][1]) / 2 for line in judged]
    covered = [_covers(line) for line in judged]
    hindered = Counter(reason for line in judged if not line["recommends"] for reason in line["against"])
    trials_in_vain = sum(line["best_trial_true"] > _SMALLEST for line in lines)
    return (
        f"| {world.name}: {world.about} | {len(said)} of {len(lines)} | {sum(map(_is_in_vain, said))} | "
        f"{', '.join(f'{reason} {count}' for reason, count in hindered.most_common())} | {mostly} | "
        f"{_percent([line['effect'][0] for line in judged])} | {_percent([line['true'] for line in judged])} | "
        f"{np.mean(widths):.2f} | {sum(covered)} of {len(covered)} | "
        f"{_percent([line['best_trial_promised'] for line in lines])} | "
        f"{_percent([line['best_trial_true'] for line in lines])} | {trials_in_vain} |"
    )


def _is_in_vain(line: dict[str, Any]) -> bool:
    return bool(line["pick_true"] > _SMALLEST)


def _covers(line: dict[str, Any]) -> bool:
    _, low, high = line["effect"]
    return bool(low <= line["true"] <= high)


def _percent(logs: list[float]) -> str:
    return f"{math.expm1(float(np.mean(logs))):+.0%}" if logs else ""


def main() -> None:
    """Search where asked."""
    names = [world.name for world in WORLDS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", nargs="*", metavar="WORLD", help=f"of {', '.join(names)}; all if none is named")
    parser.add_argument("--runs", type=int, default=6, help="searches in each world (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=60, help="of the rival's study (default: %(default)s)")
    parser.add_argument("--draws", type=int, default=8, help="data sets to judge the truth on (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=4, help="networks a block for the truth (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the measurements")
    parser.add_argument("--table", action="store_true", help="measure nothing, print what was measured")
    options = parser.parse_args()
    if unknown := set(options.worlds) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    path = options.results / "worlds.jsonl"
    if not options.table:
        _measure(options, path)
    print(table([json.loads(line) for line in path.read_text().splitlines()]))


def _measure(options: argparse.Namespace, path: Path) -> None:
    """Search in turn, one data set of each world after the other, so that what is there at any time is balanced."""
    results = Results(path)
    worlds = [world for world in WORLDS if not options.worlds or world.name in options.worlds]
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.runs):
            for world in worlds:
                line = measure(world, number, options, Path(folder))
                results.add(**line)
                said = "recommends" if line["recommends"] else "judged"
                effect = line.get("effect", [0.0, 0.0, 0.0])
                say(
                    f"{world.name:<12} {number}  {said} {line['pick']}: {effect[0]:+.3f} ({effect[1]:+.3f} to "
                    f"{effect[2]:+.3f}), true {line.get('true', 0.0):+.3f}; best trial {line['best_trial']}: "
                    f"{line['best_trial_promised']:+.3f}, true {line['best_trial_true']:+.3f} "
                    f"({line['seconds']:.0f} s)"
                )


if __name__ == "__main__":
    main()
