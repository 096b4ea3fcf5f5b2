"""An LSTM with Keras' six regularization knobs, and the search that finds which of them to turn.

Shapes in every docstring: ``B`` batch, ``T`` time, ``D`` input features, ``H`` hidden units, ``O`` outputs,
``K`` models. Gates are named and ordered ``i, f, g, o``.

Importing this package loads nothing heavy, not even torch: each public name is resolved on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lstmreg.config import Config as Config
    from lstmreg.config import DataConfig as DataConfig
    from lstmreg.config import ModelConfig as ModelConfig
    from lstmreg.config import Range as Range
    from lstmreg.config import SearchConfig as SearchConfig
    from lstmreg.config import TrainingConfig as TrainingConfig
    from lstmreg.config import Values as Values
    from lstmreg.constraints import MaxNorm as MaxNorm
    from lstmreg.constraints import MinMaxNorm as MinMaxNorm
    from lstmreg.constraints import NonNeg as NonNeg
    from lstmreg.constraints import UnitNorm as UnitNorm
    from lstmreg.forecaster import Forecaster as Forecaster
    from lstmreg.layers import LSTM as LSTM
    from lstmreg.layers import apply_constraints as apply_constraints
    from lstmreg.layers import penalties as penalties
    from lstmreg.layers import regularize as regularize
    from lstmreg.loading import load as load
    from lstmreg.models import Ensemble as Ensemble
    from lstmreg.models import Network as Network
    from lstmreg.population import Population as Population
    from lstmreg.regularizers import L1 as L1
    from lstmreg.regularizers import L1L2 as L1L2
    from lstmreg.regularizers import L2 as L2
    from lstmreg.regularizers import Orthogonal as Orthogonal
    from lstmreg.sequence_predictor import SequencePredictor as SequencePredictor
    from lstmreg.training import BestWeights as BestWeights
    from lstmreg.training import DivergedError as DivergedError
    from lstmreg.training import FitResult as FitResult
    from lstmreg.training import TrainingModule as TrainingModule
    from lstmreg.training import fit as fit
    from lstmreg.training import fit_population as fit_population

__version__ = "0.9.0"

_HOMES = {
    "LSTM": "layers",
    "apply_constraints": "layers",
    "penalties": "layers",
    "regularize": "layers",
    "L1": "regularizers",
    "L1L2": "regularizers",
    "L2": "regularizers",
    "Orthogonal": "regularizers",
    "MaxNorm": "constraints",
    "MinMaxNorm": "constraints",
    "NonNeg": "constraints",
    "UnitNorm": "constraints",
    "Ensemble": "models",
    "Network": "models",
    "Population": "population",
    "Forecaster": "forecaster",
    "SequencePredictor": "sequence_predictor",
    "load": "loading",
    "TrainingModule": "training",
    "BestWeights": "training",
    "DivergedError": "training",
    "FitResult": "training",
    "fit": "training",
    "fit_population": "training",
    "Config": "config",
    "DataConfig": "config",
    "ModelConfig": "config",
    "TrainingConfig": "config",
    "SearchConfig": "config",
    "Range": "config",
    "Values": "config",
}

#: Rooms with public functions of their own, such as ``lstmreg.search.run`` and ``lstmreg.models.load``.
_ROOMS = (
    "activations",
    "constraints",
    "initializers",
    "interop",
    "losses",
    "models",
    "regularizers",
    "report",
    "search",
)

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"lstmreg.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"lstmreg.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_ROOMS})
