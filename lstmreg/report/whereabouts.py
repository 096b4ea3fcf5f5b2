"""Where the loss on the test is: in which cases, groups, classes, steps ahead and targets, from what was predicted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmreg.search import held_out
from lstmreg.search.evidence import Effect, Evidence
from lstmreg.search.space import Setting
from lstmreg.tasks import Task, task_named

from .answers import Part, Whereabouts, WorstCase

#: So many of the worst cases are named.
_WORST = 5

#: The effect in a part of fewer cases has no interval that would hold as often as it says; where neighbours depend
#: on each other, they must be more.
_FEWEST_CASES, _FEWEST_IN_TIME = 50, 100

#: Nor where they overlap so much that there are fewer stretches than this that know nothing of each other.
_FEWEST_APART = 10

Array = NDArray[np.float64]

#: Losses by what predicted and by seed.
Losses = dict[str, dict[int, Array]]


def whereabouts(evidence: Evidence, candidate: Setting) -> Whereabouts | None:
    """Say where the loss of a candidate is, or without one that of no regularization.

    Args:
        evidence: A finished search.
        candidate: What was judged; empty if nothing was.

    Returns:
        ``None`` where no case has a loss.
    """
    test = _Tested.of(evidence, candidate)
    total = float(test.mean.sum())
    if not 0 < total < math.inf:
        return None
    order = np.argsort(-test.mean, kind="stable")
    carried = np.cumsum(test.mean[order]) / total
    cases = int(test.has_truth.sum())
    worst_few = max(1, round(cases * _FEW))
    stretch = _shortest_half(test.mean) if test.task.do_neighbours_depend and not evidence.card.test_groups else None
    return Whereabouts(
        of=test.who,
        cases=cases,
        half=(int(np.searchsorted(carried, 0.5)) + 1) / cases,
        worst_twentieth=float(carried[worst_few - 1]),
        stretch=[] if stretch is None else [evidence.card.test_labels[place] for place in stretch],
        stretch_share=None if stretch is None else (stretch[1] - stretch[0] + 1) / cases,
        worst=[_worst_case(test, int(case), total) for case in order[:_WORST] if test.mean[case] > 0],
        parts={kind: parts for kind, parts in _parts(test).items() if len(parts) > 1},
    )


#: The worst of the cases are so many of them.
_FEW = 0.05


def _shortest_half(losses: Array) -> tuple[int, int]:
    """Return the first and the last case of the shortest stretch that carries half of the loss."""
    behind = np.concatenate([[0.0], np.cumsum(losses)])
    # From each case on, how far one must go; from late ones no stretch carries so much.
    ends = np.searchsorted(behind, behind[:-1] + behind[-1] / 2 * (1 - 1e-12))
    lengths = np.where(ends < len(behind), ends - np.arange(len(losses)), len(losses) + 1)
    first = int(lengths.argmin())
    return first, int(ends[first]) - 1


@dataclass(frozen=True, eq=False)
class _Tested:
    """What was predicted on the test, and what it cost.

    Attributes:
        evidence: The search.
        task: Its task.
        truth: ``(M, ...)``.
        predicted: By what predicted and by seed, ``(M, ...)``.
        losses: Likewise, ``(M,)``.
        failed: How many trainings of the candidate failed.
    """

    evidence: Evidence
    task: type[Task]
    truth: Array
    predicted: dict[str, dict[int, Array]]
    losses: Losses
    failed: int

    @classmethod
    def of(cls, evidence: Evidence, candidate: Setting) -> _Tested:
        sides = {"no regularization": held_out.predictions(evidence, {})}
        if candidate:
            sides["candidate"] = held_out.predictions(evidence, candidate)
        predicted = {name: by_seed for name, by_seed in sides.items() if by_seed}
        losses = {
            name: {seed: held_out.case_losses(evidence, each) for seed, each in by_seed.items()}
            for name, by_seed in predicted.items()
        }
        failed = evidence.failures(candidate, "test") if candidate else 0
        return cls(evidence, task_named(evidence.config.task), held_out.truth(evidence), predicted, losses, failed)

    @property
    def who(self) -> str:
        """Whose loss is looked at."""
        return "candidate" if "candidate" in self.losses else "no regularization"

    @cached_property
    def mean(self) -> Array:
        """The loss of each case, ``(M,)``, averaged over seeds, of what is looked at."""
        return _mean(self.losses[self.who])

    @cached_property
    def has_truth(self) -> NDArray[np.bool_]:
        """Which cases have a truth, ``(M,)``."""
        return np.asarray(np.isfinite(self.truth.reshape(len(self.truth), -1)).any(axis=1))

    @property
    def targets(self) -> list[str]:
        """Names of the targets; of older runs as far as their scales tell."""
        card = self.evidence.card
        return card.targets or card.scales.get("names") or [card.target]

    @property
    def knows_columns(self) -> bool:
        """Whether it is known which target a column of the predictions is of."""
        return bool(self.evidence.card.targets or self.task.columns_are) or self.truth.shape[-1] == 1

    @cached_property
    def by_target(self) -> list[_Piece]:
        """The targets, where there are several and one can say which loss is whose."""
        width = len(self.targets)
        if width < 2 or not self.task.can_leave_out or self.evidence.card.classes or self.truth.shape[-1] % width:
            return []
        there, pieces = np.isfinite(self.truth), []
        for place, name in enumerate(self.targets):
            is_its = there & (np.arange(self.truth.shape[-1]) % width == place)
            pieces.append(_piece(self, name, is_its, there))
        return _adding_up(self, pieces)

    def losses_of(self, truth: Array, columns: slice = slice(None)) -> Losses:
        """Return the losses of other truths, such as some that are left out, or of some columns."""
        config, scales = self.evidence.config, self.evidence.card.scales
        return {
            name: {
                seed: self.task.losses(config.training, each[..., columns], truth[..., columns], scales)
                for seed, each in by_seed.items()
            }
            for name, by_seed in self.predicted.items()
        }


def _mean(by_seed: Mapping[int, Array]) -> Array:
    return np.asarray(np.mean(list(by_seed.values()), axis=0))


# ---------------------------------------------------------------------- the worst cases


def _worst_case(test: _Tested, case: int, total: float) -> WorstCase:
    card = test.evidence.card
    predicted = {name: _mean({seed: p[case] for seed, p in of.items()}) for name, of in test.predicted.items()}
    return WorstCase(
        name=card.test_labels[case],
        group=card.test_groups[case] if card.test_groups else "",
        loss={name: float(_mean({seed: x[case] for seed, x in of.items()})) for name, of in test.losses.items()},
        share=float(test.mean[case]) / total,
        **(_of_class(test, case, predicted) if card.classes else _of_numbers(test, case, predicted)),
    )


#: What is said of a case at which no prediction is looked at.
_UNSEEN: dict[str, Any] = {"step": None, "target": None, "truth": None, "predicted": {}, "likelihood": {}}


def _of_class(test: _Tested, case: int, predicted: dict[str, Array]) -> dict[str, Any]:
    """Say which class was taken for which, at the step where the true one was least likely."""
    classes, at_steps = test.evidence.card.classes, test.evidence.card.steps == "all"
    numbers = test.truth[case].reshape(-1)
    places = np.flatnonzero(np.isfinite(numbers))
    of_steps = {name: each.reshape(-1, len(classes)) for name, each in predicted.items()}
    true = numbers[places].astype(np.int64)
    lowest = int(of_steps[test.who][places, true].argmin())
    place = int(places[lowest])
    return {
        "step": place + 1 if at_steps else None,
        "target": None,
        "truth": classes[true[lowest]],
        "predicted": {name: classes[int(each[place].argmax())] for name, each in of_steps.items()},
        "likelihood": {name: float(each[place, true[lowest]]) for name, each in of_steps.items()},
    }


def _of_numbers(test: _Tested, case: int, predicted: dict[str, Array]) -> dict[str, Any]:
    """Say what was predicted at the step that is farthest from the truth, of the target that costs most."""
    width = len(test.targets)
    is_plain = test.knows_columns and all(each.shape == test.truth[case].shape for each in predicted.values())
    if (
        test.task.has_own_networks
        or not is_plain
        or test.truth[case].size % width
        or (width > 1 and not test.by_target)
    ):
        return _UNSEEN
    truth = test.truth[case].reshape(-1, width)
    of_steps = {name: each.reshape(-1, width) for name, each in predicted.items()}
    target = max(range(width), key=lambda k: float(_mean(test.by_target[k].losses[test.who])[case])) if width > 1 else 0
    distances = np.abs(of_steps[test.who] - truth)[:, target]
    step = int(np.nanargmax(distances))
    return {
        "step": step + 1 if len(truth) > 1 else None,
        "target": test.targets[target] if width > 1 else None,
        "truth": float(truth[step, target]),
        "predicted": {name: float(each[step, target]) for name, each in of_steps.items()},
        "likelihood": {},
    }


# ---------------------------------------------------------------------- parts


@dataclass(frozen=True, eq=False)
class _Piece:
    """A part of each case.

    Attributes:
        name: Its name.
        losses: Its mean loss in each case, ``(M,)``; 0 where a case has nothing of it.
        counts: How many numbers or steps of it each case has, ``(M,)``, or whether it has any.
        own: What of each case that is, ``(M,)``.
    """

    name: str
    losses: Losses
    counts: Array
    own: Array


def _piece(test: _Tested, name: str, is_its: NDArray[np.bool_], there: NDArray[np.bool_]) -> _Piece:
    """Take out some of the numbers that are to be predicted, ``(M, ...)``, of all that are there."""
    counts, all_counts = (which.reshape(len(which), -1).sum(axis=1).astype(float) for which in (is_its, there))
    return _Piece(
        name, test.losses_of(np.where(is_its, test.truth, np.nan)), counts, counts / np.maximum(all_counts, 1)
    )


def _adding_up(test: _Tested, pieces: list[_Piece]) -> list[_Piece]:
    """Return the pieces if they make up the loss, and nothing of a loss that is no mean over them."""
    whole = sum((_mean(piece.losses[test.who]) * piece.own for piece in pieces), np.zeros(len(test.mean)))
    return pieces if np.allclose(whole, test.mean, rtol=1e-4, atol=1e-9) else []


def _parts(test: _Tested) -> dict[str, list[Part]]:
    groups, classes = _by_group(test), _by_class(test)
    unordered = {"group": groups, "class": classes, "target": [_part(test, _at_most_one(p)) for p in test.by_target]}
    by_share = {kind: sorted(parts, key=lambda part: -part.share) for kind, parts in unordered.items()}
    return by_share | {"step": [_part(test, piece) for piece in _by_step(test)]}


def _part(test: _Tested, piece: _Piece, **more: Any) -> Part:
    has_some = piece.counts > 0
    count = float(piece.counts.sum())
    weighted: Losses = {
        name: {seed: (each * piece.counts)[has_some] for seed, each in by_seed.items()}
        for name, by_seed in piece.losses.items()
    }
    return Part(
        name=piece.name,
        count=int(count),
        share=float((_mean(piece.losses[test.who]) * piece.own).sum() / test.mean.sum()),
        loss={name: float(_mean(by_seed).sum()) / max(count, 1.0) for name, by_seed in weighted.items()},
        effect=_effect(test, weighted) if has_some.any() else None,
        **more,
    )


def _effect(test: _Tested, losses: Losses) -> Effect | None:
    """Return the candidate's effect on the losses of some cases, in an interval if they are enough for one."""
    if "candidate" not in losses or "no regularization" not in losses:
        return None
    found = held_out.compared(test.evidence, losses["candidate"], losses["no regularization"], test.failed)
    if found is None:
        return None
    fewest = _FEWEST_CASES
    if test.task.do_neighbours_depend:
        fewest = max(_FEWEST_IN_TIME, _FEWEST_APART * test.evidence.config.data.horizon)
    if found.blocks >= fewest:
        return found
    return Effect(found.mean, -math.inf, math.inf, found.blocks, found.failed)


def _at_most_one(piece: _Piece) -> _Piece:
    """Let each case that has something of a piece count once."""
    return _Piece(piece.name, piece.losses, (piece.counts > 0).astype(float), piece.own)


def _by_group(test: _Tested) -> list[Part]:
    groups = np.array(test.evidence.card.test_groups, dtype=object)
    found = []
    for name in dict.fromkeys(groups.tolist()):
        is_its = (groups == name) & test.has_truth
        found.append(_part(test, _Piece(name, test.losses, is_its.astype(float), is_its.astype(float))))
    return [part for part in found if part.count]


def _by_class(test: _Tested) -> list[Part]:
    classes = test.evidence.card.classes
    if not classes or not test.task.can_leave_out:
        return []
    there = np.isfinite(test.truth)
    pieces = [_piece(test, name, test.truth == number, there) for number, name in enumerate(classes)]
    if not _adding_up(test, pieces):
        return []
    counts = {
        name: np.sum([confusion_counts(each, test.truth, len(classes)) for each in by_seed.values()], axis=0)
        for name, by_seed in test.predicted.items()
    }
    parts = []
    for number, piece in enumerate(pieces):
        recall, precision = (
            {name: float(of[number, number] / max(1, of.sum(axis=axis)[number])) for name, of in counts.items()}
            for axis in (1, 0)
        )
        parts.append(_part(test, piece, recall=recall, precision=precision))
    return parts


def _by_step(test: _Tested) -> Iterator[_Piece]:
    """Yield the steps ahead, each with all targets."""
    width, columns = len(test.targets), test.truth.shape[-1]
    if not test.task.columns_are or test.truth.ndim != 2 or columns % width:
        return
    for first in range(0, columns, width):
        losses = test.losses_of(test.truth, slice(first, first + width))
        count = np.ones(len(test.truth))
        yield _Piece(str(first // width + 1), losses, count, count * width / columns)


def confusion_counts(predictions: Array, truth: Array, classes: int) -> NDArray[np.int64]:
    """Return how often a class ``(C, C)``, a row each, was predicted as a class, a column each.

    Args:
        predictions: Probabilities ``(M, C)`` of cases or ``(M, T, C)`` of their steps, NaN where there is none.
        truth: Numbers of the classes, ``(M, 1)`` or ``(M, T, 1)``, likewise.
        classes: C.
    """
    probabilities, numbers = predictions.reshape(-1, classes), truth.reshape(-1)
    there = np.isfinite(numbers) & np.isfinite(probabilities).all(axis=1)
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (numbers[there].astype(np.int64), probabilities[there].argmax(axis=1)), 1)
    return counts
