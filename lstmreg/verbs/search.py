"""``lstmreg search``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from jsonargparse import Namespace

from lstmreg.config import Config
from lstmreg.terminal import Console, TrialLines, show_answer

from .settings import VerbWithSettings


class Search(VerbWithSettings):
    """Runs the experiment, or goes on with it, and writes its answer."""

    name = "search"
    help = "find out by experiment which knobs to turn, and to what value"
    shorthands: ClassVar[Mapping[str, str]] = {"trials": "search.trials"}
    is_resumable = True

    def run(self, arguments: Namespace, out: Console) -> None:
        """Search as configured."""
        self.search(self.config(arguments), out)

    def search(self, config: Config, out: Console) -> None:
        """Run the experiment, write the answer, and show it."""
        # Loading torch takes seconds; what is wrong with the data can be said before.
        from lstmreg.tasks import read_task

        task = read_task(config)
        task.splits(config.search)
        from lstmreg import report, search

        page = report.ProvisionalPage(config.run_name, config.directory)
        with TrialLines(out) as lines:

            def hear(progress: search.Progress) -> None:
                lines.show(progress)
                page.show(progress)

            evidence = search.run(config, hear, task=task)
        answer = report.answer(evidence)
        report.write(answer, config.directory)
        show_answer(answer, config.directory, out)
