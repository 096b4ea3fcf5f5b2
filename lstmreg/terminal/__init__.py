"""What is drawn on the terminal: where the work is, and what came of it."""

from .console import Console as Console
from .console import open_console as open_console
from .console import say as say
from .console import say_unbroken as say_unbroken
from .progress import FitLines as FitLines
from .progress import TrialLines as TrialLines
from .pulse import Pulse as Pulse
from .pulse import duration as duration
from .results import show_answer as show_answer
from .results import show_coverage as show_coverage
from .results import show_fit as show_fit
from .results import show_layers as show_layers
from .results import show_predictions as show_predictions
from .results import show_so_far as show_so_far
from .seen import show_question as show_question
from .seen import show_sighting as show_sighting
from .status import show_status as show_status
from .status import watch_status as watch_status
