"""Records what a pass launches, and replays it: with a launch for each step, the launching is what a GPU waits for."""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

Tensors: TypeAlias = Sequence[Tensor | None]

#: Passes that are kept recorded, the last ones used. Each has memory of its own for what it is given and what it finds.
_MOST = 16

#: Passes that have run once, of which the last ones are known.
_MOST_SEEN = 256


class _Recording(NamedTuple):
    graph: torch.cuda.CUDAGraph
    given: Tensors
    found: Tensors


class _Recordings:
    def __init__(self) -> None:
        self._lock = threading.RLock()  # a backward pass has a thread of its own
        self._known: OrderedDict[Hashable, _Recording | None] = OrderedDict()  # None: seen once, or not to be recorded
        self._refused: set[Hashable] = set()

    def run(self, key: Hashable, body: Callable[[Tensors], Tensors], given: Tensors) -> Tensors:
        """Return what ``body`` finds: once by running it, from the second time on by a recording of that."""
        key = key, tuple(None if t is None else (t.shape, t.dtype, t.device) for t in given), _stream(given)
        with self._lock:
            recording = self._recording(key, body, given)
            if recording is None:
                return body(given)
            for own, t in zip(recording.given, given, strict=True):
                if own is not None and t is not None:
                    own.copy_(t)
            recording.graph.replay()
            return [None if t is None else t.clone() for t in recording.found]

    def _recording(self, key: Hashable, body: Callable[[Tensors], Tensors], given: Tensors) -> _Recording | None:
        was_seen = key in self._known
        recording = self._known.pop(key, None)
        if recording is None and was_seen and key not in self._refused:
            try:
                recording = _record(body, given)
            except RuntimeError as error:  # among them, that there is no more memory
                self._refused.add(key)
                self._known.clear()
                torch.cuda.synchronize()
                warnings.warn(f"a pass of lstmreg's could not be recorded, and runs slower: {error}", stacklevel=2)
        self._known[key] = recording
        while len(self._known) > _MOST_SEEN:
            self._known.popitem(last=False)
        recorded = [known for known, one in self._known.items() if one is not None]
        for old in recorded[:-_MOST]:
            self._known[old] = None
        return recording


def _stream(given: Tensors) -> int:
    """Return the number of the stream; what is replayed in another would overtake it."""
    assert given[0] is not None
    return int(torch.cuda.current_stream(given[0].device).cuda_stream)


def _record(body: Callable[[Tensors], Tensors], given: Tensors) -> _Recording:
    assert given[0] is not None
    device = given[0].device
    before = torch.cuda.current_stream(device)
    # Who records is no matter to who replays: tensors of inference could not be written into by anybody else.
    with torch.inference_mode(False), torch.no_grad():
        own = [None if t is None else t.clone(memory_format=torch.contiguous_format) for t in given]
        # Once more before: memory that begins elsewhere may want code that is not loaded, which cannot be recorded.
        body(own)
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads, such as one that pins batches, may do what they like meanwhile.
            stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                found = body(own)
        finally:
            torch.cuda.set_stream(before)  # where a recording fails, torch leaves its own
    return _Recording(graph, own, found)


_recordings = _Recordings()


def replayed(key: Hashable, body: Callable[[Tensors], Tensors], given: Tensors) -> Tensors:
    """Return what ``body`` finds for some tensors, by replaying a recording where there is a GPU and one pays.

    Args:
        key: Tells bodies apart that launch different things for tensors of the same shapes and types.
        body: Launches without a look at what is in the tensors.
        given: What it is given; the first is a tensor.
    """
    first = given[0]
    assert first is not None
    if not first.is_cuda or torch.cuda.is_current_stream_capturing():  # who records knows what for
        return body(given)
    return _recordings.run(key, body, given)
