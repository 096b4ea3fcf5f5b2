"""Turns files as they are in the wheels into files as lstmreg reads them: one function for each set.

Each takes the contents of the files and the folder to write into, and returns the path for ``data.path``.
"""

from __future__ import annotations

import csv
import io
import lzma
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from pickled import pickled_array

Row = dict[str, str]


def walmart(contents: Sequence[bytes], folder: Path) -> Path:
    """Seven departments, a row a week each."""
    kept = ["id", "Date", "Weekly_Sales", "IsHoliday", "Temperature", "Fuel_Price", "CPI", "Unemployment"]
    holiday = {"TRUE": "1", "FALSE": "0"}
    rows = [row | {"IsHoliday": holiday[row["IsHoliday"]]} for row in _rows(contents[0])]
    return _write(folder / "walmart.csv", kept, ([row[name] for name in kept] for row in rows))


def appliances(contents: Sequence[bytes], folder: Path) -> Path:
    """The first 1,200 hours, as means of six rows of ten minutes."""
    return appliances_of(0, 1200)(contents, folder)


def appliances_of(first: int, count: int) -> Callable[[Sequence[bytes], Path], Path]:
    """Return what takes so many hours from one on, counted from the end where it is negative."""

    def convert(contents: Sequence[bytes], folder: Path) -> Path:
        header, hours = _hours_of_appliances(contents)
        first_hour = first % len(hours)
        return _write(folder / f"appliances{first or ''}.csv", header, hours[first_hour : first_hour + count])

    return convert


def _hours_of_appliances(contents: Sequence[bytes]) -> tuple[list[str], list[list[str]]]:
    rows = _rows(lzma.decompress(contents[0]))
    names = [name for name in rows[0] if name != "date"]
    hours = []
    for hour, within in groupby(rows, key=lambda row: row["date"][:13]):
        means = np.mean([[float(row[name]) for name in names] for row in within], axis=0)
        hours.append([f"{hour}:00", *(f"{mean:.6g}" for mean in means)])
    return ["date", *names], hours


def bike(contents: Sequence[bytes], folder: Path) -> Path:
    """A row a day, without the two counts of which the target is the sum."""
    rows = _rows(contents[0])
    kept = [name for name in rows[0] if name not in ("instant", "casual", "registered")]
    return _write(folder / "bike.csv", kept, ([row[name] for name in kept] for row in rows))


def noise(contents: Sequence[bytes], folder: Path) -> Path:
    """800 rows of five columns."""
    drawn = np.random.default_rng(0).normal(size=(800, 5))
    return _write(folder / "noise.csv", [f"x{k}" for k in range(5)], _written(drawn))


def returns(contents: Sequence[bytes], folder: Path) -> Path:
    """1,000 days of five shares: a common factor and a part of each one's own, both of GARCH(1, 1), and no memory."""
    generator = np.random.default_rng(1)
    days, shares = 1000, 5
    variance, last = np.ones(shares + 1), np.zeros(shares + 1)
    rows = []
    for _ in range(days):
        variance = 0.05 + 0.1 * last**2 + 0.85 * variance
        last = np.sqrt(variance) * generator.normal(size=shares + 1)
        rows.append(0.6 * last[0] + 0.8 * last[1:])
    return _write(folder / "returns.csv", [f"share{k}" for k in range(shares)], _written(np.array(rows)))


def _written(values: np.ndarray) -> Iterable[list[str]]:
    return ([f"{value:.6f}" for value in row] for row in values)


def traffic(contents: Sequence[bytes], folder: Path) -> Path:
    """The last 1,500 hours; of an hour that is there twice the first row."""
    kept = ["date_time", "traffic_volume", "holiday", "temp", "rain_1h", "snow_1h", "clouds_all"]
    hours: dict[str, Row] = {}
    for row in _rows(contents[0]):
        hours.setdefault(row["date_time"], row | {"holiday": str(int(row["holiday"] not in ("", "None")))})
    return _write(folder / "traffic.csv", kept, ([row[name] for name in kept] for row in list(hours.values())[-1500:]))


def archived(name: str, every: int) -> _Archived:
    """Return what joins the two ``.ts`` files of a set into a folder, and keeps every so many-th step."""
    return _Archived(name, every)


class _Archived:
    def __init__(self, name: str, every: int) -> None:
        self.name, self.every = name, every

    def __call__(self, contents: Sequence[bytes], folder: Path) -> Path:
        both = folder / self.name
        both.mkdir(parents=True, exist_ok=True)
        for part, content in zip(("TRAIN", "TEST"), contents, strict=True):
            (both / f"{self.name}_{part}.ts").write_text(_thinned(content.decode(), self.every))
        return both


def _thinned(text: str, every: int) -> str:
    """Keep every so many-th step of the one column of a ``.ts`` file, and all else as it is."""
    lines, is_data = [], False
    for line in text.splitlines():
        if is_data and line.strip():
            steps, _, target = line.partition(":")
            line = ",".join(steps.split(",")[::every]) + ":" + target
        is_data = is_data or line.strip().lower() == "@data"
        lines.append(line)
    return "\n".join(lines) + "\n"


def watch(contents: Sequence[bytes], folder: Path) -> Path:
    """140 recordings of six channels, as means over a fifth of a second (ten steps), with the subject."""
    found = pickled_array(contents[0]).item()
    recordings = [x[: len(x) // 10 * 10].reshape(-1, 10, x.shape[1]).mean(axis=1) for x in found["X"]]
    lengths = np.array([len(x) for x in recordings])
    padded = np.zeros((len(recordings), lengths.max(), recordings[0].shape[1]))
    for place, recording in zip(padded, recordings, strict=True):
        place[: len(recording)] = recording
    path = folder / "watch.npz"
    np.savez_compressed(
        path,
        x=padded,
        lengths=lengths,
        y=np.array(found["y_labels"])[found["y"]],
        group=np.array([f"subject {number}" for number in found["subject"]]),
        feature_names=np.array(found["X_labels"]),
    )
    return path


def daphnet(contents: Sequence[bytes], folder: Path) -> Path:
    """110 stretches of one walk, half of its steps, in thousandths of g; what the trunk does is what is asked for."""
    rows = _rows(contents[0])[::2]
    inputs = [name for name in rows[0] if name.startswith(("ankle", "leg"))]
    header = ["stretch", "timestamp", *inputs, "trunk"]
    cells = (
        [str(k // 32), row["timestamp"], *(row[name] for name in inputs), f"{int(row['trunk_horiz_fwd']) / 1000:.3f}"]
        for k, row in enumerate(rows)
    )
    return _write(folder / "daphnet.csv", header, cells)


def digits(contents: Sequence[bytes], folder: Path) -> Path:
    """599 images that the demo does not have: the third of each three of scikit-learn's."""
    from sklearn.datasets import load_digits

    found = load_digits()
    cells = (
        [str(image), str(row), *(f"{pixel:.0f}" for pixel in found.images[image, row]), str(found.target[image])]
        for image in range(2, len(found.images), 3)
        for row in range(8)
    )
    return _write(folder / "digits.csv", ["image", "row", *(f"x{k}" for k in range(8)), "digit"], cells)


def sunspots(contents: Sequence[bytes], folder: Path) -> Path:
    """As they come with lstmreg."""
    import lstmreg

    return Path(lstmreg.__file__).parent / "data" / "sunspots.csv"


def _rows(content: bytes) -> list[Row]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return path
