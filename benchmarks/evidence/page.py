"""Fills what is measured into ``docs/evidence.md``, between its marks."""

from __future__ import annotations

import re
from pathlib import Path

from . import results, searches, shampoo
from .summary import summary
from .tables import subjects_table

PAGE = Path(__file__).parents[2] / "docs" / "evidence.md"


def filled(text: str, path: Path = results.PATH) -> str:
    """Return the page with what the results say now; what stands outside of marks stays.

    Args:
        text: The page. ``<!-- summary -->`` begins a part, and ``<!-- end -->`` ends it; likewise sets and shampoo.
        path: The file of the results.
    """
    parts = {
        "summary": "\n\n".join(summary(results.read(path), searches.read(path.with_name(searches.NAME)))),
        "sets": subjects_table(),
        "shampoo": shampoo.table(shampoo.read(path.with_name(shampoo.NAME))),
    }
    for name, content in parts.items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text, count = marked.subn(lambda found, content=content: f"{found[1]}\n{content}\n\n{found[2]}", text)
        if count != 1:
            raise ValueError(f"the page must have one part <!-- {name} -->, got {count}.")
    return text
