"""The two files of a saved model of any kind: ``model.json`` says what it is, ``model.safetensors`` has its weights."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from lstmreg.errors import UNEXPECTED, CorruptFileError
from lstmreg.files import read_file, write_atomically

_DESCRIPTION, _WEIGHTS = "model.json", "model.safetensors"
_DESCRIPTION_BYTES = 64 << 20

#: The format of weights of a network that only its user can make.
OWN_FORMAT = "own"

#: What is written as ``format``; it says which kind of model the rest of the description is of.
Format = int | str

Made = TypeVar("Made")

#: Makes a model of its description and its weights.
Maker = Callable[[Mapping[str, Any], Mapping[str, Tensor]], Made]


def is_there(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path is a folder with a saved model in it."""
    return (Path(path) / _DESCRIPTION).is_file()


def write(
    directory: str | os.PathLike[str], format: Format, description: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> None:
    """Write a model into a folder, which is made if there is none.

    Args:
        directory: The folder.
        format: The kind of model, by which :func:`read` finds who makes it.
        description: Anything that JSON holds.
        weights: Tensors by their names.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    content = safetensors.torch.save({name: w.detach().cpu().contiguous() for name, w in weights.items()})
    whole = {"format": format, "weights_sha256": hashlib.sha256(content).hexdigest(), **description}
    write_atomically(directory / _WEIGHTS, content)
    write_atomically(directory / _DESCRIPTION, json.dumps(whole, indent=1) + "\n")


def read(directory: str | os.PathLike[str], makers: Mapping[Format, Maker[Made]]) -> Made:
    """Read what :func:`write` wrote, and return what the maker of its format makes of it.

    Nothing is repaired, and whatever a maker raises is said of the files.

    Raises:
        CorruptFileError: If there is no such model, a file is missing or damaged, the two do not belong together, or
            none of ``makers`` knows the format.
    """
    directory = Path(directory)
    _check_is_there(directory)
    try:
        description = json.loads(read_file(directory / _DESCRIPTION, _DESCRIPTION_BYTES))
        make = _maker(description["format"], makers)
        content = read_file(directory / _WEIGHTS)
        made = make(description, safetensors.torch.load(content))
        # Afterwards, so that a tensor that does not fit is named.
        if hashlib.sha256(content).hexdigest() != description["weights_sha256"]:
            raise CorruptFileError(f"{_WEIGHTS} is not what {_DESCRIPTION} was saved with")
    except (OSError, *UNEXPECTED, safetensors.SafetensorError) as error:
        raise CorruptFileError(f"{directory}: not a saved model, or a damaged one ({reason(error)}).") from None
    return made


def _check_is_there(directory: Path) -> None:
    if (directory / _DESCRIPTION).exists():
        return
    if directory.is_file():
        raise CorruptFileError(f"{directory}: no saved model (a file; a saved model is a folder). Name the folder.")
    has = f"no {_DESCRIPTION} in this folder" if directory.is_dir() else "no such folder"
    raise CorruptFileError(
        f"{directory}: no saved model ({has}). A fit saves into runs/NAME/fit, a search into runs/NAME."
    )


def _maker(format: Any, makers: Mapping[Format, Maker[Made]]) -> Maker[Made]:
    if not isinstance(format, Format) or format not in makers:
        raise CorruptFileError(
            f"format {format!r:.40}; expected {' or '.join(map(repr, makers))}. lstmreg.load reads every kind"
        )
    return makers[format]


def check_weights(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Compare names and shapes; all must be finite and of one floating point type, which is the file's choice.

    Raises:
        CorruptFileError: It names the first tensor that is wrong.
    """
    dtype = statistics.mode([w.dtype for w in found.values()] or [torch.float32])
    if not dtype.is_floating_point:
        raise CorruptFileError(f"weights must be of a floating point type, got {dtype}")
    for name in sorted({*expected, *found}):
        wanted = f"{dtype} {tuple(expected[name].shape)}" if name in expected else "absent"
        got = f"{found[name].dtype} {tuple(found[name].shape)}" if name in found else "absent"
        if wanted != got:
            raise CorruptFileError(f"{name} must be {wanted}, got {got}")
        if not bool(found[name].isfinite().all()):
            raise CorruptFileError(f"{name} is not finite")


def reason(error: Exception) -> str:
    """Return what an error says, as a part of another one's sentence."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
