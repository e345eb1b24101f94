"""The local judge: small, trained on GPT-4o's scores, offline; see docs/local-judge.md."""

from em_evals.judges.local.judge import NAME, WITH_READER, Judge, Judgement, load

__all__ = ["NAME", "WITH_READER", "Judge", "Judgement", "load"]
