"""``lstmreg report``."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from lstmreg.terminal import Console, show_answer

from .verb import Verb


class Report(Verb):
    """Writes the answer of a finished search again, from its study alone."""

    name = "report"
    help = "write the answer of a finished search again"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the run's folder."""
        parser.add_argument("directory", type=str, help="the run's folder, such as runs/sunspots")

    def run(self, arguments: Namespace, out: Console) -> None:
        """Read the evidence, write the answer, and show it."""
        from lstmreg import report, search

        directory = Path(arguments.directory)
        answer = report.answer(search.read(directory))
        report.write(answer, directory)
        show_answer(answer, directory, out)

    def about_missing(self, names: str) -> str:
        """Say what folder that is."""
        return "name the run's folder, such as runs/sunspots."

    def about_stray(self, argument: str) -> str:
        """Say that there is one folder."""
        return "Name one run's folder at a time."
