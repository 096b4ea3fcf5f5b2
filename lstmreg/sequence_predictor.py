"""A network with what it needs to predict sequences in their own units, saved and loaded as one."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from lstmreg import models
from lstmreg.config import DataConfig
from lstmreg.data.encoding import SequenceEncoder
from lstmreg.data.sequences import READING, Sequences, from_arrays, read_sequences
from lstmreg.data.sources.columns import Table
from lstmreg.data.sources.frame import from_frame
from lstmreg.data.sources.raw import Kind, WithoutTargetsError
from lstmreg.data.sources.unlabelled import Untargeted, files_of, open_labelled, open_unlabelled
from lstmreg.data.vocabulary import notes_on_unknown
from lstmreg.data.windows import Scaler
from lstmreg.errors import ConfigError, DataError
from lstmreg.interop.raw import Raw
from lstmreg.intervals import Calibration
from lstmreg.models import Ensemble, Network
from lstmreg.predictions import STEP, Predictions, free_heading
from lstmreg.predictive import Found, Predictive, number_columns

#: A file or folder by its path; a long table as a data frame; arrays as :func:`from_arrays` takes them; or sequences.
Source = Any

_TASKS = ("classify", "regress", "label")


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
        calibration: What intervals are made of, if known: a score for each target, or one of the true class.

    Raises:
        ValueError: If the network has other sizes, or predicts at other steps.
    """

    network: Network | Ensemble
    task: str
    encoder: SequenceEncoder
    target_names: tuple[str, ...]
    reading: Mapping[str, Any] = field(default_factory=dict)
    val_loss: float | None = None
    calibration: Calibration | None = field(default=None, repr=False)

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
        if self.calibration is not None:
            self.calibration.check_size(1 if encoder.classes else encoder.output_size)
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

    # ---------------------------------------------------------------- with intervals

    def predictions(
        self,
        source: Source,
        *,
        history: bool = False,
        labels: str | None = None,
        samples: int = 0,
        seed: int = 0,
        confidence: float | None = None,
    ) -> Predictions:
        """Predict as :meth:`predict` does, as a table with names, probabilities and intervals, and the truth if known.

        Args:
            source: As for :meth:`predict`.
            history: Must be false: a sequence is predicted as a whole, and not from each of its steps on.
            labels: Of a folder of files, the table of labels that holds the truth. Default: one inside that is called
                as that of the training.
            samples: So many times with masks drawn anew: their mean is the prediction, their quantiles the interval, of
                classes that of their probabilities. 0: without masks; what is said of a sequence then has an interval
                from the validation cases, if the model has been calibrated, and of classes a set.
            seed: Decides the masks.
            confidence: Of the intervals and sets. Default: 0.95, where there are enough validation cases for it.

        Raises:
            ConfigError: If ``history`` is asked for, the model has no dropout to draw masks of, or too few cases for
                such a confidence.
            DataError: As :meth:`predict`.
        """
        if history:
            raise ConfigError(f"--history is of forecasts; to {self.task}, leave it out.")
        predictive = Predictive(self.network, self.calibration, samples, seed, confidence)
        sequences, truth, without = self._with_truth(source, labels)
        inputs, lengths = self.encoder.inputs_of(sequences)
        ask = predictive.shares if self.classes else predictive.numbers
        found = ask(
            torch.from_numpy(inputs),
            None if lengths is None else torch.from_numpy(lengths),
            lambda outputs, part: self.encoder.decoded(outputs, sequences.lengths[part]),
        )
        found = found._replace(notes=(*notes_on_unknown(self.encoder.unknown(sequences)), *without, *found.notes))
        names, steps = sequences.names, {}
        if self.encoder.at_steps:
            counts = sequences.lengths
            within = np.arange(int(counts.max())) < counts[:, None]
            found = found.of_rows(within)
            names = tuple(name for name, count in zip(names, counts.tolist(), strict=True) for _ in range(count))
            steps = {STEP: np.concatenate([np.arange(1, count + 1) for count in counts.tolist()])}
        if self.classes:
            return self._shares(names, steps, found, predictive, truth)
        columns, bands = number_columns(self.target_names, found)
        if truth is not None:
            headings = [free_heading(f"{name}_true", columns) for name in self.target_names]
            columns |= {heading: truth[:, k] for k, heading in enumerate(headings)}
            bands = tuple(dataclasses.replace(b, truth=heading) for b, heading in zip(bands, headings, strict=True))
        return Predictions(names, {**_apart(steps, columns), **columns}, bands=bands, notes=found.notes)

    def _shares(
        self,
        names: tuple[str, ...],
        steps: Mapping[str, NDArray[Any]],
        found: Found,
        predictive: Predictive,
        truth: NDArray[Any] | None,
    ) -> Predictions:
        """Return the most probable class of each row, the probability of each, and the set that holds the true one."""
        classes = np.array(self.classes, dtype=object)
        shares = tuple(f"P({name})" for name in self.classes)
        columns, _ = number_columns(shares, found)
        target, least = self.target_names[0], None
        notes = found.notes
        if not predictive.samples and not self.encoder.at_steps:
            least, more = predictive.least_share()
            notes = (*notes, *more)
        sets = {}
        if least is not None:
            held = (found.values >= least) | (found.values == found.values.max(axis=1, keepdims=True))
            sets = {f"{target}_set": np.array([" | ".join(classes[row]) for row in held], dtype=object)}
        predicted = {target: classes[found.values.argmax(axis=1)]}
        columns = {**predicted, **sets, **columns}
        heading = None
        if truth is not None:
            heading = free_heading(f"{target}_true", columns)
            columns[heading] = truth
        columns = {**_apart(steps, columns), **columns}
        return Predictions(names, columns, shares=shares, truth=heading, notes=notes)

    def raw(self) -> Raw:
        """Return the network with its scales, and the softmax of classes, as one module, which takes raw sequences.

        In a column of tokens go in their numbers, which ``about`` lists; what training has not seen is 0.
        """
        encoder = self.encoder
        mean, scale = encoder.inputs.mean.copy(), encoder.inputs.scale.copy()
        for column in encoder.vocabularies:
            mean[column], scale[column] = 0.0, 1.0
        numbers = {
            name: {token: k + 1 for k, token in enumerate(tokens) if encoder.seen[name][k]}
            for name, tokens in encoder.tokens.items()
        }
        about = {
            "task": self.task,
            "features": list(self.features),
            "targets": list(self.target_names),
            "classes": list(self.classes),
            "tokens": numbers,
        }
        outputs = (None, None) if encoder.targets is None else (encoder.targets.mean, encoder.targets.scale)
        return Raw(self.network, mean, scale, *outputs, has_lengths=True, about=about)

    def calibrated(self, calibration: Calibration) -> SequencePredictor:
        """Return the same with intervals."""
        return dataclasses.replace(self, calibration=calibration)

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
            return self._read(*open_unlabelled(self._data(os.fspath(source))))
        if hasattr(source, "columns") and not isinstance(source, (list, tuple, np.ndarray)):
            config = self._data("the frame")
            return self._read(config, Untargeted(from_frame(source, config), config.targets))
        return self._of_arrays(source)

    def _read(self, config: DataConfig, table: Table | None) -> Sequences:
        if table is None:  # what names its own sequences, and need not have a table of labels
            config = dataclasses.replace(config, labels=None)
        # Whatever stands for a target is any number of each sequence.
        sequences = read_sequences(config, "regress", table, is_labelled=False)
        self._check_features(sequences)
        return sequences

    def _with_truth(self, source: Source, labels: str | None) -> tuple[Sequences, NDArray[Any] | None, tuple[str, ...]]:
        """Return sequences, the truth of each or of each step where it is known, and what is to be said of it."""
        if isinstance(source, Sequences):
            sequences = self.sequences(source)
            return sequences, self._truth_of(sequences), ()
        given = self._labelled(source, labels)
        if given is None:
            return self.sequences(source), None, ()
        try:
            found = self._read_labelled(*given)
        except WithoutTargetsError:
            return self.sequences(source), None, ()
        except DataError as error:
            if labels is not None:
                raise
            return self.sequences(source), None, (f"Without the truth: {error}",)
        return found, self._truth_of(found), ()

    def _labelled(self, source: Source, labels: str | None) -> tuple[DataConfig, Table | None] | None:
        if isinstance(source, (str, os.PathLike)):
            return open_labelled(self._data(os.fspath(source)), are_in_files=self.encoder.at_steps, labels=labels)
        if hasattr(source, "columns") and not isinstance(source, (list, tuple, np.ndarray)):
            config = self._data("the frame")
            table = from_frame(source, config)
            return (config, table) if set(config.targets) <= set(table.header) else None
        return None

    def _read_labelled(self, config: DataConfig, table: Table | None) -> Sequences:
        are_numbers = not self.classes if self.encoder.at_steps else None
        sequences = read_sequences(config, cast(Kind, self.task), table, are_numbers=are_numbers)
        self._check_features(sequences)
        path = Path(config.path)
        missing = len(files_of(config, path)) - len(sequences) if table is None and config.labels is not None else 0
        if missing:
            raise DataError(f"{missing} file(s) of {path} have no row in {config.labels}.")
        return sequences

    def _truth_of(self, sequences: Sequences) -> NDArray[Any] | None:
        """Return the targets of sequences, if they are such as are predicted."""
        targets, rows = sequences.targets, len(sequences.inputs) if self.encoder.at_steps else len(sequences)
        are_classes = targets.dtype == object
        if are_classes != bool(self.classes) or len(targets) != rows:
            return None
        if not are_classes and targets.shape[1] != len(self.target_names):
            return None
        return targets

    def _data(self, path: str) -> DataConfig:
        reading = {name: value for name, value in self.reading.items() if name != "group"}  # which training alone needs
        names = self.target_names
        return DataConfig(path, list(names) if len(names) > 1 else names[0], list(self.features), **reading)

    def _of_arrays(self, x: Source) -> Sequences:
        count = len(x)
        missing = str(self.reading.get("missing", "error"))
        return from_arrays(
            x,
            np.zeros(count),
            kind="regress",  # whose targets may be any number
            features=self.features,
            tokens=list(self.encoder.tokens) or None,
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
            **({} if self.calibration is None else {"calibration": self.calibration.about()}),
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
        _check_reading(reading)
        calibration = Calibration.restored(about["calibration"]) if "calibration" in about else None
        predictor = cls(network, about["task"], encoder, names, reading, about["val_loss"], calibration)
        predictor._data("")  # whose rules the reading keeps, or this is where it says so
        return predictor


def _apart(steps: Mapping[str, NDArray[Any]], columns: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the column of steps under a heading that no other column has."""
    return {free_heading(heading, columns): column for heading, column in steps.items()}


def _plain(scaler: Scaler) -> dict[str, list[float]]:
    return {"mean": scaler.mean.tolist(), "scale": scaler.scale.tolist()}


def _scaler(name: str, written: Mapping[str, Any], size: int) -> Scaler:
    mean, scale = (np.array(written[which], dtype=np.float64) for which in ("mean", "scale"))
    are_well = mean.shape == scale.shape == (size,) and np.isfinite([mean, scale]).all() and (scale > 0).all()
    if not are_well:
        raise ValueError(f"the scales of the {name} must be finite and positive, one for each column.")
    return Scaler(mean, scale)


def _check_reading(reading: Mapping[str, Any]) -> None:
    for name, value in reading.items():
        is_well = type(value) is bool if name == "sort" else value is None or isinstance(value, str)
        if name == "tokens" and value is not None:
            is_well = isinstance(value, list) and all(isinstance(text, str) for text in value)
        if not is_well:
            raise TypeError(f"the reading is not understood: {name} is {value!r:.40}.")


def _texts(name: str, written: Any) -> tuple[str, ...]:
    if not isinstance(written, list) or not all(isinstance(text, str) for text in written):
        raise TypeError(f"{name} must be texts, got {written!r:.80}.")
    return tuple(written)
