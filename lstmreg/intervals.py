"""Intervals around predictions: how wide they must be by cases that trained nothing, and how often they then held."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lstmreg.errors import ConfigError

#: So many scores are kept of each column; of more cases, those at evenly spaced ranks.
MOST_SCORES = 1_000

#: The confidence of intervals where none is asked for.
USUAL = 0.95

#: A group with so many validation cases has intervals of its own: as many as the usual confidence needs.
ENOUGH = 19

#: So many scores are kept of each group; of a table of more groups, those of all together alone.
_MOST_OF_GROUP, _MOST_GROUPS = 200, 500

#: Coverage of a group of so many test cases is told if it is off by so many of its standard errors; neighbouring
#: windows depend on each other, so that these are too small.
_FEWEST_JUDGED, _UNUSUAL = 10, 3.0

#: The level of a truth that lies outside all samples: no confidence reaches it.
_NEVER = 2.0


@dataclass(frozen=True, eq=False)
class Scores:
    """How wrong a model was on some cases, sorted: a column for each number that it predicts of a case, S.

    Attributes:
        cases: How many, n.
        ranks: Which of the n sorted scores are kept ``(K,)``, counted from 1, rising.
        values: The scores ``(K, S)``, each column rising.

    Raises:
        ValueError: If they are not that.
    """

    cases: int
    ranks: NDArray[np.int64]
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        ranks, values = self.ranks, self.values
        if type(self.cases) is not int or self.cases < 1:
            raise ValueError(f"the cases of scores must be a count, got {self.cases!r:.40}.")
        if values.ndim != 2 or 0 in values.shape or ranks.shape != values.shape[:1] or len(ranks) > MOST_SCORES:
            raise ValueError(f"scores must be 1 to {MOST_SCORES} rows with a rank each, got {values.shape}.")
        are_ranks = ranks[0] >= 1 and ranks[-1] == self.cases and (np.diff(ranks) > 0).all()
        if not are_ranks or not (np.isfinite(values) & (values >= 0)).all() or (np.diff(values, axis=0) < 0).any():
            raise ValueError("scores must be finite, none below zero, and sorted, up to the last of the cases.")

    @classmethod
    def of(cls, scores: NDArray[np.float64], most: int = MOST_SCORES) -> Self | None:
        """Sort scores ``(n, S)``, and keep ``most`` rows; ``None`` if there are none, or one is not finite."""
        if 0 in scores.shape or not np.isfinite(scores).all():
            return None
        count = len(scores)
        ranks = np.unique(np.ceil(np.linspace(1, count, min(count, most))).astype(np.int64))
        return cls(count, ranks, np.sort(scores, axis=0)[ranks - 1])

    def quantile(self, confidence: float) -> NDArray[np.float64]:
        r"""Return the score ``(S,)`` that another case's exceeds with probability ``1 - confidence`` at most.

        The :math:`\lceil (n + 1) c \rceil`-th smallest; infinite where there is none. Of thinned scores the next
        larger one that is kept.

        References:
            Vovk, Gammerman & Shafer (2005); Lei et al. (2018), arXiv:1604.04173, section 2.2.
        """
        # A product such as 20 * 0.95 must not come out above 19.
        wanted = math.ceil((self.cases + 1) * confidence - 1e-9)
        place = int(np.searchsorted(self.ranks, wanted))
        return self.values[place] if place < len(self.ranks) else np.full(self.values.shape[1], np.inf)

    def share_within(self, bounds: NDArray[np.float64]) -> float:
        """Return which share of the scores is not above a bound for each column, on average over the columns."""
        kept = [
            np.searchsorted(column, bound, side="right") for column, bound in zip(self.values.T, bounds, strict=True)
        ]
        return float(np.mean([self.ranks[count - 1] if count else 0 for count in kept])) / self.cases

    def about(self) -> dict[str, Any]:
        """Return what :meth:`restored` takes, as JSON holds it."""
        values = [[float(f"{score:.8g}") for score in row] for row in self.values]
        return {"cases": self.cases, "ranks": self.ranks.tolist(), "values": values}

    @classmethod
    def restored(cls, about: Mapping[str, Any]) -> Self:
        """Make the scores whose :meth:`about` is given.

        Raises:
            KeyError, TypeError, ValueError: If it is not what :meth:`about` returns.
        """
        if len(about["ranks"]) > MOST_SCORES or not all(type(rank) is int for rank in about["ranks"]):
            raise ValueError(f"the ranks of scores must be at most {MOST_SCORES} whole numbers.")
        ranks, values = np.array(about["ranks"], dtype=np.int64), np.array(about["values"], dtype=np.float64)
        return cls(about["cases"], ranks, values)


@dataclass(frozen=True, eq=False)
class GroupScores:
    """What is known of the cases of one group.

    Attributes:
        scores: Of its validation cases; ``None`` where they are too few.
        judged: Of its test cases, if it has some.
    """

    scores: Scores | None = None
    judged: Scores | None = None

    def about(self) -> dict[str, Any]:
        """Return what :meth:`restored` takes, as JSON holds it."""
        parts = {"scores": self.scores, "judged": self.judged}
        return {name: scores.about() for name, scores in parts.items() if scores is not None}

    @classmethod
    def restored(cls, about: Mapping[str, Any]) -> Self:
        """Make the scores whose :meth:`about` is given.

        Raises:
            KeyError, TypeError, ValueError: If it is not what :meth:`about` returns.
        """
        if not isinstance(about, dict):
            raise TypeError(f"the scores of a group must be named, got {about!r:.40}.")
        return cls(**{name: Scores.restored(about[name]) for name in ("scores", "judged") if name in about})


@dataclass(frozen=True, eq=False)
class Calibration:
    """What intervals are made of, and how often such intervals covered the truth.

    Attributes:
        scores: Of the validation cases, which trained nothing.
        judged: Of other cases, which neither trained nor calibrated anything: the test's.
        levels: Of those, the least confidence at which the samples of Monte-Carlo dropout covered the truth; ``None``
            of a model without dropout.
        groups: Of several series, what is known of each by itself.
    """

    scores: Scores
    judged: Scores | None = None
    levels: Scores | None = None
    groups: Mapping[str, GroupScores] = field(default_factory=dict)

    def __post_init__(self) -> None:
        own = [scores for group in self.groups.values() for scores in (group.scores, group.judged)]
        for other in (self.judged, self.levels, *own):
            if other is not None and other.values.shape[1] != self.scores.values.shape[1]:
                raise ValueError("the scores of a calibration must have the same columns.")

    @property
    def size(self) -> int:
        """Columns of its scores, S."""
        return int(self.scores.values.shape[1])

    def check_size(self, size: int) -> None:
        """See that there is a score for each number that is predicted of a case.

        Raises:
            ValueError: If there is not.
        """
        if self.size != size:
            raise ValueError(f"a calibration must have {size} scores of a case, got {self.size}.")

    @property
    def most_confidence(self) -> float:
        """The greatest confidence for which there are enough cases, in thousandths."""
        return math.floor(1000 * self.scores.cases / (self.scores.cases + 1)) / 1000

    @property
    def usual_confidence(self) -> float:
        """0.95, or the most for which there are enough cases."""
        return min(USUAL, self.most_confidence)

    def radius(self, confidence: float) -> NDArray[np.float64]:
        """Return how large a score ``(S,)`` the intervals of a confidence must allow.

        Raises:
            ConfigError: If there are too few cases for so much confidence.
        """
        radius = self.scores.quantile(confidence)
        if np.isinf(radius).any():
            raise ConfigError(
                f"--confidence {confidence:g} needs at least {needed_cases(confidence)} validation cases, and this "
                f"model has {self.scores.cases}. Ask for at most {self.most_confidence:g}, or give more data."
            )
        return radius

    def radii(self, confidence: float, groups: Sequence[str]) -> NDArray[np.float64]:
        """Return the same for cases of some groups ``(N, S)``: by a group's own scores, if it has enough of them.

        Raises:
            ConfigError: As :meth:`radius`.
        """
        common = self.radius(confidence)
        known = {name: self._own(name, confidence) for name in set(groups)}
        rows = [common if (own := known[name]) is None else own for name in groups]
        return np.array(rows).reshape(len(groups), self.size)

    def _own(self, group: str, confidence: float) -> NDArray[np.float64] | None:
        """Return the radius of a group by its own scores, if they suffice."""
        scores = self.groups[group].scores if group in self.groups else None
        radius = None if scores is None else scores.quantile(confidence)
        return None if radius is None or np.isinf(radius).any() else radius

    def own_groups(self, confidence: float) -> list[str]:
        """Return the groups that have intervals of their own."""
        return [name for name in self.groups if self._own(name, confidence) is not None]

    def coverage(self, confidence: float) -> Coverage | None:
        """Return how often conformal intervals held; ``None`` if that is not known."""
        if self.judged is None or np.isinf(self.scores.quantile(confidence)).any():
            return None
        if by_group := self.coverage_by_group(confidence):
            cases = sum(one.cases for one in by_group.values())
            return Coverage(sum(one.share * one.cases for one in by_group.values()) / cases, cases, confidence)
        return Coverage(self.judged.share_within(self.scores.quantile(confidence)), self.judged.cases, confidence)

    def coverage_by_group(self, confidence: float) -> dict[str, Coverage]:
        """Return how often they held in each group that has test cases."""
        common = self.scores.quantile(confidence)
        if np.isinf(common).any():
            return {}
        found = {}
        for name, group in self.groups.items():
            if group.judged is not None:
                own = self._own(name, confidence)
                share = group.judged.share_within(common if own is None else own)
                found[name] = Coverage(share, group.judged.cases, confidence)
        return found

    def unusual_groups(self, confidence: float) -> dict[str, Coverage]:
        """Return those in which they held so seldom, or so often, that it is hardly chance; the farthest off first."""
        error = math.sqrt(confidence * (1 - confidence))
        by_group = self.coverage_by_group(confidence)
        off = {
            name: abs(one.share - confidence) * math.sqrt(one.cases) / error
            for name, one in by_group.items()
            if one.cases >= _FEWEST_JUDGED
        }
        return {name: by_group[name] for name in sorted(off, key=lambda n: -off[n]) if off[name] > _UNUSUAL}

    def sampled_coverage(self, confidence: float) -> Coverage | None:
        """Return how often intervals of Monte-Carlo dropout held; ``None`` if that is not known."""
        if self.levels is None:
            return None
        share = self.levels.share_within(np.full(self.size, confidence))
        return Coverage(share, self.levels.cases, confidence)

    def about(self) -> dict[str, Any]:
        """Return what :meth:`restored` takes, as JSON holds it."""
        parts = {"scores": self.scores, "judged": self.judged, "levels": self.levels}
        about: dict[str, Any] = {name: scores.about() for name, scores in parts.items() if scores is not None}
        if self.groups:
            about["groups"] = {name: group.about() for name, group in self.groups.items()}
        return about

    @classmethod
    def restored(cls, about: Mapping[str, Any]) -> Self:
        """Make the calibration whose :meth:`about` is given.

        Raises:
            KeyError, TypeError, ValueError: If it is not what :meth:`about` returns.
        """
        more = {name: Scores.restored(about[name]) for name in ("judged", "levels") if name in about}
        written = about.get("groups", {})
        if not isinstance(written, dict):
            raise TypeError(f"the groups of a calibration must be named, got {written!r:.40}.")
        groups = {name: GroupScores.restored(scores) for name, scores in written.items()}
        return cls(Scores.restored(about["scores"]), **more, groups=groups)


def scores_by_group(
    scores: NDArray[np.float64], groups: Sequence[str], judged: NDArray[np.float64], judged_groups: Sequence[str]
) -> dict[str, GroupScores]:
    """Return what is known of each group by itself.

    Args:
        scores: Of the validation cases, ``(n, S)``.
        groups: The group of each of them.
        judged: Of the test cases, ``(m, S)``.
        judged_groups: The group of each of them.
    """
    names = list(dict.fromkeys([*groups, *judged_groups]))
    if len(names) > _MOST_GROUPS or len(names) < 2:
        return {}
    of_scores, of_judged = np.array(groups, dtype=object), np.array(judged_groups, dtype=object)
    found = {}
    for name in names:
        own = scores[of_scores == name]
        found[name] = GroupScores(
            Scores.of(own, _MOST_OF_GROUP) if len(own) >= ENOUGH else None,
            Scores.of(judged[of_judged == name], _MOST_OF_GROUP),
        )
    return found


@dataclass(frozen=True)
class Coverage:
    """How often intervals covered the truth of cases that had no part in them."""

    share: float
    cases: int
    confidence: float

    def __str__(self) -> str:
        return (
            f"covered {100 * self.share:.0f} % of {self.cases} test cases ({100 * self.confidence:g} % was asked for)"
        )


def check_confidence(confidence: float) -> float:
    """Return a confidence.

    Raises:
        ConfigError: If it is none.
    """
    if not 0 < confidence < 1:  # NaN neither
        raise ConfigError(f"--confidence must lie between 0 and 1, such as 0.95, got {confidence!r}.")
    return confidence


def needed_cases(confidence: float) -> int:
    """Return how many cases calibrate a confidence at least."""
    return math.ceil(confidence / (1 - confidence) - 1e-9)


def bounds_of(
    samples: NDArray[np.float64], confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return mean, lower and upper quantile of samples ``(samples, ...)``."""
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(samples, tails, axis=0)
    return samples.mean(axis=0), low, high


def levels_of(samples: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the least confidence at which :func:`bounds_of` covers the truth, element by element.

    Args:
        samples: ``(samples, ...)``, two or more.
        truth: ``(...)``.

    Returns:
        ``(...)``, from 0 to 1; of a truth outside all samples more than any confidence.
    """
    ordered = np.sort(samples.reshape(len(samples), -1), axis=0)
    places = np.linspace(0, 1, len(samples))
    levels = np.full(ordered.shape[1], _NEVER)
    for n, value in enumerate(truth.ravel()):
        column = ordered[:, n]
        if column[0] <= value <= column[-1]:
            # Of equal samples, whose place is a stretch, the one nearest to the middle.
            first, last = np.searchsorted(column, value, "left"), np.searchsorted(column, value, "right") - 1
            ends = (places[first], places[last]) if first <= last else [np.interp(value, column, places)] * 2
            levels[n] = abs(2 * min(max(0.5, ends[0]), ends[1]) - 1)
    return levels.reshape(truth.shape)
