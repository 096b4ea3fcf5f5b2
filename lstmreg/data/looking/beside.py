"""What the public study says of data like these before anything is trained, in a sentence."""

from __future__ import annotations

import math

from lstmreg.other_sets import PAGE, Change, Kind, like


def supported(task: str, columns: int) -> str:
    """Say which knob the study supports most for such data, or that it shows none; empty if it has nothing.

    Args:
        task: What is asked.
        columns: Of the input.
    """
    kind = like(task, columns)
    return "" if kind is None else said(kind)


def said(kind: Kind) -> str:
    """Say it of the sets of a kind."""
    sets = f"{len(kind.sets)} real sets {_of(kind)}"
    sure = kind.sure()
    if not sure:
        return (
            f"On {sets} no knob is shown to help on average for certain; the search shall tell what helps here. {PAGE} "
            f"has the study."
        )
    best, *others = sure
    too = f", and so is that of {', '.join(map(_name, others))}" if others else ""
    values = kind.record(best).values
    at = f", at {' to '.join(dict.fromkeys((_number(values[0]), _number(values[-1]))))}" if values else ""
    return (
        f"On {sets} the mean effect of {_name(best)}, when it is tuned, is below zero with its interval: "
        f"{_change(kind.pooled[best])} of the loss{at}{too}; of {len(kind.pooled)} knobs that were looked at, luck "
        f"alone would name {kind.luck:.1f}. The search shall tell whether it helps here. {PAGE} has the study."
    )


def _of(kind: Kind) -> str:
    if kind.task is None:
        return "of all tasks"
    if kind.has_several is None:
        return f"of the same task ({kind.task})"
    return f"like this ({kind.task}, {'several input columns' if kind.has_several else 'one input column'})"


def _name(path: str) -> str:
    return path.rpartition(".")[2]


def _number(value: float) -> str:
    return f"{value:g}"


def _change(change: Change) -> str:
    mean, low, high = (
        f"{100 * math.expm1(end):+.0f}".replace("-", "\N{MINUS SIGN}") for end in (change.mean, change.low, change.high)
    )
    return f"{mean} % ({low} to {high})"
