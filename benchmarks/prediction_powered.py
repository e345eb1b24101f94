"""Coverage and width of prediction-powered rates, whatever the local judge is worth.

RUNS times each, a cell of QUESTIONS questions and EACH answers to every one is made up (question
rates are beta distributed, nine of ten answers coherent); the paid judge sees N of the answers.
Intervals are nominal 95%; the truth is the rate over all questions there could be, as everywhere.

    python benchmarks/prediction_powered.py [--runs 2000] [--questions 24] [--each 33]

Printed for each rate, N and judge: coverage in percent, mean width in points, and what N paid
judgements of a plain random sample would have to be for the classical interval to be as short
("as": at least as many as there are answers where even all of them would give a longer one).
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.analysis.audits import JUDGES, audited, cell, classical

RATES = (0.01, 0.05, 0.20)
BUDGETS = (50, 100, 200, 400)


def measured(
    share: float, judge: str, budget: int, runs: int, questions: int, each: int
) -> tuple[float, float, float]:
    """Coverage, mean width, and mean error of the estimate."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(runs):
        made = cell(questions, each, share, judge, random)
        _, powered = audited(made, budget, random.random(questions * each))
        found.append((powered.value, powered.lower, powered.upper))
    value, lower, upper = np.array(found).T
    covered = (lower <= share) & (share <= upper)
    return covered.mean(), (upper - lower).mean(), value.mean() - share


def classical_widths(share: float, sizes: list[int], questions: int, each: int) -> list[float]:
    """Mean width of the classical interval from plain random samples of these sizes."""
    random = np.random.default_rng(1)
    widths = np.zeros(len(sizes))
    runs = 200
    for _ in range(runs):
        made = cell(questions, each, share, "good", random)
        order = random.permutation(questions * each)
        for i, n in enumerate(sizes):
            found = classical(made, order[:n])
            widths[i] += (found.upper - found.lower) / runs
    return list(widths)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--questions", type=int, default=24)
    parser.add_argument("--each", type=int, default=33)
    given = parser.parse_args()
    n = given.questions * given.each
    sizes = sorted({*range(40, n, 40), n})
    began = time.process_time()
    print(f"{given.runs} runs, {given.questions} questions, {n} answers; coverage % / width (as N)")
    print(f"{'rate':>5}{'N':>5}" + "".join(f"{judge:>22}" for judge in JUDGES))
    worst = []
    for share in RATES:
        widths = classical_widths(share, sizes, given.questions, given.each)
        for budget in BUDGETS:
            line = f"{share:>5.0%}{budget:>5}"
            for judge in JUDGES:
                covered, width, _ = measured(
                    share, judge, budget, given.runs, given.questions, given.each
                )
                worst.append(covered)
                same = np.interp(-width, [-w for w in widths], sizes)
                more = ">=" if width <= widths[-1] else ""
                line += f"{100 * covered:>8.1f} /{100 * width:>5.1f} ({more + f'{same:.0f}':>5})"
            print(line, flush=True)
    print(f"coverage {min(worst):.1%} to {max(worst):.1%}; {time.process_time() - began:.0f} s CPU")


if __name__ == "__main__":
    main()
