"""The door to a run's studies, wherever its configuration says that they are kept."""

from __future__ import annotations

from lstmreg.config import Config
from lstmreg.errors import ConfigError
from lstmreg.extras import need

from .file import StudyFile
from .storage import Storage, first_line


def storage_of(config: Config) -> Storage:
    """Return where the studies of a run are kept.

    Raises:
        ConfigError: If what speaks with that database is not installed, or cannot be loaded.
    """
    address = config.search.storage
    if address is None:
        return StudyFile(config.directory)
    need("postgresql", "search.storage", "psycopg")
    try:
        from .server import StudyServer
    except ImportError as error:  # psycopg is there and the library that it stands on is not
        raise ConfigError(
            f"search.storage needs psycopg, which cannot be loaded ({first_line(error)}). Install it with all that it "
            f"needs: pip install 'lstmreg[postgresql]'"
        ) from None
    return StudyServer(address, config.run_name)
