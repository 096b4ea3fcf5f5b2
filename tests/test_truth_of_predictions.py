"""Where the data hold what is true, predictions stand beside it, and what they are worth is said."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, log_loss

import lstmreg
from lstmreg.cli import main
from lstmreg.data.sequences import from_arrays
from lstmreg.errors import ConfigError, DataError
from lstmreg.tasks.said import errors_said

COUNT = 40


def frame() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    rows = []
    for n in range(COUNT):
        for step in range(int(generator.integers(3, 6))):
            x, z = generator.normal(n % 2, 1, 2).round(3)
            rows.append((f"r{n:02}", step, x, z, ("no", "yes")[n % 2], n % 2 + 0.25 * n, 3 * n, "ab"[step % 2]))
    return pd.DataFrame(rows, columns=["run", "step", "x", "z", "kind", "mass", "age", "mark"])


TASKS: dict[str, Any] = {"classify": "kind", "regress": ["mass", "age"], "label": "mark"}
each = pytest.mark.parametrize("task", TASKS)


def write_folder(folder: Path, table: pd.DataFrame) -> None:
    """Write a file for each sequence, and the table of labels in the same folder."""
    folder.mkdir()
    for name, part in table.groupby("run"):
        part[["x", "z", "mark"]].to_csv(folder / f"{name}.csv", index=False)
    table.groupby("run").first().reset_index()[["run", "kind", "mass", "age"]].to_csv(
        folder / "labels.csv", index=False
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of each task, fitted to the long table; and of a folder, to classify."""
    folder = tmp_path_factory.mktemp("runs")
    frame().to_csv(folder / "table.csv", index=False)
    write_folder(folder / "files", frame())
    small = ["--model.hidden_size=4", "--training.max_epochs=2", f"--runs={folder / 'runs'}", "--data.features=[x, z]"]
    for task, target in TASKS.items():
        given = target if isinstance(target, str) else f"[{', '.join(target)}]"
        about = [f"--task={task}", f"--data.path={folder / 'table.csv'}", f"--data.target={given}", f"--name={task}"]
        assert main(["fit", *about, "--data.sequence=run", *small]) == 0
    about = [f"--data.path={folder / 'files'}", f"--data.labels={folder / 'files' / 'labels.csv'}"]
    assert main(["fit", "--task=classify", *about, "--data.target=kind", "--name=files", *small]) == 0
    return folder


def predicted(run: Path, data: object, folder: Path, *more: str) -> pd.DataFrame:
    assert main(["predict", str(run), str(data), "-o", str(folder / "out.csv"), *more]) == 0
    return pd.read_csv(folder / "out.csv")


@each
def test_the_truth_stands_beside_predictions_and_their_worth_is_said(
    task: str, runs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = frame()
    written = predicted(runs / "runs" / task, runs / "table.csv", tmp_path)
    said = " ".join(capfd.readouterr().out.split())
    first = table.groupby("run").first()
    if task == "classify":
        assert written["kind_true"].tolist() == first["kind"].tolist()
        expected = log_loss(written["kind_true"], written[["P(no)", "P(yes)"]].to_numpy())
        accuracy = accuracy_score(written["kind_true"], written["kind"])
        assert f"Against the truth of {COUNT} rows: log loss {expected:.4g}, accuracy {accuracy:.4g}" in said
    elif task == "label":
        assert written["mark_true"].tolist() == table["mark"].tolist()
        accuracy = accuracy_score(written["mark_true"], written["mark"])
        assert f"Against the truth of {len(table)} rows: log loss" in said
        assert f"accuracy {accuracy:.4g}" in said
    else:
        for name in ("mass", "age"):
            assert written[f"{name}_true"].tolist() == first[name].tolist()
            error = np.sqrt(((written[name] - written[f"{name}_true"]) ** 2).mean())
            assert f"root mean square error of {name} {error:.4g}" in said
    # What is predicted does not depend on whether the truth is known.
    unknown = table.drop(columns=["kind", "mass", "age", "mark"])
    unknown.to_csv(tmp_path / "new.csv", index=False)
    plain = predicted(runs / "runs" / task, tmp_path / "new.csv", tmp_path)
    pd.testing.assert_frame_equal(plain, written[plain.columns])
    assert len(plain.columns) < len(written.columns)
    assert "Against the truth" not in capfd.readouterr().out


@each
def test_a_frame_and_sequences_have_their_truth_and_arrays_have_none(task: str, runs: Path) -> None:
    model, table = lstmreg.load(runs / "runs" / task / "fit"), frame()
    parts = [part[["x", "z"]].to_numpy() for _, part in table.groupby("run")]
    target = TASKS[task]
    y = table.groupby("run").first()[target].to_numpy()
    if task == "label":
        y = [part["mark"].to_numpy() for _, part in table.groupby("run")]
    kind: Any = task
    sequences = from_arrays(
        parts, y, kind=kind, features=["x", "z"], target_names=[target] if task != "regress" else target
    )
    rows, errors = errors_said(model.predictions(table))
    assert rows == (len(table) if task == "label" else COUNT)
    assert errors_said(model.predictions(sequences)) == (rows, errors)
    assert errors_said(model.predictions(parts)) == (0, {})


def test_a_truth_that_cannot_be_used_is_told_and_nothing_else_changes(runs: Path, tmp_path: Path) -> None:
    model, table = lstmreg.load(runs / "runs" / "classify" / "fit"), frame()
    expected = model.predictions(table.drop(columns="kind"))
    for change, reason in (({2: ""}, "has '' here|has no 'kind'"), ({0: "no", 1: "yes"}, "in its first row")):
        other = table.copy()
        for row, cell in change.items():
            other.loc[row, "kind"] = cell
        found = model.predictions(other)
        assert found.truth is None
        (note,) = [note for note in found.notes if note.startswith("Without the truth: ")]
        assert any(part in note for part in reason.split("|"))
        assert found.csv() == expected.csv()
    strange = table.assign(kind=table["kind"].where(table["run"] != "r00", "perhaps"))
    assert errors_said(model.predictions(strange))[0] == COUNT - 1


def test_a_folder_has_its_truth_in_it_or_is_told_where_it_is(runs: Path, tmp_path: Path) -> None:
    run = runs / "runs" / "files"
    shutil.copytree(runs / "files", tmp_path / "new")
    written = predicted(run, tmp_path / "new", tmp_path)
    assert written["kind_true"].tolist() == ["no", "yes"] * (COUNT // 2)
    shutil.move(tmp_path / "new" / "labels.csv", tmp_path / "truth.csv")
    plain = predicted(run, tmp_path / "new", tmp_path)
    assert "kind_true" not in plain
    again = predicted(run, tmp_path / "new", tmp_path, "--labels", str(tmp_path / "truth.csv"))
    pd.testing.assert_frame_equal(again, written)
    pd.read_csv(tmp_path / "truth.csv")[:-3].to_csv(tmp_path / "new" / "labels.csv", index=False)
    model = lstmreg.load(run / "fit")
    found = model.predictions(tmp_path / "new")
    assert (len(found), found.truth) == (COUNT, None)  # nobody is left out
    assert any("3 file(s) of" in note for note in found.notes)
    with pytest.raises(DataError, match="3 file"):
        model.predictions(tmp_path / "new", labels=str(tmp_path / "new" / "labels.csv"))
    with pytest.raises(ConfigError, match="--labels is the table of labels of a folder"):
        model.predictions(runs / "table.csv", labels=str(tmp_path / "truth.csv"))


def write_arrays(path: Path, y: object = None) -> np.ndarray:
    x = np.random.default_rng(3).normal(size=(9, 4, 2)).round(2)
    np.savez(path, x=x, feature_names=["x", "z"], **({} if y is None else {"y": y}))
    return x


@each
def test_arrays_in_a_file_are_predicted_with_targets_and_without(task: str, runs: Path, tmp_path: Path) -> None:
    model = lstmreg.load(runs / "runs" / task / "fit")
    x = write_arrays(tmp_path / "plain.npz")
    plain = model.predictions(tmp_path / "plain.npz")
    assert plain.csv() == model.predictions(x).csv()
    y = {"classify": ["no", "yes", "no"] * 3, "regress": np.ones((9, 2)), "label": [["a", "b", "a", "b"]] * 9}[task]
    write_arrays(tmp_path / "known.npz", y)
    known = model.predictions(tmp_path / "known.npz")
    assert errors_said(known)[0] == (36 if task == "label" else 9)
    for name, column in plain.columns.items():
        assert known.columns[name].tolist() == column.tolist()


@pytest.mark.parametrize("has_label", [True, False])
def test_files_of_the_archives_are_predicted_with_labels_and_without(has_label: bool, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(30, 5)).round(3) + np.arange(30)[:, None] % 2
    lines = [",".join(map(str, row)) for row in x]
    labelled = [f"{line}:{('no', 'yes')[n % 2]}" for n, line in enumerate(lines)]
    head = "@problemName a\n@timeStamps false\n@univariate true\n@classLabel "
    (tmp_path / "a.ts").write_text(head + "true no yes\n@data\n" + "\n".join(labelled) + "\n")
    about = ["--task=classify", f"--data.path={tmp_path / 'a.ts'}", "--data.target=kind", f"--runs={tmp_path / 'runs'}"]
    assert main(["fit", *about, "--model.hidden_size=3", "--training.max_epochs=1", "--name=ts"]) == 0
    new = head + ("true no yes\n" if has_label else "false\n") + "@data\n"
    (tmp_path / "new.ts").write_text(new + "\n".join(labelled if has_label else lines) + "\n")
    written = predicted(tmp_path / "runs" / "ts", tmp_path / "new.ts", tmp_path)
    expected = lstmreg.load(tmp_path / "runs" / "ts" / "fit").predict(x[:, :, None])
    assert written["kind"].tolist() == expected.tolist()
    assert ("kind_true" in written) == has_label
    if has_label:
        assert written["kind_true"].tolist() == ["no", "yes"] * 15


@each
def test_the_picture_shows_the_truth(task: str, runs: Path, tmp_path: Path) -> None:
    predicted(runs / "runs" / task, runs / "table.csv", tmp_path, "--plot", str(tmp_path / "p.svg"))
    drawn = (tmp_path / "p.svg").read_text()
    assert ">truth" in drawn
    if task != "regress":
        written = pd.read_csv(tmp_path / "out.csv")
        target = TASKS[task]
        for (_, _), count in written.groupby([f"{target}_true", target]).size().items():
            assert f">{count}<" in drawn
