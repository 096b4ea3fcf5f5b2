"""From a file to an answer and to a model that predicts, by the command line."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import lstmreg
from lstmreg.cli import main

from .kinds import waves

TRAINING = ["--training.max_epochs=3", "--training.learning_rate=0.03", "--model.hidden_size=6"]
PLAN = [
    *("--search.blocks=3", "--search.race=0", "--search.judge_seeds=2", "--search.test_seeds=2"),
    *("--search.weight_decay=[]", "--search.learning_rates=[0.03]", "--search.space={model.dropout: [0.2]}"),
]


def table(path: Path) -> list[str]:
    x, speeds = waves()
    rows = ["id,person,step,height,noise,kind,speed,rises"]
    for n, (each, speed) in enumerate(zip(x, speeds, strict=True)):
        kind = "slow" if speed < 1.5 else "fast"
        for step, (height, noise) in enumerate(each):
            rises = "" if step == 0 else "yes" if height > each[step - 1, 0] else "no"
            rows.append(f"s{n},p{n % 9},{step},{height:.5f},{noise:.5f},{kind},{speed:.4f},{rises}")
    path.write_text("\n".join(rows) + "\n")
    return [f"--data.path={path}", "--data.sequence=id", "--data.features=[height, noise]", "--data.time=step"]


def npz(path: Path) -> list[str]:
    x, speeds = waves()
    starts = np.concatenate([[0], np.cumsum([len(each) for each in x])])
    kinds = np.where(speeds < 1.5, "slow", "fast")
    np.savez(path, x=np.concatenate(x), starts=starts, y=kinds, group=np.arange(len(x)) % 9)
    return [f"--data.path={path}"]


def archive(path: Path) -> list[str]:
    x, speeds = waves()
    lines = ["@problemName waves", "@timeStamps false", "@univariate false", "@dimensions 2", "@equalLength false"]
    lines += ["@classLabel true slow fast", "@data"]
    for each, speed in zip(x, speeds, strict=True):
        columns = [",".join(f"{value:.5f}" for value in column) for column in each.T]
        lines.append(":".join([*columns, "slow" if speed < 1.5 else "fast"]))
    path.write_text("\n".join(lines) + "\n")
    return [f"--data.path={path}"]


def folder(path: Path) -> list[str]:
    x, speeds = waves()
    path.mkdir()
    rows = ["file,speed"]
    for n, (each, speed) in enumerate(zip(x, speeds, strict=True)):
        values = "\n".join(f"{height:.5f},{noise:.5f}" for height, noise in each)
        (path / f"s{n:02}.csv").write_text(f"height,noise\n{values}\n")
        rows.append(f"s{n:02},{speed:.4f}")
    (path.parent / "speeds.csv").write_text("\n".join(rows) + "\n")
    return [f"--data.path={path}", f"--data.labels={path.parent / 'speeds.csv'}"]


@pytest.mark.parametrize(
    ("source", "name", "task", "target", "more"),
    [
        (table, "waves.csv", "classify", "kind", ["--data.group=person", "--training.class_weight=balanced"]),
        (npz, "waves.npz", "classify", "kind", ["--training.label_smoothing=0.1"]),
        (archive, "waves.ts", "classify", "kind", []),
        (table, "waves.csv", "regress", "speed", []),
        (folder, "waves", "regress", "speed", ["--training.loss=mae"]),
        (table, "waves.csv", "label", "rises", []),
    ],
)
def test_a_file_is_fitted_and_searched(
    source, name: str, task: str, target: str, more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    given = [
        f"--task={task}",
        *source(path),
        f"--data.target={target}",
        f"--runs={tmp_path / 'runs'}",
        "--name=it",
        *more,
    ]
    assert main(["fit", *given, *TRAINING]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "prediction validation loss test " in said
    assert ("test accuracy" in said) == (task != "regress")
    assert "window" not in said
    assert "forecast" not in said
    assert main(["search", *given, *TRAINING, *PLAN]) == 0
    said = capsys.readouterr().out
    assert "On the test sequences the " in " ".join(said.split())
    assert "forecast" not in said
    assert not re.search(r"(test|training|validation|judged) rows", said)
    for saved in (tmp_path / "runs" / "it" / "fit", tmp_path / "runs" / "it"):
        predictor = lstmreg.load(saved)
        assert len(predictor.predict(path)) == 72
    page = (tmp_path / "runs" / "it" / "report.html").read_text()
    assert "Whole sequences were split" in page
    assert "<dt>sequences</dt><dd>72</dd>" in page


def test_what_does_not_suit_a_task_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [*table(tmp_path / "waves.csv"), f"--runs={tmp_path / 'runs'}"]
    assert main(["fit", "--task=classify", *given, "--data.target=kind", "--training.loss=mse"]) == 2
    assert "training.loss must be one of cross_entropy where task is classify, got 'mse'." in capsys.readouterr().err
    assert main(["fit", "--task=classify", *given, "--data.target=kind", "--data.split_by=group"]) == 2
    assert "data.group must be set" in capsys.readouterr().err
    assert main(["fit", "--task=sort", *given, "--data.target=kind"]) == 2
    assert "task must be one of forecast, classify, regress, label" in capsys.readouterr().err
