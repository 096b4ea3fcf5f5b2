"""The path of a setting, such as ``model.dropout``, or of its value in one layer, such as ``model.dropout[1]``."""

from __future__ import annotations

import re
from typing import NamedTuple

_PATH = re.compile(r"(\w+)\.(\w+)(?:\[(0|[1-9]\d{0,3})\])?")

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


class SettingPath(NamedTuple):
    """A path in its parts.

    Attributes:
        section: As in ``lstmreg.yaml``.
        name: Of the setting.
        layer: Which layer's value is meant, counted from 0 as in a list; ``None`` of a whole setting.
    """

    section: str
    name: str
    layer: int | None

    @classmethod
    def of(cls, path: str) -> SettingPath:
        """Take a path apart.

        Raises:
            ValueError: If it is none.

        Example:
            >>> SettingPath.of("model.dropout[1]")
            SettingPath(section='model', name='dropout', layer=1)
        """
        if not (found := _PATH.fullmatch(path)):
            raise ValueError(f"{path!r} is no path of a setting, such as model.dropout or model.dropout[1].")
        return cls(found[1], found[2], None if found[3] is None else int(found[3]))


def whole(path: str) -> str:
    """Return the path of the whole setting; what is no path stays as it is.

    Example:
        >>> whole("model.dropout[1]")
        'model.dropout'
    """
    found = _PATH.fullmatch(path)
    return path if found is None else f"{found[1]}.{found[2]}"


def layer_of(path: str) -> int | None:
    """Return which layer's value a path means; ``None`` if that of all."""
    found = _PATH.fullmatch(path)
    return None if found is None or found[3] is None else int(found[3])


def of_layer(layer: int) -> str:
    """Say which layer it is.

    Example:
        >>> of_layer(2)
        'the third layer'
    """
    return f"the {_ORDINALS[layer]} layer" if layer < len(_ORDINALS) else f"layer {layer + 1}"
