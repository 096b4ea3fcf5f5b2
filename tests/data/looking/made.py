"""Files of every kind that is looked at, small, made by a formula; each with what is to be seen in it."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

START = datetime(2024, 1, 1, tzinfo=UTC)


def waves(rows: int, period: float = 7, seed: int = 0) -> np.ndarray:
    """Return a series with a season and some noise."""
    noise = np.random.default_rng(seed).normal(size=rows)
    return 10 + 3 * np.sin(2 * np.pi * np.arange(rows) / period) + 0.3 * noise


def days(rows: int) -> list[str]:
    return [(START + timedelta(days=k)).date().isoformat() for k in range(rows)]


def hours(rows: int) -> list[str]:
    return [(START + timedelta(hours=k)).strftime("%Y-%m-%dT%H:%M:%S+00:00") for k in range(rows)]


def text(header: Sequence[str], *columns: Sequence[object], delimiter: str = ",") -> str:
    rows = [header, *zip(*columns, strict=True)]
    return "".join(delimiter.join(map(str, row)) + "\n" for row in rows)


def table(path: Path, header: Sequence[str], *columns: Sequence[object], delimiter: str = ",") -> Path:
    path.write_text(text(header, *columns, delimiter=delimiter), encoding="utf-8")
    return path


def daily(folder: Path) -> Path:
    return table(folder / "daily.csv", ["date", "sales"], days(140), waves(140).round(3))


def tabbed_and_zipped(folder: Path) -> Path:
    path = folder / "hourly.tsv.gz"
    path.write_bytes(
        gzip.compress(text(["when", "load"], hours(300), waves(300, 24).round(3), delimiter="\t").encode())
    )
    return path


def european(folder: Path) -> Path:
    values = [f"{value:.2f}".replace(".", ",") for value in waves(140)]
    return table(folder / "europa.csv", ["tag", "wert"], days(140), values, delimiter=";")


def parquet(folder: Path) -> Path:
    path = folder / "daily.parquet"
    pq.write_table(pa.table({"date": days(140), "sales": waves(140)}), path)
    return path


def npy(folder: Path) -> Path:
    path = folder / "plain.npy"
    np.save(path, waves(140)[:, None])
    return path


def gappy(folder: Path) -> Path:
    """Out of order, with missing cells, a constant column, a double and a column of text."""
    values = [f"{value:.2f}" for value in waves(140)]
    values[50] = "NA"
    times = days(143)
    del times[100:103]
    columns = [times, values, ["7"] * 140, [f"{k % 5}" for k in range(140)], [f"{k % 5}" for k in range(140)]]
    columns.append([("wet", "dry")[k % 2] for k in range(140)])
    order = list(range(139, -1, -1))
    shuffled = [[column[k] for k in order] for column in columns]
    return table(folder / "gappy.csv", ["day", "y", "always", "part", "again", "sky"], *shuffled)


def sequences(folder: Path) -> Path:
    """40 sequences of unequal lengths with a class each, a subject each, and a column of text."""
    rows = [
        (n, t, f"s{n % 8}", round(float(np.sin(t * (1 + n % 2))), 3), "ab"[(n + t) % 2], ("slow", "fast")[n % 2])
        for n in range(40)
        for t in range(6 + n % 3)
    ]
    return table(folder / "walks.csv", ["recording", "t", "subject", "x", "mode", "gait"], *zip(*rows, strict=True))


def numbered(folder: Path) -> Path:
    """40 sequences with a number each."""
    generator = np.random.default_rng(0)
    slopes = generator.normal(size=40).round(3)
    rows = [(f"r{n}", t, round(float(slopes[n] * t), 3), slopes[n]) for n in range(40) for t in range(6)]
    return table(folder / "slopes.csv", ["sequence", "step", "x", "slope"], *zip(*rows, strict=True))


def npz(folder: Path) -> Path:
    generator = np.random.default_rng(0)
    path = folder / "arrays.npz"
    np.savez(path, x=generator.normal(size=(40, 6, 2)), y=np.arange(40) % 2)
    return path


def npz_of_numbers(folder: Path) -> Path:
    generator = np.random.default_rng(0)
    path = folder / "arrays.npz"
    np.savez(path, x=generator.normal(size=(40, 6, 2)), y=generator.normal(size=40))
    return path


def ts(folder: Path) -> Path:
    generator = np.random.default_rng(0)
    lines = ["@problemName made", "@timeStamps false", "@univariate true", "@classLabel true up down", "@data"]
    lines += [
        f"{','.join(f'{v:.3f}' for v in generator.normal(size=5 + n % 3))}:{('up', 'down')[n % 2]}" for n in range(40)
    ]
    path = folder / "made.ts"
    path.write_text("\n".join(lines) + "\n")
    return path


def folder_of_files(folder: Path) -> Path:
    place = folder / "walks"
    place.mkdir()
    for n in range(40):
        table(place / f"walk{n}.csv", ["t", "x"], range(6), np.sin(np.arange(6) * (1 + n % 2)).round(3))
    table(folder / "labels.csv", ["file", "subject", "gait"], *zip(*_labels(), strict=True))
    return place


def _labels() -> list[tuple[str, str, str]]:
    return [(f"walk{n}", f"s{n % 8}", ("slow", "fast")[n % 2]) for n in range(40)]


def steps(folder: Path) -> Path:
    """40 sequences with a label at every step."""
    rows = [
        (f"r{n}", t, round(float(np.sin(t + n)), 3), ("low", "high")[int(np.sin(t + n) > 0)])
        for n in range(40)
        for t in range(8)
    ]
    return table(folder / "steps.csv", ["sequence", "step", "x", "label"], *zip(*rows, strict=True))


def folder_without_labels(folder: Path) -> Path:
    place = folder / "steps"
    place.mkdir()
    for n in range(40):
        x = np.sin(np.arange(8) + n).round(3)
        table(place / f"{n}.csv", ["x", "state"], x, [("low", "high")[int(value > 0)] for value in x])
    return place


def npz_of_steps(folder: Path) -> Path:
    generator = np.random.default_rng(0)
    path = folder / "steps.npz"
    np.savez(path, x=generator.normal(size=(40, 6, 2)), y=np.arange(240).reshape(40, 6) % 3)
    return path


def shops(folder: Path) -> Path:
    """Four series in one table."""
    names = np.repeat(["north", "south", "east", "west"], 100)
    sales = np.concatenate([waves(100, seed=k) for k in range(4)]).round(3)
    return table(folder / "shops.csv", ["date", "shop", "sales"], days(100) * 4, names, sales)


#: Of each file how it is made, what else is said on the command line, and the task and the target that are found.
FILES: dict[str, tuple[Callable[[Path], Path], list[str], str, str]] = {
    "daily": (daily, [], "forecast", "sales"),
    "tabbed and zipped": (tabbed_and_zipped, [], "forecast", "load"),
    "european": (european, [], "forecast", "wert"),
    "parquet": (parquet, [], "forecast", "sales"),
    "npy": (npy, [], "forecast", "0"),
    "gappy": (gappy, [], "forecast", "y"),
    "sequences": (sequences, ["--target", "gait"], "classify", "gait"),
    "numbered": (numbered, [], "regress", "slope"),
    "npz": (npz, [], "classify", "label"),
    "npz of numbers": (npz_of_numbers, [], "regress", "label"),
    "ts": (ts, [], "classify", "label"),
    "folder": (folder_of_files, [], "classify", "gait"),
    "steps": (steps, ["--target", "label"], "label", "label"),
    "folder without labels": (folder_without_labels, [], "label", "state"),
    "npz of steps": (npz_of_steps, [], "label", "label"),
    "shops": (shops, [], "forecast", "sales"),
}
