"""A saved network predicts sequences from any source, and one that is damaged is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

import lstmreg
from lstmreg.config import Config, DataConfig, ModelConfig, TrainingConfig
from lstmreg.errors import CorruptFileError, DataError
from lstmreg.tasks import read_task
from lstmreg.training.single import fit_held_out

LENGTHS = np.random.default_rng(0).integers(3, 8, 30)


def write_table(path: Path) -> None:
    generator = np.random.default_rng(1)
    rows = ["run,person,step,height,letter,kind,weight,mark"]
    for n, length in enumerate(LENGTHS):
        for step in range(length):
            cells = f"{generator.normal():.4f},{'abcd'[generator.integers(4)]}"
            rows.append(f"r{n},p{n % 8},{step},{cells},{['no', 'yes'][n % 2]},{n * 1.5},{['x', 'y'][step % 2]}")
    path.write_text("\n".join(rows) + "\n")


def fitted(folder: Path, task: str, **data: Any) -> tuple[lstmreg.SequencePredictor, Any]:
    config = Config(
        data=DataConfig(**{"path": str(folder / "table.csv"), "sequence": "run", "time": "step"} | data),
        model=ModelConfig(hidden_size=4),
        training=TrainingConfig(max_epochs=2),
        task=task,
    )
    known = read_task(config)
    trained = fit_held_out(config, task=known).trained
    trained.predictor().save(folder / "saved")
    return lstmreg.load(folder / "saved"), trained


@pytest.mark.parametrize(("task", "target"), [("classify", "kind"), ("regress", "weight"), ("label", "mark")])
def test_every_source_of_the_same_sequences_gives_the_same(task: str, target: str, tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv")
    predictor, trained = fitted(
        tmp_path, task, target=target, features=["height", "letter"], tokens=["letter"], group="person"
    )
    values = trained.predict(np.arange(30))
    frame = pandas.read_csv(tmp_path / "table.csv")
    unlabelled = frame[["run", "step", "letter", "height"]]
    unlabelled.to_csv(tmp_path / "new.csv", index=False)
    (tmp_path / "files").mkdir()
    for n in range(30):
        own = unlabelled[unlabelled["run"] == f"r{n}"].drop(columns="run")
        own.to_csv(tmp_path / "files" / f"r{n:02}.csv", index=False)
    for source in (tmp_path / "table.csv", str(tmp_path / "new.csv"), frame, unlabelled, tmp_path / "files"):
        sequences = predictor.sequences(source)
        assert np.array_equal(predictor.values(sequences), values, equal_nan=True)
    assert predictor.sequences(tmp_path / "files").names[11] == "r11"
    predicted = predictor.predict(unlabelled)
    if task == "classify":
        assert predicted.tolist() == [["no", "yes"][k] for k in values.argmax(axis=1)]
        assert np.array_equal(predictor.predict_proba(unlabelled), values)
    elif task == "regress":
        assert np.array_equal(predicted, values)
    else:
        assert [len(each) for each in predicted] == LENGTHS.tolist()
        assert predicted[3].tolist() == [["x", "y"][k] for k in values[3, : LENGTHS[3]].argmax(axis=1)]


def test_arrays_are_sequences_too(tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv")
    predictor, trained = fitted(tmp_path, "classify", target="kind", features=["height"])
    frame = pandas.read_csv(tmp_path / "table.csv")
    arrays = [frame.loc[frame["run"] == f"r{n}", ["height"]].to_numpy() for n in range(30)]
    assert np.array_equal(predictor.predict_proba(arrays), trained.predict(np.arange(30)))
    short = np.stack([each[:3] for each in arrays])
    one_by_one = [predictor.predict_proba(each[None])[0] for each in short]
    assert predictor.predict_proba(short) == pytest.approx(np.array(one_by_one), abs=1e-6)


def test_what_a_source_lacks_is_named(tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv")
    predictor, _ = fitted(tmp_path, "classify", target="kind", features=["height"])
    frame = pandas.read_csv(tmp_path / "table.csv")
    with pytest.raises(DataError, match="unknown column 'height'"):
        predictor.predict(frame.drop(columns="height"))
    with pytest.raises(DataError, match="height"):
        predictor.predict(np.zeros((3, 5, 2)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no CSV file in this folder"):
        predictor.predict(tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("task", "forecasting"),
        ("task", "label"),
        ("classes", ["a", "b", "c"]),
        ("classes", "ab"),
        ("features", ["height"]),
        ("counts", [1]),
        ("inputs", {"mean": [0.0, 0.0], "scale": [1.0, 0.0]}),
        ("tokens", {"weight": ["a"]}),
        ("seen", {"letter": [True]}),
        ("reading", {"decimal": ";"}),
    ],
)
def test_a_description_that_contradicts_itself_is_refused(name: str, wrong: object, tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv")
    fitted(tmp_path, "classify", target="kind", features=["height", "letter"], tokens=["letter"])
    path = tmp_path / "saved" / "model.json"
    description = json.loads(path.read_text())
    description["about"][name] = wrong
    path.write_text(json.dumps(description))
    with pytest.raises(CorruptFileError):
        lstmreg.load(tmp_path / "saved")
