"""A converted model's folder: ``model.json`` with its description, ``model.safetensors`` with its weights."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from lstmreg.errors import UNEXPECTED, CorruptFileError
from lstmreg.files import read_file, write_atomically

from .keras.graph.calls import Call, Reference
from .keras.graph.layers import LayerDescription, ModelDescription
from .keras.modules.checks import check_model
from .keras.modules.model import KerasModel

#: Says in ``model.json`` what kind of model it is; lstmreg's own networks have a number there.
FORMAT = "keras-layers-1"
_DESCRIPTION_BYTES = 64 << 20


def is_ours(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path is a folder with a saved model in it."""
    return (Path(path) / "model.json").is_file()


def is_converted(path: str | os.PathLike[str]) -> bool:
    """Tell whether a saved model is a converted one, and not a network that lstmreg trained."""
    try:
        about = json.loads((Path(path) / "model.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return True  # whoever reads it says what is wrong
    return not (isinstance(about, dict) and isinstance(about.get("format"), int))


def save(model: KerasModel, directory: Path) -> None:
    """Write a model into a folder, which is made if there is none."""
    directory.mkdir(parents=True, exist_ok=True)
    content = safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()})
    about = {"format": FORMAT, "weights_sha256": hashlib.sha256(content).hexdigest(), **describe(model)}
    write_atomically(directory / "model.safetensors", content)
    write_atomically(directory / "model.json", json.dumps(about, indent=1) + "\n")


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
    _check_weights(model, weights)
    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    model.load_state_dict(weights, assign=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained[name])
    return model


def load(directory: Path) -> KerasModel:
    """Read what :func:`save` wrote.

    Raises:
        CorruptFileError: If a file is missing or damaged, or the two do not belong together.
    """
    try:
        about = json.loads(read_file(directory / "model.json", _DESCRIPTION_BYTES))
        if about["format"] != FORMAT:
            raise CorruptFileError(f"format {str(about['format'])[:40]!r}; this version reads {FORMAT!r}")
        content = read_file(directory / "model.safetensors")
        if hashlib.sha256(content).hexdigest() != about["weights_sha256"]:
            raise CorruptFileError("model.safetensors is not what model.json was saved with")
        model = rebuild(about, safetensors.torch.load(content))
    except (OSError, *UNEXPECTED, safetensors.SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise CorruptFileError(f"{directory}: not a converted model, or a damaged one ({reason}).") from None
    return model.eval()


def _check_weights(model: KerasModel, weights: Mapping[str, Tensor]) -> None:
    expected = model.state_dict()
    for name in sorted({*expected, *weights}):
        if name not in weights or name not in expected or weights[name].shape != expected[name].shape:
            wanted, got = (
                f"shape {tuple(tensors[name].shape)}" if name in tensors else "nothing"
                for tensors in (expected, weights)
            )
            raise CorruptFileError(f"{name} must have {wanted}, got {got}")
        if not bool(weights[name].isfinite().all()):
            raise CorruptFileError(f"{name} is not finite")
    types = {tensor.dtype for tensor in weights.values()}
    if len(types) > 1 or not types <= {torch.float32, torch.float64}:
        raise CorruptFileError(f"weights must be all float32 or all float64, got {', '.join(map(str, types))}")


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
