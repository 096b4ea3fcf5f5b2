"""What the judge says of the pick, beside no knob and beside weight decay."""

from __future__ import annotations

from lstmreg.report.answers import Answer, Judged
from lstmreg.search.space import WEIGHT_DECAY, short

from .naming import (
    better_simple_model,
    beyond_what,
    is_rival,
    rules_out_an_effect,
    short_floor_name,
    the_candidate,
    tried_knobs,
    worth_having,
)
from .writing import bounds, capitalized, change, interval, layer_settings, listed, percent, size_of, spoken


def about_crossing(answer: Answer) -> list[str]:
    """Say it where the network goes from behind the best prediction without a model to ahead of it."""
    judged, floor = answer.judged, answer.best_floor
    if not answer.is_confirmed or judged is None or floor is None:
        return []
    before, after = judged.baseline_against_floor, judged.against_floor
    if before is None or after is None or before.high < 0 or after.high >= 0:
        return []
    name, without = short_floor_name(answer, floor), "a knob" if layer_settings(answer.candidate) else "regularization"
    loses = f"loses to {name}" if before.low > 0 else f"does not beat {name} for certain"
    return [
        f"Without {without} the network {loses} (loss {change(before.mean)}, {bounds(before)}); with "
        f"{the_candidate(answer)} its loss is {size_of(after.mean)} lower than that of {name} "
        f"({interval(after, answer)})."
    ]


def about_candidate(answer: Answer) -> str:
    """Say what was judged and how it did."""
    judged = answer.judged
    if judged is None:
        return _about_nothing_judged(answer)
    if not answer.candidate:
        return f"Of all that was tried nothing looked better than no regularization, beyond {beyond_what(answer)}."
    fresh = f"{judged.effect.blocks} blocks with {judged.seeds} fresh seeds each"
    parts = [f"{change(judged.effect.mean)} against nothing ({interval(judged.effect, answer)})"]
    if judged.rival and judged.beyond_rival is not None and not is_rival(answer.candidate):
        rival = short(judged.rival[WEIGHT_DECAY]) if WEIGHT_DECAY in judged.rival else spoken(judged.rival)
        beyond = f"{change(judged.beyond_rival.mean)} against the best weight decay"
        parts.append(f"{beyond}, of {rival} ({bounds(judged.beyond_rival)})")
    measured = f"{the_candidate(answer)}: {', '.join(parts)}; {fresh}."
    if answer.is_confirmed:
        return capitalized(measured)
    return f"The best candidate, {measured} {_why_not(answer, judged)}"


def _about_nothing_judged(answer: Answer) -> str:
    if tried_knobs(answer) and all(k.verdict in ("off for certain", "harms") for k in tried_knobs(answer)):
        return (
            f"The bands of all values of all knobs rule out an improvement of {worth_having(answer)} beyond "
            f"{beyond_what(answer)}, so there was nothing to judge, and the search ended there."
        )
    return (
        f"No setting of the knobs looked at least {worth_having(answer)} better than none beyond "
        f"{beyond_what(answer)}, so there was nothing to judge."
    )


def _why_not(answer: Answer, judged: Judged) -> str:
    best = answer.best_floor
    floor = "a prediction without a model" if best is None else short_floor_name(answer, best)
    why = {
        "interval": "its interval does not leave zero out",
        "smallest effect": f"it brings less than {worth_having(answer)}",
        "unstable": f"the blocks do not agree on it ({percent(round(judged.stable, 2))} do)",
        "floor": f"it is not shown to beat {floor}",
        "simple model": f"{better_simple_model(answer)} is better for certain",
        "failures": "its training fails more often than that without it",
    }
    ruled_out = f" An effect of {worth_having(answer)} is ruled out." if rules_out_an_effect(answer) else ""
    return f"It is not recommended, because {listed([why[reason] for reason in judged.against])}.{ruled_out}"


def about_rival(answer: Answer) -> list[str]:
    """Say what weight decay does by itself, if it was tried."""
    judged = answer.judged
    if judged is None or not judged.rival or judged.rival_effect is None:
        return []
    value = short(judged.rival[WEIGHT_DECAY]) if WEIGHT_DECAY in judged.rival else spoken(judged.rival)
    if is_rival(answer.candidate):
        return [
            f"Weight decay is what one would do without the knobs, and here it is the best that was found: no knob was "
            f"picked over it. The best weight decay is {value}."
        ]
    by_itself = f"{change(judged.rival_effect.mean)} ({interval(judged.rival_effect, answer)})"
    said = f"Weight decay is what one would do without the knobs: the best, {value}, by itself changes the loss by"
    if judged.beyond_rival is None or judged.beyond_rival.high < 0 or not answer.is_confirmed:
        return [f"{said} {by_itself}."]
    return [f"{said} {by_itself}; it is not shown that {the_candidate(answer)} is worth more than that."]


def about_picks(answer: Answer) -> list[str]:
    """Say how a block came to what it judged."""
    judged = answer.judged
    if judged is None or not judged.picks:
        return []
    blocks = sum(count for _, count in judged.picks)
    counted = [f"{spoken(setting) or 'nothing'} on {count}" for setting, count in judged.picks]
    agreed = "They agree." if len(counted) == 1 else ""
    return [
        f"No block is judged by a pick that it made: each judges what the other blocks would pick, which is "
        f"{listed(counted)} of {blocks} blocks. {agreed}".rstrip()
    ]
