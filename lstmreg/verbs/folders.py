"""Finds the model that a folder on the command line means."""

from __future__ import annotations

from pathlib import Path

from lstmreg.errors import ConfigError, did_you_mean


def model_folder(path: str) -> Path:
    """Return the folder in which the model of a run is: itself, or the ``fit`` in it where no search has saved one.

    Raises:
        ConfigError: If there is no such folder, or none with a model; it names the runs that there are.
    """
    folder = Path(path)
    for candidate in (folder, folder / "fit"):
        if _has_model(candidate):
            return candidate
    if not folder.exists():
        runs = _runs_beside(folder)
        there = f" Runs there: {', '.join(runs)}." if runs else ""
        near = did_you_mean(str(folder), runs)
        raise ConfigError(f"{path}: there is no such folder.{near}{there} {_SAVED}")
    if not folder.is_dir():
        raise ConfigError(f"{path}: is a file; name the folder of a run. {_SAVED}")
    inside = [str(found.parent) for found in sorted(folder.glob("*/model.json"))]
    inside += [str(found.parent) for found in sorted(folder.glob("*/fit/model.json"))]
    there = f" Models there: {', '.join(inside[:_MOST])}." if inside else ""
    raise ConfigError(f"{path}: no saved model in this folder.{there} {_SAVED}")


_SAVED = "A fit saves into runs/NAME/fit, a search into runs/NAME."

#: So many runs are named.
_MOST = 10


def _has_model(folder: Path) -> bool:
    return (folder / "model.json").is_file()


def _runs_beside(folder: Path) -> list[str]:
    """Return the runs in the nearest folder above that exists; of none there, those in ``runs``."""
    above = next((parent for parent in folder.parents if parent.is_dir()), Path())
    for place in (above, Path("runs")):
        found = sorted(each for each in place.glob("*") if _has_model(each) or _has_model(each / "fit"))
        if found:
            return [str(each) for each in found[:_MOST]]
    return []
