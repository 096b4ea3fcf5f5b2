"""What Optuna's samplers propose: nothing that is known, nothing that waits for something else."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from lstmreg.config import Config, Range, Values
from lstmreg.search.proposals import propose
from lstmreg.search.space import Setting, baseline_config, conditions, dimensions, key, trained_config
from tests.tiny import tiny_config

CONDITIONAL: dict[str, Any] = {
    "model.num_layers": [1, 2],
    "model.dropout[1]": Values([0.1, 0.3], when={"model.num_layers": 2}),
    "model.kernel_l1": [0.01],
    "model.kernel_l2": Values([0.1], when={"model.kernel_l1": 0.0}),
    "model.hidden_size": Range(4, 8, step=2),
}


def proposed(config: Config, known: list[tuple[Setting, float]], count: int) -> list[Setting]:
    base = baseline_config(config, 0.01, 2)
    return propose(base, dimensions(config), conditions(config), known, 0, count)


def points_by_hand() -> set[str]:
    """Write all points of the space down, without what is at the baseline."""
    found = []
    for hidden in (4, 6, 8):
        for layers, penalty in itertools.product(
            [
                {},
                *(
                    {"model.num_layers": 2} | more
                    for more in ({}, {"model.dropout[1]": 0.1}, {"model.dropout[1]": 0.3})
                ),
            ],
            [{}, {"model.kernel_l2": 0.1}, {"model.kernel_l1": 0.01}],
        ):
            found.append({**layers, **penalty, **({} if hidden == 4 else {"model.hidden_size": hidden})})
    return {key(point) for point in found}


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random", "grid"])
def test_nothing_is_proposed_that_waits_for_something_else(tmp_path: Path, sampler: str) -> None:
    config = tiny_config(tmp_path, space=CONDITIONAL, weight_decay=[], sampler=sampler)
    known: list[tuple[Setting, float]] = [({}, 0.0), ({"model.kernel_l1": 0.01}, -0.1)]
    for setting in proposed(config, known, 12):
        assert key(setting) in points_by_hand()
        trained_config(baseline_config(config, 0.01, 2), setting)  # it can be trained


def test_a_grid_proposes_every_point_once_and_what_is_known_never(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, space=CONDITIONAL, weight_decay=[], sampler="grid")
    known: list[tuple[Setting, float]] = [({}, 0.0), ({"model.num_layers": 2, "model.dropout[1]": 0.3}, 0.2)]
    points = points_by_hand()
    assert len(points) == 36
    found = [key(setting) for setting in proposed(config, known, len(points) - len(known))]
    assert len(set(found)) == len(found)
    assert set(found) == points - {key(setting) for setting, _ in known}


def test_proposals_follow_from_their_arguments(tmp_path: Path) -> None:
    for sampler in ("tpe", "grid"):
        config = tiny_config(tmp_path, space=CONDITIONAL, weight_decay=[], sampler=sampler)
        assert proposed(config, [({}, 0.0)], 6) == proposed(config, [({}, 0.0)], 6)


def test_steps_are_proposed_in_the_numbers_that_were_written(tmp_path: Path) -> None:
    space = {"model.dropout": Range(0.15, 0.99, step=0.05), "model.hidden_size": Range(40, 800, step=20)}
    config = tiny_config(tmp_path, space=space, weight_decay=[], sampler="random")
    found = proposed(config, [], 60)
    assert {s["model.dropout"] for s in found} <= {round(0.15 + 0.05 * k, 2) for k in range(17)}
    assert all(isinstance(s["model.hidden_size"], int) and s["model.hidden_size"] % 20 == 0 for s in found)
    assert max(s["model.dropout"] for s in found) == 0.95  # the steps do not meet 0.99
