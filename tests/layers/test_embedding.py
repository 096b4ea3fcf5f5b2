"""A vector takes the place of each token; what is unknown is zero, and tokens are dropped whole."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import Tensor

from lstmreg import ModelConfig, Network
from lstmreg.errors import ConfigError, InputError
from lstmreg.layers.embedding import Embeddings, draw_member_token_masks, embed, usual_size

B, T, D = 4, 9, 4


def example(counts: dict[int, int], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(B, T, D, generator=generator)
    for column, count in counts.items():
        x[:, :, column] = torch.randint(0, count + 1, (B, T), generator=generator).float()
    return x


@pytest.mark.parametrize("counts", [{0: 1}, {3: 7}, {1: 5, 2: 3}, {3: 2, 0: 4}, {0: 2, 1: 2, 2: 2, 3: 2}])
@pytest.mark.parametrize("size", [None, 1, 3])
def test_it_is_torchs_embedding_in_the_place_of_each_column(counts, size):
    layer, x = Embeddings(D, counts, size), example(counts)
    expected = []
    for column in range(D):
        if column not in counts:
            expected.append(x[:, :, column : column + 1])
            continue
        width = usual_size(counts[column]) if size is None else size
        plain = torch.nn.Embedding(counts[column] + 1, width, padding_idx=0)
        with torch.no_grad():
            plain.weight[1:] = layer.table(column)
        expected.append(plain(x[:, :, column].long()))
    found = layer(x)
    assert torch.equal(found, torch.cat(expected, dim=-1))
    assert layer.output_size == found.shape[-1]
    assert layer.columns == tuple(sorted(counts))


@pytest.mark.parametrize(("tokens", "size"), [(1, 1), (2, 1), (3, 2), (10, 5), (98, 49), (99, 50), (10**6, 50)])
def test_the_usual_vector_has_half_as_many_numbers_as_there_are_tokens_and_at_most_50(tokens, size):
    assert usual_size(tokens) == size


def test_vectors_begin_as_keras_has_them():
    table = Embeddings(1, {0: 5000}, 8).table(0)
    assert table.abs().max() <= 0.05
    assert table.std().item() == pytest.approx(0.1 / math.sqrt(12), rel=0.02)


def test_what_is_unknown_is_zero_and_stays_so_however_it_is_trained():
    network = Network(ModelConfig(3), D, 1, vocabularies={1: 5})
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.1)
    x = example({1: 5})
    for _ in range(3):
        optimizer.zero_grad()
        network(x).square().mean().backward()
        optimizer.step()
    x[:, :, 1] = 0
    column = network.embeddings.output_size - D + 1
    assert (network.embeddings(x)[:, :, 1 : 1 + column] == 0).all()


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_a_token_is_dropped_with_all_its_occurrences_in_a_sequence_or_scaled(rate):
    counts = {0: 6, 2: 4}
    layer = Embeddings(D, counts, 2, rate)
    with torch.no_grad():
        for column in counts:
            layer.table(column).fill_(1.0)
    x = example(counts)
    torch.manual_seed(4)
    whole, seen = layer(x), set()
    assert torch.equal(whole[..., 2], x[..., 1])  # columns of numbers are left to the layers' own dropout
    assert torch.equal(whole[..., 5], x[..., 3])
    for column, first in ((0, 0), (2, 3)):
        for b in range(B):
            for token in range(1, counts[column] + 1):
                shown = whole[b, x[b, :, column] == token, first : first + 2]
                if len(shown) > 0:
                    (value,) = shown.unique().tolist()
                    seen.add(round(value, 6))
    assert seen == {0.0, round(1 / (1 - rate), 6)}
    assert torch.equal(layer.eval()(x)[..., 0], (x[..., 0] > 0).float())


def test_as_many_tokens_are_dropped_as_the_rate_says_and_each_sequence_and_call_has_its_own():
    layer = Embeddings(1, {0: 50}, 1, 0.3)
    with torch.no_grad():
        layer.table(0).fill_(1.0)
    x = torch.arange(1.0, 51.0).view(1, 50, 1).expand(200, 50, 1)
    first, second = layer(x), layer(x)
    assert (first == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert first.mean().item() == pytest.approx(1.0, abs=0.03)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])


def test_the_same_seed_drops_the_same_tokens_alone_and_in_a_population():
    counts = {1: 5, 3: 8}
    layers, x = [Embeddings(D, counts, 2, rate) for rate in (0.3, 0.6)], example(counts)
    alone = []
    for k, layer in enumerate(layers):
        torch.manual_seed(k)
        alone.append(layer(x))
        torch.manual_seed(k)
        assert torch.equal(layer(x), alone[-1])
    generators = [torch.Generator().manual_seed(k) for k in range(2)]
    rates = torch.tensor([0.3, 0.6], dtype=torch.float64)
    masks = draw_member_token_masks(counts, rates, x, generators)
    tables = {column: torch.stack([layer.table(column) for layer in layers]) for column in counts}
    assert torch.equal(embed(x, tables, masks), torch.stack(alone))


def test_gradients_are_those_of_arithmetic():
    layer = Embeddings(2, {0: 3}, 2)
    x = torch.tensor([[[1.0, 0.5], [3.0, 0.5], [1.0, 0.5], [0.0, 0.5]]])
    layer(x).sum().backward()
    assert layer.table(0).grad.tolist() == [[2.0, 2.0], [0.0, 0.0], [1.0, 1.0]]  # as often as each occurs


@pytest.mark.parametrize("value", [-1.0, 6.0, 1.5, math.nan, math.inf, 1e30])
def test_what_is_no_token_is_refused(value):
    network, x = Network(ModelConfig(3), D, 1, vocabularies={1: 5}), example({1: 5})
    x[2, 3, 1] = value
    with pytest.raises(
        InputError, match=rf"numbers of tokens in column 1, whole ones from 0 to 5, got {re.escape(f'{value:g}')}"
    ):
        network(x)
    network(x, torch.tensor([T, T, 3, T]))  # beyond the end it may be anything


def test_a_type_too_short_for_the_tokens_is_refused():
    network = Network(ModelConfig(3, embedding_size=1), 1, 1, vocabularies={0: 5000}).bfloat16()
    with pytest.raises(InputError, match=r"whole numbers up to 5000, got torch.bfloat16"):
        network(torch.ones(1, 2, 1, dtype=torch.bfloat16))


@pytest.mark.parametrize(
    ("vocabularies", "error", "message"),
    [
        ({4: 3}, ValueError, r"vocabularies must name columns from 0 to 3, got 4"),
        ({-1: 3}, ValueError, r"columns from 0 to 3, got -1"),
        ({0: 0}, ValueError, r"vocabularies must give column 0 at least 1 token, got 0"),
        ({0: 2.5}, TypeError, r"vocabularies must have whole numbers as numbers of tokens, got 2.5"),
        ({"0": 2}, TypeError, r"vocabularies must have whole numbers as columns, got '0'"),
        ({True: 2}, TypeError, r"as columns, got True"),
        ([3], TypeError, r"vocabularies must map columns to their numbers of tokens, got \[3\]"),
    ],
)
def test_vocabularies_that_do_not_fit_are_refused(vocabularies, error, message):
    with pytest.raises(error, match=message):
        Network(ModelConfig(3), D, 1, vocabularies=vocabularies)


def test_a_rate_that_has_nothing_to_drop_is_refused():
    with pytest.raises(ConfigError, match=r"model.embedding_dropout must be 0 where no input column holds tokens"):
        Network(ModelConfig(3, embedding_dropout=0.1), D, 1)
