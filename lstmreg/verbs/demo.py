"""``lstmreg demo``: a search on real data that come along."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from lstmreg.config import Config
from lstmreg.errors import ConfigError
from lstmreg.terminal import Console, say

from .search import Search

_DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class Demonstration:
    """Data that come along, with the settings of a search on them in ``data/NAME.yaml``.

    Attributes:
        name: The word to type.
        table: The file with the data.
        about: What they are, and what comes out, in a line.
        question: What is said before the search begins.
    """

    name: str
    table: str
    about: str
    question: str

    @property
    def settings(self) -> Path:
        """The file with the settings; it says where the data are from."""
        return _DATA / f"{self.name}.yaml"


#: The first is the one that runs where none is named.
DEMOS = (
    Demonstration(
        name="appliances",
        table="appliances.csv.gz",
        about="a house's energy by the hour, 28 columns: a knob that helps (forecast)",
        question="1200 hours of a house in 28 columns, two of them random numbers: which regularization does an LSTM "
        "need to forecast the energy of the next hour?",
    ),
    Demonstration(
        name="digits",
        table="digits.csv.gz",
        about="1198 handwritten digits, read row by row: another knob that helps (classify)",
        question="1198 handwritten digits, read row by row: which regularization does an LSTM need to tell them apart?",
    ),
    Demonstration(
        name="sunspots",
        table="sunspots.csv",
        about="yearly sunspot numbers, 1700 to 2008: an honest no (forecast)",
        question="Yearly sunspot numbers, 1700 to 2008: which regularization does an LSTM need here?",
    ),
)

_BY_NAME = {demo.name: demo for demo in DEMOS}


class Demo(Search):
    """Searches on data that come along."""

    name = "demo"
    help = "find out which knobs help on real data that come along (a few minutes)"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add which demo, and how to see them all, to the arguments of a search."""
        names = ", ".join(_BY_NAME)
        parser.add_argument("demo", nargs="?", default=argparse.SUPPRESS, help=f"which: {names}; the first if none")
        shows = "name all demos, and run none"
        parser.add_argument("--list", action="store_true", default=argparse.SUPPRESS, help=shows)
        super().add_arguments(parser)

    def files_of_settings(self, arguments: Sequence[str]) -> tuple[Path, ...]:
        """Return the settings of the demo that is named right behind the verb, or of the first."""
        demo = _BY_NAME.get(arguments[0] if arguments else "", DEMOS[0])
        return (demo.settings, *super().files_of_settings(arguments))

    def run(self, arguments: Namespace, out: Console) -> None:
        """Put the data into the run's folder, and search; or name all demos."""
        plain = arguments.as_dict()
        if plain.get("list"):
            for demo in DEMOS:
                say(out, f"lstmreg demo {demo.name:<10} {demo.about}")
            return
        self.demonstrate(_named(plain.get("demo", DEMOS[0].name)), self.config(arguments), out)

    def demonstrate(self, demo: Demonstration, config: Config, out: Console) -> None:
        """Put the data of a demo into the run's folder, and search."""
        if config.data.path != demo.table:
            raise ConfigError(
                f"data.path must be {demo.table} in this demo, got {config.data.path}. A demo brings its own data, and "
                f"its name stands first: lstmreg demo {demo.name} --search.seed=1. Other data: lstmreg search."
            )
        path = config.directory / demo.table
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((_DATA / demo.table).read_bytes())
        say(out, demo.question)
        self.search(dataclasses.replace(config, data=dataclasses.replace(config.data, path=str(path))), out)

    def about_stray(self, argument: str) -> str:
        """Say that there is one demo at a time."""
        return f"Name one demo at a time: {', '.join(_BY_NAME)}."


def _named(name: str) -> Demonstration:
    if name not in _BY_NAME:
        raise ConfigError(f"demo must be one of {', '.join(_BY_NAME)}, got {name!r}. 'lstmreg demo --list' says more.")
    return _BY_NAME[name]
