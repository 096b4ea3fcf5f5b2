"""What leaves the house with its scales gives what ``predict`` gives, of raw values, in whichever tool it runs."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lstmreg
import lstmreg.ops  # which an exported program needs
from lstmreg import Ensemble, Forecaster, ModelConfig, Network, interop
from lstmreg.cli import main
from lstmreg.data.encoding import SequenceEncoder
from lstmreg.data.sequences import from_arrays
from lstmreg.data.windows import Scaler, Windower
from lstmreg.sequence_predictor import SequencePredictor

#: Which columns go in, how many steps are forecast, how many rows back the target is differenced, how many networks.
FORECASTS = [
    (("price", "sales"), 3, 0, 1),
    (("price", "sales"), 3, 1, 1),
    (("price", "sales"), 5, 2, 3),
    (("sales",), 1, 1, 1),
    (("price",), 2, 0, 2),
]


def forecaster(features: tuple[str, ...], horizon: int, lag: int, members: int) -> Forecaster:
    torch.manual_seed(len(features) + 10 * horizon + 100 * lag)
    size = len(features)
    networks = [Network(ModelConfig(hidden_size=4, num_layers=2), size, horizon).eval() for _ in range(members)]
    # Far from zero and narrow: where 32 bits are too few, this shows it.
    scaler = Scaler(np.array([1e6, 3.0])[:size], np.array([2.0, 0.01])[:size])
    network = networks[0] if members == 1 else Ensemble(networks).eval()
    return Forecaster(
        network, features, "sales", Windower(6, horizon, scaler, Scaler(np.array(5e5), np.array(0.5)), lag)
    )


def table(made: Forecaster, rows: int, seed: int = 0) -> np.ndarray:
    mean, scale = made.windower.inputs.mean, made.windower.inputs.scale
    return mean + scale * np.random.default_rng(seed).normal(size=(rows, len(made.features)))


def sequence_predictor(task: str, *, tokens: bool = False, bidirectional: bool = False, members: int = 1) -> Any:
    torch.manual_seed(3)
    generator = np.random.default_rng(3)
    at_steps, classes = task == "label", () if task == "regress" else ("a", "b", "c")
    features = ("x", "word") if tokens else ("x", "y")
    encoder = SequenceEncoder(
        features=features,
        inputs=Scaler(np.array([1e5, 0.0 if tokens else -3.0]), np.array([2.0, 1.0 if tokens else 0.1])),
        tokens={"word": ("no", "so", "yes")} if tokens else {},
        seen={"word": np.array([True, False, True])} if tokens else {},
        classes=classes,
        counts=np.ones(len(classes), dtype=np.int64),
        targets=None if classes else Scaler(np.array([7.0, 1e4]), np.array([0.5, 3.0])),
        at_steps=at_steps,
    )
    config = ModelConfig(hidden_size=4, num_layers=2, bidirectional=bidirectional)
    networks = [
        Network(config, 2, encoder.output_size, steps="all" if at_steps else "last", vocabularies=encoder.vocabularies)
        for _ in range(members)
    ]
    for network in networks:
        torch.nn.init.normal_(network.head.weight, generator=torch.Generator().manual_seed(int(generator.integers(99))))
    targets = ("t",) if classes else ("t", "u")
    return SequencePredictor((networks[0] if members == 1 else Ensemble(networks)).eval(), task, encoder, targets)


SEQUENCES = [
    {"task": "classify"},
    {"task": "classify", "bidirectional": True, "members": 2},
    {"task": "classify", "tokens": True},
    {"task": "regress"},
    {"task": "label"},
    {"task": "label", "tokens": True, "bidirectional": True},
]


def sequences(made: SequencePredictor, lengths: list[int], seed: int) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    mean, scale = made.encoder.inputs.mean, made.encoder.inputs.scale
    found = [mean + scale * generator.normal(size=(length, 2)) for length in lengths]
    if made.encoder.tokens:
        for each in found:
            each[:, 1] = generator.integers(0, 3, len(each))
    return found


def expected_of(made: SequencePredictor, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Return what the predictor says of each sequence alone."""
    found = []
    for array in arrays:
        whole = from_arrays([array], [0.0], kind="regress", features=made.features)
        if made.encoder.tokens:
            whole = lstmreg.data.sequences.Sequences(**{**vars(whole), "tokens": made.encoder.tokens})
        found.append(made.values(whole)[0])
    return found


def padded(made: SequencePredictor, arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return what a reader of ``about`` puts into the graph; behind the ends stands anything."""
    lengths = np.array([len(array) for array in arrays])
    whole = np.full((len(arrays), int(lengths.max()), 2), 77.0)
    numbers = made.raw().about["tokens"].get("word", {})
    for row, array in zip(whole, arrays, strict=True):
        row[: len(array)] = array
        if made.encoder.tokens:
            words = made.encoder.tokens["word"]
            row[: len(array), 1] = [numbers.get(words[int(token)], 0) for token in array[:, 1]]
            row[len(array) :, 1] = 1
    return whole, lengths


def check_sequences(made: SequencePredictor, run: Any) -> None:
    for seed, lengths in enumerate(([5, 1, 9], [4], [30, 2, 2, 17, 30])):
        arrays = sequences(made, lengths, seed)
        outputs = np.asarray(run(*padded(made, arrays)))
        for row, length, expected in zip(outputs, lengths, expected_of(made, arrays), strict=True):
            if made.encoder.at_steps:
                np.testing.assert_allclose(row[:length], expected, rtol=1e-5, atol=1e-6)
                assert np.isnan(row[length:]).all()
            else:
                np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-6)


def check_forecasts(made: Forecaster, run: Any) -> None:
    past = made.raw().about["steps"]
    for batch in (1, 4, 7):
        tables = [table(made, past, seed) for seed in range(batch)]
        outputs = np.asarray(run(np.stack(tables)))
        np.testing.assert_allclose(outputs, [made.predict(each) for each in tables], rtol=1e-9, atol=1e-5)


def session_of(path: Path) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    names = [each.name for each in session.get_inputs()]
    return lambda *given: session.run(None, dict(zip(names, given, strict=True)))[0]


@pytest.mark.parametrize(
    ("to", "case"),
    [("onnx", FORECASTS[1]), ("onnx", FORECASTS[2]), ("onnx", FORECASTS[4]), ("torch-export", FORECASTS[2])],
)
def test_a_forecasters_graph_reads_raw_windows(case: Any, to: str, tmp_path: Path) -> None:
    made = forecaster(*case)
    made.save(tmp_path / "run")
    assert main(["convert", str(tmp_path / "run"), "-o", str(tmp_path / "out"), "--to", to]) == 0
    if to == "onnx":
        check_forecasts(made, session_of(tmp_path / "out" / "model.onnx"))
    else:
        program = torch.export.load(tmp_path / "out" / "model.pt2").module()
        check_forecasts(made, lambda x: program(torch.from_numpy(x)).detach().numpy())
    about = json.loads((tmp_path / "out" / "about.json").read_text())
    assert about["features"] == list(made.features)
    assert about["steps"] == made.windower.past


def test_a_longer_window_is_read_to_its_end(tmp_path: Path) -> None:
    """Another length is no other graph: the network itself tells what it must give."""
    made = forecaster(("price", "sales"), 3, 0, 1)
    interop.save_onnx(made.raw(), tmp_path / "m.onnx")
    x = np.stack([table(made, 11, seed) for seed in range(2)])
    outputs = session_of(tmp_path / "m.onnx")(x)
    with torch.no_grad():
        scaled = made.network(torch.from_numpy(made.windower.inputs.scaled(x))).numpy()
    np.testing.assert_allclose(outputs, made.windower.target.unscaled(scaled), rtol=1e-9, atol=1e-5)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, str], tuple[SequencePredictor, Path]]:
    """Return what converts a predictor by its place in the list, once, since that takes seconds."""

    @functools.cache
    def convert(index: int, to: str) -> tuple[SequencePredictor, Path]:
        made, folder = sequence_predictor(**SEQUENCES[index]), tmp_path_factory.mktemp("converted")
        made.save(folder / "run")
        assert main(["convert", str(folder / "run"), "-o", str(folder / "out"), "--to", to]) == 0
        return made, folder / "out"

    return convert


@pytest.mark.parametrize(
    ("to", "index"),
    [*(("onnx", index) for index in range(1, 6)), ("torch-export", 1), ("torch-export", 5)],
)
def test_a_sequence_predictors_graph_reads_raw_sequences_of_any_length(index: int, to: str, converted: Any) -> None:
    made, folder = converted(index, to)
    if to == "onnx":
        check_sequences(made, session_of(folder / "model.onnx"))
    else:
        program = torch.export.load(folder / "model.pt2").module()
        check_sequences(made, lambda *given: program(*map(torch.from_numpy, given)).detach().numpy())
    assert json.loads((folder / "about.json").read_text())["classes"] == list(made.classes)


@pytest.mark.parametrize("index", [2, 5])
def test_a_graph_takes_no_length_or_token_that_there_is_not_for_one(index: int, converted: Any) -> None:
    made, folder = converted(index, "onnx")
    run = session_of(folder / "model.onnx")
    whole, lengths = padded(made, sequences(made, [9, 9, 9, 9, 5], 0))
    expected = run(whole, lengths)
    assert np.isfinite(expected[:4]).all()

    outputs = run(whole, np.array([0, 10, -1, 9, 5]))
    assert np.isnan(outputs[:3]).all()
    np.testing.assert_array_equal(outputs[3:], expected[3:])

    unknown, strange = whole.copy(), whole.copy()
    unknown[:4, 2, 1] = 0
    strange[:4, 2, 1] = [-1, 4, 1.5, np.nan]
    np.testing.assert_array_equal(run(strange, lengths), run(unknown, lengths))
    assert not np.array_equal(run(unknown, lengths), expected)


def moderate(made: Any) -> Any:
    """Return the same with scales that 32 bits can bear."""
    if isinstance(made, Forecaster):
        size = len(made.features)
        scaler = Scaler(np.array([30.0, -3.0])[:size], np.array([4.0, 0.1])[:size])
        target = Scaler(np.array(50.0), np.array(5.0))
        windower = dataclasses.replace(made.windower, inputs=scaler, target=target)
        return dataclasses.replace(made, windower=windower)
    encoder = dataclasses.replace(made.encoder, inputs=Scaler(np.array([30.0, -3.0]), np.array([4.0, 0.1])))
    return dataclasses.replace(made, encoder=encoder)


def keras_layers_of(folder: Path, to: str) -> Any:
    if to == "torch":
        model = interop.load_model(folder)
        return lambda x: model(torch.from_numpy(x)).detach().numpy()
    keras = pytest.importorskip("keras")
    model = keras.models.load_model(folder / "model.keras")
    return lambda x: model(x, training=False).detach().numpy()


@pytest.mark.parametrize("case", [FORECASTS[0], FORECASTS[4]])
@pytest.mark.parametrize("to", ["torch", "keras"])
def test_a_forecasters_layers_of_keras_read_raw_windows(case: Any, to: str, tmp_path: Path) -> None:
    made = moderate(forecaster(*case))
    made.save(tmp_path / "run")
    assert main(["convert", str(tmp_path / "run"), "-o", str(tmp_path / "out"), "--to", to]) == 0
    run = keras_layers_of(tmp_path / "out", to)
    for batch in (1, 5):
        tables = [table(made, 6, seed).astype(np.float32) for seed in range(batch)]
        expected = np.array([made.predict(each) for each in tables])
        np.testing.assert_allclose(run(np.stack(tables)), expected, rtol=1e-4)


@pytest.mark.parametrize("options", [SEQUENCES[1], SEQUENCES[3], SEQUENCES[4]], ids=str)
@pytest.mark.parametrize("to", ["torch", "keras"])
def test_a_sequence_predictors_layers_of_keras_read_raw_sequences(options: Any, to: str, tmp_path: Path) -> None:
    made = moderate(sequence_predictor(**options))
    made.save(tmp_path / "run")
    assert main(["convert", str(tmp_path / "run"), "-o", str(tmp_path / "out"), "--to", to]) == 0
    run = keras_layers_of(tmp_path / "out", to)
    for seed, lengths in enumerate(([5, 5, 5], [12])):
        arrays = [each.astype(np.float32) for each in sequences(made, lengths, seed)]
        expected = np.stack(expected_of(made, arrays))
        np.testing.assert_allclose(run(np.stack(arrays)), expected, rtol=1e-4, atol=1e-5)


def test_what_keras_layers_cannot_hold_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    forecaster(("price", "sales"), 3, 1, 1).save(tmp_path / "differenced")
    assert main(["convert", str(tmp_path / "differenced"), "-o", str(tmp_path / "out")]) == 0
    said = " ".join(capfd.readouterr().out.split())
    assert "Note: batch_normalization: trained on differences: column 'sales' goes in as its change from" in said
    assert "times scale" not in said
    sequence_predictor("classify", tokens=True).save(tmp_path / "tokens")
    assert main(["convert", str(tmp_path / "tokens"), "-o", str(tmp_path / "out"), "--to", "keras"]) == 2
    assert "columns of tokens" in capfd.readouterr().err


def test_the_names_of_classes_travel_in_the_file(converted: Any, tmp_path: Path) -> None:
    import onnx

    made, folder = converted(2, "onnx")
    [held] = onnx.load(folder / "model.onnx").metadata_props
    assert json.loads(held.value) == made.raw().about
    assert made.raw().about["tokens"] == {"word": {"no": 1, "yes": 3}}  # training never saw "so"
    interop.save_exported(made.raw(), tmp_path / "m.pt2")
    extra = {"about.json": ""}
    torch.export.load(tmp_path / "m.pt2", extra_files=extra)
    assert json.loads(extra["about.json"]) == made.raw().about
