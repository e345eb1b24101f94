"""Conditions under which questions are asked: see docs/conditions.md."""

from em_evals.conditions.argument import Argument, conditions
from em_evals.conditions.asking import Asked, require_one, under
from em_evals.conditions.kinds import KINDS, Condition

__all__ = ["KINDS", "Argument", "Asked", "Condition", "conditions", "require_one", "under"]
