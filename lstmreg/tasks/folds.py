"""Divides sequences into those that train, stop and judge: at random, by what belongs together, or by time.

The test is the same whatever a search asks for, and whatever its seed: nobody draws another one until it looks good.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count as count_from
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import AMOUNTS, DataConfig, SearchConfig
from lstmreg.data.sequences import Sequences
from lstmreg.data.times import time_stamp
from lstmreg.errors import ConfigError, DataError

Numbers = NDArray[np.int64]

#: A loss of fewer sequences says nothing.
_LEAST = 5

#: The share of the sequences before the test, in order of time, that only train.
_FIRST_ORIGIN = 0.4

#: Groups are dealt into so many parts, of which some are the test.
_PARTS = 20


class Fold(NamedTuple):
    """Numbers of the sequences that train, that end the training, and that are judged after it."""

    train: Numbers
    validation: Numbers
    judged: Numbers


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
    def folds(self, search: SearchConfig) -> list[Fold]:
        """Divide what is not the test, a fold for each block.

        Raises:
            DataError: If there are too few; it says how many are needed.
        """

    def _rest(self, *parts: Numbers) -> Numbers:
        """Return all sequences that are in none of some parts."""
        left = np.ones(len(self.sequences), dtype=bool)
        left[np.concatenate(parts)] = False
        return np.flatnonzero(left)

    def _in_turn(self, parts: Sequence[Numbers], test: Numbers) -> list[Fold]:
        """Judge each part; the one behind it (behind the last, the first) ends the training, and the others train."""
        return [
            Fold(self._rest(judged, behind, test), np.sort(behind), np.sort(judged))
            for judged, behind in zip(parts, [*parts[1:], parts[0]], strict=True)
        ]

    def _too_few(self, what: str, has: int, needed: int, remedy: str) -> DataError:
        return DataError(f"{self.sequences.path}: {has} {what} are too few; at least {needed} are needed{remedy}.")


def _or_fewer(blocks: int) -> str:
    return "; or fewer search.blocks" if blocks > AMOUNTS[0].blocks else ""


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


class AtRandom(Division):
    """Every part has its share of each class; where there are few sequences, they are dealt again and again."""

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

    def folds(self, search: SearchConfig) -> list[Fold]:
        """Deal what is not the test into a part for each block, or fewer of five at least, and then once more."""
        test, blocks = self.hold_out().judged, search.amount.blocks
        usable, generator = self._rest(test), np.random.default_rng((search.seed, 0))
        is_rare = np.bincount(self.strata[usable]).min() < _LEAST_PARTS
        parts = min(max(blocks, _PARTS_OF_RARE) if is_rare else blocks, len(usable) // _LEAST)
        if parts < _LEAST_PARTS:
            enough = (n for n in count_from(len(self.sequences) + 1) if self._left(n) >= _LEAST_PARTS * _LEAST)
            what = f" for the test and {_LEAST_PARTS} parts of {_LEAST}: to train, to end it, and to be judged"
            raise self._too_few("sequences", len(self.sequences), next(enough), what)
        found: list[Fold] = []
        while len(found) < blocks:
            mixed = _mixed(usable, self.strata, generator)
            found += self._in_turn(np.array_split(mixed, parts), test)
        return found[:blocks]

    def _left(self, number: int) -> int:
        """Return how many of so many are not the test, if each class has the share of them that it has now."""
        shares = np.bincount(self.strata) / len(self.strata)
        return number - sum(_tested(round(number * share), self.data.test_fraction) for share in shares.tolist())

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

#: To train, to end the training, to be judged.
_LEAST_PARTS = 3

#: Of so many parts, two that follow each other never have both sequences of a class that has two: one is left to train.
_PARTS_OF_RARE = 5


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

    def folds(self, search: SearchConfig) -> list[Fold]:
        """Deal the other groups out: each is judged once."""
        test, blocks = self.hold_out().judged, search.amount.blocks
        usable = self._rest(test)
        if len(set(self._groups[usable])) < blocks:
            groups = len(set(self._groups))
            enough = (n for n in count_from(groups + 1) if n - self._tested_groups(n) >= blocks)
            what = f" for {blocks} blocks and the test, because each is judged once{_or_fewer(blocks)}"
            raise self._too_few("groups", groups, next(enough), what)
        return self._in_turn(self._dealt(usable, blocks, search.seed), test)

    def _tested_groups(self, groups: int) -> int:
        """Return how many of so many are the test, if they are about as large as each other."""
        parts = min(groups, _PARTS)
        return _tested(parts, self.data.test_fraction) * -(-groups // parts)

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

    def folds(self, search: SearchConfig) -> list[Fold]:
        """Cut the later part into equal stretches: train before one, stop on it, and judge the next."""
        blocks = search.amount.blocks

        def lengths(number: int) -> tuple[int, int]:
            usable = number - _tested(number, self.data.test_fraction)
            return usable, (usable - round(usable * _FIRST_ORIGIN)) // (blocks + 1)

        usable, size = lengths(len(self.sequences))
        if size < _LEAST:
            needed = next(n for n in count_from(len(self.sequences) + 1) if lengths(n)[1] >= _LEAST)
            what = f" for {blocks} blocks with one more to end their trainings, and the test{_or_fewer(blocks)}"
            raise self._too_few("sequences", len(self.sequences), needed, what)
        order = self._order()
        origins = range(usable - size * (blocks + 1), usable - size, size)
        return [
            Fold(*(np.sort(part) for part in (order[:k], order[k : k + size], order[k + size : k + 2 * size])))
            for k in origins
        ]

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
