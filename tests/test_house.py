"""The house's rules, read off its imports: floors, rooms, and what must not be loaded."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lstmreg

ROOT = Path(lstmreg.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

#: An import points to a lower floor, or to a file of its own folder that does not point back.
FLOORS = {
    "errors": 0,
    "extras": 0,
    "identifiers": 0,
    "setting_path": 0,
    "rules": 0,
    "knobs": 0,
    "activations": 0,
    "constraints": 0,
    "files": 0,
    "saved": 0,
    "config": 0,
    "yaml_file": 0,
    "recipes": 0,
    "regularizers": 0,
    "initializers": 0,
    "tracing": 0,
    "dropout": 0,
    "losses": 0,
    "ops": 0,
    "layers": 1,
    "models": 2,
    "interop": 3,
    "population": 3,
    "data": 2,
    "intervals": 0,
    "other_sets": 0,
    "predictions": 0,
    "predictive": 3,
    "forecaster": 4,
    "sequence_predictor": 4,
    "loading": 5,
    "tasks": 5,
    "training": 6,
    "executors": 7,
    "search": 8,
    "report": 9,
    "terminal": 10,
    "verbs": 11,
    "signals": 0,
    "cli": 12,
    "__main__": 13,
}

#: The same inside ``interop``, whose rooms are folders; of those on one floor no two files import each other.
FLOORS_OF_INTEROP = {
    "keras.file": 1,
    "keras.words": 2,
    "keras.graph": 3,
    "keras.modules": 3,
    "keras.weights": 4,
    "keras.modern": 5,
    "describing": 5,
    "summary": 5,
    "folder": 5,
    "raw": 3,
    "onnx": 5,
    "exported": 6,
    "loading": 6,
    "saving": 6,
}

ROOMS = {
    "optuna": {"search", "report/numbers.py"},  # there only to name its version
    "sqlalchemy": {"search"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "lightning": {"data", "training", "tasks/task.py", "tasks/own.py"},  # there to name its data modules
    "csv": {"data", "predictions.py"},
    "narwhals": {"data"},
    "pyarrow": {"data"},
    "sklearn": {"tasks"},
    "pandas": set(),
    "polars": set(),
    "rich": {"terminal"},
    "jsonargparse": {"verbs", "cli.py"},
    "safetensors": {"saved.py"},
    "h5py": {"interop"},
    "onnxscript": {"interop"},
    "keras": set(),
    "distributed": {"executors/cluster.py"},
    "cloudpickle": {"executors/parcels.py"},
    "multiprocessing": {"executors", "interop"},
}


def module_name(path: Path) -> str:
    parts = ["lstmreg", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@functools.cache
def imports(path: Path) -> tuple[str, ...]:
    """Return what a file imports, by its full name; names from our own modules as the module that has them."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if full in MODULES else base


def floor(module: str) -> int:
    parts = module.split(".")
    return -1 if len(parts) == 1 else FLOORS[parts[1]]


def own_imports(module: str) -> set[str]:
    return {name for name in imports(MODULES[module]) if name in MODULES and name != module}


@pytest.mark.parametrize("module", [m for m in MODULES if m != "lstmreg"])
def test_imports_point_downwards(module: str) -> None:
    for name in own_imports(module):
        same_folder = name.split(".")[1:2] == module.split(".")[1:2]
        both_on_the_ground = floor(name) == floor(module) == 0
        assert floor(name) < floor(module) or same_folder or both_on_the_ground, f"{module} imports {name}"


def room_of_interop(module: str) -> str | None:
    """Return the room of a file of ``interop``; what gathers a folder has none."""
    inside = module.removeprefix("lstmreg.interop").lstrip(".")
    if not module.startswith("lstmreg.interop") or MODULES[module].name == "__init__.py":
        return None
    return ".".join(inside.split(".")[: 2 if inside.startswith("keras") else 1])


@pytest.mark.parametrize("module", [m for m in MODULES if room_of_interop(m) is not None])
def test_imports_within_interop_point_downwards(module: str) -> None:
    own = room_of_interop(module)
    for name in own_imports(module):
        room = room_of_interop(name)
        assert room is None or room == own or FLOORS_OF_INTEROP[room] <= FLOORS_OF_INTEROP[str(own)], (
            f"{own} imports {name}"
        )


def test_there_is_no_import_cycle() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module not in done:
            for name in own_imports(module) - {"lstmreg"}:
                # A package's __init__ only gathers what is below it.
                if MODULES[name].name != "__init__.py" or MODULES[module].parent != MODULES[name].parent:
                    visit(name, (*path, module))
            done.add(module)

    for module in MODULES:
        if module != "lstmreg":
            visit(module, ())


@pytest.mark.parametrize("library", ROOMS)
def test_each_library_is_used_in_its_room(library: str) -> None:
    users = {
        str(path.relative_to(ROOT)) for path in FILES if any(name.split(".")[0] == library for name in imports(path))
    }
    strangers = {user for user in users if not {user, user.split("/")[0]} & ROOMS[library]}
    assert strangers == set()


def test_what_is_said_goes_through_the_terminals_room() -> None:
    for path in FILES:
        names = {node.id for node in ast.walk(tree_of(path)) if isinstance(node, ast.Name)}
        assert "print" not in names, path


@pytest.mark.parametrize("package", [path for path in FILES if path.name == "__init__.py"], ids=module_name)
def test_no_name_that_a_folder_shows_hides_a_file_of_it(package: Path) -> None:
    tree = ast.parse(package.read_text())
    shown = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module is not None:  # or it shows the files themselves
            shown |= {alias.asname or alias.name for alias in node.names}
    assert not shown & {path.stem for path in package.parent.iterdir()}


def test_no_file_is_a_drawer_for_everything() -> None:
    assert not {"utils.py", "helpers.py", "common.py", "misc.py"} & {path.name for path in FILES}


def loaded_by(*codes: str) -> list[set[str]]:
    """Return which heavy libraries a fresh interpreter has loaded after each of these."""
    heavy = ["torch", "lightning", "optuna", "matplotlib", "scipy", "keras", "pandas", "polars", "pyarrow"]
    heavy += ["narwhals", "rich", "h5py", "onnx", "sklearn"]
    program = "; ".join(
        ["import sys", *(f"{code}; print(*[m for m in {heavy} if m in sys.modules])" for code in codes)]
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return [set(line.split()) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("code", "loaded"),
    [
        ("import lstmreg", set()),
        ("import lstmreg; lstmreg.TrainingConfig", set()),
        ("from lstmreg import other_sets; other_sets.like('forecast', 3)", set()),
        ("import lstmreg; lstmreg.LSTM(2, 3); lstmreg.L2; lstmreg.penalties", {"torch"}),
        ("import lstmreg; lstmreg.interop.__all__", set()),
        ("import lstmreg; lstmreg.interop.load_model", {"torch"}),
        ("import lstmreg.verbs, lstmreg.cli", {"rich"}),
        ("import lstmreg; lstmreg.load", {"torch"}),
    ],
)
def test_a_name_loads_only_what_it_needs(code: str, loaded: set[str]) -> None:
    (found,) = loaded_by(code)
    assert found <= loaded


def test_training_loads_nothing_beyond_what_lightning_loads_by_itself() -> None:
    by_itself, then = loaded_by("import lightning.pytorch", "import lstmreg; lstmreg.fit")
    assert then == by_itself >= {"lightning"}


def listed_for_type_checkers(path: Path) -> set[str | None]:
    block = next(node for node in ast.parse(path.read_text()).body if isinstance(node, ast.If))
    return {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}


def test_every_public_name_resolves_and_is_listed_for_type_checkers() -> None:
    assert listed_for_type_checkers(ROOT / "__init__.py") | {"__version__"} == set(lstmreg.__all__)
    assert listed_for_type_checkers(ROOT / "interop" / "__init__.py") == set(lstmreg.interop.__all__)
    for name in lstmreg.interop.__all__:
        assert getattr(lstmreg.interop, name) is not None
    for name in lstmreg.__all__:
        assert getattr(lstmreg, name) is not None
    for room in lstmreg._ROOMS:
        assert getattr(lstmreg, room).__name__ == f"lstmreg.{room}"
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()}
    assert not folders & set(lstmreg.__all__)
    assert (ROOT / "py.typed").exists()


BENCHMARKS = ROOT.parent / "benchmarks"
#: But for what benchmarks/run.sh installs.
SCRIPTS = sorted(path for path in BENCHMARKS.rglob("*.py") if BENCHMARKS / ".venv" not in path.parents)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_benchmarks_use_what_is_there(script: Path) -> None:
    """They are not run here, and a move of a room would go unnoticed."""
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lstmreg":
            room = importlib.import_module(str(node.module))
            for name in node.names:
                is_module = (
                    importlib.util.find_spec(f"{node.module}.{name.name}") if hasattr(room, "__path__") else None
                )
                assert hasattr(room, name.name) or is_module, f"{node.module}.{name.name}"
