"""What is trained after the test to explain the answer, and what that shows: it decides nothing.

Without a column: the network that is recommended, with zeros in place of a scaled input column, which is what it is in
the mean; beside the same network that sees it, with the same fresh seeds. Without early stopping: what the screen
trained, with the same seed, further, to its last epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import Config
from lstmreg.tasks import Task

from . import arms, decisions
from .arms import LEARNING_RATE
from .decisions import Conclusion
from .evidence import Effect, Evidence
from .method import Interval
from .records import Record, Replicate, Result
from .space import Setting, is_regularizer, key
from .study.ledger import Job

#: Beside the paths of a setting: the input column of which a network sees zeros alone. It is none of the configuration.
WITHOUT = "data.without"

#: Seeds begin here that nobody chose by and nobody judged with.
FIRST_SEED = 1_000_000

#: So many columns at each end are left out, one at a time.
_ENDS = 3

#: Seeds for each column, where nothing is spared.
_SEEDS = 2

#: So much longer a search becomes at most, unless it is told to explain all.
_SHARE = 0.15

#: A training without early stopping lasts so many times as long as the baseline's with it.
_TIMES = 2


@dataclass(frozen=True)
class Extent:
    """How much explains the answer, on every block.

    Attributes:
        columns: So many columns are left out, one at a time.
        seeds: With so many seeds.
        unstopped: So many settings are trained without early stopping.
    """

    columns: int
    seeds: int
    unstopped: int

    @property
    def trainings(self) -> int:
        """How many trainings that is; of the columns there is one more setting, which sees all of them."""
        return (self.columns + 1 if self.columns else 0) * self.seeds + self.unstopped


def columns(task: Task) -> int:
    """Return how many columns can be left out: none where a column is the only one, or networks are the user's own."""
    return 0 if task.has_own_networks or len(task.features) < 2 else len(task.features)


def extent(config: Config, columns: int) -> Extent:
    """Return how much explains the answer, at most.

    Args:
        config: The run.
        columns: How many columns can be left out.
    """
    search = config.search
    tried = sum(is_regularizer(arm.path) for arm in arms.arms(config))
    never_stops = config.training.patience is None and config.training.keep == "last"
    whole = Extent(min(columns, 2 * _ENDS), _SEEDS, 0 if never_stops else tried + 2)
    is_all = search.effort == "thorough" if search.explain is None else search.explain
    if is_all:
        return whole
    if search.explain is False or search.effort == "quick":
        return Extent(0, 0, 0)
    room = int(_SHARE * sum(arms.trainings(config).values())) // search.amount.blocks
    return _within(room, whole)


def _within(room: int, whole: Extent) -> Extent:
    """Return as much as a block has room for, half of it for columns; two of each are the least that compare."""
    half = max(room - whole.unstopped, room // 2)
    left_out = min(whole.columns, half - 1) if half > 2 else 0
    unstopped = min(whole.unstopped, room - (left_out + 1 if left_out else 0))
    return Extent(left_out, 1, unstopped if unstopped > 1 else 0)


def jobs(evidence: Evidence, found: Conclusion, extent: Extent) -> list[Job]:
    """Return what is to be trained."""
    blocks = range(evidence.config.search.amount.blocks)
    wanted: list[tuple[Setting, int]] = []
    if names := left_out(evidence, found, extent.columns):
        settings = [found.recommended, *(without(found.recommended, name) for name in names)]
        wanted += [(setting, FIRST_SEED + seed) for setting in settings for seed in range(extent.seeds)]
    wanted += [(to_the_end(evidence, setting), 0) for setting in unstopped(found)[: extent.unstopped]]
    return [Job(setting, Replicate(block, seed), "explain") for setting, seed in wanted for block in blocks]


def without(setting: Setting, column: str) -> Setting:
    """Return a setting of which a column is left out."""
    return setting | {WITHOUT: column}


def apart(setting: Setting) -> tuple[Setting, str | None]:
    """Return a setting of the configuration, and the column that is left out, if one is."""
    column = setting.get(WITHOUT)
    return {path: v for path, v in setting.items() if path != WITHOUT}, None if column is None else str(column)


# ---------------------------------------------------------------------- which columns

#: The knobs that choose among columns, the most decided first.
CHOOSING = ("model.kernel_l1", "model.kernel_l1[0]", "model.kernel_l2", "model.kernel_l2[0]")


def left_out(evidence: Evidence, found: Conclusion, count: int) -> list[str]:
    """Return which columns are left out, those that are heard most first: all, or as many from either end.

    Where it is not known how much they are heard, and there are more, none.
    """
    names = evidence.card.features
    heard = _heard(evidence, found)
    if heard is None:
        return list(names) if count >= len(names) else []
    order = sorted(range(len(names)), key=lambda k: (-heard[k], k))
    most, least = order[: -(-count // 2)], order[len(order) - count // 2 :]
    return [names[k] for k in ([*most, *least] if count < len(names) else order)] if count else []


def _heard(evidence: Evidence, found: Conclusion) -> NDArray[np.float64] | None:
    """Return how large the largest input weight of each column is, under the knob that chooses among them if tried."""
    row = next((row for path in CHOOSING for row in found.rows if row.arm.path == path), None)
    results = stopped(evidence, found.recommended)
    if row is not None:
        setting = {row.arm.path: found.recommended.get(row.arm.path, row.best.value)}
        results = evidence.results(setting, "choose") or results
    largest = largest_weights(list(results.values()), len(evidence.card.features))
    return largest.mean(axis=0) if len(largest) else None


def largest_weights(results: list[Result], columns: int) -> NDArray[np.float64]:
    """Return of each network the largest input weight of each column ``(N, D)``, as a share of the largest of all."""
    found = [r.columns for r in results if r.columns and len(r.columns) == columns]
    rows = np.array(found, dtype=np.float64).reshape(len(found), columns)
    return rows / np.maximum(rows.max(axis=1, keepdims=True), _TINY) if len(rows) else rows


#: Weights below this are none.
_TINY = 1e-12


# ---------------------------------------------------------------------- without early stopping


def unstopped(found: Conclusion) -> list[Setting]:
    """Return which settings are trained to the end: none, what was judged, and of each knob what did best alone.

    The most promising knobs come first.
    """
    rows = sorted((r for r in found.rows if is_regularizer(r.arm.path)), key=lambda row: row.best.band.mean)
    alone = [{row.arm.path: row.best.value} | dict(row.arm.beside) for row in rows]
    return list({key(setting): setting for setting in ({}, found.candidate, *alone)}.values())


def epochs(evidence: Evidence) -> int:
    """Return how many epochs a training without early stopping has: twice as many as the baseline's had with it."""
    lengths = [len(result.val) for result in stopped(evidence, {}).values()]
    most = evidence.config.training.max_epochs
    return min(most, math.ceil(_TIMES * float(np.median(lengths)))) if lengths else most


def to_the_end(evidence: Evidence, setting: Setting) -> Setting:
    """Return a setting that trains to its last epoch and keeps those weights."""
    count = epochs(evidence)
    return setting | {"training.max_epochs": count, "training.patience": count, "training.keep": "last"}


def stopped(evidence: Evidence, setting: Setting) -> dict[Replicate, Result]:
    """Return a setting's trainings with early stopping by which it was chosen."""
    if setting:
        return evidence.results(setting, "choose")
    return evidence.results({LEARNING_RATE: decisions.chosen_learning_rate(evidence)}, "rates")


# ---------------------------------------------------------------------- what they show


@dataclass(frozen=True)
class LeftOut:
    """What leaving a column out does to the loss.

    Attributes:
        setting: Of the network: what is recommended.
        seeds: How many fresh seeds on each block.
        effects: By column, those that are heard most first: the change of the loss without it. The intervals hold
            together.
        columns: How many columns there are.
    """

    setting: Setting
    seeds: int
    effects: dict[str, Effect]
    columns: int


@dataclass(frozen=True)
class End:
    """What a setting comes to that is trained to the end.

    Attributes:
        setting: The setting.
        cost: The change of its loss by not stopping early: of the last epoch's weights against those that early
            stopping keeps, of the same training.
        effect: The change against no regularization that is not stopped either; ``None`` of that itself.
    """

    setting: Setting
    cost: Effect
    effect: Effect | None


@dataclass(frozen=True)
class Unstopped:
    """What trainings come to that nothing stops.

    Attributes:
        epochs: How many they have.
        ends: No regularization first, then what was judged, then of each knob the value that did best alone. The
            intervals of all costs hold together, and those of all effects.
    """

    epochs: int
    ends: list[End]


def about_columns(evidence: Evidence, found: Conclusion) -> LeftOut | None:
    """Say what leaving a column out does, as far as it was trained."""
    setting = found.recommended
    whole = evidence.trials(setting, "explain")
    names = {str(r.setting[WITHOUT]) for r in evidence.records["explain"] if WITHOUT in r.setting}
    ranked = [name for name in left_out(evidence, found, len(evidence.card.features)) if name in names]
    sure = _together(len(ranked), found)
    compared = {name: _compared(evidence.trials(without(setting, name), "explain"), whole, sure) for name in ranked}
    effects = {name: effect for name, effect in compared.items() if effect is not None}
    if not effects:
        return None
    seeds = len({replicate.seed for replicate in whole})
    return LeftOut(setting, seeds, effects, len(evidence.card.features))


def about_unstopped(evidence: Evidence, found: Conclusion) -> Unstopped | None:
    """Say what becomes of trainings that nothing stops, as far as they were trained."""
    plain = evidence.trials(to_the_end(evidence, {}), "explain")
    lasts = [(setting, evidence.trials(to_the_end(evidence, setting), "explain")) for setting in unstopped(found)]
    lasts = [(setting, last) for setting, last in lasts if last]
    ends = []
    for setting, last in lasts:
        cost = _compared(last, stopped(evidence, setting), _together(len(lasts), found))
        effect = _compared(last, plain, _together(len(lasts) - 1, found)) if setting else None
        if cost is not None and (effect is not None or not setting):
            ends.append(End(setting, cost, effect))
    return Unstopped(epochs(evidence), ends) if ends and not ends[0].setting else None


def _together(count: int, found: Conclusion) -> float:
    """Return the confidence of each of so many intervals that hold together as the table's do (Bonferroni)."""
    return 1 - (1 - found.plan.table_confidence) / max(1, count)


def _compared(
    ours: Mapping[Replicate, Record],
    theirs: Mapping[Replicate, Record] | Mapping[Replicate, Result],
    confidence: float,
) -> Effect | None:
    """Compare by pairs of one block and seed: the mean over blocks, with Student's interval over them."""
    pairs = [(r.block, _loss(ours[r]), _loss(theirs[r])) for r in ours if r in theirs]
    of_blocks = {
        block: float(np.mean(ratios))
        for block in dict.fromkeys(block for block, *_ in pairs)
        if (ratios := [a - b for at, a, b in pairs if at == block and math.isfinite(a) and math.isfinite(b)])
    }
    if not of_blocks:
        return None
    mean, low, high = Interval.over(list(of_blocks.values()), confidence).relative
    return Effect(mean, low, high, len(of_blocks), sum(record.result is None for record in ours.values()))


def _loss(of: Record | Result) -> float:
    result = of.result if isinstance(of, Record) else of
    return math.inf if result is None else result.log_loss
