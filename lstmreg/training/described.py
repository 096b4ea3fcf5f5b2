"""Networks in a Lightning checkpoint as plain types, so that one can be read without them, and without a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lstmreg import models, saved
from lstmreg.errors import UNEXPECTED, CorruptFileError
from lstmreg.interop import KerasModel, folder
from lstmreg.models import Ensemble, Network


def describe(network: nn.Module) -> dict[str, Any]:
    """Return what a checkpoint says of a network: how to make it, or only its class where that is the user's own."""
    if isinstance(network, (Network, Ensemble)):
        return {"kind": "network", **models.describe(network)}
    if isinstance(network, KerasModel):
        return {"kind": "keras", **folder.describe(network)}
    return {"kind": "other", "class": type(network).__name__}


class Described(nn.Module):
    """Stands where a network will be as soon as its weights are read.

    Raises:
        TypeError: If the description does not say how to make it.
    """

    def __init__(self, description: Mapping[str, Any]) -> None:
        super().__init__()
        if not isinstance(description, Mapping):
            raise TypeError(f"network must be a torch.nn.Module, got {description!r}.")
        if description.get("kind") not in ("network", "keras"):
            name = description.get("class", "module")
            raise TypeError(
                f"network must be given: the checkpoint holds the weights of {name}, but not how to make one. "
                f"Use TrainingModule.load_from_checkpoint(path, network={name}(...))."
            )
        self.description = description

    def rebuilt(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """Return the network with its weights.

        Raises:
            CorruptFileError: If the two do not belong together.
        """
        try:
            if self.description["kind"] == "network":
                return models.rebuild(self.description, weights)
            return folder.rebuild(self.description, weights)
        except UNEXPECTED as error:
            reason = saved.reason(error)
            raise CorruptFileError(f"the checkpoint's network and its weights do not fit ({reason}).") from None
