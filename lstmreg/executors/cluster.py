"""A Dask cluster, which people start by hand, under SLURM, on Kubernetes or on a cloud; workers may come and go."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
import uuid
from contextlib import suppress
from typing import Any

from distributed import Client, Future, KilledWorker, Queue, WorkerPlugin

from lstmreg.errors import ConfigError, printable

from .dispatch import Crew
from .events import Begun, Done, Ended, Event, Lost
from .orders import Order, carry_out_here
from .parcels import MissingMaterialError, Parcel, forget_material, keep_material, pack, unpack

#: In seconds: for so long a scheduler may be away, and so long each try to reach it takes.
_AWAY, _TRY = 600.0, 10.0

#: Workers are counted so often, in seconds.
_COUNTED = 5.0

#: Workers send what there is to tell so often, in seconds.
_NEWS = 0.5

#: After so many tries a worker that has not been sent the data is no accident.
_MOST_MISSING = 5


class Cluster(Crew):
    """Sends all orders to a scheduler of Dask, which has its workers carry them out.

    The data go once to each worker, also to those that join later. What a worker finishes is told at once, so that only
    what it had not finished is lost with it. A scheduler that is stopped and started again is given the orders anew.

    Args:
        address: Of the scheduler.
        material: The data.
        away: In seconds: for so long the scheduler may be away.

    Raises:
        ConfigError: If the scheduler cannot be reached.
    """

    def __init__(self, address: str, material: Parcel, away: float = _AWAY) -> None:
        super().__init__()
        self._address, self._material, self._away = address, material, away
        self._orders: dict[int, Order] = {}
        self._futures: dict[int, Future[Any]] = {}
        self._missing, self._width, self._due = 0, 1, 0.0
        self._news: queue.SimpleQueue[tuple[int, Event] | _Ended | None] = queue.SimpleQueue()
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # it is said in other words
        try:
            self._connection = _Connection(address, material, self._news)
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"search.cluster: no scheduler of Dask answers at {address} ({printable(str(error))}). Start one with "
                f"'dask scheduler', and workers with 'dask worker {address}'."
            ) from None

    @property
    def width(self) -> int:
        """How many workers there were a moment ago."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _COUNTED
            with suppress(Exception):  # as it was, while the scheduler is away
                self._width = len(self._connection.client.scheduler_info(n_workers=-1)["workers"])
        return self._width

    def take(self, order: Order) -> None:
        """Submit an order."""
        self._orders[order.number] = order
        self._submit(order)

    def _submit(self, order: Order) -> None:
        connection = self._connection
        self._futures[order.number] = future = connection.submit(order)
        future.add_done_callback(lambda future: self._news.put(_Ended(connection, order.number, future)))

    def hear(self, seconds: float) -> list[tuple[int, Event]]:
        """Return what workers tell, and how orders ended."""
        found: list[tuple[int, Event]] = []
        deadline = time.monotonic() + seconds
        while not found and (left := deadline - time.monotonic()) >= 0:
            try:
                heard = self._news.get(timeout=left)
            except queue.Empty:
                break
            while heard is not None:
                found += self._ended(heard) if isinstance(heard, _Ended) else [heard]
                heard = None if self._news.empty() else self._news.get_nowait()
        return found

    def _ended(self, ended: _Ended) -> list[tuple[int, Event]]:
        """Return how an order ended; one that ended with the connection to the scheduler is given anew."""
        number, future = ended.number, ended.future
        if self._futures.get(number) is not future:  # it was given up, or given anew
            return []
        if future.status in ("cancelled", "lost"):
            self._reconnect(ended.connection)
            return []
        order = self._orders[number]
        error = future.exception() if future.status == "error" else None
        if isinstance(error, MissingMaterialError) and self._missing < _MOST_MISSING:
            self._missing += 1
            self._connection.send(self._material)
            self._submit(order)
            return []
        del self._orders[number], self._futures[number]
        if error is None:
            return [(number, event) for event in [*unpack(future.result()), Done()]]
        if isinstance(error, (KilledWorker, MemoryError)):
            return [(number, Lost(f"{type(error).__name__} says Dask"))]
        if isinstance(error, ModuleNotFoundError):
            raise ConfigError(f"a worker of {self._address} lacks a module ({error}). Install lstmreg on all workers.")
        raise error

    def _reconnect(self, before: _Connection) -> None:
        """Find the scheduler again, and give it all orders.

        Raises:
            OSError: If it does not come back.
        """
        if before is not self._connection:  # that was done
            return
        self.notes.append(f"The scheduler at {self._address} is gone. Waiting for it; what has ended is kept.")
        before.close()
        deadline = time.monotonic() + self._away
        for pause in itertools.count(1):
            try:
                self._connection = _Connection(self._address, self._material, self._news)
                break
            except (OSError, ValueError, RuntimeError) as error:
                if time.monotonic() > deadline:
                    raise OSError(
                        f"the scheduler at {self._address} did not come back in {self._away:.0f} s. What has ended is "
                        f"kept: start it, and run the search again"
                    ) from error
                time.sleep(min(pause, 5))
        for order in self._orders.values():
            self._submit(order)

    def give_up(self, number: int, reason: str) -> None:
        """Have the worker that is at an order started again; one without a nanny is sent away."""
        future = self._futures.pop(number, None)
        if future is None:
            return
        with suppress(Exception):  # whatever becomes of that worker, its order is given to others
            self._connection.end_worker_at(future)
        self._orders.pop(number, None)
        self._news.put((number, Lost(reason)))

    def close(self) -> None:
        """Take back what was asked for, and leave the cluster as it was."""
        self._orders.clear()
        self._futures.clear()
        self._connection.close()


class _Ended:
    """A future of an order that has ended."""

    def __init__(self, connection: _Connection, number: int, future: Future[Any]) -> None:
        self.connection, self.number, self.future = connection, number, future


class _Connection:
    """A connection to a scheduler, as long as it lasts.

    Attributes:
        client: Dask's.
    """

    def __init__(
        self, address: str, material: Parcel, news: queue.SimpleQueue[tuple[int, Event] | _Ended | None]
    ) -> None:
        self._name, self._news = f"lstmreg-{uuid.uuid4().hex}", news
        self.client = Client(address, timeout=_TRY, set_as_default=False, name="lstmreg")
        try:
            self._queue = Queue(self._name, client=self.client)
            self.send(material)
        except BaseException:
            self.client.close(timeout=1)
            raise
        self._digest, self._is_open = material.digest, True
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, material: Parcel) -> None:
        """Have all workers keep the data, and those that will join."""
        self.client.register_plugin(_Keeps(material), name=f"lstmreg-{material.digest}")

    def submit(self, order: Order) -> Future[Any]:
        """Submit an order."""
        key = f"{self._name}-{order.number}-{uuid.uuid4().hex[:8]}"
        return self.client.submit(_carry_out, order.number, pack(order), self._name, key=key, pure=False)

    def end_worker_at(self, future: Future[Any]) -> None:
        """End the worker that is at a future."""
        at = [worker for worker, keys in self.client.processing().items() if future.key in keys]
        future.cancel(force=True)
        try:
            self.client.restart_workers(at, timeout=_TRY, raise_for_error=True)
        except Exception:  # it has no nanny who would start it again
            self.client.retire_workers(at, close_workers=True)
            raise

    def _listen(self) -> None:
        """Pass on what workers tell."""
        while self._is_open:
            with suppress(Exception):  # no news, or no connection, which the futures tell
                self._news.put(unpack(self._queue.get(timeout=1)))
                continue
            time.sleep(0.05)

    def close(self) -> None:
        """End it."""
        self._is_open = False
        with suppress(Exception):
            if self.client.status == "running":
                self.client.unregister_worker_plugin(f"lstmreg-{self._digest}")
                self._queue.close()
        with suppress(Exception):
            self.client.close(timeout=2)


# ---------------------------------------------------------------------- in the worker


class _Keeps(WorkerPlugin):
    """Keeps the data of a search in a worker."""

    def __init__(self, material: Parcel) -> None:
        self._material = material

    def setup(self, worker: Any) -> None:
        """Keep them."""
        keep_material(self._material)

    def teardown(self, worker: Any) -> None:
        """Forget them."""
        forget_material(self._material)


def _carry_out(number: int, packed: bytes, name: str) -> bytes:
    """Carry out an order; tell now and then how it goes, and in the end all that has ended."""
    ended: list[Ended] = []
    tell = _Teller(number, name)

    def hear(event: Begun | Ended) -> None:
        if isinstance(event, Ended):
            ended.append(event)
        tell(event)

    carry_out_here(packed, hear)
    return pack(ended)


class _Teller:
    """Sends the search what happens, some of it at once and the rest soon."""

    def __init__(self, number: int, name: str) -> None:
        self._number, self._queue = number, Queue(name)
        self._waiting: list[Begun | Ended] = []
        self._due = 0.0

    def __call__(self, event: Begun | Ended) -> None:
        self._waiting = [other for other in self._waiting if isinstance(other, Ended) or isinstance(event, Ended)]
        self._waiting.append(event)
        if time.monotonic() >= self._due:
            with suppress(Exception):  # what nobody hears now comes with the order's end
                for each in self._waiting:
                    self._queue.put(pack((self._number, each)), timeout=_NEWS)
            self._waiting.clear()
            self._due = time.monotonic() + _NEWS
