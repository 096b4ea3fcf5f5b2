"""Looks at data before anybody has said what they are, and proposes settings that fit them; or asks.

``opening`` opens what a path names, by the signs that ``signs`` finds; ``fields`` holds columns as they are compared;
``clock``, ``parts`` and ``season`` each find one thing; ``sighting`` is all that was seen; ``proposal`` are the
settings, ``beside`` is what the public study knows of such data, and ``writing`` makes the file that holds them.
"""

from .beside import supported as supported
from .opening import look as look
from .proposal import Proposal as Proposal
from .proposal import propose as propose
from .question import QuestionError as QuestionError
from .sighting import Clock as Clock
from .sighting import Parts as Parts
from .sighting import Season as Season
from .sighting import SeenColumn as SeenColumn
from .sighting import Sighting as Sighting
from .sighting import Wish as Wish
from .table import look_at as look_at
from .writing import written as written
