"""Divides sequences into those that train, validate and test: at random, by what belongs together, or by time.

The test is the same whatever a search asks for, and whatever its seed: nobody draws another one until it looks good.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count as count_from
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import DataConfig, Plan, SearchConfig
from lstmreg.data.sequences import Sequences
from lstmreg.data.times import time_stamp
from lstmreg.errors import ConfigError, DataError

Numbers = NDArray[np.int64]

#: A loss of fewer sequences says nothing.
_LEAST = 5

#: The share of the sequences before the test, in order of time, that no split validates on.
_FIRST_ORIGIN = 0.4

#: Groups are dealt into so many parts, of which some are the test.
_PARTS = 20


class Fold(NamedTuple):
    """Numbers of the sequences that train, that validate, and that are judged after that."""

    train: Numbers
    validation: Numbers
    judged: Numbers


class Folds(NamedTuple):
    """Those on which settings are chosen, and those that confirm the choice."""

    choose: list[Fold]
    confirm: list[Fold]


@dataclass(frozen=True)
class Division(ABC):
    """A rule by which sequences are divided.

    Attributes:
        data: The settings.
        sequences: All of them.
        strata: Of each its class, ``(N,)``, of which every part is to have its share; zeros where there are none.
        names: Of the classes; of no classes one, whatever it is.
    """

    data: DataConfig
    sequences: Sequences
    strata: Numbers
    names: tuple[str, ...]

    @abstractmethod
    def hold_out(self) -> Fold:
        """Hold a test out; of the others about as many validate.

        Raises:
            DataError: If there are too few; it says how many are needed.
        """

    @abstractmethod
    def folds(self, search: SearchConfig) -> Folds:
        """Divide what is not the test, so that no sequence validates in both.

        Raises:
            DataError: If there are too few; it says how many are needed.
        """

    def _rest(self, *parts: Numbers) -> Numbers:
        """Return all sequences that are in none of some parts."""
        left = np.ones(len(self.sequences), dtype=bool)
        left[np.concatenate(parts)] = False
        return np.flatnonzero(left)

    def _validating(self, parts: Sequence[Numbers], test: Numbers) -> list[Fold]:
        """Return for each part the split that validates on it, and trains on all but it and the test."""
        return [Fold(self._rest(part, test), np.sort(part), _NOTHING) for part in parts]

    def _too_few(self, what: str, has: int, needed: int, remedy: str) -> DataError:
        return DataError(f"{self.sequences.path}: {has} {what} are too few; at least {needed} are needed{remedy}.")


_NOTHING: Numbers = np.empty(0, dtype=np.int64)


def division(data: DataConfig, sequences: Sequences, strata: Numbers, names: tuple[str, ...]) -> Division:
    """Return the rule that ``data.split_by`` names: by group where there are groups, unless it says otherwise.

    Raises:
        ConfigError: If what it needs is not there.
    """
    by = data.split_by or ("random" if sequences.groups is None else "group")
    if by == "group" and sequences.groups is None:
        raise ConfigError("data.group must be set where data.split_by is group, got null.")
    if by == "time" and sequences.times is None:
        raise ConfigError("data.time must be set where data.split_by is time, got null.")
    rules: dict[str, type[Division]] = {"random": AtRandom, "group": ByGroup, "time": ByTime}
    return rules[by](data, sequences, strata, names)


def _shared_out(plan: Plan, folds: list[Fold]) -> Folds:
    """Share folds out between choosing and confirming: spread evenly, the last one confirms first of all."""
    confirm = {len(folds) - 1 - k * len(folds) // plan.confirm_splits for k in range(plan.confirm_splits)}
    return Folds(
        choose=[fold for k, fold in enumerate(folds) if k not in confirm],
        confirm=[fold for k, fold in enumerate(folds) if k in confirm],
    )


class AtRandom(Division):
    """Every part has its share of each class; where there are few sequences, they are divided again and again."""

    def hold_out(self) -> Fold:
        """Hold out some of each class."""
        self._check_classes()
        order = _mixed(np.arange(len(self.sequences)), self.strata, np.random.default_rng(0))
        test, validation = [], []
        for stratum in np.unique(self.strata):
            own = order[self.strata[order] == stratum]
            some = _tested(len(own), self.data.test_fraction)
            test.append(own[:some])
            validation.append(own[some : 2 * some])
        judged, validating = np.sort(np.concatenate(test)), np.sort(np.concatenate(validation))
        return Fold(self._rest(judged, validating), validating, judged)

    def folds(self, search: SearchConfig) -> Folds:
        """Part what is not the test in two, and divide each by itself."""
        test, plan = self.hold_out().judged, search.plan
        usable = _mixed(self._rest(test), self.strata, np.random.default_rng((search.seed, 0)))
        share = plan.splits / (plan.splits + plan.confirm_splits)

        def parted(number: int) -> int:
            return round(number * share)

        cut = parted(len(usable))
        if min(cut, len(usable) - cut) < 2 * _LEAST:
            needed = next(
                n
                for n in count_from(len(self.sequences) + 1)
                if min(parted(left := n - _tested(n, self.data.test_fraction)), left - parted(left)) >= 2 * _LEAST
            )
            raise self._too_few(
                "sequences",
                len(self.sequences),
                needed,
                f" for search.splits={plan.splits}, search.confirm_splits={plan.confirm_splits} and the test",
            )
        choose = self._repeated(usable[:cut], plan.splits, (search.seed, 1))
        confirm = self._repeated(usable[cut:], plan.confirm_splits, (search.seed, 2))
        return Folds(self._validating(choose, test), self._validating(confirm, test))

    def _repeated(self, pool: Numbers, wanted: int, seed: tuple[int, int]) -> list[Numbers]:
        """Cut a pool into parts of five at least; where that are too few parts, mix it and cut it again."""
        parts, generator = min(wanted, max(2, len(pool) // _LEAST)), np.random.default_rng(seed)
        found: list[Numbers] = []
        while len(found) < wanted:
            found += np.array_split(pool, parts)
            pool = _mixed(np.sort(pool), self.strata, generator)
        return found[:wanted]

    def _check_classes(self) -> None:
        if len(self.sequences) < _LEAST_OF_A_CLASS:
            raise self._too_few("sequences", len(self.sequences), _LEAST_OF_A_CLASS, "")
        counts = np.bincount(self.strata)
        if counts.min() < _LEAST_OF_A_CLASS:
            raise DataError(
                f"{self.sequences.path}: class {self.names[int(counts.argmin())]!r} has {counts.min()} sequences, and "
                f"at least {_LEAST_OF_A_CLASS} are needed: to train, to validate and to test. Give more, or leave the "
                f"class out."
            )


#: To train, to validate, to test.
_LEAST_OF_A_CLASS = 3


def _tested(number: int, fraction: float) -> int:
    """Return how many of so many are the test, so that as many can validate, and one is left to train."""
    return min(max(1, round(number * fraction)), (number - 1) // 2)


def _mixed(cases: Numbers, strata: Numbers, generator: np.random.Generator) -> Numbers:
    """Return cases in a random order of which any stretch has about its share of each stratum."""
    mixed = generator.permutation(cases)
    place = np.empty(len(mixed))
    for stratum in np.unique(strata[mixed]):
        own = np.flatnonzero(strata[mixed] == stratum)
        place[own] = (np.arange(len(own)) + 0.5) / len(own)
    return mixed[np.argsort(place, kind="stable")]


class ByGroup(Division):
    """No group is on two sides; its classes are shared out as well as groups allow."""

    def hold_out(self) -> Fold:
        """Hold out some groups."""
        groups = len(set(self._groups))
        if groups < _LEAST_OF_A_CLASS:
            raise self._too_few("groups", groups, _LEAST_OF_A_CLASS, ": to train, to validate and to test")
        parts = self._dealt(np.arange(len(self.sequences)), min(groups, _PARTS), 0)
        some = _tested(len(parts), self.data.test_fraction)
        judged, validating = (np.sort(np.concatenate(parts[k * some : (k + 1) * some])) for k in (0, 1))
        return Fold(self._rest(judged, validating), validating, judged)

    def folds(self, search: SearchConfig) -> Folds:
        """Deal the other groups out: each validates once."""
        test, plan = self.hold_out().judged, search.plan
        usable, wanted = self._rest(test), plan.splits + plan.confirm_splits
        left = len(set(self._groups[usable]))
        if left < wanted:
            groups = len(set(self._groups))
            raise self._too_few(
                "groups",
                groups,
                groups - left + wanted,
                f" for search.splits={plan.splits}, search.confirm_splits={plan.confirm_splits} and the test, because "
                f"each validates once",
            )
        return _shared_out(plan, self._validating(self._dealt(usable, wanted, search.seed), test))

    @property
    def _groups(self) -> NDArray[np.str_]:
        return np.array(self.sequences.groups)

    def _dealt(self, cases: Numbers, parts: int, seed: int) -> list[Numbers]:
        """Deal cases out into parts by their groups."""
        from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

        strata, groups = self.strata[cases], self._groups[cases]
        plain = GroupKFold(parts, shuffle=True, random_state=seed)
        dealers = [plain]
        if parts <= np.bincount(strata).max() and len(self.names) > 1:
            dealers.insert(0, StratifiedGroupKFold(parts, shuffle=True, random_state=seed))
        for dealer in dealers:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of a class that cannot be in every part
                found = [cases[part] for _, part in dealer.split(cases, strata, groups)]
            if all(len(part) for part in found):
                break
        return found


class ByTime(Division):
    """What begins earlier trains, what begins later validates, and what begins last is the test."""

    def hold_out(self) -> Fold:
        """Hold the last out."""
        if len(self.sequences) < _LEAST_OF_A_CLASS:
            raise self._too_few("sequences", len(self.sequences), _LEAST_OF_A_CLASS, "")
        order, some = self._order(), _tested(len(self.sequences), self.data.test_fraction)
        return Fold(*(np.sort(part) for part in (order[: -2 * some], order[-2 * some : -some], order[-some:])))

    def folds(self, search: SearchConfig) -> Folds:
        """Validate on equal stretches of the later part, and train before each."""
        plan = search.plan
        stretches = plan.splits + plan.confirm_splits

        def lengths(number: int) -> tuple[int, int]:
            usable = number - _tested(number, self.data.test_fraction)
            return usable, (usable - round(usable * _FIRST_ORIGIN)) // stretches

        usable, size = lengths(len(self.sequences))
        if size < _LEAST:
            needed = next(n for n in count_from(len(self.sequences) + 1) if lengths(n)[1] >= _LEAST)
            raise self._too_few(
                "sequences",
                len(self.sequences),
                needed,
                f" for {stretches} stretches of time that validate, and the test",
            )
        order = self._order()
        edges = [usable - size * (stretches - k) for k in range(stretches + 1)]
        stretch = [
            Fold(np.sort(order[:start]), np.sort(order[start:stop]), _NOTHING) for start, stop in pairwise(edges)
        ]
        return _shared_out(plan, stretch)

    def _order(self) -> Numbers:
        assert self.sequences.times is not None
        stamps = []
        for name, cell in zip(self.sequences.names, self.sequences.times, strict=True):
            try:
                stamps.append(time_stamp(cell))
            except ValueError:
                raise DataError(
                    f"{self.sequences.path}: sequence {name!r} begins at {cell!r}, which is no time stamp. Write it as "
                    f"ISO 8601, or a number."
                ) from None
        kinds = sorted({kind for _, kind in stamps})
        if len(kinds) > 1:
            raise DataError(f"{self.sequences.path}: times mix kinds ({' and '.join(kinds)}). Write all alike.")
        return np.argsort([stamp for stamp, _ in stamps], kind="stable").astype(np.int64)
