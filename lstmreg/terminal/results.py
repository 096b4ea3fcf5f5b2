"""What came of it, in sentences and tables: of a fit, of a search, of reading a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from lstmreg.errors import printable

from .console import Console, say, say_unbroken

if TYPE_CHECKING:
    from lstmreg.interop.summary import Found
    from lstmreg.intervals import Calibration
    from lstmreg.predictions import Predictions
    from lstmreg.report import Answer, SoFar
    from lstmreg.tasks import Predictor
    from lstmreg.training import FitResult
    from lstmreg.training.single import HeldOut


def show_fit(held_out: HeldOut, members: int, out: Console) -> None:
    """Show whose weights remain, how good they are beside predictions without a network, and what to do about it.

    Args:
        held_out: The fit.
        members: How many networks were asked for.
        out: Where to.
    """
    trained = held_out.trained
    for note in trained.lesson.task.notes:
        say(out, printable(note))
    losses = f"training loss {trained.train_loss:.4g}, validation loss {trained.val_loss:.4g}"
    say(out, f"{_kept(trained.results)}: {losses}.")
    if len(trained.results) < members:
        say(out, f"{members - len(trained.results)} of {members} networks diverged and are left out.", "bold")
    if len(trained.results) > 1:
        alone = sorted(fit.val_loss for fit in trained.results)
        say(out, f"These are losses of their mean; alone, validation losses are {alone[0]:.4g} to {alone[-1]:.4g}.")
    elif (fit := trained.results[0]).kept_epoch != fit.best_epoch:
        lowest = fit.history[fit.best_epoch].val_loss
        say(out, f"The lowest validation loss was {lowest:.4g}, in epoch {fit.best_epoch}.")
    if off := trained.switched_off():
        count = f"{len(off)} of {len(trained.lesson.task.features)} input columns"
        why = f"{'is' if len(off) == 1 else 'are'} switched off, with input weights that are all exactly zero"
        say(out, printable(f"{count} {why}: {', '.join(off)}."))
    if all(f.stopped == "max_epochs" and f.best_epoch == len(f.history) - 1 for f in trained.results):
        say(out, "The last epoch was the best: raise training.max_epochs.", "bold")
    errors = [f"test {name}" for name in held_out.errors]
    table = Table(trained.lesson.task.predictions_are, "validation loss", *errors, box=None, pad_edge=False)
    table.add_row("this model", f"{trained.val_loss:.4g}", *_numbers(held_out, held_out.errors), style="bold")
    for name, loss in held_out.val_floors.items():
        table.add_row(name, f"{loss:.4g}", *_numbers(held_out, held_out.floors[name]))
    out.print(table)
    for sentence in _judgement(held_out):
        say(out, sentence, "bold")


def show_coverage(predictor: Predictor, out: Console) -> None:
    """Show how often the intervals of what was trained, or its sets of classes, held on the test, if it has some."""
    calibration: Calibration | None = getattr(predictor, "calibration", None)
    if calibration is None:
        return
    confidence = calibration.usual_confidence
    coverage, sampled = calibration.coverage(confidence), calibration.sampled_coverage(confidence)
    if coverage is not None:
        of = f"from the errors on {calibration.scores.cases} validation cases"
        what = "Sets of classes" if getattr(predictor, "classes", ()) else "Intervals"
        say(out, f"{what} that 'lstmreg predict' gives, {of}, {coverage}.")
    if sampled is not None:
        say(out, f"Those of samples under dropout (--samples) {sampled}.")


def _numbers(held_out: HeldOut, errors: Mapping[str, float]) -> list[str]:
    return [f"{errors[name]:.4g}" if name in errors else "–" for name in held_out.errors]


def _judgement(held_out: HeldOut) -> list[str]:
    """Say where the model is no better than a prediction without a network, and what may be behind that."""
    said, task = [], held_out.trained.lesson.task
    for part, error, behind in (
        ("validation", "loss", held_out.val_behind),
        ("test", held_out.metric, held_out.test_behind),
    ):
        if behind is not None:
            said.append(
                f"On the {part} {task.parts_are} the model does not beat the best {task.predictions_are} without a "
                f"network, {task.floor_names.get(behind.floor, behind.floor)}: "
                f"{error} {behind.network:.4g} against {behind.error:.4g}."
            )
    return [*said, *held_out.warnings]


def _kept(results: Sequence[FitResult]) -> str:
    """Say whose weights remain. Epochs count from 0, here as in results and in Lightning."""
    if len(results) > 1:
        epochs = ", ".join(str(fit.kept_epoch) for fit in results)
        return f"{len(results)} networks, at epochs {epochs}, counted from 0"
    (fit,) = results
    which = "Best" if fit.kept_epoch == fit.best_epoch else "Last"
    return f"{which} epoch {fit.kept_epoch} of {len(fit.history)}, counted from 0"


def show_answer(answer: Answer, directory: Path, out: Console) -> None:
    """Show the answer in words, the table of knobs, and what lies in the run's folder."""
    from lstmreg.report import words

    out.print()
    say(out, words.headline(answer), "bold green" if answer.is_confirmed else "bold")
    for sentence in words.sentences(answer):
        say(out, f"\n{printable(sentence)}")
    _show_knobs(words.table(answer), words.table_note(answer), out)
    say_unbroken(out, f"Report: {directory / 'report.html'}", "bold")
    study = ", study.db" if (directory / "study.db").exists() else ""  # it may be in a database
    say(out, f"Also there: answer.json, answer.md, model.json, model.safetensors{study}")


def _show_knobs(rows: Sequence[Sequence[str]], note: str, out: Console) -> None:
    header, *others = rows
    table = Table(*header, box=None, pad_edge=False, title_justify="left")
    for row in others:
        table.add_row(*row, style="bold" if row[-1] == "use" else None)
    out.print()
    out.print(table)
    say(out, f"\n{printable(note)}", "dim")
    out.print()


def show_so_far(known: SoFar, directory: Path, out: Console) -> None:
    """Show what is known of a search that has not come to its end, in words and as the table of knobs."""
    from lstmreg.report import words

    out.print()
    say(out, words.headline_so_far(known), "bold")
    first, *others = words.sentences_so_far(known)
    say_unbroken(out, f"\n{printable(first)}")
    for sentence in others:
        say(out, f"\n{printable(sentence)}")
    _show_knobs(words.table(known), words.table_so_far_note(known), out)
    names = ["answer.json", "answer.md", *([] if known.unfinished.is_running else ["report.html"])]
    say_unbroken(out, f"Written into {directory}: {', '.join(names)}")


def show_predictions(predictions: Predictions, out: Console) -> None:
    """Show the first and the last rows of predictions."""
    table = Table(box=None, pad_edge=False)
    for number, heading in enumerate(predictions.header):
        table.add_column(Text(printable(heading)), justify="left" if number == 0 else "right")
    rows = [[Text(printable(_short(cell))) for cell in row] for row in predictions.rows()]
    left_out = len(rows) - _SHOWN
    for row in rows if left_out <= 0 else rows[: _SHOWN // 2]:
        table.add_row(*row)
    if left_out > 0:
        table.add_row("...")
        for row in rows[-_SHOWN // 2 :]:
            table.add_row(*row)
    out.print(table)
    if left_out > 0:
        say(out, f"{left_out} more rows between them; -o FILE writes all.")


#: So many rows of predictions are shown.
_SHOWN = 20


def _short(cell: str) -> str:
    """Return a number with the digits that a reader looks at."""
    try:
        return f"{float(cell):.5g}" if "." in cell else cell
    except ValueError:
        return cell


def show_layers(layers: Iterable[Found], out: Console) -> None:
    """Show what a model consists of, a row for each layer."""
    table = Table("layer", "Keras", "weights", "settings", box=None, pad_edge=False)
    for layer in layers:
        table.add_row(
            *(Text(printable(t)) for t in (layer.name, layer.keras_class, f"{layer.parameters:,}", layer.settings))
        )
    out.print(table)
