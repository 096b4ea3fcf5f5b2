"""The file of the study: packed lines of JSON, to which whole portions are added."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lstmreg.files import write_atomically

Line = dict[str, Any]

PATH = Path(__file__).parents[1] / "results" / "evidence.jsonl.gz"


def read(path: Path = PATH) -> list[Line]:
    """Return all lines; none if there is no file yet."""
    if not path.exists():
        return []
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]


def add(lines: Sequence[Line], path: Path = PATH) -> None:
    """Add the lines of a portion, all or none: a reader never sees a part of it, whatever interrupts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    packed = gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode(), mtime=0)
    write_atomically(path, (path.read_bytes() if path.exists() else b"") + packed)
