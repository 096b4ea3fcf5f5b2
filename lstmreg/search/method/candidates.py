"""Arms and their ladders, and the candidates for an answer that are made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Literal

from lstmreg.config import Scalar
from lstmreg.setting_path import whole

#: A strength grows by this factor, and shrinks by it.
STEP = 3.0

LEARNING_RATE = "training.learning_rate"


@dataclass(frozen=True)
class Candidate:
    """What might be recommended: settings that differ from the baseline's, in the order of their paths.

    Attributes:
        values: Path and value of each; none for the baseline itself.
    """

    values: tuple[tuple[str, Scalar], ...] = ()

    @classmethod
    def of(cls, setting: Mapping[str, Scalar]) -> Candidate:
        """Make one of a mapping from path to value; the order in which they are given does not matter."""
        return cls(tuple(sorted(setting.items(), key=lambda item: item[0])))

    @property
    def setting(self) -> dict[str, Scalar]:
        """The settings by path."""
        return dict(self.values)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.values)

    @cached_property
    def key(self) -> str:
        """A text that is equal for equal candidates, and by which they are ordered."""
        return json.dumps(self.values)


BASELINE = Candidate()


@dataclass(frozen=True)
class Arm:
    """What is tried over some values: a penalty's strength, a rate of dropping, weight decay, or any other setting.

    Attributes:
        path: Of the setting, such as ``model.kernel_l1``.
        ladder: The values to begin with; strengths and rates lie above 0, where they are off.
        kind: A ``strength`` grows by a factor of three, a ``rate`` goes half of its way to 1, a
            ``size`` doubles, and does not shrink; a ``choice`` does not grow.
        place: What it acts on, in words; arms of one place are kinds of the same cure (an L1 and an L2 on one block).
        beside: What must be set together with it where it is alone, as path and value: an optimizer that knows weight
            decay, or what its condition asks for.
        requires: Its condition, as paths with the values beside which alone it is tried; ``None`` among them stands for
            what is not set.
        is_rival: Whether it is what one would do without the knobs: the answer says what they are worth beyond it.
        with_other_rates: Whether its best value is tried at other learning rates as well.
        may_grow: Whether the ladder may grow at both ends.
    """

    path: str
    ladder: tuple[Scalar, ...]
    kind: Literal["strength", "rate", "size", "choice"] = "strength"
    place: str = ""
    beside: tuple[tuple[str, Scalar], ...] = ()
    requires: tuple[tuple[str, tuple[Scalar | None, ...]], ...] = ()
    is_rival: bool = False
    with_other_rates: bool = False
    may_grow: bool = True

    def __post_init__(self) -> None:
        if not self.ladder:
            raise ValueError(f"the ladder of {self.path} must hold a value.")
        most = 1 if self.kind == "rate" else float("inf")
        if self.kind != "choice" and any(isinstance(v, str) or not 0 < v < most for v in self.ladder):
            raise ValueError(
                f"the ladder of {self.path} must hold values above 0 (of a rate below 1), got {self.ladder}."
            )

    @property
    def grows(self) -> bool:
        """Whether a value at an edge of the ladder asks for the next step."""
        return self.may_grow and self.kind != "choice"

    def at(self, value: Scalar) -> Candidate:
        """Return this arm alone, at a value."""
        return Candidate.of({**dict(self.beside), self.path: value})

    def may_stand_in(self, setting: Mapping[str, Scalar]) -> bool:
        """Tell whether a setting meets this arm's condition."""
        return all(setting.get(path) in allowed for path, allowed in self.requires)

    def higher(self, value: float) -> float:
        """Return the step above a value: ``3 v`` of a strength, ``(1 + v) / 2`` of a rate, ``2 v`` of a size."""
        if self.kind == "size":
            return 2 * int(value)
        return _rounded(value * STEP if self.kind == "strength" else (1 + value) / 2)

    def lower(self, value: float) -> float | None:
        """Return the step below a value, a third of it; ``None`` of a size."""
        if self.kind == "size":
            return None
        return _rounded(value / STEP)


def _rounded(value: float) -> float:
    """Write 0.30000000000000004 as 0.3, and a third of 0.001 as 0.000333: nobody wants to paste more."""
    return float(f"{value:.3g}")


def arms_of(candidate: Candidate, arms: Sequence[Arm]) -> list[Arm]:
    """List the arms that a candidate turns, in the order of ``arms``; what stands beside one of them is no other."""
    setting = candidate.setting
    turned = [arm for arm in arms if arm.path in setting]
    beside = {needed for arm in turned for needed in arm.beside}
    return [arm for arm in turned if (arm.path, setting[arm.path]) not in beside]


def parts(candidate: Candidate, arms: Sequence[Arm]) -> int:
    """Count what a reader must turn: the arms, and a learning rate of its own."""
    turned = arms_of(candidate, arms)
    has_rate = any(path == LEARNING_RATE for path, _ in candidate.values)
    return len(turned) + (has_rate and not any(arm.path == LEARNING_RATE for arm in turned))


def together(singles: Sequence[Candidate]) -> Candidate:
    """Return several candidates in one."""
    return Candidate.of({path: value for single in singles for path, value in single.values})


def combinations_of(
    singles: Sequence[tuple[Arm, Scalar, float]], learning_rate: float | None = None
) -> list[Candidate]:
    """Return what is worth trying together, what promises most first.

    The pairs and the triple of the best three arms; the L1 with the L2 of a place whose better one seems to help (an
    elastic net); all that seem to help, and the best four; and the best arm that wants it at a third and three times
    the learning rate.

    Args:
        singles: Each arm, with its best value and the effect there (a log ratio: below 0 helps).
        learning_rate: The baseline's; ``None`` if others are not to be tried.
    """
    ranked = sorted(singles, key=lambda single: (single[2], single[0].path))
    helpful = [single for single in ranked if single[2] < 0]
    best = helpful[:3]
    nets = [[one, two] for one, two in combinations(ranked, 2) if _is_elastic_net(one[0], two[0]) and one[2] < 0]
    pairs = [list(pair) for pair in combinations(best, 2)]
    groups = [*pairs[:1], best, *nets, *pairs[1:], helpful, helpful[:4]]
    joined = [_joined([(arm, value) for arm, value, _ in group]) for group in groups if len(group) > 1]
    found = [candidate for candidate in joined if candidate is not None]
    if learning_rate is not None:
        for arm, value, _ in [single for single in best if single[0].with_other_rates][:1]:
            for rate in (learning_rate / STEP, learning_rate * STEP):
                found.append(Candidate.of({**arm.at(value).setting, LEARNING_RATE: _rounded(rate)}))
    return list(dict.fromkeys(found))


def _joined(singles: Sequence[tuple[Arm, Scalar]]) -> Candidate | None:
    """Return several arms at their values in one candidate; ``None`` if one of them is not tried beside the others.

    What one of them would have beside it gives way to another one's value.
    """
    beside = together([arm.at(value) for arm, value in singles]).setting
    setting = beside | {arm.path: value for arm, value in singles}
    return Candidate.of(setting) if all(arm.may_stand_in(setting) for arm, _ in singles) else None


def _is_elastic_net(one: Arm, two: Arm) -> bool:
    """Tell whether two arms are the L1 and the L2 of one place."""
    norms = {whole(arm.path)[-3:] for arm in (one, two)}
    return one.place == two.place != "" and norms == {"_l1", "_l2"}
