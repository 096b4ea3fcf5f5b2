"""Under which conditions every knob is tried, and in which order: so that a part of the study covers all sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest

#: So many cases train, where there are more; none: all.
AMOUNTS = (100, 300, 1000, 3000)

#: A set with hardly more than that is not asked twice.
_HARDLY_MORE = 1.1

#: The first condition of each set: so many units, and so many cases at most.
_FIRST_SIZE, _FIRST_CASES = 16, 300

#: What a step costs beside the products of its matrices, in their units.
_STEP = 300


@dataclass(frozen=True)
class Condition:
    """One set, at one size of the data and of the network.

    Attributes:
        subject: The set's name.
        cases: On so many each network trains at most; none: on all.
        hidden: Units of a layer.
        layers: Layers.
    """

    subject: str
    cases: int | None
    hidden: int
    layers: int = 1

    @property
    def key(self) -> tuple[str, int | None, int, int]:
        """By which the results know it."""
        return self.subject, self.cases, self.hidden, self.layers


@dataclass(frozen=True)
class Extent:
    """How large a set is.

    Attributes:
        cases: How many train on the block that has fewest.
        steps: Of a case.
        columns: Of a step.
    """

    cases: int
    steps: int
    columns: int

    def amounts(self) -> list[int | None]:
        """Return how many cases are tried."""
        return [*(amount for amount in AMOUNTS if amount * _HARDLY_MORE < self.cases), None]

    def cost(self, condition: Condition) -> float:
        """Return about how long an epoch takes, in units of no meaning."""
        cases = self.cases if condition.cases is None else condition.cases
        products = condition.hidden * (condition.hidden + self.columns)
        return float(cases * self.steps * condition.layers * (products + _STEP))


def is_first(condition: Condition, least: int) -> bool:
    """Tell whether a condition is that in which sets are compared: 16 units; 300 cases, or all where there are fewer.

    Args:
        condition: Which.
        least: How many cases train on the block that has fewest.
    """
    has_fewer = condition.cases is None and least <= _FIRST_CASES * _HARDLY_MORE
    return (condition.hidden, condition.layers) == (_FIRST_SIZE, 1) and (condition.cases == _FIRST_CASES or has_fewer)


def conditions(
    extents: Mapping[str, Extent],
    families: Mapping[str, str],
    sizes: Iterable[int] = (8, 16, 32),
    layers: Iterable[int] = (1,),
) -> list[Condition]:
    """Return all conditions, family by family of sets in turn.

    Of each family that with 16 units and 300 cases (all, where there are fewer) of its first set comes first, so that
    what is there after the first round compares. Then come the other amounts of cases, which differ in nothing else,
    then the family's other sets, and then all else, always the cheapest first.

    Args:
        extents: How large each set is.
        families: The family of each.
        sizes: Units of a layer.
        layers: Layers.
    """
    of_families: dict[str, list[Condition]] = {}
    for subject, extent in extents.items():
        own = [Condition(subject, n, h, d) for n in extent.amounts() for h in sizes for d in layers]
        of_families.setdefault(families[subject], []).extend(own)
    for own in of_families.values():
        first = own[0].subject
        own.sort(key=lambda c: (_rank(c, first, extents), _cost(c, extents)))
    found: list[Condition] = []
    for in_turn in zip_longest(*of_families.values()):
        there = [c for c in in_turn if c is not None]
        found += sorted(there, key=lambda c: _cost(c, extents))
    return found


def _rank(condition: Condition, first: str, extents: Mapping[str, Extent]) -> int:
    comes_first = is_first(condition, extents[condition.subject].cases)
    if condition.subject != first:
        return 2 if comes_first else 3
    if comes_first:
        return 0
    return 1 if (condition.hidden, condition.layers) == (_FIRST_SIZE, 1) else 3


def _cost(condition: Condition, extents: Mapping[str, Extent]) -> float:
    return extents[condition.subject].cost(condition)
