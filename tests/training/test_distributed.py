"""A fit in two processes: both end in the same epoch, with the same weights, to the last bit."""

from __future__ import annotations

import functools
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.two_processes import Own, data

SCRIPT = Path(__file__).with_name("two_processes.py")


@functools.cache
def fitted(kind: str) -> list[dict[str, Any]]:
    """Return what each process told."""
    with tempfile.TemporaryDirectory() as directory:
        return run(Path(directory), kind)


def run(directory: Path, kind: str) -> list[dict[str, Any]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, str(SCRIPT), str(directory), kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads((directory / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("kind", ["synchronised", "unsynchronised"])
def test_both_processes_keep_the_same_epoch(kind):
    first, second = fitted(kind)
    assert first["weights"] == second["weights"]
    assert (first["epochs"], first["best_epoch"], first["best_value"]) == (
        second["epochs"],
        second["best_epoch"],
        second["best_value"],
    )
    assert 0 < first["best_epoch"] < first["epochs"] - 1  # or there was nothing to restore
    if kind == "synchronised":
        assert first["metrics"] == second["metrics"]
        assert set(first["metrics"]) == {"train_loss", "val_loss", "penalty/kernel", "penalty/activity"}


def test_what_is_watched_is_the_loss_on_all_the_data():
    told, _ = fitted("synchronised")
    network = Own()
    shapes = {name: w.shape for name, w in network.state_dict().items()}
    network.load_state_dict({name: torch.tensor(w).view(shapes[name]) for name, w in told["weights"].items()})
    x, y = data(spoilt=False)[1].dataset.tensors
    with torch.no_grad():
        assert told["best_value"] == pytest.approx(float((network.eval()(x) - y).square().mean()), rel=1e-5)


def test_what_diverges_in_one_process_ends_both():
    first, second = fitted("spoilt")
    assert first["failure"] == second["failure"]
    assert re.search(
        r"training loss is nan at step \d+, and the data are to blame: y\[\d, 0\] is nan", first["failure"]
    )
