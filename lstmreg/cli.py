"""The command line: ``lstmreg demo | fit | search | report | convert``. The only file that prints.

Exit codes: 0 done, 1 the machine failed (a full disk, say), 2 usage or configuration, 3 data, 4 unsafe or
corrupt file, 5 no usable trial, 130 and 143 interrupted.

Nothing heavy is imported before the arguments are known to be right: ``lstmreg --help`` must be quick.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import os
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Any, cast

from jsonargparse import ArgumentParser, Namespace
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from lstmreg import __version__
from lstmreg.config import Config, from_dict
from lstmreg.data.splits import hold_out, make_splits
from lstmreg.data.table import read_series
from lstmreg.errors import ConfigError, LstmregError, NoUsableTrialError, did_you_mean, printable
from lstmreg.terminal import Pulse
from lstmreg.yaml_file import declared_type, read_yaml

if TYPE_CHECKING:
    import lightning.pytorch as pl
    from torch import nn

    from lstmreg.report import Answer
    from lstmreg.search import Progress
    from lstmreg.search.evidence import Record
    from lstmreg.training import FitResult
    from lstmreg.training.single import HeldOut

_DATA = Path(__file__).parent / "data"

_VERBS = {
    "demo": "find out which knobs help on the yearly sunspot numbers (about two minutes)",
    "fit": "train one model as configured",
    "search": "find out by experiment which knobs to turn, and to what value",
    "report": "write the answer of a finished search again",
    "convert": "turn a Keras model into PyTorch or ONNX, or a model of lstmreg's into Keras",
}


class _Terminated(BaseException):
    """SIGTERM or SIGHUP arrived."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    out, err = _console(sys.stdout), _console(sys.stderr)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _terminate)
    try:
        parsed = _parse(arguments)
        _RUN[parsed.verb](parsed[parsed.verb], out)
    except LstmregError as error:
        return _refuse(err, str(error), error.exit_code, arguments)
    except OSError as error:
        return _refuse(err, f"{error.filename or 'this machine'}: {error.strerror or error}.", 1, arguments)
    except KeyboardInterrupt:
        return _interrupted(err, arguments, 130)
    except _Terminated:
        return _interrupted(err, arguments, 143)
    return 0


def _terminate(signal_number: int, frame: FrameType | None) -> None:
    raise _Terminated


def _refuse(err: Console, message: str, code: int, arguments: Sequence[str]) -> int:
    """Say in one line what is wrong; with -v also where."""
    if "-v" in arguments or "--verbose" in arguments:
        err.print(Text(traceback.format_exc()))
    err.print(Text(f"lstmreg: {printable(message)}", style="bold red"), soft_wrap=True)
    return code


def _interrupted(err: Console, arguments: Sequence[str], code: int) -> int:
    err.print("Interrupted.", style="bold")
    if arguments and arguments[0] in ("search", "demo"):
        line = shlex.join(["lstmreg", *arguments])
        err.print(Text(f"Every finished trial is kept. Go on with: {line}"), soft_wrap=True)
    return code


# ---------------------------------------------------------------------- arguments


def _parse(arguments: list[str]) -> Namespace:
    parser = ArgumentParser(
        prog="lstmreg",
        description="Find out which regularization an overfitting LSTM needs.",
        exit_on_error=False,
        allow_abbrev=False,
        version=__version__,
    )
    verbs = parser.add_subcommands(dest="verb", required=True)
    options: list[str] = []
    for verb, help_text in _VERBS.items():
        # All verbs are listed, but only the one that is asked for needs its many arguments.
        of_verb = _verb_parser(verb, verb in arguments)
        verbs.add_subcommand(verb, of_verb, help=help_text)
        options += of_verb._option_string_actions
    wanted = next((argument for argument in arguments if argument in _VERBS), "")
    _check_files(arguments)
    if wanted not in ("report", "convert"):  # which have no settings
        _check_sections(arguments)
    try:
        return parser.parse_args(arguments)
    except argparse.ArgumentError as error:
        raise ConfigError(_helpful(str(error), wanted, options)) from None


def _verb_parser(verb: str, is_wanted: bool) -> ArgumentParser:
    files: list[str | os.PathLike[Any]] = [_DATA / "demo.yaml"] if verb == "demo" else []
    parser = ArgumentParser(
        exit_on_error=False, allow_abbrev=False, description=_VERBS[verb], default_config_files=files
    )
    if not is_wanted:
        return parser
    hidden: dict[str, Any] = {"default": argparse.SUPPRESS}  # not a setting, so not in --print_config
    parser.add_argument("-v", "--verbose", action="store_true", **hidden, help="show where an error comes from")
    if verb == "report":
        parser.add_argument("directory", type=str, help="the run's folder, such as runs/sunspots")
        return parser
    if verb == "convert":
        parser.add_argument("model", type=str, help="a .keras, .h5 or .weights.h5 file, or the folder of a saved model")
        parser.add_argument("-o", "--output", type=str, required=True, help="the folder to write into")
        parser.add_argument("--to", type=str, default="torch", help="torch (default), keras or onnx")
        parser.add_argument(
            "--architecture",
            type=str,
            default=None,
            help="the model's description (JSON), where MODEL has weights alone",
        )
        return parser
    parser.add_argument("-c", "--config", action="config", help="a YAML file with settings")
    if verb in ("demo", "search"):
        parser.add_argument("--trials", type=int, **hidden, help="short for --search.trials")
    parser.add_class_arguments(Config)
    return parser


def _check_files(arguments: list[str]) -> None:
    """Look at configuration files before the parser does, which trusts them."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if before in ("-c", "--config"):
            read_yaml(Path(argument))
        elif argument.startswith("--config="):
            read_yaml(Path(argument.removeprefix("--config=")))
        elif argument.startswith("-c") and argument != "-c":
            read_yaml(Path(argument.removeprefix("-c").removeprefix("=")))


_EXAMPLES = {
    "data": "--data.path sales.csv --data.target sales",
    "model": "--model.hidden_size 32",
    "training": "--training.patience 30",
    "search": "--search.trials 100",
}


def _check_sections(arguments: list[str]) -> None:
    """Refuse a section without a setting's name: the parser would take what follows for a file, or import it."""
    for argument, after in zip_longest(arguments, arguments[1:], fillvalue=""):
        option, has_value, value = argument.partition("=")
        value = value if has_value else after
        section = option.removeprefix("--")
        if option.startswith("--") and section in _EXAMPLES and not value.startswith("{"):
            got = f", got {value!r}" if value and not value.startswith("-") else ""
            raise ConfigError(f"{option} must name a setting, as in {_EXAMPLES[section]}{got}.")


def _helpful(message: str, verb: str, options: Sequence[str]) -> str:
    """Turn the parser's message into one line that names the remedy.

    Args:
        message: The parser's.
        verb: The verb that was asked for; empty if there was none.
        options: The verb's, with their dashes.
    """
    line = " ".join(message.split())
    if unknown := re.search(r"[Uu]nrecognized arguments: (--?[\w.-]+)", line):
        name = unknown[1].lstrip("-")
        without_section = [option for option in options if option.endswith(f".{name}")]
        near = f" Did you mean {without_section[0]!r}?" if without_section else did_you_mean(unknown[1], options)
        return f"unknown argument {unknown[1]}.{near}"
    if stray := re.search(r"[Uu]nrecognized arguments: (\S+)", line):
        return f"unknown argument {stray[1]}. {_meaning_of_stray(verb, stray[1])}"
    if 'expected "verb"' in line:
        return f"name what to do: {', '.join(_VERBS)}. 'lstmreg --help' says more."
    if missing := re.search(r"arguments are required: (.*)", line):
        if "directory" in missing[1]:
            return "name the run's folder, such as runs/sunspots."
        if "model" in missing[1]:
            return "name the model, such as model.keras."
        if "output" in missing[1]:
            return "name the folder to write into: -o DIR."
        names = re.sub(r"\b(demo|fit|search|report|convert)\.", "", missing[1])
        return f"required: {names}. Give them in a file (-c lstmreg.yaml), or as --data.path=… and so on."
    if wrong := re.search(r'Parser key "(?:\w+\.(?=\w+\.))?([\w.]+)": .*(?:Given|Got) value: (.*)', line):
        name = "search.trials" if wrong[1] == "trials" else wrong[1]
        return f"{name} must be {declared_type(name)}, got {wrong[2]!r}."
    return line


def _meaning_of_stray(verb: str, argument: str) -> str:
    """Say how an argument that stands alone is given."""
    if verb == "convert":
        return f"The folder to write into is given as -o {argument}."
    if verb == "report":
        return "Name one run's folder at a time."
    if argument.endswith((".yaml", ".yml")):
        return f"A file of settings is given as -c {argument}."
    if Path(argument).suffix in (".csv", ".tsv", ".txt", ".gz"):
        return f"A table is given as --data.path {argument}."
    return f"A file of settings is given as -c {argument}, a table as --data.path {argument}."


def _config(parsed: Namespace) -> Config:
    plain = parsed.as_dict()
    if "trials" in plain:
        plain["search"]["trials"] = plain["trials"]
    return from_dict({field.name: plain[field.name] for field in dataclasses.fields(Config)})


# ---------------------------------------------------------------------- verbs


def _demo(parsed: Namespace, out: Console) -> None:
    config = _config(parsed)
    path = config.directory / "sunspots.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((_DATA / "sunspots.csv").read_bytes())
    out.print("Yearly sunspot numbers, 1700 to 2008: which regularization does an LSTM need here?")
    _run_search(dataclasses.replace(config, data=dataclasses.replace(config.data, path=str(path))), out)


def _search(parsed: Namespace, out: Console) -> None:
    _run_search(_config(parsed), out)


def _run_search(config: Config, out: Console) -> None:
    # Loading torch takes seconds; what is wrong with the data can be said before.
    make_splits(len(read_series(config.data)), config.data, config.search)
    from lstmreg import report, search

    with _TrialLines(out) as lines:
        evidence = search.run(config, lines.show)
    answer = report.answer(evidence)
    report.write(answer, config.directory)
    _show_answer(answer, config.directory, out)


def _report(parsed: Namespace, out: Console) -> None:
    from lstmreg import report, search

    directory = Path(parsed.directory)
    answer = report.answer(search.read(directory))
    report.write(answer, directory)
    _show_answer(answer, directory, out)


def _convert(parsed: Namespace, out: Console) -> None:
    if parsed.to not in ("torch", "keras", "onnx"):
        raise ConfigError(f"--to must be torch, keras or onnx, got {parsed.to!r}.")
    directory = Path(parsed.output)
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"{directory}: is a file; -o names the folder to write into.")
    with out.status("Reading the model"):  # loading torch takes seconds
        from lstmreg import interop
        from lstmreg.interop.keras.modern import in_keras_3
        from lstmreg.interop.summary import summarize

        model = interop.load_model(parsed.model, parsed.architecture)
    table = Table("layer", "Keras", "weights", "settings", box=None, pad_edge=False)
    for layer in summarize(model):
        table.add_row(
            *(Text(printable(t)) for t in (layer.name, layer.keras_class, f"{layer.parameters:,}", layer.settings))
        )
    out.print(table)
    if parsed.to == "keras":
        model = in_keras_3(model)  # its notes say what that changes
    for note in model.notes():
        out.print(Text(f"Note: {printable(note)}."))
    directory.mkdir(parents=True, exist_ok=True)
    with out.status("Writing"):
        written = _FORMATS[parsed.to](interop, model, directory)
    out.print(Text(f"Saved: {', '.join(str(directory / name) for name in written)}"), soft_wrap=True)
    out.print(Text(_USE[parsed.to].format(directory=directory)), soft_wrap=True)


def _to_torch(interop: Any, model: nn.Module, directory: Path) -> tuple[str, ...]:
    interop.save_model(model, directory)
    return "model.json", "model.safetensors"


def _to_keras(interop: Any, model: nn.Module, directory: Path) -> tuple[str, ...]:
    interop.save_keras(model, directory / "model.keras")
    interop.save_weights(model, directory / "model.weights.h5")
    return "model.keras", "model.weights.h5"


def _to_onnx(interop: Any, model: nn.Module, directory: Path) -> tuple[str, ...]:
    interop.save_onnx(model, directory / "model.onnx")
    return ("model.onnx",)


_FORMATS: dict[str, Callable[[Any, nn.Module, Path], tuple[str, ...]]] = {
    "torch": _to_torch,
    "keras": _to_keras,
    "onnx": _to_onnx,
}

_USE = {
    "torch": 'In Python: model = lstmreg.interop.load_model("{directory}")',
    "keras": 'In Python: model = keras.models.load_model("{directory}/model.keras")',
    "onnx": 'In Python: session = onnxruntime.InferenceSession("{directory}/model.onnx")',
}


def _fit(parsed: Namespace, out: Console) -> None:
    config = _config(parsed)
    hold_out(len(read_series(config.data)), config.data)
    from lstmreg.training import DivergedError
    from lstmreg.training.single import fit_held_out

    directory = config.directory / "fit"
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with _FitLines(out, config.training.max_epochs) as lines, _StopAtInterrupt() as stop:
            held_out = fit_held_out(config, [_epochs(lines.show, stop)])
    except DivergedError as error:
        raise NoUsableTrialError(str(error)) from None
    held_out.trained.forecaster().save(directory)
    _show_fit(held_out, config.model.members, out)
    out.print(Text(f"Saved: {directory}/model.json, {directory}/model.safetensors"), soft_wrap=True)
    if stop.asked:
        raise KeyboardInterrupt


def _show_fit(held_out: HeldOut, members: int, out: Console) -> None:
    trained = held_out.trained
    for note in trained.data.series.notes:
        out.print(Text(printable(note)))
    losses = f"training loss {trained.train_loss:.4g}, validation loss {trained.val_loss:.4g}"
    out.print(f"{_kept(trained.results)}: {losses}.")
    if len(trained.results) < members:
        out.print(f"{members - len(trained.results)} of {members} networks diverged and are left out.", style="bold")
    if len(trained.results) > 1:
        alone = sorted(fit.val_loss for fit in trained.results)
        out.print(f"These are losses of their mean; alone, validation losses are {alone[0]:.4g} to {alone[-1]:.4g}.")
    elif (fit := trained.results[0]).kept_epoch != fit.best_epoch:
        lowest = fit.history[fit.best_epoch].val_loss
        out.print(f"The lowest validation loss was {lowest:.4g}, in epoch {fit.best_epoch}.")
    if all(f.stopped == "max_epochs" and f.best_epoch == len(f.history) - 1 for f in trained.results):
        out.print("The last epoch was the best: raise training.max_epochs.", style="bold")
    table = Table("forecast", "validation loss", f"test {held_out.metric}", box=None, pad_edge=False)
    table.add_row("this model", f"{trained.val_loss:.4g}", f"{held_out.test_error:.4g}", style="bold")
    for name, loss in held_out.val_floors.items():
        table.add_row(name, f"{loss:.4g}", f"{held_out.test_floors[name]:.4g}")
    out.print(table)
    for sentence in _judgement(held_out):
        out.print(Text(sentence, style="bold"))


def _judgement(held_out: HeldOut) -> list[str]:
    """Say where the model is no better than a forecast without one, and what may be behind that."""
    said = []
    for rows, error, behind in (
        ("validation", "loss", held_out.val_behind),
        ("test", held_out.metric, held_out.test_behind),
    ):
        if behind is not None:
            said.append(
                f"On the {rows} rows the model does not beat the best forecast without a model, {behind.floor}: "
                f"{error} {behind.network:.4g} against {behind.error:.4g}."
            )
    outside, windower = held_out.outside, held_out.trained.data.windower
    if outside.is_trend:
        count, where = max((outside.above, "above"), (outside.below, "below"))
        before = "the row before" if windower.lag == 1 else f"{windower.lag} rows before"
        what = f"a change from {before}" if windower.lag else "a target"
        said.append(
            f"{count} of {outside.rows} test rows have {what} {where} all that the training rows show, and a network "
            f"hardly forecasts what it has never seen. {_remedy_for_a_trend(windower.lag)}"
        )
    return said


def _remedy_for_a_trend(lag: int) -> str:
    if lag:
        return "Train on more recent rows, or try another data.difference."
    return (
        "Let it learn changes: data.difference: 1 (from the row before), or season (from data.season rows before); "
        "forecasts stay in the target's units."
    )


def _kept(results: Sequence[FitResult]) -> str:
    """Say whose weights remain. Epochs count from 0, here as in results and in Lightning."""
    if len(results) > 1:
        epochs = ", ".join(str(fit.kept_epoch) for fit in results)
        return f"{len(results)} networks, at epochs {epochs}, counted from 0"
    (fit,) = results
    which = "Best" if fit.kept_epoch == fit.best_epoch else "Last"
    return f"{which} epoch {fit.kept_epoch} of {len(fit.history)}, counted from 0"


class _StopAtInterrupt:
    """Lets the first Ctrl-C end a single fit after its batch, so that the best epoch is tested and saved."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> _StopAtInterrupt:
        self._handler = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._handler)

    def _ask(self, signal_number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


_RUN: dict[str, Callable[[Namespace, Console], None]] = {
    "demo": _demo,
    "fit": _fit,
    "search": _search,
    "report": _report,
    "convert": _convert,
}


# ---------------------------------------------------------------------- showing


def _console(stream: Any) -> Console:
    wide = None if stream.isatty() else 120
    return Console(file=cast(IO[str], _Unbroken(stream)), highlight=False, width=wide, force_terminal=stream.isatty())


class _Unbroken(io.TextIOBase):
    """A stream that goes on in silence when its reader has left, as behind ``| head``."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        self._guarded(lambda: self.stream.write(text.encode(encoding, "replace").decode(encoding)))
        return len(text)

    def flush(self) -> None:
        self._guarded(self.stream.flush)

    def isatty(self) -> bool:
        return bool(self.stream.isatty())

    def fileno(self) -> int:
        return int(self.stream.fileno())

    def _guarded(self, action: Callable[[], object]) -> None:
        try:
            action()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())


def _bar(out: Console) -> Bar:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Bar(*columns, console=out, disable=not out.is_terminal, transient=True)


def _pulse(out: Console, bound: str) -> Pulse:
    """Return what says a line now and then where there is no bar."""
    return Pulse(None if out.is_terminal else lambda line: out.print(Text(f"  {line}"), soft_wrap=True), bound=bound)


class _FitLines:
    """A bar for the epochs of a fit, or a line now and then."""

    def __init__(self, out: Console, epochs: int) -> None:
        self.epochs, self.done = epochs, 0
        self.bar, self.pulse = _bar(out), _pulse(out, "at most")
        self.task = self.bar.add_task("training", total=epochs)

    def __enter__(self) -> _FitLines:
        self.bar.start()
        self.pulse.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.pulse.__exit__()
        self.bar.stop()

    def show(self, epochs: float) -> None:
        """Show how many epochs are done, which need not be whole."""
        whole = int(epochs)
        if whole > self.done:  # drawing is slow beside a small batch
            self.done = whole
            self.bar.update(self.task, completed=whole)
        self.pulse.heard(f"Training, epoch {min(whole + 1, self.epochs)} of at most {self.epochs}", epochs, self.epochs)


def _epochs(show: Callable[[float], None], stop: _StopAtInterrupt) -> pl.Callback:
    """Return a callback that shows how many epochs are done, and ends the fit when asked to."""
    import lightning.pytorch as pl

    class Epochs(pl.Callback):
        def on_train_batch_end(
            self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            show(trainer.current_epoch + (batch_idx + 1) / trainer.num_training_batches)
            trainer.should_stop = trainer.should_stop or stop.asked

    return Epochs()


_STAGE_TITLES = {
    "baseline": "No regularization, at each learning rate",
    "alone": "Each knob alone",
    "sampled": "All knobs together",
    "shortlist": "The best of them on every split",
    "leave one out": "The best without each of its knobs",
    "confirm": "Confirmation on fresh splits",
    "test": "Test rows, once",
}


class _TrialLines:
    """One line per setting, when all its replicates are done, below a bar for the whole study."""

    def __init__(self, out: Console) -> None:
        self.out = out
        self.bar, self.pulse = _bar(out), _pulse(out, "about")
        self.task = self.bar.add_task("starting", total=None)
        self.ended: dict[str, list[Record]] = {}

    def __enter__(self) -> _TrialLines:
        self.bar.start()
        self.pulse.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.pulse.__exit__()
        self.bar.stop()

    def show(self, progress: Progress) -> None:
        """Show what to know before it starts, that a stage has begun, or an epoch or a trial has ended."""
        for note in progress.notes:
            self.bar.console.print(Text(printable(note)))
        if progress.stage == "plan":
            return
        from lstmreg.search.planning import duration

        title = _STAGE_TITLES[progress.stage]
        epoch = f", epoch {progress.epoch}" if progress.epoch else ""
        left = "" if progress.seconds_left is None else f"{duration(progress.seconds_left)} left"
        description = ", ".join([title + epoch, left] if left else [title + epoch])
        self.bar.update(self.task, description=description, completed=progress.done, total=progress.planned)
        where = f"{title}{epoch}, {progress.done} of {progress.planned} trainings"
        self.pulse.heard(where, progress.done, progress.planned, progress.seconds_left)
        if progress.record is not None:
            self._show_trial(progress, progress.record)
        elif progress.epoch == 0:
            self._flush(progress)
        if progress.record is None and progress.epoch == 0 and progress.together > 0:
            at_once = f"{progress.together} trained at once" if progress.together > 1 else ""
            said = "; ".join(part for part in (at_once, left) if part)
            self.bar.console.print(Text(f"{title} ({said})" if said else title, style="bold"))
            self.pulse.spoke()

    def _flush(self, progress: Progress) -> None:
        """Show the settings of which some replicates were trained elsewhere: before, or in another stage."""
        for setting, replicates in self.ended.items():
            self._print(progress, setting, self._outcome(replicates[-1], replicates))
        self.ended = {}

    def _show_trial(self, progress: Progress, record: Record) -> None:
        from lstmreg.search.space import describe

        setting = describe(record.setting)
        replicates = self.ended.setdefault(setting, [])
        replicates.append(record)
        if record.failure is not None or len(replicates) >= progress.replicates:
            self._print(progress, setting, self._outcome(record, replicates))
            self.ended.pop(setting)

    def _print(self, progress: Progress, setting: str, outcome: str) -> None:
        line = f"  {progress.done:>4}/{progress.planned}  {setting:<44} {outcome}"
        self.bar.console.print(Text(line.rstrip()), soft_wrap=True)
        self.pulse.spoke()

    def _outcome(self, record: Record, replicates: list[Record]) -> str:
        place = f"split {record.replicate.split + 1} seed {record.replicate.seed + 1}"
        if record.failure is not None:
            return f"{place}  {printable(record.failure)}"

        def mean(name: str) -> float:
            found = [float(r.result[name]) for r in replicates if name in r.result]
            return sum(found) / len(found)

        where = place if len(replicates) == 1 else f"{len(replicates)} replicates"
        name = "test_error" if "test_error" in record.result else "val_loss"
        line = f"{where:<14}  {_METRICS[name]} {mean(name):<8.4g}"
        if "relative" in record.result and len(replicates) > 1:  # one split and seed alone may just be lucky
            better = sum(r.result["relative"] < 1 for r in replicates if "relative" in r.result)
            line += f" ×{mean('relative'):.2f} of the baseline, better on {better}"
        return line


_METRICS = {"val_loss": "loss", "test_error": "test error"}


def _show_answer(answer: Answer, directory: Path, out: Console) -> None:
    from lstmreg.report import words

    out.print()
    out.print(Text(words.headline(answer), style="bold green" if answer.is_confirmed else "bold"))
    for sentence in words.sentences(answer):
        out.print(Text(f"\n{printable(sentence)}"))
    header, *rows = words.table(answer)
    table = Table(*header, box=None, pad_edge=False, title_justify="left")
    for row in rows:
        table.add_row(*row, style="bold" if row[-1] == "use" else None)
    out.print()
    out.print(table)
    out.print()
    out.print(Text(f"Report: {directory / 'report.html'}", style="bold"), soft_wrap=True)
    out.print(Text("Also there: answer.json, answer.md, model.json, model.safetensors, study.db"))


if __name__ == "__main__":
    sys.exit(main())
