"""The layouts of weights that Keras has had, written by hand from their descriptions; the numbers are NumPy's."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from lstmreg import interop
from lstmreg.errors import CorruptFileError
from lstmreg.interop.keras.modules.model import KerasModel

from .numpy_lstm import Activation, hard_sigmoid_of_keras_2, lstm, sigmoid

B, T, D, H = 3, 7, 5, 9
Array = np.ndarray
Named = Sequence[tuple[str, Array]]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


class Cell:
    """Weights of an LSTM in the layout of Keras 2 and 3, no two gates alike."""

    def __init__(self, rng: np.random.Generator, inputs: int = D, units: int = H) -> None:
        shapes = (inputs, 4 * units), (units, 4 * units), (4 * units,)
        self.arrays = [rng.normal(0, 0.4, shape).astype(np.float32) for shape in shapes]

    def __call__(self, x: Array, **options: Any) -> Array:
        """The output of each step."""
        return lstm(x, *self.arrays, **options)[0]

    def named(self, place: str, ending: str = ":0") -> Named:
        names = "kernel", "recurrent_kernel", "bias"
        return [(f"{place}{name}{ending}", array) for name, array in zip(names, self.arrays, strict=True)]

    def gates(self) -> dict[str, list[Array]]:
        """Kernel, recurrent kernel and bias of each gate."""
        split = [np.split(array, 4, axis=-1) for array in self.arrays]
        return {gate: [parts[index] for parts in split] for index, gate in enumerate("ifco")}

    def by_gates(self, name: str, ending: str = "") -> Named:
        """As Keras 1 kept them: i, c, f, o, and of each W, U, b."""
        gates = self.gates()
        return [(f"{name}_{k}_{g}{ending}", a) for g in "icfo" for k, a in zip("WUb", gates[g], strict=True)]

    def joined(self, name: str, ending: str = "") -> Named:
        """As Keras 1 kept them with ``consume_less="gpu"``."""
        return [(f"{name}_{kind}{ending}", array) for kind, array in zip("WUb", self.arrays, strict=True)]

    def cudnn(self, place: str, rng: np.random.Generator) -> Named:
        """As a CuDNNLSTM keeps them: what Keras' conversion makes an LSTM's weights of."""
        kernels, recurrents, _ = (np.split(array, 4, axis=-1) for array in self.arrays)
        kernel = np.concatenate([k.T.reshape(k.shape) for k in kernels], axis=1)
        recurrent = np.concatenate([u.T for u in recurrents], axis=1)
        half = rng.normal(size=self.arrays[2].shape).astype(np.float32)
        bias = np.concatenate([half, self.arrays[2] - half])
        names = "kernel", "recurrent_kernel", "bias"
        arrays = kernel, recurrent, bias
        return [(f"{place}{name}:0", array) for name, array in zip(names, arrays, strict=True)]


# ---------------------------------------------------------------------- files


def described(class_name: str, name: str, /, **config: Any) -> dict[str, Any]:
    return {"class_name": class_name, "config": {"name": name, **config}}


def lstm_of_keras_1(name: str, /, **config: Any) -> dict[str, Any]:
    settings = {"output_dim": H, "activation": "tanh", "inner_activation": "hard_sigmoid", "consume_less": "cpu"}
    settings |= {"return_sequences": True, "batch_input_shape": [None, T, D], "input_dtype": "float32"}
    return described("LSTM", name, **settings | config)


def lstm_of_keras_2(name: str, /, class_name: str = "LSTM", **config: Any) -> dict[str, Any]:
    settings = {"units": H, "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True}
    return described(class_name, name, **settings | {"return_sequences": True} | config)


def sequential(*layers: Mapping[str, Any], as_list: bool = False) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": list(layers) if as_list else {"name": "m", "layers": list(layers)}}


def put_names(group: h5py.Group, attribute: str, names: Sequence[str], as_text: bool, parts: int | None) -> None:
    kept = np.array(names, dtype=h5py.string_dtype()) if as_text else np.array([n.encode() for n in names], dtype="S")
    if parts is None:
        group.attrs[attribute] = kept
        return
    for number, part in enumerate(np.array_split(kept, parts)):
        group.attrs[f"{attribute}{number}"] = part


def write_legacy(
    path: Path,
    layers: Mapping[str, Named],
    config: Mapping[str, Any] | None,
    version: str | None,
    *,
    as_text: bool = False,
    parts: int | None = None,
) -> Path:
    """Write lists of layers and of their weights; without a ``config`` weights alone."""
    with h5py.File(path, "w") as file:
        group = file if config is None else file.create_group("model_weights")
        if config is not None:
            text = json.dumps(config)
            file.attrs["model_config"] = text if as_text else np.bytes_(text)
        if version is not None:
            for place in (file, group):
                place.attrs["keras_version"] = version if as_text else np.bytes_(version)
        put_names(group, "layer_names", list(layers), as_text, parts)
        for name, weights in layers.items():
            below = group.create_group(name)
            put_names(below, "weight_names", [weight for weight, _ in weights], as_text, parts)
            for weight, array in weights:
                below[weight] = array
    return path


def write_groups(path: Path, arrays: Mapping[str, Array]) -> Path:
    """Write a ``.weights.h5`` file."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def write_keras(path: Path, config: Mapping[str, Any], version: str, arrays: Mapping[str, Array]) -> Path:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", content.getvalue())
    return path


def write_json(path: Path, config: Mapping[str, Any], version: str) -> Path:
    path.write_text(json.dumps({**config, "keras_version": version}))
    return path


def inputs(rng: np.random.Generator, steps: int = T, features: int = D) -> Array:
    return rng.normal(size=(B, steps, features)).astype(np.float32)


def assert_gives(model: KerasModel, x: Array, expected: Array) -> None:
    with torch.no_grad():
        got = model(torch.from_numpy(x))
    torch.testing.assert_close(got.double(), torch.from_numpy(expected), rtol=2e-6, atol=2e-6)


# ---------------------------------------------------------------------- Keras 1


@pytest.mark.parametrize("version", [None, "1.2.2"])
@pytest.mark.parametrize("ending", ["", ":0"], ids=["theano", "tensorflow"])
def test_the_gates_that_keras_1_kept_apart_are_joined_in_todays_order(ending, version, tmp_path, rng):
    first, second, x = Cell(rng), Cell(rng, H, H - 2), inputs(rng)
    config = sequential(lstm_of_keras_1("lstm_1"), lstm_of_keras_1("lstm_2", output_dim=H - 2), as_list=True)
    layers = {"lstm_1": first.by_gates("lstm_1", ending), "lstm_2": second.by_gates("lstm_2", ending)}
    model = interop.load_model(write_legacy(tmp_path / "m.h5", layers, config, version))
    hard = {"recurrent_activation": hard_sigmoid_of_keras_2}
    assert_gives(model, x, second(first(x, **hard), **hard))


@pytest.mark.parametrize("ending", ["", ":0"], ids=["theano", "tensorflow"])
def test_keras_1_kept_the_gates_joined_for_a_gpu(ending, tmp_path, rng):
    cell, x = Cell(rng), inputs(rng)
    config = sequential(lstm_of_keras_1("lstm_1", consume_less="gpu", inner_activation="sigmoid"), as_list=True)
    model = interop.load_model(write_legacy(tmp_path / "m.h5", {"lstm_1": cell.joined("lstm_1", ending)}, config, None))
    assert_gives(model, x, cell(x))


def test_weights_of_keras_1_need_their_description_and_not_its_names(tmp_path, rng):
    cell, x = Cell(rng), inputs(rng)
    config = sequential(lstm_of_keras_1("lstm_8", go_backwards=True, return_sequences=False), as_list=True)
    path = write_legacy(tmp_path / "w.h5", {"lstm_1": cell.by_gates("lstm_1")}, None, None)
    model = interop.load_model(path, write_json(tmp_path / "m.json", config, "1.1.0"))
    assert_gives(model, x, cell(x, go_backwards=True, recurrent_activation=hard_sigmoid_of_keras_2)[:, -1])


@pytest.mark.parametrize("consume_less", ["cpu", "gpu"])
def test_both_directions_of_keras_1_are_in_one_list(consume_less, tmp_path, rng):
    ahead, back, x = Cell(rng), Cell(rng), inputs(rng)
    inner = lstm_of_keras_1("lstm_1", consume_less=consume_less)
    config = sequential(described("Bidirectional", "both", layer=inner, merge_mode="concat"), as_list=True)
    kept = [
        (cell.by_gates if consume_less == "cpu" else cell.joined)(f"{direction}_lstm_1")
        for direction, cell in (("forward", ahead), ("backward", back))
    ]
    model = interop.load_model(write_legacy(tmp_path / "m.h5", {"both": [*kept[0], *kept[1]]}, config, "1.2.2"))
    hard = {"recurrent_activation": hard_sigmoid_of_keras_2}
    expected = np.concatenate([ahead(x, **hard), back(x, go_backwards=True, **hard)[:, ::-1]], axis=-1)
    assert_gives(model, x, expected)


# ---------------------------------------------------------------------- Keras 2


@pytest.mark.parametrize(
    ("version", "place"),
    [
        ("2.0.0", "lstm_1/"),
        ("2.2.4", "lstm_1/"),
        ("2.2.4-tf", "lstm_1/"),
        ("2.4.0", "lstm_1/lstm_cell_3/"),
        ("2.15.0", "lstm_1/lstm_cell/"),
    ],
)
@pytest.mark.parametrize("as_text", [False, True], ids=["bytes", "text"])
def test_keras_2_names_each_weight_by_its_scope(version, place, as_text, tmp_path, rng):
    cell, x = Cell(rng), inputs(rng)
    config = sequential(lstm_of_keras_2("lstm_1", activation="relu"), as_list=version < "2.2")
    path = write_legacy(tmp_path / "m.h5", {"lstm_1": cell.named(place)}, config, version, as_text=as_text)
    assert_gives(interop.load_model(path), x, cell(x, activation=lambda z: np.maximum(z, 0)))
    single = interop.load_lstm(path, "lstm_1")
    with torch.no_grad():
        got, _ = single(torch.from_numpy(x))
    np.testing.assert_allclose(got, cell(x, activation=lambda z: np.maximum(z, 0)), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(
    ("version", "name", "expected"),
    [
        ("2.3.1", "hard_sigmoid", hard_sigmoid_of_keras_2),
        ("2.15.0", "hard_sigmoid", hard_sigmoid_of_keras_2),
        ("3.0.0", "hard_sigmoid", lambda z: np.clip(z / 6 + 0.5, 0, 1)),
        ("3.15.0", "sigmoid", sigmoid),
    ],
)
def test_the_version_says_which_hard_sigmoid_is_meant(version: str, name: str, expected: Activation, tmp_path, rng):
    cell, x = Cell(rng), 3 * inputs(rng)
    config = sequential(lstm_of_keras_2("lstm", recurrent_activation=name, activation="softsign"))
    path = write_legacy(tmp_path / "m.h5", {"lstm": cell.named("lstm/lstm_cell/")}, config, version)
    assert_gives(
        interop.load_model(path), x, cell(x, recurrent_activation=expected, activation=lambda z: z / (1 + abs(z)))
    )


def test_layers_of_an_old_file_go_by_name_and_not_by_their_order(tmp_path, rng):
    cells = {name: Cell(rng, D, D) for name in ("lstm_2", "b", "lstm_10", "lstm_1", "a")}
    x = inputs(rng)
    config = sequential(*(lstm_of_keras_2(name, units=D) for name in cells))
    shuffled = {name: cells[name].named(f"{name}/lstm_cell/") for name in sorted(cells)}
    expected = x
    for cell in cells.values():
        expected = cell(expected)
    assert_gives(interop.load_model(write_legacy(tmp_path / "m.h5", shuffled, config, "2.15.0")), x, expected)


def test_a_list_of_names_that_was_too_long_for_one_attribute_is_read_in_the_order_of_its_parts(tmp_path, rng):
    cells, x = {f"layer_{letter}": Cell(rng, D, D) for letter in "mlkjihgfedcba"}, inputs(rng)
    config = sequential(*(lstm_of_keras_2(f"other_{name}", units=D) for name in cells))
    layers = {name: cell.named(f"{name}/") for name, cell in cells.items()}
    path = write_legacy(tmp_path / "m.h5", layers, config, "2.2.4", parts=13)
    with h5py.File(path) as file:
        assert "layer_names12" in file["model_weights"].attrs
        assert "weight_names2" in file["model_weights/layer_a"].attrs
    expected = x
    for cell in cells.values():
        expected = cell(expected)
    assert_gives(interop.load_model(path), x, expected)


@pytest.mark.parametrize(("units", "features"), [(H, D), (5, 5), (1, 3), (3, 1)])
def test_the_weights_of_a_cudnn_lstm_become_those_of_an_lstm(units, features, tmp_path, rng):
    cell, x = Cell(rng, features, units), inputs(rng, features=features)
    config = sequential(described("CuDNNLSTM", "cu", units=units, return_sequences=True))
    path = write_legacy(tmp_path / "m.h5", {"cu": cell.cudnn("cu/", rng)}, config, "2.2.4")
    assert_gives(interop.load_model(path), x, cell(x))


def test_each_direction_of_a_cudnn_lstm_is_turned_by_itself(tmp_path, rng):
    ahead, back, x = Cell(rng), Cell(rng), inputs(rng)
    inner = described("CuDNNLSTM", "cu", units=H, return_sequences=True)
    config = sequential(described("Bidirectional", "both", layer=inner, merge_mode="mul"))
    kept = [*ahead.cudnn("both/forward_cu/", rng), *back.cudnn("both/backward_cu/", rng)]
    model = interop.load_model(write_legacy(tmp_path / "m.h5", {"both": kept}, config, "2.3.1"))
    assert_gives(model, x, ahead(x) * back(x, go_backwards=True)[:, ::-1])


@pytest.mark.parametrize("is_cudnn", [False, True])
def test_weights_of_a_cudnn_lstm_fit_an_lstm_and_the_other_way_round(is_cudnn, tmp_path, rng):
    cell, x = Cell(rng), inputs(rng)
    class_name = "LSTM" if is_cudnn else "CuDNNLSTM"
    config = sequential(
        lstm_of_keras_2("a") if is_cudnn else described(class_name, "a", units=H, return_sequences=True)
    )
    kept = cell.cudnn("a/", rng) if is_cudnn else cell.named("a/")
    path = write_legacy(tmp_path / "w.h5", {"a": kept}, None, "2.2.4")
    assert_gives(interop.load_model(path, write_json(tmp_path / "m.json", config, "2.2.4")), x, cell(x))


# ---------------------------------------------------------------------- groups by class


def numbered(cells: Sequence[Cell], place: str = "layers/", separator: str = "/") -> dict[str, Array]:
    """The groups of a stack: lstm, lstm_1, and so on."""
    return {
        f"{place}lstm{f'_{number}' if number else ''}/cell".replace("/", separator) + f"/vars/{index}": array
        for number, cell in enumerate(cells)
        for index, array in enumerate(cell.arrays)
    }


@pytest.mark.parametrize("version", ["2.13.1", "2.14.0", "2.15.0"])
def test_a_zip_of_keras_2_has_the_settings_of_its_time(version, tmp_path, rng):
    cells, x = [Cell(rng), Cell(rng, H, 3)], inputs(rng)
    old = {"time_major": False, "unroll": False, "implementation": 2, "stateful": False, "dtype": "float32"}
    config = sequential(
        described("InputLayer", "lstm_input", batch_input_shape=[None, T, D], sparse=False, ragged=False),
        lstm_of_keras_2("lstm", batch_input_shape=[None, T, D], **old),
        lstm_of_keras_2("lstm_1", units=3, **old),
    )
    model = interop.load_model(write_keras(tmp_path / "m.keras", config, version, numbered(cells)))
    assert_gives(model, x, cells[1](cells[0](x)))


def test_time_in_front_is_refused_and_not_ignored(tmp_path, rng):
    config = sequential(lstm_of_keras_2("lstm", time_major=True))
    path = write_keras(tmp_path / "m.keras", config, "2.15.0", numbered([Cell(rng)]))
    with pytest.raises(CorruptFileError, match="time_major"):
        interop.load_model(path)


@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
def test_paths_that_windows_wrote_are_the_same_places(ending, tmp_path, rng):
    cells, x = [Cell(rng), Cell(rng, H, H)], inputs(rng)
    config = sequential(lstm_of_keras_2("lstm"), lstm_of_keras_2("lstm_1"))
    arrays = numbered(cells, separator="\\")
    assert "layers\\lstm_1\\cell/vars/2" in arrays
    path, description = tmp_path / f"m{ending}", None
    if ending == ".keras":
        write_keras(path, config, "3.0.5", arrays)
    else:
        write_groups(path, arrays)
        description = write_json(tmp_path / "m.json", config, "3.0.5")
    assert_gives(interop.load_model(path, description), x, cells[1](cells[0](x)))


def test_keras_2_12_counted_each_layer_with_weights_twice(tmp_path, rng):
    cells, x = [Cell(rng, D, D) for _ in range(3)], inputs(rng)
    config = sequential(*(lstm_of_keras_2(f"lstm_{n}", units=D) for n in range(3)))
    place = "_layer_checkpoint_dependencies/lstm"
    arrays = {
        f"{place}{ending}/cell/vars/{index}": array
        for ending, cell in zip(("", "_2", "_4"), cells, strict=True)
        for index, array in enumerate(cell.arrays)
    }
    model = interop.load_model(write_keras(tmp_path / "m.keras", config, "2.12.0", arrays))
    assert_gives(model, x, cells[2](cells[1](cells[0](x))))


def test_the_tenth_layer_of_a_class_comes_after_the_ninth_and_names_say_nothing(tmp_path, rng):
    cells = [Cell(rng, 3, 3) for _ in range(13)]
    x = inputs(rng, features=3)
    names = ["lstm_12", "lstm", "z", "lstm_1", "lstm_10", "lstm_2", *(f"l{n}" for n in range(9, 2, -1))]
    config = sequential(*(lstm_of_keras_2(name, units=3) for name in names))
    path = write_groups(tmp_path / "m.weights.h5", numbered(cells))
    model = interop.load_model(path, write_json(tmp_path / "m.json", config, "3.7.0"))
    expected = x
    for cell in cells:
        expected = cell(expected)
    assert_gives(model, x, expected)
    chosen = interop.load_lstm(path, "lstm_10", tmp_path / "m.json")  # named so, but the fifth
    np.testing.assert_array_equal(interop.get_weights(chosen)[0], cells[4].arrays[0])


# ---------------------------------------------------------------------- masks


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("zero", [False, True], ids=["hold", "zero"])
def test_a_masked_step_holds_the_output_or_zeroes_it(zero, go_backwards, tmp_path, rng):
    cell, x = Cell(rng), inputs(rng)
    mask = rng.random((B, T)) < 0.5
    mask[0, :2] = mask[1, -2:] = False
    x[~mask] = -1
    settings = {"zero_output_for_mask": zero, "go_backwards": go_backwards}
    config = sequential(described("Masking", "m", mask_value=-1.0), lstm_of_keras_2("lstm", **settings))
    path = write_keras(tmp_path / "m.keras", config, "3.15.0", numbered([cell]))
    expected = cell(x, mask=mask, zero_output_for_mask=zero, go_backwards=go_backwards)
    assert (expected == 0).any()
    assert_gives(interop.load_model(path), x, expected)


@pytest.mark.parametrize("merge_mode", ["concat", "sum", "ave", "mul"])
@pytest.mark.parametrize(("version", "zero"), [("2.2.4", False), ("2.15.0", True)])
def test_two_directions_hold_masked_steps_in_old_keras_and_zero_them_in_tensorflows(
    version, zero, merge_mode, tmp_path, rng
):
    ahead, back, x = Cell(rng), Cell(rng), inputs(rng)
    mask = rng.random((B, T)) < 0.5
    x[~mask] = 0
    both = described("Bidirectional", "both", layer=lstm_of_keras_2("lstm"), merge_mode=merge_mode)
    config = sequential(described("Masking", "m", mask_value=0.0), both)
    kept = [*ahead.named("both/forward_lstm/"), *back.named("both/backward_lstm/")]
    model = interop.load_model(write_legacy(tmp_path / "m.h5", {"m": [], "both": kept}, config, version))
    options = {"mask": mask, "zero_output_for_mask": zero}
    a, b = ahead(x, **options), back(x, go_backwards=True, **options)[:, ::-1]
    merged = {"concat": np.concatenate([a, b], axis=-1), "sum": a + b, "ave": (a + b) / 2, "mul": a * b}
    assert_gives(model, x, merged[merge_mode])
