"""Opens what a path names, by the signs that are found in it, and looks at it."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

from lstmreg.config import DataConfig
from lstmreg.data.sources.columns import Table
from lstmreg.data.sources.door import open_table
from lstmreg.data.sources.opening import file_bytes

from .files import look_at_file_of_sequences, look_at_folder
from .question import QuestionError, command
from .sighting import Sighting, Wish
from .signs import cut, delimiter_of, first_lines, lacks_header, signs_of
from .table import look_at

#: How files begin that are no text.
_NO_TEXT = (b"PAR1", b"\x93NUMPY")

_GZIP = b"\x1f\x8b"


def look(path: str, wish: Wish) -> Sighting:
    """Look at a table, a file of sequences, or a folder of files.

    Args:
        path: What to look at.
        wish: What is known of it.

    Raises:
        QuestionError: If it cannot be read without an answer.
        DataError: If it cannot be read.
    """
    place = Path(path)
    if "\0" not in path and place.is_dir():
        return look_at_folder(path, wish)
    if place.suffix.lower() in (".ts", ".npz"):
        file_bytes(path)  # says what is wrong with the path
        return look_at_file_of_sequences(path, wish)
    config = DataConfig(path, "", **_signs(path, wish))
    table = open_table(config)
    settings = {
        name: value
        for name in ("delimiter", "decimal", "thousands")
        if (value := getattr(config, name)) != getattr(DataConfig("", ""), name)
    }
    return dataclasses.replace(look_at(table, wish, config), settings=settings, form=_form(table))


def _form(table: Table) -> str:
    return "table" if table.unit == "line" else "table of columns"


def _signs(path: str, wish: Wish) -> dict[str, Any]:
    """Return the settings by which a text file is read.

    Raises:
        QuestionError: If it has no header, or a sign may mean two things.
    """
    raw = file_bytes(path)
    if raw.startswith(_NO_TEXT):
        return {}
    lines = first_lines(raw)
    delimiter = wish.delimiter if wish.delimiter is not None else delimiter_of(lines)
    delimiter = "\t" if delimiter in ("\\t", "tab") else delimiter
    rows = cut(lines, delimiter)
    if not wish.has_header and lacks_header(rows):
        raise _question_about_header(path, wish, rows[0], delimiter, is_gzipped=raw.startswith(_GZIP))
    columns = list(zip(*(row for row in rows[1:] if len(row) == len(rows[0])), strict=True)) if rows else []
    signs: dict[str, Any] = {"delimiter": delimiter}
    if wish.decimal is not None or wish.thousands is not None:
        signs |= {"decimal": wish.decimal or "."} | ({"thousands": wish.thousands} if wish.thousands else {})
        return signs
    found = signs_of(columns)
    if len(found) > 1:
        raise _question_about_signs(path, wish, columns)
    decimal, thousands = found[0]
    return signs | {"decimal": decimal} | ({"thousands": thousands} if thousands is not None else {})


def _question_about_header(
    path: str, wish: Wish, first: list[str], delimiter: str, *, is_gzipped: bool
) -> QuestionError:
    names = delimiter.join(f"column{k}" for k in range(1, len(first) + 1))
    named = f"named-{Path(path).name.removesuffix('.gz')}"
    reading = "zcat" if is_gzipped else "cat"
    write = f"(echo {shlex.quote(names)}; {reading} {shlex.quote(path)}) > {shlex.quote(named)}"
    shown = ", ".join(first[:5])
    return QuestionError(
        f"{path}: its first line has values ({shown}) and no names, so it seems to have no header. Give it one, or "
        f"say that it is one.",
        [f"{write} && {command(named)}", f"{command(path, **_options(wish))} --header"],
    )


def _question_about_signs(path: str, wish: Wish, columns: list[tuple[str, ...]]) -> QuestionError:
    cell = next(cell for cells in columns for cell in cells if "," in cell and cell.replace(",", "").isdecimal())
    thousand, small = cell.replace(",", ""), cell.replace(",", ".")
    options = _options(wish)
    return QuestionError(
        f"{path}: {cell!r} may mean {thousand} or {small}.",
        [command(path, **options | {"thousands": ","}), command(path, **options | {"decimal": ","})],
    )


def _options(wish: Wish) -> dict[str, str | None]:
    """Return what was said, as options."""
    return {name: value for name, value in dataclasses.asdict(wish).items() if isinstance(value, str)}
