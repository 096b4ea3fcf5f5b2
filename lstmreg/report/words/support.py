"""Which sentences support the headline, in which order."""

from __future__ import annotations

from lstmreg.report.answers import Answer

from .beside import about_other_sets
from .columns import about_columns
from .comparing import about_averaging, about_floor, about_simple_model, about_test
from .deciding import about_deciding, about_open_knobs
from .explaining import about_left_out, about_unstopped
from .judging import about_candidate, about_crossing, about_picks, about_rival
from .naming import better_simple_model, is_cut_short
from .training import (
    about_configured,
    about_diagnosis,
    about_differences,
    about_failures,
    about_last_epochs,
    about_learning_rate,
    about_machines,
    about_single_column,
    about_strong_starts,
    about_trials,
)
from .unfinished import about_unfinished
from .where import about_where


def summary(answer: Answer) -> list[str]:
    """Say in two or three short paragraphs what supports the headline, and what a simple model says to it."""
    simple = answer.simple_model_effect
    rivals = about_simple_model(answer) if answer.is_confirmed and simple is not None and simple.high >= 0 else []
    crossing = about_crossing(answer)
    if crossing:
        return [*crossing, about_candidate(answer), *rivals]
    decides = about_deciding(answer)
    is_worse = answer.floor_effect is not None and answer.floor_effect.low > 0
    if is_cut_short(answer) and not answer.is_confirmed and not is_worse:
        return [about_candidate(answer), about_diagnosis(answer)]
    is_ahead = answer.floor_effect is not None and answer.floor_effect.high < 0
    if decides and is_ahead and not better_simple_model(answer):
        return [about_candidate(answer), *decides]
    worse = about_simple_model(answer) if better_simple_model(answer) and not is_worse else []
    return [about_candidate(answer), *(worse or about_floor(answer)), *rivals]


def details(answer: Answer) -> list[str]:
    """Say the rest, most important first."""
    said = [
        about_diagnosis(answer),
        *about_deciding(answer),
        *about_floor(answer),
        *about_simple_model(answer),
        *about_rival(answer),
        *about_picks(answer),
        about_test(answer),
        *about_where(answer),
        *about_averaging(answer),
        *about_columns(answer),
        *about_left_out(answer),
        *about_open_knobs(answer),
        *about_other_sets(answer),
        *about_failures(answer),
        *about_strong_starts(answer),
        *(about_unstopped(answer) or about_last_epochs(answer)),
        about_learning_rate(answer),
        *about_trials(answer),
        *about_configured(answer),
        *about_single_column(answer),
        *about_differences(answer),
        *about_machines(answer),
        *answer.data.notes,
    ]
    first = summary(answer)
    return [sentence for sentence in dict.fromkeys(said) if sentence not in first]


def sentences(answer: Answer) -> list[str]:
    """Say what supports the headline, most important first; before all that the search has not ended, if so it is."""
    return [*about_unfinished(answer), *summary(answer), *details(answer)]
