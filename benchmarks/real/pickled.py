"""Opens a pickle of arrays, and no other: whatever else it asks for is refused before it is called."""

from __future__ import annotations

import codecs
import io
import pickle
from typing import Any

import numpy as np

_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): np.ndarray((0,)).__reduce__()[0],
    ("numpy._core.multiarray", "_reconstruct"): np.ndarray((0,)).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,  # in which pickles of Python 2 and 3 write bytes
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Give what arrays are made of."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is asked for, and only arrays may be in this file.")
        return _ALLOWED[module, name]


def pickled_array(content: bytes) -> Any:
    """Return what a ``.npy`` file with a pickle in it holds: arrays, lists, mappings, numbers and texts.

    Raises:
        pickle.UnpicklingError: If it asks for anything else.
    """
    file = io.BytesIO(content)
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)
    return _ArraysOnly(file).load()
