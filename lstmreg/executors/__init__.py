"""Where trainings run: in this process, in processes beside it, on a Dask cluster, or in anybody's executor."""

from .dispatch import Dispatch as Dispatch
from .events import Failure as Failure
from .events import Place as Place
from .executor import Executor as Executor
from .executor import Here as Here
from .executor import Worker as Worker
from .opening import opened as opened
from .orders import Value as Value
from .parcels import Material as Material
