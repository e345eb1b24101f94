"""What Inspect loads into every process: keep it light, import what is heavy where it is used."""

from em_evals.first_plot.first_plot import first_plot
from em_evals.first_plot.scorer import format_compliance
from em_evals.judges.em_judge import em_judge
from em_evals.preregistered.preregistered import preregistered
from em_evals.providers.embedded import embedded

__all__ = ["em_judge", "embedded", "first_plot", "format_compliance", "preregistered"]
