"""Scales sequences and their targets by what the training ones show, and says what a network's outputs mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmreg.errors import DataError

from .cases import Cases
from .sequences import Sequences
from .vocabulary import Unknown, Vocabulary, refuse_strangers
from .windows import Scaler

#: The class of a step that has none, as the losses know it.
_NO_CLASS = -100


@dataclass(frozen=True, eq=False)
class SequenceEncoder:
    """What the training sequences decide.

    Attributes:
        features: Names of the input columns, D.
        inputs: Mean and standard deviation of each over the steps of the training sequences; of tokens 0 and 1.
        tokens: Of a column of tokens all that there are.
        seen: Which of them the training sequences have; the others are 0 to a network, unknown.
        classes: Names of the classes, C, if it is classes that are predicted.
        counts: How many training targets each class has, ``(C,)``.
        targets: Mean and standard deviation of each target over the training ones, if they are numbers.
        at_steps: Whether every step has a target, or the sequence as a whole.
    """

    features: tuple[str, ...]
    inputs: Scaler
    tokens: Mapping[str, tuple[str, ...]]
    seen: Mapping[str, NDArray[np.bool_]]
    classes: tuple[str, ...]
    counts: NDArray[np.int64]
    targets: Scaler | None
    at_steps: bool

    @classmethod
    def fit(
        cls, sequences: Sequences, train: NDArray[np.int64], classes: tuple[str, ...], *, at_steps: bool
    ) -> SequenceEncoder:
        """Look at the sequences that train, and at no other.

        Args:
            sequences: All of them.
            train: Numbers of those that train.
            classes: Names of the classes; none if numbers are predicted.
            at_steps: Whether every step has a target.

        Raises:
            DataError: If a target has no value in training.
        """
        rows = rows_of(sequences, train)
        values = sequences.inputs[rows]
        seen = {}
        for name, tokens in sequences.tokens.items():
            column = sequences.features.index(name)
            seen[name] = Vocabulary.fit(tokens, values[:, column]).seen
            values[:, column] = 0.0
        targets = sequences.targets[rows if at_steps else train]
        if classes:
            counts = class_counts(numbers_of_classes(targets, classes), len(classes))
            if not counts.any():
                raise DataError(f"{sequences.path}: no step of a training sequence has a label.")
        return cls(
            features=sequences.features,
            inputs=Scaler.fit(values),
            tokens=dict(sequences.tokens),
            seen=seen,
            classes=classes,
            counts=counts if classes else np.empty(0, dtype=np.int64),
            targets=None if classes else _fit_targets(sequences, targets),
            at_steps=at_steps,
        )

    @property
    def output_size(self) -> int:
        """How many outputs a network has: one for each class, or for each target."""
        return len(self.classes) if self.targets is None else self.targets.mean.size

    @property
    def vocabularies(self) -> dict[int, int]:
        """The number of tokens of each column that holds some, by its number."""
        return {self.features.index(name): len(tokens) for name, tokens in self.tokens.items()}

    def encoded(self, sequences: Sequences) -> Cases:
        """Return sequences as a network reads them, those of training or others, padded where lengths differ."""
        inputs, lengths = self.inputs_of(sequences)
        return Cases(inputs, self._targets(sequences), lengths)

    def inputs_of(self, sequences: Sequences) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
        """Return what a network reads, ``(N, T, D)``, and the lengths ``(N,)`` where they differ.

        Raises:
            DataError: If training has seen no token of a column: it is then numbered or written in another way.
        """
        for name in self.tokens:
            refuse_strangers(name, self._vocabulary(name), self._unknown(name, sequences))
        return padded(self._rows(sequences), sequences, 0.0)

    def unknown(self, sequences: Sequences) -> dict[str, tuple[str, ...]]:
        """Return the tokens that training has not seen, of each column that has some."""
        found = {name: self._unknown(name, sequences).tokens for name in self.tokens}
        return {name: tokens for name, tokens in found.items() if tokens}

    def _unknown(self, name: str, sequences: Sequences) -> Unknown:
        column = sequences.inputs[:, self.features.index(name)]
        return self._vocabulary(name).unknown(column, sequences.tokens[name])

    def decoded(self, outputs: NDArray[np.float32], lengths: NDArray[np.int64] | None) -> NDArray[np.float64]:
        """Return what outputs mean: probabilities ``(N, C)``, or numbers ``(N, O)`` in their own units.

        Where every step has a target ``(N, T, C)`` or ``(N, T, O)``, NaN beyond the end of a sequence.
        """
        values = _softmax(outputs.astype(np.float64)) if self.targets is None else self.targets.unscaled(outputs)
        if self.at_steps and lengths is not None:
            values[np.arange(values.shape[1]) >= lengths[:, None]] = np.nan
        return values

    def _rows(self, sequences: Sequences) -> NDArray[np.float32]:
        rows = self.inputs.scaled(sequences.inputs)
        for name in self.tokens:
            column = self.features.index(name)
            rows[:, column] = self._vocabulary(name).encoded(sequences.inputs[:, column], sequences.tokens[name])
        return rows

    def _vocabulary(self, name: str) -> Vocabulary:
        return Vocabulary(self.tokens[name], self.seen[name])

    def _targets(self, sequences: Sequences) -> NDArray[Any]:
        if self.targets is None:
            numbers = numbers_of_classes(sequences.targets, self.classes)
            return padded(numbers, sequences, _NO_CLASS)[0] if self.at_steps else numbers
        scaled = self.targets.scaled(sequences.targets)
        return padded(scaled, sequences, np.nan)[0] if self.at_steps else scaled


def rows_of(sequences: Sequences, cases: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows belong to some of the sequences."""
    chosen = np.zeros(len(sequences), dtype=bool)
    chosen[cases] = True
    return np.repeat(chosen, sequences.lengths)


def padded(rows: NDArray[Any], sequences: Sequences, filling: float) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
    """Return rows as ``(N, T, ...)``, filled at the end of shorter sequences, and the lengths where they differ."""
    lengths = sequences.lengths
    steps = int(lengths.max())
    if (lengths == steps).all():
        return rows.reshape(len(lengths), steps, *rows.shape[1:]), None
    whole = np.full((len(lengths), steps, *rows.shape[1:]), filling, dtype=rows.dtype)
    whole[np.arange(steps) < lengths[:, None]] = rows
    return whole, lengths


def class_names(targets: NDArray[Any]) -> tuple[str, ...]:
    """Return the classes that occur, in the order of their numbers if all are such, else of their names."""
    names = set(targets.tolist()) - {""}
    are_numbers = all(name.removeprefix("-").isascii() and name.removeprefix("-").isdecimal() for name in names)
    return tuple(sorted(names, key=lambda name: (int(name) if are_numbers else 0, name)))


def numbers_of_classes(targets: NDArray[Any], classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the number of each target's class; of what is no class -100."""
    numbers = {name: k for k, name in enumerate(classes)}
    return np.fromiter((numbers.get(name, _NO_CLASS) for name in targets), np.int64, len(targets))


def class_counts(numbers: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Return how often each class occurs, ``(C,)``."""
    return np.bincount(numbers[numbers >= 0], minlength=classes).astype(np.int64)


def _fit_targets(sequences: Sequences, targets: NDArray[np.float64]) -> Scaler:
    fitted = []
    for name, column in zip(sequences.target_names, targets.T, strict=True):
        there = column[~np.isnan(column)]
        if not len(there):
            raise DataError(f"{sequences.path}: no step of a training sequence has a value of {name!r}.")
        fitted.append(Scaler.fit(there))
    return Scaler(np.array([one.mean for one in fitted]), np.array([one.scale for one in fitted]))


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities
