"""A network with what it needs to predict sequences in their own units, saved and loaded as one."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from lstmreg import models
from lstmreg.config import DataConfig
from lstmreg.data.encoding import SequenceEncoder
from lstmreg.data.sequences import READING, Sequences, from_arrays, read_sequences
from lstmreg.data.sources.columns import Columns, Table
from lstmreg.data.sources.door import open_table
from lstmreg.data.sources.frame import from_frame
from lstmreg.data.sources.raw import Kind
from lstmreg.data.windows import Scaler
from lstmreg.errors import DataError
from lstmreg.models import Ensemble, Network

#: A file or folder by its path; a long table as a data frame; arrays as :func:`from_arrays` takes them; or sequences.
Source = Any

_TASKS = ("classify", "regress", "label")

#: What stands where a source need not have a target.
_ANY_TARGET = "0"

#: Endings of files that are a table, in which the column of the target may be missing.
_TABLES = (".csv", ".tsv", ".tab", ".txt", ".gz", ".parquet", ".pq")


@dataclass(frozen=True, eq=False)
class SequencePredictor:
    """Predicts sequences: scales them, pads them, and undoes the scales of what a network makes of them.

    ``lstmreg fit`` and ``lstmreg search`` save one where the task is classify, regress or label; :func:`lstmreg.load`
    returns it.

    Args:
        network: Reads sequences ``(B, T, D)``, scaled, with lengths where they differ.
        task: ``classify``, ``regress`` or ``label``.
        encoder: Columns, tokens, classes and scales, as the training sequences gave them.
        target_names: Names of the targets.
        reading: How a file like that of the training is read: settings of :class:`DataConfig` by name.
        val_loss: Of the training, if known.

    Raises:
        ValueError: If the network has other sizes, or predicts at other steps.
    """

    network: Network | Ensemble
    task: str
    encoder: SequenceEncoder
    target_names: tuple[str, ...]
    reading: Mapping[str, Any] = field(default_factory=dict)
    val_loss: float | None = None

    def __post_init__(self) -> None:
        encoder, network = self.encoder, self.network
        for name, got, expected in (
            ("input_size", network.input_size, len(encoder.features)),
            ("output_size", network.output_size, encoder.output_size),
            ("steps", network.steps, "all" if encoder.at_steps else "last"),
            ("vocabularies", network.vocabularies, encoder.vocabularies),
            ("number of scales", encoder.inputs.scale.size, len(encoder.features)),
        ):
            if got != expected:
                raise ValueError(f"{name} must be {expected}, as the columns and the targets are, got {got}.")
        if self.task not in _TASKS or encoder.at_steps != (self.task == "label"):
            raise ValueError(f"task must be one of {', '.join(_TASKS)}, and label at every step, got {self.task!r}.")
        if network.config.stateful:
            raise ValueError("the network must not be stateful: each sequence begins with zeros.")

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the input columns, D."""
        return self.encoder.features

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, C; none where numbers are predicted."""
        return self.encoder.classes

    def predict(self, source: Source) -> NDArray[Any] | list[NDArray[Any]]:
        """Predict each sequence, or each of its steps.

        Args:
            source: The path of a file or folder such as that of the training, whose column of targets may be missing in
                a table; a long table as a data frame; an array ``(N, T, D)`` or a list of arrays ``(T_n, D)``, with the
                columns in the order of :attr:`features`; or :class:`Sequences`.

        Returns:
            To classify the names of the classes, ``(N,)``; to regress numbers ``(N, O)``; to label a list with
            ``(T_n,)`` names or ``(T_n, O)`` numbers of each sequence.

        Raises:
            DataError: If a column is missing, or a value is.
        """
        sequences = self.sequences(source)
        values = self.values(sequences)
        if self.classes:
            values = np.array(self.classes, dtype=object)[np.nan_to_num(values, nan=-1.0).argmax(axis=-1)]
        predicted: NDArray[Any] | list[NDArray[Any]] = self._parted(values, sequences)
        return predicted

    def predict_proba(self, source: Source) -> NDArray[np.float64] | list[NDArray[np.float64]]:
        """Return the probability of each class ``(N, C)``, or to label a list of ``(T_n, C)``; classes as in
        :attr:`classes`.

        Raises:
            DataError: As :meth:`predict`.
            ValueError: If numbers are predicted, which have none.
        """
        if not self.classes:
            raise ValueError(f"probabilities are those of classes, and {', '.join(self.target_names)} is a number.")
        sequences = self.sequences(source)
        predicted: NDArray[np.float64] | list[NDArray[np.float64]] = self._parted(self.values(sequences), sequences)
        return predicted

    def values(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return probabilities ``(N, C)`` or numbers ``(N, O)``; to label with an axis of steps, NaN beyond the end."""
        inputs, lengths = self.encoder.inputs_of(sequences)
        given = None if lengths is None else torch.from_numpy(lengths)
        outputs = models.outputs(self.network, torch.from_numpy(inputs), given).numpy()
        return self.encoder.decoded(outputs, sequences.lengths)

    def _parted(self, values: NDArray[Any], sequences: Sequences) -> Any:
        if not self.encoder.at_steps:
            return values
        return [each[:length] for each, length in zip(values, sequences.lengths.tolist(), strict=True)]

    # ---------------------------------------------------------------- sources

    def sequences(self, source: Source) -> Sequences:
        """Read a source as the training's was read; targets need not be known.

        Raises:
            DataError: If a column is missing, or a value is.
        """
        if isinstance(source, Sequences):
            self._check_features(source)
            return source
        if isinstance(source, (str, os.PathLike)):
            config = self._data(os.fspath(source))
            is_table = config.path.lower().endswith(_TABLES) and not os.path.isdir(config.path)
            table = _Untargeted(open_table(config), config.one_target) if is_table else None
            return self._read(config, table)
        if hasattr(source, "columns") and not isinstance(source, (list, tuple, np.ndarray)):
            config = self._data("the frame")
            return self._read(config, _Untargeted(from_frame(source, config), config.one_target))
        return self._of_arrays(source)

    def _read(self, config: DataConfig, table: Table | None) -> Sequences:
        are_numbers = not self.classes if self.encoder.at_steps else None
        sequences = read_sequences(config, cast(Kind, self.task), table, are_numbers=are_numbers)
        self._check_features(sequences)
        return sequences

    def _data(self, path: str) -> DataConfig:
        return DataConfig(path, self.target_names[0], list(self.features), **self.reading)

    def _of_arrays(self, x: Source) -> Sequences:
        count = len(x)
        missing = str(self.reading.get("missing", "error"))
        return from_arrays(
            x,
            np.zeros(count),
            kind="regress",  # whose targets may be any number
            features=self.features,
            tokens=list(self.encoder.tokens),
            missing=missing,
        )

    def _check_features(self, sequences: Sequences) -> None:
        if sequences.features != self.features:
            raise DataError(
                f"{sequences.path}: the columns must be {', '.join(self.features)}, got "
                f"{', '.join(sequences.features)}."
            )
        if set(sequences.tokens) != set(self.encoder.tokens):
            raise DataError(
                f"{sequences.path}: the columns of tokens must be {', '.join(self.encoder.tokens) or 'none'}."
            )

    # ---------------------------------------------------------------- files

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write ``model.json`` and ``model.safetensors`` into a folder, which is made if there is none."""
        models.save(directory, self.network, self.about())

    def about(self) -> dict[str, Any]:
        """Return what ``model.json`` says beside the network: task, columns, tokens, classes, and their scales."""
        encoder = self.encoder
        return {
            "task": self.task,
            "features": list(encoder.features),
            "targets": list(self.target_names),
            "inputs": _plain(encoder.inputs),
            "tokens": {name: list(tokens) for name, tokens in encoder.tokens.items()},
            "seen": {name: seen.tolist() for name, seen in encoder.seen.items()},
            "classes": list(encoder.classes),
            "counts": encoder.counts.tolist(),
            "outputs": None if encoder.targets is None else _plain(encoder.targets),
            "reading": dict(self.reading),
            "val_loss": self.val_loss,
        }

    @classmethod
    def restored(cls, network: Network | Ensemble, about: Mapping[str, Any]) -> SequencePredictor:
        """Make the predictor whose :meth:`about` is given.

        Raises:
            KeyError, TypeError, ValueError: If it is not what :meth:`about` returns.
        """
        features, names = _texts("features", about["features"]), _texts("targets", about["targets"])
        tokens = {name: _texts("tokens", about["tokens"][name]) for name in _texts("tokens", list(about["tokens"]))}
        seen = {name: np.array(about["seen"][name], dtype=bool) for name in tokens}
        if not names or any(name not in features or len(seen[name]) != len(tokens[name]) for name in tokens):
            raise ValueError("targets, and the tokens of columns, must be there.")
        classes = _texts("classes", about["classes"])
        counts = np.array(about["counts"], dtype=np.int64)
        targets = None if classes else _scaler("outputs", about["outputs"], len(names))
        if counts.shape != (len(classes),):
            raise ValueError("counts must be one for each class.")
        encoder = SequenceEncoder(
            features=features,
            inputs=_scaler("inputs", about["inputs"], len(features)),
            tokens=tokens,
            seen=seen,
            classes=classes,
            counts=counts,
            targets=targets,
            at_steps=about["task"] == "label",
        )
        reading = {name: value for name, value in about["reading"].items() if name in READING}
        predictor = cls(network, about["task"], encoder, names, reading, about["val_loss"])
        predictor._data("")  # whose rules the reading keeps, or this is where it says so
        return predictor


class _Untargeted(Table):
    """A table that need not have the column of the target: what stands there is not looked at."""

    def __init__(self, table: Table, target: str) -> None:
        super().__init__(table.path, table.sha256, [*table.header, *([target] if target not in table.header else [])])
        self.unit, self.first = table.unit, table.first
        self._table, self._target = table, target

    def read(self, config: DataConfig, numbers: Sequence[str], texts: Sequence[str] = ()) -> Columns:
        """Read the others, and give any target."""
        columns = self._table.read(config, numbers, [name for name in texts if name != self._target])
        any_target = {self._target: [_ANY_TARGET] * len(columns)} if self._target in texts else {}
        return dataclasses.replace(columns, table=self, texts={**columns.texts, **any_target})

    def _texts(self, names: Sequence[str]) -> Mapping[str, list[str]]:
        return self._table._texts(names)


def _plain(scaler: Scaler) -> dict[str, list[float]]:
    return {"mean": scaler.mean.tolist(), "scale": scaler.scale.tolist()}


def _scaler(name: str, written: Mapping[str, Any], size: int) -> Scaler:
    mean, scale = (np.array(written[which], dtype=np.float64) for which in ("mean", "scale"))
    are_well = mean.shape == scale.shape == (size,) and np.isfinite([mean, scale]).all() and (scale > 0).all()
    if not are_well:
        raise ValueError(f"the scales of the {name} must be finite and positive, one for each column.")
    return Scaler(mean, scale)


def _texts(name: str, written: Any) -> tuple[str, ...]:
    if not isinstance(written, list) or not all(isinstance(text, str) for text in written):
        raise TypeError(f"{name} must be texts, got {written!r:.80}.")
    return tuple(written)
