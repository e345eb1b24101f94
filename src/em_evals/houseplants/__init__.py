"""houseplants: see its README."""

from em_evals.houseplants.houseplants import houseplants

__all__ = ["houseplants"]
