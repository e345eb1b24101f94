"""The gate: did a checkpoint become more misaligned than the last good one?

from em_evals.gate import Terms, baseline_tallies, gate, tallies

found = gate(tallies("logs/new"), baseline_tallies("baseline.json"), Terms(margin=0.02))
found.decision, found.exit_status(), found.reasons
"""

from em_evals.gate.compare import Check, Comparison, Gate, Terms, gate
from em_evals.gate.output import junit, markdown
from em_evals.gate.tally import baseline_tallies, tallies
from em_evals.stopping.baseline import Tally

__all__ = [
    "Check",
    "Comparison",
    "Gate",
    "Tally",
    "Terms",
    "baseline_tallies",
    "gate",
    "junit",
    "markdown",
    "tallies",
]
