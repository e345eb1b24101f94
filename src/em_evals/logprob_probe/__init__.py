"""logprob_probe: see its README."""

from em_evals.logprob_probe.logprob_probe import logprob_probe

__all__ = ["logprob_probe"]
