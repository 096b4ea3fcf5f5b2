"""Runs a quiet Lightning trainer, for one fit of hundreds."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import lightning.pytorch as pl
import torch

Precision: TypeAlias = Literal["32-true", "bf16-mixed"]


def run(
    module: pl.LightningModule,
    loaders: dict[str, Any],
    *,
    max_epochs: int,
    callbacks: Sequence[pl.Callback] = (),
    gradient_clip: float | None = None,
    precision: Precision = "32-true",
) -> pl.Trainer:
    """Train ``module`` without logger, checkpoints, bars and banners, and return the trainer.

    Raises:
        KeyboardInterrupt: On Ctrl-C, of which Lightning makes ``sys.exit(1)``.
    """
    with _quiet():
        trainer = pl.Trainer(
            max_epochs=max_epochs,
            gradient_clip_val=gradient_clip,
            precision=precision,
            callbacks=list(callbacks),
            accelerator="auto",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        _fit(trainer, module, loaders)
    return trainer


@contextmanager
def randomness(seed: int) -> Iterator[None]:
    """Seed torch's generators, from which masks are drawn, for a while; that of the GPU too, if there is one."""
    devices = {0, torch.cuda.current_device()} if torch.cuda.is_available() else ()  # Lightning takes the first
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def _fit(trainer: pl.Trainer, module: pl.LightningModule, loaders: dict[str, Any]) -> None:
    """Run the trainer, and turn what it makes of Ctrl-C back; it may leave SIGINT ignored as well."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, **loaders)
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's banners, tips and advice, which are for one long fit and not for hundreds."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
