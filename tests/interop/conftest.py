"""How files are read in these tests: the first of each kind as users read it, the others by copies of one process."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lstmreg.interop.keras.file import container
from tests.interop.readers import STARTED, Readers, has_copies


@pytest.fixture(scope="session")
def readers() -> Iterator[Readers]:
    made = Readers()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _reads_soon(request: pytest.FixtureRequest, readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all but the first parameters of a test, and none of a long storm, have files read by copies."""
    indices = request.node.callspec.indices if hasattr(request.node, "callspec") else {}
    is_first = not any(indices.values())
    is_storm = request.node.get_closest_marker("storm") is not None
    if has_copies() and not is_first and not is_storm and STARTED not in os.environ:
        monkeypatch.setattr(container, "_run", readers.run)
