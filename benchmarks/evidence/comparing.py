"""Comparisons over sets: each set counts once, however many stretches of it there are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby

import numpy as np

from lstmreg.knobs import KNOBS

from . import settings
from .measured import Measured
from .searches import Searched
from .sets import SUBJECTS
from .settings import Setting
from .statistics import Array, Chosen, Estimate, Pooled, choose, pooled

#: A change of the loss by less is not worth a knob.
WORTH = math.log1p(-0.02)

#: So many units are tried first by those who double them as long as that helps.
_FIRST_STAGE = 8

#: Fewer families of sets say nothing of all.
FEW = 3


def compared(all_measured: Iterable[Measured]) -> list[Measured]:
    """Return what was measured under the condition that all sets have in common, made-up sets left out."""
    return [one for one in all_measured if one.is_first and not SUBJECTS[one.condition.subject].is_made_up]


@dataclass(frozen=True)
class Family:
    """What some effect is on the sets of one family.

    Attributes:
        name: The family's.
        estimate: The mean over its sets; they share rows, so that more of them make it no more certain.
    """

    name: str
    estimate: Estimate


@dataclass(frozen=True)
class Over:
    """An effect on many families of sets.

    Attributes:
        families: On each.
        pooled: On all.
    """

    families: tuple[Family, ...]
    pooled: Pooled

    @property
    def helped(self) -> int:
        """In how many the estimate is an improvement worth having."""
        return sum(family.estimate.mean < WORTH for family in self.families)

    @property
    def helped_for_certain(self) -> int:
        """In how many the interval leaves zero out, on the side of an improvement."""
        return sum(family.estimate.high < 0 for family in self.families)

    @property
    def harmed(self) -> int:
        """In how many the estimate is a loss as much higher."""
        return sum(family.estimate.mean > -WORTH for family in self.families)


def over(sets: Sequence[Measured], effect: Callable[[Measured], Sequence[float] | Array]) -> Over:
    """Pool an effect, which is given for each block of a set."""
    families = []
    for name, own in groupby(sorted(sets, key=family), key=family):
        estimates = [Estimate.over(effect(one)) for one in own]
        families.append(Family(name, _averaged(estimates)))
    together = pooled([f.estimate.mean for f in families], [f.estimate.variance for f in families])
    return Over(tuple(families), together)


def _averaged(estimates: Sequence[Estimate]) -> Estimate:
    parts = ((each.mean, each.variance, each.low, each.high) for each in estimates)
    return Estimate(*(sum(column) / len(estimates) for column in zip(*parts, strict=True)))


def at(sets: Sequence[Measured], setting: Setting) -> Over:
    """Return what a setting does, against none."""
    return over(sets, lambda one: one.change(setting))


def tuned(sets: Sequence[Measured], path: str) -> Over:
    """Return what a knob does whose value, or to leave it off, is chosen on other blocks of the same set."""
    return over(sets, lambda one: one.tuned(path).of_blocks)


def tuned_beyond(sets: Sequence[Measured], path: str, value: float) -> Over:
    """Return what a tuned knob does beyond one fixed value of it."""
    return over(sets, lambda one: one.tuned(path).of_blocks - one.change(settings.alone(path, value)))


def blind(sets: Sequence[Measured], path: str) -> Over:
    """Return what a value of a knob does that is taken blindly from its ladder."""
    return over(sets, lambda one: one.ladder(path).mean(axis=0))


def best_of_all(sets: Sequence[Measured]) -> Over:
    """Return what the best of all values of all knobs does, chosen on other blocks of the same set."""
    return over(sets, lambda one: one.best[0].of_blocks)


def with_together(sets: Sequence[Measured]) -> list[Measured]:
    """Return the sets on which all knobs at once, and tied masks, were trained too."""
    return [one for one in sets if one.has_together]


def all_at_once() -> dict[str, Callable[[Measured], Array]]:
    """Return what all knobs at once do on a set, by the way in which their values were found."""
    fixed = {words: lambda one, s=setting: one.change(s) for words, setting in settings.EVERYTHING.items()}
    return fixed | {"each at its best by other blocks": lambda one: one.together}


def turned_together(sets: Sequence[Measured]) -> float:
    """Return how many knobs are on, on average, where each is at its best by other blocks."""
    return float(np.mean([len(settings.turned(setting)) for one in sets for setting, _ in one.chosen_together]))


def best_alone(one: Measured) -> Array:
    """Return what the best value of one knob does, chosen on other blocks, weight decay left out."""
    return one.chosen([s for s in settings.singles() if settings.WEIGHT_DECAY not in s]).of_blocks


def tied_against_per_gate(one: Measured) -> Array:
    """Return what tied recurrent dropout, tuned, does beyond that with a mask for each gate, tuned likewise."""
    return one.tied.of_blocks - one.tuned(settings.RECURRENT_DROPOUT).of_blocks


def at_first(own: Sequence[Measured], everything: Iterable[Measured]) -> list[Measured]:
    """Return the same sets under the condition that all have in common."""
    subjects = {one.condition.subject for one in own}
    return [one for one in compared(everything) if one.condition.subject in subjects]


def staged(everything: Sequence[Measured]) -> list[Measured]:
    """Return each set at the size that people arrive at, where there are two sizes at least.

    From 8 units the size is doubled as long as the loss without a knob, on the blocks that end the trainings, falls.
    """
    of_subjects: dict[str, dict[int, Measured]] = {}
    amounts = {one.condition.subject: one.condition.cases for one in compared(everything)}
    for one in everything:
        condition = one.condition
        if condition.layers == 1 and amounts.get(condition.subject, 0) == condition.cases:
            of_subjects.setdefault(condition.subject, {})[condition.hidden] = one
    found = []
    for sizes in of_subjects.values():
        if _FIRST_STAGE in sizes and len(sizes) > 1:
            hidden = _FIRST_STAGE
            while 2 * hidden in sizes and sizes[2 * hidden].stopping.mean() < sizes[hidden].stopping.mean():
                hidden *= 2
            found.append(sizes[hidden])
    return found


#: Values of knobs, by path.
Ladders = Mapping[str, tuple[float, ...]]


def begun_with() -> Ladders:
    """Return the values that a search tries of each knob if it is told none, as far as the study has tried them."""
    found = {knob.path: knob.ladder for knob in KNOBS.values() if knob.by_default}
    return {path: tuple(v for v in values if v in settings.LADDERS[path]) for path, values in found.items()}


def best_of(sets: Sequence[Measured], ladders: Callable[[Measured], Ladders]) -> Over:
    """Return what the best of some values does, chosen on other blocks of the same set; which, may differ by set."""

    def effect(one: Measured) -> Array:
        values = [settings.alone(path, value) for path, own in ladders(one).items() for value in own]
        return one.chosen(values).of_blocks

    return over(sets, effect)


def ladders_of_others(sets: Sequence[Measured]) -> dict[str, Ladders]:
    """Return as many values of each knob as a search begins with: those that tune best over the other families."""

    def best(path: str, count: int, others: Sequence[Measured]) -> tuple[float, ...]:
        tries = combinations(settings.LADDERS[path], count)
        return min(tries, key=lambda values: best_of(others, lambda one: {path: values}).pooled.mean)

    counts = {path: len(values) for path, values in begun_with().items()}
    return {name: {path: best(path, n, others) for path, n in counts.items()} for name, others in _others(sets)}


def best_value(sets: Sequence[Measured], path: str) -> float:
    """Return the value of a knob with the lowest mean over sets."""
    return min(settings.LADDERS[path], key=lambda value: _mean(sets, settings.alone(path, value)))


def fixed_by_others(sets: Sequence[Measured], path: str) -> Over:
    """Return what the value of a knob does that the other families find best."""
    values = {name: best_value(others, path) for name, others in _others(sets)}
    return over(sets, lambda one: one.change(settings.alone(path, values[family(one)])))


def knob_of_others(sets: Sequence[Measured]) -> tuple[dict[str, str], Over]:
    """Return which knob, tuned on each set, does best in the others, by family; and what it does when tuned there."""
    paths = {
        name: min(settings.LADDERS, key=lambda path, others=others: tuned(others, path).pooled.mean)
        for name, others in _others(sets)
    }
    return paths, over(sets, lambda one: one.tuned(paths[family(one)]).of_blocks)


def _others(sets: Sequence[Measured]) -> list[tuple[str, list[Measured]]]:
    return [(name, [one for one in sets if family(one) != name]) for name in sorted(set(map(family, sets)))]


def family(one: Measured) -> str:
    """Return the family of the set."""
    return SUBJECTS[one.condition.subject].family


def _mean(sets: Sequence[Measured], setting: Setting) -> float:
    """Return the mean effect of a setting over families, each counting once; of none it is 0."""
    return float(np.mean([family.estimate.mean for family in at(sets, setting).families])) if setting else 0.0


def proposed(sets: Sequence[Measured]) -> Setting:
    """Return which value of which knob is best over sets, or nothing if none helps."""
    return min([{}, *settings.singles()], key=lambda setting: _mean(sets, setting))


def proposed_with_care(sets: Sequence[Measured]) -> Setting:
    """Return the same of the values whose mean over sets is below zero for certain; nothing if there is none."""
    sure = [setting for setting in settings.singles() if at(sets, setting).pooled.high < 0]
    return min(sure, key=lambda setting: _mean(sets, setting), default={})


@dataclass(frozen=True)
class LeftOut:
    """What the other families propose for one that they do not know.

    Attributes:
        family: Which is judged.
        proposal: What the others propose.
        own_task: What those of the others propose that ask the same; as the first, where there are fewer than two.
        careful: What the others propose if they only propose what helps them for certain.
    """

    family: str
    proposal: Setting
    own_task: Setting
    careful: Setting


def left_out(sets: Sequence[Measured]) -> list[LeftOut]:
    """Let the others propose, for each family in turn."""
    found = []
    for name, others in _others(sets):
        (task,) = {one.task for one in sets if family(one) == name}
        alike = [one for one in others if one.task == task]
        proposal = proposed(others)
        of_alike = proposed(alike) if len(set(map(family, alike))) > 1 else proposal
        found.append(LeftOut(name, proposal, of_alike, proposed_with_care(others)))
    return found


@dataclass(frozen=True)
class PairEffect:
    """Two knobs together, on the blocks that had no say in choosing them; log ratios, means over those blocks.

    Attributes:
        subject: The set.
        paths: The knobs.
        together: Both, against none.
        better: The better one of the two alone, by the blocks that chose.
        sum: What both would do if their effects added up.
    """

    subject: str
    paths: tuple[str, str]
    together: float
    better: float
    sum: float


def pair_effects(one: Measured) -> list[PairEffect]:
    """Return what pairs do on a set."""
    found = []
    for setting, of_blocks in one.pairs:
        alone = np.stack([one.change(settings.alone(path, value)) for path, value in settings.turned(setting).items()])
        better = choose(alone).of_blocks
        judged = ~np.isnan(of_blocks)
        first, second = sorted(settings.turned(setting))
        found.append(
            PairEffect(
                one.condition.subject,
                (first, second),
                float(of_blocks[judged].mean()),
                float(better[judged].mean()),
                float(alone.sum(axis=0)[judged].mean()),
            )
        )
    return found


def picked(chosen: Chosen, path: str) -> float | None:
    """Return the value of a knob that all blocks choose; ``None`` where that is to leave it off."""
    return None if chosen.overall == 0 else settings.LADDERS[path][chosen.overall - 1]


def kinds(sets: Sequence[Measured]) -> dict[str, list[Measured]]:
    """Return the sets by kind: what is asked, and of one column or of several."""
    return {
        "forecasts from several columns": [one for one in sets if one.task == "forecast" and one.columns > 1],
        "other questions, several columns": [one for one in sets if one.task != "forecast" and one.columns > 1],
        "one column": [one for one in sets if one.columns == 1],
    }


def with_several_amounts(everything: Sequence[Measured]) -> list[list[Measured]]:
    """Return the sets that were measured with several amounts of data, at 16 units: the fewest cases first."""
    own = [
        one
        for one in everything
        if (one.condition.hidden, one.condition.layers) == (16, 1) and not SUBJECTS[one.condition.subject].is_made_up
    ]
    return [
        sorted(group, key=lambda one: np.mean(one.trained_on))
        for _, items in groupby(sorted(own, key=lambda m: m.condition.subject), lambda m: m.condition.subject)
        if len(group := list(items)) > 1
    ]


def fewest_against_most(several: Sequence[Sequence[Measured]], effect: Callable[[Measured], Array]) -> Estimate:
    """Return how an effect differs between a set's fewest cases and its most; stretches of one set count once."""
    of_families: dict[str, list[float]] = {}
    for group in several:
        difference = effect(group[0]).mean() - effect(group[-1]).mean()
        of_families.setdefault(family(group[0]), []).append(float(difference))
    return Estimate.over([np.mean(own) for own in of_families.values()])


@dataclass(frozen=True)
class SearchEffect:
    """What the picks of whole searches do on the sets of a family, log ratios to no knob.

    Attributes:
        of_blocks: On the blocks, with fresh seeds.
        of_test: On the rows of the test.
        followed: There too, where a pick that is not recommended is left alone.
    """

    of_blocks: float
    of_test: float
    followed: float


def searched(searches: Iterable[Searched]) -> dict[str, SearchEffect]:
    """Return what the picks of whole searches do, by family; of several sets of one, the mean."""
    families: dict[str, list[Searched]] = {}
    for one in searches:
        families.setdefault(one.family, []).append(one)
    return {
        name: SearchEffect(
            of_blocks=float(np.mean([one.of_blocks.mean() for one in own])),
            of_test=float(np.mean([one.of_test for one in own])),
            followed=float(np.mean([one.of_test if one.recommends else 0.0 for one in own])),
        )
        for name, own in families.items()
    }
