"""Which rows changed: compared with a list of those that were."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lstmreg.data.fingerprint import Fingerprint


def of(rows: list[int]) -> Fingerprint:
    return Fingerprint.of(len(rows), lambda first, last: repr(rows[first:last]).encode())


@given(count=st.integers(1, 40), changed=st.sets(st.integers(0, 39)))
def test_rows_that_changed_are_named_in_stretches(count: int, changed: set[int]) -> None:
    changed = {row for row in changed if row < count}
    said = of(list(range(count))).difference(of([-1 if row in changed else row for row in range(count)]))
    if not changed:
        assert said == "no value of the rows in use, but how it is written, or what is not in use"
        return
    first = min(changed)
    last = next(row for row in range(first, count + 1) if row + 1 not in changed)
    stretch = f"{first + 1}" if first == last else f"{first + 1} to {last + 1}"
    assert said.startswith((f"rows {stretch}", f"row {stretch}"))
    assert said.startswith("row ") == (len(changed) == 1) or said.startswith("rows ")


def test_of_many_rows_some_are_taken_together() -> None:
    rows = list(range(2500))
    then = of(rows)
    assert (len(then.digests), then.together) == (625, 4)
    assert then.difference(of([*rows[:9], -1, *rows[10:]])) == "rows 9 to 12 are not the same"
    assert then.difference(of(rows + [0] * 4)) == "2,500 rows then, 2,504 now"
    everywhere = of([-row if row % 100 == 0 else row for row in range(1, 2501)])
    assert "further places" in of(list(range(1, 2501))).difference(everywhere)
    assert then.difference(Fingerprint()) == ""
