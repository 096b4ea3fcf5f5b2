"""The times after a table's end are those that its rows promise, written as they are."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from lstmreg.data.ahead import times_ahead


@pytest.mark.parametrize(
    ("labels", "ahead"),
    [
        (["1", "2", "3"], ["4", "5"]),
        (["0.1", "0.2", "0.3"], ["0.4", "0.5"]),
        (["1700", "1710", "1720"], ["1730", "1740"]),
        (["2024-02-27", "2024-02-28", "2024-02-29"], ["2024-03-01", "2024-03-02"]),
        (["20240227", "20240228", "20240229"], ["20240301", "20240302"]),
        (["2024-10", "2024-11", "2024-12"], ["2025-01", "2025-02"]),
        (["2024-Q2", "2024-Q3", "2024-Q4"], ["2025-Q1", "2025-Q2"]),
        (["2024q2", "2024q3", "2024q4"], ["2025q1", "2025q2"]),
        (["2024-W50", "2024-W51", "2024-W52"], ["2025-W01", "2025-W02"]),
        (["2020W51", "2020W52", "2020W53"], ["2021W01", "2021W02"]),
        (["2023-10-01", "2023-11-01", "2023-12-01"], ["2024-01-01", "2024-02-01"]),
        (["2023-10-31", "2023-11-30", "2023-12-31"], ["2024-01-31", "2024-02-29"]),
        (["2021-01-01", "2022-01-01", "2023-01-01", "2024-01-01"], ["2025-01-01", "2026-01-01"]),
        (["2024-01-01 22:00", "2024-01-01 22:30", "2024-01-01 23:00"], ["2024-01-01 23:30", "2024-01-02 00:00"]),
        (
            ["2024-01-01T22:00:00Z", "2024-01-01T23:00:00Z", "2024-01-02T00:00:00Z"],
            ["2024-01-02T01:00:00Z", "2024-01-02T02:00:00Z"],
        ),
        (
            ["2024-01-01T22:00:00+02:00", "2024-01-01T23:00:00+02:00", "2024-01-02T00:00:00+02:00"],
            ["2024-01-02T01:00:00+02:00", "2024-01-02T02:00:00+02:00"],
        ),
        (["1"], None),
        (["1", "2"], ["3", "4"]),  # the only step that is known
        (["1", "2", "4", "8"], None),
        (["3", "2", "1"], None),
        (["2024-01-01", "2024-01-02", "2024-01-05", "2024-01-11"], None),
        (["a", "b", "c"], None),
        (["9999-12-29", "9999-12-30", "9999-12-31"], None),
    ],
)
def test_times_go_on_as_they_were(labels: list[str], ahead: list[str] | None) -> None:
    assert times_ahead(labels, 2) == ahead


def test_a_gap_is_no_other_step() -> None:
    days = [date(2024, 1, 1) + timedelta(days=n + (3 if n > 6 else 0)) for n in range(20)]
    assert times_ahead([day.isoformat() for day in days], 1) == [(days[-1] + timedelta(days=1)).isoformat()]


def test_working_days_have_no_regular_step() -> None:
    days = [date(2024, 1, 1) + timedelta(days=n) for n in range(40)]
    assert times_ahead([day.isoformat() for day in days if day.weekday() < 5][:28], 1) is None
