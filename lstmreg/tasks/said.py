"""What predictions are worth where the truth stands beside them, in the numbers that their field looks at."""

from __future__ import annotations

import numpy as np

from lstmreg.predictions import Predictions

from .errors import errors_of_classes, errors_of_numbers


def errors_said(predictions: Predictions) -> tuple[int, dict[str, float]]:
    """Return how many rows have a truth, and the errors and scores of these, by name.

    Of several numbers, each has its own. A true class that the model does not know is left out, and so are rows that
    the model was trained on.
    """
    new = np.ones(len(predictions), dtype=bool)
    if predictions.trained is not None:
        new = np.asarray(predictions.columns[predictions.trained] != "yes", dtype=bool)
    if predictions.truth is not None:
        places = {heading: k for k, heading in enumerate(predictions.shares)}
        numbers = np.array([places.get(f"P({name})", -1) for name in predictions.columns[predictions.truth]])
        shares = np.stack([predictions.columns[heading] for heading in predictions.shares], axis=1)
        known = new & (numbers >= 0)
        return int(known.sum()), errors_of_classes(shares[known], numbers[known]) if known.any() else {}
    found: dict[str, float] = {}
    bands = [band for band in predictions.bands if band.truth is not None]
    rows = 0
    for band in bands:
        truth = np.asarray(predictions.columns[str(band.truth)], dtype=np.float64)
        there = new & ~np.isnan(truth)
        rows = max(rows, int(there.sum()))
        if there.any():
            values = np.asarray(predictions.columns[band.value], dtype=np.float64)
            errors = errors_of_numbers("mse", values[there, None], truth[there, None])
            found |= {f"{name} of {band.value}" if len(bands) > 1 else name: each for name, each in errors.items()}
    return rows, found
