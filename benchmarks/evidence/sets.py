"""The sets of the study: those of ``benchmarks/real`` and a few more, each with why one would use an LSTM there."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lstmreg.config import Config
from lstmreg.tasks import Task, read_task

sys.path.insert(0, str(Path(__file__).parents[1] / "real"))
from measuring import converted
from sets import SETS as REAL
from sets import RealSet

import lstmreg

_DEMOS = Path(lstmreg.__file__).parent / "data"


@dataclass(frozen=True)
class Subject:
    """A set, as the study sees it.

    Attributes:
        real: The data and the question.
        why: Why one would use an LSTM there.
        family: Sets of one family are stretches or parts of the same data: in summaries they count as one.
        is_made_up: Whether there is nothing to be learnt by construction; such sets check the study and are in no
            summary.
    """

    real: RealSet
    why: str
    family: str
    is_made_up: bool = False

    @property
    def name(self) -> str:
        """The word to type."""
        return self.real.name

    def config(self) -> Config:
        """Return the run that asks its question, of the data in a folder that goes with the process."""
        return self.real.config(_data(self.name), Path("runs"))


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


@cache
def _data(name: str) -> Path:
    return converted(SUBJECTS[name].real, Path(_folder().name))


@cache
def read(name: str) -> tuple[Config, Task]:
    """Return the run and the task of a set, read once."""
    config = SUBJECTS[name].config()
    task = read_task(config)
    return task.completed(config), task


_MORE = (
    RealSet(
        name="digits-2",
        about="1,198 handwritten digits, the demo's: the other two of each three; which digit",
        source="Alpaydin and Kaynak 1998, UCI Machine Learning Repository",
        licence="CC BY 4.0",
        task="classify",
        data={"target": "digit", "sequence": "image", "time": "row"},
        convert=lambda contents, folder: _DEMOS / "digits.csv.gz",
    ),
)

#: Of each set why an LSTM, and its family.
_REASONS = {
    "digits": ("an image read row by row, as a scanner gives it", "digits"),
    "digits-2": ("an image read row by row, as a scanner gives it", "digits"),
    "watch": ("recordings of unequal lengths with several channels", "watch"),
    "arrowhead": ("an outline, walked along", "arrowhead"),
    "osuleaf": ("an outline, walked along", "osuleaf"),
    "pickup": ("gestures of unequal lengths", "pickup"),
    "tecator": ("a spectrum, read from one end to the other", "tecator"),
    "covid": ("the course of an epidemic, whose outcome is asked for", "covid"),
    "daphnet": ("a value at every step, from several sensors", "daphnet"),
    "walmart": ("several short series with things known in advance", "walmart"),
    "appliances": ("one series with many columns that may lead it", "appliances"),
    "appliances-2": ("one series with many columns that may lead it", "appliances"),
    "appliances-3": ("one series with many columns that may lead it", "appliances"),
    "traffic": ("a series with two seasons and the weather", "traffic"),
    "sunspots": ("a cycle of no fixed length, the demo of many tutorials", "sunspots"),
    "bike": ("a year's course with the weather", "bike"),
    "noise": ("for nothing: there is nothing to learn", "noise"),
    "returns": ("for nothing: there is nothing to learn but the scatter", "returns"),
}

#: By name.
SUBJECTS = {
    real.name: Subject(real, *_REASONS[real.name], is_made_up=real.name in ("noise", "returns"))
    for real in (*REAL, *_MORE)
}
