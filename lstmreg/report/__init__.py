"""From evidence to an answer that people can read: numbers first, then words, figures and the page."""

from .answers import Answer as Answer
from .documents import write as write
from .numbers import answer as answer
from .provisional import ProvisionalPage as ProvisionalPage
from .words import headline as headline
from .words import sentences as sentences
