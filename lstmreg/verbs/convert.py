"""``lstmreg convert``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jsonargparse import ArgumentParser, Namespace

from lstmreg.errors import ConfigError, printable
from lstmreg.terminal import Console, say, say_unbroken, show_layers

from .folders import model_folder
from .verb import Verb

if TYPE_CHECKING:
    from lstmreg.interop.keras.modules.model import KerasModel


class Convert(Verb):
    """Reads a model of Keras or of ours, tells what it consists of, and writes it for one of three tools."""

    name = "convert"
    help = "turn a Keras model into PyTorch or ONNX, or a model of lstmreg's into Keras"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add from where, into which folder, and to what."""
        parser.add_argument("model", type=str, help="a .keras, .h5 or .weights.h5 file, or the folder of a saved model")
        parser.add_argument("-o", "--output", type=str, required=True, help="the folder to write into")
        parser.add_argument("--to", type=str, default="torch", help="torch (default), keras or onnx")
        parser.add_argument(
            "--architecture",
            type=str,
            default=None,
            help="the model's description (JSON), where MODEL has weights alone",
        )

    def run(self, arguments: Namespace, out: Console) -> None:
        """Read, show and write."""
        if arguments.to not in _TARGETS:
            raise ConfigError(f"--to must be torch, keras or onnx, got {arguments.to!r}.")
        target = _TARGETS[arguments.to]
        directory = Path(arguments.output)
        if directory.exists() and not directory.is_dir():
            raise ConfigError(f"{directory}: is a file; -o names the folder to write into.")
        with out.status("Reading the model"):  # loading torch takes seconds
            from lstmreg import interop
            from lstmreg.interop.keras.modern import in_keras_3
            from lstmreg.interop.summary import summarize

            model = interop.load_model(_place(arguments.model), arguments.architecture)
        show_layers(summarize(model), out)
        if arguments.to == "keras":
            model = in_keras_3(model)  # its notes say what that changes
        for note in model.notes():
            say(out, f"Note: {printable(note)}.")
        directory.mkdir(parents=True, exist_ok=True)
        with out.status("Writing"):
            written = target.write(model, directory)
        say_unbroken(out, f"Saved: {', '.join(str(directory / name) for name in written)}")
        say_unbroken(out, target.use.format(directory=directory))

    def about_missing(self, names: str) -> str:
        """Say what is named how."""
        return "name the model, such as model.keras." if "model" in names else "name the folder to write into: -o DIR."

    def about_stray(self, argument: str) -> str:
        """Say that the second place is not that of the folder."""
        return f"The folder to write into is given as -o {argument}."


def _place(model: str) -> str:
    """Return a file as it is; of what must be a run, the folder with its model."""
    path = Path(model)
    is_file = path.is_file() or path.suffix in (".keras", ".h5", ".hdf5", ".json") or "://" in model
    return model if is_file else str(model_folder(model))


def _write_torch(model: KerasModel, directory: Path) -> tuple[str, ...]:
    from lstmreg import interop

    interop.save_model(model, directory)
    return "model.json", "model.safetensors"


def _write_keras(model: KerasModel, directory: Path) -> tuple[str, ...]:
    from lstmreg import interop

    interop.save_keras(model, directory / "model.keras")
    interop.save_weights(model, directory / "model.weights.h5")
    return "model.keras", "model.weights.h5"


def _write_onnx(model: KerasModel, directory: Path) -> tuple[str, ...]:
    from lstmreg import interop

    interop.save_onnx(model, directory / "model.onnx")
    return ("model.onnx",)


class _Target(NamedTuple):
    """A tool to write for: what writes and returns the names of its files, and how they are used there."""

    write: Callable[[KerasModel, Path], tuple[str, ...]]
    use: str


_TARGETS = {
    "torch": _Target(_write_torch, 'In Python: model = lstmreg.interop.load_model("{directory}")'),
    "keras": _Target(_write_keras, 'In Python: model = keras.models.load_model("{directory}/model.keras")'),
    "onnx": _Target(_write_onnx, 'In Python: session = onnxruntime.InferenceSession("{directory}/model.onnx")'),
}
