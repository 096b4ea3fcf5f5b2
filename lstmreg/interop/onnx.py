"""Writes ONNX files with dynamic batch and time, which need neither lstmreg nor PyTorch to run."""

from __future__ import annotations

import copy
import inspect
import json
import logging
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lstmreg import activations
from lstmreg.errors import ConfigError
from lstmreg.extras import need
from lstmreg.files import write_atomically
from lstmreg.layers import LSTM
from lstmreg.layers.cell import Cell
from lstmreg.models import Ensemble, Network
from lstmreg.ops import Result

from .keras.modules.beginnings import Embedding
from .keras.modules.model import KerasModel
from .raw import Raw

#: What ONNX's LSTM calls an activation, with its parameters alpha and beta, as far as it has them.
_ACTIVATIONS: dict[str, tuple[str, tuple[float, ...]]] = {
    "tanh": ("Tanh", ()),
    "sigmoid": ("Sigmoid", ()),
    "relu": ("Relu", ()),
    "hard_sigmoid": ("HardSigmoid", (1 / 6, 0.5)),
    "keras2_hard_sigmoid": ("HardSigmoid", (0.2, 0.5)),
    "softsign": ("Softsign", ()),
    "softplus": ("Softplus", ()),
    "elu": ("Elu", (1.0,)),
    "linear": ("Affine", (1.0, 0.0)),
    "leaky_relu": ("LeakyRelu", (0.2,)),
}


def save_onnx(
    module: nn.Module, path: str | os.PathLike[str], example: Sequence[Tensor] | Tensor | None = None
) -> None:
    """Write a model as ONNX; batch and time stay free.

    Any module will do that ``torch.export`` can read, with :class:`lstmreg.LSTM` anywhere inside it. Each LSTM becomes
    ONNX's own operation, with its activations; under a mask of any pattern too. Dropout and penalties are left out.

    Args:
        module: The model; what it does in eval mode is written.
        path: The file. A Keras model's inputs and outputs have the names of their layers in it.
        example: Inputs ``(B, T, ...)`` to trace with. Default: made up for an LSTM (batch first or not, as it is), an
            :class:`lstmreg.Network`, and what :func:`load_model` returned.

    Raises:
        ConfigError: If the ONNX libraries are not installed, an example is needed, or an activation has no counterpart.
    """
    need("onnx", "writing ONNX", "onnx", "onnxscript")
    inputs = example_of(module) if example is None else (example,) if isinstance(example, Tensor) else tuple(example)
    plain = _with_plain_lstms(copy.deepcopy(module).eval())
    write_atomically(Path(path), _export(plain, inputs))


def _export(module: nn.Module, inputs: tuple[Tensor, ...]) -> bytes:
    # What autocast would shorten, ONNX Runtime does not compute.
    with silence(), torch.autocast("cpu", enabled=False):
        program = _exported(
            module,
            inputs,
            dynamo=True,
            verbose=False,
            dynamic_shapes=free_axes(module, inputs),
            input_names=_input_names(module, len(inputs)),
            output_names=_output_names(module),
            custom_translation_table={torch.ops.lstmreg.onnx_lstm.default: _translation()},
        )
    assert program is not None
    proto = program.model_proto
    if isinstance(module, (KerasModel, Raw)):
        proto.doc_string = "; ".join(module.notes())
    if isinstance(module, Raw):
        proto.metadata_props.add(key="lstmreg", value=json.dumps(module.about))
    is_time_first = isinstance(module, LSTM) and not module.batch_first
    return _with_named_axes(proto, ("time", "batch") if is_time_first else ("batch", "time"))


def _exported(module: nn.Module, inputs: tuple[Tensor, ...], **options: Any) -> Any:
    try:
        return torch.onnx.export(module, inputs, **options)
    except torch.onnx.OnnxExporterError as error:
        cause = error.__cause__ or error
        reason = next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
        raise ConfigError(
            f"PyTorch's exporter cannot read the {type(module).__name__} with such inputs ({reason.rstrip('.')}). "
            "Give an example with more steps, or of other sizes."
        ) from error


def _with_named_axes(proto: Any, axes: tuple[str, str]) -> bytes:
    """Call the free axes ``batch`` and ``time``, where the exporter has names like ``s21``."""
    names: dict[str, str] = {}
    for value in proto.graph.input:
        for axis, dim in zip(axes, value.type.tensor_type.shape.dim, strict=False):
            if dim.dim_param and dim.dim_param not in names:
                taken = sum(name.startswith(axis) for name in names.values())
                names[dim.dim_param] = axis + (f"_{taken}" if taken else "")
    for value in [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(r"\w+", lambda found: names.get(found[0], found[0]), dim.dim_param)
    content: bytes = proto.SerializeToString()
    return content


@contextmanager
def silence() -> Iterator[None]:
    """Keep quiet what the exporter says about itself; its errors are exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _input_names(module: nn.Module, count: int) -> list[str]:
    if isinstance(module, KerasModel):
        return [reference.layer for reference in module.description.inputs]
    if isinstance(module, Raw):
        return ["input", "lengths"][:count]
    return ["input"] if count == 1 else [f"input_{index}" for index in range(count)]


def _output_names(module: nn.Module) -> list[str] | None:
    """Name a Keras model's outputs by the layers that they come from."""
    if not isinstance(module, KerasModel):
        return None
    used: Counter[str] = Counter()
    names = []
    for reference in module.description.outputs:
        number = used[reference.layer]
        used[reference.layer] += 1
        names.append(reference.layer + (f"_{number}" if number else ""))
    return names


def free_axes(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Any, ...]:
    """Leave the batch free, and time where the model does: one with a ``Flatten`` in it has a fixed number of steps."""
    batch, time = torch.export.Dim.DYNAMIC, torch.export.Dim.AUTO
    if isinstance(module, Raw):
        return ({0: batch, 1: torch.export.Dim.DYNAMIC}, {0: batch})[: len(inputs)]
    # Floating point with two axes is (B, D): features, or a state.
    has_time = [x.dim() > 2 or (x.dim() == 2 and not x.is_floating_point()) for x in inputs]
    axes = tuple({0: batch, 1: time} if timed else {0: batch} for timed in has_time)
    takes_any_number = any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(module.forward).parameters.values())
    return (axes,) if takes_any_number else axes


#: Of an example that is made up: enough for a few convolutions and poolings on top of each other.
_STEPS = 200


def example_of(module: nn.Module) -> tuple[Tensor, ...]:
    """Return inputs to trace a module with.

    Raises:
        ConfigError: If they cannot be made up.
    """
    if isinstance(module, (LSTM, Network, Ensemble)):
        return (torch.zeros(3, _STEPS, module.input_size, dtype=next(module.parameters()).dtype),)
    if isinstance(module, Raw):
        return _raw_example(module)
    if isinstance(module, KerasModel):
        return tuple(_made_up(module, reference.layer) for reference in module.description.inputs)
    raise ConfigError("example must be given for such a module: inputs to trace with, such as torch.zeros(2, 5, 3).")


def _raw_example(module: Raw) -> tuple[Tensor, ...]:
    """Return inputs to trace such a module with: in their own units, of unequal lengths where it takes such."""
    x = module.mean.expand(3, _STEPS, -1).clone()
    return (x, torch.tensor([_STEPS, 7, _STEPS - 1])) if module.has_lengths else (x,)


def _made_up(model: KerasModel, name: str) -> Tensor:
    """Make up an input of a model, of the shape that the file declares, or of what its first layer takes."""
    readers = [layer for layer in model.description.layers for call in layer.calls if call.inputs[0].layer == name]
    module = model.layers[model.key_of(readers[0].name)] if readers else None
    declared = next(layer for layer in model.description.layers if layer.name == name).settings.get("batch_shape")
    shape = [_STEPS if n is None else n for n in (declared or [])[1:]]
    if not shape:
        features = next((leaf for leaf in model.leaves() if leaf.name == "kernel"), None)
        if features is None:
            raise ConfigError("example must be given: the model does not say which shape its input has.")
        shape = [_STEPS, model.state_dict()[features.tensor].shape[-1]]
    if isinstance(module, Embedding):
        return torch.zeros(3, *shape, dtype=torch.long)
    return torch.zeros(3, *shape, dtype=next(model.parameters()).dtype)


# ---------------------------------------------------------------------- the operation


@torch.library.custom_op("lstmreg::onnx_lstm", mutates_args=())
def _onnx_lstm(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor,
    lengths: Tensor,
    reverse: bool,
    activation: str,
    recurrent_activation: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Stand for ONNX's LSTM in one direction while a module is traced; it is never run."""
    raise NotImplementedError


@_onnx_lstm.register_fake
def _(x: Tensor, h_0: Tensor, c_0: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape[0], x.shape[1], h_0.shape[-1]), torch.empty_like(h_0), torch.empty_like(c_0)


def _translation() -> Any:
    """Return the ONNX operations that the stand-in becomes."""
    import onnxscript

    op: Any = onnxscript.opset18

    def translate(
        x: Any,
        h_0: Any,
        c_0: Any,
        w_ih: Any,
        w_hh: Any,
        bias: Any,
        lengths: Any,
        reverse: bool,
        activation: str,
        recurrent_activation: str,
    ) -> Any:
        used = [_ACTIVATIONS[name] for name in (recurrent_activation, activation, activation)]
        # Each parameter goes to the next activation that has one.
        parameters = {
            "activation_alpha": [values[0] for _, values in used if len(values) > 0],
            "activation_beta": [values[1] for _, values in used if len(values) > 1],
        }
        first = op.Constant(value_ints=[0])
        y, h_n, c_n = op.LSTM(
            x,
            op.Unsqueeze(w_ih, first),
            op.Unsqueeze(w_hh, first),
            op.Unsqueeze(op.Concat(bias, op.Sub(bias, bias), axis=0), first),  # the second bias is zero
            op.Cast(lengths, to=6),  # int32
            op.Unsqueeze(h_0, first),
            op.Unsqueeze(c_0, first),
            activations=[name for name, _ in used],
            **{name: values for name, values in parameters.items() if values},
            direction="reverse" if reverse else "forward",
            hidden_size=int(w_hh.shape[1]),
        )
        return op.Squeeze(y, op.Constant(value_ints=[1])), op.Squeeze(h_n, first), op.Squeeze(c_n, first)

    return translate


# ---------------------------------------------------------------------- the layer


def _with_plain_lstms(module: nn.Module) -> nn.Module:
    """Put the stand-in in the place of each LSTM."""
    if isinstance(module, LSTM):
        return _plain(module)
    made: dict[LSTM, _PlainLSTM] = {}
    for path, each in list(module.named_modules(remove_duplicate=False)):
        if isinstance(each, LSTM):
            made[each] = made.get(each) or _plain(each)
            module.set_submodule(path, made[each])
    return module


@torch.no_grad()
def _plain(lstm: LSTM) -> _PlainLSTM:
    _check(lstm)
    plain = _PlainLSTM(
        lstm.input_size,
        lstm.hidden_size,
        lstm.num_layers,
        lstm.bias,
        lstm.batch_first,
        bidirectional=lstm.bidirectional,
        activation=lstm.activation,
        recurrent_activation=lstm.recurrent_activation,
        zero_output_for_mask=lstm.zero_output_for_mask,
        go_backwards=lstm.go_backwards,
        device="meta",  # so that no weights are drawn
        dtype=lstm.all_weights[0][0].dtype,
    ).to_empty(device=lstm.all_weights[0][0].device)
    for ours, theirs in zip(plain.all_weights, lstm.all_weights, strict=True):
        for target, source in zip(ours, theirs, strict=True):
            target.copy_(_gates_as_in_onnx(source))
    return plain.eval()


def _gates_as_in_onnx(weight: Tensor) -> Tensor:
    """Bring gates from the order i, f, g, o into ONNX's: i, o, f, g."""
    i, f, g, o = weight.chunk(4)
    return torch.cat([i, o, f, g])


def _check(lstm: LSTM) -> None:
    for layer in range(lstm.num_layers):
        for name in ("activation", "recurrent_activation"):
            value = lstm.setting_of(name, layer)
            if activations.name_of(value) not in _ACTIVATIONS:
                named = activations.name_of(value) or value
                raise ConfigError(
                    f"{name} {named!r} has no counterpart in ONNX's LSTM; it has {', '.join(_ACTIVATIONS)}."
                )
    if lstm.proj_size > 0:
        raise ConfigError("ONNX's LSTM has no projection; proj_size must be 0.")
    if lstm.stateful:
        raise ConfigError("an ONNX file keeps no states between calls; stateful must be False.")


class _PlainCell(Cell):
    """A cell as the file has it; masked steps are taken out before and put back after."""

    def run(self, x: Tensor, h_0: Tensor, c_0: Tensor, valid: Tensor | None) -> Result:
        w_ih, w_hh, bias, reverse = self.weight("weight_ih"), self.weight("weight_hh"), self.bias, self.direction == 1
        if bias is None:
            bias = w_ih.new_zeros(4 * self.lstm.hidden_size)
        functions = [activations.name_of(function) for function in self.activations]
        weights = (h_0, c_0, w_ih, w_hh, bias)
        if valid is None:
            lengths = x.new_zeros(x.shape[1], dtype=torch.long) + x.shape[0]
            output, h_n, c_n = torch.ops.lstmreg.onnx_lstm(x, *weights, lengths, reverse, *functions)
            return output, h_n, c_n
        lengths = valid.sum(0)
        output, h_n, c_n = torch.ops.lstmreg.onnx_lstm(_packed(x, valid), *weights, lengths, reverse, *functions)
        any_valid = (lengths > 0).unsqueeze(-1)
        held = _held(output, valid, reverse=reverse)
        return held, torch.where(any_valid, h_n, h_0), torch.where(any_valid, c_n, c_0)


class _PlainLSTM(LSTM):
    """The layer while it is traced."""

    _cell = _PlainCell

    def _is_stock(self, x: Tensor, valid: Tensor | None) -> bool:
        return False


def _packed(x: Tensor, valid: Tensor) -> Tensor:
    """Move the valid steps of each sequence to its beginning."""
    steps = x.shape[0]
    place = torch.where(valid, valid.long().cumsum(0) - 1, steps)  # invalid steps go to a row that is cut off
    room = torch.cat([torch.zeros_like(x), torch.zeros_like(x[:1])])
    return room.scatter(0, place.unsqueeze(-1).expand(x.shape), x)[:steps]


def _held(output: Tensor, valid: Tensor, *, reverse: bool) -> Tensor:
    """Put outputs of packed steps back in their places; a masked step repeats the one before, or is zero."""
    seen = valid.long().cumsum(0)
    place = seen - valid.long() if reverse else seen - 1
    known = (place < seen[-1:]) if reverse else (place >= 0)
    found = output.gather(0, place.clamp(min=0, max=output.shape[0] - 1).unsqueeze(-1).expand(output.shape))
    return torch.where(known.unsqueeze(-1), found, 0.0)
