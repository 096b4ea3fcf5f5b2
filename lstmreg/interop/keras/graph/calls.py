"""How a layer is used in a model: which tensors go in, from where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from lstmreg.errors import CorruptFileError


class Reference(NamedTuple):
    """A tensor of the graph: which output of which call of which layer."""

    layer: str
    call: int = 0
    output: int = 0


@dataclass(frozen=True)
class Call:
    """One use of a layer."""

    inputs: tuple[Reference, ...]
    initial_state: tuple[Reference, ...] = ()
    #: Of each input, where the file says so; else masks are those that come with the inputs.
    masks: tuple[Reference | None, ...] = ()
    constants: tuple[float, ...] = ()  #: of an operation, behind its tensors

    def references(self) -> list[Reference]:
        """Return all tensors that the call needs."""
        return [*self.inputs, *self.initial_state, *(mask for mask in self.masks if mask is not None)]

    def renamed(self, rename: Callable[[Reference], Reference]) -> Call:
        """Return the call with other names for the same tensors."""
        masks = tuple(None if mask is None else rename(mask) for mask in self.masks)
        return Call(tuple(map(rename, self.inputs)), tuple(map(rename, self.initial_state)), masks, self.constants)


def read_call(node: Any, *, has_states: bool) -> Call:
    """Read a use of a layer as any version of Keras wrote it.

    Args:
        node: One of a layer's ``inbound_nodes``.
        has_states: Whether the layer's states may come in the list of its inputs.

    Raises:
        CorruptFileError: If an argument is not understood.
    """
    call = _call_of_keras_3(node) if isinstance(node, dict) else _call_of_keras_2(node)
    if not call.inputs:
        raise CorruptFileError("is called without a tensor of the model")
    if has_states and len(call.inputs) > 1:
        return Call(call.inputs[:1], call.inputs[1:] + call.initial_state, call.masks[:1])
    return call


def is_reference(written: Any) -> bool:
    """Tell whether this is a tensor as Keras 1 and 2 write it: layer, call, output, and perhaps arguments."""
    return isinstance(written, list) and len(written) in (3, 4) and isinstance(written[0], str)


def read_reference(written: Any) -> Reference:
    """Read a tensor."""
    if not is_reference(written) or not all(type(n) is int and n >= 0 for n in written[1:3]):
        raise CorruptFileError(f"is connected in a way that is not understood: {str(written)[:80]}")
    return Reference(written[0], written[1], written[2])


def _call_of_keras_2(node: Any) -> Call:
    inputs: list[Reference] = []
    keywords: dict[str, Any] = {}
    for each in [node] if is_reference(node) else node:
        inputs.append(read_reference(each))
        more = each[3] if len(each) == 4 else {}
        if not isinstance(more, dict):
            raise CorruptFileError("is called with arguments that are not understood")
        keywords |= more
    return _call(inputs, keywords, read_reference, is_reference)


def _call_of_keras_3(node: Mapping[str, Any]) -> Call:
    positional = list(node.get("args", []))
    keywords = dict(node.get("kwargs") or {})
    if not positional:
        first = next((name for name in ("inputs", "sequences", "sequence", "x") if name in keywords), None)
        positional = [] if first is None else [keywords.pop(first)]
    inputs, constants = [], []
    for argument in positional:
        if isinstance(argument, (int, float)) and not isinstance(argument, bool):
            constants.append(float(argument))
        elif argument is not None:
            inputs += list(_tensors(argument))
    made = _call(inputs, keywords, _tensor, _is_tensor)
    return Call(made.inputs, made.initial_state, made.masks, tuple(constants))


def _call(
    inputs: list[Reference],
    keywords: Mapping[str, Any],
    read: Callable[[Any], Reference],
    is_one: Callable[[Any], bool],
) -> Call:
    """Add the keyword arguments that mean something; others must say nothing."""
    states: list[Reference] = []
    masks: list[Reference | None] = []
    for name, value in keywords.items():
        if value is None or (name == "training" and value in (False, 0)):
            continue
        listed = [value] if is_one(value) or not isinstance(value, list) else value
        if name == "initial_state":
            states = [read(each) for each in listed]
        elif name == "mask":
            masks = [None if each is None else read(each) for each in listed]
        else:
            raise CorruptFileError(f"is called with {str(name)[:40]}={str(value)[:60]}, which is not supported")
    if masks and not any(mask is not None for mask in masks):
        masks = []
    return Call(tuple(inputs), tuple(states), tuple(masks))


def _tensors(argument: Any) -> Iterator[Reference]:
    for each in argument if isinstance(argument, list) else [argument]:
        yield _tensor(each)


def _is_tensor(argument: Any) -> bool:
    return isinstance(argument, dict) and argument.get("class_name") == "__keras_tensor__"


def _tensor(argument: Any) -> Reference:
    if not _is_tensor(argument):
        raise CorruptFileError(f"is called with {str(argument)[:60]}, which is not a tensor of the model")
    return read_reference(list(argument["config"]["keras_history"]))
