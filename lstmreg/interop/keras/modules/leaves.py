"""A weight in Keras and the tensor that holds it here: what reading and writing both go by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True)
class Leaf:
    """One weight of a layer.

    Args:
        group: Where it stands within its layer in a ``.weights.h5`` file, such as ``cell``; empty for the layer itself.
        index: Its number there.
        name: Keras' name, such as ``recurrent_kernel``.
        tensor: The parameter or buffer here, dotted.
        transposed: Whether the order of its axes is turned round between the two.
        is_trained: Whether it belongs to the trainable weights, which old files keep in front.
        owner: The name of the layer that has it, which may stand inside another one.
        addend: A second parameter or buffer here whose sum with the first is Keras' weight, if there is one.
    """

    group: str
    index: int
    name: str
    tensor: str
    transposed: bool = False
    is_trained: bool = True
    owner: str = ""
    addend: str = ""

    @property
    def key(self) -> str:
        """Its path within its layer."""
        return f"{self.group}/vars/{self.index}".lstrip("/")

    def inside(self, group: str, tensor: str) -> Leaf:
        """Return the same weight as seen from a layer around it."""
        addend = f"{tensor}.{self.addend}" if self.addend else ""
        return replace(self, group=f"{group}/{self.group}".rstrip("/"), tensor=f"{tensor}.{self.tensor}", addend=addend)

    def as_in_keras(self, tensor: Tensor) -> Tensor:
        """Return a tensor of ours in Keras' layout (or one of Keras' in ours: both transpose a matrix)."""
        return tensor.permute(*reversed(range(tensor.dim()))) if self.transposed else tensor


def own(
    names: Iterable[tuple[str, str]], *, untrained: Iterable[str] = (), transposed: Iterable[str] = ()
) -> list[Leaf]:
    """Return the leaves of a layer that has its weights itself, of pairs of Keras' name and ours."""
    return [
        Leaf("", index, name, tensor, name in transposed, name not in untrained)
        for index, (name, tensor) in enumerate(names)
    ]
