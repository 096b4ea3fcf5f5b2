"""``lstmreg convert``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jsonargparse import ArgumentParser, Namespace

from lstmreg.errors import ConfigError, printable
from lstmreg.files import write_atomically
from lstmreg.terminal import Console, say, say_unbroken, show_layers

from .folders import model_folder
from .verb import Verb

if TYPE_CHECKING:
    from lstmreg.interop.keras.modules.model import KerasModel
    from lstmreg.interop.raw import Raw


class Convert(Verb):
    """Reads a model of Keras or of ours, tells what it consists of, and writes it for one of four tools.

    Of a run the scales go along, and the softmax: what is written takes the values of a table, and predicts in its
    units.
    """

    name = "convert"
    help = "turn a run's model, or one of Keras, into PyTorch, Keras or ONNX, scales included"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add from where, into which folder, and to what."""
        parser.add_argument(
            "model", type=str, help="a run's folder, that of a saved model, or a .keras, .h5 or .weights.h5 file"
        )
        parser.add_argument("-o", "--output", type=str, required=True, help="the folder to write into")
        parser.add_argument("--to", type=str, default="torch", help=f"{_listed()} (default: torch)")
        parser.add_argument(
            "--architecture",
            type=str,
            default=None,
            help="the model's description (JSON), where MODEL has weights alone",
        )

    def run(self, arguments: Namespace, out: Console) -> None:
        """Read, show and write."""
        if arguments.to not in _TARGETS:
            raise ConfigError(f"--to must be {_listed()}, got {arguments.to!r}.")
        target = _TARGETS[arguments.to]
        directory = Path(arguments.output)
        if directory.exists() and not directory.is_dir():
            raise ConfigError(f"{directory}: is a file; -o names the folder to write into.")
        with out.status("Reading the model"):  # loading torch takes seconds
            from lstmreg.interop.keras.modern import in_keras_3
            from lstmreg.interop.raw import Raw

            model = _read(arguments.model, arguments.architecture)
            about = model.about if isinstance(model, Raw) else None
            layers = _as_layers(model, is_needed=target.is_layers)
            if layers is not None and (target.is_layers or about is None):
                model = in_keras_3(layers) if arguments.to == "keras" else layers  # its notes say what that changes
        if layers is not None:
            from lstmreg.interop.summary import summarize

            show_layers(summarize(layers), out)
        for note in model.notes():
            say(out, f"Note: {printable(note)}.")
        directory.mkdir(parents=True, exist_ok=True)
        with out.status("Writing"):
            written = target.write(model, directory)
        if about is not None:
            write_atomically(directory / _ABOUT, json.dumps(about, indent=1) + "\n")
            written = (*written, _ABOUT)
        say_unbroken(out, f"Saved: {', '.join(str(directory / name) for name in written)}")
        say_unbroken(out, target.use.format(directory=directory))

    def about_missing(self, names: str) -> str:
        """Say what is named how."""
        return "name the model, such as model.keras." if "model" in names else "name the folder to write into: -o DIR."

    def about_stray(self, argument: str) -> str:
        """Say that the second place is not that of the folder."""
        return f"The folder to write into is given as -o {argument}."


#: What a run's columns, classes and tokens are called, beside the converted model.
_ABOUT = "about.json"


def _read(path: str, architecture: str | None) -> KerasModel | Raw:
    """Read a model of Keras, or that of a run, with its scales."""
    import lstmreg
    from lstmreg import interop

    if _is_of_keras(path):
        return interop.load_model(path, architecture)
    loaded = lstmreg.load(model_folder(path))
    raw: Callable[[], Raw] | None = getattr(loaded, "raw", None)
    return interop.load_model(model_folder(path)) if raw is None else raw()


def _is_of_keras(path: str) -> bool:
    """Tell what cannot be a folder with a saved model: a file, or the name of one."""
    place = Path(path)
    return place.is_file() or place.suffix in (".keras", ".h5", ".hdf5", ".json") or "://" in path


def _as_layers(model: KerasModel | Raw, *, is_needed: bool) -> KerasModel | None:
    """Return a model as Keras' layers; nothing of what has no counterpart there, unless it is needed.

    Raises:
        ConfigError: If it is.
    """
    from lstmreg.interop.describing import as_keras_model

    try:
        return as_keras_model(model)
    except ValueError as error:
        if is_needed:
            others = ", ".join(name for name, target in _TARGETS.items() if not target.is_layers)
            raise ConfigError(f"{str(error).rstrip('.')}. Use --to {others}.") from None
        return None


def _write_torch(model: Any, directory: Path) -> tuple[str, ...]:
    from lstmreg import interop

    interop.save_model(model, directory)
    return "model.json", "model.safetensors"


def _write_keras(model: Any, directory: Path) -> tuple[str, ...]:
    from lstmreg import interop

    interop.save_keras(model, directory / "model.keras")
    interop.save_weights(model, directory / "model.weights.h5")
    return "model.keras", "model.weights.h5"


def _write_onnx(model: Any, directory: Path) -> tuple[str, ...]:
    from lstmreg import interop

    interop.save_onnx(model, directory / "model.onnx")
    return ("model.onnx",)


def _write_exported(model: Any, directory: Path) -> tuple[str, ...]:
    from lstmreg import interop

    interop.save_exported(model, directory / "model.pt2")
    return ("model.pt2",)


class _Target(NamedTuple):
    """A tool to write for.

    Attributes:
        write: What writes, and returns the names of its files.
        use: How they are used there.
        is_layers: Whether it takes Keras' layers, and not any graph.
    """

    write: Callable[[Any, Path], tuple[str, ...]]
    use: str
    is_layers: bool = True


_TARGETS = {
    "torch": _Target(_write_torch, 'In Python: model = lstmreg.interop.load_model("{directory}")'),
    "keras": _Target(_write_keras, 'In Python: model = keras.models.load_model("{directory}/model.keras")'),
    "onnx": _Target(
        _write_onnx, 'In Python: session = onnxruntime.InferenceSession("{directory}/model.onnx")', is_layers=False
    ),
    "torch-export": _Target(
        _write_exported,
        'In Python: import lstmreg.ops; model = torch.export.load("{directory}/model.pt2").module()',
        is_layers=False,
    ),
}


def _listed() -> str:
    *names, last = _TARGETS
    return f"{', '.join(names)} or {last}"
