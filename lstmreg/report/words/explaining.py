"""What leaving a column out does, and what each knob does without early stopping."""

from __future__ import annotations

import math

from lstmreg.report.answers import Answer
from lstmreg.search.evidence import Effect
from lstmreg.search.explaining import End, LeftOut, Unstopped

from .naming import stopping, worth_having
from .writing import bounds, change, counted_seeds, listed, percent, size_of, spoken

# ---------------------------------------------------------------------- without a column


def about_left_out(answer: Answer) -> list[str]:
    """Say what leaving a column out does, and which columns are needed or not missed."""
    found = answer.left_out
    if found is None:
        return []
    said = listed([f"{name} {_with_bounds(effect)}" for name, effect in found.effects.items()])
    are_all = len(found.effects) == found.columns
    which = "Each column was" if are_all else f"Of {found.columns} columns {_ends(found)} were"
    sentences = [f"{which} left out, one at a time, {_with_what(found)}. Without it the loss changes by: {said}."]
    needed = [name for name, effect in found.effects.items() if effect.low > 0]
    idle = [name for name, effect in found.effects.items() if effect.high < answer.smallest_effect]
    if needed:
        sentences.append(f"{listed(needed)} {'is' if len(needed) == 1 else 'are'} needed for certain.")
    if idle:
        sentences.append(
            f"{listed(idle)} {'is' if len(idle) == 1 else 'are'} not missed: left out alone, "
            f"{'it costs' if len(idle) == 1 else 'each costs'} less than {worth_having(answer)} for certain."
        )
    return [" ".join(sentences)]


def _ends(found: LeftOut) -> str:
    most = -(-len(found.effects) // 2)
    least = len(found.effects) - most
    return f"the {most} that are heard most and the {least} that are heard least" if least else "the one heard most"


def _with_what(found: LeftOut) -> str:
    setting = spoken(found.setting) if found.setting else "no regularization"
    return f"with {setting} and {_fresh(found)} on each block"


def _fresh(found: LeftOut) -> str:
    return counted_seeds(found.seeds).replace(" ", " fresh ")


def left_out_table(answer: Answer) -> list[list[str]]:
    """Return a header row, then a row for each column that was left out."""
    found = answer.left_out
    assert found is not None
    off = _off(answer)
    header = ["column", "loss without it", *(["switched off on"] if off else [])]
    rows = [
        [name, _with_bounds(effect), *([off.get(name, "–")] if off else [])] for name, effect in found.effects.items()
    ]
    return [header, *rows]


def _off(answer: Answer) -> dict[str, str]:
    """Say on how many blocks each column is switched off; nothing where none ever is."""
    heard = answer.columns
    if heard is None or not any(heard.off_on):
        return {}
    return {name: f"{n} of {heard.blocks} blocks" for name, n in zip(heard.names, heard.off_on, strict=True)}


def left_out_note(answer: Answer) -> str:
    """Say how to read the table of columns."""
    found = answer.left_out
    assert found is not None
    return (
        f"The change of the loss where a column's scaled values are all zero, which is its mean, in training and after "
        f"it, {_with_what(found)}; beside the same seeds with all columns. More than zero: it is needed. The "
        f"intervals hold together ({percent(answer.table_confidence)}). Columns that know the same can each be left "
        f"out, and not both."
    )


# ---------------------------------------------------------------------- without early stopping


def about_unstopped(answer: Answer) -> list[str]:
    """Say what not stopping early costs, and which knob helps whoever cannot spare validation data."""
    found = answer.unstopped
    if found is None or answer.diagnosis.word == "not converged":
        return []
    ends = [found.ends[0], *(end for end in found.ends[1:] if end.setting == answer.candidate)]
    best = _best(found)
    if best is not None and best not in ends:
        ends.append(best)
    said = listed([f"{_named(end)} {_with_bounds(end.cost)}" for end in ends])
    return [
        f"Without {stopping(answer)}, after {found.epochs} epochs: {said}, each against itself with it. "
        f"{_advice(answer, found, best)}"
    ]


def _best(found: Unstopped) -> End | None:
    """Return what comes to the lowest loss without early stopping."""
    knobs = [end for end in found.ends if end.effect is not None]
    return min(knobs, key=lambda end: math.inf if end.effect is None else end.effect.mean, default=None)


def _advice(answer: Answer, found: Unstopped, best: End | None) -> str:
    plain = found.ends[0].cost
    if best is not None and best.effect is not None and best.effect.high < 0:
        left = (1 + plain.mean) * (1 + best.effect.mean) - 1
        return (
            f"If you cannot spare validation data, {spoken(best.setting)} does best: its last loss is "
            f"{size_of(best.effect.mean)} lower than that of no knob ({bounds(best.effect)}), which is {change(left)} "
            f"against no knob with {stopping(answer)}. Its value was chosen by the same seeds, so expect a little less."
        )
    if plain.low > 0:
        return f"No knob replaces {stopping(answer)} for certain: spare some validation data, or train few epochs."
    return f"So it is not known that {stopping(answer)} matters here, and no knob lowers the last loss for certain."


def unstopped_table(answer: Answer) -> list[list[str]]:
    """Return a header row, then a row for each setting that was trained to the end."""
    found = answer.unstopped
    assert found is not None
    return [
        ["setting", "the last epoch costs", "against that of no knob"],
        *(
            [_named(end), _with_bounds(end.cost), "–" if end.effect is None else _with_bounds(end.effect)]
            for end in found.ends
        ),
    ]


def unstopped_note(answer: Answer) -> str:
    """Say how to read the table of what is not stopped."""
    found = answer.unstopped
    assert found is not None
    return (
        f"Loss after {found.epochs} epochs, with the last one's weights, on cases that trained nothing: against the "
        f"same training with {stopping(answer)}, and against no knob without it. One seed on each block; the intervals "
        f"of a column hold together ({percent(answer.table_confidence)}). It is for those who cannot spare validation "
        f"data."
    )


def _named(end: End) -> str:
    return spoken(end.setting) if end.setting else "no knob"


def _with_bounds(effect: Effect) -> str:
    failed = f", {effect.failed} failed" if effect.failed else ""
    return f"{change(effect.mean)} ({bounds(effect)}{failed})"
