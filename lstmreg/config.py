"""Every setting of a run, as it stands in ``lstmreg.yaml``. Plain dataclasses: nothing here loads torch.

The rules of a setting stand beside it, and its choices in its type. Each class checks itself when it is made and names
the offending setting by its path in the file.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lstmreg.errors import ConfigError, did_you_mean
from lstmreg.knobs import KNOBS
from lstmreg.rules import (
    FLAG_OR_NULL,
    FRACTION,
    NOT_NEGATIVE,
    ONE_CHARACTER,
    POSITIVE,
    RATE,
    SEED,
    WHOLE,
    Rule,
    between,
    check_section,
    declared,
    require,
    ruled,
)

#: Keras' names of activations, as :mod:`lstmreg.activations` has them (which would load torch).
ACTIVATIONS = (
    "linear",
    "tanh",
    "sigmoid",
    "hard_sigmoid",
    "keras2_hard_sigmoid",
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "celu",
    "selu",
    "gelu",
    "silu",
    "swish",
    "hard_silu",
    "hard_swish",
    "mish",
    "softplus",
    "softsign",
    "softmax",
    "log_softmax",
    "log_sigmoid",
    "exponential",
    "hard_tanh",
    "tanh_shrink",
    "hard_shrink",
    "soft_shrink",
    "squareplus",
    "sparse_plus",
    "sparse_sigmoid",
)

Scalar = int | float | str | bool

#: What may stand between groups of three digits.
THOUSANDS = (",", ".", " ", "'")

_MAX_SIZE = 16384

_ACTIVATION = Rule(f"one of Keras' names, {', '.join(ACTIVATIONS)}", lambda value: value in ACTIVATIONS, ACTIVATIONS)
_LAG = Rule("1, 'season' or null", lambda value: (value, type(value)) in ((1, int), ("season", str)))
#: What of a time may go in.
CALENDAR = ("hour", "weekday", "day", "month", "yearday")
_CALENDAR = Rule("one of " + ", ".join(CALENDAR), lambda value: value in CALENDAR, CALENDAR)
_TEST_FRACTION = Rule(
    "above 0 and below 0.5 (a single fit validates on as many rows, and trains on the others; the default is 0.15)",
    lambda value: math.isfinite(value) and 0 < value < 0.5,
)


@dataclass(frozen=True)
class DataConfig:
    """Which table to read, and what to predict from it.

    Args:
        path: A CSV file with one header row, one row per time step, oldest first.
        target: The column to forecast, or a list of such; each step ahead then has a number for each.
        features: The input columns. Default: every column but ``time`` and ``group``, the target's own past included.
        time: The column with time stamps (ISO 8601) or other rising numbers; it orders the rows and is
            never an input.
        window: How many past steps the model sees, T.
        horizon: How many steps ahead it forecasts, each one an output.
        season: Length of the season in steps, for the floor "the same as one season ago".
        missing: What to do with a missing cell: refuse, fill from the row before, or drop its row.
        sort: Whether to sort the rows by ``time`` where they are out of order.
        delimiter: The character between two cells.
        decimal: The decimal sign.
        test_fraction: The last part of the rows, of several series that of their common times; touched once, at the
            end.
        difference: Whether the network learns the target's change rather than its level: from one step before
            (``1``), or from one season before (``season``). For a target with a trend. Forecasts and errors stay
            in the target's own units.
        thousands: The character between groups of three digits, as in ``1,188``.
        sequence: The column that says which sequence a row belongs to; of a table of labels, that with the files'
            names. Where a case is a whole sequence.
        group: The column that says what a row or a sequence belongs to. Of a forecast: which series, such as a shop;
            one network learns all of them, and no window has rows of two. Of sequences: such as a subject; one group
            is never on both sides of a split.
        labels: A CSV file with a row for each file of the folder ``path``: its name, its target, perhaps its group.
        tokens: The input columns whose cells are no numbers but tokens or categories.
        known_future: Columns whose values are known in advance, such as promotions or prices: each step of the window
            also sees the value ``horizon`` steps after it. To forecast, the table must go on with them for
            ``horizon`` rows, whose target is empty. Such a column is also a past input if ``features`` has it.
        calendar: What of the time column goes in, as sine and cosine, of the moment ``horizon`` steps ahead. For time
            stamps of ISO 8601.
        scale: Of several series: whether one scale serves all, or each group has its own, from its training rows.
        split_by: How sequences are divided into those that train, validate and test: random, with its share of each
            class in every part; group, so that no group is on two sides; time, so that what begins earlier trains.
            Null: group where there are groups, else random.
    """

    path: str
    target: str | list[str] = field(metadata=ruled(filled="a column or a list of columns"))
    features: list[str] | None = field(default=None, metadata=ruled(filled="a list of columns"))
    time: str | None = None
    window: int = field(default=24, metadata=ruled(between(1)))
    horizon: int = field(default=1, metadata=ruled(between(1)))
    season: int | None = field(default=None, metadata=ruled(between(1)))
    missing: Literal["error", "ffill", "drop"] = "error"
    sort: bool = False
    delimiter: str = field(default=",", metadata=ruled(ONE_CHARACTER))
    decimal: Literal[".", ","] = "."
    test_fraction: float = field(default=0.15, metadata=ruled(_TEST_FRACTION))
    difference: int | str | None = field(default=None, metadata=ruled(_LAG))
    thousands: str | None = None
    sequence: str | None = None
    group: str | None = None
    labels: str | None = None
    tokens: list[str] | None = field(default=None, metadata=ruled(filled="a list of columns"))
    known_future: list[str] | None = field(default=None, metadata=ruled(filled="a list of columns"))
    calendar: list[Literal["hour", "weekday", "day", "month", "yearday"]] | None = field(
        default=None, metadata=ruled(_CALENDAR, filled="a list of parts of a time")
    )
    scale: Literal["together", "by_group"] = "together"
    split_by: Literal["random", "group", "time"] | None = None

    def __post_init__(self) -> None:
        if self.delimiter in ("\\t", "tab"):  # as people write it on a command line
            object.__setattr__(self, "delimiter", "\t")
        check_section(self, "data.")
        require(
            self.difference != "season" or self.season is not None,
            "data.season",
            "set where data.difference is 'season'",
            self.season,
        )
        require(
            self.thousands is None or (self.thousands in THOUSANDS and self.thousands != self.decimal),
            "data.thousands",
            f"one of {', '.join(map(repr, THOUSANDS))}, and not data.decimal",
            self.thousands,
        )
        require(not self.sort or self.time is not None, "data.time", "set where data.sort is", self.time)
        for name in ("target", "known_future", "calendar"):
            values = getattr(self, name)
            once = not isinstance(values, list) or len(set(values)) == len(values)
            require(once, f"data.{name}", "a list in which each name stands once", values)
        self._check_forecast()

    def _check_forecast(self) -> None:
        """See that what concerns several series and their future fits together."""
        by_group = self.scale == "by_group"
        require(not by_group or self.group is not None, "data.group", "set where data.scale is by_group", self.group)
        require(not self.calendar or self.time is not None, "data.time", "set where data.calendar is", self.time)
        require(
            not (self.known_future or self.calendar) or self.window >= self.horizon,
            "data.window",
            "data.horizon or more where data.known_future or data.calendar is set (its last steps see them)",
            self.window,
        )
        both = [name for name in self.known_future or [] if name in self.targets]
        require(not both, "data.known_future", "columns that are not data.target, which nobody knows in advance", both)

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns to forecast."""
        return (self.target,) if isinstance(self.target, str) else tuple(self.target)

    @property
    def one_target(self) -> str:
        """The column to predict, where it must be a single one.

        Raises:
            ConfigError: If there are several.
        """
        require(len(self.targets) == 1, "data.target", "one column where a case is a whole sequence", self.target)
        return self.targets[0]

    @property
    def future(self) -> bool:
        """Whether a window sees something of the steps that are forecast."""
        return bool(self.known_future or self.calendar)

    @property
    def lag(self) -> int:
        """How many rows back the target is differenced; 0 for not."""
        return {None: 0, 1: 1, "season": self.season or 0}[self.difference]

    @property
    def past(self) -> int:
        """How many rows must lie before a forecast's first step."""
        return self.window + self.lag


@dataclass(frozen=True)
class ModelConfig:
    """The network: a stack of LSTMs, and a linear head on the last step.

    Sizes, activations and knobs take one value for all layers or a list with one for each.

    Args:
        hidden_size: Hidden units of a layer, H.
        num_layers: Layers in the stack.
        bidirectional: Whether each layer also reads the window backwards.
        kernel_l1: Strength of L1 on the input weights (Keras: ``kernel_regularizer``).
        kernel_l2: Strength of L2 on the input weights.
        recurrent_l1: Strength of L1 on the recurrent weights (``recurrent_regularizer``).
        recurrent_l2: Strength of L2 on the recurrent weights.
        bias_l1: Strength of L1 on the bias (``bias_regularizer``).
        bias_l2: Strength of L2 on the bias.
        activity_l1: Strength of L1 on the output (``activity_regularizer``).
        activity_l2: Strength of L2 on the output.
        dropout: Rate of dropping input features, in [0, 1).
        recurrent_dropout: Rate of dropping hidden units on their way into the gates, in [0, 1).
        stateful: Whether each batch goes on from the states in which the one before ended; an epoch begins with
            zeros. For batches of one size in order of time, which you give yourself; not for windows of a table.
        per_gate_input_masks: Whether ``dropout`` draws a mask of the input for each gate, as Keras 1 and 2 did, or
            one for all, which of a single input column blanks the whole window. Null: for each gate in layers that
            have ``recurrent_dropout``, as in Keras 3.
        activation: Of the candidate and of the cell state, by Keras' name.
        recurrent_activation: Of the three gates, by Keras' name.
        head_initializer: What the head starts from: as torch's Linear, or as Keras' Dense (glorot_uniform, and zeros).
        members: Networks that differ in their seed alone, whose predictions are averaged. A search compares single
            networks; the model that is saved has all members.
        embedding_size: Numbers in the vector of a token, E, in input columns that hold tokens. Null: of each column
            half as many as it has tokens, at most 50.
        embedding_dropout: Rate of dropping whole tokens of a sequence, each with all its occurrences, in [0, 1).
    """

    hidden_size: int | list[int] = field(default=32, metadata=ruled(WHOLE, between(1, _MAX_SIZE)))
    num_layers: int = field(default=1, metadata=ruled(between(1, 1000)))
    bidirectional: bool = False
    kernel_l1: float | list[float] = 0.0
    kernel_l2: float | list[float] = 0.0
    recurrent_l1: float | list[float] = 0.0
    recurrent_l2: float | list[float] = 0.0
    bias_l1: float | list[float] = 0.0
    bias_l2: float | list[float] = 0.0
    activity_l1: float | list[float] = 0.0
    activity_l2: float | list[float] = 0.0
    dropout: float | list[float] = 0.0
    recurrent_dropout: float | list[float] = 0.0
    stateful: bool = field(default=False, metadata=ruled(is_searchable=False))
    per_gate_input_masks: bool | None = field(default=None, metadata=ruled(FLAG_OR_NULL))
    activation: str | list[str] = field(default="tanh", metadata=ruled(_ACTIVATION))
    recurrent_activation: str | list[str] = field(default="sigmoid", metadata=ruled(_ACTIVATION))
    head_initializer: Literal["torch", "keras"] = "torch"
    members: int = field(default=1, metadata=ruled(between(1, 1000), is_searchable=False))
    embedding_size: int | None = field(default=None, metadata=ruled(between(1, _MAX_SIZE)))
    embedding_dropout: float = field(default=0.0, metadata=ruled(RATE))

    def __post_init__(self) -> None:
        declared(type(self))["num_layers"].check("model.num_layers", self.num_layers)  # by which lists are judged
        for name in self.per_layer():
            self._values(name)
        check_section(self, "model.")

    @classmethod
    def per_layer(cls) -> tuple[str, ...]:
        """List the settings that each layer may have its own value of."""
        return tuple(name for name, setting in declared(cls).items() if setting.may_differ_by_layer)

    def _values(self, name: str) -> list[Any]:
        value = getattr(self, name)
        if not isinstance(value, list):
            return [value] * self.num_layers
        if len(value) != self.num_layers:
            raise ConfigError(
                f"model.{name} must be one value or a list of model.num_layers={self.num_layers} values, got {value!r}."
            )
        return value

    def layer(self, index: int) -> dict[str, Any]:
        """Return the settings of one layer, by name, each a single value."""
        return {name: self._values(name)[index] for name in self.per_layer()}


@dataclass(frozen=True)
class TrainingConfig:
    """How one model is trained.

    Args:
        learning_rate: Step size of the optimizer.
        optimizer: Which of torch's optimizers.
        weight_decay: The optimizer's weight decay.
        gradient_clip: Largest norm of the whole gradient, or null for none.
        loss: What is minimized on the data: mean squared, mean absolute or Huber error, of scaled targets; or the cross
            entropy of classes. Null: what suits the task, mse where it predicts numbers and cross_entropy where it
            predicts classes.
        batch_size: Windows in a batch, B.
        max_epochs: Where training ends at the latest.
        patience: Epochs in a row without a lower validation loss (the mean over all of its windows) after which
            training stops, or null for never.
        min_delta: By how much a validation loss must be lower to count as better.
        seed: Decides initial weights, batch order and masks, each from a stream of its own.
        keep: Whose weights remain: those of the epoch with the lowest validation loss, or of the last one.
        label_smoothing: Of cross_entropy, in [0, 1): the part of a target that is shared by all classes.
        class_weight: Of cross_entropy: balanced, so that rare classes count as much as frequent ones, or null.
    """

    learning_rate: float = field(default=0.003, metadata=ruled(POSITIVE))
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: float = field(default=0.0, metadata=ruled(NOT_NEGATIVE))
    gradient_clip: float | None = field(default=None, metadata=ruled(POSITIVE))
    loss: Literal["mse", "mae", "huber", "cross_entropy"] | None = None
    batch_size: int = field(default=32, metadata=ruled(between(1)))
    max_epochs: int = field(default=200, metadata=ruled(between(1)))
    patience: int | None = field(default=20, metadata=ruled(between(1)))
    min_delta: float = field(default=0.0, metadata=ruled(NOT_NEGATIVE))
    seed: int = field(default=0, metadata=ruled(SEED, is_searchable=False))
    keep: Literal["best", "last"] = "best"
    label_smoothing: float = field(default=0.0, metadata=ruled(RATE))
    class_weight: Literal["balanced"] | None = None

    def __post_init__(self) -> None:
        check_section(self, "training.")
        if self.loss in (None, "cross_entropy"):
            return
        for name, off in (("label_smoothing", 0.0), ("class_weight", None)):
            value = getattr(self, name)
            shown = "null" if off is None else "0"
            require(value == off, f"training.{name}", f"{shown} where training.loss is {self.loss}", value)


@dataclass(frozen=True)
class Range:
    """An interval that the search draws from.

    Args:
        low: Least value.
        high: Greatest value.
        log: Whether to draw on a logarithmic scale.
        step: Distance between neighbouring values, or null for none.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        ok = math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high
        require(ok, "search.space: low", "below high", f"low={self.low}, high={self.high}")
        require(not self.log or self.low > 0, "search.space: low", "positive where log is true", self.low)
        if self.step is not None:
            POSITIVE.check("search.space: step", self.step)
            require(not self.log, "search.space: step", "null where log is true", self.step)


#: What a search tries for one setting: some values, or an interval.
Dimension = Range | list[Scalar]


def default_space() -> dict[str, Dimension]:
    """Return the six knobs, each with a ladder of values from the literature (off is always tried too)."""
    return {path: list(knob.ladder) for path, knob in KNOBS.items() if knob.by_default}


@dataclass(frozen=True)
class Plan:
    """How many trainings a search takes, by what they are for; the settings of the same names say more."""

    trials: int
    splits: int
    seeds: int
    confirm_splits: int
    confirm_seeds: int
    test_seeds: int


#: From the least that has an interval at all to what takes a small network an hour. A quick search takes the largest
#: that it has the time and the rows for, a thorough one the last.
PLANS = (
    Plan(trials=4, splits=3, seeds=1, confirm_splits=3, confirm_seeds=2, test_seeds=3),
    Plan(trials=6, splits=4, seeds=1, confirm_splits=4, confirm_seeds=2, test_seeds=3),
    Plan(trials=8, splits=5, seeds=1, confirm_splits=4, confirm_seeds=3, test_seeds=5),
    Plan(trials=12, splits=5, seeds=2, confirm_splits=4, confirm_seeds=3, test_seeds=5),
    Plan(trials=12, splits=5, seeds=3, confirm_splits=4, confirm_seeds=3, test_seeds=5),
    Plan(trials=24, splits=8, seeds=3, confirm_splits=6, confirm_seeds=5, test_seeds=10),
)

#: The numbers of a plan, which a configuration may leave open.
PLANNED = tuple(f.name for f in dataclasses.fields(Plan))


@dataclass(frozen=True)
class SearchConfig:
    """The experiment that answers which knobs to turn.

    What is null is planned: before it starts, the search measures how long a training takes. A run that has begun
    keeps its plan.

    Args:
        trials: Settings that are proposed in the stage in which all knobs are searched together, each on every split
            with one seed; a total, over all sittings.
        space: What to try, by the path of a setting: a list of values, or ``{low, high, log, step}``.
            Default: the six knobs with a ladder of three values each.
        learning_rates: Those among which the unregularized baseline chooses.
        splits: Rolling-origin splits on which values are chosen.
        seeds: Seeds for each split.
        confirm_splits: Further splits, for the confirmation alone.
        confirm_seeds: Seeds for each of them.
        test_seeds: Seeds with which winner and baseline meet the test rows.
        shortlist: How many of the best proposals are tried with every seed before one is chosen.
        smallest_effect: The least relative improvement of the validation loss that is worth a knob.
        confidence: Of the intervals.
        batch: Settings that are proposed and trained at once. More are faster, fewer learn more from each other.
        prune: Whether a training of a proposal ends early that does worse than the median of those before it on the
            same split, after as many epochs as the patience.
        sampler: Which of Optuna's samplers proposes settings.
        seed: Decides the sampler's proposals and the seeds of all trainings.
        effort: How much is planned: quick is what takes about five minutes, thorough is more and takes as long as it
            takes.
    """

    trials: int | None = field(default=None, metadata=ruled(between(1)))
    space: dict[str, Range | list[Scalar]] | None = None
    learning_rates: list[float] = field(
        default_factory=lambda: [0.001, 0.003, 0.01], metadata=ruled(POSITIVE, filled="a list of rates")
    )
    splits: int | None = field(default=None, metadata=ruled(between(2, 1000)))
    seeds: int | None = field(default=None, metadata=ruled(between(1, 1000)))
    confirm_splits: int | None = field(default=None, metadata=ruled(between(2, 1000)))
    confirm_seeds: int | None = field(default=None, metadata=ruled(between(1, 1000)))
    test_seeds: int | None = field(default=None, metadata=ruled(between(2, 1000)))
    shortlist: int = field(default=3, metadata=ruled(between(1, 1000)))
    smallest_effect: float = field(default=0.02, metadata=ruled(FRACTION))
    confidence: float = field(default=0.95, metadata=ruled(FRACTION))
    batch: int = field(default=6, metadata=ruled(between(1, 1000)))
    prune: bool = True
    sampler: Literal["tpe", "random", "gp"] = "tpe"
    seed: int = field(default=0, metadata=ruled(SEED))
    effort: Literal["quick", "thorough"] = "quick"

    def __post_init__(self) -> None:
        check_section(self, "search.")

    @property
    def plan(self) -> Plan:
        """The numbers of trainings; what was left open is that of the least plan."""
        given = {name: getattr(self, name) for name in PLANNED}
        return Plan(**{name: getattr(PLANS[0], name) if n is None else n for name, n in given.items()})

    @property
    def is_open(self) -> bool:
        """Whether there is something to plan."""
        return any(getattr(self, name) is None for name in PLANNED)

    def planned(self, plan: Plan) -> SearchConfig:
        """Return a copy in which the numbers that were left open are those of ``plan``."""
        return dataclasses.replace(self, **{n: getattr(plan, n) for n in PLANNED if getattr(self, n) is None})

    @property
    def dimensions(self) -> dict[str, Dimension]:
        """The space that is searched: the user's, or the default."""
        return default_space() if self.space is None else dict(self.space)


@dataclass(frozen=True)
class Config:
    """One run.

    Args:
        data: The table and the question.
        model: The network.
        training: How one model is trained.
        search: The experiment.
        task: What the network does.
        name: Name of the run, and of its folder. Default: that of the data file, without its ending.
        runs: The folder that holds all runs.
    """

    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    task: str = "forecast"
    name: str | None = None
    runs: str = "runs"

    def __post_init__(self) -> None:
        check_section(self, "")
        require(
            re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._ -]{0,99}", self.run_name) is not None,
            "name",
            "up to 100 letters, digits, '.', '_', '-' or blanks, and no path",
            self.run_name,
        )
        require(
            not self.model.stateful,
            "model.stateful",
            "false, because windows of a table are trained in random order",
            True,
        )
        for path, dimension in self.search.dimensions.items():
            self._check_dimension(path, dimension)

    def _check_dimension(self, path: str, dimension: Dimension) -> None:
        known = searchable(self)
        if path not in known:
            raise ConfigError(f"search.space: unknown setting {path!r}.{did_you_mean(path, known)}")
        if isinstance(dimension, Range):
            values: list[Any] = [dimension.low, dimension.high]
        else:
            values = dimension
            require(len(values) > 0, f"search.space: {path}", "a list with at least one value", values)
        for value in values:
            _replaced(getattr(self, path.split(".")[0]), path, value)  # raises where it breaks the setting's rule

    @property
    def run_name(self) -> str:
        """The run's name, given or derived."""
        return self.name if self.name is not None else Path(self.data.path.removesuffix(".gz")).stem

    @property
    def directory(self) -> Path:
        """The run's folder."""
        return Path(self.runs) / self.run_name


_SECTIONS = ("model", "training")


def searchable(config: Config) -> list[str]:
    """List the settings that a search may vary, by path."""
    return [
        f"{section}.{name}"
        for section in _SECTIONS
        for name, setting in declared(type(getattr(config, section))).items()
        if setting.is_searchable
    ]


def with_settings(config: Config, settings: dict[str, Scalar]) -> Config:
    """Return a copy of ``config`` with some settings, named by path, replaced.

    A whole number given as a float becomes an int where the setting is one.
    """
    sections: dict[str, Any] = {}
    for path, value in settings.items():
        if path not in searchable(config) and path != "training.seed":
            raise ConfigError(f"unknown setting {path!r}.{did_you_mean(path, searchable(config))}")
        section = path.split(".")[0]
        sections[section] = _replaced(sections.get(section, getattr(config, section)), path, value)
    return dataclasses.replace(config, **sections)


def _replaced(section: Any, path: str, value: Scalar) -> Any:
    name = path.split(".")[1]
    return dataclasses.replace(section, **{name: _as_declared(section, path, value)})


def _as_declared(section: Any, path: str, value: Scalar) -> Scalar:
    kind = declared(type(section))[path.split(".")[1]].kinds[0]
    if kind is int:
        whole = isinstance(value, (int, float)) and not isinstance(value, bool) and float(value).is_integer()
        require(whole, path, "a whole number", value)
        return int(value)
    if kind is float:
        require(isinstance(value, (int, float)) and not isinstance(value, bool), path, "a number", value)
        return float(value)
    if kind is bool:
        require(isinstance(value, bool), path, "true or false", value)
    return value


def from_dict(plain: dict[str, Any]) -> Config:
    """Rebuild a configuration from ``dataclasses.asdict``'s form of it.

    Raises:
        ConfigError: If a value breaks its rule.
        TypeError: If a key is unknown or missing.
    """
    missing = {"data", "model", "training", "search"} - set(plain)
    if missing:
        raise TypeError(f"missing sections: {', '.join(sorted(missing))}")
    search = dict(plain["search"])
    if search.get("space") is not None:
        search["space"] = {
            path: Range(**dimension) if isinstance(dimension, dict) else dimension
            for path, dimension in search["space"].items()
        }
    return Config(
        **plain
        | {
            "data": DataConfig(**plain["data"]),
            "model": ModelConfig(**plain["model"]),
            "training": TrainingConfig(**plain["training"]),
            "search": SearchConfig(**search),
        }
    )
