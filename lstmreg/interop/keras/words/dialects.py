"""Brings the settings of a layer, as any version of Keras wrote them, into one vocabulary: that of Keras 3.

It is a list of what is allowed. A class or a setting that is not on it is refused by name, because whoever ignores what
he does not know changes numbers. Nothing is looked up, imported or executed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lstmreg import activations, constraints, regularizers
from lstmreg.errors import CorruptFileError, did_you_mean

Settings = dict[str, Any]
Rule = Callable[[Any, "Dialect"], Any]


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


@dataclass(frozen=True)
class Kind:
    """What is known of a class: its settings, each with the rule that reads it, and what says nothing here."""

    settings: Mapping[str, Rule]
    defaults: Settings = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)  #: old name to new
    neutral: Settings = field(default_factory=dict)  #: settings that are refused unless they have this value
    ignored: frozenset[str] = frozenset()


def read_settings(kind: str, config: Mapping[str, Any], dialect: Dialect) -> Settings:
    """Return the settings of a layer in Keras 3's words, complete with defaults.

    Raises:
        CorruptFileError: If a setting is unknown, or has a value that is not understood.
    """
    known = KINDS[kind]
    settings: Settings = dict(known.defaults)
    for written, value in config.items():
        name = known.renamed.get(written, written)
        try:
            if name in known.settings:
                settings[name] = known.settings[name](value, dialect)
            elif name in known.neutral:
                if value not in (known.neutral[name], None):
                    raise ValueError(f"only {known.neutral[name]!r} is supported, got {_short(value)}")
            elif value is not None and not _says_nothing(name, known):
                raise ValueError(f"unknown setting with the value {_short(value)}")
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise CorruptFileError(f"{kind}.{str(written)[:60]}: {str(error).rstrip('.')}") from None
    missing = sorted(known.settings.keys() - settings.keys())
    if missing:
        raise CorruptFileError(f"{kind}: {', '.join(missing)} is missing")
    return settings


def check_settings(kind: str, settings: Mapping[str, Any]) -> None:
    """See that settings are such as :func:`read_settings` returns.

    Raises:
        CorruptFileError: If one is missing, unknown or has another value.
    """
    known = KINDS[kind].settings
    for name, value in settings.items():
        if name in OWN_SETTINGS:
            if value not in OWN_SETTINGS[name]:
                raise CorruptFileError(f"{kind}.{name} must be one of {OWN_SETTINGS[name]}, got {_short(value)}")
            continue
        if name not in known:
            raise CorruptFileError(f"{kind}.{str(name)[:60]}: unknown setting")
        try:
            if known[name](value, OURS) != value:
                raise ValueError(f"has the value {_short(value)}")
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise CorruptFileError(f"{kind}.{name}: {error!s:.300}") from None
    missing = sorted(known.keys() - settings.keys())
    if missing:
        raise CorruptFileError(f"{kind}: {', '.join(missing)} is missing")


#: Settings that no Keras has, and what they may be.
OWN_SETTINGS: dict[str, tuple[Any, ...]] = {
    "per_gate_masks": (True, False),
    "per_gate_input_masks": (True, False, None),
    "masks_with_states": (True, False),
    "is_frozen": (True, False),
    "joins_masks_by": ("and", "or"),
    "merge": ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"),
    "operation": (
        *("NotEqual", "LogicalOr", "LogicalAnd", "Any", "All"),
        *("ZerosLike", "OnesLike", "ExpandDims", "Squeeze", "Concatenate"),
    ),
}


def _says_nothing(name: str, kind: Kind) -> bool:
    return name in kind.ignored or name in _IGNORED or name.endswith("_initializer")


def kind_of(class_name: Any, module: Any, registered_name: Any) -> str:
    """Return which of the known classes a description names.

    Raises:
        CorruptFileError: If it is none of them, or a class of somebody else's with such a name.
    """
    if not isinstance(class_name, str):
        raise CorruptFileError(f"class_name must be a text, got {_short(class_name)}")
    check_origin(class_name, module, registered_name)
    kind = _CLASSES.get(class_name, class_name)
    if ".ops" in str(module) or (kind not in KINDS and f"ops.{kind}" in OPERATIONS):
        kind = f"ops.{class_name}"  # Keras 3 writes down how masks come about
    if kind not in KINDS and kind not in MODELS:
        reason = _REASONS.get(class_name, "is not among the layers of Keras that lstmreg knows")
        raise CorruptFileError(f"{class_name[:80]} {reason}")
    return kind


def check_origin(class_name: Any, module: Any, registered_name: Any) -> None:
    """Refuse what is not of Keras itself, whatever its name."""
    if module is not None and str(module).split(".")[0] not in ("keras", "tf_keras", "tensorflow"):
        raise CorruptFileError(f"{str(class_name)[:80]} comes from {str(module)[:80]!r} and not from Keras")
    if registered_name is not None and registered_name != class_name:
        raise CorruptFileError(f"{str(class_name)[:80]} is registered as {str(registered_name)[:80]!r}: a custom class")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."


# ---------------------------------------------------------------------- rules: what a value may be


def _size(value: Any, dialect: Dialect) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or not 0 < value < 1 << 31:
        raise ValueError(f"must be a positive whole number, got {_short(value)}")
    return int(value)


def _integer(value: Any, dialect: Dialect) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 1 << 31:
        raise ValueError(f"must be a whole number, got {_short(value)}")
    return value


def _number(value: Any, dialect: Dialect) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"must be a finite number, got {_short(value)}")
    return float(value)


def _rate(value: Any, dialect: Dialect) -> float:
    rate = _number(0.0 if value is None else value, dialect)
    if not 0 <= rate < 1:
        raise ValueError(f"must be in [0, 1), got {_short(value)}")
    return rate


def _flag(value: Any, dialect: Dialect) -> bool:
    if value not in (True, False, None):
        raise ValueError(f"must be true or false, got {_short(value)}")
    return bool(value)


def _seed(value: Any, dialect: Dialect) -> int | None:
    # Before Keras 3.8 a seed gives other masks, so that it would promise what it cannot keep.
    return _integer(value, dialect) if isinstance(value, int) and dialect.number >= (3, 8) else None


def _sizes(value: Any, dialect: Dialect) -> list[int]:
    if not isinstance(value, list) or len(value) > 8:
        raise ValueError(f"must be a list of whole numbers, got {_short(value)}")
    return [_integer(item, dialect) for item in value]


def _length(value: Any, dialect: Dialect) -> int:
    """Read the only number of a list, or a number."""
    return _size(value[0] if isinstance(value, list) and len(value) == 1 else value, dialect)


def _stride(value: Any, dialect: Dialect) -> int | None:
    return None if value is None else _length(value, dialect)


def _axes(value: Any, dialect: Dialect) -> list[int]:
    return _sizes(value if isinstance(value, list) else [value], dialect)


def _one_of(*allowed: Any) -> Rule:
    def rule(value: Any, dialect: Dialect) -> Any:
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(map(repr, allowed))}, got {_short(value)}")
        return value

    return rule


def _activation(value: Any, dialect: Dialect) -> str:
    """Return the name of an activation among ours, with the meaning that it had in the version."""
    if isinstance(value, dict):  # Keras 3 writes its own functions so at times
        check_origin(value.get("class_name"), value.get("module"), value.get("registered_name"))
        value = value.get("config") if value.get("class_name") == "function" else value.get("class_name")
    if value is None:
        return "linear"
    if not isinstance(value, str):
        raise ValueError(f"must be the name of an activation, got {_short(value)}")
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


def _regularizer(value: Any, dialect: Dialect) -> Settings | None:
    return regularizers.serialize(regularizers.get(_described(value, _OLD_REGULARIZERS), "regularizer"))


def _constraint(value: Any, dialect: Dialect) -> Settings | None:
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
            raise ValueError(f"must be a description of an object, got {_short(value)}")
        return value
    if "class_name" not in value and "name" in value:
        value = {"class_name": value["name"], "config": {k: v for k, v in value.items() if k != "name"}}
    check_origin(value.get("class_name"), value.get("module"), value.get("registered_name"))
    name = str(value.get("class_name"))
    config = value.get("config")
    if config is not None and not isinstance(config, dict):
        raise ValueError(f"has no settings that are understood: {_short(config)}")
    return {"class_name": old_names.get(name, name), "config": config}


def _noise_shape(value: Any, dialect: Dialect) -> list[int | None] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > 8:
        raise ValueError(f"must be a list of whole numbers and null, got {_short(value)}")
    return [None if length is None else _size(length, dialect) for length in value]


def _optional_number(value: Any, dialect: Dialect) -> float | None:
    return None if value is None else _number(value, dialect)


def _any(value: Any, dialect: Dialect) -> Any:
    return value


# ---------------------------------------------------------------------- the classes

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

_DATA_FORMAT = {"data_format": "channels_last"}

_WEIGHTED: dict[str, Rule] = {
    "kernel_regularizer": _regularizer,
    "bias_regularizer": _regularizer,
    "kernel_constraint": _constraint,
    "bias_constraint": _constraint,
}
_OLD_WEIGHTED = {
    "W_regularizer": "kernel_regularizer",
    "b_regularizer": "bias_regularizer",
    "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint",
    "output_dim": "units",
    "bias": "use_bias",
}

_CELL: dict[str, Rule] = {
    **_WEIGHTED,
    "units": _size,
    "activation": _activation,
    "recurrent_activation": _activation,
    "use_bias": _flag,
    "recurrent_regularizer": _regularizer,
    "recurrent_constraint": _constraint,
    "dropout": _rate,
    "recurrent_dropout": _rate,
    "seed": _seed,
}
_RECURRENT: dict[str, Rule] = {
    "return_sequences": _flag,
    "return_state": _flag,
    "go_backwards": _flag,
    "stateful": _flag,
    "zero_output_for_mask": _flag,
}
_ACTIVITY: dict[str, Rule] = {"activity_regularizer": _regularizer}
_OFF = dict.fromkeys([*_WEIGHTED, "recurrent_regularizer", "recurrent_constraint", "activity_regularizer"])
_CELL_DEFAULTS: Settings = {
    **{name: None for name in _OFF if name != "activity_regularizer"},
    "use_bias": True,
    "dropout": 0.0,
    "recurrent_dropout": 0.0,
    "seed": None,
}
_RECURRENT_DEFAULTS: Settings = dict.fromkeys(_RECURRENT, False)
_OLD_CELL = {
    **_OLD_WEIGHTED,
    "inner_activation": "recurrent_activation",
    "U_regularizer": "recurrent_regularizer",
    "U_constraint": "recurrent_constraint",
    "dropout_W": "dropout",
    "dropout_U": "recurrent_dropout",
}


def _elementwise(**settings: Rule) -> Kind:
    defaults: Settings = {"activity_regularizer": None}
    return Kind({**_ACTIVITY, **settings}, defaults)


def _with(kind: Kind, **changes: Any) -> Kind:
    values = {name: getattr(kind, name) for name in ("settings", "defaults", "renamed", "neutral", "ignored")}
    return Kind(**{**values, **changes})


_MERGE = Kind({})
_GLOBAL_POOLING = Kind({"keepdims": _flag}, {"keepdims": False}, neutral=_DATA_FORMAT)
_POOLING = Kind(
    {"pool_size": _length, "strides": _stride, "padding": _one_of("valid", "same")},
    {"strides": None, "padding": "valid"},
    {"pool_length": "pool_size", "stride": "strides", "border_mode": "padding"},
    _DATA_FORMAT,
)
_LSTM = Kind(
    {**_CELL, **_RECURRENT, **_ACTIVITY},
    {**_CELL_DEFAULTS, **_RECURRENT_DEFAULTS, "activity_regularizer": None},
    _OLD_CELL,
    {"time_major": False},
)
_NORMALIZATION: dict[str, Rule] = {
    "epsilon": _number,
    "center": _flag,
    "scale": _flag,
    "gamma_regularizer": _regularizer,
    "beta_regularizer": _regularizer,
    "gamma_constraint": _constraint,
    "beta_constraint": _constraint,
}
_NORMALIZATION_DEFAULTS: Settings = {
    "center": True,
    "scale": True,
    **dict.fromkeys(["gamma_regularizer", "beta_regularizer", "gamma_constraint", "beta_constraint"]),
}

KINDS: dict[str, Kind] = {
    "InputLayer": Kind({}),
    "Masking": Kind({"mask_value": _number}, {"mask_value": 0.0}),
    "Embedding": Kind(
        {
            "input_dim": _size,
            "output_dim": _size,
            "mask_zero": _flag,
            "embeddings_regularizer": _regularizer,
            "embeddings_constraint": _constraint,
            **_ACTIVITY,
        },
        {
            "mask_zero": False,
            "embeddings_regularizer": None,
            "embeddings_constraint": None,
            "activity_regularizer": None,
        },
        {"W_regularizer": "embeddings_regularizer", "W_constraint": "embeddings_constraint"},
        {},
        frozenset({"dropout"}),
    ),
    "LSTM": _LSTM,
    "CuDNNLSTM": _with(
        _LSTM,
        defaults={**_LSTM.defaults, "activation": "tanh", "recurrent_activation": "sigmoid"},
    ),
    "LSTMCell": Kind(_CELL, _CELL_DEFAULTS, neutral={"activity_regularizer": None}),
    "StackedRNNCells": Kind({"cells": _any}, neutral={"reverse_state_order": False}),
    "RNN": Kind(
        {**_RECURRENT, **_ACTIVITY, "cell": _any},
        {**_RECURRENT_DEFAULTS, "activity_regularizer": None},
        neutral={"time_major": False},
    ),
    "Bidirectional": Kind(
        {
            **_ACTIVITY,
            "layer": _any,
            "backward_layer": _any,
            "merge_mode": _one_of("concat", "sum", "ave", "mul", None),
        },
        {"activity_regularizer": None, "backward_layer": None},
    ),
    "TimeDistributed": Kind({**_ACTIVITY, "layer": _any}, {"activity_regularizer": None}),
    "Dense": Kind(
        {**_WEIGHTED, **_ACTIVITY, "units": _size, "activation": _activation, "use_bias": _flag},
        {**dict.fromkeys(_WEIGHTED), "activity_regularizer": None, "use_bias": True},
        _OLD_WEIGHTED,
        {"lora_rank": None},
    ),
    "Dropout": Kind(
        {"rate": _rate, "noise_shape": _noise_shape, **_ACTIVITY},
        {"noise_shape": None, "activity_regularizer": None},
        {"p": "rate"},
    ),
    "SpatialDropout1D": Kind({"rate": _rate}, renamed={"p": "rate"}, neutral={"noise_shape": None}),
    "GaussianNoise": Kind({"stddev": _number}, renamed={"sigma": "stddev"}),
    "BatchNormalization": Kind(
        {**_NORMALIZATION, "axis": _axes, "momentum": _number},
        {**_NORMALIZATION_DEFAULTS, "axis": [-1]},
        {},
        {
            "mode": 0,
            "renorm": False,
            "virtual_batch_size": None,
            "adjustment": None,
            "synchronized": False,
        },
        frozenset({"fused", "renorm_clipping", "renorm_momentum"}),
    ),
    "LayerNormalization": Kind(
        {**_NORMALIZATION, "axis": _axes}, _NORMALIZATION_DEFAULTS, neutral={"rms_scaling": False}
    ),
    "Flatten": Kind({}, neutral=_DATA_FORMAT),
    "Reshape": Kind({"target_shape": _sizes}),
    "Permute": Kind({"dims": _sizes}),
    "RepeatVector": Kind({"n": _size}),
    "Activation": _elementwise(activation=_activation),
    "ReLU": Kind(
        {"max_value": _optional_number, "negative_slope": _number, "threshold": _number},
        {"max_value": None, "negative_slope": 0.0, "threshold": 0.0},
    ),
    "LeakyReLU": Kind({"negative_slope": _number}, renamed={"alpha": "negative_slope"}),
    "ELU": Kind({"alpha": _number}, {"alpha": 1.0}),  # Keras 3 does not write it
    "Softmax": Kind({"axis": _integer}, {"axis": -1}),
    "Rescaling": Kind({"scale": _number, "offset": _number}, {"offset": 0.0}),
    "ActivityRegularization": Kind({"l1": _number, "l2": _number}),
    "GlobalAveragePooling1D": _GLOBAL_POOLING,
    "GlobalMaxPooling1D": _GLOBAL_POOLING,
    "AveragePooling1D": _POOLING,
    "MaxPooling1D": _POOLING,
    "Conv1D": Kind(
        {
            **_WEIGHTED,
            **_ACTIVITY,
            "filters": _size,
            "kernel_size": _length,
            "strides": _length,
            "padding": _one_of("valid", "same", "causal"),
            "dilation_rate": _length,
            "groups": _size,
            "activation": _activation,
            "use_bias": _flag,
        },
        {**dict.fromkeys(_WEIGHTED), "activity_regularizer": None, "dilation_rate": 1, "groups": 1, "use_bias": True},
        neutral=_DATA_FORMAT,
    ),
    "Add": _MERGE,
    "Subtract": _MERGE,
    "Multiply": _MERGE,
    "Average": _MERGE,
    "Maximum": _MERGE,
    "Minimum": _MERGE,
    "Concatenate": Kind({"axis": _integer}, {"axis": -1}),
}

#: Operations that no user wrote, for the most part: of them Keras 3 makes its masks.
OPERATIONS: dict[str, Kind] = {
    "ops.NotEqual": Kind({}),
    "ops.LogicalOr": Kind({}),
    "ops.LogicalAnd": Kind({}),
    "ops.ZerosLike": Kind({}, ignored=frozenset({"dtype"})),
    "ops.OnesLike": Kind({}, ignored=frozenset({"dtype"})),
    "ops.ExpandDims": Kind({"axis": _integer}),
    "ops.Squeeze": Kind({"axis": _integer}),
    "ops.Concatenate": Kind({"axis": _integer}),
    "ops.Any": Kind({"axis": _integer, "keepdims": _flag}, {"keepdims": False}),
    "ops.All": Kind({"axis": _integer, "keepdims": _flag}, {"keepdims": False}),
}
KINDS |= OPERATIONS

#: Descriptions that contain layers.
MODELS = frozenset({"Sequential", "Functional"})

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
