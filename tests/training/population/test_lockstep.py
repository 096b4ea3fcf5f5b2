"""Every member gets the batches of its own loader, in order, whatever its neighbours have."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from lstmreg import TrainingConfig
from lstmreg.data.cases import Cases
from lstmreg.data.module import CasesDataModule
from lstmreg.data.rows import Rows
from lstmreg.training.batches import as_loaders
from lstmreg.training.population.lockstep import Lockstep
from lstmreg.training.population.tables import Residents, table_of

T, D, OUT = 2, 3, 2


class Source:
    """Batches of some sizes, all different from each other; it counts how often it is read."""

    def __init__(self, number: int, sizes: list[int]) -> None:
        generator = torch.Generator().manual_seed(number)
        self.batches = [
            (torch.randn(size, T, D, generator=generator), torch.randn(size, OUT, generator=generator))
            for size in sizes
        ]
        self.begun = self.given = 0

    def __iter__(self):
        self.begun += 1
        for batch in self.batches:
            self.given += 1
            yield batch


def dealt(lockstep: Lockstep) -> tuple[list[list[tuple[Tensor, Tensor]]], list[list[tuple[int, int]]]]:
    """Return what each member gets in one pass, and the parts of each step."""
    got: list[list[tuple[Tensor, Tensor]]] = [[] for _ in lockstep.source_of]
    steps = []
    for parts in lockstep:
        steps.append([(part.first, part.last) for part in parts])
        for part in parts:
            shared = part.y.dim() == 2
            assert part.x.dim() == (3 if shared else 4)
            assert shared or len(part.x) == len(part.y) == part.last - part.first
            for row, member in enumerate(range(part.first, part.last)):
                got[member].append((part.x, part.y) if shared else (part.x[row], part.y[row]))
    return got, steps


def assert_dealt(got: list[list[tuple[Tensor, Tensor]]], sources: list[Source], source_of: list[int]) -> None:
    for member, source in enumerate(source_of):
        torch.testing.assert_close(got[member], sources[source].batches, rtol=0, atol=0)


#: Sizes of the batches of each source, and which source each member reads.
DEALS = {
    "one member": ([[4, 4, 2]], [0]),
    "all share one": ([[4, 4, 2]], [0] * 5),
    "each its own, of the same sizes": ([[4, 2]] * 3, [0, 1, 2]),
    "ragged ends": ([[4, 4, 3], [4, 4, 2], [4, 4, 3]], [0, 1, 2]),
    "some end sooner": ([[4, 4, 4, 4], [4, 1], [4, 4, 4], [4]], [0, 1, 2, 3]),
    "several of each": ([[4, 3], [4, 3, 3], [4, 2]], [0, 0, 1, 2, 2, 2]),
    "not in the order of the sources": ([[4, 3], [4, 3], [2]], [2, 0, 0, 1]),
    "one that nobody reads": ([[4], [4], [4]], [0, 0, 2]),
    "one without batches": ([[4, 4], [], [4, 4]], [0, 1, 2]),
    "nothing at all": ([[], []], [0, 1]),
    "other sizes throughout": ([[5, 5], [3, 3, 3]], [0, 1, 1]),
}


@pytest.mark.parametrize(("sizes", "source_of"), DEALS.values(), ids=DEALS)
def test_a_member_gets_the_batches_of_its_loader_in_order_and_a_loader_is_read_once(sizes, source_of):
    sources = [Source(number, own) for number, own in enumerate(sizes)]
    lockstep = Lockstep(sources, source_of)
    for passes in (1, 2):
        got, steps = dealt(lockstep)
        assert_dealt(got, sources, source_of)
        assert len(steps) == max(len(sizes[source]) for source in source_of)
        for number, source in enumerate(sources):
            read = passes if number in source_of else 0
            assert (source.begun, source.given) == (read, read * len(source.batches))


def test_neighbours_run_together_where_their_batches_have_one_shape():
    sizes = [[4, 4, 3], [4, 4, 3], [4, 2], [4, 4, 3]]
    source_of = [0, 0, 1, 2, 3]
    _, steps = dealt(Lockstep([Source(number, own) for number, own in enumerate(sizes)], source_of))
    assert steps == [[(0, 5)], [(0, 3), (3, 4), (4, 5)], [(0, 3), (4, 5)]]


def test_a_batch_that_is_shared_by_all_is_not_copied():
    source = Source(0, [4, 2])
    for (part,), (x, y) in zip(Lockstep([source], [0] * 100), source.batches, strict=True):
        assert (part.first, part.last) == (0, 100)
        assert part.x.data_ptr() == x.data_ptr()
        assert part.y.data_ptr() == y.data_ptr()


def test_targets_of_another_width_do_not_join():
    x = torch.zeros(4, T, D)
    one, two = [(x, torch.zeros(4, 1))], [(x, torch.ones(4, 2))]
    (parts,) = Lockstep([one, two], [0, 1])
    assert [(part.first, part.last, part.y.shape[-1]) for part in parts] == [(0, 1, 1), (1, 2, 2)]


def test_who_reads_what_may_change_between_two_passes():
    sources = [Source(0, [4, 4]), Source(1, [4, 1]), Source(2, [4])]
    lockstep = Lockstep(sources, [0, 0, 1, 2])
    first, _ = dealt(lockstep)
    lockstep.source_of = [0, 2]  # the second member and the third are gone
    second, steps = dealt(lockstep)
    assert_dealt(first, sources, [0, 0, 1, 2])
    assert_dealt(second, sources, [0, 2])
    assert steps == [[(0, 2)], [(0, 1)]]
    assert [source.begun for source in sources] == [2, 1, 2]
    lockstep.source_of = []
    assert list(lockstep) == []


def test_loaders_that_shuffle_keep_the_orders_that_they_would_have_alone():
    data = TensorDataset(torch.randn(11, T, D), torch.randn(11, OUT))

    def loader(seed: int) -> DataLoader:
        return DataLoader(data, batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(seed))

    lockstep, alone = Lockstep([loader(0), loader(1)], [0, 1, 1]), [loader(0), loader(1)]
    orders = []
    for _ in range(2):
        got, _ = dealt(lockstep)
        expected = [list(own) for own in alone]
        for member, source in enumerate([0, 1, 1]):
            torch.testing.assert_close([list(batch) for batch in got[member]], expected[source], rtol=0, atol=0)
        orders += [torch.cat([x for x, _ in own]) for own in (got[0], got[1])]
    assert len({order.numpy().tobytes() for order in orders}) == 4  # of two loaders in two passes


def arrays(rows: int, number: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(number)
    return torch.randn(rows, T, D, generator=generator), torch.randn(rows, OUT, generator=generator)


@pytest.mark.parametrize("rows", [12, 11, 3])
def test_rows_are_taken_at_once_in_the_orders_in_which_loaders_take_them(rows):
    one, other = arrays(rows, 0), arrays(rows, 1)

    def loaders() -> list[Any]:
        trainings = [TrainingConfig(seed=seed, batch_size=4) for seed in (0, 1, 1)]
        datas = [(one, one), (one, one), (other, other)]
        return [as_loaders(data, t, torch.float32)[0] for data, t in zip(datas, trainings, strict=True)]

    source_of = [1, 0, 2, 2, 0, 1]  # one source twice, with others between
    together, alone = loaders(), loaders()
    assert all(table_of(loader) is not None for loader in together)
    lockstep = Lockstep(together, source_of)
    for _ in range(3):
        got, steps = dealt(lockstep)
        expected = [list(islice(iter(loader), len(loader))) for loader in alone]  # not beyond, as Lightning
        for member, source in enumerate(source_of):
            torch.testing.assert_close([list(b) for b in got[member]], [list(b) for b in expected[source]])
        assert steps == [[(0, 6)]] * len(expected[0])


def test_what_else_a_loader_might_do_is_left_to_it():
    data = TensorDataset(*arrays(8, 0))

    def loader(**options: Any) -> DataLoader:
        own = {"generator": torch.Generator(), "batch_size": None} | options
        order = RandomSampler(data, generator=torch.Generator())
        return DataLoader(data, sampler=BatchSampler(order, 4, drop_last=False), **own)

    class Own(DataLoader):
        pass

    assert table_of(loader()) is not None
    assert table_of(loader(generator=None)) is None  # it draws from torch's
    assert table_of(loader(collate_fn=lambda batch: batch[::-1])) is None
    assert table_of(DataLoader(data, batch_size=4, generator=torch.Generator())) is None
    assert table_of(Own(data, batch_size=None, sampler=BatchSampler(RandomSampler(data), 4, drop_last=False))) is None
    wrapper = type("Wrapper", (), {"loader": loader()})()
    assert table_of(wrapper) is None  # who knows what it does to what it reads
    assert table_of([(torch.zeros(4, T, D), torch.zeros(4, OUT))]) is None


def test_sources_that_take_rows_of_one_memory_move_as_one_and_those_in_order_share_what_they_take():
    cases = Cases(np.random.randn(20, T, D).astype(np.float32), np.random.randn(20, OUT).astype(np.float32))
    weighted = Cases(cases.inputs, cases.targets, weights=np.random.rand(20).astype(np.float32))
    train, other, validation = np.arange(9), np.arange(9) + 1, np.arange(12, 20)
    for own in (cases, weighted):
        modules = [CasesDataModule(own, rows, validation, batch_size=4, seed=k) for k, rows in enumerate([train] * 2)]
        modules += [CasesDataModule(own, other, validation, batch_size=4, seed=5)]
        for loaders in ([m.train_dataloader() for m in modules], [m.val_dataloader() for m in modules]):
            got, _ = dealt(Lockstep(loaders, [0, 1, 1, 2]))
            for member, source in enumerate([0, 1, 1, 2]):
                again = (modules[source].train_dataloader, modules[source].val_dataloader)[len(loaders[0].dataset) == 8]
                torch.testing.assert_close([list(b) for b in got[member]], [list(b) for b in again()])
        (whole,) = Lockstep([m.val_dataloader() for m in modules], [0, 1, 2])
        assert [part.x.shape for part in whole] == [(8, T, D)]  # one batch for all


def test_tensors_are_moved_once_as_far_as_there_is_room(monkeypatch):
    one, other = TensorDataset(*arrays(8, 0)), TensorDataset(*arrays(8, 1))
    rows = [Rows(*data.tensors) for data in (one, one, other)]
    monkeypatch.setattr(Residents, "ROOM", 8 * T * D * 4)
    residents = Residents()
    assert residents.of(rows[0]) is rows[0]
    residents.device = torch.device("meta")  # as a GPU: elsewhere
    found = [residents.of(own._replace(numbers=torch.arange(3))) for own in rows]
    assert found[0].x is found[1].x
    assert [own.x.device.type for own in found] == ["meta", "meta", "cpu"]
    assert found[0].numbers is not None
    assert found[0].numbers.device.type == "meta"
