"""The experiment that answers which knobs to turn, on Optuna's studies."""

from lstmreg.recipes import recipe as recipe

from .evidence import Evidence as Evidence
from .experiment import Progress as Progress
from .experiment import Shown as Shown
from .experiment import read as read
from .experiment import run as run
