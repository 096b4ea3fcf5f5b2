"""Writes ``answer.json``, ``answer.md`` and ``report.html`` into a run's folder."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from lstmreg.files import write_atomically

from . import words
from .answers import SCHEMA, Answer
from .code import saved_model, snippets
from .figures import figures
from .pages import page


def write(answer: Answer, directory: Path) -> None:
    """Write the answer in its three forms, all drawn from the same numbers."""
    drawn = figures(answer)
    write_atomically(directory / "answer.json", as_json(answer))
    write_atomically(directory / "answer.md", as_markdown(answer))
    write_atomically(directory / "report.html", as_page(answer, drawn))


def as_json(answer: Answer) -> str:
    """Return the numbers and the words as JSON; an unbounded end of an interval is ``null``.

    ``docs/report.md`` says what each key means; what would mislead a reader of the keys changes :data:`SCHEMA`.
    """
    content = {
        "schema": SCHEMA,
        "headline": words.headline(answer),
        "sentences": words.sentences(answer),
        **dataclasses.asdict(answer),
    }
    return json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_markdown(answer: Answer) -> str:
    """Return the answer as Markdown: headline, sentences, table, code."""
    header, *rows = words.table(answer)
    lines = [f"# {words.headline(answer)}", ""]
    lines += [f"{_one_line(sentence)}\n" for sentence in words.sentences(answer)]
    lines += [_row(header), _row(["---"] * len(header)), *(_row(row) for row in rows), ""]
    lines += [words.table_note(answer), ""]
    if worst := words.worst_cases(answer):
        lines += ["## The worst cases of the test", "", _row(worst[0]), _row(["---"] * len(worst[0]))]
        lines += [*(_row(row) for row in worst[1:]), ""]
    for snippet in [saved_model(answer), *snippets(answer)]:
        lines += [f"## {snippet.title}", "", "```python", snippet.code, "```", ""]
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(_one_line(cell).replace("|", "\\|") for cell in cells) + " |"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _unbroken(paragraph: str) -> str:
    """Keep numbers and their percent signs on one line."""
    return paragraph.replace(" %", "\N{NO-BREAK SPACE}%")


def as_page(answer: Answer, drawn: dict[str, str]) -> str:
    """Return one HTML page that loads nothing and runs nothing; every name in it is escaped."""
    where = words.about_where(answer)
    return page(
        "page.html.j2",
        answer=answer,
        headline=words.headline(answer),
        summary=[_unbroken(paragraph) for paragraph in words.summary(answer)],
        details=[_unbroken(paragraph) for paragraph in words.details(answer) if paragraph not in where],
        where=[_unbroken(paragraph) for paragraph in where],
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
