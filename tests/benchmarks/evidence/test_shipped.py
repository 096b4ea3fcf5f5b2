"""The table of the study that ships with the package."""

from __future__ import annotations

import fnmatch
import tomllib
from pathlib import Path

import numpy as np
import pytest

from benchmarks.evidence import (
    comparing,
    page,
    results,
    sets,
    settings,
    shipped,
)
from benchmarks.evidence.measured import measured
from lstmreg import other_sets

from .made_up import SUBJECTS, known, made_up


def kind_of(lines: list[results.Line], folder: Path, task: str, columns: int) -> other_sets.Kind:
    """Write the table of some results, and return the sets in it that are like some data."""
    path = folder / "study.json"
    path.write_text(shipped.shipped(lines))
    found = other_sets.like(task, columns, path)
    assert found is not None
    return found


def test_the_table_that_ships_is_what_the_results_say() -> None:
    assert other_sets.PATH.read_text() == shipped.shipped(results.read())


def test_the_table_is_in_the_package() -> None:
    patterns = tomllib.loads((page.PAGE.parents[1] / "pyproject.toml").read_text())["tool"]["setuptools"]
    name = str(other_sets.PATH.relative_to(page.PAGE.parents[1] / "lstmreg"))
    assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns["package-data"]["lstmreg"])


def test_the_record_of_a_knob_counts_what_is_known_of_it(tmp_path: Path) -> None:
    """Kernel L1 helps in all three forecasts of several columns at 0.03, and its copied 0.01 harms in all."""
    kind = kind_of(made_up(known, SUBJECTS, noise=1e-6), tmp_path, "forecast", 3)
    assert [one.name for one in kind.sets] == ["bike", "traffic", "walmart"]
    assert [(one.task, one.columns, one.cases) for one in kind.sets] == [("forecast", 3, (200, 200))] * 3
    record = kind.record("model.kernel_l1")
    assert (record.helped, record.helped_for_certain, record.harmed, record.harmed_for_certain) == (3, 3, 0, 0)
    assert record.values == (0.03,)
    assert (record.copied, record.copied_helped, record.copied_harmed) == (0.01, 0, 3)
    assert record.pooled.mean == pytest.approx(-0.2, abs=1e-4)
    assert kind.best(kind.pooled) == "model.kernel_l1"
    assert kind.sure() == ["model.kernel_l1"]
    off = kind.record("model.dropout")  # nothing is chosen where all values harm
    assert (off.helped, off.harmed, off.values, off.pooled.mean) == (0, 0, (), 0.0)


def test_an_estimate_is_certain_only_where_its_interval_leaves_zero_out(tmp_path: Path) -> None:
    kind = kind_of(made_up(known, SUBJECTS, noise=0.4), tmp_path, "forecast", 3)
    found = [kind.record(path) for path in settings.LADDERS]
    assert sum(record.helped for record in found) > sum(record.helped_for_certain for record in found)
    assert sum(record.harmed for record in found) > sum(record.harmed_for_certain for record in found)
    for record in found:
        own = [one.knobs[record.path].tuned for one in kind.sets]
        assert record.helped == sum(np.exp(change.mean) < 0.98 for change in own)
        assert record.helped_for_certain == sum(np.exp(change.mean) < 0.98 and change.high < 0 for change in own)


def test_of_the_shipped_sets_the_counts_are_those_of_the_summary() -> None:
    for task, columns in (("forecast", 3), ("forecast", 1), ("classify", 1), ("label", 5)):
        kind = other_sets.like(task, columns)
        assert kind is not None
        names = {one.name for one in kind.sets}
        compared = comparing.compared(measured(results.read()))
        own = [one for one in compared if sets.SUBJECTS[one.condition.subject].family in names]
        for path in settings.LADDERS:
            there, tuned = kind.record(path), comparing.tuned(own, path)
            assert (there.helped, there.harmed) == (tuned.helped, tuned.harmed)
            ends = (there.pooled.mean, there.pooled.low, there.pooled.high)
            assert ends == pytest.approx((tuned.pooled.mean, tuned.pooled.low, tuned.pooled.high), abs=1e-4)


@pytest.mark.parametrize(
    ("task", "columns", "kind"),
    [
        ("forecast", 3, ("forecast", True)),
        ("forecast", 1, ("forecast", None)),  # of one column there are the sunspots alone
        ("classify", 3, ("classify", None)),  # two have several columns, one has not
        ("regress", 1, (None, None)),
        ("label", 9, (None, None)),
    ],
)
def test_sets_are_like_data_as_narrowly_as_there_are_three(
    task: str, columns: int, kind: tuple[str | None, bool | None], tmp_path: Path
) -> None:
    subjects = (*SUBJECTS, "appliances", "appliances-2", "appliances-3", "arrowhead")
    lines = made_up(known, subjects)
    for line in lines:
        if line["set"] == "arrowhead" and "task" in line:
            line["task"] = "classify"
    found = kind_of(lines, tmp_path, task, columns)
    assert (found.task, found.has_several) == kind
    assert len(found.sets) == len({one.name for one in found.sets}) >= 3


def test_of_too_few_sets_the_table_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    path.write_text(shipped.shipped(made_up(known, ("digits", "watch"))))
    assert other_sets.like("classify", 3, path) is None
