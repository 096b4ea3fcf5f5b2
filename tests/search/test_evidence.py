"""Evidence finds the trainings of a setting, and says an effect as a relative change."""

from __future__ import annotations

import math

import pytest

from lstmreg.search.evidence import relative
from lstmreg.search.records import Replicate
from tests.search.made_up import KNOB, made_up, ran


def test_trainings_of_a_setting_are_found_by_stage_in_whatever_order_it_is_written() -> None:
    evidence = made_up()
    both = {KNOB: 0.01, "model.dropout": 0.2}
    ran(evidence, "combine", both, 0, 1, 0.5)
    ran(evidence, "combine", both, 1, 1, None)
    ran(evidence, "judge", both, 0, 8, 0.25)
    ran(evidence, "screen", {KNOB: 0.01}, 0, 0, 0.75)
    turned = {"model.dropout": 0.2, KNOB: 0.01}
    assert set(evidence.trials(turned, "choose")) == {Replicate(0, 1), Replicate(1, 1)}
    assert {r: result.loss for r, result in evidence.results(turned, "choose").items()} == {Replicate(0, 1): 0.5}
    assert set(evidence.results(turned, "judge")) == {Replicate(0, 8)}
    assert (evidence.failures(turned, "choose"), evidence.failures(turned, "judge")) == (1, 0)
    assert evidence.trials({}, "choose") == {}


def test_a_log_ratio_is_said_as_a_relative_change() -> None:
    assert relative(math.log(0.88)) == pytest.approx(-0.12)
    assert relative(0.0) == 0.0
    assert (relative(-math.inf), relative(math.inf), relative(1e6)) == (-1.0, math.inf, math.inf)
