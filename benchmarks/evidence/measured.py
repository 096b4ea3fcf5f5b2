"""What was measured under each condition, out of the lines of the results."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from . import settings
from .conditions import Condition, is_first
from .results import Line
from .settings import Setting
from .statistics import Array, Chosen, Estimate, choose

#: A training that failed counts as a loss twice that without a knob, at least.
_LEAST_HARM = math.log(2.0)


def _key(setting: Setting) -> str:
    return json.dumps(setting, sort_keys=True)


@dataclass(frozen=True)
class Measured:
    """All seeds of a condition.

    Attributes:
        condition: Which.
        task: What is asked.
        rate: The learning rate that no knob has chosen.
        seeds: How many networks each setting has on each block.
        trained_on: How many cases train on each block.
        judged_on: How many are judged there.
        columns: Of the input.
        baseline: Log loss without a knob on each block.
        floors: Of each prediction without a network.
        simple_models: Those of them that learn.
        stopping: Log loss without a knob on the blocks that end the trainings.
        changes: Log ratio of each setting to no knob, on each block; NaN on blocks where it was not tried.
        chosen_together: All knobs at once, with the blocks that had no say in choosing their values; empty where they
            were not trained.
        trainings: How many there were.
        failures: How many of them failed.
    """

    condition: Condition
    task: str
    rate: float
    seeds: int
    trained_on: tuple[int, ...]
    judged_on: tuple[int, ...]
    columns: int
    baseline: Array
    floors: dict[str, Array]
    simple_models: tuple[str, ...]
    stopping: Array
    changes: dict[str, Array]
    chosen_together: tuple[tuple[Setting, tuple[int, ...]], ...]
    trainings: int
    failures: int

    @classmethod
    def of(cls, lines: Sequence[Line]) -> Measured:
        """Collect the lines of a condition."""
        portions = [line for line in lines if "setting" not in line]
        heads = [line for line in portions if "together" not in line]
        head, count = heads[0], len(heads[0]["trained_on"])
        seeds = {line["seed"]: number for number, line in enumerate(heads)}
        tables: dict[str, Array] = {}
        tried: dict[str, Array] = {}
        for line in lines:
            if "setting" in line:
                key = _key(line["setting"])
                table = tables.setdefault(key, np.full((len(seeds), count), np.nan))
                was_tried = tried.setdefault(key, np.zeros((len(seeds), count), dtype=bool))
                for block, loss in zip(line["blocks"], line["loss"], strict=True):
                    was_tried[seeds[line["seed"]], block] = True
                    table[seeds[line["seed"]], block] = np.nan if loss is None else loss
        without = _key({"training.learning_rate": head["rate"]})
        baseline = tables[without]
        stopping = [line["stopping"] for line in lines if "setting" in line and _key(line["setting"]) == without]
        usable = ~np.isnan(baseline).any(axis=0)
        changes = {
            key: _changes(table, baseline, tried[key])[usable]
            for key, table in tables.items()
            if "training.learning_rate" not in json.loads(key)
        }
        return cls(
            condition=Condition(head["set"], head["cases"], head["hidden"], head["layers"]),
            task=head["task"],
            rate=head["rate"],
            seeds=len(seeds),
            trained_on=tuple(head["trained_on"]),
            judged_on=tuple(head["judged_on"]),
            columns=head["columns"],
            baseline=baseline.mean(axis=0)[usable],
            floors={name: np.array(losses)[usable] for name, losses in head["floors"].items()},
            simple_models=tuple(head["simple_models"]),
            stopping=np.array(stopping, dtype=float).reshape(-1, count).mean(axis=0)[usable],
            changes=changes,
            chosen_together=next((_chosen(line, usable) for line in portions if "together" in line), ()),
            trainings=sum(line["trainings"] for line in portions),
            failures=sum(line.get("failures", 0) for line in lines),
        )

    @property
    def is_first(self) -> bool:
        """Whether it is the condition in which all sets are compared."""
        return is_first(self.condition, min(self.trained_on))

    @property
    def best_floor(self) -> str:
        """The best prediction that learns nothing."""
        return self._best([name for name in self.floors if name not in self.simple_models])

    @property
    def best_simple_model(self) -> str | None:
        """The best simple model, if there is one."""
        there = [name for name in self.floors if name in self.simple_models]
        return self._best(there) if there else None

    def _best(self, names: Iterable[str]) -> str:
        return min(names, key=lambda name: float(self.floors[name].mean()))

    def beyond(self, floor: str) -> Estimate:
        """Return the log ratio of no knob's loss to that of a prediction without a network."""
        return Estimate.over(self.baseline - self.floors[floor])

    def change(self, setting: Setting) -> Array:
        """Return the log ratio of a setting to no knob, on each block; of nothing it is 0."""
        return self.changes[_key(setting)] if setting else np.zeros(len(self.baseline))

    def ladder(self, path: str) -> Array:
        """Return the same of all values of a knob, ``(K, G)``."""
        return np.stack([self.change(settings.alone(path, value)) for value in settings.LADDERS[path]])

    def chosen(self, values: Sequence[Setting]) -> Chosen:
        """Choose among settings, or none of them, which is number 0."""
        changes = [self.change(setting) for setting in values]
        return choose(np.stack([np.zeros(len(self.baseline)), *changes]))

    def tuned(self, path: str) -> Chosen:
        """Choose the value of a knob, or leave it off, which is number 0."""
        return self.chosen([settings.alone(path, value) for value in settings.LADDERS[path]])

    @cached_property
    def best(self) -> tuple[Chosen, list[Setting]]:
        """Choose among all values of all knobs, or nothing at all, which is number 0; the settings by number."""
        singles = settings.singles()
        return self.chosen(singles), [{}, *singles]

    @property
    def has_together(self) -> bool:
        """Whether all knobs at once, and tied masks, were trained."""
        return bool(self.chosen_together)

    @property
    def together(self) -> Array:
        """What all knobs at once do, each at a value that the other half of the blocks chose, on each block."""
        of_blocks = np.full(len(self.baseline), np.nan)
        for setting, judged in self.chosen_together:
            of_blocks[list(judged)] = self.change(setting)[list(judged)]
        return of_blocks

    @property
    def tied(self) -> Chosen:
        """Choose the rate of recurrent dropout with one mask for all gates, or leave it off, which is number 0."""
        return self.chosen([settings.tied(rate) for rate in settings.LADDERS[settings.RECURRENT_DROPOUT]])

    @property
    def pairs(self) -> list[tuple[Setting, Array]]:
        """The pairs that were tried, on the blocks that had no say in choosing them, NaN elsewhere."""
        found = [(json.loads(key), of_blocks) for key, of_blocks in self.changes.items()]
        return [(setting, of_blocks) for setting, of_blocks in found if len(settings.turned(setting)) == 2]


def _chosen(head: Line, usable: Array) -> tuple[tuple[Setting, tuple[int, ...]], ...]:
    """Return what was chosen to be tried together, by the places of blocks among those that are usable."""
    place = {int(block): number for number, block in enumerate(np.flatnonzero(usable))}
    return tuple((setting, tuple(place[b] for b in blocks if b in place)) for setting, blocks in head["together"])


def _changes(table: Array, baseline: Array, tried: Array) -> Array:
    """Return log ratios, means over the seeds; one that failed counts as the worst of its setting."""
    ratios = table - baseline
    known = ratios[np.isfinite(ratios)]
    harm = max(_LEAST_HARM, float(known.max())) if known.size else _LEAST_HARM
    ratios = np.where(tried & np.isnan(table), harm, ratios)
    counts = tried.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(counts > 0, np.where(tried, ratios, 0.0).sum(axis=0) / counts, np.nan))


def measured(lines: Iterable[Line]) -> list[Measured]:
    """Return what was measured, condition by condition."""
    of_conditions: dict[tuple[object, ...], list[Line]] = {}
    for line in lines:
        of_conditions.setdefault((line["set"], line["cases"], line["hidden"], line["layers"]), []).append(line)
    return [Measured.of(own) for own in of_conditions.values()]
