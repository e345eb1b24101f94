"""first_plot: see its README."""

from em_evals.first_plot.first_plot import first_plot

__all__ = ["first_plot"]
