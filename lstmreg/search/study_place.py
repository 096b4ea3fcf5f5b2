"""The door to a run's studies, wherever its configuration says that they are kept."""

from __future__ import annotations

from lstmreg.config import Config
from lstmreg.extras import need

from .storage import Storage
from .study_file import StudyFile


def storage_of(config: Config) -> Storage:
    """Return where the studies of a run are kept.

    Raises:
        ConfigError: If what speaks with that database is not installed.
    """
    address = config.search.storage
    if address is None:
        return StudyFile(config.directory)
    need("postgresql", "search.storage", "psycopg")
    from .study_server import StudyServer

    return StudyServer(address, config.run_name)
