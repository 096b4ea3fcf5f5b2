"""``Population``: K networks of one architecture as one module, each a row of weights."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lstmreg.config import ModelConfig
from lstmreg.dropout import Generators
from lstmreg.initializers import seeded
from lstmreg.knobs import KNOBS
from lstmreg.layers import LSTM
from lstmreg.layers.cell import Cell
from lstmreg.layers.embedding import Embeddings, draw_member_token_masks, embed
from lstmreg.layers.lengths import check_lengths, steps_within
from lstmreg.layers.penalty import is_regularized
from lstmreg.layers.population import SERVED, LayerPopulation, MemberTerm, States, is_on, member_totals
from lstmreg.layers.proximal import l1_terms
from lstmreg.models import Network
from lstmreg.ops import lesson
from lstmreg.regularizers import add_member_slopes


class Population(nn.Module):
    r"""K networks that differ in knobs and weights alone, run side by side.

    Regularization strengths and rates do not change a tensor's shape, so hundreds of settings can be trained at the
    cost of a few. To train a population, use :func:`lstmreg.fit_population`.

    Args:
        networks: The members: same sizes, layers and directions, float type and device. Their weights are copied.

    Attributes:
        weights: ``(K, P)``: row ``k`` holds all parameters of member ``k``, in the order of its ``parameters()``.

    Shape:
        ``(B, T, D)``, shared by all, or ``(K, B, T, D)`` in, with ``lengths`` ``(B)`` or ``(K, B)`` where they are
        unequal; ``(K, B, O)`` out, or ``(K, B, T, O)`` of networks that predict at every step.

    Raises:
        TypeError: If a member is no :class:`lstmreg.Network`.
        ValueError: If there is none, or one has another architecture than the first.

    Example:
        >>> import torch
        >>> rates = [0.0, 0.2, 0.4]
        >>> population = Population.of([ModelConfig(hidden_size=8, dropout=rate) for rate in rates], 3, 1)
        >>> population(torch.zeros(4, 24, 3)).shape
        torch.Size([3, 4, 1])
        >>> population[2].config.dropout
        0.4
    """

    def __init__(self, networks: Iterable[Network]) -> None:
        super().__init__()
        if isinstance(networks, nn.Module):
            raise TypeError(f"networks must be a list of lstmreg.Network, got one {type(networks).__name__}.")
        self.networks = list(networks)
        _check(self.networks)
        with torch.no_grad():
            self.weights = nn.Parameter(torch.stack([_row(network) for network in self.networks]))
        self._carried: list[States] | None = None

    @classmethod
    def of(
        cls,
        configs: Sequence[ModelConfig],
        input_size: int,
        output_size: int,
        *,
        seeds: int | Sequence[int] = 0,
        steps: Literal["last", "all"] = "last",
        vocabularies: Mapping[int, int] | None = None,
    ) -> Population:
        """Make the networks of some configurations.

        Args:
            configs: One for each member.
            input_size: Input features, D.
            output_size: Outputs, O.
            seeds: Of the initial weights: one for all, so that members start alike and differ by their knobs
                alone, or one for each member.
            steps: As of :class:`lstmreg.Network`; likewise ``vocabularies``.
            vocabularies: The number of tokens of each input column that holds some.
        """
        configs = list(configs) if not isinstance(configs, ModelConfig) else [configs]
        for config in configs:
            if not isinstance(config, ModelConfig):
                raise TypeError(f"configs must be a list of ModelConfig, got {config!r} in it.")
        own = [seeds] * len(configs) if isinstance(seeds, int) else list(seeds)
        if len(own) != len(configs):
            raise ValueError(f"seeds must be one int or one for each of the {len(configs)} members, got {len(own)}.")
        networks = []
        for config, seed in zip(configs, own, strict=True):
            with seeded(seed):
                networks.append(Network(config, input_size, output_size, steps=steps, vocabularies=vocabularies))
        return cls(networks)

    def __len__(self) -> int:
        return len(self.networks)

    def __getitem__(self, member: int) -> Network:
        """Return a member as an ordinary network, with its weights as they are now."""
        network = self.networks[operator.index(member)].to(self.weights)
        _fill(network, self.weights.detach()[member])
        return network.train(self.training)

    def extra_repr(self) -> str:
        """Show how many there are, and what is common to them."""
        first = self.networks[0]
        sizes = f"{first.input_size}, {first.output_size}, hidden_size={first.config.hidden_size}"
        return f"{len(self)} members, {sizes}, num_layers={first.config.num_layers}"

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Predict with every member, as in evaluation: nothing is dropped.

        Stateful members go on from the states in which the last call ended; see :meth:`reset_state`.
        """
        if not isinstance(x, Tensor):
            raise TypeError(
                f"x must be a tensor (B, T, D) or (K, B, T, D), got {type(x).__name__}. One member by itself takes "
                f"what a single network takes: population[k](x)."
            )
        prediction, last = self.block(range(len(self))).run(self.weights, x, self._states_for(x), lengths=lengths)
        if self.networks[0].config.stateful:
            self._carried = [(h.detach(), c.detach()) for h, c in last]
        return prediction

    def _states_for(self, x: Tensor) -> list[States] | None:
        if self._carried is None:
            return None
        known, batch = self._carried[0][0].shape[-2], x.shape[-3]
        if batch != known:
            raise ValueError(
                f"a stateful layer must get the same number of sequences each time, {known}, got {batch}. "
                f"Call reset_state() first."
            )
        return [(h.to(self.weights), c.to(self.weights)) for h, c in self._carried]

    def reset_state(self) -> None:
        """Let stateful members begin with zeros again."""
        self._carried = None

    def kinds_of_masks(self, member: int) -> tuple[tuple[int, int], ...]:
        """Return what masks each layer of a member draws; members that agree in it can be trained in one block."""
        network = self.networks[member]
        of_tokens = [] if network.embeddings is None else [(int(network.embeddings.dropout > 0), 0)]
        return (*of_tokens, *(layer.masks_drawn(0) for layer in network.layers))  # type: ignore[operator]

    def kinds_of_penalties(self, member: int) -> set[str]:
        """Return the kinds of penalties that a member has; in a block with others it is given zeros of their kinds."""
        network = self.networks[member]
        turned = [knob for knob in KNOBS.values() if any(_values(network, knob.name))]
        return {knob.penalty for knob in turned if knob.penalty is not None}

    def l1(self, members: Sequence[int]) -> Tensor | None:
        """Return the strength of the L1 on each weight of some members, ``(K, P)`` float64; ``None`` if all are 0."""
        found = torch.zeros(len(members), self.weights.shape[1], dtype=torch.float64, device=self.weights.device)
        for row, number in zip(found, members, strict=True):
            network = self.networks[number]
            strengths = {id(term.owner): term.strengths[0] for term in l1_terms(network)}
            sizes = [p.numel() for p in network.parameters()]
            for part, parameter in zip(torch.split(row, sizes), network.parameters(), strict=True):
                part.fill_(strengths.get(id(parameter), 0.0))
        return found if bool(found.any()) else None

    def block(self, members: Sequence[int]) -> Block:
        """Return some members, ready to be run together."""
        return Block([self.networks[k] for k in members], self.weights)


#: The parameters of a network that :mod:`lstmreg.ops.lesson` knows, in their order.
_LEARNT_AT_ONCE = [f"layers.0.{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih")] + [
    "head.weight",
    "head.bias",
]


class Block:
    """Some members of a population side by side; their weights come as rows of a tensor."""

    def __init__(self, networks: Sequence[Network], like: Tensor) -> None:
        first = networks[0]
        self._input_size = first.input_size
        self._is_for_all_steps = first.steps == "all"
        self._names = [name.rsplit(".", 1) for name, _ in first.named_parameters()]
        self._shapes = [p.shape for p in first.parameters()]
        self._sizes = [shape.numel() for shape in self._shapes]
        self._embeddings = first.embeddings
        rates = [0.0 if n.embeddings is None else n.embeddings.dropout for n in networks]
        self._token_rates = torch.tensor(rates, dtype=torch.float64, device=like.device) if any(rates) else None
        self._layers = [
            LayerPopulation([n.layers[i] for n in networks], like)  # type: ignore[misc]
            for i in range(len(first.layers))
        ]

    def run(
        self,
        weights: Tensor,
        x: Tensor,
        states: list[States] | None = None,
        generators: Generators | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, list[States]]:
        """Predict as :meth:`run_and_penalize` does; return ``(K, B, O)`` and the last states of each layer."""
        prediction, last, _ = self._run(self._named(weights), x, states, generators, lengths)
        return prediction, last

    def run_and_penalize(
        self,
        weights: Tensor,
        x: Tensor,
        states: list[States] | None,
        generators: Generators,
        lengths: Tensor | None = None,
        *,
        proximal: bool = False,
    ) -> tuple[Tensor, dict[str, Tensor], list[States]]:
        """Predict as in training.

        Args:
            weights: ``(K, P)``.
            x: ``(B, T, D)``, or ``(K, B, T, D)``.
            states: Initial states of each layer, or ``None`` for zeros.
            generators: One for each member, to draw its masks.
            lengths: ``(B)``, or ``(K, B)``, where sequences are shorter than ``T``.
            proximal: Whether the L1 on weights has no gradient, because it is done by a step of its own.

        Returns:
            Predictions ``(K, B, O)``, or ``(K, B, T, O)``; penalties by kind ``(K)``; the last states of each layer.
        """
        named = self._named(weights)
        prediction, last, terms = self._run(named, x, states, generators, lengths)
        for i, layer in enumerate(self._layers):
            terms += layer.weight_terms(named[f"layers.{i}"], proximal=proximal)
        return prediction, member_totals(terms), last

    def learns_at_once(self, x: Tensor, y: Tensor, weights: Tensor) -> bool:
        """Tell whether :meth:`learn` serves such tensors: whether this is one plain layer with a head on its end."""
        return (
            len(self._layers) == 1
            and self._layers[0].is_plain
            and [".".join(name) for name in self._names] == _LEARNT_AT_ONCE
            and not self._is_for_all_steps
            and x.dim() in (3, 4)
            and x.shape[-1] == self._input_size
            and y.shape[:-1] == x.shape[:-2]
            and y.shape[-1:] == self._shapes[-1]
            and lesson.serves(x, y, weights)
        )

    def learn(
        self,
        weights: Tensor,
        gradient: Tensor,
        x: Tensor,
        y: Tensor,
        generators: Generators,
        criteria: Sequence[int],
        *,
        proximal: bool = False,
        short_products: bool = False,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Compute a step of training that :meth:`learns_at_once`, from zero states.

        Args:
            weights: ``(K, P)``.
            gradient: ``(K, P)``; that of loss and penalties is written into it.
            x: ``(B, T, D)``, or ``(K, B, T, D)``.
            y: The targets, ``(B, O)`` or ``(K, B, O)``.
            generators: One for each member, to draw its masks.
            criteria: The loss of each member, as ``lstmreg.ops.lesson`` numbers them.
            proximal: As of :meth:`run_and_penalize`.
            short_products: Whether the layer multiplies bfloat16, where the processor does.

        Returns:
            Predictions ``(K, B, O)``, losses ``(K)``, and penalties by kind ``(K)``.
        """
        weights = weights.detach()
        (layer,) = self._layers
        input_mask, recurrent_mask = layer.draw(x.transpose(-3, -2), generators)
        l1, l2 = layer.activity(x.shape[-3])
        given = self._lesson(weights, x, y, criteria, short_products)
        given = given._replace(input_mask=input_mask, recurrent_mask=recurrent_mask, l1=l1, l2=l2)
        learnt = lesson.learn(given, gradient)
        terms, slopes = (
            list(layer.weight_terms(self._named(rows)["layers.0"], proximal=proximal)) for rows in (weights, gradient)
        )
        for term, slope in zip(terms, slopes, strict=True):
            add_member_slopes(slope.tensor, term.tensor, (None if proximal else term.strengths[0], term.strengths[1]))
        penalties = member_totals(terms)
        if is_on((l1, l2)):
            penalties["activity"] = learnt.activity
        return learnt.predictions, learnt.losses, penalties

    def judge(
        self, weights: Tensor, x: Tensor, y: Tensor, criteria: Sequence[int], *, short_products: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Compute the predictions ``(K, B, O)`` and losses ``(K)`` of what :meth:`learns_at_once`, in eval mode.

        Args:
            weights: ``(K, P)``.
            x: As of :meth:`learn`, as are the others.
            y: The targets.
            criteria: The losses.
            short_products: Whether it multiplies bfloat16.
        """
        judged = lesson.judge(self._lesson(weights.detach(), x, y, criteria, short_products))
        return judged.predictions, judged.losses

    def _lesson(self, weights: Tensor, x: Tensor, y: Tensor, criteria: Sequence[int], short: bool) -> lesson.Lesson:
        hidden, numbers = self._shapes[1][1], torch.tensor(criteria)
        return lesson.Lesson(x.transpose(-3, -2), y, weights, hidden, numbers, short_products=short)

    def _named(self, weights: Tensor) -> dict[str, dict[str, Tensor]]:
        """Return the parameters by module, and there by name, with a leading ``K``."""
        parts = torch.split(weights, self._sizes, dim=1)
        named: dict[str, dict[str, Tensor]] = {}
        for (module, name), part, shape in zip(self._names, parts, self._shapes, strict=True):
            named.setdefault(module, {})[name] = part.view(len(part), *shape)
        return named

    def _run(
        self,
        named: dict[str, dict[str, Tensor]],
        x: Tensor,
        states: list[States] | None,
        generators: Generators | None,
        lengths: Tensor | None,
    ) -> tuple[Tensor, list[States], list[MemberTerm]]:
        if x.dim() not in (3, 4) or x.shape[-1] != self._input_size:
            raise ValueError(
                f"x must be (B, T, D) or (K, B, T, D) with input_size={self._input_size} features D, "
                f"got shape {tuple(x.shape)}."
            )
        within = None
        if lengths is not None:
            check_lengths(lengths, x)
            within = steps_within(lengths, x.shape[-2], x.device)
            x = torch.where(within.unsqueeze(-1), x, 0.0)  # a product with what is not there may be NaN
        if self._embeddings is not None:
            x = self._embedded(x, self._embeddings, named["embeddings"], generators)
        x = x.transpose(-3, -2)
        valid = None if within is None else within.transpose(-2, -1)
        terms: list[MemberTerm] = []
        last: list[States] = []
        for i, layer in enumerate(self._layers):
            initial = None if states is None else states[i]
            x, final, activity = layer.run(x, named[f"layers.{i}"], initial, generators, valid)
            terms += activity
            last.append(final)
        if not self._is_for_all_steps:
            h_n = last[-1][0].transpose(1, 2).flatten(2)  # (K, B, directions * H)
            return _heads(h_n, **named["head"]), last, terms
        output = x.transpose(-3, -2)
        prediction = _heads(output.flatten(1, 2), **named["head"]).view(*output.shape[:-1], -1)
        if within is not None:
            prediction = torch.where(within.unsqueeze(-1), prediction, 0.0)
        return prediction, last, terms

    def _embedded(
        self,
        x: Tensor,
        embeddings: Embeddings,
        named: dict[str, Tensor],
        generators: Generators | None,
    ) -> Tensor:
        tables = {column: named[embeddings.name(column)] for column in embeddings.columns}
        masks = None
        if generators is not None and self._token_rates is not None:
            masks = draw_member_token_masks(embeddings.vocabularies, self._token_rates, x, generators)
        return embed(x, tables, masks)


def _heads(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return ``(K, B, O)``; a single member goes the same way as one of many, so that it gets the same last digits."""
    if len(h) == 1:
        return _heads(h.expand(2, -1, -1), weight.expand(2, -1, -1), bias.expand(2, -1))[:1]
    return torch.baddbmm(bias.unsqueeze(1), h, weight.mT)


def _cells(network: Network) -> Iterator[tuple[str, Cell]]:
    """Yield each cell, with the path of the layer that it is in."""
    for index, layer in enumerate(network.layers):
        assert isinstance(layer, LSTM)
        for cell in layer.cells():
            yield f"layers.{index}", cell


def _row(network: Network) -> Tensor:
    """Return all parameters of a network, flat; the second bias of a layer, if somebody wrote it, is in the first."""
    second = {f"{path}.{cell.name('bias_ih')}": cell.weight("bias_hh") for path, cell in _cells(network)}
    parts = []
    for name, parameter in network.named_parameters():
        parts.append((parameter + second[name] if name in second else parameter).flatten())
    return torch.cat(parts)


@torch.no_grad()
def _fill(network: Network, row: Tensor) -> None:
    """Write a row into a network."""
    parameters = dict(network.named_parameters())
    for parameter, part in zip(
        parameters.values(), torch.split(row, [p.numel() for p in parameters.values()]), strict=True
    ):
        parameter.copy_(part.view_as(parameter))
    for _, cell in _cells(network):
        cell.weight("bias_hh").zero_()


def _check(networks: Sequence[Network]) -> None:
    if not networks:
        raise ValueError("a population must have at least one member.")
    for k, network in enumerate(networks):
        if type(network) is not Network:
            raise TypeError(
                f"a population's members must be lstmreg.Network, got {type(network).__name__} as member {k}. "
                f"Train other networks one by one with lstmreg.fit."
            )
    if len({id(network) for network in networks}) < len(networks):
        raise ValueError("the members of a population must be different objects. Use copy.deepcopy, or Population.of.")
    first = _architecture(networks[0])
    for k, network in enumerate(networks):
        for name, value in _architecture(network).items():
            if value != first[name]:
                raise ValueError(
                    f"the members of a population must have one architecture, but {name} is {first[name]!r} in member "
                    f"0 and {value!r} in member {k}. Make a population for each."
                )
        for knob in KNOBS.values():
            if knob.argument not in SERVED and any(_values(network, knob.name)):
                raise ValueError(
                    f"a population does not serve {knob.path}, which member {k} turns. Train it by itself with "
                    f"lstmreg.fit."
                )
        if is_regularized(network) or not all(p.requires_grad for p in network.parameters()):
            raise ValueError(
                f"member {k} has frozen parameters, or penalties from lstmreg.regularize, which a population cannot "
                f"train. Train it by itself with lstmreg.fit."
            )


def _values(network: Network, name: str) -> list[Any]:
    """Return a setting of each layer."""
    return [network.config.layer(index)[name] for index in range(network.config.num_layers)]


def _architecture(network: Network) -> dict[str, Any]:
    """Return what the members of a population must share."""
    shared = {name: value for name, value in dataclasses.asdict(network.config).items() if f"model.{name}" not in KNOBS}
    for name in ("hidden_size", "activation", "recurrent_activation"):
        if not isinstance(shared[name], list):
            shared[name] = [shared[name]] * network.config.num_layers
    del shared["head_initializer"], shared["embedding_dropout"]  # which is past, and which each has for itself
    weight = network.head.weight
    sizes = {name: getattr(network, name) for name in ("input_size", "output_size", "steps", "vocabularies")}
    return {"num_layers": shared["num_layers"]} | shared | sizes | {"dtype": weight.dtype, "device": weight.device}
