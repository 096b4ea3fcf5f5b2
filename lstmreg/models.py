"""The ready network that a :class:`ModelConfig` describes, or several of them as one, and how they are saved."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from lstmreg import initializers, saved
from lstmreg.config import ModelConfig
from lstmreg.errors import ConfigError
from lstmreg.knobs import KNOBS, layer_arguments
from lstmreg.layers import LSTM
from lstmreg.layers.embedding import Embeddings
from lstmreg.layers.lengths import check_lengths, steps_within
from lstmreg.regularizers import L1L2
from lstmreg.tracing import is_symbolic

#: Says in ``model.json`` that it is a network of this file.
FORMAT = 1


class Network(nn.Module):
    """A stack of LSTMs with settings per layer, then a linear head on the last step, or on every step.

    Where only its last step is used, the top layer's activity penalty counts that step alone, as in
    Keras with ``return_sequences=False``; else it counts all steps of a sequence.

    Sequences of unequal lengths are padded at their ends. What stands there is never looked at, be it NaN, and how much
    there is changes nothing; no prediction, penalty or gradient depends on the other sequences of the batch, beyond
    rounding.

    Args:
        config: Sizes and knobs.
        input_size: Input features, D.
        output_size: Outputs, O.
        steps: ``"last"`` to predict once for each sequence, ``"all"`` to predict at each of its steps.
        vocabularies: Of each input column that holds tokens, by its number: how many there are, V. Its values are 1 to
            V, or 0 for an unknown one. A vector takes its place, of ``config.embedding_size`` numbers; that of what is
            unknown is zero. Default: no column holds tokens.

    Shape:
        ``(B, T, D)`` in, and ``lengths (B)`` where they are unequal; ``(B, O)`` out, or ``(B, T, O)`` where ``steps``
        is ``"all"``, with zeros beyond the end of a sequence.

    Raises:
        ValueError: If ``config`` has several ``members``; see :class:`Ensemble`. If ``steps`` is another word, or
            ``config.embedding_dropout`` has nothing to drop.
        InputError: In a call, if ``lengths`` are not between 1 and T, or a column of tokens holds something else.

    Example:
        >>> import torch
        >>> network = Network(ModelConfig(hidden_size=[16, 8], num_layers=2, dropout=[0.0, 0.2]), 3, 1)
        >>> network(torch.zeros(4, 24, 3)).shape
        torch.Size([4, 1])
        >>> network(torch.zeros(4, 24, 3), torch.tensor([24, 3, 17, 1])).shape
        torch.Size([4, 1])
    """

    def __init__(
        self,
        config: ModelConfig,
        input_size: int,
        output_size: int,
        *,
        steps: Literal["last", "all"] = "last",
        vocabularies: Mapping[int, int] | None = None,
    ) -> None:
        super().__init__()
        if config.members > 1:
            raise ValueError(
                f"a Network is one of the members; members must be 1, got {config.members}. "
                f"Give lstmreg.Ensemble a network for each."
            )
        if steps not in ("last", "all"):
            raise ValueError(f"steps must be 'last' or 'all', got {steps!r}.")
        self.config = config
        self.input_size = input_size
        self.output_size = output_size
        self.steps = steps
        width, self.embeddings = input_size, None
        if vocabularies:
            self.embeddings = Embeddings(input_size, vocabularies, config.embedding_size, config.embedding_dropout)
            width = self.embeddings.output_size
        elif config.embedding_dropout > 0:
            raise ConfigError(
                f"model.embedding_dropout must be 0 where no input column holds tokens, "
                f"got {config.embedding_dropout!r}."
            )
        self.layers = nn.ModuleList()
        for index in range(config.num_layers):
            is_last_used = index == config.num_layers - 1 and steps == "last"
            layer = _lstm(config, index, width, is_last_used)
            self.layers.append(layer)
            width = layer.hidden_size * (2 if config.bidirectional else 1)
        self.head = nn.Linear(width, output_size)
        if config.head_initializer == "keras":
            initializers.GlorotUniform()(self.head.weight)
            nn.init.zeros_(self.head.bias)

    @property
    def vocabularies(self) -> dict[int, int]:
        """The number of tokens of each column that holds some."""
        return {} if self.embeddings is None else self.embeddings.vocabularies

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Predict from sequences ``(B, T, D)``, of which sequence ``b`` ends after ``lengths[b]`` steps.

        Without ``lengths`` every step counts.
        """
        if lengths is not None and not is_symbolic(lengths):
            return self._forward_unequal(x, lengths)
        self._check_type(x)
        x = x if self.embeddings is None else self.embeddings(x)
        for layer in self.layers:
            x, (h_n, _) = layer(x)
        return self._prediction(x if self.steps == "all" else _ends(h_n))

    def _check_type(self, x: Any) -> None:
        """Refuse what no layer takes; a ``PackedSequence`` may go where nothing but layers reads it."""
        is_packed = isinstance(x, PackedSequence) and self.embeddings is None and self.steps == "last"
        if not (isinstance(x, Tensor) or is_packed or is_symbolic(x)):
            raise TypeError(
                f"x must be a tensor, got {type(x).__name__}. In a batch, sequences of unequal lengths are the tuple "
                f"(x, lengths)."
            )

    def _forward_unequal(self, x: Tensor, lengths: Tensor) -> Tensor:
        check_lengths(lengths, x)
        steps = x.shape[1]
        within = steps_within(lengths, steps, x.device).unsqueeze(-1)
        if self.embeddings is not None:
            x = self.embeddings(torch.where(within, x, 0.0))
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        for layer in self.layers:
            packed, (h_n, _) = layer(packed)
        if self.steps == "last":
            return self._prediction(_ends(h_n))
        output, _ = pad_packed_sequence(packed, batch_first=True, total_length=steps)
        return torch.where(within, self._prediction(output), 0.0)

    def _prediction(self, features: Tensor) -> Tensor:
        prediction: Tensor = self.head(features)
        return prediction


def _ends(h_n: Tensor) -> Tensor:
    """Return the last outputs of a layer's directions side by side, ``(B, directions * H)``."""
    return h_n.transpose(0, 1).flatten(1)


def _lstm(config: ModelConfig, index: int, input_size: int, is_last_used: bool) -> LSTM:
    settings = config.layer(index)
    knobs: dict[str, Any] = {
        argument: L1L2(**value) if isinstance(value, dict) else value
        for argument, value in layer_arguments(settings).items()
    }
    return LSTM(
        input_size,
        settings["hidden_size"],
        batch_first=True,
        bidirectional=config.bidirectional,
        stateful=config.stateful,
        per_gate_masks=config.per_gate_masks,
        per_gate_input_masks=config.per_gate_input_masks,
        activity_steps="last" if is_last_used else "all",
        activation=settings["activation"],
        recurrent_activation=settings["recurrent_activation"],
        **knobs,
    )


class Ensemble(nn.Module):
    r"""Networks of one configuration as one, which predicts the mean of what they predict.

    .. math:: \hat{y} = \frac{1}{K} \sum_k \hat{y}_k

    Networks that differ in nothing but their seed err in different directions, so that their mean errs less.

    Args:
        networks: The members, K: two or more of one configuration.

    Attributes:
        config: That of the members, with their number as ``members``.

    Shape:
        As of its members.

    Raises:
        TypeError: If a member is no :class:`Network`.
        ValueError: If there are fewer than two, or they differ in their configuration or sizes.

    Example:
        >>> import torch
        >>> ensemble = Ensemble(Network(ModelConfig(hidden_size=8), 3, 1) for _ in range(5))
        >>> ensemble(torch.zeros(4, 24, 3)).shape
        torch.Size([4, 1])
        >>> ensemble.config.members
        5
    """

    def __init__(self, networks: Iterable[Network]) -> None:
        super().__init__()
        members = list(networks)
        for k, network in enumerate(members):
            if not isinstance(network, Network):
                raise TypeError(f"the members must be lstmreg.Network, got {type(network).__name__} as member {k}.")
        if len(members) < 2:
            raise ValueError(f"networks must be two or more, got {len(members)}. One predicts by itself.")
        first = members[0]
        for k, network in enumerate(members):
            if describe(network) != describe(first):
                raise ValueError(
                    f"the members must have one configuration and the same sizes, but member {k} has other ones than "
                    f"member 0."
                )
        self.members = nn.ModuleList(members)
        self.config = dataclasses.replace(first.config, members=len(members))
        self.input_size, self.output_size = first.input_size, first.output_size
        self.steps, self.vocabularies = first.steps, first.vocabularies

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Predict from sequences ``(B, T, D)``, as :meth:`Network.forward` does."""
        given = (x,) if lengths is None else (x, lengths)
        return torch.stack([member(*given) for member in self.members]).mean(0)


#: So many sequences go through a network at once: the states of all steps of a long table would not fit.
_SEQUENCES_AT_ONCE = 1 << 14


@torch.no_grad()
def outputs(network: Network | Ensemble, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return what a network gives for any number of sequences, in eval mode; its mode is kept.

    Args:
        network: The network.
        inputs: ``(N, T, D)``, in any floating dtype.
        lengths: ``(N,)`` where they differ.

    Returns:
        ``(N, O)``, on the device and in the dtype of ``inputs``.
    """
    was_training = network.training
    network.eval()
    found = _in_parts(network, inputs, lengths)
    network.train(was_training)
    return found


def drops(network: Network | Ensemble) -> bool:
    """Tell whether a network drops anything in training, so that its masks can be drawn in prediction too."""
    config = network.config
    layers = [config.layer(index) for index in range(config.num_layers)]
    rates = [layer[knob.name] for layer in layers for knob in KNOBS.values() if knob.kind == "rate"]
    return any(rate > 0 for rate in [*rates, config.embedding_dropout])


@torch.no_grad()
def sampled_outputs(
    network: Network | Ensemble, inputs: Tensor, lengths: Tensor | None = None, *, samples: int, seed: int
) -> Tensor:
    """Return what a network gives under masks as in training, drawn anew for each sample and sequence.

    The samples of an ensemble come from its members in turn, so that their spread is that of the members too.

    Args:
        network: The network; its mode is kept, and so is torch's generator.
        inputs: ``(N, T, D)``, in any floating dtype.
        lengths: ``(N,)`` where they differ.
        samples: How many, S.
        seed: Decides all masks.

    Returns:
        ``(S, N, O)``, on the device and in the dtype of ``inputs``.

    References:
        Gal & Ghahramani (2016), arXiv:1506.02142; of ensembles Lakshminarayanan et al. (2017), arXiv:1612.01474.
    """
    members: list[nn.Module] = list(network.members) if isinstance(network, Ensemble) else [network]
    like, was_training = next(network.parameters()), network.training
    devices = [like.device] if like.is_cuda else []
    network.train()
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            return torch.stack([_in_parts(members[s % len(members)], inputs, lengths) for s in range(samples)])
    finally:
        network.train(was_training)


def _in_parts(network: nn.Module, inputs: Tensor, lengths: Tensor | None) -> Tensor:
    like = next(network.parameters())
    parts = zip(*(torch.split(t, _SEQUENCES_AT_ONCE) for t in (inputs, lengths) if t is not None), strict=True)
    return torch.cat([network(x.to(like), *rest).to(inputs) for x, *rest in parts])


def predicted(network: nn.Module, x: Any) -> Any:
    """Return what a network predicts from the ``x`` of a batch; a tuple, such as ``(x, lengths)``, is its arguments."""
    return network(*x) if type(x) is tuple else network(x)


def describe(network: Network | Ensemble) -> dict[str, Any]:
    """Return what :func:`rebuild` needs, as plain types."""
    return {
        "model": dataclasses.asdict(network.config),
        "input_size": network.input_size,
        "output_size": network.output_size,
        "steps": network.steps,
        "vocabularies": [[column, tokens] for column, tokens in network.vocabularies.items()],
    }


def rebuild(description: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Network | Ensemble:
    """Make the network that :func:`describe` described, with weights by their names in its ``state_dict``.

    Nothing is made before the weights are seen to be there: a file's word for its size allocates nothing.

    Raises:
        CorruptFileError: If a weight is missing, too many, not finite, or has another shape.
    """
    config = ModelConfig(**description["model"])
    with torch.device("meta"):
        one = Network(
            dataclasses.replace(config, members=1),
            description["input_size"],
            description["output_size"],
            steps=description.get("steps", "last"),  # which files had not from the beginning
            vocabularies=dict(description.get("vocabularies", [])),
        )
        expected = one.state_dict()
        if config.members > 1:
            expected = {f"members.{k}.{name}": w for k in range(config.members) for name, w in expected.items()}
        saved.check_weights(expected, weights)
        network = one if config.members == 1 else Ensemble(copy.deepcopy(one) for _ in range(config.members))
    network.load_state_dict(weights, assign=True)
    return network


def save(directory: str | os.PathLike[str], network: Network | Ensemble, about: Mapping[str, Any]) -> None:
    """Write ``model.json`` and ``model.safetensors`` into ``directory``.

    Args:
        directory: The folder; it is made if there is none.
        network: What to save.
        about: Anything that JSON holds, to be returned by :func:`load`. What forecasts a table, its columns and scales
            included, is a :class:`lstmreg.Forecaster`, which saves itself.
    """
    saved.write(directory, FORMAT, {**describe(network), "about": about}, network.state_dict())


def load(directory: str | os.PathLike[str]) -> tuple[Network | Ensemble, dict[str, Any]]:
    """Read what :func:`save` wrote.

    Returns:
        The network, or the ensemble where ``model.members`` are several, in eval mode, and ``about``.

    Raises:
        CorruptFileError: If a file is missing or damaged, or the two do not belong together.
    """
    return saved.read(directory, {FORMAT: restore})


def restore(description: Mapping[str, Any], weights: Mapping[str, Tensor]) -> tuple[Network | Ensemble, dict[str, Any]]:
    """Make what :func:`load` returns of what the files hold."""
    return rebuild(description, weights).eval(), description["about"]
