"""What the verbs with settings share: a configuration from files and options, and what is looked at before parsing."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from lstmreg.config import Config, from_dict
from lstmreg.config.storage import check_no_password
from lstmreg.errors import ConfigError
from lstmreg.rules import declared
from lstmreg.yaml_file import read_yaml

from .verb import Verb


class VerbWithSettings(Verb):
    """A verb whose arguments are the settings of :class:`lstmreg.Config`, from files and as options."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add ``-c``, the shorthands, and an option for each setting."""
        parser.add_argument("-c", "--config", action="config", help="a YAML file with settings")
        for name, setting in self.shorthands.items():  # no settings themselves, so not in --print_config
            kind = _kind_of(setting)
            parser.add_argument(f"--{name}", type=kind, default=argparse.SUPPRESS, help=f"short for --{setting}")
        parser.add_class_arguments(Config)

    def config(self, arguments: Namespace) -> Config:
        """Return the configuration that the arguments make."""
        plain = arguments.as_dict()
        for name, setting in self.shorthands.items():
            if name in plain:
                section, _, field = setting.partition(".")
                plain[section][field] = plain[name]
        return from_dict({field.name: plain[field.name] for field in dataclasses.fields(Config)})

    def about_missing(self, names: str) -> str:
        """Say that settings come from files or options."""
        return f"required: {names}. Give them in a file (-c lstmreg.yaml), or as --data.path=… and so on."

    def about_stray(self, argument: str) -> str:
        """Say how a file is given."""
        return how_a_file_is_given(argument)


def _kind_of(setting: str) -> type:
    """Return the type of a setting's value, where it is not null."""
    section, _, field = setting.partition(".")
    sections = declared(Config)
    kind: type = declared(sections[section].type)[field].kinds[0]
    return kind


def how_a_file_is_given(argument: str) -> str:
    """Say with which option a file is given, judged by its name."""
    if argument.endswith((".yaml", ".yml")):
        return f"A file of settings is given as -c {argument}."
    if Path(argument).suffix in (".csv", ".tsv", ".txt", ".gz"):
        return f"A table is given as --data.path {argument}."
    return f"A file of settings is given as -c {argument}, a table as --data.path {argument}."


def check_files(arguments: Sequence[str]) -> None:
    """Look at configuration files before the parser does, which trusts them."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if before in ("-c", "--config"):
            _check_file(argument)
        elif argument.startswith("--config="):
            _check_file(argument.removeprefix("--config="))
        elif argument.startswith("-c") and argument != "-c":
            _check_file(argument.removeprefix("-c").removeprefix("="))


def _check_file(path: str) -> None:
    search = read_yaml(Path(path)).get("search")
    if isinstance(search, dict):
        check_no_password(str(search.get("storage")))


def check_passwords(arguments: Sequence[str]) -> None:
    """Refuse a password before the parser does, which would show it where it prints the configuration."""
    for argument, after in zip_longest(arguments, arguments[1:], fillvalue=""):
        option, has_value, value = argument.partition("=")
        if option in ("--search", "--search.storage"):
            check_no_password(value if has_value else after)


_EXAMPLES = {
    "data": "--data.path sales.csv --data.target sales",
    "model": "--model.hidden_size 32",
    "training": "--training.patience 30",
    "search": "--search.trials 100",
}


def check_sections(arguments: Sequence[str]) -> None:
    """Refuse a section without a setting's name: the parser would take what follows for a file, or import it."""
    for argument, after in zip_longest(arguments, arguments[1:], fillvalue=""):
        option, has_value, value = argument.partition("=")
        value = value if has_value else after
        section = option.removeprefix("--")
        if option.startswith("--") and section in _EXAMPLES and not value.startswith("{"):
            got = f", got {value!r}" if value and not value.startswith("-") else ""
            raise ConfigError(f"{option} must name a setting, as in {_EXAMPLES[section]}{got}.")
