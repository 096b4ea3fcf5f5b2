"""The tables of ``docs/evidence.md``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from statistics import median

import numpy as np

from . import comparing, settings
from .comparing import FEW, WORTH, LeftOut, Over, PairEffect, compared, family, pair_effects, picked
from .measured import Measured
from .searches import Searched
from .sets import SUBJECTS
from .settings import KERAS_STRENGTH, LADDERS, alone, name
from .statistics import Estimate, Pooled
from .words import change, ends, listed, markdown, percent, settings_words


def sets_table(everything: Sequence[Measured]) -> str:
    """Return a row for each condition."""
    header = ["set", "units", "layers", "seeds", "train on", "rate", "no knob against the best floor",
              "against the simple model", "best of all values", "its change", "picks of the halves"]  # fmt: skip
    rows = []
    for one in sorted(everything, key=lambda m: (not m.is_first, list(SUBJECTS).index(m.condition.subject))):
        chosen, offered = one.best
        picks = dict.fromkeys(settings_words(offered[int(pick)]) for pick in chosen.picks)
        simple = one.best_simple_model
        rows.append(
            [
                f"{one.condition.subject} ({one.task})",
                str(one.condition.hidden),
                str(one.condition.layers),
                str(one.seeds),
                listed([min(one.trained_on), max(one.trained_on)]),
                f"{one.rate:g}",
                f"{one.best_floor} {change(one.beyond(one.best_floor))}",
                "–" if simple is None else f"{simple} {change(one.beyond(simple))}",
                settings_words(offered[chosen.overall]),
                change(Estimate.over(chosen.of_blocks)),
                "; ".join(picks),
            ]
        )
    return markdown(header, rows, numbers=(1, 2, 3, 4, 5))


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
        rows.append([f"{name(path)} = {value:g}", *_cells(at), change(beyond.pooled)])
    return markdown(header, rows, numbers=range(1, len(header)))


def _cells(found: Over) -> list[str]:
    """Write an effect: the mean, that on another set, and how often it harms and helps."""
    count = len(found.families)
    mean, another = change(found.pooled), ends(found.pooled.predicted)
    return [mean, another, f"{found.harmed} of {count}", f"{found.helped} of {count}"]


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


def at_once_table(sets: Sequence[Measured]) -> str:
    """Return a row for each way to turn all knobs at once."""
    if len({family(one) for one in sets}) < FEW:
        return "All knobs at once have been tried on too few sets yet."
    header = ["all at once", "against none", "on another set", "harms by 2 %", "helps by 2 %",
              "against the best one alone"]  # fmt: skip
    rows = []
    for words, effect in comparing.all_at_once().items():
        found = comparing.over(sets, effect)
        beyond = comparing.over(sets, lambda one, effect=effect: effect(one) - comparing.best_alone(one))
        rows.append([words, *_cells(found), change(beyond.pooled)])
    return markdown(header, rows, numbers=range(1, len(header)))


def tied_table(sets: Sequence[Measured]) -> str:
    """Return a row for each rate of recurrent dropout: with a mask for each gate, and with one for all."""
    if len({family(one) for one in sets}) < FEW:
        return "Tied masks have been tried on too few sets yet."
    header = ["recurrent_dropout", "a mask for each gate", "one for all gates", "against one for each"]
    rows = []
    for rate in LADDERS[settings.RECURRENT_DROPOUT]:
        each, tied = alone(settings.RECURRENT_DROPOUT, rate), settings.tied(rate)
        against = comparing.over(sets, lambda one, e=each, t=tied: one.change(t) - one.change(e))
        found = [comparing.at(sets, each).pooled, comparing.at(sets, tied).pooled, against.pooled]
        rows.append([f"{rate:g}", *map(change, found)])
    tuned = [
        comparing.tuned(sets, settings.RECURRENT_DROPOUT).pooled,
        comparing.over(sets, lambda one: one.tied.of_blocks).pooled,
        comparing.over(sets, comparing.tied_against_per_gate).pooled,
    ]
    rows.append(["tuned on other blocks", *map(change, tuned)])
    return markdown(header, rows, numbers=range(1, len(header)))


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


def searches_table(searches: Sequence[Searched]) -> str:
    """Return a row for each whole search, and one for all families of sets."""
    families = comparing.searched(searches)
    if len(families) < FEW:
        return "Too few sets have been searched yet."
    header = ["set", "pick", "recommended", "its change, fresh seeds", "on the rows of the test"]
    rows = [
        [
            one.subject,
            settings_words(one.pick),
            "yes" if one.recommends else "no",
            change(Estimate.over(one.of_blocks)),
            f"{percent(one.of_test)} %",
        ]
        for one in searches
    ]
    of_blocks = change(Estimate.over([each.of_blocks for each in families.values()]))
    of_test = change(Estimate.over([each.of_test for each in families.values()]))
    rows.append(["**all**", "", f"{sum(one.recommends for one in searches)} of {len(searches)}", of_blocks, of_test])
    return markdown(header, rows, numbers=(3, 4))


def kinds_table(sets: Sequence[Measured]) -> str:
    """Return a row for each kind of set of which there are some: what is asked, and of one column or of several."""
    return _groups_table(comparing.kinds(sets))


def distance_table(sets: Sequence[Measured]) -> str:
    """Return rows for sets on which no knob is near to the best floor or to the simple model, and for the others."""
    ordered = sorted(sets, key=lambda one: -one.beyond(one.best_floor).mean)
    middle = (len(ordered) + 1) // 2
    groups = {"nearer": ordered[:middle], "farther": ordered[middle:]}
    simple = [one for one in sets if one.best_simple_model is not None]
    is_behind = [one.beyond(one.best_simple_model or "").mean >= 0 for one in simple]
    groups["no better than the simple model"] = [one for one, behind in zip(simple, is_behind, strict=True) if behind]
    groups["better than it"] = [one for one, behind in zip(simple, is_behind, strict=True) if not behind]
    return _groups_table(groups)


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


def amounts_table(everything: Sequence[Measured]) -> str:
    """Return a row for each set that was measured with several amounts of data, at 16 units."""
    several = comparing.with_several_amounts(everything)
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
            change(comparing.fewest_against_most(several, lambda one, path=path: one.tuned(path).of_blocks))
            for path in _SHOWN
        ]
        best = change(comparing.fewest_against_most(several, lambda one: one.best[0].of_blocks))
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


def _family(subject: str) -> str:
    return SUBJECTS[subject].family
