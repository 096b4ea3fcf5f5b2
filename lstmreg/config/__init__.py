"""Every setting of a run, as it stands in ``lstmreg.yaml``. Plain dataclasses: nothing here loads torch.

The rules of a setting stand beside it, and its choices in its type. Each class checks itself when it is made and names
the offending setting by its path in the file.
"""

from .data import CALENDAR as CALENDAR
from .data import THOUSANDS as THOUSANDS
from .data import DataConfig as DataConfig
from .model import ACTIVATIONS as ACTIVATIONS
from .model import ModelConfig as ModelConfig
from .run import Config as Config
from .run import from_dict as from_dict
from .run import searchable as searchable
from .run import with_settings as with_settings
from .search import AMOUNTS as AMOUNTS
from .search import PLANNED as PLANNED
from .search import Amount as Amount
from .search import SearchConfig as SearchConfig
from .settings import configured as configured
from .space import Condition as Condition
from .space import Dimension as Dimension
from .space import Range as Range
from .space import Scalar as Scalar
from .space import Values as Values
from .space import default_space as default_space
from .training import TrainingConfig as TrainingConfig
