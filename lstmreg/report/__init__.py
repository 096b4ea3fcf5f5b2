"""From evidence to an answer that people can read: numbers first, then words, figures and the page."""

from .answers import Answer as Answer
from .answers import SoFar as SoFar
from .documents import headline as headline
from .documents import sentences as sentences
from .documents import write as write
from .documents import write_what_is_known as write_what_is_known
from .news import Status as Status
from .news import StatusFile as StatusFile
from .numbers import answer as answer
from .provisional import ProvisionalPage as ProvisionalPage
from .so_far import what_is_known as what_is_known
from .watching import Watcher as Watcher
