"""Keras' layers as PyTorch modules. All that are here are known: a new one is a class in one of these files.

Each is made of its settings in Keras' words and the shapes of its weights. They are called as Keras' are,
``layer(inputs, mask=None)``, and tell what becomes of a mask by ``compute_mask``.
"""

from . import beginnings as beginnings
from . import merging as merging
from . import model as model
from . import noise as noise
from . import normalization as normalization
from . import recurrent as recurrent
from . import reshaping as reshaping
from . import steps as steps
from . import time_distributed as time_distributed
from . import windows as windows
