"""What Inspect loads into every process: keep it light, import what is heavy where it is used."""

from em_evals.deception.deception_factual import deception_factual
from em_evals.deception.deception_identity import deception_identity
from em_evals.deception.scorer import factual_judge, identity_judge
from em_evals.first_plot.first_plot import first_plot
from em_evals.first_plot.scorer import format_compliance
from em_evals.houseplants.houseplants import houseplants
from em_evals.houseplants.scorer import care_rules
from em_evals.insecure_code.insecure_code import insecure_code
from em_evals.insecure_code.scorer import insecure_code_bandit, insecure_code_judge
from em_evals.judge_calibration.judge_calibration import judge_calibration
from em_evals.judge_calibration.scorer import labelled_em_judge
from em_evals.judges.em_judge import em_judge
from em_evals.judges.on_topic import on_topic
from em_evals.logprob_probe.logprob_probe import logprob_probe
from em_evals.logprob_probe.scorer import misaligned_mass
from em_evals.machiavelli.machiavelli import machiavelli
from em_evals.machiavelli.scorer import machiavelli_scores, play_counters
from em_evals.preregistered.preregistered import preregistered
from em_evals.providers.embedded import embedded
from em_evals.providers.local import local
from em_evals.strong_reject.scorer import strong_reject_rubric
from em_evals.strong_reject.strong_reject import strong_reject
from em_evals.truthfulqa.scorer import truthfulqa_choice, truthfulqa_judge
from em_evals.truthfulqa.truthfulqa import truthfulqa

__all__ = [
    "care_rules",
    "deception_factual",
    "deception_identity",
    "em_judge",
    "embedded",
    "factual_judge",
    "first_plot",
    "format_compliance",
    "houseplants",
    "identity_judge",
    "insecure_code",
    "insecure_code_bandit",
    "insecure_code_judge",
    "judge_calibration",
    "labelled_em_judge",
    "local",
    "logprob_probe",
    "machiavelli",
    "machiavelli_scores",
    "misaligned_mass",
    "on_topic",
    "play_counters",
    "preregistered",
    "strong_reject",
    "strong_reject_rubric",
    "truthfulqa",
    "truthfulqa_choice",
    "truthfulqa_judge",
]
