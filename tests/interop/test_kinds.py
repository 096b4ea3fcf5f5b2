"""A kind of Keras layer is one class: whatever handles layers serves a new one, and the list is whole."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lstmreg
from lstmreg import interop
from lstmreg.errors import CorruptFileError
from lstmreg.interop.keras.graph.configuration import keras_config
from lstmreg.interop.keras.graph.description import read_description
from lstmreg.interop.keras.modules import kind as kinds
from lstmreg.interop.keras.modules.keras_layer import KerasLayer
from lstmreg.interop.keras.modules.kind import KINDS, kind_of
from lstmreg.interop.keras.modules.leaves import own
from lstmreg.interop.keras.modules.model import leaves_of
from lstmreg.interop.keras.weights import build, in_place
from lstmreg.interop.keras.words import rules as rule
from lstmreg.interop.keras.words.rules import Rules
from lstmreg.interop.summary import summarize

B, T, D, H = 2, 5, 3, 4


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> type[KerasLayer]:
    """A layer that Keras does not have, in a copy of the list."""
    monkeypatch.setattr(kinds, "KINDS", dict(KINDS))

    class Toy(KerasLayer):
        """A weight for each feature, to a power."""

        rules = Rules(
            {"power": rule.integer, "factors_regularizer": rule.regularizer, "activation": rule.activation},
            {"power": 1, "factors_regularizer": None},
            renamed={"exponent": "power"},
        )

        def __init__(self, settings: Any, shapes: Any) -> None:
            super().__init__(settings, shapes)
            self.weight = nn.Parameter(torch.empty(shapes["vars/0"]))

        @classmethod
        def leaves_of(cls, settings: Any) -> Any:
            return own([("factors", "weight")])

        def call(self, inputs: Any, mask: Any) -> Any:
            return inputs * self.weight ** self.settings["power"]

    return Toy


CONFIG = {
    "class_name": "Sequential",
    "config": {
        "name": "m",
        "layers": [
            {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, T, D]}},
            {
                "class_name": "Toy",
                "config": {
                    "name": "plays",
                    "exponent": 2,
                    "factors_regularizer": {"class_name": "L2", "config": {"l2": 0.5}},
                    "activation": "relu",
                },
            },
            {"class_name": "LSTM", "config": {"name": "reads", "units": H, "activation": "tanh"}},
        ],
    },
}
CONFIG["config"]["layers"][2]["config"]["recurrent_activation"] = "sigmoid"  # type: ignore[index]


def test_a_new_kind_is_served_wherever_layers_are_handled(toy: type[KerasLayer], tmp_path: Path) -> None:
    description = read_description(CONFIG, "3.15.1")
    [_, plays, _] = description.layers
    assert kind_of(plays) is toy
    assert plays.settings["power"] == 2  # by its old name

    rng = np.random.default_rng(0)
    shapes = {"factors": (D,), "kernel": (D, 4 * H), "recurrent_kernel": (H, 4 * H), "bias": (4 * H,)}
    leaves = leaves_of(description)
    assert next(leaf.key for leaf in leaves) == "layers/toy/vars/0"
    arrays = {leaf.key: rng.normal(size=shapes[leaf.name]).astype(np.float32) for leaf in leaves}
    model = build(description, in_place(arrays))
    x = torch.randn(B, T, D)
    factors = torch.from_numpy(arrays["layers/toy/vars/0"])
    [_, lstm] = model.layers.values()
    torch.testing.assert_close(model(x), lstm(x * factors**2))
    torch.testing.assert_close(lstmreg.penalties(model)["other"].detach(), 0.5 * factors.square().sum())

    config = keras_config(description, {key: array.shape for key, array in arrays.items()})
    [_, written, _] = config["config"]["layers"]
    assert written["class_name"] == "Toy"
    assert written["config"] == {"name": "plays", **plays.settings}

    [told, _] = summarize(model)
    assert (told.name, told.keras_class, told.parameters) == ("plays", "Toy", D)
    assert told.settings == "activation='relu', power=2, factors_regularizer=L2(l2=0.5)"

    interop.save_model(model, tmp_path / "folder")
    interop.save_keras(model, tmp_path / "m.keras")
    for saved in ("folder", "m.keras"):
        assert torch.equal(interop.load_model(tmp_path / saved)(x), model(x))


def test_a_new_kind_is_gone_with_the_copy_of_the_list() -> None:
    assert "Toy" not in KINDS
    with pytest.raises(CorruptFileError, match="Toy is not among the layers of Keras that lstmreg knows"):
        read_description(CONFIG, "3.15.1")


def test_a_description_of_no_kind_is_refused_by_name() -> None:
    plain = {**CONFIG, "config": {**CONFIG["config"], "layers": CONFIG["config"]["layers"][::2]}}  # type: ignore[dict-item, index]
    [_, reads] = read_description(plain, "3.15.1").layers
    assert kind_of(reads) is KINDS["RNN"]
    with pytest.raises(CorruptFileError, match="reads: there is no kind of layer 'Toy'"):
        kind_of(replace(reads, kind="Toy"))


def test_no_class_of_keras_is_read_by_two_kinds() -> None:
    read = [name for kind in KINDS.values() for name in kind.reads]
    assert len(read) == len(set(read))
    assert {"LSTM", "Bidirectional", "Dense", "Add", "ops.NotEqual", "Sequential", "InputLayer"} <= set(read)


def test_nobody_asks_for_a_kind_by_its_name() -> None:
    """What a layer is, is asked of its kind; ``is_input`` alone looks at the name."""
    asked = []
    for path in (Path(interop.__file__).parent).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and any(isinstance(c, (ast.Eq, ast.NotEq, ast.In)) for c in node.ops):
                sides = [node.left, *node.comparators]
                asked += [path.name for side in sides if isinstance(side, ast.Attribute) and side.attr == "kind"]
    # kind_of looks it up; the other is NumPy's dtype.kind
    assert sorted(asked) == ["layers.py", "reader.py", "weights.py"]
