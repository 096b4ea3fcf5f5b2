"""Where a study may be kept: what an address of a database may say, and that it never holds a password."""

from __future__ import annotations

import re
from urllib.parse import unquote

from lstmreg.errors import ConfigError

_SCHEME = "postgresql+psycopg://"
_EXAMPLE = f"{_SCHEME}anna@db.example.org/studies"

#: User, host (or one in brackets), port, database, options. No part has a colon or an @ of its own.
_ADDRESS = re.compile(
    r"(?:(?P<user>[^\s:/?#@{}]+)@)?(?:[\w.-]+|\[[\da-fA-F:.]+\])?(?::\d{1,5})?/[^\s:/?#@{}]+(?:\?(?P<options>[^\s#@{}]+))?",
    re.ASCII,
)

#: Options that are secrets, or may bring some: a database's name may itself be an address.
_SECRET = {"password", "sslpassword", "oauth_client_secret"}


def check_storage(address: str | None) -> None:
    """See that an address is PostgreSQL's, and that there is no password in it.

    What is refused is shown only where it can hold no password.

    Raises:
        ConfigError: If it is another one.
    """
    if address is None:
        return
    check_no_password(address)
    plain = unquote(address)
    scheme, _, rest = address.partition("://")
    found = _ADDRESS.fullmatch(rest) if f"{scheme}://" == _SCHEME else None
    if found is None or (found["user"] is not None and ":" in unquote(found["user"])) or "dbname" in _names(plain):
        shown = f"{scheme}://..." if rest else repr(address)
        got = f", got {shown}" if re.fullmatch(r"[\w.+/-]+", scheme) else ""
        raise ConfigError(f"search.storage must be {_SCHEME}HOST/DATABASE, such as {_EXAMPLE}{got}.")


def check_no_password(written: str) -> None:
    """See that there is no password in what is written as ``search.storage``.

    Raises:
        ConfigError: If there is; it does not show it.
    """
    if _has_password(unquote(written)):
        raise ConfigError(
            "search.storage must be an address without a password, got one with a password in it. Take it out, and "
            "give it as the environment variable PGPASSWORD or in ~/.pgpass, where only you can read it."
        )


def _has_password(plain: str) -> bool:
    """Tell whether an address of any kind has a password in it, or may have."""
    before_options = plain.partition("?")[0].partition("://")
    who = (before_options[2] or before_options[0]).rpartition("@")[0]
    return ":" in who or bool(_SECRET & _names(plain))


def _names(plain: str) -> set[str]:
    """Return the names of an address' options, in small letters."""
    return {each.partition("=")[0].strip().lower() for each in re.split(r"[?&;\s]", plain)[1:]}
