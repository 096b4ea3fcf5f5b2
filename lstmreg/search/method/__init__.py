"""The statistics of the experiment: what to run next and what it shows, as functions of log losses alone."""

from .bands import adjusted_p_values as adjusted_p_values
from .bands import critical_value as critical_value
from .candidates import BASELINE as BASELINE
from .candidates import Arm as Arm
from .candidates import Candidate as Candidate
from .candidates import arms_of as arms_of
from .cells import Cell as Cell
from .cells import LogLosses as LogLosses
from .course import Proposer as Proposer
from .course import Step as Step
from .course import steps as steps
from .intervals import Components as Components
from .intervals import Interval as Interval
from .intervals import Resolution as Resolution
from .judge import Judgement as Judgement
from .judge import judgement as judgement
from .picking import Picks as Picks
from .picking import Seen as Seen
from .picking import Stability as Stability
from .picking import picks as picks
from .plan import Plan as Plan
from .verdicts import Dose as Dose
from .verdicts import Row as Row
from .verdicts import Verdict as Verdict
from .verdicts import table as table
