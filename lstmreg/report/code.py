"""Ready-to-paste code of a recommended setting, for lstmreg, plain PyTorch and Keras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lstmreg.search.space import short

from .numbers import Answer

#: The loss of ``training.loss`` in torch and in Keras.
_LOSSES = {
    "mse": ("torch.nn.functional.mse_loss", '"mse"'),
    "mae": ("torch.nn.functional.l1_loss", '"mae"'),
    "huber": ("torch.nn.functional.huber_loss", "keras.losses.Huber()"),
}

_PLACES = ("kernel", "recurrent", "bias", "activity")


@dataclass(frozen=True)
class Snippet:
    """A piece of code and what it is for."""

    title: str
    code: str


def snippets(answer: Answer) -> list[Snippet]:
    """Write the recommended layer in three dialects."""
    recipe = _Recipe(answer)
    return [
        Snippet("lstmreg, in your own PyTorch code", recipe.lstmreg()),
        Snippet("Plain PyTorch", recipe.pytorch()),
        Snippet("Keras", recipe.keras()),
    ]


class _Recipe:
    """The recommended sizes and knobs, and their spelling."""

    def __init__(self, answer: Answer) -> None:
        used = answer.kept_on | answer.recommended
        self.knobs: dict[str, Any] = {p.removeprefix("model."): v for p, v in used.items()}
        sizes: dict[str, Any] = {p.removeprefix("model."): v for p, v in answer.settings.items()} | self.knobs
        self.hidden_sizes = sizes["hidden_size"]
        if not isinstance(self.hidden_sizes, list):
            self.hidden_sizes = [self.hidden_sizes] * int(sizes["num_layers"])
        self.bidirectional = bool(sizes["bidirectional"])
        self.features = len(answer.data.features)
        self.window = answer.settings["data.window"]
        self.horizon = answer.settings["data.horizon"]
        self.has_masks_per_gate = answer.settings["model.per_gate_input_masks"]
        self.loss = _LOSSES[str(answer.settings["training.loss"])]

    def lstmreg(self) -> str:
        names = ["LSTM", "penalties", *({"L1L2"} if self._has_penalties() else ())]
        lines = [
            f"from lstmreg import {', '.join(sorted(names))}",
            "import torch",
            "",
            "layers = torch.nn.ModuleList([",
        ]
        width = self.features
        for index, hidden in enumerate(self.hidden_sizes):
            top = index == len(self.hidden_sizes) - 1
            lines.append(
                f"    LSTM({', '.join([str(width), str(hidden), 'batch_first=True', *self._arguments(index, top)])}),"
            )
            width = hidden * (2 if self.bidirectional else 1)
        lines += [
            "])",
            f"head = torch.nn.Linear({width}, {self.horizon})",
            "",
            f"x, y = torch.randn(32, {self.window}, {self.features}), torch.randn(32, {self.horizon})  # your batch",
            "for layer in layers:",
            "    x, (h_n, _) = layer(x)",
            "prediction = head(h_n.transpose(0, 1).flatten(1))",
            f"loss = {self.loss[0]}(prediction, y) + sum(penalties(layers).values())",
        ]
        return "\n".join(lines)

    def _arguments(self, index: int, top: bool) -> list[str]:
        arguments = ["bidirectional=True"] if self.bidirectional else []
        arguments += self._dropouts(index)
        if self._value("dropout", index) and self.has_masks_per_gate is not None:
            arguments.append(f"per_gate_input_masks={self.has_masks_per_gate}")
        arguments += [f"{p}_regularizer=L1L2({s})" for p in _PLACES if (s := self._strengths(p, index))]
        if top and self._strengths("activity", index):
            arguments.append('activity_steps="last"')
        return arguments

    def _dropouts(self, index: int) -> list[str]:
        rates = {name: self._value(name, index) for name in ("dropout", "recurrent_dropout")}
        return [f"{name}={short(rate)}" for name, rate in rates.items() if rate]

    def pytorch(self) -> str:
        missing: list[str] = [n for n in ("dropout", "recurrent_dropout") if n in self.knobs]
        missing += ["activity_regularizer"] if self._is_penalized("activity") else []
        lines = ["import torch", ""]
        if missing:
            lines += [
                f"# torch.nn.LSTM has no {' and no '.join(missing)} of this kind: train with lstmreg,",
                "# then deploy stock: plain = lstmreg_layer.to_torch()",
            ]
        hidden = self.hidden_sizes[0]
        if len(set(self.hidden_sizes)) == 1:
            layers = f", num_layers={len(self.hidden_sizes)}" if len(self.hidden_sizes) > 1 else ""
            both = ", bidirectional=True" if self.bidirectional else ""
            lines.append(f"lstm = torch.nn.LSTM({self.features}, {hidden}{layers}, batch_first=True{both})")
        else:
            lines.append("# one torch.nn.LSTM for each layer, because their sizes differ:")
            widths = [self.features, *(h * (2 if self.bidirectional else 1) for h in self.hidden_sizes[:-1])]
            made = ", ".join(
                f"torch.nn.LSTM({w}, {h}, batch_first=True)" for w, h in zip(widths, self.hidden_sizes, strict=True)
            )
            lines.append(f"lstm = torch.nn.ModuleList([{made}])")
        penalties = [p for p in ("kernel", "recurrent", "bias") if self._is_penalized(p)]
        if penalties:
            lines += ["", "penalty = 0.0", "for name, weight in lstm.named_parameters():"]
            for place in penalties:
                lines += self._penalty(place)
            lines.append("# the loss of a batch: " + f"{self.loss[0]}(prediction, y) + penalty")
        return "\n".join(lines)

    def _penalty(self, place: str) -> list[str]:
        """Write what a kind of weight adds; where layers differ, a strength for each."""
        stem = {"kernel": "weight_ih", "recurrent": "weight_hh", "bias": "bias_ih"}[place]
        lines = [f'    if "{stem}" in name:']
        if place == "bias":  # nn.LSTM adds two biases; Keras' one is their sum
            lines.append('        weight = weight + lstm.get_parameter(name.replace("bias_ih", "bias_hh"))')
        terms = []
        for kind, size in (("l1", "abs"), ("l2", "square")):
            strength = self.knobs.get(f"{place}_{kind}")
            if isinstance(strength, list):
                lines.append(f"        {kind} = {strength}[{self._layer_of_name()}]  # by layer")
                terms.append(f"{kind} * weight.{size}().sum()")
            elif strength:
                terms.append(f"{short(strength)} * weight.{size}().sum()")
        return [*lines, f"        penalty = penalty + {' + '.join(terms)}"]

    def _layer_of_name(self) -> str:
        """Write how a layer's number is read off a parameter's name."""
        is_stack = len(set(self.hidden_sizes)) == 1
        return 'int(name.split("_l")[1].split("_")[0])' if is_stack else 'int(name.split(".")[0])'

    def keras(self) -> str:
        lines = ["import keras", ""]
        if self.has_masks_per_gate and "dropout" in self.knobs:
            lines += [
                "# dropout was found with a mask of the input for each gate, which Keras 3 draws only where there is",
                "# recurrent_dropout too; else it draws one mask for all gates.",
            ]
        lines += [f"layers = [keras.Input(({self.window}, {self.features}))]"]
        for index, hidden in enumerate(self.hidden_sizes):
            top = index == len(self.hidden_sizes) - 1
            arguments = [str(hidden), *([] if top else ["return_sequences=True"])]
            arguments += self._dropouts(index)
            arguments += [
                f"{p}_regularizer=keras.regularizers.L1L2({s})" for p in _PLACES if (s := self._strengths(p, index))
            ]
            layer = f"keras.layers.LSTM({', '.join(arguments)})"
            lines.append(f"layers.append({f'keras.layers.Bidirectional({layer})' if self.bidirectional else layer})")
        lines += [f"layers.append(keras.layers.Dense({self.horizon}))", "model = keras.Sequential(layers)"]
        lines.append(f"model.compile(loss={self.loss[1]})")
        return "\n".join(lines)

    def _value(self, name: str, index: int) -> Any:
        """Return a knob's value in one layer; zero if it is off."""
        value = self.knobs.get(name, 0.0)
        return value[index] if isinstance(value, list) else value

    def _strengths(self, place: str, index: int) -> str:
        found = {kind: self._value(f"{place}_{kind}", index) for kind in ("l1", "l2")}
        return ", ".join(f"{kind}={short(strength)}" for kind, strength in found.items() if strength)

    def _is_penalized(self, place: str) -> bool:
        return any(self._strengths(place, index) for index in range(len(self.hidden_sizes)))

    def _has_penalties(self) -> bool:
        return any(self._is_penalized(place) for place in _PLACES)
