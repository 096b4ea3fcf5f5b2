"""What versions of Keras did differently under the same settings, and what of it can be kept.

What only further training would notice, and cannot be kept, is told in notes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .dialects import Dialect
from .rules import Settings


def of_gates(
    class_name: str, settings: Settings, config: Mapping[str, Any], dialect: Dialect
) -> tuple[Settings, list[str]]:
    """Return what masks an LSTM or its cell drew, and in what its training differed from what the settings say now."""
    anew = _drops_each_step_anew(class_name, config, settings, dialect)
    drawn = {
        "per_gate_masks": _draws_per_gate(config, dialect),
        "per_gate_input_masks": False if anew else _draws_input_per_gate(config, dialect),
    }
    return drawn, list(_training_notes(config, settings, dialect, anew))


def of_activity(settings: Settings, dialect: Dialect) -> list[str]:
    """Return in what the penalty of a layer's output differed."""
    if settings.get("activity_regularizer") is None or _divides_activity(dialect):
        return []
    return [
        f"Keras {dialect.version} did not divide the activity penalty by the batch size, as Keras does since 3.14 "
        "and lstmreg does: for the same penalty multiply its strength by the batch size"
    ]


def masks_with_states(dialect: Dialect) -> bool:
    """Tell whether a mask goes on to a layer that is also given states; in Keras 3 it does so only if told to."""
    return dialect.number < (3, 0)


def joins_masks_by(dialect: Dialect) -> str:
    """Return which steps are valid behind a layer that merges: where any input is (``or``), or all are (``and``)."""
    return "or" if dialect.number >= (3, 0) else "and"


def zeroes_masked_steps(dialect: Dialect) -> bool:
    """Tell whether ``Bidirectional`` made its sequences zero at masked steps, whatever its layers' settings say."""
    return not dialect.is_standalone


def _draws_per_gate(config: Mapping[str, Any], dialect: Dialect) -> bool:
    """Tell whether recurrent dropout drew a mask for each gate, or one for all four."""
    if dialect.number >= (3, 0):
        return dialect.number >= (3, 8)
    if dialect.number < (2, 0):
        return config.get("consume_less") != "gpu"
    return not (dialect.is_standalone and config.get("implementation") == 2)


def _draws_input_per_gate(config: Mapping[str, Any], dialect: Dialect) -> bool | None:
    """Tell whether dropout drew a mask of the input for each gate; ``None``: where recurrent dropout did, as Keras 3.

    Keras 1 and 2 did so whatever the recurrent dropout was, unless they computed all gates in one product.
    """
    if dialect.number >= (3, 0):
        return None
    return config.get("consume_less") != "gpu" and config.get("implementation") != 2


def _drops_each_step_anew(class_name: str, config: Mapping[str, Any], settings: Settings, dialect: Dialect) -> bool:
    """Tell whether a layer was one for cuDNN in TensorFlow 2, which dropped its whole input before, step by step."""
    activations = settings.get("activation"), settings.get("recurrent_activation")
    return (
        class_name == "LSTM"
        and not dialect.is_standalone
        and dialect.number < (3, 0)
        and activations == ("tanh", "sigmoid")
        and settings["recurrent_dropout"] == 0
        and settings["use_bias"]
        and not config.get("unroll")
        # TensorFlow 1.15 and 2.0 both call themselves 2.2.4-tf; the former computed gate by gate unless told otherwise.
        and (dialect.number >= (2, 3) or config.get("implementation") == 2)
    )


def _training_notes(config: Mapping[str, Any], settings: Settings, dialect: Dialect, anew: bool) -> Iterator[str]:
    """Yield in what the version's training differed from what the settings say now."""
    if settings["dropout"] > 0 and anew:
        surely = "may have dropped" if dialect.number < (2, 3) else "dropped"
        yield f"Keras {dialect.version} {surely} other inputs at each time step; here they are held over time"
    if settings["recurrent_dropout"] > 0 and dialect.number == (3, 0):
        yield "Keras 3.0 drew the masks of recurrent_dropout at the rate of dropout; here they have their own"
    if dialect.number == (1, 2) and config.get("consume_less") != "gpu" and config.get("U_regularizer"):
        yield f"Keras {dialect.version} applied W_regularizer to the recurrent weights; here U_regularizer is"


def _divides_activity(dialect: Dialect) -> bool:
    """Tell whether the penalty of a layer's output was divided by the batch size."""
    if dialect.number >= (3, 0):
        return dialect.number >= (3, 14)
    return not dialect.is_standalone
