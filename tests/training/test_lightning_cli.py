"""What a YAML file of LightningCLI may say of a layer; it reads them with jsonargparse, as here."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from jsonargparse import ArgumentParser
from torch import nn

from lstmreg import L1, L2, LSTM, MaxNorm, Orthogonal
from lstmreg.initializers import HeUniform
from lstmreg.regularizers import Regularizer


class Own(nn.Module):
    """A user's network that hands a regularizer on."""

    def __init__(self, regularizer: Regularizer | None = None) -> None:
        super().__init__()
        self.lstm = LSTM(2, 3, kernel_regularizer=regularizer)


def made(kind: type, text: str) -> Any:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "made")
    return parser.instantiate(parser.parse_object({"made": yaml.safe_load(text)})).made


LAYER = """
input_size: 2
hidden_size: 3
num_layers: 2
kernel_regularizer: {class_path: lstmreg.L2, init_args: {l2: 0.25}}
recurrent_regularizer: [{class_path: lstmreg.L1, init_args: {l1: 0.5}}, l2]
bias_regularizer: {class_name: L2, config: {l2: 0.125}}
activity_regularizer: {class_path: lstmreg.Orthogonal}
kernel_constraint: {class_path: lstmreg.MaxNorm, init_args: {max_value: 3.0}}
kernel_initializer: {class_path: lstmreg.initializers.HeUniform}
dropout: [0.1, 0.2]
"""


def test_a_layer_takes_classes_by_their_path_names_and_keras_dicts() -> None:
    lstm = made(LSTM, LAYER)
    assert lstm.kernel_regularizer == L2(0.25)
    assert lstm.recurrent_regularizer == (L1(0.5), L2())
    assert lstm.bias_regularizer == L2(0.125)
    assert lstm.activity_regularizer == Orthogonal()
    assert lstm.kernel_constraint == MaxNorm(3.0)
    assert lstm.kernel_initializer == HeUniform()
    assert lstm.dropout == (0.1, 0.2)


def test_a_network_of_the_users_own_takes_one_too() -> None:
    network = made(Own, "regularizer: {class_path: lstmreg.L2, init_args: {l2: 0.25}}")
    assert network.lstm.kernel_regularizer == L2(0.25)


def test_a_strength_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="l2 must be finite and not negative"):
        made(Own, "regularizer: {class_path: lstmreg.L2, init_args: {l2: -1.0}}")
