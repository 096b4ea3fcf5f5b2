"""What tasks have in common whose cases are whole sequences."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import DataConfig, ModelConfig, SearchConfig
from lstmreg.data.cases import Cases
from lstmreg.data.encoding import SequenceEncoder
from lstmreg.data.fingerprint import Fingerprint
from lstmreg.data.sequences import Sequences, from_arrays, read_sequences
from lstmreg.data.sources.given import parts_given, table_given
from lstmreg.data.sources.raw import Kind

from .folds import Division, Fold, division
from .task import Split, Splits, Task, Values

if TYPE_CHECKING:
    from lstmreg.models import Ensemble, Network
    from lstmreg.sequence_predictor import SequencePredictor


class SequenceTask(Task):
    """Predicts something of each sequence; a case is a sequence, by its number.

    Args:
        data: The question.
        sequences: The sequences.
    """

    kind: ClassVar[Kind]  #: of their targets
    cases_are: ClassVar[str] = "sequences"
    parts_are: ClassVar[str] = "sequences"
    settings_shown: ClassVar[tuple[str, ...]] = ("split_by", "test_fraction", "group", "tokens", "weight")
    no_leak: ClassVar[str] = (
        "Whole sequences were split (data.split_by), and by group whole groups; scales, known tokens and all else that "
        "was fitted saw the training sequences of its split alone."
    )
    can_leave_out: ClassVar[bool] = True
    at_steps: ClassVar[bool] = False

    def __init__(self, data: DataConfig, sequences: Sequences) -> None:
        self.data, self.sequences = data, sequences
        self.path, self.sha256, self.notes = sequences.path, sequences.sha256, sequences.notes
        self.size = len(sequences)
        self.features, self.target = sequences.features, ", ".join(sequences.target_names)

    def fingerprint(self) -> Fingerprint:
        """Return that of the sequences."""
        sequences = self.sequences
        starts, by_step = sequences.starts, len(sequences.targets) != len(sequences)

        def content(first: int, last: int) -> bytes:
            steps = slice(starts[first], starts[last])
            names = "\n".join(sequences.names[first:last]).encode()
            targets = sequences.targets[steps] if by_step else sequences.targets[first:last]
            return names + sequences.inputs[steps].tobytes() + "\n".join(map(str, targets.tolist())).encode()

        return Fingerprint.of(len(sequences), content, self.parts_are)

    @classmethod
    def read(cls, data: DataConfig, given: Any = None) -> Self:
        """Read the sequences: from a file, a folder, a frame, a dataset, or arrays.

        Arrays are ``(x, y)``, ``(x, y, groups)`` or ``(x, y, groups, weights)``, of which groups may be ``None``. Of
        them ``data.target`` names the target, and ``data.features`` the columns.
        """
        kind = cls.kind
        if given is None:
            return cls(data, read_sequences(data, kind))
        parts = parts_given(given, data)
        if parts is None:
            return cls(data, read_sequences(data, kind, table_given(given, data)))
        x, y, *rest = parts
        groups, weights = [*rest, None, None][:2]
        made = from_arrays(
            x,
            y,
            groups,
            kind=kind,
            features=data.features,
            target_names=data.targets,
            weights=weights,
            tokens=data.tokens,
            missing=data.missing,
        )
        return cls(data, made)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the whole data: which there are is known beforehand, and nothing that is learned."""
        return ()

    @property
    def strata(self) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """What every part of the data is to have its share of: the number of each sequence's, and their names."""
        return np.zeros(len(self.sequences), dtype=np.int64), ("",)

    # ---------------------------------------------------------------- splits

    def splits(self, search: SearchConfig) -> Splits:
        """Divide the sequences by ``data.split_by``; the test is the same as that of a single fit."""
        folds = self._division.folds(search)
        return Splits(blocks=tuple(self._split(fold) for fold in folds), final=self.hold_out())

    def hold_out(self) -> Split:
        """Some are the test, and about as many of the others validate."""
        return self._split(self._division.hold_out())

    @cached_property
    def _division(self) -> Division:
        return division(self.data, self.sequences, *self.strata)

    def _split(self, fold: Fold) -> Split:
        self._check(fold)
        names = self.sequences.names
        return Split(_digest(fold), (names[fold.judged[0]], names[fold.judged[-1]]), *fold)

    def _check(self, fold: Fold) -> None:
        """See that a split can be trained on.

        Raises:
            DataError: If not.
        """

    def labels(self, cases: NDArray[np.int64]) -> list[str]:
        """Return the names of some sequences."""
        return [self.sequences.names[case] for case in cases]

    def groups(self, cases: NDArray[np.int64]) -> list[str]:
        """Return what each of some sequences belongs to."""
        known = self.sequences.groups
        return [] if known is None else [known[case] for case in cases]

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets."""
        return tuple(self.sequences.target_names)

    # ---------------------------------------------------------------- training

    def encoder(self, split: Split) -> SequenceEncoder:
        """Fit scales, known tokens and counts of classes on the sequences that train."""
        return SequenceEncoder.fit(self.sequences, split.train, self.classes, at_steps=self.at_steps)

    def encoded(self, encoder: SequenceEncoder) -> Cases:
        """Return every sequence, scaled, and padded at its end where lengths differ."""
        return encoder.encoded(self.sequences)

    def network(self, model: ModelConfig) -> Network:
        """Return a network that reads the columns and gives an output for each class or target."""
        from lstmreg.models import Network

        features = self.features
        vocabularies = {features.index(name): len(tokens) for name, tokens in self.sequences.tokens.items()}
        outputs = len(self.classes) or len(self.sequences.target_names)
        return Network(model, len(features), outputs, steps=self._steps, vocabularies=vocabularies)

    @property
    def _steps(self) -> Literal["last", "all"]:
        return "all" if self.at_steps else "last"

    # ---------------------------------------------------------------- judging

    def predictions(self, encoder: SequenceEncoder, outputs: NDArray[np.float32], cases: NDArray[np.int64]) -> Values:
        """Return probabilities of the classes, or numbers in their own units."""
        return encoder.decoded(outputs, self.sequences.lengths[cases])

    def weights(self, cases: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Return how much each of some sequences counts."""
        return None if self.sequences.weights is None else self.sequences.weights[cases]

    @abstractmethod
    def floors(self, split: Split, cases: NDArray[np.int64]) -> dict[str, Values]:
        """Return predictions by models without memory, fitted on the sequences that train."""

    def scales(self, encoder: SequenceEncoder, split: Split, cases: NDArray[np.int64]) -> dict[str, Any]:
        """Return the counts of the classes in training, or the scales of the targets."""
        if encoder.targets is None:
            return {"classes": list(encoder.classes), "counts": encoder.counts.tolist()}
        return {"targets": encoder.targets.scale.tolist()}

    # ---------------------------------------------------------------- out

    def predictor(
        self, network: Network | Ensemble, encoder: SequenceEncoder, val_loss: float | None = None
    ) -> SequencePredictor:
        """Return what predicts sequences like those that were read."""
        from lstmreg.sequence_predictor import SequencePredictor

        reading: Mapping[str, Any] = self.sequences.reading
        return SequencePredictor(network, self.name, encoder, self.sequences.target_names, reading, val_loss)


def _digest(fold: Fold) -> tuple[int, ...]:
    """Return numbers that are equal for equal folds."""
    digest = hashlib.sha256()
    for part in fold:
        digest.update(np.array([len(part), *part], dtype="<i8").tobytes())
    return tuple(int.from_bytes(digest.digest()[k : k + 4], "little") for k in (0, 4))
