"""The answer in words: the same sentences in the terminal, in Markdown and on the page."""

from .advice import headline as headline
from .explaining import left_out_note as left_out_note
from .explaining import left_out_table as left_out_table
from .explaining import unstopped_note as unstopped_note
from .explaining import unstopped_table as unstopped_table
from .knob_table import table as table
from .knob_table import table_note as table_note
from .naming import floor_name as floor_name
from .naming import short_floor_name as short_floor_name
from .naming import stopping as stopping
from .naming import task as task
from .support import details as details
from .support import sentences as sentences
from .support import summary as summary
from .training import starts_note as starts_note
from .where import about_where as about_where
from .where import parts_tables as parts_tables
from .where import where_note as where_note
from .where import worst_cases as worst_cases
from .writing import change as change
from .writing import number as number
from .writing import percent as percent
from .writing import ranks as ranks
from .writing import spoken as spoken
