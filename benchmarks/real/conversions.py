"""Turns files as they are in the wheels into files as lstmreg reads them: one function for each set.

Each takes the contents of the files and the folder to write into, and returns the path for ``data.path``.
"""

from __future__ import annotations

import csv
import io
import lzma
from collections.abc import Iterable, Sequence
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
    rows = _rows(lzma.decompress(contents[0]))
    names = [name for name in rows[0] if name != "date"]
    hours = []
    for hour, within in groupby(rows, key=lambda row: row["date"][:13]):
        means = np.mean([[float(row[name]) for name in names] for row in within], axis=0)
        hours.append([f"{hour}:00", *(f"{mean:.6g}" for mean in means)])
    return _write(folder / "appliances.csv", ["date", *names], hours[:1200])


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
