"""Writes ``answer.json``, ``answer.md`` and ``report.html`` into a run's folder."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from lstmreg.files import write_atomically
from lstmreg.search import is_owned, read

from . import words
from .answers import SCHEMA, Answer, SoFar
from .code import saved_model, snippets
from .figures import figures
from .pages import page
from .so_far import what_is_known


def write(answer: Answer | SoFar, directory: Path, *, has_page: bool = True) -> None:
    """Write the answer, or what is known so far, in its three forms, all drawn from the same numbers.

    Args:
        answer: What to write.
        directory: The run's folder.
        has_page: Whether ``report.html`` is written too; while a search runs it is its own page.
    """
    write_atomically(directory / "answer.json", as_json(answer))
    write_atomically(directory / "answer.md", as_markdown(answer))
    if has_page:  # whose pictures take longest, which is why it is last
        drawn = page_so_far(answer) if isinstance(answer, SoFar) else as_page(answer, figures(answer))
        write_atomically(directory / "report.html", drawn)


def write_what_is_known(directory: Path) -> Answer | SoFar:
    """Write what is known of a search into its folder, and return it.

    While a process is at it, ``report.html`` is that process's page, and stays. What that process writes at its end is
    never replaced by less: whoever wrote that there is no end yet looks again.
    """
    while True:
        is_running = is_owned(directory)
        evidence = read(directory)
        known = what_is_known(evidence, is_running=is_running)
        write(known, directory, has_page=not is_running)
        if known.unfinished is None or not is_running or is_owned(directory):
            return known


def as_json(answer: Answer | SoFar) -> str:
    """Return the numbers and the words as JSON; an unbounded end of an interval is ``null``.

    ``docs/report.md`` says what each key means; what would mislead a reader of the keys changes :data:`SCHEMA`.
    """
    content = {
        "schema": SCHEMA,
        "headline": headline(answer),
        "sentences": sentences(answer),
        **dataclasses.asdict(answer),
    }
    return json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def headline(answer: Answer | SoFar) -> str:
    """Say in one sentence what to do."""
    return words.headline_so_far(answer) if isinstance(answer, SoFar) else words.headline(answer)


def sentences(answer: Answer | SoFar) -> list[str]:
    """Say what supports that, most important first."""
    return words.sentences_so_far(answer) if isinstance(answer, SoFar) else words.sentences(answer)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_markdown(answer: Answer | SoFar) -> str:
    """Return the answer as Markdown: headline, sentences, tables, code."""
    lines = [f"# {headline(answer)}", ""]
    lines += [f"{_one_line(sentence)}\n" for sentence in sentences(answer)]
    lines += _table(words.table(answer))
    if isinstance(answer, SoFar):
        lines += [words.table_so_far_note(answer), ""]
        for title, rows in _tables_so_far(answer):
            lines += [f"## {title}", "", *_table(rows)]
        return "\n".join(lines)
    lines += [words.table_note(answer), ""]
    if worst := words.worst_cases(answer):
        lines += ["## The worst cases of the test", "", *_table(worst)]
    for snippet in [saved_model(answer), *snippets(answer)]:
        lines += [f"## {snippet.title}", "", "```python", snippet.code, "```", ""]
    return "\n".join(lines)


def _table(rows: list[list[str]]) -> list[str]:
    header, *others = rows
    return [_row(header), _row(["---"] * len(header)), *(_row(row) for row in others), ""]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(_one_line(cell).replace("|", "\\|") for cell in cells) + " |"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _unbroken(paragraph: str) -> str:
    """Keep numbers and their percent signs on one line."""
    return paragraph.replace(" %", "\N{NO-BREAK SPACE}%")


def as_page(answer: Answer, drawn: dict[str, str]) -> str:
    """Return one HTML page that loads nothing and runs nothing; every name in it is escaped."""
    where, other_sets = words.about_where(answer), words.about_other_sets(answer)
    elsewhere = {*where, *other_sets}
    return page(
        "page.html.j2",
        answer=answer,
        headline=words.headline(answer),
        unfinished=[_unbroken(paragraph) for paragraph in words.about_unfinished(answer)],
        summary=[_unbroken(paragraph) for paragraph in words.summary(answer)],
        details=[_unbroken(paragraph) for paragraph in words.details(answer) if paragraph not in elsewhere],
        where=[_unbroken(paragraph) for paragraph in where],
        other_sets=[_unbroken(paragraph) for paragraph in other_sets],
        shown_windows=max((len(p) for p in answer.test.predictions.values()), default=0),
        trainings=sum(count for count, _ in answer.course.values()),
        table=words.table(answer),
        table_note=words.table_note(answer),
        starts_note=words.starts_note(answer),
        snippets=[saved_model(answer), *snippets(answer)],
        figures=drawn,
        words=words,
        task=words.task(answer),
    )


def page_so_far(known: SoFar) -> str:
    """Return a page of what is known so far, which likewise loads and runs nothing."""
    return page(
        "so_far.html.j2",
        run=known.run,
        headline=words.headline_so_far(known),
        sentences=[_unbroken(sentence) for sentence in words.sentences_so_far(known)],
        done=known.unfinished.done,
        planned=known.unfinished.planned,
        tables=[
            ("The knobs", words.table(known), words.table_so_far_note(known)),
            *((title, rows, "") for title, rows in _tables_so_far(known)),
        ],
    )


def _tables_so_far(known: SoFar) -> list[tuple[str, list[list[str]]]]:
    """Return tables with their titles, those of which something is there."""
    tables = {
        "The judge's fresh seeds, so far": words.shown_table(known.judging),
        "What was tried, beside no regularization": words.shown_table(known.tried),
        "Learning rates of the network without regularization": words.shown_table(known.learning_rates, beside=False),
        "Trainings": [["part", "trainings", "failed"], *([part, *map(str, of)] for part, of in known.course.items())],
    }
    return [(title, rows) for title, rows in tables.items() if len(rows) > 1]
