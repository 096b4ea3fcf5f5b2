"""Which Keras wrote a description, and what it called its classes; nothing but Keras' own is looked at."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from lstmreg.errors import CorruptFileError


@dataclass(frozen=True)
class Dialect:
    """Which Keras wrote a description."""

    version: str

    @property
    def number(self) -> tuple[int, int]:
        """Major and minor version."""
        major, _, rest = self.version.partition(".")
        return int(major), int(re.match(r"\d*", rest)[0] or 0)  # type: ignore[index]

    @property
    def is_standalone(self) -> bool:
        """Tell whether this is a Keras from before it became TensorFlow's own."""
        return self.number < (2, 4) and "tf" not in self.version


#: The vocabulary into which all others are brought: Keras 3's, and the ``hard_sigmoid`` of Keras 1 and 2.
OURS = Dialect("3.15-lstmreg")


def class_today(class_name: Any, module: Any, registered_name: Any) -> str:
    """Return today's name of the class that a description names; operations are called ``ops.NAME``.

    Raises:
        CorruptFileError: If it is no name, or a class of somebody else's.
    """
    if not isinstance(class_name, str):
        raise CorruptFileError(f"class_name must be a text, got {short(class_name)}")
    check_origin(class_name, module, registered_name)
    if ".ops" in str(module):  # Keras 3 writes down how masks come about
        return f"ops.{class_name}"
    return _CLASSES.get(class_name, class_name)


def refuse_class(class_name: str) -> CorruptFileError:
    """Return why a class cannot be read."""
    reason = _REASONS.get(class_name, "is not among the layers of Keras that lstmreg knows")
    return CorruptFileError(f"{class_name[:80]} {reason}")


def check_origin(class_name: Any, module: Any, registered_name: Any) -> None:
    """Refuse what is not of Keras itself, whatever its name."""
    if module is not None and str(module).split(".")[0] not in ("keras", "tf_keras", "tensorflow"):
        raise CorruptFileError(f"{str(class_name)[:80]} comes from {str(module)[:80]!r} and not from Keras")
    if registered_name is not None and registered_name != class_name:
        raise CorruptFileError(f"{str(class_name)[:80]} is registered as {str(registered_name)[:80]!r}: a custom class")


def short(value: Any) -> str:
    """Return a value as a message can quote it."""
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."


#: Other names of known classes.
_CLASSES = {
    "Model": "Functional",
    "TimeDistributedDense": "Dense",
    "GlobalAvgPool1D": "GlobalAveragePooling1D",
    "GlobalMaxPool1D": "GlobalMaxPooling1D",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
}

_CODE = "would execute code from the file, which lstmreg never does"
_REASONS = {
    "Lambda": _CODE,
    "TFSMLayer": _CODE,
    "TFOpLambda": "is an operation of TensorFlow, not a layer; lstmreg does not read it",
    "SlicingOpLambda": "is an operation of TensorFlow, not a layer; lstmreg does not read it",
    "GRU": "is not an LSTM; lstmreg reads models of LSTM layers",
    "CuDNNGRU": "is not an LSTM; lstmreg reads models of LSTM layers",
    "SimpleRNN": "is not an LSTM; lstmreg reads models of LSTM layers",
    "ConvLSTM2D": "is a convolutional LSTM, which lstmreg does not have",
    "ConvLSTM1D": "is a convolutional LSTM, which lstmreg does not have",
}
