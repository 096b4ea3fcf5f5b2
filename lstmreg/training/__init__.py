"""Training with Lightning: the LightningModule, the best epoch's weights, and ``fit``."""

from .best import BestWeights as BestWeights
from .fitting import FitResult as FitResult
from .fitting import fit as fit
from .module import DivergedError as DivergedError
from .module import TrainingModule as TrainingModule
from .population import fit_population as fit_population
