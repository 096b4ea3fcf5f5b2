"""``lstmreg predict``."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from lstmreg.errors import ConfigError, DataError
from lstmreg.terminal import Console, open_console, say, say_unbroken, show_predictions

from .folders import model_folder
from .verb import Verb

if TYPE_CHECKING:
    from lstmreg.predictions import Predictions


class Predict(Verb):
    """Loads the model of a run, whatever its task, and predicts from a table like that of its training."""

    name = "predict"
    help = "predict from new data with the model of a run"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the run, the data, and what is wanted of them."""
        parser.add_argument("run", type=str, help="the run's folder, such as runs/sales or runs/sales/fit")
        parser.add_argument("data", type=str, help="a file or folder of the kind that the model was trained on")
        parser.add_argument(
            "-o",
            "--output",
            type=str,
            default="-",
            help="the CSV file to write; '-' for the terminal or a pipe (default)",
        )
        parser.add_argument(
            "--history",
            action="store_true",
            help="of a series: forecast from each row with a window before it too, beside what was true",
        )
        parser.add_argument(
            "--labels", type=str, default=None, help="of a folder of files: the table of labels with what is true"
        )
        parser.add_argument(
            "--samples", type=int, default=0, help="intervals from so many samples under dropout, such as 200"
        )
        parser.add_argument("--seed", type=int, default=0, help="of the samples")
        parser.add_argument(
            "--confidence",
            type=float,
            default=None,
            help="of the intervals (default: 0.95, or what so many validation cases allow)",
        )
        parser.add_argument("--plot", type=str, default=None, help="a picture to draw: a file .svg or .png")

    def run(self, arguments: Namespace, out: Console) -> None:
        """Predict, write, draw and show."""
        directory = model_folder(arguments.run)
        output, picture = _file(arguments.output, "-o"), _file(arguments.plot, "--plot")
        if picture is not None and picture.suffix not in (".svg", ".png"):
            raise ConfigError(f"--plot must name a file .svg or .png, got {arguments.plot!r}.")
        # What is no prediction must not come between the lines of a CSV file.
        aside = out if output is not None or out.is_terminal else open_console(sys.stderr)
        with aside.status("Predicting"):  # loading torch takes seconds
            import lstmreg

            model = lstmreg.load(directory)
            ask: Callable[..., Predictions] | None = getattr(model, "predictions", None)
            if ask is None:
                raise ConfigError(
                    f"{directory}: a {type(model).__name__}, which does not say how its data are read. Call it in "
                    "Python."
                )
            wanted: dict[str, Any] = {
                "samples": arguments.samples,
                "seed": arguments.seed,
                "confidence": arguments.confidence,
            }
            if arguments.labels is not None:
                if isinstance(model, lstmreg.Forecaster):
                    raise ConfigError("--labels is of folders of sequences; of a forecast leave it out.")
                wanted["labels"] = arguments.labels
            try:
                predictions = ask(arguments.data, history=arguments.history, **wanted)
            except DataError as error:
                raise _about_the_data(error) from None
        if directory != Path(arguments.run):
            say(aside, f"The model of {directory}.")
        for note in predictions.notes:
            say(aside, note)
        for line in _worth(predictions):
            say(aside, line)
        if picture is not None:
            from lstmreg.report.predicted import draw

            draw(predictions, picture)
        if output is not None:
            from lstmreg.files import write_atomically

            write_atomically(output, predictions.csv())
            say_unbroken(aside, f"Saved: {output}, {len(predictions)} rows")
        elif out.is_terminal:
            show_predictions(predictions, out)
        else:
            out.file.write(predictions.csv())
        if picture is not None:
            say_unbroken(aside, f"Picture: {picture}")

    def about_missing(self, names: str) -> str:
        """Say what is named how."""
        if "run" in names:
            return "name the run's folder, such as runs/sales, and the data to predict from."
        return "name the data to predict from, such as new.csv."

    def about_stray(self, argument: str) -> str:
        """Say where the predictions go."""
        return f"The file to write is given as -o {argument}."


def _worth(predictions: Predictions) -> list[str]:
    """Say how good predictions are whose truth is known."""
    from lstmreg.tasks.said import errors_said

    rows, errors = errors_said(predictions)
    if not errors:
        return []
    new = " that the model was not trained on" if predictions.trained is not None else ""
    said = ", ".join(f"{name} {value:.4g}" for name, value in errors.items())
    return [f"Against the truth of {rows} rows{new}: {said}."]


def _about_the_data(error: DataError) -> DataError:
    """Say of an error that advises a setting that it is one of the training, which predicting does not change."""
    said = str(error).replace(" (data.path)", "").replace("data.path must", "DATA must")
    if re.search(r"\bdata\.[a-z_]+", said):
        said += (
            " But predict takes no settings: those of the training hold. Change the data, or train again with others."
        )
    return DataError(said)


def _file(name: str | None, option: str) -> Path | None:
    """Return a file that is to be written; seen before the work is done, not after it."""
    if name is None or name == "-":
        return None
    path = Path(name)
    if path.is_dir():
        raise ConfigError(f"{option} {name}: is a folder; name the file to write.")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{option} {name}: there is no folder {path.parent}. Make it first.")
    return path
