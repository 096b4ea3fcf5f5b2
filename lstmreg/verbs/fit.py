"""``lstmreg fit``."""

from __future__ import annotations

import argparse
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from lstmreg.errors import ConfigError, NoUsableTrialError
from lstmreg.signals import first_interrupt_asks
from lstmreg.terminal import Console, FitLines, say_unbroken, show_coverage, show_fit
from lstmreg.yaml_file import write_yaml

from .settings import VerbWithSettings


class Fit(VerbWithSettings):
    """Trains one model, or ``model.members`` of them, compares it with predictions that need none, and saves it."""

    name = "fit"
    help = "train one model as configured"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the settings, and whether a saved model may be written over."""
        super().add_arguments(parser)
        over = "write over the model that an earlier fit has saved"
        parser.add_argument("--force", action="store_true", default=argparse.SUPPRESS, help=over)

    def run(self, arguments: Namespace, out: Console) -> None:
        """Train, save and show; after Ctrl-C as well, with the best epoch so far."""
        from lstmreg.tasks import read_task

        config = self.config(arguments)
        directory = config.directory / "fit"
        if "force" not in arguments:
            _check_nothing_is_lost(directory)
        # Loading torch takes seconds; what is wrong with the data can be said before.
        task = read_task(config)
        task.hold_out()
        from lstmreg.training import DivergedError
        from lstmreg.training.single import fit_held_out
        from lstmreg.training.watching import WatchBatches

        directory.mkdir(parents=True, exist_ok=True)
        stop = _Stop()
        try:
            with FitLines(out, config.training.max_epochs) as lines, first_interrupt_asks(stop.ask):

                def watch(epochs: float) -> bool:
                    lines.show(epochs)
                    return stop.asked

                held_out = fit_held_out(config, [WatchBatches(watch)], task=task)
        except DivergedError as error:
            raise NoUsableTrialError(str(error)) from None
        predictor = held_out.trained.predictor()
        predictor.save(directory)
        write_yaml(config, directory / "config.yaml")
        show_fit(held_out, config.model.members, out)
        show_coverage(predictor, out)
        say_unbroken(out, f"Saved: {', '.join(f'{directory}/{name}' for name in _FILES)}")
        if stop.asked:
            raise KeyboardInterrupt


#: ``-c`` with the first of them fits again.
_FILES = ("config.yaml", "model.json", "model.safetensors")

#: Those without which there is no model.
_MODEL = _FILES[1:]


def _check_nothing_is_lost(directory: Path) -> None:
    """See that no model of an earlier fit would be written over; said before the work, not after it."""
    if all((directory / name).exists() for name in _MODEL):
        raise ConfigError(
            f"{directory}: an earlier fit has saved its model here. Give this one another name (--name NAME), or write "
            f"over it (--force)."
        )


class _Stop:
    """Whether a fit shall end after its batch, so that the best epoch is tested and saved."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self) -> None:
        self.asked = True
