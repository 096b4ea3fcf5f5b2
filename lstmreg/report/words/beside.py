"""The answer beside the public study, in a short passage."""

from __future__ import annotations

from lstmreg.other_sets import PAGE
from lstmreg.report.answers import Answer, OnOtherSets, OtherSets
from lstmreg.search.space import short

from .writing import change, listed, percent


def about_other_sets(answer: Answer) -> list[str]:
    """Say on how many other sets the knobs of the answer helped, at which values, and how often they harmed."""
    other = answer.other_sets
    if other is None:
        return []
    least, most = other.cases
    introduced = f"The public study ({PAGE}) has {_sets(other)} ({least:,} to {most:,} training cases)."
    if not other.is_of_the_answer:
        introduced += f" Of the {other.of} knobs tuned there, {other.knobs[0].name} has the best mean, chance included."
    says = (
        f"Counts are of estimates; for certain are those whose {percent(other.confidence)} interval leaves zero out. "
        f"All this had no say in the answer."
    )
    return [" ".join([introduced, *(_record(knob, other) for knob in other.knobs), says])]


def _sets(other: OtherSets) -> str:
    count, named = len(other.sets), listed(other.sets)
    if other.task is None:
        return f"too few real sets of this task, so here are all {count}, of any task"
    if other.has_several is None:
        return f"{count} real sets of the same task ({other.task}), of one input column or several: {named}"
    columns = "several input columns" if other.has_several else "one input column"
    return f"{count} real sets like this ({other.task}, {columns}): {named}"


def _record(knob: OnOtherSets, other: OtherSets) -> str:
    effect, confidence = knob.effect, percent(other.confidence)
    mean = f"{change(effect.mean)} on average, {confidence} interval {change(effect.low)} to {change(effect.high)}"
    at = f", at {listed([short(value) for value in knob.values])}" if knob.values else ""
    return (
        f"Tuned there, {knob.name} lowered the loss by more than {percent(other.worth)} in {knob.helped} of "
        f"{len(other.sets)}{_certain(knob.helped, knob.helped_for_certain)}{at}, and raised it by as much in "
        f"{knob.harmed}{_certain(knob.harmed, knob.harmed_for_certain)}; {mean}. At {short(knob.copied)}, the value "
        f"that is copied, it lowered it in {knob.copied_helped} and raised it in {knob.copied_harmed}."
    )


def _certain(count: int, certain: int) -> str:
    return f" (for certain in {certain})" if count else ""
