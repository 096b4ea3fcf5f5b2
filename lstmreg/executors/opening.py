"""Opens the executor that a configuration names."""

from __future__ import annotations

from concurrent import futures

from lstmreg.config import SearchConfig
from lstmreg.extras import need

from .dispatch import Crew, Dispatch
from .executor import Executor, Here
from .parcels import Material, Parcel


def opened(search: SearchConfig, material: Material, executor: futures.Executor | None = None) -> Executor:
    """Return who trains.

    Args:
        search: Says where.
        material: The data.
        executor: In place of it: anybody's executor of ``concurrent.futures``; it stays open.

    Raises:
        ConfigError: If the data cannot travel, or a cluster cannot be reached.
    """
    task = material.task
    if executor is None and not search.workers and search.cluster is None:
        return Here(task)
    parcel = Parcel.of(material)
    columns = None if task.has_own_networks else len(task.features)
    return Dispatch(_crew(search, parcel, executor), parcel.digest, columns)


def _crew(search: SearchConfig, parcel: Parcel, executor: futures.Executor | None) -> Crew:
    if executor is not None:
        from .futures import Futures

        return Futures(executor, parcel)
    if search.cluster is not None:
        need("cluster", "search.cluster", "distributed")
        from .cluster import Cluster

        return Cluster(search.cluster, parcel)
    from .processes import Processes

    return Processes(search.workers, parcel)
