"""Folds: shares of classes, groups that stay together, time that does not run backwards, and what is too little."""

from __future__ import annotations

import dataclasses
import re
from itertools import product

import numpy as np
import pytest

from lstmreg.config import DataConfig, SearchConfig
from lstmreg.data.sequences import from_arrays
from lstmreg.errors import ConfigError, DataError
from lstmreg.tasks import Classify, Regress, Task


def search(blocks: int = 6, seed: int = 0) -> SearchConfig:
    return SearchConfig(blocks=blocks, seed=seed)


def classes(counts: dict[str, int], groups: list[str] | None = None, **settings: object) -> Classify:
    """Sequences of each class, in a mixed order."""
    y = np.random.default_rng(0).permutation(np.repeat(list(counts), list(counts.values())))
    x = np.arange(len(y), dtype=float)[:, None] + np.zeros((1, 3))
    sequences = from_arrays(x, y, groups, kind="classify")
    return Classify(DataConfig("them", "y", **settings), sequences)  # type: ignore[arg-type]


def judged(task: Task, asked: SearchConfig) -> list[np.ndarray]:
    return [split.judged for split in task.splits(asked).blocks]


def test_each_part_has_its_share_of_every_class() -> None:
    task = classes({"a": 200, "b": 80, "c": 20})
    kinds = task.sequences.targets
    splits = task.splits(search())
    for part in (splits.final.judged, splits.final.validation):
        assert [int((kinds[part] == name).sum()) for name in "abc"] == [30, 12, 3]
    for part in judged(task, search()):
        found = np.array([(kinds[part] == name).sum() for name in "abc"])
        assert abs(found - len(part) * np.array([200, 80, 20]) / 300).max() <= 1.5


def test_a_rare_class_is_in_the_training_of_every_split() -> None:
    task = classes({"a": 60, "b": 3})
    for blocks, seed in product((3, 4, 6, 12), range(5)):
        splits = task.splits(search(blocks, seed))
        assert len(splits.blocks) == blocks
        for split in (*splits.blocks, task.hold_out()):
            assert (task.sequences.targets[split.train] == "b").any()
    held_out = task.hold_out()
    for part in (held_out.train, held_out.validation, held_out.judged):
        assert (task.sequences.targets[part] == "b").sum() == 1


def test_each_part_is_judged_by_networks_that_the_next_part_stopped() -> None:
    task = classes({"a": 200, "b": 80, "c": 20})
    splits = task.splits(search())
    assert sorted(np.concatenate(judged(task, search()))) == sorted(
        set(range(300)) - set(splits.final.judged)
    )  # each once
    for block, following in zip(splits.blocks, [*splits.blocks[1:], splits.blocks[0]], strict=True):
        assert set(block.validation) == set(following.judged)
        assert {*block.train, *block.validation, *block.judged, *splits.final.judged} == set(range(300))


def test_few_sequences_are_dealt_again_and_again() -> None:
    task = classes({"a": 14, "b": 14})
    splits = task.splits(search(12))  # 24 are not the test: four parts, three times
    assert [len(split.judged) for split in splits.blocks] == [6] * 12
    assert np.bincount(np.concatenate([split.judged for split in splits.blocks])).max() == 3
    for first in (0, 4, 8):
        dealt = [set(split.judged) for split in splits.blocks[first : first + 4]]
        assert len(set.union(*dealt)) == 24
        assert [set(split.validation) for split in splits.blocks[first : first + 4]] == [*dealt[1:], dealt[0]]
    assert len({split.key for split in splits.blocks}) == 12
    fewer = task.splits(search(6)).blocks
    assert [split.key for split in fewer] == [split.key for split in splits.blocks[:6]]


def test_another_seed_divides_in_another_way_and_tests_on_the_same() -> None:
    task = classes({"a": 60, "b": 60})
    one, other = (task.splits(search(seed=seed)) for seed in (0, 1))
    assert (one.final.judged == other.final.judged).all()
    assert any(set(a.judged) != set(b.judged) for a, b in zip(one.blocks, other.blocks, strict=True))


@pytest.mark.parametrize("count", [7, 12, 40])
def test_no_group_is_on_two_sides(count: int) -> None:
    groups = np.array([f"g{k}" for k in np.random.default_rng(2).integers(count, size=200)])
    task = classes({"a": 100, "b": 100}, groups.tolist())
    splits = task.splits(search(5))
    for split in (*splits.blocks, splits.final):
        sides = [set(groups[part]) for part in (split.train, split.validation, split.judged)]
        assert len(set.union(*sides)) == sum(map(len, sides))
    parts = [set(groups[part]) for part in judged(task, search(5))]
    assert len(set.union(*parts)) == sum(map(len, parts))  # each is judged once
    assert set.union(*parts) == set(groups) - set(groups[splits.final.judged])


def test_a_group_may_be_divided_where_that_is_asked_for() -> None:
    groups = [f"g{n % 2}" for n in range(100)]
    task = classes({"a": 50, "b": 50}, groups, split_by="random")
    assert len(task.splits(search()).blocks) == 6
    with pytest.raises(DataError, match="2 groups are too few; at least 3"):
        classes({"a": 50, "b": 50}, groups).hold_out()


def test_by_time_nothing_trains_that_begins_after_what_is_judged() -> None:
    order = np.random.default_rng(4).permutation(120)
    sequences = from_arrays(np.zeros((120, 3)) + order[:, None], order * 1.0, kind="regress")
    days = tuple(str(np.datetime64("2020-01-30") + int(k)) for k in order)
    task = Regress(DataConfig("them", "y", split_by="time"), dataclasses.replace(sequences, times=days))
    splits = task.splits(search())
    usable = 120 - 18
    size = (usable - 41) // 7
    for k, split in enumerate(splits.blocks):
        begins = usable - (7 - k) * size
        assert sorted(order[split.train]) == list(range(begins))
        assert sorted(order[split.validation]) == list(range(begins, begins + size))
        assert sorted(order[split.judged]) == list(range(begins + size, begins + 2 * size))
    final = splits.final
    assert order[final.train].max() < order[final.validation].min()
    assert order[final.validation].max() < order[final.judged].min() == 120 - 18
    assert task.labels(final.judged[:1]) == [task.sequences.names[final.judged[0]]]


def needed(error: str) -> int:
    return int(re.findall(r"at least (\d+)", error)[0])


@pytest.mark.parametrize("split_by", ["random", "time"])
def test_too_few_sequences_are_refused_and_so_many_as_are_named_are_enough(split_by: str) -> None:
    def regress(count: int) -> Regress:
        sequences = from_arrays(np.ones((count, 3)), np.arange(count) * 1.0, kind="regress")
        times = tuple(map(str, range(count)))
        return Regress(DataConfig("them", "y", split_by=split_by), dataclasses.replace(sequences, times=times))  # type: ignore[arg-type]

    with pytest.raises(DataError, match="too few") as caught:
        regress(8).splits(search())
    assert ("fewer search.blocks" in str(caught.value)) == (split_by == "time")  # at random it would not help
    least = needed(str(caught.value))
    assert len(regress(least).splits(search()).blocks) == 6
    with pytest.raises(DataError, match=f"at least {least} are needed"):
        regress(least - 1).splits(search())
    with pytest.raises(DataError, match="too few") as caught:
        regress(8).splits(search(3))
    assert "fewer" not in str(caught.value).split("too few")[1]  # than three
    with pytest.raises(DataError, match="2 sequences are too few; at least 3"):
        regress(2).hold_out()


def test_as_many_sequences_of_many_classes_as_are_named_are_enough() -> None:
    def alike(count: int) -> Classify:
        return classes({name: count // 6 + (k < count % 6) for k, name in enumerate("abcdef")})

    least = needed(refusal(alike(18), search(3)))  # of each class one is tested, which leaves twelve
    assert least > 18
    usable = least - len(alike(least).hold_out().judged)
    assert usable >= 15


def test_too_few_groups_are_refused_and_so_many_as_are_named_are_enough() -> None:
    def grouped(count: int) -> Classify:
        return classes({"a": 60, "b": 60}, [f"g{n % count}" for n in range(120)])

    with pytest.raises(DataError, match=r"6 blocks .* fewer search\.blocks") as caught:
        grouped(4).splits(search())
    least = needed(str(caught.value))
    assert len(grouped(least).splits(search()).blocks) == 6
    with pytest.raises(DataError, match=f"at least {least} are needed"):
        grouped(least - 1).splits(search())
    with pytest.raises(DataError, match="3 groups are too few; at least 4 are needed for 3 blocks"):
        grouped(3).splits(search(3))
    many = needed(refusal(grouped(20), search(30)))
    assert len(grouped(many).splits(search(30)).blocks) == 30


def refusal(task: Task, asked: SearchConfig) -> str:
    with pytest.raises(DataError) as caught:
        task.splits(asked)
    return str(caught.value)


def test_a_class_that_training_could_not_see_is_refused() -> None:
    with pytest.raises(DataError, match="class 'b' has 2 sequences, and at least 3 are needed"):
        classes({"a": 60, "b": 2}).hold_out()
    with pytest.raises(DataError, match="has one class, 'a', and two are needed"):
        classes({"a": 60}).hold_out()
    of_b = classes({"a": 60, "b": 10})
    groups = ["one" if kind == "b" else f"g{n % 9}" for n, kind in enumerate(of_b.sequences.targets)]
    with pytest.raises(DataError, match="class 'b' is in none of the sequences that train"):
        classes({"a": 60, "b": 10}, groups).splits(search())


def test_what_a_rule_needs_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"data\.group must be set"):
        classes({"a": 60, "b": 60}, split_by="group").hold_out()
    with pytest.raises(ConfigError, match=r"data\.time must be set"):
        classes({"a": 60, "b": 60}, split_by="time").hold_out()
    sequences = from_arrays(np.ones((9, 3)), np.arange(9) * 1.0, kind="regress")
    for times, said in ((("soon",) * 9, "no time stamp"), (("1", *["2020-01-01"] * 8), "mix kinds")):
        task = Regress(DataConfig("them", "y", split_by="time"), dataclasses.replace(sequences, times=times))
        with pytest.raises(DataError, match=said):
            task.hold_out()
