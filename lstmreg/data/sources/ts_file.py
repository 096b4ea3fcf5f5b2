"""Reads the .ts files of the UCR, UEA and TSER archives, in which a line is a sequence and ``:`` parts its columns."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import DataConfig
from lstmreg.data.cells import converted
from lstmreg.errors import DataError

from .columns import Fault
from .opening import file_bytes
from .raw import Kind, Raw, WithoutTargetsError

_FLAGS = ("timestamps", "missing", "univariate", "equallength", "classlabel", "targetlabel")


@dataclass(frozen=True)
class _Part:
    """What stands in one file.

    Attributes:
        sequences: Arrays ``(T_n, D)``.
        labels: Of each its label.
        lines: Of each its line in the file.
    """

    sequences: list[NDArray[np.float64]]
    labels: list[str]
    lines: list[int]


def pair_of(folder: Path) -> list[Path]:
    """Return the files NAME_TRAIN.ts and NAME_TEST.ts of a folder, or nothing if it has no .ts file.

    Raises:
        DataError: If there is no pair among them, or there are several and none has the folder's name.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix == ".ts")
    pairs = [(f, f.with_name(f.name.replace("_TRAIN.ts", "_TEST.ts"))) for f in files if f.name.endswith("_TRAIN.ts")]
    pairs = [pair for pair in pairs if pair[1] in files]
    pairs = [pair for pair in pairs if pair[0].name == f"{folder.resolve().name}_TRAIN.ts"] or pairs
    if len(pairs) > 1:
        names = ", ".join(train.name for train, _ in pairs)
        raise DataError(f"{folder}: several pairs of .ts files ({names}). Name one file, or a folder with one pair.")
    if files and not pairs:
        raise DataError(
            f"{folder}: no pair NAME_TRAIN.ts and NAME_TEST.ts among its .ts files ({files[0].name}). Name one file."
        )
    return list(pairs[0]) if pairs else []


def sequences_of_ts(config: DataConfig, kind: Kind, files: Sequence[Path], *, is_labelled: bool = True) -> Raw:
    """Read one .ts file, or a pair of them as one set. Where ``is_labelled`` is false, labels are not looked at.

    Raises:
        WithoutTargetsError: If a file has no labels.
        DataError: If a file cannot be read, has time stamps or no labels, or labels of another kind, or if a line is
            no sequence.
    """
    digest = hashlib.sha256()
    parts = []
    for file in files:
        raw = file_bytes(str(file))
        digest.update(raw)
        parts.append(_read(str(file), raw, kind if is_labelled else None))
    widths = {part.sequences[0].shape[1] for part in parts}
    if len(widths) > 1:
        raise DataError(f"{config.path}: {files[0].name} and {files[1].name} have different numbers of columns.")
    sequences = [sequence for part in parts for sequence in part.sequences]
    starts = np.concatenate([[0], np.cumsum([len(s) for s in sequences])]).astype(np.int64)
    places = [(file, line) for file, part in zip(files, parts, strict=True) for line in part.lines]

    def where(row: int) -> str:
        n = int(np.searchsorted(starts, row, side="right")) - 1
        return f"{places[n][0]}, line {places[n][1]}, step {row - int(starts[n])}"

    together = f"{files[0].name} and {files[-1].name} are read as one set of {len(sequences)} sequences."
    return Raw(
        path=config.path,
        sha256=digest.hexdigest(),
        features=tuple(str(k) for k in range(widths.pop())),
        values=np.concatenate(sequences),
        starts=starts,
        names=tuple(str(n) for n in range(len(sequences))),
        targets=[[label if is_labelled else "0" for part in parts for label in part.labels]],
        target_names=(config.one_target if is_labelled else config.targets[0],),
        where=where,
        notes=(together,) if len(files) > 1 else (),
    )


def _read(path: str, raw: bytes, kind: Kind | None) -> _Part:
    if raw.startswith(b"\x1f\x8b"):
        raise DataError(f"{path}: is compressed. Give it unpacked.")
    try:
        lines = raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8. Save the file as UTF-8.") from None
    head, begin = _head(path, lines)
    classes = _check_head(path, head, kind)
    part = _Part([], [], [])
    width: int | None = None
    for number, text in enumerate(lines[begin:], begin + 1):
        if not text.strip() or text.startswith(("#", "%")):
            continue
        where = f"{path}, line {number}"
        cells, label = _labelled(where, text, _has_labels(head))
        sequence = _sequence(where, cells)
        if width is not None and sequence.shape[1] != width:
            raise DataError(f"{where}: {sequence.shape[1]} columns, but the sequences before have {width}.")
        width = sequence.shape[1]
        if classes and label not in classes:
            raise DataError(f"{where}: {label!r} is no class that @classLabel lists ({', '.join(classes[:20])}).")
        part.sequences.append(sequence)
        part.labels.append(label)
        part.lines.append(number)
    if not part.lines:
        raise DataError(f"{path}: no sequence behind @data.")
    return part


def _head(path: str, lines: Sequence[str]) -> tuple[dict[str, list[str]], int]:
    """Return what stands behind each @ before the data, and the number of the first line of these."""
    head: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 1):
        words = line.strip().split()
        if not words or words[0].startswith(("#", "%")):
            continue
        if not words[0].startswith("@"):
            raise DataError(
                f"{path}, line {number}: {words[0][:40]!r} before @data. A .ts file begins with its @ lines."
            )
        name = words[0][1:].lower()
        if name == "data":
            return head, number
        if name in _FLAGS and (len(words) < 2 or words[1].lower() not in ("true", "false")):
            raise DataError(f"{path}, line {number}: {words[0]} must be true or false, got {' '.join(words[1:2])!r}.")
        head[name] = words[1:]
    raise DataError(f"{path}: has no line @data, so it is no .ts file, or only the beginning of one.")


def _is_true(head: dict[str, list[str]], name: str) -> bool:
    return head.get(name, ["false"])[0].lower() == "true"


def _has_labels(head: dict[str, list[str]]) -> bool:
    return _is_true(head, "classlabel") or _is_true(head, "targetlabel")


def _check_head(path: str, head: dict[str, list[str]], kind: Kind | None) -> list[str]:
    """See that the file is one that can be read for a task, or for none; return the classes that it lists."""
    if _is_true(head, "timestamps"):
        raise DataError(
            f"{path}: @timeStamps true; only steps without time stamps are read. Write a long table as CSV."
        )
    if kind is None:
        return []
    if kind == "label":
        raise DataError(f"{path}: a .ts file has one label for each sequence, and none for each step.")
    if not _has_labels(head):
        raise WithoutTargetsError(
            f"{path}: neither @classLabel nor @targetLabel is true: its sequences have no labels."
        )
    if kind == "classify" and not _is_true(head, "classlabel"):
        raise DataError(f"{path}: its labels are numbers (@targetLabel true) and no classes. They are for regression.")
    if kind == "regress" and not _is_true(head, "targetlabel"):
        raise DataError(f"{path}: its labels are classes (@classLabel true) and no numbers. They are to be classified.")
    return head["classlabel"][1:] if kind == "classify" else []


def _labelled(where: str, line: str, has_label: bool) -> tuple[list[str], str]:
    """Part a line into its columns and its label; where it has none, any."""
    if "(" in line:
        raise DataError(f"{where}: '(' begins a time stamp; only steps without time stamps are read.")
    if not has_label:
        return line.strip().split(":"), "0"
    *columns, label = line.strip().split(":")
    if not columns or "," in label:
        raise DataError(f"{where}: no label behind the last ':'.")
    return columns, label.strip()


def _sequence(where: str, columns: Sequence[str]) -> NDArray[np.float64]:
    """Return a sequence ``(T, D)``."""
    found: list[NDArray[np.float64]] = []
    for k, text in enumerate(columns):
        cells = text.split(",")
        if not text.strip():
            raise DataError(f"{where}: column {k} has no step. Leave the sequence out.")
        values = converted(cells)
        if isinstance(values, Fault):
            raise DataError(
                f"{where}, column {k}, step {values.row}: {values.cell!r} is not a number finite in float32. Correct "
                f"it, or write ? for a missing one."
            )
        if found and len(values) != len(found[0]):
            raise DataError(f"{where}: column {k} has {len(values)} steps, and column 0 has {len(found[0])}.")
        found.append(values)
    return np.stack(found, axis=1)
