"""From evidence to an answer that people can read: numbers first, then words, figures and the page."""

from .answer import Answer as Answer
from .answer import answer as answer
from .write import write as write
