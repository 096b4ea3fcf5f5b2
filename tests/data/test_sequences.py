"""Sequences of any source: what is read is what was written, in any form; what cannot be is refused by name."""

from __future__ import annotations

import gzip
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmreg import DataConfig
from lstmreg.data.sequences import Sequences, from_arrays, read_sequences
from lstmreg.data.sources.frame import from_frame
from lstmreg.data.table import read_series
from lstmreg.errors import ConfigError, DataError

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")

LENGTHS = (3, 1, 4, 2)
COLUMNS = ("0", "1")
CLASSES = ["up", "down", "up", "flat"]
NUMBERS = [1.5, -2.0, 0.25, 3.0]
GROUPS = ["anna", "ben", "anna", "cora"]


def made(seed: int = 0) -> list[np.ndarray]:
    """Return arrays ``(T_n, D)`` of unequal lengths."""
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(length, len(COLUMNS))) for length in LENGTHS]


def cell(value: float) -> str:
    return repr(float(value))


def write(folder: Path, form: str, labels: list, *, groups: bool = False) -> DataConfig:
    """Write the sequences in one of the forms, and return how they are read."""
    arrays = made()
    extra = {"group": "who"} if groups else {}
    if form in ("long", "shuffled", "tsv", "parquet", "gz"):
        rows = [
            [f"s{n}", GROUPS[n], str(step), *map(cell, row), str(labels[n])]
            for n, array in enumerate(arrays)
            for step, row in enumerate(array)
        ]
        if form == "shuffled":  # the rows of one sequence are no neighbours, and s0 still comes first
            rows = [*rows[:1], *sorted(rows[1:], key=lambda row: row[2])]
        header = ["id", "who", "t", *COLUMNS, "label"]
        shared = {"sequence": "id", "time": "t", "group": "who"}
        if not groups:
            shared |= {"group": None, "features": list(COLUMNS)}
        if form == "parquet":
            frame = pd.DataFrame(rows, columns=header).astype({"t": int, "0": float, "1": float})
            frame["label"] = labels if len(labels) == len(frame) else [labels[int(row[0][1:])] for row in rows]
            pq.write_table(pa.Table.from_pandas(frame), folder / "a.parquet")
            return DataConfig(str(folder / "a.parquet"), "label", **shared)
        sign = "\t" if form == "tsv" else ","
        text = "\n".join(sign.join(row) for row in [header, *rows]) + "\n"
        path = folder / {"tsv": "a.tsv", "gz": "a.csv.gz"}.get(form, "a.csv")
        path.write_bytes(gzip.compress(text.encode()) if form == "gz" else text.encode())
        return DataConfig(str(path), "label", **shared)
    if form == "folder":
        (folder / "data").mkdir()
        for n, array in enumerate(arrays):
            text = "\n".join(",".join(map(cell, row)) for row in array)
            (folder / "data" / f"s{n}.csv").write_text(f"0,1\n{text}\n")
        rows = "".join(f"s{n}{'.csv' * (n % 2)},{labels[n]},{GROUPS[n]}\n" for n in range(len(arrays)))
        (folder / "labels.csv").write_text(f"file,label,who\n{rows}")
        return DataConfig(str(folder / "data"), "label", labels=str(folder / "labels.csv"), **extra)
    if form in ("ts", "pair"):
        kind = "@classLabel true up down flat" if isinstance(labels[0], str) else "@targetLabel true"
        head = f"#made by hand\n@problemName Made\n@timeStamps false\n@equalLength false\n{kind}\n@data\n"
        lines = [
            ":".join([*(",".join(map(cell, column)) for column in array.T), str(label)])
            for array, label in zip(arrays, labels, strict=True)
        ]
        if form == "ts":
            (folder / "Made.ts").write_text(head + "\n".join(lines) + "\n")
            return DataConfig(str(folder / "Made.ts"), "label")
        (folder / "Made").mkdir()
        (folder / "Made" / "Made_TRAIN.ts").write_text(head + "\n".join(lines[:1]) + "\n")
        (folder / "Made" / "Made_TEST.ts").write_text(head + "\n".join(lines[1:]) + "\n")
        return DataConfig(str(folder / "Made"), "label")
    arrays_of_file = {"y": np.array(labels), **({"group": np.array(GROUPS)} if groups else {})}
    if form == "npz with starts":
        arrays_of_file |= {"x": np.concatenate(arrays), "starts": np.cumsum([0, *LENGTHS])}
    else:
        padded = np.full((len(LENGTHS), max(LENGTHS), len(COLUMNS)), np.nan)
        for n, array in enumerate(arrays):
            padded[n, : len(array)] = array
        arrays_of_file |= {"x": padded, "lengths": np.array(LENGTHS)}
    np.savez_compressed(folder / "a.npz", **arrays_of_file)
    return DataConfig(str(folder / "a.npz"), "label")


FORMS = ["long", "shuffled", "tsv", "gz", "parquet", "folder", "ts", "pair", "npz with starts", "npz padded"]


def refusal(config: DataConfig, kind: str, table=None) -> str:
    """Return the one line with which a source is refused."""
    with pytest.raises(DataError) as caught:
        read_sequences(config, kind, table)
    message = str(caught.value)
    assert caught.value.exit_code == 3
    assert len(message.splitlines()) == 1
    return message


# ---------------------------------------------------------------------- what is written is read


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["classify", "regress"])
def test_sequences_are_the_same_from_every_form(form, kind, tmp_path):
    labels = CLASSES if kind == "classify" else NUMBERS
    config = write(tmp_path, form, labels)
    sequences = read_sequences(config, kind)
    np.testing.assert_array_equal(sequences.starts, np.cumsum([0, *LENGTHS]))
    np.testing.assert_array_equal(sequences.inputs, np.concatenate(made()), strict=True)
    np.testing.assert_array_equal(sequences.lengths, LENGTHS)
    assert (sequences.features, sequences.target_names) == (COLUMNS, ("label",))
    assert len(sequences) == len(LENGTHS) == len(set(sequences.names))
    if kind == "classify":
        assert sequences.targets.tolist() == CLASSES
    else:
        np.testing.assert_array_equal(sequences.targets, np.array(NUMBERS)[:, None], strict=True)
    together = [note for note in sequences.notes if "read as one set of 4 sequences" in note]
    assert len(together) == (form == "pair")
    assert read_sequences(config, kind).sha256 == sequences.sha256 != ""


@pytest.mark.parametrize("form", ["long", "shuffled", "parquet", "folder", "npz with starts"])
def test_groups_are_those_of_the_sequences(form, tmp_path):
    sequences = read_sequences(write(tmp_path, form, CLASSES, groups=True), "classify")
    assert sequences.groups == tuple(GROUPS)


def by_step(labels: list[list[str]]) -> str:
    return "id,x,z\n" + "".join(
        f"s{n},{k}.5,{cell}\n" for n, cells in enumerate(labels) for k, cell in enumerate(cells)
    )


def test_each_step_has_its_label_or_none(tmp_path):
    (tmp_path / "a.csv").write_text(by_step([["walk", "", "run"], ["?"], ["run"]]))
    sequences = read_sequences(DataConfig(str(tmp_path / "a.csv"), "z", sequence="id"), "label")
    assert sequences.targets.tolist() == ["walk", "", "run", "", "run"]
    assert "The labels (z) are taken as 2 classes." in sequences.notes
    (tmp_path / "a.csv").write_text(by_step([["0.5", "", "2"], ["NA"], ["3"]]))
    config = DataConfig(str(tmp_path / "a.csv"), "z", sequence="id")
    numbers = read_sequences(config, "label")
    np.testing.assert_array_equal(numbers.targets, np.array([[0.5], [np.nan], [2], [np.nan], [3]]))
    assert read_sequences(config, "label", are_numbers=False).targets.tolist() == ["0.5", "", "2", "", "3"]
    (tmp_path / "a.csv").write_text(by_step([["0", "", "2"], ["NA"], ["3"]]))
    assert read_sequences(config, "label").targets.tolist() == ["0", "", "2", "", "3"]
    assert read_sequences(config, "label", are_numbers=True).targets.shape == (5, 1)


def test_a_folder_may_have_its_labels_step_by_step_in_the_files(tmp_path):
    (tmp_path / "b.csv").write_text("t,x,z\n1,1,run\n2,2,\n")
    (tmp_path / "a.csv").write_text("t,z,x\n5,walk,3\n")
    sequences = read_sequences(DataConfig(str(tmp_path), "z", time="t"), "label")
    assert (sequences.names, sequences.times) == (("a", "b"), ("5", "1"))
    assert sequences.targets.tolist() == ["walk", "run", ""]
    np.testing.assert_array_equal(sequences.inputs, [[3], [1], [2]])
    (tmp_path / "labels.csv").write_text("name,who\nb,ben\n")
    config = DataConfig(str(tmp_path), "z", time="t", labels=str(tmp_path / "labels.csv"), group="who")
    fewer = read_sequences(config, "label")
    assert (fewer.names, fewer.groups) == (("b",), ("ben",))
    assert any("1 file(s) of" in note and "are left out" in note for note in fewer.notes)


@given(st.permutations(range(10)))
def test_the_order_of_rows_in_the_file_means_nothing_where_time_orders_them(tmp_path_factory, order):
    folder = tmp_path_factory.mktemp("order")
    rows = [f"s{n},{t},{n + t / 10},{'ab'[n]}" for n in range(2) for t in range(5)]
    (folder / "a.csv").write_text("id,t,x,y\n" + "\n".join(rows[k] for k in order) + "\n")
    sequences = read_sequences(DataConfig(str(folder / "a.csv"), "y", sequence="id", time="t", sort=True), "classify")
    for name, target, start, stop in zip(
        sequences.names, sequences.targets, sequences.starts[:-1], sequences.starts[1:], strict=True
    ):
        n = int(name[1])
        np.testing.assert_array_equal(sequences.inputs[start:stop, 0], [n + t / 10 for t in range(5)])
        assert target == "ab"[n]


def test_tokens_are_numbered_and_an_unlisted_column_of_text_is_told_of_them(tmp_path):
    (tmp_path / "a.csv").write_text("id,base,x,y\na,T,1,u\na,G,2,u\nb,A,3,v\nb,T,4,v\n")
    config = DataConfig(str(tmp_path / "a.csv"), "y", sequence="id", tokens=["base"])
    sequences = read_sequences(config, "classify")
    assert sequences.tokens == {"base": ("A", "G", "T")}
    assert [sequences.tokens["base"][int(k)] for k in sequences.inputs[:, 0]] == ["T", "G", "A", "T"]
    message = refusal(DataConfig(config.path, "y", sequence="id"), "classify")
    assert "line 2, column 'base': 'T' is not a number. " in message
    assert "data.tokens: [base]" in message
    series = read_series(DataConfig(config.path, "x", ["base", "x"], tokens=["base"]))
    assert series.tokens == {"base": ("A", "G", "T")}
    np.testing.assert_array_equal(series.inputs, [[2, 1], [1, 2], [0, 3], [2, 4]])


HOLES = "id,x,z,y\na,1,5,u\nb,?,6,v\nb,2,,v\na,,7,u\nb,3,8,v\n"


def test_gaps_are_filled_within_a_sequence_or_their_rows_dropped(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(HOLES)
    shared = {"path": str(path), "target": "y", "sequence": "id"}
    assert "line 5, column 'x': a missing value (3 in all)" in refusal(DataConfig(**shared), "classify")
    message = refusal(DataConfig(**shared, missing="ffill"), "classify")  # and not with the row of another sequence
    assert "line 3: sequence 'b' begins without a value of column 'x', and 'ffill' has nothing to fill from" in message
    dropped = read_sequences(DataConfig(**shared, missing="drop"), "classify")
    np.testing.assert_array_equal(dropped.inputs, [[1, 5], [3, 8]])
    np.testing.assert_array_equal(dropped.starts, [0, 1, 2])
    path.write_text(HOLES.replace("b,?", "b,9"))
    filled = read_sequences(DataConfig(**shared, missing="ffill"), "classify")
    np.testing.assert_array_equal(filled.inputs, [[1, 5], [1, 7], [9, 6], [2, 6], [3, 8]])
    path.write_text(HOLES.replace("3,8", ",8"))
    assert "sequence 'b' has a missing cell in every row" in refusal(DataConfig(**shared, missing="drop"), "classify")


def test_labels_of_steps_are_dropped_with_their_rows(tmp_path):
    (tmp_path / "a.csv").write_text("id,x,y\na,1,u\na,,v\na,3,w\n")
    sequences = read_sequences(DataConfig(str(tmp_path / "a.csv"), "y", sequence="id", missing="drop"), "label")
    assert sequences.targets.tolist() == ["u", "w"]


# ---------------------------------------------------------------------- frames

FRAMES = {
    "pandas": lambda columns: pd.DataFrame(columns),
    "pandas of its own types": lambda columns: pd.DataFrame(columns).convert_dtypes(),
    "polars": lambda columns: pl.DataFrame(columns),
    "polars with categories": lambda columns: pl.DataFrame(columns).with_columns(pl.col("s").cast(pl.Categorical)),
    "pyarrow": lambda columns: pa.table(columns),
}
TABLE = {
    "id": ["a", "a", "b"],
    "t": [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-02"), pd.Timestamp("2024-01-01")],
    "x": [1, 2, 3],
    "b": [True, False, True],
    "n": [0.5, None, 2.5],
    "s": ["u", "v", "u"],
    "y": [7, 7, 8],
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_a_frame_is_read_as_the_file_of_the_same_cells(frame, tmp_path):
    text = "id,t,x,b,n,s,y\na,2024-01-01T00:00:00,1,1,0.5,u,7\na,2024-01-02T00:00:00,2,0,,v,7\n"
    (tmp_path / "a.csv").write_text(text + "b,2024-01-01T00:00:00,3,1,2.5,u,8\n")
    config = DataConfig(str(tmp_path / "a.csv"), "y", sequence="id", time="t", tokens=["s"], missing="ffill")
    given, expected = frame(TABLE), read_sequences(config, "classify")
    sequences = read_sequences(config, "classify", from_frame(given, config))
    for name in ("inputs", "starts", "targets"):
        np.testing.assert_array_equal(getattr(sequences, name), getattr(expected, name), strict=True)
    for name in ("features", "names", "times", "tokens", "notes"):
        assert getattr(sequences, name) == getattr(expected, name)
    assert read_sequences(config, "classify", from_frame(given, config)).sha256 == sequences.sha256

    one = DataConfig(config.path, "x", ["x", "n", "b"], missing="ffill")
    series, of_file = read_series(one, from_frame(given, one)), read_series(one)
    np.testing.assert_array_equal(series.inputs, of_file.inputs, strict=True)
    np.testing.assert_array_equal(series.target, of_file.target, strict=True)


def test_the_index_of_pandas_counts_where_it_has_the_name_that_is_asked_for():
    frame = pd.DataFrame({"y": [1.0, 2.0]}, index=pd.DatetimeIndex(["2024-01-01", "2024-01-02"], name="day"))
    config = DataConfig("sales", "y", time="day")
    series = read_series(config, from_frame(frame, config))
    assert series.labels == ("2024-01-01T00:00:00", "2024-01-02T00:00:00")
    assert (series.path, series.features) == ("sales", ("y",))


@pytest.mark.parametrize(
    ("frame", "part"),
    [
        (3, "int is no data frame that can be read"),
        (pl.DataFrame({"y": [1]}).lazy(), "collected if it is lazy"),
        (pl.DataFrame({"y": [[1], [2]]}), "column 'y': holds List"),
        (pl.DataFrame({"y": []}), "no row below it"),
        (pd.DataFrame([[1, 2]], columns=["y", "y"]), "unique column names"),
        (pd.DataFrame([[1, 2]], columns=["1", 1]), "two columns have one name as text"),
        (pl.DataFrame({"y": [1.0, np.inf]}), "row 1, column 'y': 'inf' is not finite in float32"),
        (pl.DataFrame({"y": [1.0, 1e39]}), "row 1, column 'y': '1e+39' is not finite in float32"),
        (pl.DataFrame({"y": [1.0, None]}), "row 1, column 'y': a missing value (1 in all)"),
        (pl.DataFrame({"y": [None, None]}), "column 'y' has no value at all"),
        (pl.DataFrame({"y": ["1", "x"]}), "row 1, column 'y': 'x' is not a number"),
        (pl.DataFrame({"z": [1]}), "unknown column 'y' in the frame; columns: z."),
    ],
)
def test_a_frame_that_cannot_be_used_is_refused(frame, part):
    config = DataConfig("the frame", "y")
    with pytest.raises(DataError) as caught:
        read_series(config, from_frame(frame, config))
    assert part in str(caught.value)


def test_without_pyarrow_it_is_said_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setattr("lstmreg.extras.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        read_series(DataConfig(str(path), "y"))
    assert "pip install 'lstmreg[parquet]'" in str(caught.value)


def test_parquet_and_npy_are_tables_of_a_series_too(tmp_path):
    values = np.random.default_rng(0).normal(size=(9, 3))
    np.save(tmp_path / "a.npy", values)
    pq.write_table(pa.table({str(k): values[:, k] for k in range(3)}), tmp_path / "a.parquet")
    pd.DataFrame(values, columns=list("012"), index=range(5, 14)[::-1]).to_parquet(tmp_path / "b.parquet")
    for name in ("a.npy", "a.parquet", "b.parquet"):
        series = read_series(DataConfig(str(tmp_path / name), "1"))
        assert (series.features, len(series.sha256)) == (("0", "1", "2"), 64)
        np.testing.assert_array_equal(series.inputs, values)
        np.testing.assert_array_equal(series.target, values[:, 1])


# ---------------------------------------------------------------------- arrays


def plain(sequences: Sequences) -> tuple:
    return sequences.inputs.tolist(), sequences.starts.tolist(), sequences.targets.tolist()


def test_arrays_lists_and_tensors_are_the_same_sequences():
    arrays, padded = made(), np.full((4, 4, 2), 7.0)
    for n, array in enumerate(arrays):
        padded[n, : len(array)] = array
    expected = plain(from_arrays(arrays, CLASSES, kind="classify"))
    for x, extra in [
        ([torch.tensor(a) for a in arrays], {}),
        ([a.tolist() for a in arrays], {}),
        (padded, {"lengths": LENGTHS}),
        (torch.tensor(padded), {"lengths": torch.tensor(LENGTHS)}),
        (np.concatenate(arrays), {"starts": np.cumsum([0, *LENGTHS])}),
    ]:
        assert plain(from_arrays(x, CLASSES, kind="classify", **extra)) == expected
    assert expected[0] == np.concatenate(arrays).tolist()


@pytest.mark.parametrize("kind", ["i8", "u1", "?", "f2", ">f4", "<i2", "f8"])
@pytest.mark.parametrize("form", ["plain", "every second", "read-only", "columns first"])
def test_any_array_of_numbers_is_converted_exactly_and_left_as_it_is(kind, form):
    x = np.random.default_rng(0).integers(0, 2, size=(6, 5, 2)).astype(kind)
    x = {"plain": x, "every second": x[::2], "columns first": np.asfortranarray(x)}.get(form, x)
    if form == "read-only":
        x.flags.writeable = False
    before = x.copy()
    sequences = from_arrays(x, np.arange(len(x)), kind="classify", missing="ffill", tokens=["0"])
    np.testing.assert_array_equal(sequences.inputs, x.reshape(-1, 2).astype(float), strict=True)
    np.testing.assert_array_equal(x, before, strict=True)


X = np.zeros((3, 4, 2)) + np.arange(4)[:, None]


@pytest.mark.parametrize(
    ("x", "y", "extra", "part"),
    [
        (X[0, 0], "abc", {}, "x must have shape (N, T, D) or (N, T), got (2,)"),
        (X[None], "abc", {}, "x must have shape (N, T, D) or (N, T), got (1, 3, 4, 2)"),
        (X[:0], "", {}, "at least, got shape (0, 4, 2)"),
        (X[:, :0], "abc", {}, "at least, got shape (3, 0, 2)"),
        (X.astype(complex), "abc", {}, "x must be numbers or text, got complex128"),
        (np.array([[[1], [object()]]]), "a", {}, "x must be numbers or text, got object"),
        (X.astype(str), "abc", {}, "x must be numbers, got text"),
        (X.astype("M8[s]"), "abc", {}, "x must be numbers or text, got datetime64[s]"),
        (np.where(X == 2, np.inf, X), "abc", {}, "x[0, 2, 0] is inf, which is not finite in float32"),
        (np.where(X == 2, -1e39, X), "abc", {}, "x[0, 2, 0] is -1e+39, which is not finite in float32"),
        (np.where(X == 2, np.nan, X), "abc", {}, "sequence '0', step 2, column '0': a missing value (6 in all)"),
        (X, "ab", {}, "y must have a target for each sequence, shape (3,) or (3, O), got (2,)"),
        (X, ["a", "", "b"], {}, "sequence '1' has no 'y' (1 such in all)"),
        (X, [0, 0.5, 1], {}, "classes must be text or whole numbers, got 0.5"),
        (X, "abc", {"lengths": [1, 5, 2]}, "lengths must be between 1 and T=4, got 5 for sequence 1"),
        (X, "abc", {"lengths": [1, 2, 0]}, "lengths must be between 1 and T=4, got 0 for sequence 2"),
        (X, "abc", {"lengths": [1, -2, 1]}, "lengths must be between 1 and T=4, got -2 for sequence 1"),
        (X, "abc", {"lengths": [1.0, 2, 1]}, "lengths must be whole numbers of shape (N,), got float64 (3,)"),
        (X, "abc", {"lengths": [1, 2]}, "lengths must have one number for each of 3 sequences, got 2"),
        (X[0], "ab", {"starts": [0, 2, 3]}, "starts must begin with 0 and end with the number of rows, 4, got 0 to 3"),
        (X[0], "ab", {"starts": [0, 0, 4]}, "starts must rise, and do not at sequence 0, which would have no step"),
        (X[0], "ab", {"starts": [0, 2, 4], "lengths": [2, 2]}, "starts and lengths together"),
        ([X[0], X[0, :0], X[0]], "abc", {}, "sequence 1 has no step"),
        ([X[0], X[0, :, :1], X[0]], "abc", {}, "x[1] must have shape (T, 2), got (4, 1)"),
        ([], "", {}, "x has no sequence"),
        (X, "abc", {"groups": ["u", "v"]}, "groups must have one value for each of 3 sequences, got 2"),
        (X, "abc", {"features": ["u", "u"]}, "the names of the columns must be 2 different ones"),
        (X + 0.5, "abc", {"tokens": ["1", "z"]}, "unknown column 'z' in the arrays"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(x, y, extra, part):
    with pytest.raises(DataError) as caught:
        from_arrays(x, list(y) if isinstance(y, str) else y, kind="classify", **extra)
    assert part in str(caught.value)


def test_padding_is_in_no_label_of_a_step():
    labels = np.array([[1, 2, 9, 9], [3, 9, 9, 9], [4, 5, 6, 7]])
    sequences = from_arrays(X, labels, kind="label", lengths=[2, 1, 4])
    assert sequences.targets.tolist() == list("1234567")
    numbers = from_arrays(X, labels[..., None].repeat(2, 2) + 0.5, kind="label", lengths=[2, 1, 4])
    np.testing.assert_array_equal(numbers.targets, np.arange(1.5, 8)[:, None].repeat(2, 1))
    assert numbers.target_names == ("y 0", "y 1")


# ---------------------------------------------------------------------- what is refused

LONG = {
    "two labels": (
        "id,x,y\na,1,u\na,2,v\n",
        {},
        "line 3, column 'y': sequence 'a' has 'v' here and 'u' in its first row",
    ),
    "two groups": (
        "id,g,x,y\na,p,1,u\nb,p,2,v\na,q,1,u\n",
        {"group": "g"},
        "line 4, column 'g': sequence 'a' has 'q' here and 'p' in its first row",
    ),
    "no label": ("id,x,y\na,1,u\nb,2,NA\n", {}, "line 3: sequence 'b' has no 'y' (1 such in all)"),
    "no name": ("id,x,y\na,1,u\n,2,u\n", {}, "line 3, column 'id': '' is no name of a sequence"),
    "no column for the names": ("id,x,y\na,1,u\n", {"sequence": None}, "data.sequence must name the column"),
    "another column": ("id,x,y\na,1,u\n", {"sequence": "ids"}, "unknown column 'ids'"),
    "the same column twice": ("id,x,y\na,1,u\n", {"group": "id"}, "'id' is both data.sequence and data.group"),
    "the target as input": ("id,x,y\na,1,u\n", {"features": ["x", "y"]}, "column 'y' is data.target"),
    "no input": ("id,y\na,u\n", {}, "no column is left for the inputs"),
    "a time twice": (
        "id,t,x,y\na,1,1,u\na,1,2,u\n",
        {"time": "t"},
        "line 3, column 't': in sequence 'a' the same time",
    ),
    "a step back": ("id,t,x,y\na,2,1,u\nb,1,1,u\na,1,2,u\n", {"time": "t"}, "line 4, column 't': in sequence 'a' earl"),
    "a step back in other words": (
        "id,t,x,y\na,2024-01-02,1,u\na,2024-01-01,2,u\n",
        {"time": "t"},
        "earlier than the row before. Sort the table, or set data.sort: true.",
    ),
    "a table of labels": ("id,x,y\na,1,u\n", {"labels": "l.csv"}, "is no folder; data.labels is for a folder"),
    "a header alone": ("id,x,y\n", {}, "a header, but no row below it"),
    "infinity": ("id,x,y\na,1e39,u\n", {}, "line 2, column 'x': '1e39' is not finite in float32"),
}


@pytest.mark.parametrize(("text", "extra", "part"), LONG.values(), ids=LONG)
def test_a_long_table_that_cannot_be_used_is_refused(text, extra, part, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    assert part in refusal(
        DataConfig(**{"path": str(tmp_path / "a.csv"), "target": "y", "sequence": "id"} | extra), "classify"
    )


def test_a_number_to_regress_must_be_one(tmp_path):
    (tmp_path / "a.csv").write_text("id,x,y\na,1,1\nb,2,two\n")
    message = refusal(DataConfig(str(tmp_path / "a.csv"), "y", sequence="id"), "regress")
    assert "line 3, column 'y': 'two' is not a number" in message


FOLDERS = {
    "no labels": ({"a.csv": "x\n1\n"}, None, "data.labels must name a CSV file"),
    "no file": ({}, "file,y\na,u\n", "no CSV file in this folder"),
    "a file that is not there": (
        {"a.csv": "x\n1\n"},
        "file,y\na,u\nb,u\n",
        "labels.csv, line 3, column 'file': no file 'b'",
    ),
    "a way out": ({"a.csv": "x\n1\n"}, "file,y\na,u\n../labels,u\n", "line 3, column 'file': no file '../labels'"),
    "a file twice": ({"a.csv": "x\n1\n"}, "file,y\na,u\na.csv,u\n", "line 3, column 'file': 'a.csv' a second time"),
    "no column of files": ({"a.csv": "x\n1\n"}, "file,y\nq,u\n", "no column has the names of the files"),
    "no target": ({"a.csv": "x\n1\n"}, "file,z\na,u\n", "unknown column 'y' in"),
    "other columns": ({"a.csv": "x\n1\n", "b.csv": "z\n1\n"}, "file,y\na,u\nb,u\n", "b.csv: other columns than in"),
    "an empty file": ({"a.csv": "x\n"}, "file,y\na,u\n", "a.csv: a header, but no row below it"),
    "text": ({"a.csv": "x\n1\nq\n"}, "file,y\na,u\n", "a.csv, line 3, column 'x': 'q' is not a number"),
    "a gap": (
        {"a.csv": "x\n1\n", "b.csv": "x\n1\n\n?\n"},
        "file,y\na,u\nb,u\n",
        "b.csv, line 4, column 'x': a missing",
    ),
}


@pytest.mark.parametrize(("in_files", "in_labels"), [(",", ";"), (";", ","), (";", "\t"), ("|", "|")])
def test_a_table_of_labels_may_have_another_delimiter_than_the_files(in_files, in_labels, tmp_path):
    (tmp_path / "all").mkdir()
    for name in "ab":
        (tmp_path / "all" / f"{name}.csv").write_text("x,z\n1,2\n3,4\n".replace(",", in_files))
    (tmp_path / "labels.csv").write_text("file,y\na,u\nb,v\n".replace(",", in_labels))
    config = DataConfig(str(tmp_path / "all"), "y", labels=str(tmp_path / "labels.csv"), delimiter=in_files)
    sequences = read_sequences(config, "classify")
    assert sequences.targets.tolist() == ["u", "v"]
    assert sequences.features == ("x", "z")


@pytest.mark.parametrize(
    ("kind", "cell", "said"),
    [("classify", "", "has no 'y'"), ("regress", "", "has no 'y'"), ("regress", "two", "'two' is not a number")],
)
def test_a_bad_label_is_looked_for_in_the_table_of_labels(kind, cell, said, tmp_path):
    (tmp_path / "all").mkdir()
    for name in "abc":
        (tmp_path / "all" / f"{name}.csv").write_text("x\n1\n3\n")
    (tmp_path / "labels.csv").write_text(f"file,y\nc,1\n\na,{cell}\nb,3\n")
    with pytest.raises(DataError, match=f"labels.csv, line 4.*{said}"):
        read_sequences(DataConfig(str(tmp_path / "all"), "y", labels=str(tmp_path / "labels.csv")), kind)


@pytest.mark.parametrize(("files", "labels", "part"), FOLDERS.values(), ids=FOLDERS)
def test_a_folder_that_cannot_be_used_is_refused(files, labels, part, tmp_path):
    (tmp_path / "data").mkdir()
    for name, text in files.items():
        (tmp_path / "data" / name).write_text(text)
    (tmp_path / "labels.csv").write_text(labels or "")
    path = None if labels is None else str(tmp_path / "labels.csv")
    assert part in refusal(DataConfig(str(tmp_path / "data"), "y", labels=path), "classify")


HEAD = "@problemName a\n@timeStamps false\n@univariate false\n@classLabel true u v\n@data\n"
TS = {
    "time stamps": (HEAD.replace("false\n@uni", "true\n@uni") + "1,2:u\n", "@timeStamps true; only steps without"),
    "a time stamp": (HEAD + "(0,1),(1,2):u\n", "line 6: '(' begins a time stamp"),
    "no flag": (HEAD.replace("Stamps false", "Stamps"), "line 2: @timeStamps must be true or false"),
    "no data": (HEAD.replace("@data\n", ""), "has no line @data"),
    "data before": ("1,2:u\n" + HEAD, "line 1: '1,2:u' before @data"),
    "nothing": (HEAD, "no sequence behind @data"),
    "no labels": (HEAD.replace("true u v", "false") + "1,2:u\n", "neither @classLabel nor @targetLabel is true"),
    "numbers": (HEAD.replace("classLabel true u v", "targetLabel true") + "1:2\n", "its labels are numbers"),
    "another class": (HEAD + "1,2:u\n1:w\n", "line 7: 'w' is no class that @classLabel lists (u, v)"),
    "no label": (HEAD + "1,2\n", "line 6: no label behind the last ':'"),
    "columns of two lengths": (HEAD + "1,2:3:u\n", "line 6: column 1 has 1 steps, and column 0 has 2"),
    "another number of columns": (HEAD + "1:2:u\n1:u\n", "line 7: 1 columns, but the sequences before have 2"),
    "no step": (HEAD + "1,2::u\n", "line 6: column 1 has no step"),
    "text": (HEAD + "1,b:u\n", "line 6, column 0, step 1: 'b' is not a number"),
    "infinity": (HEAD + "1,1e39:u\n", "line 6, column 0, step 1: '1e39' is not a number finite in float32"),
    "a gap": (HEAD + "1,2:u\n1,?:v\n", "line 7, step 1, column '0': a missing value (1 in all)"),
}


@pytest.mark.parametrize(("text", "part"), TS.values(), ids=TS)
def test_a_ts_file_that_cannot_be_used_is_refused(text, part, tmp_path):
    (tmp_path / "a.ts").write_text(text)
    assert part in refusal(DataConfig(str(tmp_path / "a.ts"), "y"), "classify")


@pytest.mark.parametrize(("kind", "part"), [("label", "none for each step"), ("regress", "are classes (@classLabel")])
def test_a_ts_file_for_another_task_is_refused(kind, part, tmp_path):
    (tmp_path / "a.ts").write_text(HEAD + "1,2:u\n")
    assert part in refusal(DataConfig(str(tmp_path / "a.ts"), "y"), kind)


def test_of_several_pairs_in_a_folder_that_of_its_name_is_read(tmp_path):
    folder = tmp_path / "Made"
    folder.mkdir()
    for name in ("Made_eq_TRAIN", "Made_eq_TEST", "Other_TRAIN", "Other_TEST"):
        (folder / f"{name}.ts").write_text(HEAD + "1,2:u\n")
    assert "several pairs of .ts files (Made_eq_TRAIN.ts, Other_TRAIN.ts)" in refusal(
        DataConfig(str(folder), "y"), "classify"
    )
    for name in ("Made_TRAIN", "Made_TEST"):
        (folder / f"{name}.ts").write_text(HEAD + "3:v\n")
    assert read_sequences(DataConfig(str(folder), "y"), "classify").targets.tolist() == ["v", "v"]
    for file in folder.glob("*TEST.ts"):
        file.unlink()
    assert "no pair NAME_TRAIN.ts and NAME_TEST.ts among" in refusal(DataConfig(str(folder), "y"), "classify")


class Bomb:
    """Makes its folder when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return Path.mkdir, (self.canary,)


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
def test_an_array_of_objects_is_refused_by_name_and_not_opened(name, tmp_path):
    bomb = np.array([Bomb(tmp_path / "sang"), None], dtype=object)
    if name == "a.npy":
        np.save(tmp_path / name, bomb, allow_pickle=True)
        with pytest.raises(DataError) as caught:
            read_series(DataConfig(str(tmp_path / name), "0"))
        message = str(caught.value)
    else:
        np.savez(tmp_path / name, x=np.zeros((2, 3)), y=bomb)
        message = refusal(DataConfig(str(tmp_path / name), "y"), "classify")
        assert "array 'y'" in message
    assert "holds Python objects" in message
    assert not (tmp_path / "sang").exists()


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.ts", "a.parquet", "a.csv"])
def test_a_pickle_under_any_name_is_refused_and_not_run(name, tmp_path):
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(tmp_path / "sang")))
    refusal(DataConfig(str(tmp_path / name), "y", sequence="id"), "classify")
    assert not (tmp_path / "sang").exists()


def npy(shape: tuple[int, ...], content: bytes, kind: str = "<f8") -> bytes:
    """Return a file whose header says what it likes."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})
    return stream.getvalue() + content


@pytest.mark.parametrize("shape", [(1 << 40, 1 << 20), (1 << 62, 4), (2, 2), (-1, -8), (1,)])
def test_a_shape_that_is_not_that_of_the_content_is_refused(shape, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("x.npy", npy(shape, bytes(64)))
        file.writestr("y.npy", npy((2,), bytes(16)))
    assert "array 'x' says it has shape" in refusal(DataConfig(str(tmp_path / "a.npz"), "y"), "classify")


def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((100, 100)), y=np.arange(100))
    monkeypatch.setattr("lstmreg.data.sources.numpy_file._MOST_UNPACKED", 80_000)
    monkeypatch.setattr("lstmreg.data.sources.numpy_file._member", None)  # which would raise another error
    assert "unpacks to more than 80,000 bytes" in refusal(DataConfig(str(tmp_path / "a.npz"), "y"), "classify")


@pytest.mark.parametrize("missing", ["x", "y"])
def test_an_archive_without_an_array_says_which_there_are(missing, tmp_path):
    arrays = {"x": np.zeros((2, 3)), "y": np.arange(2)}
    del arrays[missing]
    np.savez(tmp_path / "a.npz", **arrays)
    message = refusal(DataConfig(str(tmp_path / "a.npz"), "y"), "classify")
    assert f"has no array {missing!r}; arrays: {next(iter(arrays))}." in message


@pytest.mark.parametrize("name", ["a.ts", "a.npz", "a.npy", "a.parquet", "a.csv"])
@pytest.mark.parametrize("form", ["missing", "address", "device", "empty"])
def test_a_file_that_is_none_is_refused_in_every_form(name, form, tmp_path):
    path = {"address": f"https://example.org/{name}"}.get(form, str(tmp_path / name))
    if form == "device":
        Path(path).symlink_to("/dev/zero")
    elif form == "empty":
        Path(path).write_bytes(b"")
    message = refusal(DataConfig(path, "y", sequence="id"), "classify")
    assert path in message or form == "missing"


def test_a_table_is_not_read_from_a_file_of_sequences(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 3)), y=np.arange(2))
    with pytest.raises(DataError, match="holds sequences, and a table is needed"):
        read_series(DataConfig(str(tmp_path / "a.npz"), "y"))


def test_a_file_says_by_its_ending_that_tabs_part_its_cells_unless_they_do_not(tmp_path):
    (tmp_path / "a.tsv").write_text("x\ty\n1\t2\n")
    (tmp_path / "b.tsv").write_text("x,y\n1,2\n")
    for name in ("a.tsv", "b.tsv"):
        assert read_series(DataConfig(str(tmp_path / name), "y")).features == ("x", "y")
