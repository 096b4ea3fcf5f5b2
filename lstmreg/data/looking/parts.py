"""Finds the column that parts the rows of a table into series, or into sequences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .fields import Field
from .sighting import Parts

#: Columns of these names are a part of the time, and part nothing.
_PARTS_OF_TIME = {
    "hour",
    "hr",
    "minute",
    "min",
    "second",
    "sec",
    "month",
    "mnth",
    "mon",
    "day",
    "weekday",
    "week",
    "dow",
}
_PARTS_OF_TIME |= {"dayofweek", "year", "yr"}

#: A whole sequence belongs to what columns of these names say.
_OWNERS = {
    "subject",
    "patient",
    "person",
    "user",
    "participant",
    "group",
    "speaker",
    "animal",
    "rider",
    "driver",
    "device",
}

#: Names of columns that tell sequences apart.
_SEQUENCES = frozenset(
    ("id", "case", "seq", "sequence", "recording", "trial", "sample", "session", "example", "instance", "segment")
)


def _without_id(name: str) -> str:
    lower = name.strip().lower()
    return lower if lower == "id" else lower.removesuffix("id").rstrip("_ ")


def is_sequence(name: str) -> bool:
    """Tell whether a column's name is one of those that tell sequences apart, perhaps with id behind it."""
    return _without_id(name) in _SEQUENCES


def is_owner(name: str) -> bool:
    """Tell whether a column's name is one of those for whom a sequence belongs to."""
    return _without_id(name) in _OWNERS


def _is_part_of_time(name: str) -> bool:
    return name.strip().lower() in _PARTS_OF_TIME


def series_of(fields: Sequence[Field], times: NDArray[np.float64]) -> Parts | None:
    """Return the column within which time rises where it does not across; text rather than numbers, and few values.

    Args:
        fields: The columns but that of the times.
        times: Of each row, ``(N,)``.
    """
    which, counts = np.unique(times, return_inverse=True, return_counts=True)[1:]
    most = int(counts.max())
    if most < 2 or counts[counts > 1].sum() <= len(times) / 2:
        return None
    found = []
    for field in fields:
        distinct = len(field.words)
        if field.missing or not 2 <= distinct <= len(times) / 2 or _is_part_of_time(field.name):
            continue
        is_number = field.values is not None
        if is_number and (not field.is_whole or distinct > 3 * most):
            continue
        alone = len(np.unique(which * distinct + field.codes))
        if alone >= 0.95 * len(times):
            found.append((alone < len(times), is_number, distinct, field.name))
    if not found:
        return None
    names = [name for *_, name in sorted(found)]
    return parts_by(next(field for field in fields if field.name == names[0]), fields, others=names[1:])


def sequences_of(fields: Sequence[Field]) -> Parts | None:
    """Return the column whose values each come in one run of rows, within which other columns do not change.

    Where none changes along with it, the column's name must say that it tells sequences apart. Of several the one with
    most values: those of the others hold several sequences each.
    """
    found = []
    for field in fields:
        rows, distinct = len(field.codes), len(field.words)
        is_name = field.values is None or field.is_whole
        if field.missing or not is_name or not 2 <= distinct <= rows / 2 or _is_part_of_time(field.name):
            continue
        if 1 + int((np.diff(field.codes) != 0).sum()) == distinct:
            parts = parts_by(field, fields)
            if parts.labels or is_sequence(field.name):
                found.append(parts)
    if not found:
        return None
    best = max(found, key=lambda parts: parts.count)
    return parts_by(
        next(field for field in fields if field.name == best.name),
        fields,
        others=[parts.name for parts in found if parts is not best and parts.count == best.count],
    )


def parts_by(field: Field, fields: Sequence[Field], others: Sequence[str] = ()) -> Parts:
    """Return the parts that a column makes, and which other columns have one value in each."""
    sizes = np.bincount(field.codes[field.codes >= 0])
    order = np.argsort(field.codes, kind="stable")
    same = np.diff(field.codes[order]) == 0
    labels = []
    for other in fields:
        is_fit = other.name not in (field.name, *others) and len(other.words) >= 2
        if is_fit and not np.diff(other.codes[order])[same].any():
            one_to_one = len(other.words) == len(field.words)
            if not one_to_one or (other.values is not None and not other.is_whole):
                labels.append(other.name)
    return Parts(field.name, len(sizes), int(sizes.min()), int(sizes.max()), tuple(labels), tuple(others))
