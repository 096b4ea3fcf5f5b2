"""The layer that stands in for ``torch.nn.LSTM``, and the penalties of any model that contains it."""

from .lstm import LSTM as LSTM
from .penalty import apply_constraints as apply_constraints
from .penalty import penalties as penalties
from .penalty import regularize as regularize
