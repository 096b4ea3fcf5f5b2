"""Sequences, each predicted as a whole or step by step: read from any source, complete and finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstmreg.config import DataConfig
from lstmreg.errors import DataError

from .cells import MISSING, converted
from .choosing import checked_weights, constant_notes, fill_forward, known_columns, numbered
from .sources.arrays import raw_from_arrays
from .sources.columns import Fault, Table
from .sources.door import open_sequences
from .sources.memory import Column, as_text
from .sources.raw import Kind, Raw

#: The settings of :class:`DataConfig` by which another source like the first one is read.
READING = ("time", "sort", "delimiter", "decimal", "thousands", "missing", "sequence", "group", "labels", "tokens")

#: What a source of arrays counts as for its settings.
_ARRAYS = "the arrays"


@dataclass(frozen=True)
class Sequences:
    """Sequences of one or several columns, equally long or not.

    Attributes:
        path: The file or folder that they came from.
        sha256: Of what it holds.
        features: Names of the input columns, D.
        inputs: ``(rows, D)`` float64: all sequences, one after the other.
        starts: ``(N + 1,)`` int64: sequence n is rows ``starts[n]`` to ``starts[n + 1]``, the last one not.
        names: Of the sequences, N.
        targets: To classify ``(N,)`` text; to regress ``(N, O)`` float64; to label ``(rows,)`` text or ``(rows, O)``
            float64, "" or NaN where a step has no label.
        target_names: Names of the targets, O.
        groups: What each sequence belongs to, N.
        times: When each sequence begins, as it stands in the source, N.
        weights: How much each counts, ``(N,)``, positive; ``None`` where all count alike.
        tokens: Of a discrete input column its tokens; ``inputs`` hold the number of each, from 0.
        notes: What the reader did or noticed, one sentence each.
        reading: The settings by which the source was read: those of ``READING``, by name.
    """

    path: str
    sha256: str
    features: tuple[str, ...]
    inputs: NDArray[np.float64]
    starts: NDArray[np.int64]
    names: tuple[str, ...]
    targets: NDArray[Any]
    target_names: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    times: tuple[str, ...] | None = None
    weights: NDArray[np.float64] | None = None
    tokens: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    reading: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many steps each sequence has, ``(N,)``."""
        return np.diff(self.starts)


def read_sequences(
    config: DataConfig,
    kind: Kind,
    table: Table | None = None,
    *,
    are_numbers: bool | None = None,
    is_labelled: bool = True,
) -> Sequences:
    """Read sequences from what ``data.path`` names: a long table, a folder, a .ts or an .npz file.

    Args:
        config: Names source and columns.
        kind: ``classify`` or ``regress`` a sequence, or ``label`` each of its steps.
        table: A long table, such as :func:`from_frame` returns, instead of that which ``config`` names.
        are_numbers: Of ``label``: whether the targets are numbers, or classes. Default: numbers if one has a part
            behind the point, or there are several targets, and else classes; a note says which.
        is_labelled: Whether targets are there. If not, those of the result mean nothing.

    Raises:
        DataError: If the source cannot be read, a column is unknown, a cell is missing (unless ``config.missing``
            handles it) or no number finite in float32, or a target is missing.
    """
    raw = open_sequences(config, kind, table, is_labelled=is_labelled)
    return _completed(raw, config, kind, are_numbers)


def from_arrays(
    x: Any,
    y: Any,
    groups: Any = None,
    *,
    kind: Kind,
    lengths: ArrayLike | None = None,
    starts: ArrayLike | None = None,
    features: Sequence[str] | None = None,
    target_names: Sequence[str] = ("y",),
    names: Sequence[str] | None = None,
    weights: ArrayLike | None = None,
    tokens: Sequence[str] | None = None,
    missing: str = "error",
    are_numbers: bool | None = None,
) -> Sequences:
    """Return arrays of NumPy, tensors of torch, or lists of them as sequences; what is given is not changed.

    Args:
        x: The inputs: ``(N, T, D)`` or ``(N, T)``; a list of N arrays ``(T_n, D)`` or ``(T_n,)``; or ``(rows, D)``
            with ``starts``. NaN is a missing value.
        y: The targets: ``(N,)``, or ``(N, O)`` to regress. Of ``label`` as ``x``: ``(N, T)`` or ``(N, T, O)``, a list
            of N arrays, or a value for each row.
        groups: What each sequence belongs to, ``(N,)``: one group is never on both sides of a split.
        kind: ``classify`` or ``regress`` a sequence, or ``label`` each of its steps.
        lengths: How many steps of each of the padded sequences count, ``(N,)``.
        starts: ``(N + 1,)``: sequence n is rows ``starts[n]`` to ``starts[n + 1]``, the last one not.
        features: Names of the input columns. Default: their numbers, from 0.
        target_names: Names of the targets.
        names: Of the sequences. Default: their numbers, from 0.
        weights: How much each sequence counts, ``(N,)``: positive numbers, of which only the ratios matter.
        tokens: Which of the columns hold numbers of tokens.
        missing: What to do with NaN in ``x``: ``error``, ``ffill`` or ``drop``.
        are_numbers: As for :func:`read_sequences`.

    Raises:
        DataError: If a shape, type, length or number does not fit.

    Example:
        >>> sequences = from_arrays([[0.1, 0.2, 0.4], [0.3, 0.1]], ["up", "down"], kind="classify")
        >>> sequences.lengths
        array([3, 2])
    """
    settings: dict[str, Any] = {"missing": missing, "tokens": None if tokens is None else list(tokens)}
    config = DataConfig(_ARRAYS, target_names[0] if len(target_names) else "y", **settings)
    raw = raw_from_arrays(
        x,
        y,
        kind,
        groups=groups,
        lengths=lengths,
        starts=starts,
        features=features,
        target_names=target_names,
        names=names,
        weights=weights,
        path=_ARRAYS,
    )
    return _completed(raw, config, kind, are_numbers)


# ---------------------------------------------------------------------- from any source


def _completed(raw: Raw, config: DataConfig, kind: Kind, are_numbers: bool | None) -> Sequences:
    features = tuple(dict.fromkeys(config.features)) if config.features is not None else raw.features
    known_columns(config, raw.features, features, raw.path)
    places = [raw.features.index(name) for name in features]
    values = raw.values if features == raw.features else raw.values[:, places]
    tokens: dict[str, tuple[str, ...]] = {}
    for name in config.tokens or []:
        cells = raw.texts[name] if name in raw.texts else as_text(raw.values[:, raw.features.index(name)])
        if name in features:
            values[:, features.index(name)], tokens[name] = numbered(cells)
    targets, target_notes = _targets(raw, config, kind, are_numbers)
    weights, weight_notes = _weights(raw, config)
    values, kept, starts, notes = _complete_rows(raw, config, features, values)
    if kind == "label" and kept is not None:
        targets = targets[kept]
    return Sequences(
        path=raw.path,
        sha256=raw.sha256,
        features=features,
        inputs=values,
        starts=starts,
        names=raw.names,
        targets=targets,
        target_names=raw.target_names,
        groups=raw.groups,
        times=raw.times,
        weights=weights,
        tokens=tokens,
        notes=(*raw.notes, *target_notes, *weight_notes, *notes, *constant_notes(features, values)),
        reading={name: getattr(config, name) for name in READING},
    )


# ---------------------------------------------------------------------- gaps


def _complete_rows(
    raw: Raw, config: DataConfig, features: Sequence[str], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64] | None, NDArray[np.int64], list[str]]:
    """Return the rows without gaps, which of them are left if not all, where each sequence begins, and notes."""
    missing = np.isnan(values)
    if not missing.any():
        return values, None, raw.starts, []
    empty = [name for k, name in enumerate(features) if missing[:, k].all()]
    if empty:
        raise DataError(f"{raw.path}: column {empty[0]!r} has no value at all. Leave it out of data.features.")
    gaps: NDArray[np.bool_] = np.logical_or.reduce(missing, axis=1)
    count, row = int(missing.sum()), int(gaps.argmax())
    if config.missing == "error":
        raise DataError(
            f"{raw.place(row)}, column {features[int(missing[row].argmax())]!r}: a missing value ({count} in all). "
            f"Fill it, or set data.missing to 'ffill' or 'drop'."
        )
    if config.missing == "drop":
        return _without_gaps(raw, values, gaps)
    first = np.repeat(raw.starts[:-1], np.diff(raw.starts))
    fill_forward(values, missing, first)
    left = np.isnan(values)
    if left.any():
        row = int(left.any(axis=1).argmax())
        name = features[int(left[row].argmax())]
        raise DataError(
            f"{raw.place(row)}: sequence {raw.names[raw.sequence_of(row)]!r} begins without a value of column "
            f"{name!r}, and 'ffill' has nothing to fill from. Leave out these rows or the column, or set "
            f"data.missing: drop."
        )
    return values, None, raw.starts, [f"Filled {count} missing cells with the value of the step before."]


def _without_gaps(
    raw: Raw, values: NDArray[np.float64], gaps: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], list[str]]:
    kept = np.flatnonzero(~gaps)
    starts = np.concatenate([[0], np.cumsum(~gaps)])[raw.starts].astype(np.int64)
    empty = np.flatnonzero(np.diff(starts) == 0)
    if len(empty):
        raise DataError(
            f"{raw.path}: sequence {raw.names[int(empty[0])]!r} has a missing cell in every row, and none is left. "
            f"Leave it out ({len(empty)} such in all)."
        )
    return (
        values[kept],
        kept,
        starts,
        [f"Dropped {int(gaps.sum())} rows with missing cells; their neighbours now touch."],
    )


# ---------------------------------------------------------------------- targets


def _targets(raw: Raw, config: DataConfig, kind: Kind, are_numbers: bool | None) -> tuple[NDArray[Any], list[str]]:
    if kind == "regress":
        return _numbers(raw, config, kind), []
    if kind == "label" and are_numbers is not False:
        found = _found_numbers(raw, config) if are_numbers is None else True
        if found:
            note = [] if are_numbers else [f"The labels ({', '.join(raw.target_names)}) are taken as numbers."]
            return _numbers(raw, config, kind), note
    if len(raw.targets) != 1:
        names = ", ".join(raw.target_names)
        raise DataError(f"{raw.path}: a class is one column, and there are {len(raw.targets)} targets ({names}).")
    cells = as_text(raw.targets[0])
    if kind == "classify":
        _check_all_there(raw, [cell in MISSING for cell in cells], raw.target_names[0])
        _check_classes(raw, raw.targets[0])
        return np.array(cells, dtype=object), []
    labels = np.array(["" if cell in MISSING else cell for cell in cells], dtype=object)
    if not (labels != "").any():
        raise DataError(f"{raw.path}: column {raw.target_names[0]!r} has no label at all.")
    classes = len(set(labels.tolist()) - {""})
    note = [f"The labels ({raw.target_names[0]}) are taken as {classes} classes."] if are_numbers is None else []
    return labels, note


def _check_classes(raw: Raw, target: Column) -> None:
    if isinstance(target, np.ndarray) and not (target == np.trunc(target)).all():
        bad = target[target != np.trunc(target)][0]
        raise DataError(f"{raw.path}: classes must be text or whole numbers, got {bad}. A number is to be regressed.")


def _found_numbers(raw: Raw, config: DataConfig) -> bool:
    """Tell whether labels are numbers and not classes: several, or one with a part behind the point."""
    if len(raw.targets) > 1:
        return True
    values = _as_numbers(raw.targets[0], config)
    if isinstance(values, Fault):
        return False
    present = values[~np.isnan(values)]
    return bool((present != np.trunc(present)).any())


def _numbers(raw: Raw, config: DataConfig, kind: Kind) -> NDArray[np.float64]:
    """Return the targets ``(N, O)``, or ``(rows, O)`` of ``label``, where NaN is a step without one."""
    found = []
    for name, target in zip(raw.target_names, raw.targets, strict=True):
        values = _as_numbers(target, config)
        if isinstance(values, Fault):
            raise DataError(
                f"{_target_place(raw, values.row, kind)}, column {name!r}: {values.cell!r} is not a number finite in "
                f"float32, and numbers are to be predicted. Correct it, or classify."
            )
        if kind == "regress":
            _check_all_there(raw, np.isnan(values).tolist(), name)
        elif np.isnan(values).all():
            raise DataError(f"{raw.path}: column {name!r} has no label at all.")
        found.append(values)
    return np.stack(found, axis=1)


def _weights(raw: Raw, config: DataConfig) -> tuple[NDArray[np.float64] | None, list[str]]:
    if raw.weights is None:
        if config.weight is not None:
            raise DataError(f"{raw.path}: has no column {config.weight!r}, which is data.weight. Leave that out.")
        return None, []
    values = _as_numbers(raw.weights, config)
    what = "weight" if config.weight is None else repr(config.weight)
    if isinstance(values, Fault):
        raise DataError(
            f"{raw.place_of_target(values.row)}: {what} is {values.cell!r}, which is no number. Correct it."
        )
    return checked_weights(values, what, raw.place_of_target)


def _as_numbers(target: Column, config: DataConfig) -> NDArray[np.float64] | Fault:
    return converted(target, config.decimal, config.thousands) if isinstance(target, list) else target


def _target_place(raw: Raw, place: int, kind: Kind) -> str:
    return raw.place(place) if kind == "label" else raw.place_of_target(place)


def _check_all_there(raw: Raw, missing: Sequence[bool], name: str) -> None:
    if any(missing):
        n = list(missing).index(True)
        raise DataError(
            f"{raw.place_of_target(n)}: sequence {raw.names[n]!r} has no {name!r} ({sum(missing)} such in all). "
            f"Write one, or leave the sequence out; {', '.join(sorted(MISSING - {''}))} count as missing."
        )
