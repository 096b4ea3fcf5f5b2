"""The ready network that a :class:`ModelConfig` describes, and how it is saved."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from lstmreg.config import ModelConfig
from lstmreg.errors import CorruptFileError
from lstmreg.files import read_file, write_atomically
from lstmreg.layers import LSTM
from lstmreg.regularizers import L1L2, Regularizer

_FORMAT = 1
_DESCRIPTION_BYTES = 64 << 20


class Network(nn.Module):
    """A stack of LSTMs with settings per layer, then a linear head on the last step.

    Because only its last step is used, the top layer's activity penalty counts that step alone, as in
    Keras with ``return_sequences=False``.

    Args:
        config: Sizes and knobs.
        input_size: Input features, D.
        output_size: Outputs, O.

    Shape:
        ``(B, T, D)`` in, ``(B, O)`` out.

    Example:
        >>> import torch
        >>> network = Network(ModelConfig(hidden_size=[16, 8], num_layers=2, dropout=[0.0, 0.2]), 3, 1)
        >>> network(torch.zeros(4, 24, 3)).shape
        torch.Size([4, 1])
    """

    def __init__(self, config: ModelConfig, input_size: int, output_size: int) -> None:
        super().__init__()
        self.config = config
        self.input_size = input_size
        self.output_size = output_size
        self.layers = nn.ModuleList()
        width = input_size
        for index in range(config.num_layers):
            is_top = index == config.num_layers - 1
            layer = _lstm(config, index, width, is_top)
            self.layers.append(layer)
            width = layer.hidden_size * (2 if config.bidirectional else 1)
        self.head = nn.Linear(width, output_size)

    def forward(self, x: Tensor) -> Tensor:
        """Predict from windows ``(B, T, D)``."""
        for layer in self.layers:
            x, (h_n, _) = layer(x)
        last: Tensor = h_n.transpose(0, 1).flatten(1)  # (B, directions * H)
        prediction: Tensor = self.head(last)
        return prediction


def _lstm(config: ModelConfig, index: int, input_size: int, is_top: bool) -> LSTM:
    settings = config.layer(index)

    def elastic_net(place: str) -> Regularizer | None:
        l1, l2 = settings[f"{place}_l1"], settings[f"{place}_l2"]
        return L1L2(l1, l2) if l1 > 0 or l2 > 0 else None

    return LSTM(
        input_size,
        settings["hidden_size"],
        batch_first=True,
        bidirectional=config.bidirectional,
        stateful=config.stateful,
        per_gate_input_masks=config.per_gate_input_masks,
        dropout=settings["dropout"],
        recurrent_dropout=settings["recurrent_dropout"],
        kernel_regularizer=elastic_net("kernel"),
        recurrent_regularizer=elastic_net("recurrent"),
        bias_regularizer=elastic_net("bias"),
        activity_regularizer=elastic_net("activity"),
        activity_steps="last" if is_top else "all",
    )


def save(directory: Path, network: Network, about: dict[str, Any]) -> None:
    """Write ``model.json`` and ``model.safetensors`` into ``directory``.

    Args:
        directory: An existing folder.
        network: What to save.
        about: Anything that JSON holds, to be returned by :func:`load`: columns, scales, scores.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    content = safetensors.torch.save(weights)
    description = {
        "format": _FORMAT,
        "model": dataclasses.asdict(network.config),
        "input_size": network.input_size,
        "output_size": network.output_size,
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        "about": about,
    }
    write_atomically(directory / "model.safetensors", content)
    write_atomically(directory / "model.json", json.dumps(description, indent=1) + "\n")


def load(directory: Path) -> tuple[Network, dict[str, Any]]:
    """Read what :func:`save` wrote.

    Returns:
        The network, in eval mode, and ``about``.

    Raises:
        CorruptFileError: If a file is missing or damaged, or the two do not belong together.
    """
    try:
        description = json.loads(read_file(directory / "model.json", _DESCRIPTION_BYTES))
        content = read_file(directory / "model.safetensors")
        if description["format"] != _FORMAT:
            raise CorruptFileError(
                f"{directory / 'model.json'}: format {description['format']!r}; this version reads {_FORMAT}."
            )
        weights = safetensors.torch.load(content)
        with torch.device("meta"):  # a file's word for its size allocates nothing
            network = Network(
                ModelConfig(**description["model"]), description["input_size"], description["output_size"]
            )
        _check_weights(directory / "model.safetensors", network.state_dict(), weights)
        if hashlib.sha256(content).hexdigest() != description["weights_sha256"]:
            raise CorruptFileError(f"{directory}: model.safetensors is not what model.json was saved with.")
        network.load_state_dict(weights, assign=True)
        about: dict[str, Any] = description["about"]
    except CorruptFileError:
        raise
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise CorruptFileError(f"{directory}: not a saved model, or a damaged one ({reason}).") from None
    return network.eval(), about


def _check_weights(path: Path, expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """Compare names, shapes and types, and name the first tensor that is wrong."""
    for name in sorted({*expected, *found}):
        wanted, got = (
            f"{tensors[name].dtype} {tuple(tensors[name].shape)}" if name in tensors else "absent"
            for tensors in (expected, found)
        )
        if wanted != got:
            raise CorruptFileError(f"{path}: {name} must be {wanted}, got {got}.")
        if not bool(found[name].isfinite().all()):
            raise CorruptFileError(f"{path}: {name} is not finite.")
