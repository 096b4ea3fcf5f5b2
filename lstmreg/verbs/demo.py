"""``lstmreg demo``: a search on data that come along."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from jsonargparse import Namespace

from lstmreg.terminal import Console, say

from .search import Search

_DATA = Path(__file__).parents[1] / "data"


class Demo(Search):
    """Searches on the yearly sunspot numbers."""

    name = "demo"
    help = "find out which knobs help on the yearly sunspot numbers (a few minutes)"
    default_files = (_DATA / "demo.yaml",)

    def run(self, arguments: Namespace, out: Console) -> None:
        """Put the data into the run's folder, and search."""
        config = self.config(arguments)
        path = config.directory / "sunspots.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((_DATA / "sunspots.csv").read_bytes())
        say(out, "Yearly sunspot numbers, 1700 to 2008: which regularization does an LSTM need here?")
        self.search(dataclasses.replace(config, data=dataclasses.replace(config.data, path=str(path))), out)
