"""Results of a study that was never made, with effects that are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.evidence import (
    choosing,
    results,
    running,
    settings,
)

BLOCKS = 8

Effect = Callable[[str, dict[str, float]], float]


def made_up(
    effect: Effect, subjects: tuple[str, ...], noise: float = 0.02, seed: int = 0, **condition: int
) -> list[results.Line]:
    """Return lines of a condition of sets, the first unless it is said, on which every setting has a known effect."""
    generator = np.random.default_rng(seed)
    lines: list[results.Line] = []
    tasks = {"digits": "classify", "watch": "classify", "tecator": "regress"}
    for subject in subjects:
        of = {"set": subject, "cases": None, "hidden": 16, "layers": 1, "seed": 0} | condition
        head = {
            "rate": 0.01,
            "task": tasks.get(subject, "forecast"),
            "columns": 1 if subject in ("sunspots", "tecator", "arrowhead") else 3,
            "trained_on": [of["cases"] or 200] * BLOCKS,
            "judged_on": [50] * BLOCKS,
            "floors": {"mean": [0.0] * BLOCKS, "ridge": [-0.5] * BLOCKS},
            "simple_models": ["ridge"],
            "trainings": 10,
        }
        level = generator.normal(-0.2, 0.3, BLOCKS)
        rates = [({running.RATE: 0.01}, 0.0), ({running.RATE: 0.003}, 0.1)]
        singles = [(s, effect(subject, settings.turned(s))) for s in settings.singles()]
        own = [
            of
            | {
                "setting": setting,
                "blocks": list(range(BLOCKS)),
                "loss": (level + true + (generator.normal(0, noise, BLOCKS) if true else 0.0)).tolist(),
                "stopping": level.tolist(),
                "failures": 0,
            }
            for setting, true in [*rates, *singles]
        ]
        base = {"blocks": list(range(BLOCKS)), "loss": own[0]["loss"]}
        for setting, blocks in choosing.pairs(choosing.Alone(base, own[2:])):
            true = effect(subject, settings.turned(setting))
            own.append(
                of
                | {"setting": setting, "blocks": list(blocks), "loss": (level + true)[list(blocks)].tolist()}
                | {"failures": 0}
            )
        lines += [of | head, *own]
    return lines


SUBJECTS = ("digits", "watch", "tecator", "walmart", "traffic", "bike", "sunspots")


def known(subject: str, turned: dict[str, float]) -> float:
    """Kernel L1 of 0.03 is worth 20 % in the log on all but the sunspots, every other value and knob harms by 5 %."""
    return sum(
        -0.2 if (path, value) == ("model.kernel_l1", 0.03) and subject != "sunspots" else 0.05
        for path, value in turned.items()
    )


def with_together(
    lines: list[results.Line], effect: Effect, tied: float, chosen: dict[str, float]
) -> list[results.Line]:
    """Return lines with the second part: everything at once does the sum of its effects, tied masks something more."""
    heads = [line for line in lines if "setting" not in line]
    for head in heads:
        subject = head["set"]
        of_subject = [line for line in lines if line["set"] == subject]
        (level,) = [line["loss"] for line in of_subject if line.get("setting") == {running.RATE: 0.01}]
        of = {name: head[name] for name in ("set", "cases", "hidden", "layers", "seed")} | {"part": "together"}
        halves = [[*range(1, BLOCKS, 2)], [*range(0, BLOCKS, 2)]]
        own = [of | {"rate": 0.01, "together": [[chosen, half] for half in halves], "trainings": 7}]
        jobs = [(setting, [*range(BLOCKS)]) for setting in settings.untried()]
        for setting, blocks in [*jobs, *((chosen, half) for half in halves)]:
            true = sum(effect(subject, {path: value}) for path, value in settings.turned(setting).items())
            true += tied if settings.PER_GATE in setting else 0.0
            losses = [level[block] + true for block in blocks]
            own.append(of | {"setting": setting, "blocks": list(blocks), "loss": losses, "failures": 0})
        lines = [*lines, *own]
    return lines
