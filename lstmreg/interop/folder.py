"""A converted model as its folder holds it: its description in plain types, and its weights."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lstmreg import saved
from lstmreg.errors import CorruptFileError

from .keras.graph.calls import Call, Reference
from .keras.graph.layers import LayerDescription, ModelDescription
from .keras.modules.checks import check_model
from .keras.modules.model import KerasModel

#: Says in ``model.json`` what kind of model it is; lstmreg's own networks have a number there.
FORMAT = "keras-layers-1"


def save(model: KerasModel, directory: str | os.PathLike[str]) -> None:
    """Write a model into a folder, which is made if there is none."""
    saved.write(directory, FORMAT, describe(model), model.state_dict())


def restore(about: Mapping[str, Any], weights: Mapping[str, Tensor]) -> KerasModel:
    """Make a model of what its files hold, in eval mode."""
    return rebuild(about, weights).eval()


def describe(model: KerasModel) -> dict[str, Any]:
    """Return what :func:`rebuild` needs, as the plain types that JSON has."""
    described = {
        "shapes": {leaf.key: list(leaf.as_in_keras(model.state_dict()[leaf.tensor]).shape) for leaf in model.leaves()},
        "description": dataclasses.asdict(model.description),
    }
    plain: dict[str, Any] = json.loads(json.dumps(described))
    return plain


def rebuild(about: Mapping[str, Any], weights: Mapping[str, Tensor]) -> KerasModel:
    """Make the model that :func:`describe` described, with weights by their names in its ``state_dict``.

    Raises:
        CorruptFileError: If the description is not such as a file of Keras gives, or the weights are not its own.
    """
    description = _model(about["description"])
    check_model(description)
    with torch.device("meta"):
        model = KerasModel(description, {key: tuple(shape) for key, shape in about["shapes"].items()})
    saved.check_weights(model.state_dict(), weights)
    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    model.load_state_dict(weights, assign=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained[name])
    return model


def _model(written: dict[str, Any]) -> ModelDescription:
    return ModelDescription(
        written["name"],
        tuple(_layer(layer) for layer in written["layers"]),
        _references(written["inputs"]),
        _references(written["outputs"]),
        written["is_sequential"],
    )


def _layer(written: dict[str, Any]) -> LayerDescription:
    fields = dict(written)
    fields["calls"] = tuple(_call(call) for call in written["calls"])
    fields["model"] = None if written["model"] is None else _model(written["model"])
    fields["notes"] = tuple(written["notes"])
    return LayerDescription(**fields)


def _call(written: dict[str, Any]) -> Call:
    masks = tuple(None if mask is None else _reference(mask) for mask in written["masks"])
    return Call(
        _references(written["inputs"]), _references(written["initial_state"]), masks, tuple(written["constants"])
    )


def _references(written: list[Any]) -> tuple[Reference, ...]:
    return tuple(_reference(reference) for reference in written)


def _reference(written: Any) -> Reference:
    layer, call, output = written
    if not isinstance(layer, str) or type(call) is not int or type(output) is not int:
        raise CorruptFileError(f"a connection is not understood: {str(written)[:80]}")
    return Reference(layer, call, output)
