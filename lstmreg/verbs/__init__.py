"""What the command line can do, one object each. Another verb is one in a file of its own, and its place here."""

from .convert import Convert
from .demo import Demo
from .fit import Fit
from .init import Init
from .predict import Predict
from .report import Report
from .search import Search
from .status import Status
from .verb import Verb as Verb

#: In the order in which ``lstmreg --help`` lists them.
VERBS: tuple[Verb, ...] = (Demo(), Init(), Fit(), Search(), Status(), Report(), Predict(), Convert())
