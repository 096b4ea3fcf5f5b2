"""Keras' ways to name an object: an instance, a string, a serialized dict; in and out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from lstmreg.errors import did_you_mean

#: Every name that Keras knows a thing by, and what makes it.
Known = Mapping[str, Callable[..., Any]]


def resolve(identifier: Any, known: Known, what: str, example: str) -> Any:
    """Turn an identifier into the object that it names.

    Args:
        identifier: ``None``, a callable (returned as it is), a name, or what Keras' ``serialize`` returns,
            ``{"class_name": ..., "config": {...}}``, of any version.
        known: The names, and what makes each.
        what: The argument, for messages.
        example: A value that would do, for messages.

    Raises:
        ValueError: If the name is unknown, or the config does not fit it.
        TypeError: If it is none of these.
    """
    if identifier is None or (callable(identifier) and not isinstance(identifier, type)):
        return identifier
    if isinstance(identifier, str):
        return _make(identifier, {}, known, what)
    if isinstance(identifier, dict) and "class_name" in identifier:
        config = identifier.get("config") or {}
        if identifier["class_name"] == "function":  # how Keras serializes a function of its own
            return _make(str(config), {}, known, what)
        return _make(str(identifier["class_name"]), config, known, what)
    raise TypeError(
        f"{what} must be a callable such as {example}, one of Keras' names, or its serialized dict, got {identifier!r}."
    )


def _make(name: str, config: Mapping[str, Any], known: Known, what: str) -> Any:
    if name not in known:
        raise ValueError(f"{what}: unknown name {name[:100]!r}.{did_you_mean(name, known)} Known: {', '.join(known)}.")
    try:
        return known[name](**config)
    except TypeError as error:
        raise ValueError(f"{what}: {name} does not take {dict(config)!r:.200} ({error!s:.200}).") from None


def serialize(thing: Any, module: str) -> dict[str, Any] | None:
    """Write one of our dataclasses as Keras' ``serialize`` writes its namesake.

    Args:
        thing: A regularizer, constraint or initializer of ours, or ``None``.
        module: Keras' module, such as ``keras.regularizers``.

    Raises:
        TypeError: If it is not one of ours: a function cannot be written without being executed later.
    """
    if thing is None:
        return None
    if not dataclasses.is_dataclass(thing) or not type(thing).__module__.startswith("lstmreg."):
        raise TypeError(f"only lstmreg's own classes can be serialized, got {thing!r}.")
    name = getattr(type(thing), "keras_name", type(thing).__name__)
    return {
        "module": module,
        "class_name": name,
        "config": {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)},
        "registered_name": None,
    }
