"""preregistered: see its README."""

from em_evals.preregistered.preregistered import preregistered

__all__ = ["preregistered"]
