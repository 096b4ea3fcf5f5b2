"""Where the loss on the test is: a sentence, and tables of the worst cases and of parts."""

from __future__ import annotations

import math
from typing import NamedTuple

from lstmreg.report.answers import Answer, Part, Whereabouts, WorstCase

from .naming import task
from .writing import bounds, change, number, percent, spoken

#: So many parts of one kind are shown.
_MOST_PARTS = 12

#: A stretch or a part is pointed out whose share of the loss is so many times its share of the cases.
_MUCH = 1.5


class Rows(NamedTuple):
    """A table of parts: what it is of, a header row with the others, and a note on it."""

    title: str
    rows: list[list[str]]
    note: str


def about_where(answer: Answer) -> list[str]:
    """Say how the loss on the test is spread over cases, and where most of it is."""
    where = answer.where
    if where is None:
        return []
    cases = task(answer).cases_are
    few = max(1, round(where.cases * 0.05))
    half, worst, of_stretch = _share(where.half), _share(where.worst_twentieth), where.stretch_share
    carry = f"{few} carry" if few > 1 else "one carries"
    said = [f"Half of the loss on the test lies in {half} of the {where.cases} {cases}; the worst {carry} {worst}."]
    if of_stretch is not None and of_stretch * _MUCH <= 0.5:
        between = " and ".join(where.stretch)
        said.append(f"Half of it also lies between {between}, in {_share(of_stretch)} of the {cases}.")
    said += [_pointed_out(where, kind) for kind in ("group", "class")]
    return [" ".join([*filter(None, said), f"This is with {_whose(answer)}."])]


def _pointed_out(where: Whereabouts, kind: str) -> str:
    parts = where.parts.get(kind, [])
    if not parts:
        return ""
    of_cases = parts[0].count / sum(part.count for part in parts)
    if parts[0].share < _MUCH * of_cases:
        return ""
    return (
        f"The {kind} {parts[0].name} carries {_share(parts[0].share)} of it, and has {_share(of_cases)} of the cases."
    )


def _whose(answer: Answer) -> str:
    is_candidate = answer.where is not None and answer.where.of == "candidate"
    return spoken(answer.candidate) if is_candidate else "no regularization"


def _share(share: float) -> str:
    """Write a share in whole percent."""
    return percent(round(share, 2)) if share >= 0.01 else percent(float(f"{share:.1g}"))


def worst_cases(answer: Answer) -> list[list[str]]:
    """Return the table of the worst cases: a header row, then a row for each."""
    where = answer.where
    if where is None:
        return []
    worst = where.worst
    sides = list(worst[0].loss)
    header = ["case"]
    header += ["at"] if any(_place(case) for case in worst) else []
    header += ["truth", *(_name(answer, side) for side in sides)] if any(case.predicted for case in worst) else []
    rows = [[*header, "share of the loss"]]
    for case in worst:
        cells = {"case": _case(case), "at": _place(case) or "–", "truth": _value(case.truth)}
        cells |= {_name(answer, side): _predicted(case, side) for side in sides}
        rows.append([cells[name] for name in header] + [_share(case.share)])
    return rows


def _name(answer: Answer, side: str) -> str:
    return "recommended" if side == "candidate" and answer.is_confirmed else side


def _case(case: WorstCase) -> str:
    """Write by what a reader knows a case; the name of a window has its group in it."""
    return case.name if not case.group or case.name.startswith(case.group) else f"{case.name} ({case.group})"


def _place(case: WorstCase) -> str:
    parts = [] if case.step is None else [f"step {case.step}"]
    return ", ".join([*parts, *([] if case.target is None else [case.target])])


def _predicted(case: WorstCase, side: str) -> str:
    if side not in case.predicted:
        return "–"
    value = _value(case.predicted[side])
    return f"{value} (truth: {percent(round(case.likelihood[side], 3))})" if side in case.likelihood else value


def _value(value: float | str | None) -> str:
    return "–" if value is None else value if isinstance(value, str) else number(value)


#: What a table of each kind of parts is called.
_TITLES = {"group": "By group", "class": "By class", "target": "By target", "step": "By step ahead"}


def parts_tables(answer: Answer) -> list[Rows]:
    """Return a table for each kind of parts that there are several of."""
    where = answer.where
    return [] if where is None else [_parts_table(answer, kind, parts) for kind, parts in where.parts.items()]


def _parts_table(answer: Answer, kind: str, parts: list[Part]) -> Rows:
    shown = parts[:_MOST_PARTS]
    if kind == "step":  # what is in order has two ends
        every = -(-len(parts) // _MOST_PARTS)
        shown = parts[::-every][::-1]
    sides = list(parts[0].loss)
    at_steps = answer.data.steps == "all" and kind == "class"
    counted = "steps" if at_steps else task(answer).cases_are
    header = [kind, counted, "share of the loss", *(f"loss, {_name(answer, side)}" for side in sides)]
    header += ["change", "interval"] if any(part.effect is not None for part in parts) else []
    header += ["found", "right"] if kind == "class" else []
    rows = [header]
    for part in shown:
        row = [part.name, f"{part.count:,}", _share(part.share), *(number(part.loss[side]) for side in sides)]
        if "change" in header:
            row += ["–", "–"] if part.effect is None else [change(part.effect.mean), _interval(part)]
        if kind == "class":
            row += [_along(part.recall, sides), _along(part.precision, sides)]
        rows.append(row)
    return Rows(_TITLES[kind], rows, " ".join(_notes(kind, parts, shown, sides)))


def _interval(part: Part) -> str:
    assert part.effect is not None
    return bounds(part.effect) if math.isfinite(part.effect.high) else "–"


def _along(shares: dict[str, float], sides: list[str]) -> str:
    return " → ".join(percent(round(shares[side], 2)) for side in sides)


def _notes(kind: str, parts: list[Part], shown: list[Part], sides: list[str]) -> list[str]:
    said = []
    if kind == "step" and len(parts) > len(shown):
        said.append(f"Of {len(parts)} steps {len(shown)} are shown.")
    elif len(parts) > len(shown):
        carried = _share(sum(part.share for part in parts[_MOST_PARTS:]))
        said.append(f"{len(parts) - len(shown)} more are left out, which carry {carried} of the loss.")
    if kind == "class":
        towards = f", from {' to '.join(sides)}" if len(sides) > 1 else ""
        said.append(
            f"Found: which share of a class was taken for it. Right: which share of what was taken for it was it"
            f"{towards}."
        )
    return said


def where_note(answer: Answer) -> str:
    """Say how to read the parts, and what they do not show."""
    where = answer.where
    if where is None or not any(part.effect is not None for parts in where.parts.values() for part in parts):
        return "Losses are those by which the network was trained, as means over seeds."
    return (
        f"Losses are those by which the network was trained, as means over seeds. Changes describe these cases: they "
        f"were looked at part by part, so that some look good or bad by chance. Each interval "
        f"({percent(answer.confidence)}) is by itself, over the cases of the part and the seeds; where cases are few "
        f"there is none. They recommend nothing."
    )
