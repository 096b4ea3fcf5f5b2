"""What each knob did on other sets of data, as the public study measured it. Nothing here loads torch or numpy.

The table is written by ``python -m benchmarks.evidence page``; ``docs/evidence.md`` says how it was measured.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATH = Path(__file__).parent / "data" / "study.json"

#: Where a reader finds all of it.
PAGE = "docs/evidence.md"


@dataclass(frozen=True)
class Change:
    """A log ratio of losses, to those without a knob, with its interval.

    Attributes:
        mean: The estimate; below zero is better.
        low: Lower end of the interval.
        high: Upper end.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Tried:
    """What a knob did on a set.

    Attributes:
        tuned: With a value, or none, that was chosen on other blocks of the same set.
        values: Which value all blocks choose, for each stretch or part of the set that chooses one.
        copied: With the value that people copy.
    """

    tuned: Change
    values: tuple[float, ...]
    copied: Change


@dataclass(frozen=True)
class OtherSet:
    """A real set of the study.

    Attributes:
        name: Its name there.
        task: What is asked.
        columns: Of the input.
        cases: How many cases train, at least and at most.
        knobs: What each knob did, by path.
    """

    name: str
    task: str
    columns: int
    cases: tuple[int, int]
    knobs: Mapping[str, Tried]


@dataclass(frozen=True)
class Record:
    """What tuning a knob, and copying a value of it, did on sets of a kind.

    Attributes:
        path: The knob.
        helped: In how many sets the estimate is an improvement worth having.
        helped_for_certain: In how many of them the interval leaves zero out.
        harmed: In how many the estimate is a loss as much higher.
        harmed_for_certain: In how many of them the interval leaves zero out.
        values: Which values were chosen where it helped, each once, the lowest first.
        pooled: The mean over the sets.
        copied: The value that people copy.
        copied_helped: In how many sets that helped as much.
        copied_harmed: In how many it harmed as much.
    """

    path: str
    helped: int
    helped_for_certain: int
    harmed: int
    harmed_for_certain: int
    values: tuple[float, ...]
    pooled: Change
    copied: float
    copied_helped: int
    copied_harmed: int


@dataclass(frozen=True)
class Kind:
    """Sets that have something in common.

    Attributes:
        task: What is asked of all of them; ``None`` of sets of any task.
        has_several: Whether they have several input columns; ``None`` where some have and others have not.
        sets: Them.
        pooled: The mean over them of what each knob does when it is tuned, by path.
        copied: The value of each knob that people copy.
        worth: The least relative improvement that is worth a knob.
        confidence: Of all intervals.
    """

    task: str | None
    has_several: bool | None
    sets: tuple[OtherSet, ...]
    pooled: Mapping[str, Change]
    copied: Mapping[str, float]
    worth: float
    confidence: float

    def record(self, path: str) -> Record:
        """Return what a knob of the study did on these sets."""
        own = [one.knobs[path] for one in self.sets]
        helped = [tried for tried in own if self._helps(tried.tuned)]
        harmed = [tried for tried in own if self._harms(tried.tuned)]
        return Record(
            path=path,
            helped=len(helped),
            helped_for_certain=sum(tried.tuned.high < 0 for tried in helped),
            harmed=len(harmed),
            harmed_for_certain=sum(tried.tuned.low > 0 for tried in harmed),
            values=tuple(sorted({value for tried in helped for value in tried.values})),
            pooled=self.pooled[path],
            copied=self.copied[path],
            copied_helped=sum(self._helps(tried.copied) for tried in own),
            copied_harmed=sum(self._harms(tried.copied) for tried in own),
        )

    def best(self, paths: Iterable[str]) -> str | None:
        """Return which of some knobs has the lowest mean when it is tuned; ``None`` if the study has none of them."""
        there = [path for path in paths if path in self.pooled]
        return min(there, key=lambda path: self.pooled[path].mean, default=None)

    @property
    def luck(self) -> float:
        """How many knobs :meth:`sure` would list by chance alone, if none did anything."""
        return (1 - self.confidence) / 2 * len(self.pooled)

    def sure(self) -> list[str]:
        """List the knobs whose mean is below zero with all of its interval, the lowest first."""
        found = [path for path, change in self.pooled.items() if change.high < 0]
        return sorted(found, key=lambda path: self.pooled[path].mean)

    def _helps(self, change: Change) -> bool:
        return change.mean < math.log1p(-self.worth)

    def _harms(self, change: Change) -> bool:
        return change.mean > -math.log1p(-self.worth)


def like(task: str, columns: int, path: Path | None = None) -> Kind | None:
    """Return the sets of the study that are like some data, as narrowly as there are enough of them.

    Those of the same task with one or several columns as these; else those of the same task; else all. The table has
    no kind with too few sets; ``None`` if there are too few in all.

    Args:
        task: What is asked of the data.
        columns: Of the input.
        path: The table. Default: that which ships.
    """
    kinds = {(kind.task, kind.has_several): kind for kind in _kinds(PATH if path is None else path)}
    wanted = ((task, columns > 1), (task, None), (None, None))
    return next((kinds[each] for each in wanted if each in kinds), None)


@functools.cache
def _kinds(path: Path) -> list[Kind]:
    content = json.loads(path.read_text(encoding="utf-8"))
    sets = {plain["name"]: _set(plain) for plain in content["sets"]}
    return [
        Kind(
            task=plain["task"],
            has_several=plain["has_several"],
            sets=tuple(sets[name] for name in plain["sets"]),
            pooled={knob: Change(*ends) for knob, ends in plain["pooled"].items()},
            copied=content["copied"],
            worth=content["worth"],
            confidence=content["confidence"],
        )
        for plain in content["kinds"]
    ]


def _set(plain: Mapping[str, Any]) -> OtherSet:
    least, most = plain["cases"]
    knobs = {
        knob: Tried(Change(*each["tuned"]), tuple(each["values"]), Change(*each["copied"]))
        for knob, each in plain["knobs"].items()
    }
    return OtherSet(plain["name"], plain["task"], plain["columns"], (least, most), knobs)
