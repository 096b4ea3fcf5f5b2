"""Writes what the study says: sentences with their numbers, and the tables of ``docs/evidence.md``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from statistics import median

import numpy as np

from . import comparing, settings
from .comparing import FEW, WORTH, LeftOut, PairEffect, compared, family, left_out, pair_effects, picked
from .measured import Measured, measured
from .results import Line
from .sets import SUBJECTS
from .settings import KERAS_STRENGTH, LADDERS, Setting, alone, name
from .statistics import Array, Estimate, Pooled
from .words import change, ends, listed, markdown

#: So often a 95 % interval lies below zero where there is nothing.
_LUCK = 0.025


def summary(lines: Iterable[Line]) -> Iterator[str]:
    """Yield paragraphs and tables."""
    everything = measured(lines)
    sets = compared(everything)
    if len({family(one) for one in sets}) < FEW:
        yield "Too few sets have been measured to say anything of all."
        return
    proposals = {each.family: each for each in left_out(sets)}
    yield carried(everything, sets)
    said = [*sentences(sets, proposals), *amounts(everything), *controls(everything)]
    yield "\n".join(f"- {sentence}" for sentence in said)
    yield "![What each knob does when it is tuned, on each set and over all](../benchmarks/results/evidence-knobs.svg)"
    yield "![What each value of each knob does](../benchmarks/results/evidence-doses.svg)"
    yield "## Each set"
    yield sets_table(everything)
    yield "## Each knob, over all sets"
    yield knobs_table(sets)
    yield "## Values that are copied"
    yield copied_table(sets)
    yield "## Pairs"
    yield pairs_table(sets)
    yield "## What the other sets would have proposed"
    yield left_out_table(sets, proposals)
    yield "## Kinds of sets"
    yield kinds_table(sets)
    yield "## Near to the floor and far from it"
    yield distance_table(sets)
    yield "## With how many cases"
    yield amounts_table(everything)
    yield "## With how many units"
    yield sizes_table(everything)


# ---------------------------------------------------------------------- sentences


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
    sure = ", ".join(f"`{name(p)}`" for p, o in tuned.items() if o.pooled.high < 0)
    yield (
        f"**Knobs whose tuned mean over sets is below zero for certain**: {sure or 'none'} (of {len(tuned)} that were "
        f"looked at; luck alone would name {_LUCK * len(tuned):.1f})."
    )
    yield (
        f"**Early stopping alone against everything**: the best of {len(settings.singles())} values of all knobs, "
        f"chosen on one half of the blocks, changes the loss on the other by {change(everything.pooled)}; worth "
        f"having in {everything.helped} of {count} sets, for certain in {everything.helped_for_certain}; it harms in "
        f"{everything.harmed}."
    )
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
    yield (
        f"**A value that served others**: the one that is best over the other sets changes the loss on a set that had "
        f"no say in it by {change(of_others.pooled)}; it helps in {of_others.helped} and harms in {of_others.harmed} "
        f"of {count}."
    )
    kinds = {words: own for words, own in _kinds(sets).items() if len(own) >= FEW}
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


def amounts(everything: Sequence[Measured]) -> Iterator[str]:
    """Say whether knobs bring more where there are fewer cases."""
    several = _with_several_amounts(everything)
    families = {family(group[0]) for group in several}
    if len(families) < FEW:
        return
    difference = _fewest_against_most(several, lambda one: one.best[0].of_blocks)
    if difference.low > 0:
        verdict = "No, less; perhaps because of few cases few are left to choose by"
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


# ---------------------------------------------------------------------- tables


def sets_table(everything: Sequence[Measured]) -> str:
    """Return a row for each condition."""
    header = ["set", "units", "train on", "rate", "no knob against the best floor", "against the simple model",
              "best of all values", "its change", "picks of the halves"]  # fmt: skip
    rows = []
    for one in sorted(everything, key=lambda m: (not m.is_first, list(SUBJECTS).index(m.condition.subject))):
        chosen, offered = one.best
        picks = dict.fromkeys(settings_words(offered[int(pick)]) for pick in chosen.picks)
        simple = one.best_simple_model
        rows.append(
            [
                f"{one.condition.subject} ({one.task})",
                str(one.condition.hidden),
                listed([min(one.trained_on), max(one.trained_on)]),
                f"{one.rate:g}",
                f"{one.best_floor} {change(one.beyond(one.best_floor))}",
                "–" if simple is None else f"{simple} {change(one.beyond(simple))}",
                settings_words(offered[chosen.overall]),
                change(Estimate.over(chosen.of_blocks)),
                "; ".join(picks),
            ]
        )
    return markdown(header, rows, numbers=(1, 2, 3))


def knobs_table(sets: Sequence[Measured]) -> str:
    """Return a row for each knob."""
    header = ["knob", "tuned: mean change", "on another set", "sd between sets", "worth having", "for certain",
              "values where it was", "best fixed value", "that of the other sets", "a value taken blindly"]  # fmt: skip
    rows = []
    for path in LADDERS:
        tuned, at = comparing.tuned(sets, path), comparing.best_value(sets, path)
        values = [
            value
            for one in sets
            if Estimate.over(one.tuned(path).of_blocks).mean < WORTH
            and (value := picked(one.tuned(path), path)) is not None
        ]
        rows.append(
            [
                name(path),
                change(tuned.pooled),
                ends(tuned.pooled.predicted),
                f"{tuned.pooled.between:.2f}",
                f"{tuned.helped} of {len(tuned.families)}",
                str(tuned.helped_for_certain),
                f"{median(values):g} ({min(values):g} to {max(values):g})" if values else "–",
                f"{at:g}",
                change(comparing.fixed_by_others(sets, path).pooled),
                change(comparing.blind(sets, path).pooled),
            ]
        )
    return markdown(header, rows, numbers=range(1, len(header)))


def copied_table(sets: Sequence[Measured]) -> str:
    """Return a row for each value that is copied."""
    header = ["copied", "against none", "on another set", "harms by 2 %", "helps by 2 %", "tuned, beyond it"]
    rows = []
    for path, value in settings.COPIED.items():
        at, beyond = comparing.at(sets, alone(path, value)), comparing.tuned_beyond(sets, path, value)
        rows.append(
            [
                f"{name(path)} = {value:g}",
                change(at.pooled),
                ends(at.pooled.predicted),
                f"{at.harmed} of {len(at.families)}",
                f"{at.helped} of {len(at.families)}",
                change(beyond.pooled),
            ]
        )
    return markdown(header, rows, numbers=range(1, len(header)))


def pairs_table(sets: Sequence[Measured]) -> str:
    """Return a row for all pairs that were tried, and for each that was on several families of sets."""
    found = sorted((effect for one in sets for effect in pair_effects(one)), key=lambda effect: effect.paths)
    rows = [_pair_row("all that were tried", found)]
    for paths, own in groupby(found, key=lambda effect: effect.paths):
        effects = list(own)
        if len({_family(effect.subject) for effect in effects}) >= FEW:
            rows.append(_pair_row(" + ".join(map(name, paths)), effects))
    header = ["pair", "tried on", "both", "beyond the better one", "beyond the sum of both"]
    return markdown(header, rows, numbers=range(1, len(header)))


def _pair_row(words: str, effects: Sequence[PairEffect]) -> list[str]:
    families = sorted({_family(effect.subject) for effect in effects})

    def cell(value: Callable[[PairEffect], float]) -> str:
        return change(
            Estimate.over([np.mean([value(e) for e in effects if _family(e.subject) == one]) for one in families])
        )

    return [
        words,
        f"{len(families)} sets",
        cell(lambda e: e.together),
        cell(lambda e: e.together - e.better),
        cell(lambda e: e.together - e.sum),
    ]


def left_out_table(sets: Sequence[Measured], proposals: Mapping[str, LeftOut]) -> str:
    """Return a row for each family that the others propose something for."""
    header = [
        *("set", "proposed by the others", "its change", "by those of the same task", "its change"),
        *("by the others with care", "its change"),
        *("kernel_l2 = 0.01", "dropout = 0.2", "own search, half of the blocks"),
    ]

    def proposal(one: Measured) -> LeftOut:
        return proposals[family(one)]

    columns = [
        comparing.over(sets, lambda one: one.change(proposal(one).proposal)),
        comparing.over(sets, lambda one: one.change(proposal(one).own_task)),
        comparing.over(sets, lambda one: one.change(proposal(one).careful)),
        comparing.at(sets, alone("model.kernel_l2", KERAS_STRENGTH)),
        comparing.at(sets, alone("model.dropout", settings.COPIED_RATE)),
        comparing.best_of_all(sets),
    ]
    rows = []
    for number, each in enumerate(proposals.values()):
        cells = [change(column.families[number].estimate) for column in columns]
        words = [settings_words(setting) for setting in (each.proposal, each.own_task, each.careful)]
        rows.append([each.family, words[0], cells[0], words[1], cells[1], words[2], *cells[2:]])
    cells = [change(column.pooled) for column in columns]
    rows.append(["**all**", "", cells[0], "", cells[1], "", *cells[2:]])
    return markdown(header, rows, numbers=(2, 4, 6, 7, 8, 9))


def kinds_table(sets: Sequence[Measured]) -> str:
    """Return a row for each kind of set of which there are some: what is asked, and of one column or of several."""
    return _groups_table(_kinds(sets))


def _kinds(sets: Sequence[Measured]) -> dict[str, list[Measured]]:
    return {
        "forecasts from several columns": [one for one in sets if one.task == "forecast" and one.columns > 1],
        "other questions, several columns": [one for one in sets if one.task != "forecast" and one.columns > 1],
        "one column": [one for one in sets if one.columns == 1],
    }


def distance_table(sets: Sequence[Measured]) -> str:
    """Return a row for the sets on which no knob is nearer to the best floor, and one for the others."""
    ordered = sorted(sets, key=lambda one: -one.beyond(one.best_floor).mean)
    middle = (len(ordered) + 1) // 2
    return _groups_table({"nearer": ordered[:middle], "farther": ordered[middle:]})


def _groups_table(groups: Mapping[str, Sequence[Measured]]) -> str:
    header = ["sets", "no knob against the best floor", "best of all values", "kernel_l1 = 0.01", *map(name, _SHOWN)]
    rows = [
        [
            f"{words}: {', '.join(one.condition.subject for one in own)}",
            change(comparing.over(own, lambda one: one.baseline - one.floors[one.best_floor]).pooled),
            change(comparing.best_of_all(own).pooled),
            change(comparing.at(own, alone("model.kernel_l1", KERAS_STRENGTH)).pooled),
            *(change(comparing.tuned(own, path).pooled) for path in _SHOWN),
        ]
        for words, own in groups.items()
        if len(own) >= FEW
    ]
    return markdown(header, rows, numbers=range(1, len(header)))


def _with_several_amounts(everything: Sequence[Measured]) -> list[list[Measured]]:
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


def _fewest_against_most(several: Sequence[Sequence[Measured]], effect: Callable[[Measured], Array]) -> Estimate:
    """Return how an effect differs between a set's fewest cases and its most; stretches of one set count once."""
    of_families: dict[str, list[float]] = {}
    for group in several:
        difference = effect(group[0]).mean() - effect(group[-1]).mean()
        of_families.setdefault(family(group[0]), []).append(float(difference))
    return Estimate.over([np.mean(own) for own in of_families.values()])


def amounts_table(everything: Sequence[Measured]) -> str:
    """Return a row for each set that was measured with several amounts of data, at 16 units."""
    several = _with_several_amounts(everything)
    if not several:
        return "No set has been measured with several amounts of data yet."
    header = ["set", "train on", "no knob against the best floor", "best of all values", *map(name, _SHOWN)]
    rows = []
    for group in several:
        for one in group:
            rows.append(
                [
                    one.condition.subject,
                    listed([min(one.trained_on), max(one.trained_on)]),
                    change(one.beyond(one.best_floor)),
                    change(Estimate.over(one.best[0].of_blocks)),
                    *(change(Estimate.over(one.tuned(path).of_blocks)) for path in _SHOWN),
                ]
            )
    if len(several) >= FEW:
        tuned = [
            change(_fewest_against_most(several, lambda one, path=path: one.tuned(path).of_blocks)) for path in _SHOWN
        ]
        best = change(_fewest_against_most(several, lambda one: one.best[0].of_blocks))
        rows.append(["**fewest against most**", "", "", best, *tuned])
    return markdown(header, rows, numbers=range(1, len(header)))


def sizes_table(everything: Sequence[Measured]) -> str:
    """Return a row for each size of the network that was measured on some sets, beside the same sets at 16 units."""
    reference = {one.condition.subject: one for one in compared(everything)}
    sizes: dict[tuple[int, int], list[Measured]] = {}
    for one in everything:
        there = reference.get(one.condition.subject)
        if there is not None and there.condition.cases == one.condition.cases:
            sizes.setdefault((one.condition.layers, one.condition.hidden), []).append(one)
    header = ["units", "layers", "sets", "seeds", "no knob against 16 units", "best of all values", *map(name, _SHOWN)]
    rows = [
        [
            str(hidden),
            str(layers),
            str(len({family(one) for one in own})),
            listed(sorted({one.seeds for one in own})),
            "–" if own[0].is_first else change(_against(own, reference)),
            change(comparing.best_of_all(own).pooled),
            *(change(comparing.tuned(own, path).pooled) for path in _SHOWN),
        ]
        for (layers, hidden), own in sorted(sizes.items())
        if len({family(one) for one in own}) >= FEW
    ]
    if len(rows) < 2:
        return "No other size has been measured on enough sets yet."
    return markdown(header, rows, numbers=range(len(header)))


def _against(own: Sequence[Measured], reference: Mapping[str, Measured]) -> Pooled:
    return comparing.over(own, lambda one: one.baseline - reference[one.condition.subject].baseline).pooled


#: The knobs of the tables by kinds, distance and amounts.
_SHOWN = ("model.kernel_l1", "model.activity_l2", "model.dropout", "model.recurrent_dropout", "training.weight_decay")


def subjects_table() -> str:
    """Return a row for each set: what it is, why an LSTM, whose it is."""
    header = ["set", "what is asked", "why an LSTM", "from", "licence of the data", "in"]
    rows = [
        [
            f"{s.name} ({s.real.task})",
            s.real.about,
            s.why,
            s.real.source,
            s.real.licence,
            s.real.wheel or ("numpy" if s.is_made_up else "lstmreg, scikit-learn"),
        ]
        for s in SUBJECTS.values()
    ]
    return markdown(header, rows)


# ---------------------------------------------------------------------- words


def _family(subject: str) -> str:
    return SUBJECTS[subject].family


def settings_words(setting: Setting) -> str:
    """Say a setting in a cell."""
    return ", ".join(f"{name(path)} {value:g}" for path, value in settings.turned(setting).items()) or "nothing"


def _knobs(by_family: Mapping[str, str]) -> str:
    """Say which knobs, the most frequent first, and how often where there are several."""
    counted = Counter(by_family.values()).most_common()
    many = len(counted) > 1
    return ", ".join(f"`{name(path)}`" + (f" in {count}" if many else "") for path, count in counted)
