"""The configuration, a network alone and a population know the same optimizers, and refuse every other."""

from __future__ import annotations

import typing

import pytest
import torch
from torch import nn

from lstmreg import Network, TrainingConfig, fit
from lstmreg.config import ModelConfig
from lstmreg.training.optimizers import OPTIMIZERS, optimizer_named
from lstmreg.training.population.optimizers import MemberOptimizer


def told(optimizer: str) -> TrainingConfig:
    """Settings with an optimizer that the configuration would refuse, as one with a longer list would let it pass."""
    training = TrainingConfig(max_epochs=1)
    object.__setattr__(training, "optimizer", optimizer)
    return training


def test_the_configuration_admits_what_the_table_has():
    assert typing.get_args(typing.get_type_hints(TrainingConfig)["optimizer"]) == tuple(OPTIMIZERS)


def test_a_population_refuses_an_optimizer_that_has_no_step_for_rows():
    with pytest.raises(ValueError, match=r"^optimizer must be one of adam, adamw, sgd, got 'rmsprop'\.$"):
        MemberOptimizer(nn.Parameter(torch.ones(2, 3)), [told("rmsprop")] * 2)


def test_a_fit_refuses_it_in_the_same_words():
    part = torch.zeros(4, 3, 2), torch.zeros(4, 1)
    with pytest.raises(ValueError, match=r"^optimizer must be one of adam, adamw, sgd, got 'rmsprop'\.$"):
        fit(Network(ModelConfig(hidden_size=2), 2, 1), (part, part), told("rmsprop"))


def test_the_nearest_name_is_suggested():
    with pytest.raises(ValueError, match=r"got 'sdg'\. Did you mean 'sgd'\?$"):
        optimizer_named("sdg")
