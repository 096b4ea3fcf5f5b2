"""``lstmreg report``."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from lstmreg.terminal import Console, show_answer, show_so_far

from .verb import Verb


class Report(Verb):
    """Writes the answer of a search again, or what is known so far, from its study alone."""

    name = "report"
    help = "write the answer of a search again, or what is known so far of one that has not ended"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the run's folder."""
        parser.add_argument("directory", type=str, help="the run's folder, such as runs/sunspots")

    def run(self, arguments: Namespace, out: Console) -> None:
        """Read the evidence, write what is known, and show it."""
        from lstmreg import report

        directory = Path(arguments.directory)
        known = report.write_what_is_known(directory)
        if isinstance(known, report.SoFar):
            show_so_far(known, directory, out)
        else:
            show_answer(known, directory, out)

    def about_missing(self, names: str) -> str:
        """Say what folder that is."""
        return "name the run's folder, such as runs/sunspots."

    def about_stray(self, argument: str) -> str:
        """Say that there is one folder."""
        return "Name one run's folder at a time."
