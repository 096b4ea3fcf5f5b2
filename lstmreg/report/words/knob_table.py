"""The table of knobs, and how it is read."""

from __future__ import annotations

import math
from collections.abc import Iterable

from lstmreg.report.answers import Answer, SoFar
from lstmreg.search.space import short

from .naming import beyond_what, worth_having
from .writing import bounds, change, percent


def table(answer: Answer | SoFar) -> list[list[str]]:
    """Return the table: a header row, then a row for each knob, for weight decay and for each other setting."""
    rows = [["setting", "Keras", "value", "effect alone", "band", "verdict"]]
    for knob in answer.knobs:
        rows.append(
            [
                f"{knob.name} (the rival)" if knob.role == "rival" else knob.name,
                knob.keras or "–",
                "–" if knob.value is None else short(knob.value),
                "–" if knob.alone is None else change(knob.alone.mean),
                "–" if knob.alone is None or not math.isfinite(knob.alone.low) else bounds(knob.alone),
                knob.verdict,
            ]
        )
    return rows


def table_note(answer: Answer) -> str:
    """Say how to read the table."""
    verdicts = {k.verdict for k in answer.knobs}
    meanings: Iterable[tuple[bool, str]] = (
        ("use" in verdicts, "use: it is in what is recommended."),
        (
            "helps alone, not needed" in verdicts,
            "helps alone, not needed: some value helps by itself, but what is recommended does without it.",
        ),
        (
            "helps alone, not confirmed" in verdicts,
            "helps alone, not confirmed: some value helps by itself, but fresh seeds did not confirm it.",
        ),
        (
            "off for certain" in verdicts,
            f"off for certain: the bands of all its values rule out an improvement of {worth_having(answer)}.",
        ),
        ("harms" in verdicts, "harms: the bands of all its values lie above zero."),
        ("cannot tell" in verdicts, "cannot tell: neither a gain nor its absence is certain."),
        ("not tried alone" in verdicts, "not tried alone: it was tried together with others only."),
        ("not searched" in verdicts, "not searched: it was not tried."),
    )
    rival = " Weight decay is the rival: what one would do without the knobs." if _has_rival(answer) else ""
    return " ".join(
        [
            f"Effects are changes of the loss against no regularization, beyond {beyond_what(answer)}; less is better. "
            f"Each setting is by itself here, at the value that did best; value is the one in use, if there is one. "
            f"The bands of all values of all rows hold together ({percent(answer.table_confidence)}). They stand on "
            f"the trainings that chose the values; of what is judged, believe the judge's interval.{rival}",
            *(meaning for is_there, meaning in meanings if is_there),
        ]
    )


def _has_rival(answer: Answer) -> bool:
    return any(k.role == "rival" for k in answer.knobs)
