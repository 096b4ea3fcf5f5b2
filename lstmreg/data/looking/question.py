"""What is asked where nothing can be guessed."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from lstmreg.errors import ConfigError, printable

#: So many commands are shown.
_MOST = 15


class QuestionError(ConfigError):
    """Something that only the user knows; with the commands among which to choose (exit code 2).

    Args:
        asked: The question, with what it is about.
        commands: A command for each answer.
    """

    def __init__(self, asked: str, commands: Sequence[str]) -> None:
        self.commands = tuple(printable(command) for command in commands[:_MOST])
        self.more = len(commands) - len(self.commands)
        shown = " or ".join(self.commands[:3])
        super().__init__(f"{asked} Say it: {shown}{' or ...' if len(commands) > 3 else ''}")


def command(path: str, **options: str | None) -> str:
    """Return the command that looks at the same data with some options; what is null is left out."""
    words = ["lstmreg", "init", f"./{path}" if path.startswith("-") else path]
    for name, value in options.items():
        if value is not None:
            words += [f"--{name}={value}"] if value.startswith("-") or not value else [f"--{name}", value]
    return shlex.join(words)
