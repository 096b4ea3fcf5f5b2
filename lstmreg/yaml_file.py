"""Reads a YAML file that a stranger may have written, small, plain and with known keys only; and writes one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

import yaml

from lstmreg.config import Config, DataConfig, ModelConfig, SearchConfig, TrainingConfig
from lstmreg.config.space import DIMENSION_IN_WORDS, check_written
from lstmreg.errors import ConfigError, did_you_mean
from lstmreg.files import write_atomically
from lstmreg.rules import choices_of, declared

_LARGEST = 100_000
_DEEPEST = 20
_SECTIONS = {"data": DataConfig, "model": ModelConfig, "training": TrainingConfig, "search": SearchConfig}


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping of plain values and known settings.

    Raises:
        ConfigError: If the file is missing, larger than 100 kB, not YAML, has tags or aliases (which can make
            a small file huge), is nested deeply, names an unknown setting, or searches one over what is none of the
            dimensions.
    """
    try:
        raw = path.read_bytes() if path.stat().st_size <= _LARGEST else None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from None
    if raw is None:
        raise ConfigError(f"{path}: more than {_LARGEST:,} bytes; that is no configuration.")
    try:
        _check_tokens(path, raw)
        content = yaml.safe_load(raw)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML ({' '.join(str(error).split())}).") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must be settings, as 'data: {{path: ...}}', got {type(content).__name__}.")
    for name in _names(content):
        if name not in known_settings():
            raise ConfigError(f"{path}: unknown setting {name!r}.{did_you_mean(name, known_settings())}")
    search = content.get("search")
    if isinstance(search, dict) and isinstance(space := search.get("space"), dict):
        check_written(space)
    return content


def write_yaml(config: Config, path: Path) -> None:
    """Write a configuration, every setting of it, as :func:`read_yaml` reads it."""
    write_atomically(path, yaml.safe_dump(dataclasses.asdict(config), sort_keys=False, allow_unicode=True))


_OPENING = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)


def _check_tokens(path: Path, raw: bytes) -> None:
    """Look at the bare tokens first: nothing is built from them yet."""
    depth = 0
    for token in yaml.scan(raw):
        if isinstance(token, (yaml.AliasToken, yaml.TagToken)):
            raise ConfigError(f"{path}: YAML tags (!) and aliases (*) are not allowed. Write plain values.")
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > _DEEPEST:
            raise ConfigError(f"{path}: nested more than {_DEEPEST} levels deep; that is no configuration.")


def known_settings() -> list[str]:
    """List every setting by its path, the sections themselves included."""
    names = [field.name for field in dataclasses.fields(Config)]
    return names + [f"{s}.{f.name}" for s, kind in _SECTIONS.items() for f in dataclasses.fields(kind)]


def declared_type(name: str) -> str:
    """Say in words of what type a setting is; ``valid`` where it is not known."""
    if name == "search.space":
        return f"settings by path, each {DIMENSION_IN_WORDS}"
    section, _, inner = name.rpartition(".")
    known = declared(_SECTIONS.get(section, Config))
    return " or ".join(_in_words(kind) for kind in known[inner].kinds) if inner in known else "valid"


def _in_words(kind: Any) -> str:
    if choices := choices_of(kind):
        return f"one of {list(choices)}"
    if get_origin(kind) is list and (choices := choices_of(get_args(kind)[0])):
        return f"a list of some of {list(choices)}"
    return _WORDS[kind] if kind in _WORDS else str(kind.__name__)


_WORDS = {
    list[float]: "a list of numbers",
    list[int]: "a list of whole numbers",
    list[str]: "a list of names",
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    str: "text",
    NoneType: "null",
}


def _names(content: dict[Any, Any]) -> Iterator[str]:
    for name, value in content.items():
        yield str(name)
        if name in _SECTIONS and isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in value)
