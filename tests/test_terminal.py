"""Whoever reads a log hears from a long piece of work at least every half minute."""

from __future__ import annotations

import threading

import pytest

from lstmreg.terminal import Pulse, duration


class Clock:
    """Time that passes when it is told to, and an event whose waiting lets it pass."""

    def __init__(self, waits: int = 0) -> None:
        self.now, self.waits = 1000.0, waits

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        assert seconds > 0
        self.now += seconds
        self.waits -= 1
        return self.waits < 0


@pytest.fixture
def said() -> list[str]:
    return []


def test_a_line_comes_when_half_a_minute_was_silent_and_not_before(said):
    clock = Clock()
    pulse = Pulse(said.append, clock=clock)
    for seconds, lines in ((29, 0), (1, 1), (29, 1), (1, 2), (100, 3)):
        clock.now += seconds
        pulse.heard("Training", 1, 4)
        assert 0 < pulse.tick() <= 30
        assert len(said) == lines


def test_what_others_say_counts(said):
    clock = Clock()
    pulse = Pulse(said.append, clock=clock)
    clock.now += 29
    pulse.spoke()
    assert pulse.tick() == 30
    clock.now += 29
    assert pulse.tick() == 1
    assert said == []
    clock.now += 1
    pulse.tick()
    assert said == ["Starting; 59 s so far, time left not known yet."]


def test_the_time_left_is_by_the_pace_since_the_work_was_first_heard_of(said):
    clock = Clock()
    pulse = Pulse(said.append, clock=clock)
    clock.now += 20  # loading
    pulse.heard("Each knob alone, 100 of 400 trainings", 100, 400)  # of an earlier sitting
    clock.now += 60
    pulse.heard("Each knob alone, 150 of 400 trainings", 150, 400)
    pulse.tick()
    assert said == ["Each knob alone, 150 of 400 trainings; 1 min so far, about 5 min left."]


def test_a_time_left_that_is_known_is_said(said):
    clock = Clock()
    pulse = Pulse(said.append, clock=clock, bound="at most")
    clock.now += 30
    pulse.heard("Training", 2, 4, seconds_left=45)
    pulse.tick()
    assert said == ["Training; 30 s so far, at most 45 s left."]


def test_a_step_that_takes_long_is_no_reason_to_be_silent(said):
    clock = Clock(waits=4)
    with Pulse(said.append, clock=clock, ended=clock_event(clock)) as pulse:
        pulse._thread.join()  # until the event says that it has ended
    assert said == [
        f"Starting; {time} so far, time left not known yet." for time in ("30 s", "1 min", "2 min", "2 min")
    ]


def clock_event(clock: Clock) -> threading.Event:
    event = threading.Event()
    event.wait = clock.wait  # type: ignore[method-assign, assignment]
    return event


def test_beside_a_bar_nothing_is_said():
    before = threading.active_count()
    with Pulse(None) as pulse:
        assert threading.active_count() == before
        pulse.heard("Training", 1, 4)
        assert pulse.tick() > 0


def test_the_thread_ends_with_the_work(said):
    with Pulse(said.append) as pulse:
        assert pulse._thread.is_alive()
    assert not pulse._thread.is_alive()
    with pytest.raises(KeyboardInterrupt), Pulse(said.append) as pulse:
        raise KeyboardInterrupt
    assert not pulse._thread.is_alive()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (-1, "0 s"), (59.4, "59 s"), (61, "1 min"), (150, "2 min"), (3540, "59 min"), (4800, "1 h 20 min")],
)
def test_a_duration_is_no_more_exact_than_it_is_worth(seconds, words):
    assert duration(seconds) == words
