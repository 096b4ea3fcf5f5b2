"""Several numbers to predict of a sequence, or of its steps: from every source as from Python."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import lstmreg
from lstmreg.cli import main
from lstmreg.config import DataConfig
from lstmreg.data.sequences import from_arrays, read_sequences
from lstmreg.errors import ConfigError, DataError

X = [np.array([[1.0], [2.0]]), np.array([[3.0], [4.0], [5.0]])]
Arrays = list[np.ndarray]
Y = np.array([[7.0, -1.0], [8.0, -2.5]])
EXPECTED = from_arrays(X, Y, kind="regress", features=["x"], target_names=["mass", "age"])


def long_table(folder: Path, x: Arrays, y: np.ndarray) -> DataConfig:
    rows = [f"{n},{value},{y[n, 0]},{y[n, 1]}" for n, each in enumerate(x) for value in each[:, 0]]
    (folder / "long.csv").write_text("\n".join(["id,x,mass,age", *rows]) + "\n")
    return DataConfig(str(folder / "long.csv"), ["mass", "age"], sequence="id")


def files(folder: Path, x: Arrays, y: np.ndarray) -> DataConfig:
    (folder / "files").mkdir()
    for n, each in enumerate(x):
        (folder / "files" / f"{n}.csv").write_text("x\n" + "".join(f"{value}\n" for value in each[:, 0]))
    (folder / "labels.csv").write_text("file,mass,age\n" + "".join(f"{n},{a},{b}\n" for n, (a, b) in enumerate(y)))
    return DataConfig(str(folder / "files"), ["mass", "age"], labels=str(folder / "labels.csv"))


def arrays(folder: Path, x: Arrays, y: np.ndarray) -> DataConfig:
    np.savez(folder / "it.npz", x=np.concatenate(x), starts=np.cumsum([0, *map(len, x)]), y=y, feature_names=["x"])
    return DataConfig(str(folder / "it.npz"), ["mass", "age"])


SOURCES = {"long table": long_table, "folder": files, "npz": arrays}


@pytest.mark.parametrize("source", SOURCES)
def test_several_targets_are_read_as_from_python(source: str, tmp_path: Path) -> None:
    found = read_sequences(SOURCES[source](tmp_path, X, Y), "regress")
    assert (found.features, found.target_names) == (("x",), ("mass", "age"))
    np.testing.assert_array_equal(found.targets, EXPECTED.targets)
    np.testing.assert_array_equal(found.inputs, EXPECTED.inputs)
    np.testing.assert_array_equal(found.starts, EXPECTED.starts)


@pytest.mark.parametrize("source", ["long table", "folder"])
def test_several_classes_and_a_target_that_changes_are_refused(source: str, tmp_path: Path) -> None:
    config = SOURCES[source](tmp_path, X, Y)
    with pytest.raises(ConfigError, match=r"data\.target must be one column where it holds classes"):
        read_sequences(config, "classify")
    place = tmp_path / ("long.csv" if source == "long table" else "labels.csv")
    place.write_text(place.read_text().replace("-2.5", "", 1))
    with pytest.raises(DataError, match="'age'"):
        read_sequences(config, "regress")


def test_several_targets_of_steps_are_columns_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "steps.csv").write_text("id,x,a,b\nr,1,5,6\nr,2,,8\ns,3,9,1\n")
    config = DataConfig(str(tmp_path / "steps.csv"), ["a", "b"], sequence="id")
    found = read_sequences(config, "label")
    np.testing.assert_array_equal(found.targets, [[5, 6], [math.nan, 8], [9, 1]])
    (tmp_path / "files").mkdir()
    for name, rows in (("r", "1,5,6\n2,,8\n"), ("s", "3,9,1\n")):
        (tmp_path / "files" / f"{name}.csv").write_text("x,a,b\n" + rows)
    same = read_sequences(DataConfig(str(tmp_path / "files"), ["a", "b"]), "label")
    np.testing.assert_array_equal(same.targets, found.targets)


@pytest.mark.parametrize("source", SOURCES)
def test_from_a_file_to_predictions_of_each_target(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    x = [generator.normal(size=(length, 1)) for length in [3, 4] * 15]
    y = np.stack([[each.sum(), 100 * each[0, 0]] for each in x])
    config = SOURCES[source](tmp_path, x, y)
    lines = [f"  path: {config.path}", "  target: [mass, age]"]
    lines += [f"  {name}: {getattr(config, name)}" for name in ("sequence", "labels") if getattr(config, name)]
    text = "\n".join(["task: regress", "data:", *lines, "training:", "  max_epochs: 1", "name: run", ""])
    Path("lstmreg.yaml").write_text(text)
    assert main(["fit", "-c", "lstmreg.yaml"]) == 0
    assert main(["predict", "runs/run/fit", config.path, "-o", "out.csv"]) == 0
    header, *rows = Path("out.csv").read_text().splitlines()
    assert {"mass", "age"} <= set(header.split(","))
    loaded = lstmreg.load("runs/run/fit")
    made = loaded.predict(x)
    places = [header.split(",").index(name) for name in ("mass", "age")]
    order = np.argsort([int(row.split(",")[0]) for row in rows])
    found = np.array([[float(row.split(",")[k]) for k in places] for row in rows])[order]
    np.testing.assert_allclose(found, made, rtol=1e-5)
