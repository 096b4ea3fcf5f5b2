"""What must be installed for a special purpose, and how."""

from __future__ import annotations

from importlib.util import find_spec

from lstmreg.errors import ConfigError


def need(extra: str, purpose: str, *libraries: str) -> None:
    """See that libraries are installed, without importing them.

    Raises:
        ConfigError: If one is not, with the extra of lstmreg that installs it.
    """
    missing = [library for library in libraries if find_spec(library) is None]
    if missing:
        raise ConfigError(f"{purpose} needs {', '.join(missing)}. Install it with: pip install 'lstmreg[{extra}]'")
