"""``lstmreg search``."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import ClassVar

from jsonargparse import ArgumentParser, Namespace

from lstmreg.config import Config
from lstmreg.errors import UNEXPECTED, ConfigError
from lstmreg.recipes import RECIPES, file_of, recipe
from lstmreg.signals import Terminated
from lstmreg.terminal import Console, TrialLines, say, say_unbroken, show_answer
from lstmreg.yaml_file import read_yaml

from .settings import VerbWithSettings


class Search(VerbWithSettings):
    """Runs the experiment, or goes on with it, and writes its answer."""

    name = "search"
    help = "find out by experiment which knobs to turn, and to what value"
    shorthands: ClassVar[Mapping[str, str]] = {
        "trials": "search.trials",
        "workers": "search.workers",
        "cluster": "search.cluster",
        "storage": "search.storage",
    }
    is_resumable = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the recipe to the settings."""
        says = f"settings to begin with, beneath all others: {', '.join(RECIPES)}"
        parser.add_argument("--recipe", action=_Beneath, metavar="NAME", default=argparse.SUPPRESS, help=says)
        super().add_arguments(parser)

    def files_of_settings(self, arguments: Sequence[str]) -> tuple[Path, ...]:
        """Return the settings of the recipe that is named, if one is."""
        return tuple(file_of(name) for name in _recipes(arguments))

    def run(self, arguments: Namespace, out: Console) -> None:
        """Search as configured."""
        config = self.config(arguments)
        if (beneath := arguments.get("__default_config__")) is not None:  # the parser keeps which file it began with
            files = [str(path) for path in arguments.get("config") or []]
            if said := about_recipe(Path(str(beneath)).stem, config, files):
                say(out, said)
        self.search(config, out)

    def search(self, config: Config, out: Console) -> None:
        """Run the experiment, write the answer, and show it."""
        # Loading torch takes seconds; what is wrong with the data can be said before.
        from lstmreg.tasks import read_task

        task = read_task(config)
        task.splits(config.search)
        from lstmreg import report, search

        page = report.ProvisionalPage(config.run_name, config.directory)
        try:
            with report.StatusFile(config.run_name, config.directory) as status, TrialLines(out) as lines:

                def hear(progress: search.Progress) -> None:
                    lines.show(progress)
                    page.show(progress)
                    status.show(progress)

                evidence = search.run(config, hear, task=task)
        except (KeyboardInterrupt, Terminated):
            _report_what_is_known(config, out)
            raise
        answer = report.answer(evidence)
        report.write(answer, config.directory)
        show_answer(answer, config.directory, out)


def _report_what_is_known(config: Config, out: Console) -> None:
    """Write what an interrupted search has found, which takes a moment, and say that it is there.

    Whatever is in the way of that changes nothing of how the search ends.
    """
    from lstmreg import report

    with contextlib.suppress(*UNEXPECTED, OSError):
        report.write_what_is_known(config.directory)
        say_unbroken(out, f"What is known so far: {config.directory / 'report.html'}, answer.md, answer.json")


def about_recipe(name: str, config: Config, files: Sequence[str]) -> str:
    """Say in one line which settings of a recipe are otherwise in a configuration; empty if none.

    Args:
        name: Of the recipe.
        config: What is searched.
        files: Those of the user, from which settings come that are not given as options.
    """
    written = [(file, read_yaml(Path(file))) for file in files if Path(file).is_file()]
    others = []
    for section, settings in read_yaml(file_of(name)).items():
        for key in settings:
            said, own = getattr(recipe(name)[section], key), getattr(getattr(config, section), key)
            if said != own:
                sources = [file for file, content in written if key in (content.get(section) or {})]
                source = sources[-1] if sources else "the options"
                path = f"{section}.{key}"
                if isinstance(own, dict):
                    others.append(f"{path} of {source}, where the recipe has one of its own")
                else:
                    others.append(f"{path}: {own} of {source}, where the recipe says {said}")
    return f"Not as the recipe {name} has it: {'; '.join(others)}." if others else ""


class _Beneath(argparse.Action):
    """What has done its work before arguments are parsed, and is no setting itself."""

    def __call__(self, *given: object) -> None:
        """Keep nothing."""


def _recipes(arguments: Sequence[str]) -> list[str]:
    """List the recipe that arguments name, if they name one.

    Raises:
        ConfigError: If they name several, or there is no name.
    """
    pairs = zip_longest(arguments, arguments[1:], fillvalue="")
    found = [after for argument, after in pairs if argument == "--recipe"]
    found += [argument.removeprefix("--recipe=") for argument in arguments if argument.startswith("--recipe=")]
    if len(found) > 1 or any(not name or name.startswith("-") for name in found):
        raise ConfigError(f"--recipe must name one of {', '.join(RECIPES)}, as in --recipe staged.")
    return found
