"""Networks for which there is no room: counted, told in one line, and no reason to end a search."""

from __future__ import annotations

import dataclasses
import re
import resource
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from lstmreg.config import ModelConfig, with_settings
from lstmreg.tasks import read_task
from lstmreg.training import memory
from tests.program import completed
from tests.tiny import smallest_config, tiny_config

ROOT = Path(__file__).parents[2]

#: As much as a process has for what it does, beyond what loading the libraries took.
MEGABYTES = 390

UNDER_A_LIMIT = """
import dataclasses, pathlib, resource, sys, warnings
warnings.simplefilter("ignore")
import lstmreg.report, lstmreg.search, lstmreg.training.single, numpy, optuna, scipy.linalg, torch
from lstmreg.config import with_settings
from tests import tiny

folder = pathlib.Path(sys.argv[2])
torch.set_num_threads(1)
# These libraries take memory when they are first called, and end the process or wait for ever if there is none.
numpy.ones((99, 99)) @ numpy.ones((99, 99))
scipy.linalg.solve(numpy.eye(99), numpy.ones(99), assume_a="pos")

def limit(megabytes):
    size = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (megabytes << 20),) * 2)
"""


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return completed(ROOT, *map(str, arguments), code=UNDER_A_LIMIT + code)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize(
    "model",
    [
        ModelConfig(hidden_size=5),
        ModelConfig(hidden_size=[5, 3], num_layers=2, bidirectional=True),
        ModelConfig(hidden_size=4, num_layers=3, members=3),
    ],
)
def test_what_is_counted_is_what_the_lstms_of_a_network_and_its_training_hold(tmp_path, model, optimizer):
    config = with_settings(dataclasses.replace(tiny_config(tmp_path), model=model), {"training.optimizer": optimizer})
    task = read_task(config)
    layers = task.network(dataclasses.replace(model, members=1)).layers
    optimized = (torch.optim.Adam if optimizer == "adam" else torch.optim.SGD)(layers.parameters(), lr=0.1)
    for parameter in layers.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimized.step()
    moments = [value for state in optimized.state.values() for value in state.values() if value.dim() > 0]
    held: list[Any] = [*layers.parameters(), *(p.grad for p in layers.parameters()), *moments]
    assert memory.needed(config, task) == model.members * sum(tensor.numel() * 4 for tensor in held)


def test_what_cannot_fit_is_refused_before_anything_is_done(tmp_path):
    here = memory.room()
    assert here is not None
    config = dataclasses.replace(tiny_config(tmp_path), model=ModelConfig(hidden_size=16384, num_layers=1000))
    with pytest.raises(memory.OutOfMemoryError, match=r"hidden_size=16384, model.num_layers=1000.*Lower model"):
        memory.check_fits(config, read_task(config))


def test_the_limit_of_the_process_counts(tmp_path):
    if not Path("/proc/self/statm").exists():
        pytest.skip("this system does not say how much a process has")
    code = "limit(100)\nfrom lstmreg.training import memory\nprint(memory.room())"
    done = python(code, "", tmp_path)
    assert 90 << 20 < int(done.stdout) <= 100 << 20, done.stderr
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


CLI = """
from lstmreg.cli import main
limit(int(sys.argv[3]))
config = tiny.tiny_config(folder)
sys.exit(main([
    sys.argv[1], f"--data.path={config.data.path}", "--data.target=wave", "--data.time=day", "--data.window=6",
    f"--runs={folder}", "--name=a", "--model.hidden_size=2000", "--training.max_epochs=2"]))
"""


@pytest.mark.parametrize("megabytes", [100, 360])  # known before, and found out
def test_a_fit_for_which_there_is_no_room_ends_in_one_line(tmp_path, megabytes):
    done = python(CLI, "fit", tmp_path, megabytes)
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 2, line
    assert "model.hidden_size=2000" in line
    assert "the optimizer's moments take 245 MiB" in line
    assert "Lower model.hidden_size" in line
    assert ("out of memory" in line) is (megabytes == 360)


SEARCH = """
config = tiny.smallest_config(folder, space={"model.hidden_size": [3, 2000, 2001], "model.kernel_l2": [0.01]})
from lstmreg.training.population import together
tried = []
real = together._train_population

def counted(numbers, assignments, *others):
    tried.append(assignments[numbers[0]].config.model.hidden_size)
    real(numbers, assignments, *others)

together._train_population = counted
limit(int(sys.argv[1]))
evidence = lstmreg.search.run(config)
lstmreg.report.answer(evidence)
records = [record for stage in ("choose", "judge", "test") for record in evidence.records[stage]]
for size in (3, 2000, 2001):
    own = [record for record in records if record.setting.get("model.hidden_size") == size]
    print(size, len(own) > 0, sum(r.failure is not None for r in own) / max(1, len(own)), tried.count(size))
print({record.failure for record in records if record.failure})
print({record.traceback for record in records})
"""


def test_in_a_search_a_size_that_is_too_large_fails_is_not_tried_again_and_the_rest_goes_on(tmp_path):
    done = python(SEARCH, MEGABYTES, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    small, large, larger, failures, tracebacks = done.stdout.strip().splitlines()
    assert small.startswith("3 True 0.0 ")
    assert large.startswith("2000 True 1.0 ")
    assert larger == "2001 True 1.0 0"  # never tried
    assert int(large.split()[-1]) <= 3  # all blocks at once, two, one
    assert "out of memory: with model.hidden_size=2000" in failures
    assert tracebacks == "{None}"


def test_a_search_with_a_size_that_cannot_fit_is_refused_before_the_first_trial(tmp_path):
    done = python(SEARCH, 200, tmp_path)
    assert done.returncode == 1
    assert "search.space: model.hidden_size=2000: with model.hidden_size=2000" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").glob("*/study.db"))


def test_where_the_baseline_itself_has_no_room_the_search_ends_and_says_so(tmp_path):
    code = SEARCH.replace("limit(int", "config = with_settings(config, {'model.hidden_size': 2000})\nlimit(int")
    done = python(code, MEGABYTES, tmp_path)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert re.match(r"lstmreg\.(errors\.NoUsableTrialError|training\.memory\.OutOfMemoryError): ", last)
    assert "out of memory: with model.hidden_size=2000" in last


def test_its_like_is_as_large_or_larger_in_batches_no_smaller(tmp_path):
    config = smallest_config(tmp_path)
    task, outgrown = read_task(config), memory.Outgrown()
    outgrown.keep(config, task)

    def is_tried(**settings: Any) -> bool:
        other = with_settings(config, {path.replace("__", "."): value for path, value in settings.items()})
        return outgrown.why_not(other, task) is None

    assert not is_tried()
    assert not is_tried(model__hidden_size=5)
    assert not is_tried(model__num_layers=2)
    assert is_tried(model__hidden_size=3)
    assert is_tried(training__batch_size=config.training.batch_size // 2)
