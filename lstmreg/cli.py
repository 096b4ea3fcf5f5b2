"""The command line: finds the verb, parses its arguments, and turns errors and signals into exit codes.

Exit codes: 0 done, 1 the machine failed (a full disk, say), 2 usage or configuration, 3 data, 4 unsafe or
corrupt file, 5 no usable trial, 130, 143 and 129 interrupted (Ctrl-C, SIGTERM, SIGHUP).

Nothing heavy is imported before the arguments are known to be right: ``lstmreg --help`` must be quick.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import re
import shlex
import sys
import traceback
from collections.abc import Sequence

from jsonargparse import ArgumentParser, Namespace

from lstmreg import __version__, signals
from lstmreg.config.space import check_written
from lstmreg.errors import ConfigError, LstmregError, did_you_mean, printable, without_passwords
from lstmreg.terminal import Console, open_console, say, say_unbroken
from lstmreg.verbs import VERBS, Verb
from lstmreg.verbs.settings import VerbWithSettings, check_files, check_passwords, check_sections, how_a_file_is_given
from lstmreg.yaml_file import declared_type


def main(arguments: Sequence[str] | None = None, verbs: Sequence[Verb] = VERBS) -> int:
    """Run the command line and return its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    out, err = open_console(sys.stdout), open_console(sys.stderr)
    try:
        verb, parsed = parse(arguments, verbs)
        verb.run(parsed, out)
    except LstmregError as error:
        return _refuse(err, str(error), error.exit_code, arguments)
    except OSError as error:
        return _refuse(err, f"{error.filename or 'this machine'}: {error.strerror or error}.", 1, arguments)
    except (KeyboardInterrupt, signals.Terminated):
        return _interrupted(err, arguments, verbs)
    return 0


def _refuse(err: Console, message: str, code: int, arguments: Sequence[str]) -> int:
    """Say in one line what is wrong; with -v also where."""
    if "-v" in arguments or "--verbose" in arguments:
        say(err, without_passwords(traceback.format_exc()))
    say_unbroken(err, f"lstmreg: {printable(without_passwords(message))}", "bold red")
    return code


def _interrupted(err: Console, arguments: Sequence[str], verbs: Sequence[Verb]) -> int:
    if not signals.is_said():
        say(err, "Interrupted.", "bold")
    if any(verb.is_resumable for verb in verbs if [verb.name] == arguments[:1]):
        line = without_passwords(shlex.join(["lstmreg", *arguments]))
        say_unbroken(err, f"Every finished trial is kept. Go on with: {line}")
    return signals.exit_code() or 130


# ---------------------------------------------------------------------- arguments


def parse(arguments: list[str], verbs: Sequence[Verb] = VERBS) -> tuple[Verb, Namespace]:
    """Return which verb is asked for, and its arguments.

    Raises:
        ConfigError: If an argument is unknown, missing or wrong.
    """
    by_name = {verb.name: verb for verb in verbs}
    parser = ArgumentParser(
        prog="lstmreg",
        description="Find out which regularization an overfitting LSTM needs.",
        exit_on_error=False,
        allow_abbrev=False,
        version=__version__,
    )
    of_verbs = parser.add_subcommands(dest="verb", required=True)
    options: list[str] = []
    for verb in verbs:
        # All verbs are listed, but only the one that is asked for needs its many arguments.
        behind = arguments[arguments.index(verb.name) + 1 :] if verb.name in arguments else None
        of_verb = _parser_of(verb, behind)
        of_verbs.add_subcommand(verb.name, of_verb, help=verb.help)
        options += of_verb._option_string_actions
    wanted = next((by_name[argument] for argument in arguments if argument in by_name), None)
    check_files(arguments)
    check_passwords(arguments)
    if wanted is None or isinstance(wanted, VerbWithSettings):
        check_sections(arguments)
    try:
        parsed = parser.parse_args(arguments)
    except argparse.ArgumentError as error:
        raise ConfigError(_helpful(str(error), wanted, by_name, options)) from None
    return by_name[parsed.verb], parsed[parsed.verb]


def _parser_of(verb: Verb, arguments: Sequence[str] | None) -> ArgumentParser:
    """Return the parser of a verb, with its arguments where some stand behind it; ``None``: it is not asked for."""
    parser = ArgumentParser(
        exit_on_error=False,
        allow_abbrev=False,
        description=verb.help,
        default_config_files=[str(file) for file in verb.files_of_settings(arguments or ())],
    )
    if arguments is not None:
        # With a default, it would be in --print_config like a setting.
        shows = "show where an error comes from"
        parser.add_argument("-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help=shows)
        verb.add_arguments(parser)
    return parser


def _helpful(message: str, wanted: Verb | None, by_name: dict[str, Verb], options: Sequence[str]) -> str:
    """Turn the parser's message into one line that names the remedy.

    Args:
        message: The parser's.
        wanted: The verb that was asked for, if there was one.
        by_name: All of them.
        options: The wanted verb's, with their dashes.
    """
    line = " ".join(message.split())
    if unknown := re.search(r"[Uu]nrecognized arguments: (--?[\w.-]+)", line):
        name = unknown[1].lstrip("-")
        without_section = [option for option in options if option.endswith(f".{name}")]
        near = f" Did you mean {without_section[0]!r}?" if without_section else did_you_mean(unknown[1], options)
        return f"unknown argument {unknown[1]}.{near}"
    if stray := re.search(r"[Uu]nrecognized arguments: (\S+)", line):
        about = how_a_file_is_given if wanted is None else wanted.about_stray
        return f"unknown argument {stray[1]}. {about(stray[1])}"
    if stranger := re.search(r"argument verb: invalid choice: '(.*)' \(choose from", line):
        return f"there is no {stranger[1]!r}.{did_you_mean(stranger[1], by_name)} The verbs: {', '.join(by_name)}."
    if 'expected "verb"' in line:
        return f"name what to do: {', '.join(by_name)}. 'lstmreg --help' says more."
    if wanted is not None and (missing := re.search(r"arguments are required: (.*)", line)):
        return wanted.about_missing(re.sub(rf"\b({'|'.join(by_name)})\.", "", missing[1]))
    if wrong := re.search(r'Parser key "(?:\w+\.(?=\w+\.))?([\w.]+)": .*(?:Given|Got) value: (.*)', line):
        name = wrong[1] if wanted is None else wanted.shorthands.get(wrong[1], wrong[1])
        expected = re.search(r"Expected a <class '(\w+)'>", line)  # also of an argument that is no setting
        if name == "search.space":
            _check_space(wrong[2])
        kind = _TYPES.get(expected[1], expected[1]) if expected else declared_type(name)
        return f"{name} must be {kind}, got {wrong[2]!r}."
    return line


def _check_space(written: str) -> None:
    """Refuse a space by name, of which the parser says but that something in it is wrong.

    Args:
        written: As the parser shows it.

    Raises:
        ConfigError: If it is found what.
    """
    space = None
    with contextlib.suppress(ValueError, SyntaxError):
        space = ast.literal_eval(written)
    if isinstance(space, dict):
        check_written(space)


_TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false"}
