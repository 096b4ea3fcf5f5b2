"""Writes what the study says: sentences with their numbers, and the tables of ``docs/evidence.md``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from . import comparing, settings, tables
from .comparing import FEW, WORTH, LeftOut, compared, family, left_out
from .measured import Measured, measured
from .results import Line
from .searches import Searched
from .sets import SUBJECTS
from .settings import KERAS_STRENGTH, LADDERS, alone, name
from .statistics import Array, Estimate
from .words import change, ends, listed

#: So often a 95 % interval lies below zero where there is nothing.
_LUCK = 0.025


def summary(lines: Iterable[Line], searches: Sequence[Searched] = ()) -> Iterator[str]:
    """Yield paragraphs and tables.

    Args:
        lines: The results of the study.
        searches: What whole searches said of its sets.
    """
    everything = measured(lines)
    sets = compared(everything)
    if len({family(one) for one in sets}) < FEW:
        yield "Too few sets have been measured to say anything of all."
        return
    proposals = {each.family: each for each in left_out(sets)}
    yield carried(everything, sets)
    said = [
        *sentences(sets, proposals),
        *at_once(comparing.with_together(sets)),
        *staged_sizes(everything),
        *whole_searches(searches),
        *amounts(everything),
        *controls(everything),
    ]
    yield "\n".join(f"- {sentence}" for sentence in said)
    yield "![What each knob does when it is tuned, on each set and over all](../benchmarks/results/evidence-knobs.svg)"
    yield "![What each value of each knob does](../benchmarks/results/evidence-doses.svg)"
    yield "## Each set"
    yield tables.sets_table(everything)
    yield "## Each knob, over all sets"
    yield tables.knobs_table(sets)
    yield "## Values that are copied"
    yield tables.copied_table(sets)
    yield "## Pairs"
    yield tables.pairs_table(sets)
    yield "## All at once, and masks that the gates share"
    yield tables.at_once_table(comparing.with_together(sets))
    yield tables.tied_table(comparing.with_together(sets))
    yield "## What the other sets would have proposed"
    yield tables.left_out_table(sets, proposals)
    yield "## What a whole search finds"
    yield tables.searches_table(searches)
    yield "## Kinds of sets"
    yield tables.kinds_table(sets)
    yield "## Near to the floor and far from it"
    yield tables.distance_table(sets)
    yield "## With how many cases"
    yield tables.amounts_table(everything)
    yield "## With how many units"
    yield tables.sizes_table(everything)


def carried(everything: Sequence[Measured], sets: Sequence[Measured]) -> str:
    """Say what was run."""
    families = {family(one) for one in sets}
    trainings = sum(one.trainings for one in everything)
    failures = sum(one.failures for one in everything)
    blocks = sorted({len(one.trained_on) for one in sets})
    seeds = sorted({one.seeds for one in sets})
    there = {one.condition.subject for one in everything}
    missing = ", ".join(subject for subject in SUBJECTS if subject not in there)
    return (
        f"What this page carries: {trainings:,} trainings ({failures:,} of them failed) under {len(everything)} "
        f"conditions. The sentences and the tables over sets stand on {len(sets)} real sets of {len(families)} "
        f"families, one condition each: 16 units, one layer, 300 training cases (all, where a block has hardly "
        f"more), {listed(blocks)} blocks, {listed(seeds)} {'seed' if seeds == [1] else 'seeds'} a block."
        + (f" Not measured yet: {missing}." if missing else "")
    )


def sentences(sets: Sequence[Measured], proposals: Mapping[str, LeftOut]) -> Iterator[str]:
    """Say the answers, each with its interval."""
    tuned = {path: comparing.tuned(sets, path) for path in LADDERS}
    path = min(tuned, key=lambda p: tuned[p].pooled.mean)
    best, everything = tuned[path], comparing.best_of_all(sets)
    count = len(best.families)
    by_others, knob_of_others = comparing.knob_of_others(sets)
    yield (
        f"**If you can afford one knob**: `{name(path)}` has the best mean when its value is chosen on other blocks "
        f"of the same data: {change(best.pooled)}; worth having in {best.helped} of {count} sets, for certain in "
        f"{best.helped_for_certain}. On another set: {ends(best.pooled.predicted)}. Where the other sets say which "
        f"knob to tune, it is {_knobs(by_others)}, and brings {change(knob_of_others.pooled)}."
    )
    sure = [p for p, found in tuned.items() if found.pooled.high < 0]
    said = ", ".join(f"`{name(p)}`" for p in sure)
    yield (
        f"**Knobs whose tuned mean over sets is below zero for certain**: {said or 'none'} (of {len(tuned)} that were "
        f"looked at; luck alone would name {_LUCK * len(tuned):.1f})."
    )
    yield (
        f"**Early stopping alone against everything**: the best of {len(settings.singles())} values of {len(tuned)} "
        f"knobs, AdamW's weight decay among them, chosen on one half of the blocks, changes the loss on the other by "
        f"{change(everything.pooled)}; worth having in {everything.helped} of {count} sets, for certain in "
        f"{everything.helped_for_certain}; it harms in {everything.harmed}. On another set: "
        f"{ends(everything.pooled.predicted)}."
    )
    yield beyond_weight_decay(sets, [p for p in sure if p != settings.WEIGHT_DECAY])
    parts = []
    for p in ("model.kernel_l1", "model.kernel_l2", "model.recurrent_l1", "model.recurrent_l2"):
        found = comparing.at(sets, alone(p, KERAS_STRENGTH))
        parts.append(f"`{name(p)}` {change(found.pooled)}, helps in {found.helped}, harms in {found.harmed}")
    yield f"**Keras' default strength 0.01** on the weights, against none, in {count} sets: {'; '.join(parts)}."
    for p in ("model.dropout", "model.recurrent_dropout"):
        found = comparing.at(sets, alone(p, settings.COPIED_RATE))
        beyond = comparing.tuned_beyond(sets, p, settings.COPIED_RATE)
        yield (
            f"**`{name(p)}` at 0.2**: {change(found.pooled)} against none (helps in {found.helped}, harms in "
            f"{found.harmed} of {count}); tuned it is {change(beyond.pooled)} beyond that."
        )
    of_others = comparing.over(sets, lambda one: one.change(proposals[family(one)].proposal))
    against_others = comparing.over(
        sets, lambda one: one.best[0].of_blocks - one.change(proposals[family(one)].proposal)
    )
    yield (
        f"**A value that served others**: the one that is best over the other sets changes the loss on a set that had "
        f"no say in it by {change(of_others.pooled)}; it helps in {of_others.helped} and harms in {of_others.harmed} "
        f"of {count}. Tuned on half of its own blocks, the best of all values is {change(against_others.pooled)} "
        f"beyond that."
    )
    yield from begun_with(sets)
    kinds = {words: own for words, own in comparing.kinds(sets).items() if len(own) >= FEW}
    said = "; ".join(
        f"{words} ({', '.join(one.condition.subject for one in own)}): "
        f"{change(comparing.at(own, alone('model.kernel_l1', KERAS_STRENGTH)).pooled)}"
        for words, own in kinds.items()
    )
    yield f"**`kernel_l1` at 0.01 by kinds of sets**: {said or 'too few sets of a kind'}."
    cells = np.array([one.change(setting).mean() for one in sets for setting in settings.singles()])
    harmful, helpful = 100 * (cells > -WORTH).mean(), 100 * (cells < WORTH).mean()
    yield (
        f"**A value that is not tuned**: of all {len(cells):,} values of knobs on sets, {harmful:.0f} % raise the loss "
        f"by more than 2 % and {helpful:.0f} % lower it by as much (estimates, noise included)."
    )


def beyond_weight_decay(sets: Sequence[Measured], paths: Iterable[str]) -> str:
    """Say what knobs, all and some, do beyond weight decay, which is what one would try without; all tuned likewise."""

    def beyond(effect: Callable[[Measured], Array]) -> str:
        found = comparing.over(sets, lambda one: effect(one) - one.tuned(settings.WEIGHT_DECAY).of_blocks)
        return change(found.pooled)

    parts = [f"the best value of any knob {beyond(comparing.best_alone)}"]
    parts += [f"`{name(path)}` {beyond(lambda one, path=path: one.tuned(path).of_blocks)}" for path in paths]
    return f"**Beyond AdamW's weight decay**, tuned likewise: {', '.join(parts)}."


def begun_with(sets: Sequence[Measured]) -> Iterator[str]:
    """Say what the values that a search begins with are worth, and as many that the left-out set had no say in."""
    ladders, of_others = comparing.begun_with(), comparing.ladders_of_others(sets)
    own = comparing.best_of(sets, lambda one: ladders)
    held_out = comparing.best_of(sets, lambda one: of_others[family(one)])
    yield (
        f"**The values that a search begins with**, {sum(map(len, ladders.values()))} of the "
        f"{len(settings.singles())}: the best of them, chosen on other blocks, changes the loss by "
        f"{change(own.pooled)}. They were chosen by this study; as many values of the same knobs that the other sets "
        f"alone chose: {change(held_out.pooled)}."
    )


def at_once(sets: Sequence[Measured]) -> Iterator[str]:
    """Say what all knobs at once do, and masks that the gates share."""
    if len({family(one) for one in sets}) < FEW:
        return
    parts = []
    for words, effect in comparing.all_at_once().items():
        found = comparing.over(sets, effect)
        parts.append(f"{words} {change(found.pooled)}, helps in {found.helped}, harms in {found.harmed}")
    beyond = comparing.over(sets, lambda one: one.together - comparing.best_alone(one))
    yield (
        f"**All six at once**, against none, on {beyond.pooled.count} sets: {'; '.join(parts)}. The last turns "
        f"{comparing.turned_together(sets):.1f} of the six on average, those that lower the loss by themselves where "
        f"they are chosen, and is {change(beyond.pooled)} against the best value of one knob alone, chosen likewise."
    )
    tied = comparing.over(sets, lambda one: one.tied.of_blocks)
    against = comparing.over(sets, comparing.tied_against_per_gate)
    yield (
        f"**Recurrent dropout with one mask for all gates** (tied), tuned: {change(tied.pooled)} against none, "
        f"{change(against.pooled)} against a mask for each gate, tuned likewise."
    )


def whole_searches(searches: Sequence[Searched]) -> Iterator[str]:
    """Say what the search's picks are worth, and on what."""
    families = comparing.searched(searches)
    if len(families) < FEW:
        return
    of_blocks = Estimate.over([each.of_blocks for each in families.values()])
    of_test = Estimate.over([each.of_test for each in families.values()])
    followed = Estimate.over([each.followed for each in families.values()])
    yield (
        f"**A whole search** (16 units, all training cases; [real data](real-data.md) says what each began with, "
        f"values that were chosen on these same sets in part) on {len(searches)} of the sets, "
        f"{len(families)} families: its picks change the loss by {change(of_blocks)} with fresh seeds on the blocks "
        f"that chose them, and by {change(of_test)} on test rows that had no part in anything. It recommends its pick "
        f"in {sum(one.recommends for one in searches)}; who follows that, and else turns no knob, has "
        f"{change(followed)} on the test rows."
    )


def staged_sizes(everything: Sequence[Measured]) -> Iterator[str]:
    """Say which size the staged rule finds, and what knobs do there."""
    own = comparing.staged(everything)
    if len({family(one) for one in own}) < FEW:
        return
    counts = Counter(one.condition.hidden for one in own)
    sizes = ", ".join(f"{hidden} units in {count}" for hidden, count in sorted(counts.items()))
    best, at_first = comparing.best_of_all(own), comparing.best_of_all(comparing.at_first(own, everything))
    yield (
        f"**The size by the staged rule** (8 units, doubled as long as the loss on the blocks that end the trainings "
        f"falls; few sets have 64, so 32 is that or more): {sizes} of {len(own)} sets. There the best of all values, "
        f"chosen on other blocks, changes the loss by {change(best.pooled)}; with 16 units on the same sets by "
        f"{change(at_first.pooled)}."
    )


def amounts(everything: Sequence[Measured]) -> Iterator[str]:
    """Say whether knobs bring more where there are fewer cases."""
    several = comparing.with_several_amounts(everything)
    families = {family(group[0]) for group in several}
    if len(families) < FEW:
        return
    difference = comparing.fewest_against_most(several, lambda one: one.best[0].of_blocks)
    if difference.low > 0:
        verdict = "No, less"
    elif difference.high < 0:
        verdict = "Yes"
    else:
        verdict = "It cannot be told"
    yield (
        f"**Do knobs bring more with fewer cases?** {verdict}: what the best of all values does to the loss, tuned, is "
        f"{change(difference)} with the fewest cases against what it does with the most, on {len(families)} sets."
    )


def controls(everything: Sequence[Measured]) -> Iterator[str]:
    """Say what the same does where there is nothing to be learnt."""
    made_up = [one for one in everything if one.is_first and SUBJECTS[one.condition.subject].is_made_up]
    if made_up:
        said = "; ".join(f"{m.condition.subject} {change(Estimate.over(m.best[0].of_blocks))}" for m in made_up)
        yield f"**Where nothing can be learnt** (made up), the best of all values, chosen and judged likewise: {said}."


def _knobs(by_family: Mapping[str, str]) -> str:
    """Say which knobs, the most frequent first, and how often where there are several."""
    counted = Counter(by_family.values()).most_common()
    many = len(counted) > 1
    return ", ".join(f"`{name(path)}`" + (f" in {count}" if many else "") for path, count in counted)
