"""What whole searches said of the same sets: those that ``benchmarks/real`` keeps."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .sets import SUBJECTS
from .settings import Setting
from .statistics import Array

#: Beside the results of the study.
NAME = "real.jsonl"

#: The metric of a test that is the loss, or its root.
_LOSS, _ROOT = "log loss", "root mean square error"


@dataclass(frozen=True)
class Searched:
    """The end of a search on a set.

    Attributes:
        subject: The set.
        pick: What the blocks choose; it may be nothing.
        recommends: Whether the answer is to use it.
        of_blocks: Log ratio of its loss to that without a knob on each block, with seeds that had no part in choosing.
        of_test: The same on the rows of the test, which had no part in anything.
    """

    subject: str
    pick: Setting
    recommends: bool
    of_blocks: Array
    of_test: float

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Searched:
        """Read a line of ``benchmarks/real``."""
        losses, tests = line["loss"], line["test"]
        of_blocks = np.log(losses["pick"]) - np.log(losses["no regularization"])
        of_test = _log_loss(tests["candidate"]) - _log_loss(tests["no regularization"])
        return cls(line["set"], line["candidate"] or {}, line["is_confirmed"], of_blocks, of_test)

    @property
    def family(self) -> str:
        """The family of the set."""
        return SUBJECTS[self.subject].family


def _log_loss(metrics: Mapping[str, float]) -> float:
    return math.log(metrics[_LOSS]) if _LOSS in metrics else 2 * math.log(metrics[_ROOT])


def read(path: Path) -> list[Searched]:
    """Return the searches on sets of the study that are not made up; none if there is no file."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    there = (line for line in lines if line["set"] in SUBJECTS and not SUBJECTS[line["set"]].is_made_up)
    order = list(SUBJECTS)
    return sorted((Searched.of(line) for line in there), key=lambda one: order.index(one.subject))
