"""Pieces, and what becomes of those that are lost: each training is told once, whoever dies."""

from __future__ import annotations

import dataclasses
import random
from collections import deque

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstmreg.config import with_settings
from lstmreg.executors import Dispatch, Failure, Here
from lstmreg.executors.dispatch import Crew, pieces
from lstmreg.executors.events import Begun, Done, Ended, Event, Lost, Place
from lstmreg.executors.orders import Order

from . import work
from .work import THE_ONE, Told, Work, trained

PLACE = Place("made up", "by a test")


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Work:
    return Work(tmp_path_factory.mktemp("work"))


class Mortals(Crew):
    """Say of each training the configuration's seed; die when they are told to, in the middle of an order.

    Args:
        deaths: For each order in turn, after how many trainings its worker dies; ``None`` if it does not.
        deadly: A training of this seed kills whoever trains it.
    """

    width = 3

    def __init__(self, deaths: list[int | None], deadly: int | None = None) -> None:
        super().__init__()
        self.deaths, self.deadly = deque(deaths), deadly
        self.orders: deque[Order] = deque()
        self.sizes: list[int] = []

    def take(self, order: Order) -> None:
        self.orders.append(order)
        self.sizes.append(len(order.trainings))

    def hear(self, seconds: float) -> list[tuple[int, Event]]:
        order = self.orders.popleft()
        death = self.deaths.popleft() if self.deaths else None
        events: list[Event] = [Begun(PLACE, len(order.trainings), 0)]
        for member, (config, _, _) in enumerate(order.trainings):
            if member == death or config.training.seed == self.deadly:
                return [(order.number, event) for event in [*events, Lost("killed by a test")]]
            events.append(Ended(member, config.training.seed, PLACE))
        random.Random(order.number).shuffle(events)
        events.append(events[-1] if isinstance(events[-1], Ended) else Begun(PLACE, 0, 9))  # news may come twice
        return [(order.number, event) for event in [*events, Done()]]

    def give_up(self, number: int, reason: str) -> None:
        raise AssertionError

    def close(self) -> None:
        self.orders.clear()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(1, 40),
    deaths=st.lists(st.none() | st.integers(0, 6), max_size=12),
    deadly=st.none() | st.integers(0, 39),
)
def test_each_training_is_told_once_whoever_dies(
    some: Work, count: int, deaths: list[int | None], deadly: int | None
) -> None:
    assignments = some.numbered(count)
    crew, told = Mortals(deaths, deadly), Told()
    Dispatch(crew, "", len(some.task.features)).train(assignments, work.curve, told.ended, told.news)
    assert sorted(told.outcomes) == list(range(count))
    aside = {number for number, outcome in told.outcomes.items() if isinstance(outcome, Failure)}
    assert {told.outcomes[n] for n in told.outcomes if n not in aside} <= set(range(count))
    assert all(told.outcomes[n] == n for n in told.outcomes if n not in aside)
    if deadly is not None and deadly < count:
        assert deadly in aside
    # Whoever is innocent is set aside only if its workers died twice while they trained it alone.
    assert len(aside) <= sum(death is not None for death in deaths) // 2 + 1


def test_what_kills_is_found_by_halves_and_set_aside_with_its_reason(some: Work) -> None:
    crew, told = Mortals([], deadly=THE_ONE), Told()
    Dispatch(crew, "", len(some.task.features)).train(some.numbered(32), work.curve, told.ended, told.news)
    assert isinstance(failure := told.outcomes[THE_ONE], Failure)
    assert failure.reason == ("set aside: its worker was lost 2 times while it trained nothing else (killed by a test)")
    assert failure.traceback is None  # no reason to end the search
    assert [n for n in range(32) if told.outcomes[n] != n] == [THE_ONE]
    assert crew.sizes[0] == 32
    assert crew.sizes[-2:] == [1, 1]


def test_pieces_are_the_same_for_any_number_of_workers_and_of_one_architecture(some: Work) -> None:
    columns = len(some.task.features)
    small = some.numbered(70)
    large = [
        dataclasses.replace(one, config=with_settings(one.config, {"model.hidden_size": 200})) for one in small[:5]
    ]
    found = pieces([*large, *small], columns)
    assert sorted(number for piece in found for number in piece) == list(range(75))
    assert sorted(map(len, found)) == [1, 1, 1, 1, 1, 23, 23, 24]
    assert pieces(small, None) == [[number] for number in range(70)]


def test_this_process_tells_as_the_others_do(some: Work) -> None:
    told = trained(Here(some.task), some.assignments, work.refuses)
    assert isinstance(failure := told.outcomes[THE_ONE], Failure)
    assert failure.reason == "ValueError: not this one"
    assert len({place.name for place in told.places.values()}) == 1
    assert max(worker.epoch for workers in told.workers for worker in workers) == 3
