"""``lstmreg predict``: what a saved model says of new data, into a file, a pipe or a terminal, and as a picture."""

from __future__ import annotations

import re
import resource
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import lstmreg
from lstmreg import search
from lstmreg.cli import main
from lstmreg.config import from_dict
from lstmreg.predictions import Band, Predictions
from lstmreg.tasks import read_task
from tests.tiny import smallest_config, write_series

FIT = ["--data.target=wave", "--data.time=day", "--data.window=6", "--data.horizon=2", "--model.hidden_size=4"]
SHORT = ["--training.max_epochs=2", "--model.recurrent_dropout=0.2", "--name=waves"]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fitted")
    write_series(folder / "waves.csv", rows=150)
    arguments = ["fit", f"--data.path={folder / 'waves.csv'}", *FIT, *SHORT, f"--runs={folder / 'runs'}"]
    assert main(arguments) == 0
    return folder


@pytest.fixture
def folder(fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(fitted, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_the_steps_after_the_tables_end_are_written_with_their_times(folder: Path) -> None:
    assert main(["predict", "runs/waves/fit", "waves.csv", "-o", "out.csv"]) == 0
    written = pd.read_csv("out.csv")
    assert list(written.columns) == ["day", "step", "wave", "wave_low", "wave_high"]
    assert written["day"].tolist() == [150, 151]
    expected = lstmreg.load("runs/waves/fit").predict("waves.csv")
    assert written["wave"].tolist() == expected.tolist()
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_the_history_is_what_would_have_been_forecast_beside_what_was_true(folder: Path) -> None:
    assert main(["predict", "runs/waves/fit", "waves.csv", "--history", "-o", "out.csv"]) == 0
    written, series = pd.read_csv("out.csv"), pd.read_csv("waves.csv")
    rows, forecasts = lstmreg.load("runs/waves/fit").historical_forecasts("waves.csv")
    assert len(written) == 2 * len(rows) == 2 * (150 - 6 + 1)
    np.testing.assert_array_equal(written["wave"], forecasts.ravel())
    assert written["day"].tolist() == [row + step for row in rows for step in (0, 1)]
    known = written[written["day"] < 150]
    np.testing.assert_allclose(known["wave_true"], series["wave"].to_numpy()[known["day"].to_numpy()])
    assert written[written["day"] >= 150]["wave_true"].isna().all()


def test_the_history_marks_what_the_model_was_trained_on_and_its_errors_are_those_of_the_rest(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "runs/waves/fit", "waves.csv", "--history", "-o", "out.csv"]) == 0
    written = pd.read_csv("out.csv", keep_default_na=False, dtype={"wave_true": str})
    config = from_dict(yaml.safe_load(Path("runs/waves/fit/config.yaml").read_text()))
    origin = read_task(config).hold_out().key[0]  # the day is the row's number
    assert (written["trained"] == "yes").tolist() == (written["day"] < origin).tolist()
    rest = written[(written["trained"] == "") & (written["wave_true"] != "")]
    error = np.sqrt(np.mean((rest["wave"] - rest["wave_true"].astype(float)) ** 2))
    said = " ".join(capfd.readouterr().out.split())
    assert f"Against the truth of {len(rest)} rows that the model was not trained on: root mean square" in said
    assert f"error {error:.4g}" in said
    assert main(["predict", "runs/waves/fit", "waves.csv", "-o", "out.csv"]) == 0
    assert "trained" not in pd.read_csv("out.csv")


def test_only_of_the_history_it_is_said_that_the_model_may_know_it(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for arguments, times in (([], 0), (["--history"], 1)):
        assert main(["predict", "runs/waves", "waves.csv", *arguments]) == 0
        said = " ".join(capfd.readouterr().err.split())
        assert said.count("Rows that the model was trained on are among these if the table holds them") == times


def test_a_run_with_a_fit_alone_means_the_fit_and_says_so(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "runs/waves", "waves.csv"]) == 0
    out, err = capfd.readouterr()
    assert [line.split(",")[0] for line in out.splitlines()] == [
        "day",
        "150",
        "151",
    ]  # through a pipe: CSV, and no more
    assert "The model of runs/waves/fit." in err
    assert "covered" in err


def test_samples_are_repeated_by_their_seed(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    outs = []
    for seed in ("1", "1", "2"):
        arguments = ["predict", "runs/waves", "waves.csv", "--samples=20", f"--seed={seed}", "--confidence=0.5"]
        assert main(arguments) == 0
        outs.append(capfd.readouterr())
    assert outs[0].out == outs[1].out != outs[2].out
    assert "Mean and 50 % interval of 20 samples under dropout" in outs[0].err


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_picture_is_drawn(folder: Path, kind: str) -> None:
    assert main(["predict", "runs/waves", "waves.csv", "--history", "-o", "out.csv", "--plot", f"p.{kind}"]) == 0
    content = Path(f"p.{kind}").read_bytes()
    if kind == "svg":
        assert all(f">{word}<".encode() in content for word in ("truth", "forecast", "interval"))
    else:
        assert content.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["runs/nope", "waves.csv"], 2, "runs/nope: there is no such folder."),
        (["runs/wavs", "waves.csv"], 2, "Did you mean 'runs/waves'?"),
        (["elsewhere/x", "waves.csv"], 2, "Runs there: runs/waves."),
        (["runs", "waves.csv"], 2, "no saved model in this folder. Models there: runs/waves/fit."),
        (["waves.csv", "waves.csv"], 2, "is a file; name the folder of a run"),
        (["runs/waves", "nope.csv"], 3, "nope.csv"),
        (["runs/waves"], 2, "name the data to predict from"),
        ([], 2, "name the run's folder"),
        (["runs/waves", "waves.csv", "more"], 2, "-o more"),
        (["runs/waves", "waves.csv", "-o", "no/such/out.csv"], 2, "there is no folder no/such"),
        (["runs/waves", "waves.csv", "-o", "runs"], 2, "is a folder"),
        (["runs/waves", "waves.csv", "--plot", "p.jpg"], 2, ".svg or .png"),
        (["runs/waves", "waves.csv", "--confidence", "95"], 2, "between 0 and 1"),
        (["runs/waves", "waves.csv", "--confidence", "0.999"], 2, "needs at least 999 validation cases"),
        (["runs/waves", "waves.csv", "--samples", "1"], 2, "--samples must be 0, or from 2"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    folder: Path, arguments: list[str], code: int, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", *arguments]) == code
    err = capfd.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_convert_names_the_runs_that_there_are(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "runs/nope", "-o", "converted"]) == 2
    err = capfd.readouterr().err
    assert "runs/nope: there is no such folder." in err
    assert "Runs there: runs/waves." in err
    assert not Path("converted").exists()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("150,nan,1", "line 152, column 'wave': a missing value"),
        ("150,1e400,1", "line 152, column 'wave'"),
        ("150,1e39,1", "line 152, column 'wave'"),
        ("150,one,1", "line 152, column 'wave'"),
        ("3,1,1", "line 152, column 'day'"),
        ("150,1", "line 152"),
    ],
)
def test_a_bad_row_is_named(folder: Path, row: str, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    with Path("waves.csv").open("a") as file:
        file.write(f"{row}\n")
    assert main(["predict", "runs/waves", "waves.csv", "-o", "out.csv"]) == 3
    assert said in capfd.readouterr().err
    assert not Path("out.csv").exists()


def test_a_table_that_lacks_a_column_or_rows_is_refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = pd.read_csv("waves.csv")
    for table, said in ((whole.drop(columns="noise"), "'noise'"), (whole[:5], "5 rows are too few; the model needs 6")):
        table.to_csv("other.csv", index=False)
        assert main(["predict", "runs/waves", "other.csv"]) == 3
        assert said in capfd.readouterr().err


@pytest.mark.parametrize(("row", "advice"), [("3,1,1", "set data.sort: true"), ("150,,1", "set data.missing")])
def test_advice_that_predict_cannot_take_is_said_to_be_for_the_training(
    row: str, advice: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Path("waves.csv").open("a") as file:
        file.write(f"{row}\n")
    assert main(["predict", "runs/waves", "waves.csv"]) == 3
    said = capfd.readouterr().err
    assert advice in said
    assert "predict takes no settings: those of the training hold" in said


def test_a_file_that_is_not_there_is_no_setting(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "runs/waves", "wave.csv"]) == 3
    said = capfd.readouterr().err
    assert "Did you mean 'waves.csv'?" in said
    assert "data.path" not in said
    assert "settings" not in said


def test_predicting_twice_gives_the_same_bytes(folder: Path) -> None:
    for name in ("a.csv", "b.csv"):
        assert main(["predict", "runs/waves", "waves.csv", "--history", "-o", name]) == 0
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()


def test_a_full_disk_leaves_the_old_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("out.csv").write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
    try:
        assert main(["predict", "runs/waves", "waves.csv", "--history", "-o", "out.csv"]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert Path("out.csv").read_text() == "old"


def test_a_fit_can_be_repeated_from_what_lies_beside_its_model(folder: Path) -> None:
    before = Path("runs/waves/fit/model.safetensors").read_bytes()
    config = yaml.safe_load(Path("runs/waves/fit/config.yaml").read_text())
    assert config["model"]["recurrent_dropout"] == 0.2
    Path("runs/waves/fit/model.safetensors").unlink()
    shutil.copy("runs/waves/fit/config.yaml", "again.yaml")
    assert main(["fit", "-c", "again.yaml", f"--runs={folder / 'runs'}"]) == 0
    assert Path("runs/waves/fit/model.safetensors").read_bytes() == before


def test_a_searchs_model_is_calibrated_and_judged_by_the_test(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = smallest_config(tmp_path)
    search.run(config)
    model = lstmreg.load(config.directory)
    final = read_task(config).splits(config.search).final
    assert model.calibration.scores.cases == len(final.validation)
    assert model.calibration.judged.cases == len(final.judged)
    assert main(["predict", str(config.directory), config.data.path]) == 0
    assert f"of {len(final.judged)} test cases" in " ".join(capfd.readouterr().err.split())


# ---------------------------------------------------------------------- the table


def test_pandas_reads_every_bit_back(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal(500) * 10.0 ** np.arange(-250, 250)
    names = tuple(f"n{k}" for k in range(500))
    (tmp_path / "p.csv").write_text(Predictions(names, {"x": values}).csv())
    np.testing.assert_array_equal(pd.read_csv(tmp_path / "p.csv")["x"], values)


def test_what_a_spreadsheet_would_run_is_disarmed_and_all_else_as_it_was(tmp_path: Path) -> None:
    names = ('=HYPERLINK("x")', "-5", "+1", "@x", "-x", 'a,"b"\nc', "x=1", "")
    predictions = Predictions(names, {"=cmd()": np.array(["=1+1"] * 8), "y": np.full(8, -0.5)})
    (tmp_path / "p.csv").write_text(predictions.csv())
    read = pd.read_csv(tmp_path / "p.csv", keep_default_na=False)
    assert read["name"].tolist() == ['\'=HYPERLINK("x")', "-5", "+1", "'@x", "'-x", 'a,"b"\nc', "x=1", ""]
    assert read["'=cmd()"].tolist() == ["'=1+1"] * 8
    assert read["y"].tolist() == [-0.5] * 8


def test_columns_are_as_long_as_the_names() -> None:
    with pytest.raises(ValueError, match="column 'x' must have 2 rows, got 3"):
        Predictions(("a", "b"), {"x": np.zeros(3)})


@pytest.mark.parametrize("has_truth", [True, False])
def test_pictures_of_what_is_no_series(has_truth: bool, tmp_path: Path) -> None:
    from lstmreg.report.predicted import draw

    names, generator = tuple(f"<img>{k}" for k in range(9)), np.random.default_rng(0)
    columns = {name: generator.uniform(size=9) for name in ("y", "low", "high", "true", "P(a)", "P(b)")}
    band = Band("y", "low", "high", "true" if has_truth else None)
    draw(Predictions(names, columns, bands=(band,), shares=("P(a)", "P(b)")), tmp_path / "p.svg")
    drawn = (tmp_path / "p.svg").read_text()
    assert "<img>" not in drawn
    assert ">P(a)<" in drawn or ">interval<" in drawn


def test_each_group_of_a_forecast_has_a_panel_of_its_own_with_its_times(tmp_path: Path) -> None:
    from lstmreg.report.predicted import draw

    groups = [f"shop {k}" for k in range(8)]
    steps = np.tile([1, 2], 8 * 250)
    shops = np.repeat(np.array(groups, dtype=object), 500)
    names = tuple(f"{shop[-1]}-{row // 2 + step:03d}" for shop in groups for row in range(0, 500, 2) for step in (0, 1))
    values = np.random.default_rng(0).normal(size=4000)
    columns = {"shop": shops, "step": steps, "y": values, "low": values - 1, "high": values + 1}
    given = Predictions(names, columns, bands=(Band("y", "low", "high"),), in_time=True, group="shop")
    draw(given, tmp_path / "p.svg")
    drawn = (tmp_path / "p.svg").read_text()
    assert [name for name in groups if f">{name}<" in drawn] == groups[:6]
    assert "The first 6 of 8 groups; 2 are left out. The last 200 steps of each group." in drawn
    ticks = re.findall(r">(\d-\d\d\d)<", drawn)
    assert [{tick for tick in ticks if tick[0] == str(k)} for k in range(8)] == [
        {f"{k}-{51 + n * 34:03d}" for n in range(6)} if k < 6 else set() for k in range(8)
    ]


def test_forecasts_of_several_series_are_said_to_be_in_time_and_of_groups(tmp_path: Path) -> None:
    rows = [f"{k},{g},{np.sin(k / 2) + j:.4f}" for j, g in enumerate("ab") for k in range(60)]
    (tmp_path / "two.csv").write_text("\n".join(["day,shop,wave", *rows]))
    arguments = ["fit", f"--data.path={tmp_path / 'two.csv'}", *FIT, *SHORT, "--data.group=shop"]
    assert main([*arguments, f"--runs={tmp_path / 'runs'}"]) == 0
    found = lstmreg.load(tmp_path / "runs" / "waves" / "fit").predictions(tmp_path / "two.csv")
    assert (found.in_time, found.group) == (True, "shop")
    assert found.columns["shop"].tolist() == ["a", "a", "b", "b"]
