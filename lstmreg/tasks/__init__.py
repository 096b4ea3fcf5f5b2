"""What can be asked: each task is a class in a file, and a row of one table."""

from typing import Any

from lstmreg.config import Config
from lstmreg.errors import ConfigError, did_you_mean

from .classify import Classify as Classify
from .forecast import Forecast as Forecast
from .label import Label as Label
from .own import Own as Own
from .regress import Regress as Regress
from .task import Predictor as Predictor
from .task import Split as Split
from .task import Splits as Splits
from .task import Task as Task

#: By the name that stands in ``lstmreg.yaml``; put one of your own in, and it is served as these are.
TASKS: dict[str, type[Task]] = {task.name: task for task in (Forecast, Classify, Regress, Label, Own)}


def task_named(name: str) -> type[Task]:
    """Return a task's class.

    Raises:
        ConfigError: If there is none of that name.
    """
    if name not in TASKS:
        raise ConfigError(f"task must be one of {', '.join(TASKS)}, got {name!r}.{did_you_mean(name, TASKS)}")
    return TASKS[name]


def read_task(config: Config, given: Any = None) -> Task:
    """Read the data that a configuration names, for the task that it names.

    Args:
        config: The run.
        given: The data themselves, from Python, in place of those that ``config.data.path`` names.

    Raises:
        ConfigError: If there is no such task.
        DataError: If the data cannot be used.
    """
    return task_named(config.task).read(config.data, given)
