"""Ready-to-paste code of a recommended setting, for lstmreg, plain PyTorch and Keras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lstmreg.search.space import Setting, short

from .numbers import Answer

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
        self.knobs: Setting = {p.removeprefix("model."): v for p, v in answer.recommended.items()}
        sizes: dict[str, Any] = {p.removeprefix("model."): v for p, v in answer.settings.items()} | self.knobs
        self.hidden_sizes = sizes["hidden_size"]
        if not isinstance(self.hidden_sizes, list):
            self.hidden_sizes = [self.hidden_sizes] * int(sizes["num_layers"])
        self.bidirectional = bool(sizes["bidirectional"])
        self.features = len(answer.data.features)
        self.window = answer.settings["data.window"]
        self.horizon = answer.settings["data.horizon"]

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
                f"    LSTM({', '.join([str(width), str(hidden), 'batch_first=True', *self._arguments(top)])}),"
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
            "loss = torch.nn.functional.mse_loss(prediction, y) + sum(penalties(layers).values())",
        ]
        return "\n".join(lines)

    def _arguments(self, top: bool) -> list[str]:
        arguments = ["bidirectional=True"] if self.bidirectional else []
        arguments += [f"{n}={short(self.knobs[n])}" for n in ("dropout", "recurrent_dropout") if n in self.knobs]
        arguments += [f"{p}_regularizer=L1L2({self._strengths(p)})" for p in _PLACES if self._strengths(p)]
        if top and self._strengths("activity"):
            arguments.append('activity_steps="last"')
        return arguments

    def pytorch(self) -> str:
        missing: list[str] = [n for n in ("dropout", "recurrent_dropout") if n in self.knobs]
        missing += ["activity_regularizer"] if self._strengths("activity") else []
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
        penalties = [p for p in ("kernel", "recurrent", "bias") if self._strengths(p)]
        if penalties:
            lines += ["", "penalty = 0.0", "for name, weight in lstm.named_parameters():"]
            for place in penalties:
                stem = {"kernel": "weight_ih", "recurrent": "weight_hh", "bias": "bias_ih"}[place]
                lines.append(f'    if "{stem}" in name:')
                if place == "bias":  # nn.LSTM adds two biases; Keras' one is their sum
                    lines.append('        weight = weight + lstm.get_parameter(name.replace("bias_ih", "bias_hh"))')
                l1, l2 = self.knobs.get(f"{place}_l1"), self.knobs.get(f"{place}_l2")
                terms = [f"{short(l1)} * weight.abs().sum()"] if l1 else []
                terms += [f"{short(l2)} * weight.square().sum()"] if l2 else []
                lines.append(f"        penalty = penalty + {' + '.join(terms)}")
            lines.append("# add `penalty` to the loss of each batch")
        return "\n".join(lines)

    def keras(self) -> str:
        lines = ["import keras", "", f"layers = [keras.Input(({self.window}, {self.features}))]"]
        for index, hidden in enumerate(self.hidden_sizes):
            top = index == len(self.hidden_sizes) - 1
            arguments = [str(hidden), *([] if top else ["return_sequences=True"])]
            arguments += [f"{n}={short(self.knobs[n])}" for n in ("dropout", "recurrent_dropout") if n in self.knobs]
            arguments += [
                f"{p}_regularizer=keras.regularizers.L1L2({self._strengths(p)})" for p in _PLACES if self._strengths(p)
            ]
            layer = f"keras.layers.LSTM({', '.join(arguments)})"
            lines.append(f"layers.append({f'keras.layers.Bidirectional({layer})' if self.bidirectional else layer})")
        lines += [f"layers.append(keras.layers.Dense({self.horizon}))", "model = keras.Sequential(layers)"]
        return "\n".join(lines)

    def _strengths(self, place: str) -> str:
        return ", ".join(
            f"{kind}={short(self.knobs[f'{place}_{kind}'])}" for kind in ("l1", "l2") if f"{place}_{kind}" in self.knobs
        )

    def _has_penalties(self) -> bool:
        return any(self._strengths(place) for place in _PLACES)
