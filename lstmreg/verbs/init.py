"""``lstmreg init``."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from lstmreg.errors import ConfigError, DataError, printable
from lstmreg.files import write_atomically
from lstmreg.terminal import Console, say, say_unbroken, show_question, show_sighting

from .verb import Verb


class Init(Verb):
    """Looks at data, says what it sees, and writes a configuration that runs as it is; or asks."""

    name = "init"
    help = "look at data, and write a configuration for them"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the data, the answers to what may be asked, and where to write."""
        parser.add_argument("path", metavar="DATA", type=str, help="a table, a file of sequences, or a folder of files")
        parser.add_argument("--target", type=str, default=None, help="the column to predict")
        parser.add_argument("--task", type=str, default=None, help="forecast, classify, regress or label")
        parser.add_argument("--time", type=str, default=None, help="the column that orders the rows")
        parser.add_argument("--sequence", type=str, default=None, help="the column that tells sequences apart")
        owner = "the column that tells series apart, or says what a sequence belongs to"
        parser.add_argument("--group", type=str, default=None, help=owner)
        parser.add_argument("--labels", type=str, default=None, help="of a folder: the table that labels its files")
        parser.add_argument("--delimiter", type=str, default=None, help="the character between two cells")
        parser.add_argument("--decimal", type=str, default=None, help="the decimal sign")
        parser.add_argument("--thousands", type=str, default=None, help="the character between groups of three digits")
        parser.add_argument(
            "--header", action="store_true", help="the first line has names, though they look like values"
        )
        parser.add_argument("-o", "--output", type=str, default="lstmreg.yaml", help="the file to write (lstmreg.yaml)")
        parser.add_argument("--force", action="store_true", help="write over a file that is there")

    def run(self, arguments: Namespace, out: Console) -> None:
        """Look, show, and write or ask."""
        from lstmreg.data.looking import QuestionError, Wish, look, propose, supported, written
        from lstmreg.data.sources.opening import check_place, missing_file
        from lstmreg.tasks import read_task

        output = Path(arguments.output)
        if output.is_dir() or not output.parent.is_dir():
            raise ConfigError(f"{output}: -o names the file to write, in a folder that is there.")
        if not Path(arguments.path).exists():
            check_place(arguments.path, "DATA")
            raise missing_file(arguments.path, "DATA")
        if output.exists() and not arguments.force:
            raise ConfigError(f"{output}: is there already. Write another one (-o FILE), or over it (--force).")
        names = ("target", "task", "time", "sequence", "group", "labels", "delimiter", "decimal", "thousands")
        wish = Wish(**{name: arguments[name] for name in names}, has_header=arguments.header)
        try:
            seen = look(arguments.path, wish)
            show_sighting(seen, out)
            proposal = propose(seen, wish)
        except QuestionError as question:
            show_question(question, out)
            raise
        config = proposal.config()
        task = read_task(config)  # what it cannot use, no file shall name
        task.hold_out()
        known = supported(config.task, len(task.features))
        write_atomically(output, written(proposal, arguments.output, known))
        try:
            task.splits(config.search)
        except DataError as error:
            say(out, f"A model can be fitted, but a search needs more: {error}", "bold")
        for sentence in proposal.left_out:
            say(out, printable(f"Left out: {sentence}"), "bold")
        if known:
            say(out, known)
        say_unbroken(out, f"Saved: {output}", "bold")
        say_unbroken(out, f"Next: lstmreg fit -c {output}, then lstmreg search -c {output}")

    def about_missing(self, names: str) -> str:
        """Say what is to be named."""
        return "name the data, such as sales.csv."

    def about_stray(self, argument: str) -> str:
        """Say how a target and an output are given."""
        return f"A target is given as --target {argument}, the file to write as -o {argument}."
