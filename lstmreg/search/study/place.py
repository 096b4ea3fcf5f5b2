"""The door to a run's studies, wherever its configuration says that they are kept."""

from __future__ import annotations

from lstmreg.config import Config
from lstmreg.extras import need

from .file import StudyFile
from .storage import Storage


def storage_of(config: Config) -> Storage:
    """Return where the studies of a run are kept.

    Raises:
        ConfigError: If what speaks with that database is not installed.
    """
    address = config.search.storage
    if address is None:
        return StudyFile(config.directory)
    need("postgresql", "search.storage", "psycopg")
    from .server import StudyServer

    return StudyServer(address, config.run_name)
