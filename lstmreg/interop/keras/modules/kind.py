"""What a kind of layer is, and the one list of them: how it is read, checked, made, written and told.

A kind is a class. What is defined as one (in a file of this folder) is known wherever layers are handled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

from torch import nn

from lstmreg.errors import CorruptFileError

from ..file.container import Array
from ..graph.calls import Call, Reference
from ..graph.layers import LayerDescription, ModelDescription
from ..words.dialects import Dialect, class_today, refuse_class
from ..words.habits import of_activity
from ..words.rules import Rules, Settings, check_settings, read_settings
from .leaves import Leaf

#: Of each weight in Keras' layout, by its path in a ``.weights.h5`` file.
Shapes = Mapping[str, tuple[int, ...]]

#: All kinds, by what ``LayerDescription.kind`` calls them.
KINDS: dict[str, type[Kind]] = {}


class Reader(Protocol):
    """What reads layers that stand within a layer."""

    dialect: Dialect

    def layer(self, written: Any, index: int) -> LayerDescription:
        """Read a layer."""

    def model(self, class_name: str, config: Any) -> ModelDescription:
        """Read a model."""


@dataclass(frozen=True)
class Written:
    """A layer as a description has it.

    Args:
        name: Its name.
        class_name: Its class, by today's name.
        config: Its settings, as they stand there.
        is_trained: Whether it is not frozen.
        notes: What is already known that cannot be carried over.
        whole: All that is written of it.
    """

    name: str
    class_name: str
    config: Any
    is_trained: bool
    notes: tuple[str, ...] = ()
    whole: Mapping[str, Any] = field(default_factory=dict)


class Writer(Protocol):
    """What writes layers that stand within a layer, as Keras 3 does."""

    def layer(self, layer: LayerDescription) -> Settings:
        """Write a layer."""

    def model(self, model: ModelDescription) -> Settings:
        """Write a model that stands inside another one."""

    def batch_shape(self, layer: LayerDescription) -> list[int | None]:
        """Find the shape of an input."""


@dataclass
class Rewriting:
    """What changes while a model is said in other words.

    Args:
        arrays: All weights of the model, by their path.
        place: Of the layer that is rewritten, among them.
        names: Those that layers of its graph have.
    """

    arrays: dict[str, Array]
    place: str
    names: set[str]

    def at(self, group: str) -> Rewriting:
        """Return the same for what stands in a group of the layer."""
        return replace(self, place=f"{self.place}{group}/")

    def scale(self, key: str, change: Callable[[Array], Array]) -> None:
        """Change a weight of the layer."""
        self.arrays[self.place + key] = change(self.arrays[self.place + key])

    def new_name(self, stem: str) -> str:
        """Return a name that no layer has."""
        while stem in self.names:
            stem += "_"
        self.names.add(stem)
        return stem


class Kind:
    """A kind of layer; what is said here holds for a layer of one input, one output and no states.

    A subclass has ``rules`` (then it reads the class of Keras that is called as it is) or ``reads``.
    """

    #: The settings of a layer of this kind in a saved model.
    rules: ClassVar[Rules] = Rules({})
    #: Classes of Keras that are read as this kind, by today's names.
    reads: ClassVar[Mapping[str, Rules]] = {}
    #: Whether it is called with a list of tensors, however many there are.
    takes_list: ClassVar[bool] = False
    #: Whether its input is brought to the weights' type before.
    casts: ClassVar[bool] = True
    #: Whether it has states, which may come with its input.
    has_states: ClassVar[bool] = False
    #: Whether it can be applied to each time step by itself.
    fits_each_step: ClassVar[bool] = True
    #: Whether it has layers inside, which are in ``LayerDescription.model``.
    holds_layers: ClassVar[bool] = False
    #: Whether that is a whole model.
    is_model: ClassVar[bool] = False
    #: Settings that Keras writes though they are its own defaults, to leave them out where layers are told.
    usual: ClassVar[Settings] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "rules" in vars(cls) or "reads" in vars(cls):
            if "reads" not in vars(cls):
                cls.reads = {cls.__name__: cls.rules}
            KINDS[cls.__name__] = cls

    # ------------------------------------------------------------------ in: from a description, from a folder

    @classmethod
    def describe(cls, written: Written, reader: Reader) -> LayerDescription:
        """Read a layer's description.

        Raises:
            CorruptFileError: If a setting is not known.
        """
        settings = read_settings(written.class_name, cls.reads[written.class_name], written.config, reader.dialect)
        own, notes = cls.habits(written, settings, reader.dialect)
        notes = [*notes, *of_activity(settings, reader.dialect), *written.notes]
        return cls.described(replace(written, notes=tuple(notes)), {**settings, **own}, reader)

    @classmethod
    def habits(cls, written: Written, settings: Settings, dialect: Dialect) -> tuple[Settings, list[str]]:
        """Return settings of our own that say what the version did, and notes on what cannot be kept."""
        return {}, []

    @classmethod
    def described(cls, written: Written, settings: Settings, reader: Reader) -> LayerDescription:
        """Return the description of a layer whose settings have been read."""
        return cls.new(written, settings, written.class_name)

    @classmethod
    def new(
        cls, written: Written, settings: Settings, keras_class: str, model: ModelDescription | None = None
    ) -> LayerDescription:
        """Return a description of this kind."""
        return LayerDescription(
            written.name,
            cls.__name__,
            settings,
            model=model,
            is_trained=written.is_trained,
            keras_class=keras_class,
            notes=written.notes,
        )

    @classmethod
    def check(cls, layer: LayerDescription) -> None:
        """See that a description is such as :meth:`describe` gives.

        Raises:
            CorruptFileError: If it is not.
        """
        check_settings(layer.kind, cls.rules, layer.settings)

    # ------------------------------------------------------------------ in a graph

    @classmethod
    def outputs(cls, layer: LayerDescription) -> int:
        """Return how many tensors a layer gives."""
        return 1

    @classmethod
    def states(cls, layer: LayerDescription) -> int:
        """Return how many states it has: ``h`` and ``c`` of each cell in each direction."""
        return 0

    @classmethod
    def takes(cls, layer: LayerDescription, call: Call) -> tuple[int, int]:
        """Return how many inputs it takes, at least and at most."""
        return 1, 1

    @classmethod
    def takes_numbers(cls, layer: LayerDescription) -> bool:
        """Tell whether a call may have numbers behind its tensors."""
        return False

    # ------------------------------------------------------------------ as a module

    @classmethod
    def make(cls, layer: LayerDescription, shapes: Shapes) -> nn.Module:
        """Make the module of a layer, of the shapes of its weights."""
        raise NotImplementedError

    @classmethod
    def leaves(cls, layer: LayerDescription) -> list[Leaf]:
        """Return its weights, as seen from it."""
        return []

    @classmethod
    def group(cls, layer: LayerDescription) -> str:
        """Return after which class Keras 3 names its place in a ``.weights.h5`` file, or an empty text."""
        return layer.keras_class

    # ------------------------------------------------------------------ out: to Keras 3, to people

    @classmethod
    def config(cls, layer: LayerDescription, writer: Writer) -> Settings:
        """Return what Keras 3 writes for a layer."""
        config = {**cls.config_settings(layer), **cls.config_inside(layer, writer)}
        return serialized(layer.keras_class, config if layer.is_trained else {**config, "trainable": False})

    @classmethod
    def config_settings(cls, layer: LayerDescription) -> Settings:
        """Return its settings as Keras 3 writes them."""
        return settings_of(cls.rules, layer.name, layer.settings)

    @classmethod
    def config_inside(cls, layer: LayerDescription, writer: Writer) -> Settings:
        """Return what stands among a layer's settings that is a layer or cell itself."""
        return {}

    @classmethod
    def arguments(cls, layer: LayerDescription, call: Call, tensor: Callable[[Reference], Settings]) -> Settings:
        """Return what Keras 3 writes for a call of a layer; ``tensor`` does so for a tensor."""
        inputs: Any = [tensor(reference) for reference in call.inputs]
        keywords: Settings = {}
        if call.initial_state:
            keywords["initial_state"] = [tensor(reference) for reference in call.initial_state]
        if call.masks:
            masks = [None if mask is None else tensor(mask) for mask in call.masks]
            keywords["mask"] = masks if cls.takes(layer, call)[1] > 1 and len(call.inputs) > 1 else masks[0]
        return {"args": [inputs if cls.takes_list or len(inputs) > 1 else inputs[0]], "kwargs": keywords}

    @classmethod
    def in_keras_3(cls, layer: LayerDescription, rewriting: Rewriting) -> list[LayerDescription]:
        """Return the layers of Keras 3 that give the same outputs, and rewrite weights where they must."""
        return [layer]

    @classmethod
    def told_as(cls, layer: LayerDescription) -> str | None:
        """Return the class by which people know it, or ``None`` if it is not worth telling."""
        return layer.keras_class

    @classmethod
    def told(cls, layer: LayerDescription) -> str:
        """Return the settings that are not Keras' defaults, in words."""
        return told_settings(layer.settings, cls.rules, cls.usual)


# ---------------------------------------------------------------------- the list


def kind_of(layer: LayerDescription) -> type[Kind]:
    """Return the kind that a layer is.

    Raises:
        CorruptFileError: If there is no such kind.
    """
    if layer.kind not in KINDS:
        raise CorruptFileError(f"{layer.name[:80]}: there is no kind of layer {str(layer.kind)[:60]!r}")
    return KINDS[layer.kind]


def kind_reading(class_name: Any, module: Any, registered_name: Any) -> tuple[str, type[Kind]]:
    """Return which class of Keras a description names, by today's name, and the kind that reads it.

    Raises:
        CorruptFileError: If none does, or it is a class of somebody else's with such a name.
    """
    today = class_today(class_name, module, registered_name)
    for name in (today, f"ops.{today}"):
        for kind in KINDS.values():
            if name in kind.reads:
                return name, kind
    raise refuse_class(str(class_name))


def make(layer: LayerDescription, shapes: Shapes) -> nn.Module:
    """Make the module of a layer, of the shapes of its weights.

    Raises:
        CorruptFileError: If settings and shapes do not fit together.
    """
    try:
        made = kind_of(layer).make(layer, shapes)
    except CorruptFileError:
        raise
    except (ValueError, TypeError, KeyError, StopIteration, RuntimeError, IndexError) as error:
        raise CorruptFileError(
            f"{layer.name[:80]}: cannot be made with these settings and weights ({error})."
        ) from None
    return made if layer.is_trained else made.requires_grad_(False)


def layer_leaves(layer: LayerDescription) -> list[Leaf]:
    """Return the weights of one layer, as seen from it."""
    leaves = kind_of(layer).leaves(layer)
    return leaves if layer.is_trained else [replace(leaf, is_trained=False) for leaf in leaves]


# ---------------------------------------------------------------------- what kinds write


def serialized(class_name: str, config: Settings) -> Settings:
    """Return an object of Keras' layers as Keras 3 writes it."""
    return {"module": "keras.layers", "class_name": class_name, "config": config, "registered_name": None}


def settings_of(known: Rules, name: str, settings: Mapping[str, Any]) -> Settings:
    """Return the settings of a layer as Keras 3 writes them: without those of our own."""
    kept = {setting: value for setting, value in settings.items() if setting not in known.own}
    if isinstance(kept.get("axis"), list) and len(kept["axis"]) == 1:
        [kept["axis"]] = kept["axis"]
    return {"name": name, **kept}


def told_settings(settings: Mapping[str, Any], known: Rules, usual: Settings, without: tuple[str, ...] = ()) -> str:
    """Say the settings that are not Keras' defaults; sizes and activations first."""
    defaults = {**known.defaults, **usual}
    hidden = {*known.own, *without}
    shown = {k: v for k, v in settings.items() if k not in hidden and v != defaults.get(k, _NEVER)}
    order = sorted(shown, key=lambda name: (name not in _FIRST, _FIRST.index(name) if name in _FIRST else 0))
    return ", ".join(f"{name}={_value(shown[name])}" for name in order)


_NEVER = object()
_FIRST = ["units", "input_dim", "output_dim", "activation", "recurrent_activation"]


def _value(value: Any) -> str:
    if isinstance(value, dict) and "class_name" in value:
        config = [f"{name}={_value(setting)}" for name, setting in value["config"].items() if setting != 0]
        return f"{value['class_name']}({', '.join(config)})"
    return f"{value:.6g}" if isinstance(value, float) else repr(value)
