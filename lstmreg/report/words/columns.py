"""To which input columns the networks listen."""

from __future__ import annotations

import math

from lstmreg.report.answers import Answer, Columns

from .writing import listed, name_of, percent, ranks


def about_columns(answer: Answer) -> list[str]:
    """Say which columns are heard most and least, and where the least heard ones stood without the knob."""
    found = answer.columns
    if found is None:
        return []
    value = list(found.weights)[-1]
    least = found.names[: -_FEW - 1 : -1]
    places = ranks(found.weights[next(iter(found.weights))])
    without = [str(places[found.names.index(name)]) for name in least]
    shares = found.weights[value]
    most = [name for name, share in zip(found.names[:_FEW], shares, strict=False) if share >= _MUCH]
    rest = f" (all others have less than {percent(math.ceil(100 * shares[len(most)]) / 100)} of that)"
    return [
        f"At {name_of(found.path)} = {value} the network listens most to {listed(most)}{rest}, and least to "
        f"{listed(least)}, by the largest input weight of each column; without it "
        f"{'that was' if len(least) == 1 else 'those were'} number {listed(without)} of {len(found.names)}.",
        *_about_zero_columns(found),
    ]


def _about_zero_columns(found: Columns) -> list[str]:
    """Say which columns the last value of the knob switches off, in all networks or in some."""
    value, shares = list(found.zero.items())[-1]
    off = [name for name, share in zip(found.names, shares, strict=True) if share == 1]
    some = sum(0 < share < 1 for share in shares)
    if not off and not some:
        return []
    at_times = [
        f"{name} on {count}" for name, count in zip(found.names, found.off_on, strict=False) if 0 < count < found.blocks
    ]
    said = [f"in some networks {some}"] if some else []
    if off:
        named = listed(off) if len(off) <= _MOST_NAMED else f"{', '.join(off[:_MOST_NAMED])} and others"
        said.insert(0, f"in every network {len(off)} ({named})")
    return [
        f"At {name_of(found.path)} = {value} input weights are exactly zero, which switches columns off: "
        f"{listed(said)} of {len(found.names)}.",
        *([_about_some_blocks(at_times, found.blocks)] if at_times else []),
    ]


def _about_some_blocks(at_times: list[str], blocks: int) -> str:
    """Say which columns are switched off on some blocks and not on others."""
    named = listed(at_times) if len(at_times) <= _MOST_NAMED else f"{', '.join(at_times[:_MOST_NAMED])} and others"
    return f"On some of the {blocks} blocks alone every network switches a column off: {named}."


#: So many columns that are switched off are named.
_MOST_NAMED = 12


#: So many columns of either end are named,
_FEW = 2


#: of the upper end those alone whose weight is this share of the largest.
_MUCH = 0.5
