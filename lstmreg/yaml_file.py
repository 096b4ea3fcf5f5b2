"""Reads a YAML file that a stranger may have written: small, plain, and with known keys only."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from lstmreg.config import Config, DataConfig, ModelConfig, SearchConfig, TrainingConfig
from lstmreg.errors import ConfigError, did_you_mean

_LARGEST = 1_000_000
_SECTIONS = {"data": DataConfig, "model": ModelConfig, "training": TrainingConfig, "search": SearchConfig}


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping of plain values and known settings.

    Raises:
        ConfigError: If the file is missing, larger than 1 MB, not YAML, has tags or aliases (which can make
            a small file huge), or names an unknown setting.
    """
    try:
        raw = path.read_bytes() if path.stat().st_size <= _LARGEST else None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from None
    if raw is None:
        raise ConfigError(f"{path}: more than {_LARGEST:,} bytes; that is no configuration.")
    try:
        if any(isinstance(token, (yaml.AliasToken, yaml.TagToken)) for token in yaml.scan(raw)):
            raise ConfigError(f"{path}: YAML tags (!) and aliases (*) are not allowed. Write plain values.")
        content = yaml.safe_load(raw)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML ({' '.join(str(error).split())}).") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must be settings, as 'data: {{path: ...}}', got {type(content).__name__}.")
    for name in _names(content):
        if name not in known_settings():
            raise ConfigError(f"{path}: unknown setting {name!r}.{did_you_mean(name, known_settings())}")
    return content


def known_settings() -> list[str]:
    """List every setting by its path, the sections themselves included."""
    names = [field.name for field in dataclasses.fields(Config)]
    return names + [f"{s}.{f.name}" for s, kind in _SECTIONS.items() for f in dataclasses.fields(kind)]


def declared_type(name: str) -> str:
    """Say in words of what type a setting is; ``valid`` where it is not known."""
    if name == "search.space":
        return "settings by path, each with a list of values or with {low, high, log, step}"
    section, _, inner = name.rpartition(".")
    kind = _SECTIONS.get(section, Config)
    declared = {field.name: str(field.type) for field in dataclasses.fields(kind)}.get(inner, "valid")
    for python, words in _TYPE_WORDS.items():
        declared = declared.replace(python, words)
    return declared


#: In this order, since one contains another.
_TYPE_WORDS = {
    "list[float]": "a list of numbers",
    "list[int]": "a list of whole numbers",
    "list[str]": "a list of names",
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "str": "text",
    "None": "null",
    "Literal": "one of ",
    '"': "'",
    " | ": " or ",
}


def _names(content: dict[Any, Any]) -> Iterator[str]:
    for name, value in content.items():
        yield str(name)
        if name in _SECTIONS and isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in value)
