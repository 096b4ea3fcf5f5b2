"""Anybody's executor of ``concurrent.futures``: loky's, mpi4py's, Ray's, or Python's own."""

from __future__ import annotations

import queue
from concurrent import futures
from contextlib import suppress

from lstmreg.errors import ConfigError

from .dispatch import Crew
from .events import Begun, Done, Ended, Event, Lost
from .orders import Order, carry_out_here
from .parcels import MissingMaterialError, Parcel, keep_material, pack, unpack


class Futures(Crew):
    """Sends orders through an executor, which says nothing of them before they have ended.

    The data follow where an order comes back because they are missing, so that they go once to each worker.

    Args:
        executor: The executor, which stays open.
        material: The data.

    Raises:
        ConfigError: If its processes would be copies of this one.
    """

    tells = False

    def __init__(self, executor: futures.Executor, material: Parcel) -> None:
        super().__init__()
        _check_start(executor)
        self._executor, self._material = executor, material
        self._orders: dict[futures.Future[bytes | None], Order] = {}
        self._ended: queue.SimpleQueue[futures.Future[bytes | None]] = queue.SimpleQueue()

    @property
    def width(self) -> int:
        """How many its workers are, where it says so."""
        count = getattr(self._executor, "_max_workers", 1)
        return count if isinstance(count, int) else 1

    def take(self, order: Order) -> None:
        """Submit an order."""
        self._submit(order, None)

    def _submit(self, order: Order, material: Parcel | None) -> None:
        try:
            future = self._executor.submit(_carry_out, pack(order), material)
        except futures.BrokenExecutor as error:
            raise ConfigError(f"the executor is broken ({error}). Make a new one, and search again.") from None
        self._orders[future] = order
        future.add_done_callback(self._ended.put)

    def hear(self, seconds: float) -> list[tuple[int, Event]]:
        """Return how orders ended."""
        try:
            future = self._ended.get(timeout=seconds) if seconds else self._ended.get_nowait()
        except queue.Empty:
            return []
        order = self._orders.pop(future)
        if future.cancelled():
            return [(order.number, Lost("it was cancelled"))]
        try:
            packed = future.result()
        except (futures.BrokenExecutor, MemoryError) as error:
            return [(order.number, Lost(f"{type(error).__name__}: {error}"))]
        if packed is None:
            self._submit(order, self._material)
            return []
        return [(order.number, event) for event in [*unpack(packed), Done()]]

    def give_up(self, number: int, reason: str) -> None:
        """Do nothing: of its workers nobody knows who is at what."""

    def close(self) -> None:
        """Take back what has not begun."""
        for future in self._orders:
            future.cancel()


def _check_start(executor: futures.Executor) -> None:
    """Refuse Python's pool of processes where it forks: torch would stand still in such a copy of this process."""
    context = getattr(executor, "_mp_context", None)
    if isinstance(executor, futures.ProcessPoolExecutor) and context and context.get_start_method() == "fork":
        raise ConfigError(
            "a ProcessPoolExecutor that forks would wait for ever: its processes are copies of one that has computed. "
            "Make it with mp_context=multiprocessing.get_context('spawn'), or set search.workers instead."
        )


def _carry_out(packed: bytes, material: Parcel | None) -> bytes | None:
    """Carry out an order, and return how its trainings ended; nothing if the data are missing here."""
    if material is not None:
        keep_material(material)
    ended: list[Ended] = []

    def tell(event: Begun | Ended) -> None:
        if isinstance(event, Ended):
            ended.append(event)

    with suppress(MissingMaterialError):
        carry_out_here(packed, tell)
        return pack(ended)
    return None
