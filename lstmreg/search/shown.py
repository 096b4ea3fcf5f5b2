"""What settings have shown so far beside no regularization: means of what has ended, which judge nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .evidence import Evidence
from .method import BASELINE, Candidate, Cell, LogLosses
from .records import Record, Stage
from .space import Setting


@dataclass(frozen=True)
class Shown:
    """What a setting has shown so far.

    Attributes:
        setting: What differs from the baseline.
        loss: Its mean loss; of a test its mean error.
        ratio: The geometric mean of its losses relative to the baseline's; ``None`` where none compares.
        better: On how many blocks it is better.
        blocks: On how many it was tried.
        failed: How many of its trainings failed.
        failure: Why the last of them did.
    """

    setting: Setting
    loss: float | None
    ratio: float | None = None
    better: int = 0
    blocks: int = 0
    failed: int = 0
    failure: str | None = None


def compared(
    known: LogLosses,
    candidates: Sequence[Candidate],
    seeds: range,
    failure_of: Callable[[Candidate], str | None],
) -> Iterator[Shown]:
    """Say what candidates have shown with some of the seeds, beside the baseline with the same seeds."""
    cells: dict[Candidate, list[Cell]] = {candidate: [] for candidate in candidates}
    for cell in known:
        if cell.seed in seeds and cell.candidate in cells:
            cells[cell.candidate].append(cell)
    for candidate in candidates:
        own = cells[candidate]
        pairs = _pairs(known, own)
        of_blocks = _of_blocks(pairs)
        failed = sum(not math.isfinite(known[cell]) for cell in own)
        yield Shown(
            candidate.setting,
            float(np.mean([math.exp(ours) for _, ours, _ in pairs])) if pairs else None,
            math.exp(float(np.mean(list(of_blocks.values())))) if of_blocks else None,
            sum(effect < 0 for effect in of_blocks.values()),
            len(of_blocks),
            failed,
            failure_of(candidate) if failed else None,
        )


def on_blocks(known: LogLosses, candidate: Candidate, seeds: range) -> dict[int, float]:
    """Return a candidate's log ratio to the baseline on each block on which the two compare, with some of the seeds."""
    table = known.table(candidate, seeds.stop, seeds.start)
    own = [Cell(candidate, block, seeds.start + seed) for block, seed in np.argwhere(~np.isnan(table)).tolist()]
    return _of_blocks(_pairs(known, own))


def _pairs(known: LogLosses, own: Iterable[Cell]) -> list[tuple[int, float, float]]:
    """Return block, log loss and the baseline's with the same seed, where neither failed."""
    pairs = [(cell.block, known[cell], known.get(Cell(BASELINE, cell.block, cell.seed), math.inf)) for cell in own]
    return [pair for pair in pairs if math.isfinite(pair[1]) and math.isfinite(pair[2])]


def _of_blocks(pairs: Sequence[tuple[int, float, float]]) -> dict[int, float]:
    blocks = dict.fromkeys(block for block, *_ in pairs)
    return {block: float(np.mean([ours - theirs for b, ours, theirs in pairs if b == block])) for block in blocks}


def alone(evidence: Evidence, settings: Sequence[Setting], stage: Stage) -> Iterator[Shown]:
    """Say what settings have shown in a stage in which nothing is compared."""
    for setting in settings:
        trials = evidence.trials(setting, stage)
        results = list(evidence.results(setting, stage).values())
        losses = [r.loss if r.test_error is None else r.test_error for r in results]
        failures = [r.failure for r in trials.values() if r.failure is not None]
        yield Shown(
            setting,
            float(np.mean(losses)) if losses else None,
            blocks=len({replicate.block for replicate in trials}),
            failed=len(failures),
            failure=failures[-1] if failures else None,
        )


def failures_by_reason(records: Iterable[Record]) -> dict[str, int]:
    """Count failures alike, the most frequent first: those are that say the same but for numbers, such as the step.

    Returns:
        By the first sentence of one of them.
    """
    counts: dict[str, tuple[str, int]] = {}
    for record in records:
        if record.failure is not None:
            said = re.split(r"(?<=[.!?])\s", record.failure, maxsplit=1)[0]
            alike = re.sub(r"\d+(\.\d+)?", "#", said)
            example, count = counts.get(alike, (said, 0))
            counts[alike] = example, count + 1
    return dict(sorted(counts.values(), key=lambda found: -found[1]))
