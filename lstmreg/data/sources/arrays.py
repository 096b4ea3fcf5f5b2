"""Makes sequences of arrays: of NumPy, of torch, of lists, equally long or not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstmreg.data.cells import not_finite
from lstmreg.errors import DataError

from .memory import Column
from .raw import Kind, Raw

#: What stands in whole numbers where a step has no label, as torch's losses take it.
_NO_LABEL = -100

#: The types of numbers that become float64: truth values, whole numbers with and without sign, floats.
_NUMBERS = "biuf"


def raw_from_arrays(
    x: Any,
    y: Any,
    kind: Kind,
    *,
    groups: Any = None,
    lengths: ArrayLike | None = None,
    starts: ArrayLike | None = None,
    features: Sequence[str] | None = None,
    target_names: Sequence[str] = ("y",),
    names: Sequence[str] | None = None,
    weights: Any = None,
    path: str = "the arrays",
    sha256: str | None = None,
) -> Raw:
    """Return arrays as a source of sequences; what is given is not changed.

    Args:
        x: The inputs: ``(N, T, D)`` or ``(N, T)``; a list of N arrays ``(T_n, D)`` or ``(T_n,)``; or ``(rows, D)``
            with ``starts``.
        y: The targets: ``(N,)``, or ``(N, O)`` to regress. Of ``label`` as ``x``: ``(N, T)`` or ``(N, T, O)``, a list
            of N arrays, or a value for each row.
        kind: What the targets belong to.
        groups: What each sequence belongs to, ``(N,)``.
        lengths: How many steps of each of the padded sequences count, ``(N,)``.
        starts: ``(N + 1,)``: sequence n is rows ``starts[n]`` to ``starts[n + 1]``, the last one not.
        features: Names of the input columns. Default: their numbers, from 0.
        target_names: Names of the targets; a single one is numbered where there are several.
        names: Of the sequences. Default: their numbers, from 0.
        weights: How much each sequence counts, ``(N,)``.
        path: What messages call the arrays.
        sha256: Of the file from which they come. Default: of the arrays.

    Raises:
        DataError: If a shape, type, length or number does not fit.
    """
    values, begins, take = _rows(x, lengths, starts, path)
    count = len(begins) - 1
    if kind == "label":
        targets = _targets_of_rows(y, count, len(values), take, path)
    else:
        targets = _columns_of(_plain(y, path, "y"), count, path, "a target for each sequence")
    of_each = None if weights is None else _weights(weights, count, path)
    shown = names if names is not None else range(count)
    return Raw(
        path=path,
        sha256=_sum_of(values, begins, [*targets, *([] if of_each is None else [of_each])])
        if sha256 is None
        else sha256,
        features=_names(features, values.shape[1], path),
        values=values,
        starts=begins,
        names=_texts(shown, count, path, "names"),
        targets=targets,
        target_names=_target_names(target_names, len(targets), path),
        groups=None if groups is None else _texts(groups, count, path, "groups"),
        weights=of_each,
    )


# ---------------------------------------------------------------------- inputs


def _rows(x: Any, lengths: Any, starts: Any, path: str) -> tuple[NDArray[np.float64], NDArray[np.int64], Any]:
    """Return all rows ``(rows, D)``, where each sequence begins, and of padded ones which of ``N * T`` steps count."""
    if starts is not None and lengths is not None:
        raise DataError(f"{path}: starts and lengths together. Give one of them.")
    if _is_list(x):
        if starts is not None or lengths is not None:
            raise DataError(f"{path}: a list of sequences has its own lengths. Leave out starts and lengths.")
        return *_listed(x, path), None
    values = _numbers(x, path, "x")
    if starts is not None:
        if values.ndim != 2:
            raise DataError(f"{path}: with starts, x must have shape (rows, D), got {values.shape}.")
        return values, _checked_starts(starts, len(values), path), None
    if values.ndim not in (2, 3):
        raise DataError(f"{path}: x must have shape (N, T, D) or (N, T), got {values.shape}.")
    values = values if values.ndim == 3 else values[:, :, None]
    count, steps, width = values.shape
    if not values.size:
        raise DataError(f"{path}: x must have a sequence, a step and a column at least, got shape {values.shape}.")
    of_each = np.full(count, steps) if lengths is None else _checked_lengths(lengths, count, steps, path)
    take = (np.arange(steps) < of_each[:, None]).ravel()
    rows = values.reshape(-1, width)
    return (rows if take.all() else rows[take]), _from_lengths(of_each), take


def _is_list(x: Any) -> bool:
    return isinstance(x, (list, tuple)) or (isinstance(x, np.ndarray) and x.ndim == 1 and x.dtype == object)


def _listed(x: Sequence[Any], path: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    if not len(x):
        raise DataError(f"{path}: x has no sequence.")
    parts: list[NDArray[np.float64]] = []
    for n, part in enumerate(x):
        values = _numbers(part, path, f"x[{n}]")
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or (parts and values.shape[1] != parts[0].shape[1]):
            expected = f"(T, {parts[0].shape[1]})" if parts else "(T, D) or (T,)"
            raise DataError(f"{path}: x[{n}] must have shape {expected}, got {values.shape}.")
        if not values.size:
            raise DataError(f"{path}: sequence {n} has no step. Leave it out.")
        parts.append(values)
    return np.concatenate(parts), _from_lengths([len(part) for part in parts])


def _from_lengths(lengths: ArrayLike) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _whole(values: Any, path: str, what: str) -> NDArray[np.int64]:
    array = _plain(values, path, what)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise DataError(f"{path}: {what} must be whole numbers of shape (N,), got {array.dtype} {array.shape}.")
    if (array > np.iinfo(np.int64).max).any():
        raise DataError(f"{path}: {what} must be numbers of rows, got {array.max()}.")
    return array.astype(np.int64)


def _checked_lengths(lengths: Any, count: int, steps: int, path: str) -> NDArray[np.int64]:
    found = _whole(lengths, path, "lengths")
    if len(found) != count:
        raise DataError(f"{path}: lengths must have one number for each of {count} sequences, got {len(found)}.")
    for n in np.flatnonzero((found < 1) | (found > steps)):
        raise DataError(f"{path}: lengths must be between 1 and T={steps}, got {found[n]} for sequence {n}.")
    return found


def _checked_starts(starts: Any, rows: int, path: str) -> NDArray[np.int64]:
    found = _whole(starts, path, "starts")
    if len(found) < 2 or found[0] != 0 or found[-1] != rows:
        ends = f"{found[0]} to {found[-1]}" if len(found) else "none"
        raise DataError(f"{path}: starts must begin with 0 and end with the number of rows, {rows}, got {ends}.")
    for n in np.flatnonzero(found[1:] <= found[:-1]):
        raise DataError(f"{path}: starts must rise, and do not at sequence {n}, which would have no step.")
    return found


# ---------------------------------------------------------------------- targets


def _targets_of_rows(y: Any, count: int, rows: int, take: NDArray[np.bool_] | None, path: str) -> list[Column]:
    """Return the targets of all rows, without those of the padding."""
    if _is_list(y) and len(y) == count and count and np.ndim(y[0]) > 0:
        parts = [_plain(part, path, f"y[{n}]") for n, part in enumerate(y)]
        if len({part.ndim for part in parts}) > 1:
            raise DataError(f"{path}: the arrays of y must have one number of axes, got several.")
        try:
            array = np.concatenate(parts)
        except ValueError:
            raise DataError(f"{path}: the arrays of y must have one width, got several.") from None
    else:
        array = _plain(y, path, "y")
        if (
            take is not None
            and array.ndim > 1
            and array.shape[0] == count
            and array.shape[0] * array.shape[1] == len(take)
        ):
            array = array.reshape(-1, *array.shape[2:])[take]
    if array.dtype.kind == "i" and (array == _NO_LABEL).any():
        array = np.where(array == _NO_LABEL, np.nan, array)
    return _columns_of(array, rows, path, "a target for each step")


def _columns_of(array: NDArray[Any], count: int, path: str, rule: str) -> list[Column]:
    if array.ndim not in (1, 2) or len(array) != count or not array.size:
        raise DataError(f"{path}: y must have {rule}, shape ({count},) or ({count}, O), got {array.shape}.")
    columns = array[:, None] if array.ndim == 1 else array
    return [_column(columns[:, k], path) for k in range(columns.shape[1])]


def _column(values: NDArray[Any], path: str) -> Column:
    if values.dtype.kind == "f":
        _check_finite(values.astype(np.float64), path, "y")
        return values.astype(np.float64)
    return ["" if value is None or value != value else str(value).strip() for value in values.tolist()]


# ---------------------------------------------------------------------- what is in an array


def _plain(values: Any, path: str, what: str) -> NDArray[Any]:
    """Return an array of numbers or text, whatever held it.

    Raises:
        DataError: If it is neither.
    """
    if hasattr(values, "detach"):  # a tensor of torch, which is not imported for that
        tensor = values.detach().cpu()
        values = (tensor.double() if tensor.is_floating_point() else tensor).numpy()
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: {what} is no array ({error}). Give numbers of one shape.") from None
    if array.dtype == object and all(cell is None or isinstance(cell, str) for cell in array.ravel().tolist()):
        return array
    if array.dtype.kind not in _NUMBERS + "U":
        raise DataError(
            f"{path}: {what} must be numbers or text, got {array.dtype}. Convert it first, as by .astype(float)."
        )
    return array


def _numbers(values: Any, path: str, what: str) -> NDArray[np.float64]:
    array = _plain(values, path, what)
    if array.dtype.kind not in _NUMBERS:
        raise DataError(f"{path}: {what} must be numbers, got text. Number its tokens first.")
    found = np.array(array, dtype=np.float64)
    _check_finite(found, path, what)
    return found


def _check_finite(values: NDArray[np.float64], path: str, what: str) -> None:
    place = not_finite(values.ravel())
    if place is not None:
        index = ", ".join(str(int(k)) for k in np.unravel_index(place, values.shape))
        raise DataError(
            f"{path}: {what}[{index}] is {values.ravel()[place]}, which is not finite in float32. Correct it, or make "
            f"it NaN and set data.missing."
        )


def _weights(weights: Any, count: int, path: str) -> NDArray[np.float64]:
    found = _numbers(weights, path, "weights")
    if found.shape != (count,):
        raise DataError(f"{path}: weights must have one number for each of {count} sequences, got shape {found.shape}.")
    return found


def _texts(values: Any, count: int, path: str, what: str) -> tuple[str, ...]:
    if hasattr(values, "detach"):
        values = values.detach().cpu().tolist()
    found = tuple(str(value) for value in (values.tolist() if isinstance(values, np.ndarray) else values))
    if len(found) != count:
        raise DataError(f"{path}: {what} must have one value for each of {count} sequences, got {len(found)}.")
    return found


def _names(names: Sequence[str] | None, width: int, path: str) -> tuple[str, ...]:
    found = tuple(map(str, names if names is not None else range(width)))
    if len(found) != width or len(set(found)) != width:
        raise DataError(f"{path}: the names of the columns must be {width} different ones, got {', '.join(found)}.")
    return found


def _target_names(names: Sequence[str], width: int, path: str) -> tuple[str, ...]:
    if len(names) == 1 and width > 1:
        return tuple(f"{names[0]} {k}" for k in range(width))
    return _names(names, width, path)


def _sum_of(values: NDArray[np.float64], starts: NDArray[np.int64], targets: Sequence[Column]) -> str:
    digest = hashlib.sha256()
    for array in (values, starts):
        digest.update(f"{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    for target in targets:
        digest.update(target.tobytes() if isinstance(target, np.ndarray) else "\0".join(target).encode())
    return digest.hexdigest()
