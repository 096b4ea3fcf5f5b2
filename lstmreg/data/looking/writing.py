"""Writes a proposal as a YAML file with a reason behind each line; what is quoted reads back as it was."""

from __future__ import annotations

import math
import re
import textwrap
from typing import Any

import yaml

from lstmreg.config import Config
from lstmreg.errors import ConfigError, printable
from lstmreg.rules import declared

from .proposal import SECTIONS, Proposal, Setting

#: Text that every reader of YAML takes for text: no number, date, truth value or null.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_NO_TEXT = frozenset(("y", "yes", "n", "no", "on", "off", "true", "false", "null", "none", "nan", "inf", "infinity"))

#: Comments begin here where the line is shorter.
_COLUMN = 34

_LONGEST_COMMENT = 200

#: A sentence by itself may be longer, in lines of this width.
_LONGEST_SENTENCE, _WIDTH = 1_000, 110


def written(proposal: Proposal, output: str, supported: str = "") -> str:
    """Return the text of a configuration file.

    Args:
        proposal: What it says.
        output: The file's name, for the commands that it shows.
        supported: What is known of other data, a few sentences that stand above what is searched.

    Raises:
        ConfigError: If a name cannot be written in YAML.
    """
    lines = [
        f"# {_comment(proposal.path)}: {_comment(proposal.about)}. Runs as it is:",
        f"#   lstmreg fit -c {_comment(output)}",
        f"#   lstmreg search -c {_comment(output)}",
        "# Lines behind a # are other ways: instead of the line above, or beside it.",
    ]
    for sentence in proposal.left_out:
        lines += _wrapped(f"Left out: {_comment(sentence, _LONGEST_SENTENCE)}", "# ", "#   ")
    for section in SECTIONS:
        settings = [s for s in proposal.settings if s.name.rpartition(".")[0] == section]
        if section and settings:
            lines += ["", f"{section}:"]
        elif settings:
            lines.append("")
        if section == "search":
            lines += _wrapped(supported, "  # ", "  # ")
        lines += [_line(setting, "  " if section else "") for setting in settings]
    return "\n".join(lines) + "\n"


def _wrapped(text: str, first: str, others: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=others, break_on_hyphens=False)


def _line(setting: Setting, indent: str) -> str:
    name = setting.name.rpartition(".")[2]
    if isinstance(setting.value, str) and (what := _what_is_read(setting.name, setting.value)):
        raise ConfigError(f"{setting.name} cannot be {setting.value!r}, which is read as {what}. Rename the column.")
    said = f"{indent}{'' if setting.is_on else '# '}{name}: {in_yaml(setting.value)}"
    return f"{said.ljust(_COLUMN)}  # {_comment(setting.why)}"


def _what_is_read(name: str, text: str) -> str:
    """Return what the command line takes a text for, where a setting may be that: quotes do not help; empty if text."""
    try:
        read = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return ""
    section, _, own = name.rpartition(".")
    setting = declared(declared(Config)[section].type if section else Config)[own]
    if isinstance(read, list) and setting.may_be_list:
        return "a list"
    return "null" if read is None and setting.may_be_null else ""


def _comment(text: str, longest: int = _LONGEST_COMMENT) -> str:
    """Return a text that ends no line and is no control character, whatever names from files it quotes."""
    shown = "".join(character for character in printable(text) if character <= "\U0010fffd" and character != "\ufffe")
    return shown if len(shown) <= longest else f"{shown[:longest]} ..."


def in_yaml(value: Any) -> str:
    """Write a value on one line.

    Raises:
        ConfigError: If it is text that YAML cannot hold.
    """
    if isinstance(value, list):
        return f"[{', '.join(map(in_yaml, value))}]"
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and value.lower() not in _NO_TEXT else _quoted(value)
    text: str = yaml.safe_dump(value, default_flow_style=True, width=math.inf)
    return text.removesuffix("...\n").strip()


def _quoted(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{text!r} is no text that YAML can hold. Rename it.") from None
    quoted: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf)
    return quoted.removesuffix("\n")
