"""``lstmreg status``."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from lstmreg.terminal import Console, show_status, watch_status

from .verb import Verb


class Status(Verb):
    """Says how far a search is, whoever runs it; it looks at the run's folder, and changes nothing there."""

    name = "status"
    help = "how far a search is: what it does, how much is done, who works, what has failed"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the run's folder, and whether to go on looking."""
        parser.add_argument("directory", type=str, help="the run's folder, such as runs/sunspots")
        parser.add_argument("--watch", action="store_true", help="look again every second, until the search ends")

    def run(self, arguments: Namespace, out: Console) -> None:
        """Look once, or until the search ends."""
        from lstmreg import report

        watcher = report.Watcher(Path(arguments.directory))
        if arguments.watch:
            watch_status(watcher.look, out)
        else:
            show_status(watcher.look(), out)

    def about_missing(self, names: str) -> str:
        """Say what folder that is."""
        return "name the run's folder, such as runs/sunspots."

    def about_stray(self, argument: str) -> str:
        """Say that there is one folder."""
        return "Name one run's folder at a time."
