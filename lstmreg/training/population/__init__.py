"""Training hundreds of networks at once: what reads, steps, ends and records them."""

from .fitting import fit_population as fit_population
