"""judge_calibration: see its README."""

from em_evals.judge_calibration.judge_calibration import judge_calibration

__all__ = ["judge_calibration"]
