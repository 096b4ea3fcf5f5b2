"""Ready-to-paste code of a recommended setting, for lstmreg, plain PyTorch and Keras."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lstmreg.knobs import KNOBS, Knob, layer_arguments
from lstmreg.layers.embedding import usual_size
from lstmreg.search.space import WEIGHT_DECAY, short
from lstmreg.setting_path import SettingPath, layer_of
from lstmreg.tasks import task_named

from .answers import Answer

#: The loss of ``training.loss`` in torch and in Keras.
_LOSSES = {
    "mse": ("torch.nn.functional.mse_loss", '"mse"'),
    "mae": ("torch.nn.functional.l1_loss", '"mae"'),
    "huber": ("torch.nn.functional.huber_loss", "keras.losses.Huber()"),
    "cross_entropy": (
        "torch.nn.functional.cross_entropy",
        "keras.losses.SparseCategoricalCrossentropy(from_logits=True)",
    ),
}

#: ``training.optimizer`` in torch and in Keras.
_OPTIMIZERS = {
    "adam": ("torch.optim.Adam", "keras.optimizers.Adam"),
    "adamw": ("torch.optim.AdamW", "keras.optimizers.AdamW"),
    "sgd": ("torch.optim.SGD", "keras.optimizers.SGD"),
}

#: Activations of the layer that every dialect has if it is told none.
_USUAL_ACTIVATIONS = {"activation": "tanh", "recurrent_activation": "sigmoid"}

_LEARNING_RATE, _OPTIMIZER = "training.learning_rate", "training.optimizer"
_PROXIMAL = "training.proximal"

#: What the norms of a regularizer are in torch.
_NORMS = {"l1": "abs().sum()", "l2": "square().sum()"}


@dataclass(frozen=True)
class Snippet:
    """A piece of code and what it is for."""

    title: str
    code: str


def snippets(answer: Answer) -> list[Snippet]:
    """Write the recommended layer in three dialects; of a network of somebody's own what the layers in it are given."""
    recipe = _Recipe(answer)
    if task_named(answer.task).has_own_networks:
        return [Snippet("In your own network", recipe.about_proximal + recipe.in_own_network())]
    return [
        Snippet("lstmreg, in your own PyTorch code", recipe.about_proximal + recipe.lstmreg()),
        Snippet("Plain PyTorch", recipe.about_proximal + recipe.pytorch()),
        Snippet("Keras", recipe.about_proximal + recipe.keras()),
    ]


def saved_model(answer: Answer) -> Snippet:
    """Write how the model that the search has saved predicts the file of the run, or any other like it."""
    if task_named(answer.task).has_own_networks:
        weights = _quoted(f"{answer.directory}/model.safetensors")
        lines = [
            "import safetensors.torch",
            "",
            "# network: a new one of your own",
            f"network.load_state_dict(safetensors.torch.load_file({weights}))",
        ]
    else:
        data, others = _quoted(answer.data.path), "or any later file, data frame or array of this kind"
        if answer.data.is_in_memory:
            data, others = "data", "as they were given; or a file, data frame or array of this kind"
        lines = [
            "import lstmreg",
            "",
            f"model = lstmreg.load({_quoted(answer.directory)})",
            f"print(model.predict({data}))  # {others}",
        ]
    return Snippet("The model that was saved", "\n".join(lines))


def _quoted(text: str) -> str:
    """Write a text as code, whatever is in it; JSON's texts are Python's too."""
    return json.dumps(text, ensure_ascii=False)


def _model_settings(settings: Mapping[str, Any], used: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by name, each a value or a list with one for each layer, as the recommended network has them."""
    paths = sorted({**settings, **used}, key=lambda path: layer_of(path) is not None)
    found: dict[str, Any] = dict(_USUAL_ACTIVATIONS)
    for path in paths:
        _, name, layer = SettingPath.of(path)
        value = used.get(path, settings.get(path))
        if layer is not None:
            values = list(_by_layer(found.get(name, 0.0), int(found["num_layers"])))
            values[layer] = value
            value = values[0] if all(v == values[0] for v in values) else values
        found[name] = value
    return found


def _by_layer(value: Any, layers: int) -> list[Any]:
    return value if isinstance(value, list) else [value] * layers


@dataclass(frozen=True)
class _TokenColumn:
    """An input column of tokens: its place and name, how many tokens it has, and the size of their vectors."""

    place: int
    name: str
    count: int
    size: int


def _token_columns(answer: Answer, size: int | None) -> list[_TokenColumn]:
    """Return the columns that hold tokens, in their order."""
    counts = answer.data.vocabularies
    return [
        _TokenColumn(place, _in_a_comment(name), counts[name], usual_size(counts[name]) if size is None else int(size))
        for place, name in enumerate(answer.data.features)
        if name in counts
    ]


def _in_a_comment(name: str) -> str:
    """Return a name that ends no comment, whatever is in it."""
    return " ".join(name.split())


class _Recipe:
    """The recommended sizes and knobs, and their spelling."""

    def __init__(self, answer: Answer) -> None:
        used = answer.kept_on | answer.recommended
        sizes = _model_settings(answer.settings, used)
        self.layers = int(sizes["num_layers"])
        self.knobs: dict[str, Any] = {name: sizes[name] for name in (SettingPath.of(path).name for path in used)}
        self.hidden_sizes = [int(size) for size in _by_layer(sizes["hidden_size"], self.layers)]
        self.activations = {name: _by_layer(sizes[name], self.layers) for name in _USUAL_ACTIVATIONS}
        self.bidirectional = bool(sizes["bidirectional"])
        self.features = len(answer.data.features)
        self.tokens = _token_columns(answer, sizes.get("embedding_size"))
        self.embedding_size, self.embedding_dropout = sizes.get("embedding_size"), sizes.get("embedding_dropout", 0.0)
        self.width = self.features + sum(column.size - 1 for column in self.tokens)
        self.window = answer.data.length or answer.settings.get("data.window")
        self.outputs = answer.data.outputs or answer.settings.get("data.horizon")
        self.at_steps, self.of_classes = answer.data.steps == "all", bool(answer.data.classes)
        self.has_masks_per_gate = sizes["per_gate_input_masks"]
        self.is_tied = not sizes.get("per_gate_masks", True)
        self.loss = _LOSSES[str(answer.settings["training.loss"])]
        self.is_proximal = bool(used.get(_PROXIMAL, answer.settings.get(_PROXIMAL, False)))
        self.optimizer: tuple[str, str] | None = None
        if WEIGHT_DECAY in used or _LEARNING_RATE in used:
            rate = short(used.get(_LEARNING_RATE, answer.learning_rate))
            decay = f", weight_decay={short(used[WEIGHT_DECAY])}" if WEIGHT_DECAY in used else ""
            torchs, keras = _OPTIMIZERS[str(used.get(_OPTIMIZER, answer.settings[_OPTIMIZER]))]
            self.optimizer = (f"{torchs}(PARAMETERS, lr={rate}{decay})", f"{keras}(learning_rate={rate}{decay})")

    @property
    def about_proximal(self) -> str:
        """Say, where the L1 on weights was a step of its own, that a penalty in the loss is something else."""
        has_l1 = any(any(self._turns(k)) for k in KNOBS.values() if k.keyword == "l1" and k.weights is not None)
        if not (self.is_proximal and has_l1):
            return ""
        return (
            "# The l1 of weights was found with training.proximal: true, as a step of its own after the optimizer's.\n"
            "# In the loss, as here, it has another effect. lstmreg.fit with TrainingConfig(proximal=True) and\n"
            "# lstmreg.TrainingModule(..., proximal=True) take that step.\n"
        )

    def in_own_network(self) -> str:
        knobs = self._knobs(0, "L1L2")
        optimizer = [f"# optimizer = {self._optimizer('network.parameters()')}"] if self.optimizer else []
        if not knobs:
            return "\n".join(["# Leave lstmreg.LSTM as it is in your network.", *optimizer])
        imported = ["LSTM", *({"L1L2"} if self._has_penalties() else ())]
        return "\n".join(
            [
                f"from lstmreg import {', '.join(sorted(imported))}",
                "import functools",
                "",
                "# In place of LSTM, wherever your network makes one. To the loss of a batch add",
                "# sum(lstmreg.penalties(network).values()), unless lstmreg.fit trains it.",
                f"RegularizedLSTM = functools.partial(LSTM, {', '.join(knobs)})",
                *optimizer,
            ]
        )

    def lstmreg(self) -> str:
        names = ["LSTM", "penalties", *({"L1L2"} if self._has_penalties() else ())]
        lines = [
            f"from lstmreg import {', '.join(sorted(names))}",
            *(["from lstmreg.layers.embedding import Embeddings"] if self.tokens else []),
            "import torch",
            "",
            *self._embeddings(),
            "layers = torch.nn.ModuleList([",
        ]
        width = self.width
        for index, hidden in enumerate(self.hidden_sizes):
            top = index == len(self.hidden_sizes) - 1
            lines.append(
                f"    LSTM({', '.join([str(width), str(hidden), 'batch_first=True', *self._arguments(index, top)])}),"
            )
            width = hidden * (2 if self.bidirectional else 1)
        lines += [
            "])",
            f"head = torch.nn.Linear({width}, {self.outputs})",
            "",
            f"x, y = torch.randn(32, {self.window}, {self.features}), {self._targets()}  # your batch",
            *self._tokens_of_a_batch(),
            *(["x = embeddings(x)"] if self.tokens else []),
            "for layer in layers:",
            "    x, (h_n, _) = layer(x)",
            f"prediction = head({'x' if self.at_steps else 'h_n.transpose(0, 1).flatten(1)'})",
            f"loss = {self._loss()} + sum(penalties(layers).values())",
        ]
        if self.optimizer:
            ours = "*embeddings.parameters(), " if self.tokens else ""
            lines.append(f"optimizer = {self._optimizer(f'[{ours}*layers.parameters(), *head.parameters()]')}")
        return "\n".join(lines)

    def _embeddings(self) -> list[str]:
        """Write what puts vectors in the places of tokens."""
        if not self.tokens:
            return []
        counts = ", ".join(f"{column.place}: {column.count}" for column in self.tokens)
        size = "" if self.embedding_size is None else f", size={self.embedding_size}"
        dropout = f", dropout={short(self.embedding_dropout)}" if self.embedding_dropout else ""
        return [*self._about_tokens(), f"embeddings = Embeddings({self.features}, {{{counts}}}{size}{dropout})"]

    def _about_tokens(self) -> list[str]:
        """Say which columns hold tokens, and as what."""
        named = [f"#   column {c.place} ({c.name}): 1 to {c.count}, a vector of {c.size}" for c in self.tokens]
        return ["# These columns hold the numbers of tokens, or 0 for an unknown one, and become vectors:", *named]

    def _tokens_of_a_batch(self) -> list[str]:
        shape = f"(32, {self.window})"
        return [f"x[..., {c.place}] = torch.randint({c.count + 1}, {shape}).float()  # tokens" for c in self.tokens]

    def _about_dropped_tokens(self, library: str) -> list[str]:
        if not (self.tokens and self.embedding_dropout):
            return []
        rate = short(self.embedding_dropout)
        return [f"# embedding_dropout={rate} drops whole tokens, for which {library} has no argument."]

    def _parts(self, x: str, vector: Callable[[_TokenColumn], str]) -> list[str]:
        """Write the columns of ``x`` in their order, each of tokens as a vector."""
        parts, begin = [], 0
        for column in self.tokens:
            parts += [f"{x}[..., {begin}:{column.place}]"] if begin < column.place else []
            parts.append(vector(column))
            begin = column.place + 1
        return [*parts, *([f"{x}[..., {begin}:]"] if begin < self.features else [])]

    def _optimizer(self, parameters: str) -> str:
        """Write torch's optimizer of some parameters."""
        assert self.optimizer is not None
        return self.optimizer[0].replace("PARAMETERS", parameters)

    def _targets(self) -> str:
        """Write targets of 32 cases."""
        shape = f"32, {self.window}" if self.at_steps else "32"
        if self.of_classes:
            return f"torch.randint({self.outputs}, ({shape},))"
        return f"torch.randn({shape}, {self.outputs})"

    def _loss(self) -> str:
        """Write the loss of a batch; torch has the classes in the second axis."""
        prediction = "prediction.transpose(1, 2)" if self.at_steps and self.of_classes else "prediction"
        return f"{self.loss[0]}({prediction}, y)"

    def _arguments(self, index: int, top: bool) -> list[str]:
        arguments = ["bidirectional=True"] if self.bidirectional else []
        arguments += self._activations(index)
        arguments += self._knobs(index, "L1L2")
        if self._is_on("recurrent_dropout", index) and self.is_tied:
            arguments.append("per_gate_masks=False")
        if self._is_on("dropout", index) and self.has_masks_per_gate is not None:
            arguments.append(f"per_gate_input_masks={self.has_masks_per_gate}")
        if top and not self.at_steps and self._is_on("activity_regularizer", index):
            arguments.append('activity_steps="last"')
        return arguments

    def _knobs(self, index: int, regularizer: str) -> list[str]:
        """Write the arguments that turn the knobs of a layer, rates first."""
        given = layer_arguments({name: self._value(name, index) for name in self.knobs})
        written = []
        for argument, value in sorted(given.items(), key=lambda item: isinstance(item[1], dict)):
            if isinstance(value, dict):
                strengths = ", ".join(f"{keyword}={short(strength)}" for keyword, strength in value.items())
                written.append(f"{argument}={regularizer}({strengths})")
            else:
                written.append(f"{argument}={short(value)}")
        return written

    def pytorch(self) -> str:
        turned = [knob for knob in KNOBS.values() if any(self._turns(knob))]
        missing = list(dict.fromkeys(knob.argument for knob in turned if knob.weights is None))
        lines = ["import torch", ""]
        if missing:
            lines += [
                f"# torch.nn.LSTM has no {' and no '.join(missing)} of this kind: train with lstmreg,",
                "# then deploy stock: plain = lstmreg_layer.to_torch()",
            ]
        unusual = dict.fromkeys(written for index in range(self.layers) for written in self._activations(index))
        if unusual:
            lines.append(f"# torch.nn.LSTM knows no {' and no '.join(unusual)}: use lstmreg.LSTM, or Keras.")
        lines += self._embeddings_in_torch()
        hidden = self.hidden_sizes[0]
        both = ", bidirectional=True" if self.bidirectional else ""
        use = f"  # of embedded(x), {self.width} numbers a step" if self.tokens else ""
        if len(set(self.hidden_sizes)) == 1:
            layers = f", num_layers={len(self.hidden_sizes)}" if len(self.hidden_sizes) > 1 else ""
            lines.append(f"lstm = torch.nn.LSTM({self.width}, {hidden}{layers}, batch_first=True{both}){use}")
        else:
            lines.append("# one torch.nn.LSTM for each layer, because their sizes differ:")
            widths = [self.width, *(h * (2 if self.bidirectional else 1) for h in self.hidden_sizes[:-1])]
            made = ", ".join(
                f"torch.nn.LSTM({w}, {h}, batch_first=True{both})"
                for w, h in zip(widths, self.hidden_sizes, strict=True)
            )
            lines.append(f"lstm = torch.nn.ModuleList([{made}]){use}")
        penalised = list(dict.fromkeys(knob.weights for knob in turned if knob.weights is not None))
        if penalised:
            lines += ["", "penalty = 0.0", "for name, weight in lstm.named_parameters():"]
            for weights in penalised:
                lines += self._penalty(weights, [knob for knob in turned if knob.weights == weights])
            lines.append("# the loss of a batch: " + f"{self._loss()} + penalty")
        if self.optimizer:
            parameters = "[*embeddings.parameters(), *lstm.parameters()]" if self.tokens else "lstm.parameters()"
            lines.append(f"optimizer = {self._optimizer(parameters)}  # and those of your head")
        return "\n".join(lines)

    def _embeddings_in_torch(self) -> list[str]:
        """Write a table for each column of tokens, and the function that looks them up."""
        if not self.tokens:
            return []
        tables = [f'    "{c.place}": torch.nn.Embedding({c.count + 1}, {c.size}, padding_idx=0),' for c in self.tokens]
        parts = self._parts("x", lambda c: f'embeddings["{c.place}"](x[..., {c.place}].long())')
        return [
            *self._about_tokens(),
            *self._about_dropped_tokens("torch.nn.Embedding"),
            "embeddings = torch.nn.ModuleDict({",
            *tables,
            "})",
            "",
            "",
            "def embedded(x):",
            "    parts = [",
            *(f"        {part}," for part in parts),
            "    ]",
            "    return torch.cat(parts, dim=-1)",
            "",
            "",
        ]

    def _penalty(self, weights: str, knobs: list[Knob]) -> list[str]:
        """Write what a kind of weight adds; where layers differ, a strength for each."""
        lines = [f'    if "{weights}" in name:']
        if weights == "bias_ih":  # nn.LSTM adds two biases; Keras' one is their sum
            lines.append('        weight = weight + lstm.get_parameter(name.replace("bias_ih", "bias_hh"))')
        terms = []
        for knob in knobs:
            strength, norm = self.knobs[knob.name], _NORMS[str(knob.keyword)]
            if isinstance(strength, list):
                lines.append(f"        {knob.keyword} = {strength}[{self._layer_of_name()}]  # by layer")
                terms.append(f"{knob.keyword} * weight.{norm}")
            else:
                terms.append(f"{short(strength)} * weight.{norm}")
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
        if self.is_tied and "recurrent_dropout" in self.knobs:
            lines += [
                "# recurrent_dropout was found with one mask for all gates (Gal and Ghahramani's tied variant); Keras",
                "# draws one for each.",
            ]
        lines += self._embeddings_in_keras() or [f"layers = [keras.Input(({self.window}, {self.features}))]"]
        for index, hidden in enumerate(self.hidden_sizes):
            top = index == len(self.hidden_sizes) - 1
            arguments = [str(hidden), *([] if top and not self.at_steps else ["return_sequences=True"])]
            arguments += [*self._activations(index), *self._knobs(index, "keras.regularizers.L1L2")]
            layer = f"keras.layers.LSTM({', '.join(arguments)})"
            lines.append(f"layers.append({f'keras.layers.Bidirectional({layer})' if self.bidirectional else layer})")
        lines.append(f"layers.append(keras.layers.Dense({self.outputs}))")
        if self.tokens:
            lines += ["for layer in layers:", "    x = layer(x)", "model = keras.Model(inputs, x)"]
        else:
            lines.append("model = keras.Sequential(layers)")
        optimizer = f", optimizer={self.optimizer[1]}" if self.optimizer else ""
        lines.append(f"model.compile(loss={self.loss[1]}{optimizer})")
        return "\n".join(lines)

    def _embeddings_in_keras(self) -> list[str]:
        """Write what looks the tokens up; Keras' vector of an unknown one is learned too."""
        if not self.tokens:
            return []
        parts = self._parts(
            "inputs", lambda c: f"keras.layers.Embedding({c.count + 1}, {c.size})(tokens[..., {c.place}])"
        )
        return [
            *self._about_tokens(),
            "# Keras learns a vector of unknown ones too, which is zero in lstmreg.",
            *self._about_dropped_tokens("keras.layers.Embedding"),
            f"inputs = keras.Input(({self.window}, {self.features}))",
            'tokens = keras.ops.cast(inputs, "int32")',
            "parts = [",
            *(f"    {part}," for part in parts),
            "]",
            f"x = {'keras.layers.Concatenate()(parts)' if len(parts) > 1 else 'parts[0]'}",
            "layers = []",
        ]

    def _activations(self, index: int) -> list[str]:
        """Write the activations of a layer that are not the usual ones."""
        named = [(name, values[index]) for name, values in self.activations.items()]
        return [f"{name}={_quoted(value)}" for name, value in named if value != _USUAL_ACTIVATIONS[name]]

    def _value(self, name: str, index: int) -> Any:
        """Return a knob's value in one layer; zero if it is off."""
        value = self.knobs.get(name, 0.0)
        return value[index] if isinstance(value, list) else value

    def _turns(self, knob: Knob) -> list[bool]:
        """Tell in which layers a knob is turned."""
        return [bool(self._value(knob.name, index)) for index in range(len(self.hidden_sizes))]

    def _is_on(self, argument: str, index: int) -> bool:
        """Tell whether a knob of an argument of the layer is turned in one layer."""
        return any(self._turns(knob)[index] for knob in KNOBS.values() if knob.argument == argument)

    def _has_penalties(self) -> bool:
        return any(any(self._turns(knob)) for knob in KNOBS.values() if knob.kind == "strength")
