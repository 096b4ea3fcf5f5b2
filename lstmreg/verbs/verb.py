"""What a verb is: a word to type, its arguments, and what it then does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from jsonargparse import ArgumentParser, Namespace

from lstmreg.terminal import Console


class Verb(ABC):
    """One of the things that the command line does.

    Its file is loaded for ``lstmreg --help`` too: what is heavy is imported in :meth:`run`.

    Attributes:
        name: The word to type.
        help: What it does, in a line of ``lstmreg --help``.
        shorthands: Arguments, and the settings that each is short for.
        is_resumable: Whether the same line goes on where it was interrupted.
    """

    name: ClassVar[str]
    help: ClassVar[str]
    shorthands: ClassVar[Mapping[str, str]] = {}
    is_resumable: ClassVar[bool] = False

    @abstractmethod
    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add this verb's arguments to its parser."""

    @abstractmethod
    def run(self, arguments: Namespace, out: Console) -> None:
        """Do it.

        Args:
            arguments: As the parser understood them.
            out: Where to show what comes of it.

        Raises:
            LstmregError: Where something is wrong; the command line says it in one line, and ends with its exit code.
        """

    def files_of_settings(self, arguments: Sequence[str]) -> tuple[Path, ...]:
        """Return YAML files with settings that hold where nothing else is said.

        Args:
            arguments: What stands behind the verb, not parsed yet.
        """
        return ()

    def about_missing(self, names: str) -> str:
        """Say how to give the arguments that are required and missing."""
        return f"required: {names}. 'lstmreg {self.name} --help' says more."

    def about_stray(self, argument: str) -> str:
        """Say how an argument that stands alone, and does not belong there, is meant to be given."""
        return f"'lstmreg {self.name} --help' lists what there is."
