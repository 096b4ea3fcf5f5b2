"""Damaged files of every form that is read: each is refused in one line, or read as what is complete and finite."""

from __future__ import annotations

import dataclasses
import gzip
import io
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from lstmreg import Config, DataConfig, ModelConfig, Network
from lstmreg.data.sequences import Sequences, read_sequences
from lstmreg.data.table import read_series
from lstmreg.models import load, save
from lstmreg.yaml_file import read_yaml
from tests.mutations import fault, limits, mutated_bytes

FILES, MANY = 40, 1_200  #: of each form in the ordinary run, and behind the marker
SECONDS = 10  #: for each file

ROWS = [("a", 0, 1.5, "u", 3, 1), ("a", 1, -2.0, "v", 3, 1), ("b", 0, 1e-3, "u", 4, 2.5), ("b", 1, 7.25, "v", 4, 2.5)]
HEADER = ("id", "t", "x", "s", "y", "w")
TEXT = "\n".join(",".join(map(str, row)) for row in [HEADER, *ROWS]) + "\n"
TS = "@problemName a\n@timeStamps false\n@classLabel true 3 4\n@data\n1,2:3,?:3\n4,5,6:7,8,9:4\n"


def of_numpy(write: Callable[..., Any], *values: Any, **named: Any) -> bytes:
    stream = io.BytesIO()
    write(stream, *values, **named)
    return stream.getvalue()


def of_parquet() -> bytes:
    stream = io.BytesIO()
    columns = dict(zip(HEADER, map(list, zip(*ROWS, strict=True)), strict=True))
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


ARRAYS = {
    "x": np.arange(24.0).reshape(2, 4, 3),
    "y": np.array([3, 4]),
    "lengths": np.array([2, 4]),
    "weight": np.array([1.0, 2.5]),
}

#: By form, what is damaged.
WHOLE: dict[str, bytes] = {
    "a.csv": TEXT.encode(),
    "a.tsv": TEXT.replace(",", "\t").encode(),
    "a.csv.gz": gzip.compress(TEXT.encode(), mtime=0),
    "a.ts": TS.encode(),
    "a.npz": of_numpy(np.savez, **ARRAYS),
    "packed.npz": of_numpy(np.savez_compressed, **ARRAYS),
    "a.npy": of_numpy(np.save, np.arange(12.0).reshape(6, 2)),
    "a.parquet": of_parquet(),
    "a.yaml": yaml.safe_dump(dataclasses.asdict(Config(DataConfig("a.csv", "y")))).encode(),
    "model.json": b"",  # what was saved, below
}


def settings_of(path: Path) -> DataConfig:
    if path.suffix == ".npy":
        return DataConfig(str(path), "0", missing="ffill")
    if path.suffix in (".npz", ".ts"):
        return DataConfig(str(path), "y", missing="ffill")
    return DataConfig(str(path), "y", sequence="id", time="t", tokens=["s"], weight="w", missing="ffill")


def use(path: Path) -> None:
    """Read a file, and see that what it gives is complete and finite."""
    if path.suffix == ".yaml":
        read_yaml(path)
        return
    if path.suffix == ".json":
        network, _ = load(path.parent)
        assert all(bool(values.isfinite().all()) for values in network.state_dict().values())
        return
    config = settings_of(path)
    if path.suffix == ".npy":
        assert np.isfinite(read_series(config).inputs).all()
        return
    sequences = read_sequences(config, "classify")
    assert_whole(sequences)
    if path.suffix in (".npz", ".ts"):
        assert np.isfinite(read_sequences(config, "regress", is_labelled=False).inputs).all()
    if path.suffix in (".csv", ".parquet"):
        plain = dataclasses.replace(config, time=None, features=["x", "y"], tokens=None)
        assert np.isfinite(read_series(plain).target).all()


def assert_whole(sequences: Sequences) -> None:
    assert np.isfinite(sequences.inputs).all()
    assert sequences.starts[0] == 0
    assert (np.diff(sequences.starts) > 0).all()
    assert sequences.starts[-1] == len(sequences.inputs)
    assert sequences.weights is None or ((sequences.weights > 0) & np.isfinite(sequences.weights)).all()
    assert len(sequences.targets) == len(sequences.names) == len(sequences.starts) - 1
    assert all(sequences.targets)


def whole(name: str, folder: Path) -> bytes:
    if name == "model.json":
        save(folder, Network(ModelConfig(hidden_size=3), 2, 1), {"target": "y"})
        return (folder / name).read_bytes()
    return WHOLE[name]


def damaged(name: str, content: bytes, rng: random.Random) -> bytes:
    """Return a damaged file; of an archive also one whose sums are right, and only what it holds is damaged."""
    if not name.endswith(".npz") or rng.random() < 0.5:
        return mutated_bytes(content, rng)
    stream, place = io.BytesIO(), rng.choice(["x.npy", "y.npy", "lengths.npy", "weight.npy"])
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        for member in old.namelist():
            new.writestr(member, mutated_bytes(old.read(member), rng) if member == place else old.read(member))
    return stream.getvalue()


def faults(name: str, folder: Path, count: int, seed: str) -> dict[int, str]:
    content, rng, found = whole(name, folder), random.Random(f"{name} {seed}"), {}
    before = {path.name for path in folder.iterdir()} | {name}
    with limits():
        for index in range(count):
            (folder / name).write_bytes(damaged(name, content, rng))
            wrong = fault(lambda: use(folder / name), SECONDS, must_be_printable=True)
            if wrong is not None:
                found[index] = wrong
    assert {path.name for path in folder.iterdir()} == before
    return found


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_damaged_is_read_where_it_is_whole(name, tmp_path):
    (tmp_path / name).write_bytes(whole(name, tmp_path))
    use(tmp_path / name)


@pytest.mark.parametrize("name", WHOLE)
def test_a_damaged_file_is_refused_or_read_as_what_is_whole(name, tmp_path):
    assert faults(name, tmp_path, FILES, "ordinary") == {}


@pytest.mark.storm
@pytest.mark.parametrize("name", WHOLE)
def test_many_damaged_files_are_refused_or_read_as_what_is_whole(name, tmp_path):
    assert faults(name, tmp_path, MANY, "storm") == {}


@pytest.mark.parametrize("name", ["a.csv", "a.ts"])
def test_a_file_of_nothing_but_ends_of_lines_fills_no_memory(name, tmp_path):
    head = b",".join(b"c%d" % k for k in range(1_000)) + b",id,y"
    (tmp_path / name).write_bytes(head + b"\n" * 3_000_000)
    with limits():
        assert fault(lambda: use(tmp_path / name), SECONDS, must_be_printable=True) is None


# ---------------------------------------------------------------------- large tables

#: Reads a file, and says how many bytes that took at most, beside those of the numbers that it gives.
MEASURE = """
import sys, tracemalloc
from lstmreg import DataConfig
from lstmreg.data.sequences import read_sequences
from lstmreg.data.table import read_series
path, kind = sys.argv[1:]
tracemalloc.start()
if kind == "series":
    found = read_series(DataConfig(path, "y", ["a", "b", "c", "d", "y"])).inputs
else:
    found = read_sequences(DataConfig(path, "y", sequence="id"), "regress").inputs
print(found.shape[0], found.nbytes, tracemalloc.get_traced_memory()[1])
"""


def measured(path: Path, kind: str) -> tuple[int, int, int]:
    done = subprocess.run([sys.executable, "-c", MEASURE, str(path), kind], capture_output=True, text=True, check=True)
    rows, numbers, peak = map(int, done.stdout.split())
    return rows, numbers, peak


def write_large(path: Path, rows: int) -> None:
    values = np.random.default_rng(0).normal(size=(1_000, 4))
    lines = ["a,b,c,d,id,y"] + [",".join(f"{v:.6f}" for v in row) for row in values]
    with path.open("w") as file:
        file.write(lines[0] + "\n")
        file.writelines(f"{lines[1 + k % 1_000]},{k // 50},{k // 50}\n" for k in range(rows))


@pytest.mark.parametrize("kind", ["series", "sequences"])
def test_reading_a_table_takes_a_small_multiple_of_its_file_and_its_numbers(kind, tmp_path):
    write_large(tmp_path / "a.csv", 200_000)
    rows, numbers, peak = measured(tmp_path / "a.csv", kind)
    assert rows == 200_000
    # As cells of text, of at least 50 bytes each and 8 for their place, it were more than 60 MB alone.
    assert peak < (tmp_path / "a.csv").stat().st_size + 5 * numbers


@pytest.mark.storm
def test_two_million_rows_are_read(tmp_path):
    write_large(tmp_path / "a.csv", 2_000_000)
    rows, numbers, peak = measured(tmp_path / "a.csv", "series")
    assert rows == 2_000_000
    assert peak < (tmp_path / "a.csv").stat().st_size + 5 * numbers
