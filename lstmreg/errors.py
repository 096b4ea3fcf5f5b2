"""The errors that end a command, each with its documented exit code.

They are ``ValueError`` too, so that a library user catches what Python's own functions raise.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

#: What stands before a password, and it: in an address, and as an option of one.
_PASSWORDS = re.compile(r"(:/+[^\s:/@]*:)\S+(?=@)|(password(?:=|%3d))[^\s&'\"]+", re.IGNORECASE)


def without_passwords(text: str) -> str:
    """Return a text in which the passwords of addresses are asterisks."""
    return _PASSWORDS.sub(lambda found: f"{found[1] or found[2]}***", text)


def printable(text: str) -> str:
    """Return a text on one line and without control characters, whatever names from files it quotes."""
    return "".join(character if character.isprintable() else " " for character in text)


class LstmregError(ValueError):
    """Anything that lstmreg refuses; one line: where, what, the rule, the remedy."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        """Keep the message on one line and readable, whatever names from files it quotes."""
        shown = printable(without_passwords(message))
        super().__init__(shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]} ...")


_LONGEST = 2_000


class ConfigError(LstmregError):
    """A setting or argument that breaks its rule (exit code 2)."""


class DataError(LstmregError):
    """Data that cannot be used as it is (exit code 3)."""

    exit_code = 3


class CorruptFileError(LstmregError):
    """A file of ours that is damaged, or one that is not safe to read (exit code 4)."""

    exit_code = 4


class NoUsableTrialError(LstmregError):
    """A search without a single finished trial to answer from (exit code 5)."""

    exit_code = 5


class InputError(ValueError, RuntimeError):
    """A tensor that does not fit the layer that was called with it.

    It is a ``RuntimeError`` too, because that is what ``torch.nn.LSTM`` raises, and what code around one expects.
    """


#: What reading a damaged or hostile file may raise. Where such a file is read, all become a CorruptFileError: a rule
#: that was forgotten must not show as a traceback.
UNEXPECTED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the nearest of ``known``, or an empty string."""
    if len(name) > 100:  # nobody's typing error, and slow to compare
        return ""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
