"""`em-evals judge`: graders, trained, measured and compared."""

import click

from em_evals.cli.judge_compare import compare
from em_evals.cli.judge_train import evaluate, train


@click.group()
def judge() -> None:
    """Train, measure and compare graders.

    Exit status: 0 done, 2 usage or data error.
    """


for command in (compare, evaluate, train):
    judge.add_command(command)
