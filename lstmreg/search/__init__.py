"""The experiment that answers which knobs to turn, on Optuna's studies."""

from lstmreg.recipes import recipe as recipe

from .evidence import Evidence as Evidence
from .experiment import Progress as Progress
from .experiment import read as read
from .experiment import run as run
from .shown import Shown as Shown
from .standing import Standing as Standing
from .standing import standing_of as standing_of
from .study.file import is_owned as is_owned
