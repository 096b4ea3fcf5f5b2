"""Which networks a machine has no room for: counted before they are trained, and told as what they are if they fail."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from lstmreg.config import Config, ModelConfig
from lstmreg.errors import ConfigError
from lstmreg.tasks import Task

#: How many numbers an optimizer keeps for each weight; of others none is counted.
_MOMENTS = {"adam": 2, "adamw": 2, "rmsprop": 1}

_BYTES_OF_A_NUMBER = 4


class OutOfMemoryError(ConfigError):
    """A network for which there is not enough memory."""


def needed(config: Config, task: Task) -> int | None:
    """Count the bytes of a model's weights, their gradients and the optimizer's moments; the least that it needs.

    It is ``None`` where the task makes networks of its own, which nobody can count before they are there.
    """
    if task.has_own_networks:
        return None
    tensors = 2 + _MOMENTS.get(config.training.optimizer, 0)
    weights = config.model.members * weights_of(config.model, len(task.features))
    return weights * tensors * _BYTES_OF_A_NUMBER


def weights_of(model: ModelConfig, columns: int) -> int:
    """Count the weights of a network's LSTMs, of so many input columns."""
    directions, width, weights = 2 if model.bidirectional else 1, columns, 0
    for index in range(model.num_layers):
        hidden = model.hidden_size[index] if isinstance(model.hidden_size, list) else model.hidden_size
        weights += directions * 4 * hidden * (width + hidden + 1)
        width = hidden * directions
    return weights


def room() -> int | None:
    """Return how many bytes this process may take at most: of the machine's, its container's and its own limit."""
    limits = [*_of_the_machine(), *_of_the_container(), *_of_the_process()]
    return min(limits) if limits else None


def _of_the_machine() -> Iterator[int]:
    with suppress(AttributeError, OSError, ValueError):  # not every system says so
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_the_container() -> Iterator[int]:
    """Yield the limits of the control groups that this process is in, of Linux."""
    root = Path("/sys/fs/cgroup")
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    own = next((Path(line[3:].lstrip("/")) for line in lines if line.startswith("0::")), Path())
    places = [root / group / "memory.max" for group in (own, *own.parents)]
    for place in (*places, root / "memory" / "memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # "max" where there is none
            yield int(place.read_text())


def _of_the_process() -> Iterator[int]:
    """Yield what is left of the address space that this process may have."""
    if sys.platform == "win32":
        return
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        with suppress(OSError, ValueError):
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            yield max(0, limit - pages * resource.getpagesize())


def check_fits(config: Config, task: Task, where: str = "") -> None:
    """See that the machine has room for a network, before anything is done.

    Raises:
        OutOfMemoryError: If it has not.
    """
    wanted, there = needed(config, task), room()
    if wanted is not None and there is not None and wanted > there:
        raise OutOfMemoryError(f"{where}{_what_it_needs(config, wanted)}; there are {_in_words(there)}. {_REMEDY}")


_REMEDY = "Lower model.hidden_size or model.num_layers."


def out_of_memory(error: BaseException, config: Config, task: Task) -> OutOfMemoryError | None:
    """Return an error that says what a training would have needed; ``None`` if it failed for another reason."""
    if isinstance(error, OutOfMemoryError):
        return error
    if not _is_out_of_memory(error):
        return None
    wanted = needed(config, task)
    if wanted is None:
        return OutOfMemoryError("out of memory. Make the network or training.batch_size smaller.")
    said = f"out of memory: {_what_it_needs(config, wanted)}, and more for training.batch_size={_batch(config)} cases"
    return OutOfMemoryError(f"{said}. {_REMEDY.rstrip('.')}, or training.batch_size.")


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    words = ("not enough memory", "can't allocate memory", "bad_alloc", "Cannot allocate memory")
    return isinstance(error, (RuntimeError, OSError)) and any(word in str(error) for word in words)


@contextmanager
def told_if_it_ends(config: Config, task: Task) -> Iterator[None]:
    """Say of a training that ends for want of memory what it would have needed.

    Raises:
        OutOfMemoryError: If it did.
    """
    try:
        yield
    except Exception as error:
        told = out_of_memory(error, config, task)
        if told is None:
            raise
        raise told from None


class Outgrown:
    """What was too large, so that its like is not tried again: as many weights or more, in batches no smaller."""

    def __init__(self) -> None:
        self._known: list[tuple[int, int]] = []

    def keep(self, config: Config, task: Task) -> None:
        """Keep in mind that there was not enough memory for this."""
        size = needed(config, task)
        if size is not None:
            self._known.append((size, _batch(config)))

    def why_not(self, config: Config, task: Task) -> OutOfMemoryError | None:
        """Return why something is not tried; ``None`` if it may fit."""
        size, batch = needed(config, task), _batch(config)
        if size is None or not any(size >= other and batch >= others for other, others in self._known):
            return None
        return OutOfMemoryError(
            f"out of memory: {_what_it_needs(config, size)}; what was no larger failed already, so it was not tried."
        )


def _batch(config: Config) -> int:
    return config.training.batch_size


def _what_it_needs(config: Config, size: int) -> str:
    model = config.model
    several = f" and model.members={model.members}" if model.members > 1 else ""
    return (
        f"with model.hidden_size={model.hidden_size}, model.num_layers={model.num_layers}{several} the weights, their "
        f"gradients and the optimizer's moments take {_in_words(size)}"
    )


def _in_words(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
