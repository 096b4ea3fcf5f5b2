"""Brings the settings of a layer, as any version of Keras wrote them, into one vocabulary: that of Keras 3.

A layer has a list of what is allowed. A setting that is not on it is refused by name, because whoever ignores what he
does not know changes numbers. Nothing is looked up, imported or executed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lstmreg import activations, constraints, regularizers
from lstmreg.errors import CorruptFileError, did_you_mean

from .dialects import OURS, Dialect, check_origin, short

Settings = dict[str, Any]
Rule = Callable[[Any, Dialect], Any]


@dataclass(frozen=True)
class Rules:
    """What is known of a class: its settings, each with the rule that reads it, and what says nothing here."""

    settings: Mapping[str, Rule]
    defaults: Settings = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)  #: old name to new
    neutral: Settings = field(default_factory=dict)  #: settings that are refused unless they have this value
    ignored: frozenset[str] = frozenset()
    own: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)  #: settings that no Keras has, and their values


def read_settings(name: str, known: Rules, config: Mapping[str, Any], dialect: Dialect) -> Settings:
    """Return the settings of a layer in Keras 3's words, complete with defaults.

    Args:
        name: The layer's class, for messages.
        known: Its rules.
        config: The settings as they are written.
        dialect: Who wrote them.

    Raises:
        CorruptFileError: If a setting is unknown, or has a value that is not understood.
    """
    settings: Settings = dict(known.defaults)
    for written, value in config.items():
        setting = known.renamed.get(written, written)
        try:
            if setting in known.settings:
                settings[setting] = known.settings[setting](value, dialect)
            elif setting in known.neutral:
                if value not in (known.neutral[setting], None):
                    raise ValueError(f"only {known.neutral[setting]!r} is supported, got {short(value)}")
            elif value is not None and not _says_nothing(setting, known):
                raise ValueError(f"unknown setting with the value {short(value)}")
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise CorruptFileError(f"{name}.{str(written)[:60]}: {str(error).rstrip('.')}") from None
    _check_complete(name, known, settings)
    return settings


def check_settings(name: str, known: Rules, settings: Mapping[str, Any]) -> None:
    """See that settings are such as :func:`read_settings` returns, with those of our own.

    Raises:
        CorruptFileError: If one is missing, unknown or has another value.
    """
    for setting, value in settings.items():
        if setting in known.own:
            if value not in known.own[setting]:
                raise CorruptFileError(f"{name}.{setting} must be one of {known.own[setting]}, got {short(value)}")
            continue
        if setting not in known.settings:
            raise CorruptFileError(f"{name}.{str(setting)[:60]}: unknown setting")
        try:
            if known.settings[setting](value, OURS) != value:
                raise ValueError(f"has the value {short(value)}")
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise CorruptFileError(f"{name}.{setting}: {error!s:.300}") from None
    _check_complete(name, known, settings)


def _check_complete(name: str, known: Rules, settings: Mapping[str, Any]) -> None:
    missing = sorted(known.settings.keys() - settings.keys())
    if missing:
        raise CorruptFileError(f"{name}: {', '.join(missing)} is missing")


def _says_nothing(name: str, known: Rules) -> bool:
    return name in known.ignored or name in _IGNORED or name.endswith("_initializer")


# ---------------------------------------------------------------------- rules: what a value may be


def size(value: Any, dialect: Dialect) -> int:
    """Read a positive whole number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or not 0 < value < 1 << 31:
        raise ValueError(f"must be a positive whole number, got {short(value)}")
    return int(value)


def integer(value: Any, dialect: Dialect) -> int:
    """Read a whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 1 << 31:
        raise ValueError(f"must be a whole number, got {short(value)}")
    return value


def number(value: Any, dialect: Dialect) -> float:
    """Read a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"must be a finite number, got {short(value)}")
    return float(value)


def rate(value: Any, dialect: Dialect) -> float:
    """Read a probability below 1."""
    found = number(0.0 if value is None else value, dialect)
    if not 0 <= found < 1:
        raise ValueError(f"must be in [0, 1), got {short(value)}")
    return found


def flag(value: Any, dialect: Dialect) -> bool:
    """Read true or false."""
    if value not in (True, False, None):
        raise ValueError(f"must be true or false, got {short(value)}")
    return bool(value)


def seed(value: Any, dialect: Dialect) -> int | None:
    """Read a seed, where it gives the masks that it gave."""
    # Before Keras 3.8 a seed gives other masks, so that it would promise what it cannot keep.
    return integer(value, dialect) if isinstance(value, int) and dialect.number >= (3, 8) else None


def sizes(value: Any, dialect: Dialect) -> list[int]:
    """Read a list of whole numbers."""
    if not isinstance(value, list) or len(value) > 8:
        raise ValueError(f"must be a list of whole numbers, got {short(value)}")
    return [integer(item, dialect) for item in value]


def length(value: Any, dialect: Dialect) -> int:
    """Read the only number of a list, or a number."""
    return size(value[0] if isinstance(value, list) and len(value) == 1 else value, dialect)


def stride(value: Any, dialect: Dialect) -> int | None:
    """Read a number, or nothing."""
    return None if value is None else length(value, dialect)


def axes(value: Any, dialect: Dialect) -> list[int]:
    """Read whole numbers, or one."""
    return sizes(value if isinstance(value, list) else [value], dialect)


def one_of(*allowed: Any) -> Rule:
    """Return the rule that reads one of some values."""

    def rule(value: Any, dialect: Dialect) -> Any:
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(map(repr, allowed))}, got {short(value)}")
        return value

    return rule


def activation(value: Any, dialect: Dialect) -> str:
    """Return the name of an activation among ours, with the meaning that it had in the version."""
    if isinstance(value, dict):  # Keras 3 writes its own functions so at times
        check_origin(value.get("class_name"), value.get("module"), value.get("registered_name"))
        value = value.get("config") if value.get("class_name") == "function" else value.get("class_name")
    if value is None:
        return "linear"
    if not isinstance(value, str):
        raise ValueError(f"must be the name of an activation, got {short(value)}")
    name = _OTHER_NAMES.get(value, value)
    if name == "hard_sigmoid" and dialect.number < (3, 0):
        return "keras2_hard_sigmoid"
    if (name == "keras2_hard_sigmoid" and dialect != OURS) or name not in activations.ACTIVATIONS:
        raise ValueError(f"unknown activation {value[:60]!r}{did_you_mean(name, activations.ACTIVATIONS)}")
    return name


_OTHER_NAMES = {
    "swish": "silu",
    "hard_swish": "hard_silu",
    "softmax_v2": "softmax",  # TensorFlow's own names of its functions
    "log_softmax_v2": "log_softmax",
}


def regularizer(value: Any, dialect: Dialect) -> Settings | None:
    """Read a regularizer as Keras 3 describes it."""
    return regularizers.serialize(regularizers.get(_described(value, _OLD_REGULARIZERS), "regularizer"))


def constraint(value: Any, dialect: Dialect) -> Settings | None:
    """Read a constraint as Keras 3 describes it."""
    if isinstance(value, dict) and value.get("name") == "MaxNorm" and "m" in value:  # Keras 1
        value = {**value, "max_value": value["m"]}
        del value["m"]
    return constraints.serialize(constraints.get(_described(value, {}), "constraint"))


_OLD_REGULARIZERS = {"WeightRegularizer": "L1L2", "ActivityRegularizer": "L1L2", "L1L2Regularizer": "L1L2"}
_OLD_REGULARIZERS |= {"L1Regularizer": "L1", "L2Regularizer": "L2"}


def _described(value: Any, old_names: Mapping[str, str]) -> Any:
    """Return the description of an object as ``identifiers.resolve`` reads it; Keras 1 wrote it flat."""
    if not isinstance(value, dict):
        if value is not None and not isinstance(value, str):
            raise ValueError(f"must be a description of an object, got {short(value)}")
        return value
    if "class_name" not in value and "name" in value:
        value = {"class_name": value["name"], "config": {k: v for k, v in value.items() if k != "name"}}
    check_origin(value.get("class_name"), value.get("module"), value.get("registered_name"))
    name = str(value.get("class_name"))
    config = value.get("config")
    if config is not None and not isinstance(config, dict):
        raise ValueError(f"has no settings that are understood: {short(config)}")
    return {"class_name": old_names.get(name, name), "config": config}


def noise_shape(value: Any, dialect: Dialect) -> list[int | None] | None:
    """Read a shape that may be open."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > 8:
        raise ValueError(f"must be a list of whole numbers and null, got {short(value)}")
    return [None if each is None else size(each, dialect) for each in value]


def optional_number(value: Any, dialect: Dialect) -> float | None:
    """Read a finite number, or nothing."""
    return None if value is None else number(value, dialect)


def anything(value: Any, dialect: Dialect) -> Any:
    """Leave a value to whoever reads it."""
    return value


# ---------------------------------------------------------------------- what many layers share

#: Says nothing about numbers: shapes come from the weights, and weights are never drawn.
_IGNORED = frozenset(
    [
        "name",
        "trainable",
        "dtype",
        "batch_input_shape",
        "batch_shape",
        "input_shape",
        "input_dtype",
        "input_dim",
        "input_length",
        "batch_size",
        "dynamic",
        "sparse",
        "ragged",
        "optional",
        "build_config",
        "init",
        "inner_init",
        "forget_bias_init",
        "weights",
        "unit_forget_bias",
        "implementation",
        "consume_less",
        "unroll",
        "use_cudnn",
        "quantization_config",
        "seed",
        "autocast",
        "shared_object_id",
        "gamma_init",
        "beta_init",
    ]
)

DATA_FORMAT = {"data_format": "channels_last"}

WEIGHTED: dict[str, Rule] = {
    "kernel_regularizer": regularizer,
    "bias_regularizer": regularizer,
    "kernel_constraint": constraint,
    "bias_constraint": constraint,
}
OLD_WEIGHTED = {
    "W_regularizer": "kernel_regularizer",
    "b_regularizer": "bias_regularizer",
    "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint",
    "output_dim": "units",
    "bias": "use_bias",
}

ACTIVITY: dict[str, Rule] = {"activity_regularizer": regularizer}
